"""`medsamslicer benchmark accuracy|effort`: how well the engine and its baselines segment a labeled data set."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...cli.argument_types import not_negative, threads
from ...cli.exit_codes import OK, UsageError
from ...cli.models import loads
from ...cli.terminal import UNTRIED_DEVICES, ProgressBar, confirmation, show_message, warn
from ...core.errors import MedSAMError
from ...core.tiers import STAGES, TIERS
from ...models.registry import BUNDLED_ID, Registry
from ..evaluation.runner_specs import (
    BASELINES,
    ENGINE,
    OWN,
    SAM2_PACKAGE,
    TRANSFORMERS,
    RunnerSpec,
    build,
    network_spec,
)

if TYPE_CHECKING:
    from ..evaluation.executors import Executor
    from ..evaluation.progress import BenchmarkProgress
    from ..evaluation.protocol import PromptProtocol
    from ..evaluation.report_data import AccuracyReport

FOLDERS = {"accuracy": "accuracy", "effort": "effort"}
"""Where results go unless --out says so; by what is measured."""

_SUITES = (
    *("standard", "prompts", "pipelines", "effort", "key-slices", "cvpr25", "radioactive", "medsam2-44"),
    "sam2-study",
)
_KEY_SLICES = (1, 2, 3, 5)
_DESCRIPTIONS = {
    "accuracy": "Measure how well labeled volumes, pictures and videos are segmented from the prompts that a user "
    "would give:\n3-D Dice, surface Dice, distance, seconds and memory, beside baselines that need no network.",
    "effort": "Measure how many prompts it takes until a mask is good, and how long the user waits for each:\n"
    "up to ten clicks or five boxes, each where the mask is worst.",
}
_HELP = {
    "accuracy": "how well labeled data are segmented, beside baselines",
    "effort": "how many prompts and seconds it takes until a mask is good",
}
_EPILOG = """examples:
  medsamslicer benchmark {what} --data DATA --out results
  medsamslicer benchmark {what} --data DATA --model sam2.1-tiny --model my.safetensors --no-baselines
  medsamslicer benchmark {what} --data DATA --processes 4
  medsamslicer benchmark {what} --data DATA --scheduler tcp://HOST:8786{more}

A run that was stopped continues with the same command. On a cluster, DATA and the weights must lie at the same paths on
all machines, with the same version of this program; start its workers with one thread each."""


_MORE_EXAMPLES = {
    "accuracy": """
  medsamslicer benchmark accuracy --data DATA --suite cvpr25
  medsamslicer benchmark accuracy --data DATA --key-slices 1 --key-slices 3
  medsamslicer benchmark accuracy --data DATA --suite sam2-study --model sam2.1-large --no-baselines"""
}


def add_parsers(whats: Any) -> None:
    """Declare `accuracy` and `effort`."""
    for what in FOLDERS:
        parser: argparse.ArgumentParser = whats.add_parser(
            what,
            help=_HELP[what],
            description=_DESCRIPTIONS[what],
            epilog=_EPILOG.format(what=what, more=_MORE_EXAMPLES.get(what, "")),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        _add_data_options(parser, FOLDERS[what])
        if what == "accuracy":
            _add_protocol_options(parser)
        _add_runner_options(parser)
        _add_work_options(parser)
        _add_report_options(parser)


def _add_data_options(parser: argparse.ArgumentParser, folder: str) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DATA",
        help="a manifest.json, its folder, or a folder of X_image, X_label pairs",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(folder),
        metavar="FOLDER",
        help=f"results and report; a run that was stopped continues there (default: {folder})",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PART",
        help="cases whose name contains PART; may be repeated",
    )
    parser.add_argument(
        "--seed", type=not_negative, default=0, metavar="N", help="seed of everything random (default: 0)"
    )


def _add_protocol_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("protocols")
    group.add_argument(
        "--suite", metavar="NAME", help=f"which ones: {', '.join(_SUITES)} (default: {_SUITES[0]})"
    )
    group.add_argument(
        "--protocol",
        action="append",
        default=[],
        metavar="NAME",
        help='one of them, such as "box+range" (with 5 corrections) or "click"; may be repeated',
    )
    group.add_argument(
        "--key-slices",
        action="append",
        default=[],
        type=int,
        choices=_KEY_SLICES,
        help="boxes, and masks, on so many evenly spaced slices; may be given again (all: --suite key-slices)",
    )


def _add_runner_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("runners")
    group.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME|FILE",
        help=f"checkpoint; may be repeated (default: {BUNDLED_ID})",
    )
    group.add_argument(
        "--tier",
        action="append",
        default=[],
        choices=TIERS,
        help="arithmetic; may be repeated (default: by device)",
    )
    group.add_argument(
        "--volume-stage",
        action="append",
        default=[],
        choices=STAGES,
        help="how slices are looked at together; may be given again (default: auto)",
    )
    group.add_argument(
        "--official",
        action="store_true",
        help="the packages sam2 and transformers too, with the same weights, where they are installed",
    )
    group.add_argument(
        "--baseline",
        action="append",
        default=[],
        choices=BASELINES,
        help=f"baselines without a network: {', '.join(BASELINES)}; may be repeated (default: all)",
    )
    group.add_argument("--no-baselines", action="store_true", help="leave out all baselines")
    group.add_argument(
        "--runner",
        action="append",
        default=[],
        metavar="MODULE:FUNCTION",
        help="a function of yours that returns a runner (MedSAMSlicerLib.lab.evaluation.runners); may be repeated",
    )
    group.add_argument("--device", default="cpu", help=f"cpu, cuda or mps (default: cpu); {UNTRIED_DEVICES}")
    group.add_argument("--yes", action="store_true", help="answer every question with yes")


def _add_work_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("work")
    group.add_argument(
        "--threads",
        type=threads,
        metavar="N",
        help="CPU threads (default: all; 1 with --processes, --scheduler)",
    )
    group.add_argument(
        "--processes", type=threads, default=1, metavar="N", help="cases measured at once (default: 1)"
    )
    group.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster that measures")


def _add_report_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("report")
    group.add_argument(
        "--keep-masks",
        action="store_true",
        help="keep first and last masks of all protocols, not of box+range alone, in FOLDER/masks",
    )
    group.add_argument("--no-pictures", action="store_true", help="neither plots nor pictures of cases")
    group.add_argument(
        "--into",
        type=Path,
        metavar="DOCUMENT",
        help="also write the report into its places in a Markdown document",
    )
    group.add_argument("--json", action="store_true", help="print every single value as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Measure, write the report, print its summary; returns the exit code."""
    if arguments.scheduler is not None and arguments.processes != 1:
        raise UsageError("--scheduler and --processes cannot be combined: the cluster has its own processes")
    protocols = _protocols(arguments)
    from ..evaluation.accuracy import AccuracyBenchmark, run_accuracy_benchmark
    from ..evaluation.accuracy_report import JSON, write_report
    from ..evaluation.documents import check_report_places, put_report_into

    if arguments.into is not None:
        check_report_places(arguments.into, arguments.what)  # not only after hours of measuring
    alone = arguments.processes == 1 and arguments.scheduler is None
    threads = arguments.threads or ((os.cpu_count() or 1) if alone else 1)
    benchmark = AccuracyBenchmark(
        data=arguments.data.absolute() if arguments.scheduler else arguments.data,
        out=arguments.out,
        protocols=protocols,
        seed=arguments.seed,
        only=tuple(arguments.only),
        keep_masks=arguments.keep_masks,
        command=command_of(arguments),
        threads=threads,
    )
    specs = list(_specs(arguments, threads))
    if not specs:
        raise UsageError("there is nothing to measure")
    try:
        with ProgressBar("measuring") as bar:
            executor = _executor(arguments, threads)
            report = run_accuracy_benchmark(benchmark, specs, lambda where: _show(bar, where), executor)
    except KeyboardInterrupt:
        show_message(f"What was measured so far is in {arguments.out}; the same command continues.")
        raise
    for skipped_case in report.skipped:
        warn(f"skipped {skipped_case.case}: {skipped_case.reason}")
    paths = write_report(
        report, arguments.out, data=arguments.data, pictures=not arguments.no_pictures, focus=arguments.what
    )
    if arguments.into is not None:
        paths += put_report_into(arguments.into, report, arguments.what)
    if not report.measurements:
        raise MedSAMError(_why_nothing(report, specs, protocols))
    if arguments.json:
        sys.stdout.write((arguments.out / JSON).read_text(encoding="utf-8"))
    else:
        sys.stdout.write(_summary(report, arguments.what) + "\n\nWritten:\n")
        sys.stdout.writelines(f"- {path}\n" for path in paths)
    return OK


def _why_nothing(
    report: AccuracyReport, specs: Sequence[RunnerSpec], protocols: Sequence[PromptProtocol]
) -> str:
    """The reason why a run has no measurement, in one sentence."""
    if report.skipped:
        return "Nothing was measured: every case was skipped."
    unusable = [spec.name for spec in specs if not any(build(spec).supports(each) for each in protocols)]
    if len(unusable) < len(specs):
        return "Nothing was measured: the protocols do not fit any target, such as 3-D ones a picture."
    names = ", ".join(unusable)
    if all(protocol.mask_token not in ("auto", "single") for protocol in protocols):
        return f"Nothing was measured: {names} draws one mask only, and an alternative is to be taken."
    if all(protocol.prompt == "click" for protocol in protocols):
        return f"Nothing was measured: {names} was trained on boxes only, and these protocols begin with a click."
    return f"Nothing was measured: {names} cannot be used with these protocols."


def command_of(arguments: argparse.Namespace) -> str:
    """The command that repeats a run; of paths only the last name, of the data and a scheduler not even that."""
    words = [
        "medsamslicer",
        "benchmark",
        arguments.what,
        "--data",
        "DATA",
        "--out",
        arguments.out.name or "FOLDER",
    ]
    for name in (
        "only",
        "suite",
        "protocol",
        "key_slices",
        "model",
        "tier",
        "volume_stage",
        "baseline",
        "runner",
        "device",
        "threads",
        "processes",
    ):
        chosen = getattr(arguments, name, None)
        if chosen in (None, [], {"device": "cpu", "processes": 1}.get(name)):
            continue
        for value in chosen if isinstance(chosen, list) else [chosen]:
            words += [f"--{name.replace('_', '-')}", Path(value).name if name == "model" else str(value)]
    words += ["--seed", str(arguments.seed)] if arguments.seed else []
    words += ["--scheduler", "ADDRESS"] if arguments.scheduler else []
    for name in ("official", "no_baselines", "keep_masks"):
        words += [f"--{name.replace('_', '-')}"] if getattr(arguments, name) else []
    return shlex.join(words)


def _protocols(arguments: argparse.Namespace) -> tuple[PromptProtocol, ...]:
    from ..evaluation.protocol import DEFAULT_SUITE, PROTOCOLS, SUITES, boxed_key_slices, drawn_key_slices

    names: list[str] = [*getattr(arguments, "protocol", [])]
    for count in getattr(arguments, "key_slices", []):
        names += [boxed_key_slices(count), drawn_key_slices(count)]
    suite = getattr(arguments, "suite", "effort")
    if suite is not None and suite not in SUITES:
        raise UsageError(f"{suite!r} is not a suite of protocols: {', '.join(SUITES)}")
    chosen = list(SUITES[suite]) if suite is not None else []
    for name in names or ([] if chosen else SUITES[DEFAULT_SUITE]):
        if name not in PROTOCOLS:
            raise UsageError(f"{name!r} is not a protocol: {'; '.join(PROTOCOLS)}")
        chosen.append(name)
    return tuple(PROTOCOLS[name] for name in dict.fromkeys(chosen))


def _specs(arguments: argparse.Namespace, threads: int) -> Iterator[RunnerSpec]:
    """The runners; those that nobody asked for by name are left out with a warning when they cannot be had."""
    from ...engine.devices import chosen_device

    if arguments.baseline and arguments.no_baselines:
        raise UsageError("--baseline and --no-baselines cannot be combined")
    registry, confirm = Registry.from_environment(), confirmation(arguments.yes)
    device = chosen_device(arguments.device)
    files = {
        file.sha256: file
        for file in (registry.open(m, confirm, loads) for m in arguments.model or [BUNDLED_ID])
    }
    for file in files.values():
        for tier, stage in product(
            dict.fromkeys(arguments.tier or [None]), dict.fromkeys(arguments.volume_stage or [None])
        ):
            yield network_spec(ENGINE, file, tier=tier, device=device, threads=threads, volume_stage=stage)
        for kind in (SAM2_PACKAGE, TRANSFORMERS) if arguments.official else ():
            yield from _usable(network_spec(kind, file, device=device, threads=threads))
    for chosen in dict.fromkeys(arguments.runner):
        yield RunnerSpec(OWN, chosen)
    for name in dict.fromkeys(arguments.baseline):
        yield RunnerSpec(name)
    for name in () if arguments.baseline or arguments.no_baselines else BASELINES:
        yield from _usable(RunnerSpec(name))


def _usable(spec: RunnerSpec) -> Iterator[RunnerSpec]:
    try:
        build(spec)
    except MedSAMError as error:
        warn(f"{spec.name} is left out: {error}")
    else:
        yield spec


def _executor(arguments: argparse.Namespace, threads: int) -> Executor:
    from ..evaluation.executors import DaskExecutor, ProcessExecutor, SerialExecutor

    if arguments.scheduler is not None:
        return DaskExecutor(arguments.scheduler)
    return SerialExecutor() if arguments.processes == 1 else ProcessExecutor(arguments.processes, threads)


def _show(bar: ProgressBar, where: BenchmarkProgress) -> None:
    text = f"{where.cases_done} of {where.cases} cases  {where.text}"
    bar.update(where.share, 1.0, text.strip(), where.left_seconds)


def _summary(report: AccuracyReport, what: str) -> str:
    """The text that is printed: the first numbers of the report, and what was not measured."""
    from ..evaluation.documents import protocol_parts, sections_of

    sections = sections_of(report, {}, [])
    first = sections["effort" if what == "effort" else "summary"]
    return "\n\n".join([first, *protocol_parts(report), sections["trouble"]])
