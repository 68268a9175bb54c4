"""Kills at random moments of runs that write: no half-written file, no file left behind, nothing lost.

Half of the kills come at a random time, half right before a random file operation, since a run that computes for a
second writes for a few milliseconds only. Every run is a process of its own, forked from this one, which has imported
everything before: so the kills fall into the work and not into the import of torch. The second network is left out: it
computes for seconds and writes nothing. POSIX only.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import SimpleITK as sitk
import torch
from Testing.small_networks import SMALLEST

from MedSAMSlicerLib import cli
from MedSAMSlicerLib.cli import compute, demo, models, segment  # noqa: F401 - imported before the forks
from MedSAMSlicerLib.cli.process import EndingSignals
from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.tiers import SECOND_NETWORK
from MedSAMSlicerLib.lab.evaluation import accuracy_report, results
from MedSAMSlicerLib.lab.training.curves import read_log
from MedSAMSlicerLib.lab.training.loop import train
from MedSAMSlicerLib.lab.training.settings import TrainSettings
from MedSAMSlicerLib.lab.training.state import read_state
from MedSAMSlicerLib.models import Checkpoint, read_entries, registry
from MedSAMSlicerLib.sam2.checkpoint import load, save, seeded

from .rows import Row

sys.path.insert(0, str(Path(__file__).parents[1] / "Models"))
from file_server import running_server

COUNT = 100
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LONGEST_RUN_S = 300.0
_TRIES_A_KILL = 5  # a signal that comes after the end is no kill


class Victim(Protocol):
    """A run that is killed again and again in the same folder."""

    name: str
    writes_to: Path

    def run(self) -> int:
        """Do the work in a process of its own; returns the exit code."""
        ...

    def check_killed(self) -> None:
        """Raise AssertionError when what a killed run left is not in order."""
        ...

    def check_finished(self) -> None:
        """Raise AssertionError when what the next whole run left is not in order."""
        ...


def run(seed: int, count: int) -> list[Row]:
    """Kill each kind of run `count` times."""
    torch.set_num_threads(1)
    os.environ[SECOND_NETWORK] = "off"
    # Without what was prepared for OpenVINO, whose threads do not survive a fork.
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MEDSAMSLICER_MODELS"] = cache
        return [_kill_often(make, seed, count) for make in (Segment, Download, Training, Benchmark)]


def _kill_often(make: Callable[[Path], Any], seed: int, count: int) -> Row:
    dice, failures, ends = random.Random(f"{make.__name__} {seed}"), [], Counter[str]()
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(make(Path(folder))) as victim:
        if isinstance(
            victim, Segment | Benchmark
        ):  # what they import late is imported here, once for all forks
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                victim.run()
        gc.freeze()
        _finish(victim)
        start, operations = time.monotonic(), _operations_of(victim)
        victim.check_finished()
        lasts = time.monotonic() - start
        for number in range(_TRIES_A_KILL * count):
            if ends["killed"] + ends["canceled"] + len(failures) >= count:
                break
            kind = dice.choice(SIGNALS)
            if number % 2:
                at, when = dice.randrange(operations), "before file operation {} of {operations}"
                kill = functools.partial(_killed_at_operation, victim, kind, at)
            else:
                at, when = dice.uniform(0, lasts), "after {:.3f} of {lasts:.3f} s"
                kill = functools.partial(_killed_after, victim, kind, at)
            try:
                ends[kill()] += 1
                victim.check_killed()
                _finish(victim)
            except (AssertionError, OSError, ValueError, MedSAMError) as error:
                reason = f"{type(error).__name__}: {error}".partition("\n")[0]
                when = when.format(at, operations=operations, lasts=lasts)
                failures.append(f"{number}, {kind.name} {when}: {reason}")
        killed = ends["killed"] + ends["canceled"]
        what = f"kills of {victim.name} ({ends['canceled']} of {killed} cleaned up by itself)"
        return Row(what, max(killed, len(failures)), len(failures), failures[0] if failures else "")


def _finish(victim: Victim) -> None:
    code = _waited(_forked(victim.run))
    assert code == 0, f"the next run ended with exit code {code}"
    victim.check_finished()


def _killed_after(victim: Victim, kind: signal.Signals, seconds: float) -> str:
    """Send a signal to a run some seconds after its start; returns how it ended."""
    process = _forked(victim.run)
    time.sleep(seconds)
    os.kill(process, kind)  # a child that has ended stays until it is waited for
    return _end_of(process, kind)


def _killed_at_operation(victim: Victim, kind: signal.Signals, number: int) -> str:
    """Send a signal to a run right before its file operation of that number; returns how it ended."""

    def run() -> int:
        count = iter(range(number + 1))

        def kill() -> None:
            if next(count, -1) == number:
                os.kill(os.getpid(), kind)

        _before_file_operations(victim.writes_to, kill)
        return victim.run()

    return _end_of(_forked(run), kind)


def _operations_of(victim: Victim) -> int:
    """How many file operations a whole run makes in the folder that it writes to."""
    reader, writer = os.pipe()

    def run() -> int:
        _before_file_operations(victim.writes_to, lambda: os.write(writer, b"."))
        return victim.run()

    process = _forked(run)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        count = len(stream.read())
    assert _waited(process) == 0
    return count


def _before_file_operations(folder: Path, do: Callable[[], object]) -> None:
    """Call `do` right before a file of the folder is opened, renamed or deleted; for the rest of this process."""
    place = str(folder)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.rename", "os.remove", "os.truncate", "os.mkdir", "os.chmod"):
            path = arguments[0]
            if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(place):
                do()

    sys.addaudithook(hook)


def _end_of(process: int, kind: signal.Signals) -> str:
    """How a process ended after a signal."""
    code = _waited(process)
    expected = {0: "finished before", -kind: "killed"}
    if kind != signal.SIGKILL:
        expected[128 + kind] = "canceled"
    assert code in expected, f"it ended with exit code {code}"
    return expected[code]


def _forked(work: Callable[[], int]) -> int:
    """Number of a process that does the work, silently."""
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        code = work()
    finally:
        os._exit(code)
    raise AssertionError  # never reached


def _waited(process: int) -> int:
    """Exit code of a process, or minus the signal that ended it."""
    end = time.monotonic() + _LONGEST_RUN_S
    while time.monotonic() < end:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    raise AssertionError(f"it had not ended after {_LONGEST_RUN_S:.0f} s")


def _program(*words: object) -> int:
    sys.argv = ["medsamslicer", *map(str, words)]
    return cli.main()


def _no_leftovers(folder: Path, *expected: str) -> None:
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name not in expected)
    assert not left, f"left behind: {', '.join(left)}"


@dataclass
class Segment:
    """`medsamslicer segment` replaces a label map, its names, a picture and the saved prompts."""

    folder: Path
    name: str = "medsamslicer segment"
    new: dict[str, bytes] = field(default_factory=dict)
    writes_to: Path = field(init=False)
    NAMES = ("out.nii.gz", "out.labels.json", "out.png", "out.json")

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        array = rng.normal(-60, 15, (9, 40, 48))
        array[:, 12:28, 16:32] += 160
        image = sitk.GetImageFromArray(array.round().astype(np.int16))
        sitk.WriteImage(image, str(self.folder / "ct.nii.gz"))
        self.writes_to = self.folder / "out"
        self.writes_to.mkdir()

    def run(self) -> int:
        out = self.folder / "out"
        return _program(
            *("segment", self.folder / "ct.nii.gz", "--box=a=4,16,12,32,28", "--range=3,5", "--threads=1"),
            *("-o", out / "out.nii.gz", "--picture", out / "out.png", "--save-prompts", out / "out.json"),
        )

    def check_killed(self) -> None:
        there = self._there()
        for name, content in there.items():
            assert content in (self.new[name], b"old"), f"{name} is half-written"
        names = there.get("out.labels.json")
        assert names is None or (names == b"old") == (there["out.nii.gz"] == b"old"), "names of another image"

    def check_finished(self) -> None:
        self.new = self.new or self._there()
        assert self._there() == self.new, "the next run wrote something else"
        _no_leftovers(self.folder / "out", *self.NAMES)
        for name in self.NAMES:  # what the next run will replace
            (self.folder / "out" / name).write_bytes(b"old")

    def close(self) -> None:
        """Nothing is open."""

    def _there(self) -> dict[str, bytes]:
        paths = [self.folder / "out" / name for name in self.NAMES]
        return {path.name: path.read_bytes() for path in paths if path.exists()}


class Download:
    """`medsamslicer models download` of files with and without a published hash, from a server on this computer."""

    name = "medsamslicer models download"

    def __init__(self, folder: Path) -> None:
        self.cache = self.writes_to = folder / "models"
        self.known = bytes(random.Random(0).randbytes(3_000_000))
        save(seeded(SMALLEST, 0), folder / "small.safetensors")
        self.unknown = (folder / "small.safetensors").read_bytes()
        digest = hashlib.sha256(self.known).hexdigest()
        self.entries = [
            Checkpoint("known", "Known", "known.pt", bytes=len(self.known), sha256=digest),
            Checkpoint("unknown", "Unknown", "unknown.safetensors"),
        ]
        self.servers = [_served(content) for content in (self.known, self.unknown)]
        addresses = [address for _, address in self.servers]
        self.entries = [
            replace(entry, url=f"{address}/{entry.file}")
            for entry, address in zip(self.entries, addresses, strict=True)
        ]

    def run(self) -> int:
        os.environ.update(MEDSAMSLICER_MODELS=str(self.cache), NO_PROXY="127.0.0.1")
        bundled = [entry for entry in read_entries() if entry.bundled]
        registry.read_entries = lambda: (*bundled, *self.entries)  # in this process only, which ends
        return _program("models", "download", "known", "unknown", "--yes")

    def check_killed(self) -> None:
        for name, content in (("known.pt", self.known), ("unknown.safetensors", self.unknown)):
            path = self.cache / name
            assert not path.exists() or path.read_bytes() == content, f"{name} is half-written"
        recorded = self.cache / "confirmed.json"
        if recorded.exists():
            hashes = json.loads(recorded.read_text())["checkpoints"]
            assert hashes.get("unknown") in (None, hashlib.sha256(self.unknown).hexdigest())

    def check_finished(self) -> None:
        self.check_killed()
        _no_leftovers(
            self.cache, *("known.pt", "unknown.safetensors", "confirmed.json"),
            *(".known.pt.lock", ".unknown.safetensors.lock", ".confirmed.json.lock"),
        )  # fmt: skip
        assert (self.cache / "known.pt").exists()
        assert (self.cache / "unknown.safetensors").exists()
        for path in self.cache.iterdir():
            path.unlink()

    def close(self) -> None:
        for process, _ in self.servers:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def _served(content: bytes) -> tuple[int, str]:
    """A process that serves a file slowly, and its address."""
    reader, writer = os.pipe()

    def serve() -> int:
        with running_server() as server:
            server.content, server.chunk_bytes, server.chunk_pause_s = content, 1 << 16, 0.005
            os.write(writer, server.address.encode() + b"\n")
            time.sleep(3600)
        return 0

    process = _forked(serve)
    with os.fdopen(reader) as stream:
        os.close(writer)
        return process, stream.readline().strip()


class Training:
    """Training that validates and saves all the time, its state in one file and in parts by turns."""

    name = "training"

    def __init__(self, folder: Path) -> None:
        self.out = self.writes_to = folder / "run"
        self.steps = self.legs = 0
        torch.optim.AdamW([torch.zeros(1)])  # imports for all forks what takes each of them seconds

    def run(self) -> int:
        settings = TrainSettings(
            out=self.out, minutes=0.01, size=32, frames=4, threads=1, workers=0, validation_clips=2, uses=8,
            pool=2, shortest=3, longest=4, save_minutes=1e-4, validate_minutes=3e-3, part_mb=self.legs % 2,
        )  # fmt: skip
        with EndingSignals() as signals:
            try:
                train(settings, SMALLEST, resume=True)
            except BaseException:  # some libraries turn the interruption into an error of their own
                if signals.received is None:
                    raise
                return signals.exit_code
        return 0

    def check_killed(self) -> None:
        self.legs += 1
        state = read_state(self.out, "cpu")
        steps = 0 if state is None else int(state["counts"][0])
        assert steps >= self.steps, f"{self.steps - steps} steps are lost"
        self.steps = steps
        for name in ("best.safetensors", "last.safetensors"):
            if (self.out / name).exists():
                load(self.out / name)
        if (self.out / "log.csv").exists():
            read_log(self.out)

    def check_finished(self) -> None:
        before = self.steps
        self.check_killed()
        assert self.steps > before
        names = {path.name for path in self.out.iterdir()} - {
            "best.safetensors",
            "last.safetensors",
            "log.csv",
        }
        index = self.out / "state.json"
        state = {"state.json", *json.loads(index.read_text())["parts"]} if index.exists() else {"state.pt"}
        assert names == state, f"left behind: {', '.join(sorted(names ^ state))}"

    def close(self) -> None:
        """Nothing is open."""


class Benchmark:
    """`medsamslicer benchmark accuracy` with results, masks and a report."""

    name = "medsamslicer benchmark"

    def __init__(self, folder: Path) -> None:
        self.data, self.turn = folder / "data", 0
        self.out = self.writes_to = folder / "results"
        rng = np.random.default_rng(0)
        for name in ("first", "second"):
            label = np.zeros((7, 32, 36), np.uint8)
            label[1:6, 8:24, 10:26] = 1
            label[2:5, 2:7, 2:9] = 2
            volume = (100 + 120 * (label > 0) + rng.normal(0, 5, label.shape)).astype(np.int16)
            self.data.mkdir(exist_ok=True)
            for kind, array in (("image", volume), ("label", label)):
                sitk.WriteImage(sitk.GetImageFromArray(array), str(self.data / f"{name}_{kind}.nii.gz"))
        self.kept: dict[str, Any] = {}

    def run(self) -> int:
        words = (
            "--data",
            self.data,
            "--out",
            self.out,
            "--baseline",
            "interpolation",
            "--protocol",
            "box+range",
        )
        return _program("benchmark", "accuracy", *words, "--no-pictures", "--threads", "1")

    def check_killed(self) -> None:
        there = self._measurements()
        lost = [key for key in self.kept if there.get(key) != self.kept[key]]
        assert not lost, f"measurements are lost or changed: {', '.join(lost)}"
        self.kept = there

    def check_finished(self) -> None:
        self.check_killed()
        assert len(self.kept) == 8, f"{len(self.kept)} of 8 measurements are there"
        report = json.loads((self.out / accuracy_report.JSON).read_text(encoding="utf-8"))
        assert len(report["measurements"]) == 8
        for path in (self.out / results.MASKS).iterdir():
            assert not path.name.startswith("."), f"left behind: {path.name}"
            with np.load(path) as masks:
                assert masks["first"].size
        hidden = [path.name for path in self.out.glob(".*") if path.name != results.LOCK]
        assert not hidden, f"left behind: {', '.join(hidden)}"
        lines = (self.out / results.RESULTS).read_bytes().splitlines(keepends=True)
        for path in self.out.rglob("*"):
            if path.is_file() and path.name != results.RESULTS:
                path.unlink()
        self.turn += 1  # leave some of what was measured, so that the next run goes on
        (self.out / results.RESULTS).write_bytes(b"".join(lines[: self.turn % len(lines)]))
        self.kept = self._measurements()

    def close(self) -> None:
        """Nothing is open."""

    def _measurements(self) -> dict[str, Any]:
        path = self.out / results.RESULTS
        if not path.exists():
            return {}
        whole = path.read_bytes().rpartition(b"\n")[0].splitlines()
        found = [json.loads(line) for line in whole]
        return {entry["key"]: entry for entry in found if "key" in entry}
