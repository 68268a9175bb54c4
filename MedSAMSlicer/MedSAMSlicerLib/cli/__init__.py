"""The command line: `medsamslicer segment | models | demo | benchmark | train`.

A command is a module with `add_parser(subparsers) -> ArgumentParser` and `run(arguments) -> int`. Such modules import
torch and numpy only while they run, so that `medsamslicer --help` answers at once. The commands of the laboratory are
missing where it was not installed, as inside Slicer.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import logging
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import NoReturn

from .. import __version__
from ..core.errors import Cancelled, MedSAMError
from .exit_codes import CANCELLED, FAILED, OK, USAGE, UsageError

_LIBRARY = __name__.partition(".")[0]
_COMMANDS = tuple(f"{__name__}.{name}" for name in ("segment", "models", "demo"))
_LABORATORY = tuple(f"{_LIBRARY}.lab.cli.{name}" for name in ("benchmark", "train"))
_HELP_WIDTH = 120

_EPILOG = """examples:
  medsamslicer segment ct.nii.gz --box spleen=40,120,200,210,280 -o spleen.seg.nrrd
  medsamslicer models list
  medsamslicer demo

`medsamslicer COMMAND --help` tells more, with examples.
exit codes: 0 done, 1 failed (one line on the error output says why), 2 wrong usage, 130 stopped by Ctrl-C"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (that of the program when None) and return the exit code."""
    _open_closed_streams()
    words = join_negative_values(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    try:
        arguments, unknown = parser.parse_known_args(words)
    except UsageError as error:
        return _say(str(error), USAGE)
    except SystemExit as stop:  # argparse has shown the help or the version
        return stop.code if isinstance(stop.code, int) else USAGE
    if unknown:
        program = getattr(arguments, "program", parser.prog)
        return _say(f"{unknown[0]!r} is not understood (see {program} --help)", USAGE)
    if "run" not in arguments:
        parser.print_help()
        return OK
    with _log_to_stderr(arguments.debug):
        return _run(arguments)


class _Parser(argparse.ArgumentParser):
    """A parser, and through `add_subparsers` those of the commands, that leaves it to `main` to say what is wrong."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def _open_closed_streams() -> None:
    """Give programs that are started without output or error stream (`>&-`, pythonw) somewhere to write to."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123 - open as long as the program runs


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; `run` of the chosen one is in the namespace."""
    parser = _Parser(
        prog="medsamslicer",
        description="From one box or a few clicks to a 3-D mask of a CT or MR volume.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"medsamslicer {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    laboratory = _LABORATORY if importlib.util.find_spec(f"{_LIBRARY}.lab") is not None else ()
    for name in (*_COMMANDS, *laboratory):
        command = importlib.import_module(name)
        command_parser = command.add_parser(subparsers)
        command_parser.add_argument(
            "--debug", action="store_true", help="show where in the program an error arose"
        )
        command_parser.set_defaults(run=command.run, program=command_parser.prog)
        command_parser.description = _wrapped(command_parser.description or "")
    return parser


def _wrapped(text: str) -> str:
    """Lines that are too long for a terminal broken, all others as they are."""
    return "\n".join(
        textwrap.fill(line, _HELP_WIDTH) if len(line) > _HELP_WIDTH else line for line in text.split("\n")
    )


def join_negative_values(words: Sequence[str]) -> list[str]:
    """Turn `--point -12.5,3,4` into `--point=-12.5,3,4`, since argparse takes what begins with - for an option."""
    joined: list[str] = []
    for word in words:
        if joined and re.match(r"-\.?\d", word) and re.fullmatch(r"--[\w-]+", joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _run(arguments: argparse.Namespace) -> int:
    try:
        code = int(arguments.run(arguments))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read the output has closed it: `medsamslicer models list | head -1`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - so that Python's own flush at the end succeeds
        return OK
    except (KeyboardInterrupt, Cancelled):
        if arguments.debug:
            raise
        return _say("cancelled; no file was left half-written.", CANCELLED)
    except UsageError as error:
        return _say(f"{error} (see {arguments.program} --help)", USAGE)
    except MedSAMError as error:
        if arguments.debug:
            raise
        return _say(str(error), FAILED)
    except MemoryError:
        if arguments.debug:
            raise
        return _say("there is not enough memory for this volume.", FAILED)
    except Exception as error:  # a fault of this program is told in one line as well
        if arguments.debug:
            raise
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        return _say(f"a fault of the program ({reason}); --debug shows where.", FAILED)


def _say(sentence: str, code: int) -> int:
    one_line = " ".join(sentence.split())
    sys.stderr.write(f"medsamslicer: error: {one_line}\n")
    return code


@contextlib.contextmanager
def _log_to_stderr(debug: bool) -> Iterator[None]:
    """What the library logs goes to the error output: warnings, or everything with --debug."""
    logger = logging.getLogger(_LIBRARY)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LowerCase("medsamslicer: %(levelname)s: %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if debug else logging.WARNING)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _LowerCase(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.levelname = record.levelname.lower()
        return super().format(record)
