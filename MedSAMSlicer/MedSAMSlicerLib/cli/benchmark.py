"""`medsamslicer benchmark`: measurements that anyone can repeat."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from . import benchmark_accuracy
from .exit_codes import OK
from .terminal import UNTRIED_DEVICES


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the command; torch is imported only when it runs."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "benchmark",
        help="measure accuracy, speed, memory and how right the estimates are",
        description="Measure how well labelled volumes are segmented, beside what needs no network; or this engine "
        "beside the published SAM 2 video predictor (Python package 'sam2'), with the same seeded weights, prompts and "
        "threads, in one run; or compare estimates with runs.",
        epilog="examples:\n"
        "  medsamslicer benchmark engine\n"
        "  medsamslicer benchmark engine --slices 12 --rounds 1 --memory-slices 0\n"
        "  medsamslicer benchmark engine --device cuda --json > engine.json\n"
        "  medsamslicer benchmark estimate\n"
        "  medsamslicer benchmark accuracy --data DATA --out results",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what",
        choices=("engine", "estimate", "accuracy"),
        help="engine: speed and memory beside the published predictor; "
        "estimate: how right the estimate before a run is, on five volumes; "
        "accuracy: Dice on labelled volumes, from the prompts that a user would give",
    )
    parser.add_argument("--slices", type=int, default=20, help="slices of the timed volume (default: 20)")
    parser.add_argument("--size", type=int, default=512, help="image size in pixels (default: 512)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often everything is timed, 0 = memory only (default: 3)"
    )
    parser.add_argument(
        "--memory-slices",
        type=int,
        default=300,
        help="slices of the memory measurement, 0 = none (default: 300)",
    )
    parser.add_argument("--cache-mb", type=int, default=256, help="its feature cache in MiB (default: 256)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads (default: all)")
    parser.add_argument("--device", default="cpu", help=f"cpu, cuda or mps (default: cpu); {UNTRIED_DEVICES}")
    parser.add_argument("--json", action="store_true", help="print every single value as JSON")
    benchmark_accuracy.add_arguments(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    if args.what == "accuracy":
        return benchmark_accuracy.run(args)
    report, table = _engine(args) if args.what == "engine" else _estimate(args)
    sys.stdout.write((json.dumps(report, indent=2) if args.json else table) + "\n")
    return OK


def _engine(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
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
    report = run_engine_benchmark(benchmark, _say)
    return report, as_markdown(report)


def _estimate(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from ..evaluation.estimate_benchmark import as_markdown, run_estimate_benchmark

    report = run_estimate_benchmark(args.threads, args.device, _say)
    return report, as_markdown(report)


def _say(step: str) -> None:
    sys.stderr.write(f"{step}\n")
