"""`medsamslicer benchmark`: measurements that anyone can repeat."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from ...cli.argument_types import not_negative, positive, threads
from ...cli.exit_codes import OK
from ...cli.terminal import UNTRIED_DEVICES, show_message
from . import benchmark_accuracy

_EPILOG = f"""examples:
  medsamslicer benchmark accuracy --data DATA --out results
  medsamslicer benchmark effort --data DATA
  medsamslicer benchmark engine
  medsamslicer benchmark engine --device cuda --json > engine.json
  medsamslicer benchmark estimate

`medsamslicer benchmark WHAT --help` shows more, with examples.
--device: {UNTRIED_DEVICES}."""

_ENGINE_EPILOG = """examples:
  medsamslicer benchmark engine
  medsamslicer benchmark engine --slices 12 --rounds 1 --memory-slices 0
  medsamslicer benchmark engine --device cuda --json > engine.json"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the command and what it measures; torch is imported only when it runs."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "benchmark",
        help="measure accuracy, effort, speed, memory and how right the estimates are",
        description="Measure how well labeled volumes are segmented and how many prompts that takes, beside what "
        "needs no network; or this engine beside the published SAM 2 video predictor; or compare estimates with runs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    whats = parser.add_subparsers(title="what", metavar="WHAT", required=True, dest="what")
    benchmark_accuracy.add_parsers(whats)
    engine = _added(
        whats,
        "engine",
        "speed and memory beside the published predictor",
        "Measure speed and memory of this engine beside the published SAM 2 video predictor (Python package 'sam2'),\n"
        "with the same seeded weights, prompts and threads, in one run.",
        _ENGINE_EPILOG,
    )
    _add_engine_options(engine)
    estimate = _added(
        whats,
        "estimate",
        "how right the estimate before a run is, on five volumes",
        "Compare the estimates of time and memory before a run with five runs.",
        "examples:\n  medsamslicer benchmark estimate --threads 1",
    )
    for each in (engine, estimate):
        _add_machine_options(each)
    for what, each in whats.choices.items():
        each.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
        )
        each.set_defaults(what=what, program=each.prog)
    return parser


def _added(whats: Any, what: str, short: str, description: str, epilog: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = whats.add_parser(
        what,
        help=short,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser


def _add_engine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--slices", type=positive, default=20, metavar="N", help="slices of the timed volume (default: 20)"
    )
    parser.add_argument(
        "--size", type=positive, default=512, metavar="PIXELS", help="side of the images (default: 512)"
    )
    parser.add_argument(
        "--rounds",
        type=not_negative,
        default=3,
        metavar="N",
        help="how often everything is timed, 0 = memory only (default: 3)",
    )
    parser.add_argument(
        "--memory-slices",
        type=not_negative,
        default=300,
        metavar="N",
        help="slices of the memory measurement, 0 = none (default: 300)",
    )
    parser.add_argument(
        "--cache-mb", type=positive, default=256, metavar="MB", help="its feature cache in MiB (default: 256)"
    )
    parser.add_argument(
        "--into",
        type=Path,
        metavar="DOCUMENT",
        help="also write the report into its places in a Markdown document",
    )


def _add_machine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads",
        type=threads,
        default=os.cpu_count() or 1,
        metavar="N",
        help="CPU threads (default: all)",
    )
    parser.add_argument("--device", default="cpu", help=f"cpu, cuda or mps (default: cpu); {UNTRIED_DEVICES}")
    parser.add_argument("--json", action="store_true", help="print every single value as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    if args.what in benchmark_accuracy.FOLDERS:
        return benchmark_accuracy.run(args)
    report, table = _engine(args) if args.what == "engine" else _estimate(args)
    sys.stdout.write((json.dumps(report, indent=2) if args.json else table) + "\n")
    return OK


def _engine(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from ..evaluation.documents import check_engine_places, put_engine_into
    from ..evaluation.engine_benchmark import EngineBenchmark, as_markdown, run_engine_benchmark

    benchmark = EngineBenchmark(
        slices=args.slices,
        size=args.size,
        rounds=args.rounds,
        memory_slices=args.memory_slices,
        cache_mb=args.cache_mb,
        threads=args.threads,
        device=args.device,
    )
    if args.into is not None:
        check_engine_places(args.into, benchmark)  # not only after all measuring
    report = run_engine_benchmark(benchmark, _show_line)
    if args.into is not None:
        paths = put_engine_into(args.into, report)
        show_message(f"Written: {', '.join(map(str, paths))}")
    return report, as_markdown(report)


def _estimate(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from ..evaluation.estimate_benchmark import as_markdown, run_estimate_benchmark

    report = run_estimate_benchmark(args.threads, args.device, _show_line)
    return report, as_markdown(report)


def _show_line(step: str) -> None:
    sys.stderr.write(f"{step}\n")
