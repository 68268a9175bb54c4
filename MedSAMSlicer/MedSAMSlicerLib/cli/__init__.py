"""The command line: `medsamslicer segment | video | propose | review | models | demo | web`, and the laboratory's.

A command is a module with `add_parser(subparsers) -> ArgumentParser` and `run(arguments) -> int`. Such modules import
torch and numpy only while they run, so that `medsamslicer --help` answers at once. The web page and the commands of the
laboratory are missing where they were not installed, as inside Slicer.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import logging
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import NoReturn

from .. import __version__
from ..core.errors import Canceled, MedSAMError
from ..core.foreign_errors import first_line
from .exit_codes import FAILED, OK, USAGE, UsageError
from .process import EndingSignals, sturdy_streams

_LIBRARY = __name__.partition(".")[0]
_COMMANDS = tuple(
    f"{__name__}.{name}" for name in ("segment", "video", "propose", "review", "models", "demo")
)
_LABORATORY = tuple(f"{_LIBRARY}.lab.cli.{name}" for name in ("batch", "benchmark", "train"))
_WEB = (f"{_LIBRARY}.web.command",)
_HELP_WIDTH = 120

_EPILOG = """examples:
  medsamslicer segment ct.nii.gz --box spleen=40,120,200,210,280 -o spleen.seg.nrrd
  medsamslicer models list
  medsamslicer demo

`medsamslicer COMMAND --help` shows every option, with examples.
exit codes: 0 done, 1 failed (one line on the error output says why), 2 wrong usage, 128 + N stopped by
signal N: 130 by Ctrl-C"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` and return the exit code.

    Without `argv` the process belongs to the program: its arguments, streams and signals are used.
    """
    if argv is not None:
        return _main(argv, EndingSignals())
    signals = EndingSignals()
    with sturdy_streams():
        try:
            with signals:
                return _main(sys.argv[1:], signals)
        except KeyboardInterrupt:  # before a command had begun, or after it had ended
            return _show_canceled(signals)


def _main(argv: Sequence[str], signals: EndingSignals) -> int:
    words = join_negative_values(argv)
    parser = build_parser()
    try:
        arguments, unknown = parser.parse_known_args(words)
    except UsageError as error:
        return _show_error(str(error), USAGE)
    except SystemExit as stop:  # argparse has shown the help or the version
        return stop.code if isinstance(stop.code, int) else USAGE
    if unknown:
        program = getattr(arguments, "program", parser.prog)
        return _show_error(f"{unknown[0]!r} is not understood (see {program} --help)", USAGE)
    if "run" not in arguments:
        parser.print_help()
        return OK
    with _log_to_stderr(arguments.debug):
        return _run(arguments, signals)


class _Parser(argparse.ArgumentParser):
    """A parser, and through `add_subparsers` those of the commands, that leaves it to `main` to say what is wrong."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


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
    web = _WEB if importlib.util.find_spec(f"{_LIBRARY}.web") is not None else ()
    laboratory = _LABORATORY if importlib.util.find_spec(f"{_LIBRARY}.lab") is not None else ()
    for name in (*_COMMANDS, *web, *laboratory):
        command = importlib.import_module(name)
        command_parser = command.add_parser(subparsers)
        command_parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
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


def _run(arguments: argparse.Namespace, signals: EndingSignals) -> int:
    try:
        code = int(arguments.run(arguments))
        sys.stdout.flush()
        return code
    except (KeyboardInterrupt, Exception) as error:
        if arguments.debug and not isinstance(error, UsageError):
            raise
        # Some libraries turn the interruption into an error of their own, such as a damaged file.
        if signals.received is not None or isinstance(error, KeyboardInterrupt | Canceled):
            return _show_canceled(signals)
        return _show_error(*_sentence(error, arguments.program))


def _sentence(error: Exception, program: str) -> tuple[str, int]:
    """Return what to say about an error, and the exit code."""
    if isinstance(error, UsageError):
        return f"{error} (see {program} --help)", USAGE
    if isinstance(error, MedSAMError):
        return str(error), FAILED
    if isinstance(error, MemoryError):
        return "there is not enough memory for this volume.", FAILED
    reason = f"{type(error).__name__}: {first_line(error)}"
    return f"a fault of the program ({reason}); --debug shows where.", FAILED


def _show_canceled(signals: EndingSignals) -> int:
    return _show_error("canceled; no file was left half-written.", signals.exit_code)


def _show_error(sentence: str, code: int) -> int:
    one_line = " ".join(sentence.split())
    sys.stderr.write(f"medsamslicer: error: {one_line}\n")
    return code


@contextlib.contextmanager
def _log_to_stderr(debug: bool) -> Iterator[None]:
    """Return what the library logs goes to the error output: warnings, or everything with --debug."""
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
