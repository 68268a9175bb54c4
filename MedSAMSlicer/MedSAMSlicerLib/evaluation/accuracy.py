"""How well runners segment: every runner on every target in every way of working, resumable.

Each measurement is one line of JSON in `results.jsonl` in the output folder, written as soon as it is known; what is
there already is not measured again, so that a killed run continues. `run.json` says what a folder was made
with; another seed or another data set needs another folder.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..core.errors import MedSAMError, OutputError, VolumeError
from ..core.metrics import dice, dice_of_slices
from ..core.prompts import ObjectPrompts, Prompt
from ..io.volumes import Volume
from .datasets import MOST_TARGETS, Target, find_cases, load_case
from .measuring import processor
from .protocol import DEFAULT_PROTOCOLS, PROTOCOLS, Protocol
from .runners import Answer, Ask, Runner
from .simulated_user import correction

logger = logging.getLogger(__name__)

RESULTS, HEADER, MASKS = "results.jsonl", "run.json", "masks"
_COLOR = (1.0, 0.8, 0.2)

Progress = Callable[[float, int, str], None]
"""Called as progress(cases done, cases in all, what is measured)."""

Row = dict[str, Any]


@dataclass(frozen=True)
class AccuracyBenchmark:
    """What is measured.

    Args:
        data: a manifest, its folder, or a folder of image and label pairs.
        out: the folder of results; made when it is not there.
        protocols: ways of working.
        seed: of all that is left to chance.
        most: targets a case, the largest labels.
        only: parts of case names; a case is measured if its name holds one of them. None = all.
        keep_masks: whether first masks are kept too, in the folder `masks`.
    """

    data: Path
    out: Path
    protocols: tuple[Protocol, ...] = field(
        default_factory=lambda: tuple(PROTOCOLS[name] for name in DEFAULT_PROTOCOLS)
    )
    seed: int = 0
    most: int = MOST_TARGETS
    only: tuple[str, ...] = ()
    keep_masks: bool = False


def run_accuracy_benchmark(
    benchmark: AccuracyBenchmark, runners: Sequence[Runner], progress: Progress | None = None
) -> dict[str, Any]:
    """Measure what is not in the folder yet; returns "run" (how it was measured), "rows" and "skipped".

    Ctrl-C leaves what is done in the folder. A case that cannot be used is skipped; "skipped" says why.

    Raises:
        MedSAMError: no data, or the folder holds other results.
        KeyboardInterrupt: as it came.
    """
    chosen = [
        case
        for case in find_cases(benchmark.data)
        if not benchmark.only or any(part in case.name for part in benchmark.only)
    ]
    if not chosen:
        raise VolumeError(f"{benchmark.data} has no labelled case named like {', '.join(benchmark.only)}.")
    header = _header(benchmark, runners)
    results = ResultsFile(benchmark.out, header)
    skipped: list[dict[str, str]] = []
    wanted: set[str] = set()
    for number, case in enumerate(chosen):
        try:
            volume, targets = load_case(case, benchmark.most)
        except MedSAMError as error:
            logger.info("skipped %s: %s", case.name, error)  # the report tells
            reason = str(error).replace(str(benchmark.data), "DATA")  # where it lies is nobody's concern
            skipped.append({"case": case.name, "reason": reason})
            continue
        jobs = [*_jobs(targets, benchmark.protocols, runners)]
        for place, (target, protocol, runner) in enumerate(jobs):
            key = _key(target, protocol, runner)
            wanted.add(key)
            if progress is not None:
                done = number + place / len(jobs)
                progress(done, len(chosen), f"{case.name}, {target.name}: {runner.name}")
            if key in results.rows:
                continue
            answers: list[Answer] = []
            row = measure(volume, target, protocol, runner, benchmark.seed, answers)
            if benchmark.keep_masks and answers:
                results.keep_mask(key, answers)
            results.add(key, row)
    rows = [row for key, row in results.rows.items() if key in wanted]
    return {"run": results.header, "rows": rows, "skipped": skipped}


def measure(
    volume: Volume,
    target: Target,
    protocol: Protocol,
    runner: Runner,
    seed: int,
    answers: list[Answer] | None = None,
) -> Row:
    """One runner on one target in one way of working, as plain values.

    Args:
        volume, target, protocol, runner: which.
        seed: of what is left to chance.
        answers: is given the answer after every step.

    Returns:
        "dice": after the first prompt and after each correction (as many as before once nothing is wrong);
        "prompted": Dice on the prompted slice after the first prompt; "slices": [index, Dice] of every slice that
        holds the object or the first mask; seconds; "error" instead, with Dice 0, when the runner failed.
    """
    chance = [seed, *target.case.name.encode(), 0, *target.name.encode()]
    key = target.largest_slice
    row: Row = {
        "case": target.case.name,
        "target": target.name,
        "modality": target.case.modality,
        "series": target.case.is_series,
        "runner": runner.name,
        "protocol": protocol.name,
        "voxels": int(np.count_nonzero(target.mask)),
        "range": list(target.slice_range),
        "prompted_slice": key,
    }
    corrections = protocol.corrections if runner.corrects else 0
    try:
        ask = runner.begin(volume, target.axis)
        steps = list(_steps(volume, target, protocol, corrections, ask, chance))
    except MedSAMError as error:
        logger.info("%s failed on %s, %s: %s", runner.name, target.case.name, target.name, error)
        zeros = [0.0] * (corrections + 1)
        return {**row, "dice": zeros, "prompted": 0.0, "slices": [], "error": str(error)}
    if answers is not None:
        answers.extend(steps)
    scores = [dice(step.mask, target.mask) for step in steps]
    scores += scores[-1:] * (corrections + 1 - len(scores))
    by_slice = dice_of_slices(steps[0].mask, target.mask, target.axis)
    held = np.flatnonzero(np.isfinite(by_slice)).tolist()
    return {
        **row,
        "dice": [round(score, 5) for score in scores],
        "prompted": round(float(by_slice[key]), 5),
        "slices": [[index, round(float(by_slice[index]), 4)] for index in held],
        "first_seconds": round(steps[0].first_seconds, 4),
        "seconds": [round(step.seconds, 4) for step in steps],
    }


def _steps(
    volume: Volume, target: Target, protocol: Protocol, corrections: int, ask: Ask, chance: Sequence[int]
) -> Iterator[Answer]:
    """The answers to the first prompt and to each correction, until nothing is wrong or all were given."""
    slice_range = target.slice_range if protocol.ranged else None
    said: list[Prompt] = [protocol.first(target, volume.geometry, chance)]
    for round_ in range(corrections + 1):
        answer = ask(ObjectPrompts(target.name, _COLOR, tuple(said), slice_range))
        yield answer
        if round_ == corrections:
            return
        click = correction(target, answer.mask, volume.geometry, said, round_ + 1, slice_range)
        if click is None:
            return
        said.append(click)


class ResultsFile:
    """The measurements of a folder: those that are there, and those that are added.

    Args:
        folder: made when it is not there.
        header: what the folder is made with; runners may be added later.

    Raises:
        OutputError: the folder cannot be written.
        MedSAMError: it holds measurements of other data, another seed or another version.
    """

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self._folder = folder
        self.rows: dict[str, Row] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.header = self._checked(header)
            self._read()
        except OSError as error:
            raise OutputError(f"Cannot write results into {folder}: {error.strerror or error}.") from error

    def add(self, key: str, row: Row) -> None:
        """Write one measurement to the disk at once."""
        with (self._folder / RESULTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, **row}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows[key] = row

    def keep_mask(self, key: str, answers: Sequence[Answer]) -> None:
        """Keep the first and the last mask as packed bits."""
        folder = self._folder / MASKS
        folder.mkdir(exist_ok=True)
        name = "".join(letter if letter.isalnum() or letter in "+-_." else "_" for letter in key)
        np.savez_compressed(
            folder / f"{name}.npz",
            shape=np.array(answers[0].mask.shape),
            first=np.packbits(answers[0].mask),
            last=np.packbits(answers[-1].mask),
        )

    def _checked(self, header: dict[str, Any]) -> dict[str, Any]:
        path = self._folder / HEADER
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            for field_ in ("version", "data", "seed", "most"):
                if before.get(field_) != header[field_]:
                    raise MedSAMError(
                        f"{self._folder} holds results with {field_} {before.get(field_)!r}, not {header[field_]!r}: "
                        "choose another folder, or remove it."
                    )
            for name, about in before["runners"].items():
                if header["runners"].get(name, about) != about:
                    raise MedSAMError(
                        f"{self._folder} holds results of another {name} ({about}): choose another folder."
                    )
            header = {**header, "runners": {**before["runners"], **header["runners"]}}
        path.write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")
        return header

    def _read(self) -> None:
        path = self._folder / RESULTS
        if not path.is_file():
            return
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):  # the last line was being written when the run was killed
            path.write_bytes(whole)
        for line in whole.decode("utf-8").splitlines():
            row = json.loads(line)
            self.rows[row.pop("key")] = row


def _jobs(
    targets: Sequence[Target], protocols: Sequence[Protocol], runners: Sequence[Runner]
) -> Iterator[tuple[Target, Protocol, Runner]]:
    for target in targets:
        for protocol in protocols:
            for runner in runners:
                if runner.supports(protocol):
                    yield target, protocol, runner


def _key(target: Target, protocol: Protocol, runner: Runner) -> str:
    return f"{target.case.name}|{target.name}|{protocol.name}|{runner.name}"


def _header(benchmark: AccuracyBenchmark, runners: Sequence[Runner]) -> dict[str, Any]:
    import SimpleITK as sitk
    import torch

    return {
        "version": __version__,
        "data": benchmark.data.resolve().name,
        "seed": benchmark.seed,
        "most": benchmark.most,
        "runners": {runner.name: runner.describe() for runner in runners},
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "SimpleITK": sitk.Version.VersionString(),
        "processor": processor("cpu"),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.release()}" if sys.platform != "darwin" else "macOS",
    }
