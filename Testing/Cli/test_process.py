"""The program as a process: streams that end, signals, users without a home, and the poorest surroundings."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from file_server import FileServer, running_server

from MedSAMSlicerLib import cli
from MedSAMSlicerLib.cli import models
from MedSAMSlicerLib.cli.process import EndingSignals

PACKAGE = Path(__file__).parents[2] / "MedSAMSlicer"
posix = pytest.mark.skipif(os.name != "posix", reason="pipes and signals of POSIX systems")
BOX = ("--box=6,19,15,29,25", "--range=5,7", "--threads=1")

# Standard output and error output lead into a pipe that nobody reads.
UNREAD = "import os\nread, write = os.pipe(); os.close(read); os.dup2(write, 1); os.dup2(write, 2)"


@pytest.fixture
def tilted(ct_file: Path, tmp_path: Path) -> Path:
    """A NIfTI file whose axes are not perpendicular, which is worth a warning."""
    path = tmp_path / "tilted.nii"
    sitk.WriteImage(sitk.ReadImage(str(ct_file)), str(path))
    content = bytearray(path.read_bytes())
    content[254:256] = np.array([1], "<i2").tobytes()  # use the sform
    content[284:288] = np.array([0.3], "<f4").tobytes()  # x grows with j, too
    path.write_bytes(content)
    return path


@posix
def test_the_work_is_done_although_nobody_reads_warnings_and_output(
    program: Any, tilted: Path, tmp_path: Path
) -> None:
    words = ("segment", tilted, *BOX, "--json", "-o")
    out = tmp_path / "read.nii.gz"
    assert "warning" in program(*words, out).err
    assert program(*words, tmp_path / "out.nii.gz", prelude=UNREAD).code == 0
    assert (tmp_path / "out.nii.gz").read_bytes() == out.read_bytes()


@pytest.mark.parametrize("command", ["segment", "review", "propose"])
def test_progress_is_lines_where_the_error_output_is_no_terminal(
    program: Any,
    ct_file: Path,
    random_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    grid = (
        "--points-per-side=10",
        "--least-iou=0",
        "--least-stability=0",
        "--slice=6",
        "--threads=1",
        "--yes",
    )
    ball_mask = tmp_path / "ball.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(ct_file)) > 80, str(ball_mask))
    words, label = {
        "segment": ((ct_file, *BOX, "-o", tmp_path / "out.nii.gz"), r"segmenting +\d+ %  slice \d+"),
        "review": ((ct_file, f"--mask={ball_mask}", "--threads=1"), r"reviewing +\d+ %  slice \d+"),
        "propose": (
            (ct_file, *grid, f"--model={random_checkpoint}", "-o", tmp_path / "all.seg.nrrd"),
            r"searching +\d+ %  clicks",
        ),
    }[command]
    monkeypatch.setenv("MEDSAMSLICER_PROGRESS_SECONDS", "0.0001")
    done = program(command, *words)
    assert done.code == 0, done
    lines = done.err.splitlines()
    assert lines
    assert all(re.match(label, line) for line in lines), lines
    if command == "segment":
        monkeypatch.delenv("MEDSAMSLICER_PROGRESS_SECONDS")
        assert program(command, *words).err == "", "what is over in half a minute says nothing"


def test_a_broken_pipe_between_processes_is_a_failure(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: argparse.Namespace) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(models, "run", run)
    assert cli("models", "list").code == 1


@posix
@pytest.mark.parametrize("words", [["--help"], ["models", "list"], ["segment", "--help"]])
def test_help_and_lists_may_be_cut_short(words: list[str]) -> None:
    command = (
        f"'{sys.executable}' -m MedSAMSlicerLib.cli {' '.join(words)} | head -1; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", command], cwd=PACKAGE, capture_output=True, text=True, check=True)
    assert (done.stdout.splitlines()[-1], done.stderr) == ("0", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full, of Linux")
def test_an_output_that_does_not_fit_is_one_sentence() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-m", "MedSAMSlicerLib.cli", "models", "list"],
            cwd=PACKAGE, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "The standard output cannot be written: No space left" in done.stderr


@posix
def test_a_question_without_an_input_to_answer_it_is_a_no(own_cache: Path) -> None:
    command = [sys.executable, "-m", "MedSAMSlicerLib.cli", "models", "download", "medsam2-latest"]
    done = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *command], cwd=PACKAGE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "--yes" in done.stderr
    assert "was not confirmed" in done.stderr


@pytest.fixture
def no_nohup() -> Iterator[None]:
    """Programs hear a hang-up, even where the tests themselves were started to ignore it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@posix
@pytest.mark.usefixtures("no_nohup")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_program_as_ctrl_c_does(number: signal.Signals, own_cache: Path) -> None:
    with running_server() as server:
        process = downloading(server, own_cache)
        process.send_signal(number)
        message = process.communicate(timeout=180)[1]
    assert process.returncode == 128 + number
    assert message == "medsamslicer: error: canceled; no file was left half-written.\n"


def downloading(server: FileServer, folder: Path) -> subprocess.Popen[str]:
    """A program that has received the first bytes of a file that will never end."""
    server.content, server.chunk_pause_s, server.content_length = bytes(156008466), 0.02, "156008466"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "MedSAMSlicerLib.cli"),
            *("models", "download", "sam2.1-tiny", "--mirror", server.address),
        ],
        cwd=PACKAGE,
        stderr=subprocess.PIPE,
        text=True,
    )
    part = folder / "sam2.1_hiera_tiny.pt.part"
    while not (part.exists() and part.stat().st_size):
        assert process.poll() is None
        time.sleep(0.01)
    return process


@posix
def test_a_signal_that_the_program_was_started_to_ignore_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with EndingSignals() as signals:
            signal.raise_signal(signal.SIGHUP)
        assert signals.received is None
    finally:
        signal.signal(signal.SIGHUP, before)


@posix
@pytest.mark.usefixtures("no_nohup")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_before_a_command_begins_is_one_line(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "build_parser", lambda: signal.raise_signal(number))
    assert cli.main() == 128 + number
    assert capsys.readouterr().err == "medsamslicer: error: canceled; no file was left half-written.\n"


@posix
def test_ctrl_c_while_weights_load_is_not_taken_for_damage(
    program: Any, ct_file: Path, tmp_path: Path
) -> None:
    prelude = """
import signal, torch
item = torch.UntypedStorage.__getitem__
def interrupted(storage, place):
    if place == 0:  # within a function of torch that turns any error into a ValueError
        signal.raise_signal(signal.SIGINT)
    return item(storage, place)
torch.UntypedStorage.__getitem__ = interrupted
"""
    done = program("segment", ct_file, *BOX, "-o", tmp_path / "out.nii.gz", prelude=prelude)
    assert (done.code, done.err) == (130, "medsamslicer: error: canceled; no file was left half-written.\n")
    assert list(tmp_path.iterdir()) == []


# A user number without an entry in the list of users, as in a container that runs with any number.
UNLISTED = """
import pwd, sys
def unlisted(number):
    raise KeyError(number)
pwd.getpwuid = unlisted
from MedSAMSlicerLib.cli import main
sys.exit(main())
"""


@posix
def test_the_bundled_network_runs_in_the_poorest_surroundings(ct_file: Path, tmp_path: Path) -> None:
    """No home, no entry in the list of users, plain ASCII, no input, and Python without docstrings and asserts."""
    output = tmp_path / "Mädchen.nii.gz"
    words = ("segment", str(ct_file), *BOX, "-o", str(output))
    done = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", sys.executable, "-OO", "-c", UNLISTED, *words],
        env={"LC_ALL": "C", "LANG": "C", "PATH": os.environ["PATH"], "PYTHONPATH": str(PACKAGE)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert output.stat().st_size > 0
