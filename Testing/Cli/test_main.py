"""The program as a whole: help, usage, exit codes, errors in one line, quick start."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from MedSAMSlicerLib import __version__
from MedSAMSlicerLib.cli import build_parser, join_negative_values, models, segment
from MedSAMSlicerLib.core.errors import Canceled, VolumeError

COMMANDS = ("segment", "models", "demo", "benchmark", "train")


def raising(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def run(_: argparse.Namespace) -> int:
        raise error

    return run


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, cli: Any) -> Callable[..., Any]:
    """Run `medsamslicer models list` while it fails in a given way."""

    def run(error: BaseException, *options: str) -> Any:
        monkeypatch.setattr(models, "run", raising(error))
        return cli("models", *options, "list")

    return run


def test_without_a_command_the_help_is_shown(cli: Any) -> None:
    done = cli()
    assert done.code == 0
    assert all(command in done.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_examples(cli: Any, command: str) -> None:
    done = cli(command, "--help")
    assert done.code == 0
    assert f"medsamslicer {command}" in done.out
    assert "examples:" in done.out


def test_every_line_of_help_fits_a_terminal(cli: Any) -> None:
    for command in COMMANDS:
        assert max(map(len, cli(command, "--help").out.splitlines())) <= 120


def test_the_help_lists_the_exit_codes(cli: Any) -> None:
    assert "exit codes: 0 done, 1 failed" in cli("--help").out


def test_the_version_is_reported(cli: Any) -> None:
    assert cli("--version").out.strip() == f"medsamslicer {__version__}"


ACCURACY = ("benchmark", "accuracy", "--data", "volumes")
SEGMENT = ("segment", "ct.nii.gz", "-o", "out.seg.nrrd")


@pytest.mark.parametrize(
    ("words", "named", "page"),
    [
        (["nonsense"], "'nonsense'", "medsamslicer"),
        (["--nonsense"], "'--nonsense'", "medsamslicer"),
        (["segment"], "VOLUME, -o/--output", "medsamslicer segment"),
        (["segment", "ct.nii.gz"], "-o/--output", "medsamslicer segment"),
        (["segment", "-o", "out.seg.nrrd"], "VOLUME", "medsamslicer segment"),
        ([*SEGMENT], "needs a prompt", "medsamslicer segment"),
        ([*SEGMENT, "--axis", "x"], "'x'", "medsamslicer segment"),
        (
            [*SEGMENT, "--threads", "0"],
            "--threads: a whole number of 1 or more is needed, not '0'",
            "medsamslicer segment",
        ),
        ([*SEGMENT, "--threads", "-2"], "not '-2'", "medsamslicer segment"),
        ([*SEGMENT, "--threads", "100000"], "are possible on this computer", "medsamslicer segment"),
        ([*ACCURACY, "--threads", "100000"], "are possible", "medsamslicer benchmark accuracy"),
        ([*ACCURACY, "--processes", "100000"], "are possible", "medsamslicer benchmark accuracy"),
        (["benchmark", "engine", "--threads", "100000"], "are possible", "medsamslicer benchmark engine"),
        (["train", "--out", "run", "--threads", "100000"], "are possible", "medsamslicer train"),
        (
            [*SEGMENT, "--cache-mb", "much"],
            "--cache-mb: a whole number of 1 or more is needed, not 'much'",
            "medsamslicer segment",
        ),
        ([*SEGMENT, "--thre", "1"], "'--thre'", "medsamslicer segment"),
        ([*SEGMENT, "--cleanup", "line\nbreak"], "--cleanup", "medsamslicer segment"),
        (["models"], "ACTION", "medsamslicer models"),
        (["models", "download"], "model", "medsamslicer models download"),
        (["models", "burn"], "'burn'", "medsamslicer models"),
        (["demo", "--seed", "x"], "'x'", "medsamslicer demo"),
        (["train"], "--out", "medsamslicer train"),
        (["train", "--out", "run", "--threads", "0"], "1 or more is needed, not '0'", "medsamslicer train"),
        (["train", "--out", "run", "--workers", "-1"], "0 or more is needed, not '-1'", "medsamslicer train"),
    ],
)
def test_wrong_usage_ends_with_2_and_one_line_that_names_it(
    cli: Any, words: list[str], named: str, page: str
) -> None:
    done = cli(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("medsamslicer: error: ")
    assert done.err.endswith(f" (see {page} --help)\n")
    assert done.err.count("\n") == 1
    assert named in done.err


@pytest.mark.parametrize("command", ["segment", "demo", "benchmark"])
def test_the_help_says_which_devices_nobody_has_tried(cli: Any, command: str) -> None:
    message = " ".join(cli(command, "--help").out.split())
    assert "cuda and mps were not run in this project's tests so far" in message


def test_an_error_is_one_line_with_exit_code_1(failing: Any) -> None:
    done = failing(VolumeError("ct.nii.gz is\nbroken."))
    assert (done.code, done.out, done.err) == (1, "", "medsamslicer: error: ct.nii.gz is broken.\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Canceled("stopped")])
def test_ctrl_c_ends_with_130(failing: Any, error: BaseException) -> None:
    done = failing(error)
    assert done.code == 130
    assert "canceled" in done.err


def test_too_little_memory_is_reported_as_such(failing: Any) -> None:
    assert "not enough memory" in failing(MemoryError()).err


def test_a_fault_of_the_program_is_one_line_too(failing: Any) -> None:
    done = failing(ZeroDivisionError("division by zero"))
    assert done.code == 1
    assert done.err == (
        "medsamslicer: error: a fault of the program (ZeroDivisionError: division by zero); --debug shows where.\n"
    )


@pytest.mark.parametrize("error", [VolumeError("broken"), ZeroDivisionError("zero"), KeyboardInterrupt()])
def test_debug_shows_where(failing: Any, error: BaseException) -> None:
    with pytest.raises(type(error)):
        failing(error, "--debug")


def test_warnings_of_the_library_reach_the_error_output(monkeypatch: pytest.MonkeyPatch, cli: Any) -> None:
    def warning(_: argparse.Namespace) -> int:
        logging.getLogger("MedSAMSlicerLib.io").warning("something is odd")
        logging.getLogger("MedSAMSlicerLib.io").info("all is well")
        return 0

    monkeypatch.setattr(models, "run", warning)
    assert cli("models", "list").err == "medsamslicer: warning: something is odd\n"
    assert logging.getLogger("MedSAMSlicerLib").handlers == []


def test_a_reader_that_closes_the_pipe_is_no_error(program: Any) -> None:
    prelude = "import os\nread, write = os.pipe(); os.close(read); os.dup2(write, 1)"
    done = program("models", "list", prelude=prelude)
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        (["--point", "-12.5,3,4"], ["--point=-12.5,3,4"]),
        (["--window", "-160,240"], ["--window=-160,240"]),
        (["--box", "a=-1,2"], ["--box", "a=-1,2"]),
        (["--json", "-o", "x"], ["--json", "-o", "x"]),
        (["--point", "-.5,1,2", "--ras"], ["--point=-.5,1,2", "--ras"]),
    ],
)
def test_values_may_begin_with_a_minus_sign(words: list[str], joined: list[str]) -> None:
    assert join_negative_values(words) == joined


@pytest.mark.parametrize("words", [["--help"], ["segment", "--help"], ["models", "list"]])
def test_help_and_lists_load_neither_torch_nor_numpy(program: Any, words: list[str]) -> None:
    prelude = (
        "import atexit, sys\n"
        "atexit.register(lambda: sys.stderr.write(' '.join({'torch', 'numpy', 'SimpleITK'} & set(sys.modules))))"
    )
    done = program(*words, prelude=prelude)
    assert (done.code, done.err) == (0, "")


def test_the_module_runs_without_the_installed_script() -> None:
    import os
    import subprocess

    path = str(Path(__file__).parents[2] / "MedSAMSlicer")
    done = subprocess.run(
        [sys.executable, "-m", "MedSAMSlicerLib.cli", "--version"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"medsamslicer {__version__}"


def test_every_command_can_be_debugged() -> None:
    parser = build_parser()
    for command in COMMANDS:
        words = {"segment": ["v", "-o", "o"], "models": ["list"], "benchmark": ["engine"]}.get(command, [])
        assert parser.parse_args([command, "--debug", *words]).debug


def test_clean_up_and_overlap_are_called_as_in_the_panel() -> None:
    panel = Path(segment.__file__).parents[2] / "Resources" / "UI" / "MedSAMSlicer.ui"
    segments = Path(segment.__file__).parents[1] / "panel" / "segments.py"
    written = " ".join(
        segment.add_parser(argparse.ArgumentParser().add_subparsers()).format_help().split()
    ).lower()
    named = panel.read_text("utf-8") + segments.read_text("utf-8")
    for words in (
        "Keep only the part with prompts",
        "Fill holes",
        "one connected part, no holes",
        "Allow overlap",
    ):
        assert words in named
        assert words.lower() in written
