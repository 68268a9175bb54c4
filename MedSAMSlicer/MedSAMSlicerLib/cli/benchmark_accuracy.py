"""`medsamslicer benchmark accuracy`: how well the engine and its rivals segment a labelled data set."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import MedSAMError
from ..models.registry import BUNDLED_ID, Registry
from .exit_codes import OK, UsageError
from .terminal import ProgressBar, confirmation, say, warn

if TYPE_CHECKING:
    from ..evaluation.runners import Runner

_OUT = "accuracy"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that only `accuracy` has."""
    group = parser.add_argument_group("accuracy")
    group.add_argument(
        "--data",
        type=Path,
        metavar="DATA",
        help="a manifest.json, its folder, or a folder of X_image, X_label pairs",
    )
    group.add_argument(
        "--out",
        type=Path,
        default=Path(_OUT),
        metavar="FOLDER",
        help=f"results and report; a run that was stopped continues there (default: {_OUT})",
    )
    group.add_argument(
        "--model",
        action="append",
        metavar="NAME|FILE",
        help=f"checkpoint; may be said again (default: {BUNDLED_ID})",
    )
    group.add_argument(
        "--tier", choices=("exact", "balanced", "fast"), help="arithmetic (default: by device)"
    )
    group.add_argument(
        "--protocol",
        action="append",
        metavar="NAME",
        help="way of working: box+range (with 5 corrections), box, click+range, click, loose box+range, line+range, "
        "mask+range; may be said again (default: the first four)",
    )
    group.add_argument(
        "--only", action="append", default=[], metavar="PART", help="cases whose name holds PART"
    )
    group.add_argument("--seed", type=int, default=0, help="of all that is left to chance (default: 0)")
    group.add_argument("--no-rivals", action="store_true", help="leave out box, ellipsoid and GrowCut")
    group.add_argument(
        "--keep-masks", action="store_true", help="keep the first and last masks in FOLDER/masks"
    )
    group.add_argument("--yes", action="store_true", help="answer every question with yes")


def run(arguments: argparse.Namespace) -> int:
    """Measure, write the report, print it; returns the exit code."""
    from ..evaluation.accuracy import AccuracyBenchmark, run_accuracy_benchmark
    from ..evaluation.accuracy_report import FILES, as_markdown, complete, write_report
    from ..evaluation.protocol import DEFAULT_PROTOCOLS, PROTOCOLS

    if arguments.data is None:
        raise UsageError("benchmark accuracy needs --data DATA")
    names = arguments.protocol or DEFAULT_PROTOCOLS
    for name in names:
        if name not in PROTOCOLS:
            raise UsageError(f"{name!r} is no way of working: {', '.join(PROTOCOLS)}")
    benchmark = AccuracyBenchmark(
        data=arguments.data,
        out=arguments.out,
        protocols=tuple(PROTOCOLS[name] for name in names),
        seed=arguments.seed,
        only=tuple(arguments.only),
        keep_masks=arguments.keep_masks,
    )
    runners = [*_engines(arguments), *([] if arguments.no_rivals else _rivals())]
    try:
        with ProgressBar("measuring") as bar:
            report = complete(run_accuracy_benchmark(benchmark, runners, bar.update))
    except KeyboardInterrupt:
        say(f"What was measured so far is in {arguments.out}; the same command continues.")
        raise
    write_report(report, arguments.out)
    for entry in report["skipped"]:
        warn(f"skipped {entry['case']}: {entry['reason']}")
    say(f"Written: {', '.join(str(arguments.out / name) for name in FILES)}")
    sys.stdout.write(json.dumps(report, indent=1) + "\n" if arguments.json else as_markdown(report))
    return OK


def _engines(arguments: argparse.Namespace) -> list[Runner]:
    from ..evaluation.runners import EngineRunner
    from .compute import chosen_device, load_checkpoint

    registry, confirm = Registry.from_environment(), confirmation(arguments.yes)
    runners: list[Runner] = []
    for name in dict.fromkeys(arguments.model or [BUNDLED_ID]):
        file = registry.open(name, confirm)
        about: dict[str, Any] = {"checkpoint": file.checkpoint.id, "sha256": file.sha256}
        runners.append(
            EngineRunner(
                file.checkpoint.id,
                load_checkpoint(file),
                about,
                tier=arguments.tier,
                device=chosen_device(arguments.device),
                threads=arguments.threads,
            )
        )
    return runners


def _rivals() -> list[Runner]:
    from ..evaluation.growcut import growcut_rival
    from ..evaluation.rivals import box_rival, ellipsoid_rival

    rivals: list[Runner] = [box_rival(), ellipsoid_rival()]
    try:
        rivals.append(growcut_rival())
    except MedSAMError as error:
        warn(str(error))
    return rivals
