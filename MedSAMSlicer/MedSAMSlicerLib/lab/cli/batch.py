"""`medsamslicer batch`: many volumes with a table of prompts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...cli.argument_types import threads
from ...cli.exit_codes import FAILED, OK, UsageError
from ...cli.models import loads, whole_name
from ...cli.terminal import UNTRIED_DEVICES, confirmation, duration, show_message, warn
from ...core.cleanups import CLEANUPS
from ...core.errors import OutputError
from ...core.tiers import OVERLAPS, TIERS
from ...models.registry import BUNDLED_ID, Registry

if TYPE_CHECKING:
    from ..batch.case import CaseResult, LabeledFiles

ENDINGS = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha", ".dcm")

_DESCRIPTION = """Segment many volumes with the prompts of a table, one row a prompt, or like cases that are segmented.

FOLDER holds the volumes: NIfTI, NRRD or MetaImage files, or folders with a DICOM series each. TABLE is CSV with the
columns case (name of a file or folder), object (name of the segment), slice, box (x0 y0 x1 y1) or point (x y, then -
beside the object), and maybe axis (k, j or i) and range (FIRST-LAST). Places are voxel indices as in
`medsamslicer segment`.

With --like LABELED in place of a table nothing is prompted: the labeled cases of that folder (as for `train --data`)
are remembered, up to 16 slices of each object that differ most, and every slice of the other volumes recalls those
that look like it. It needs a network with memory, works only where volumes look alike, and must be looked through.

Finished cases are not computed again: a batch that was stopped continues where it was. OUT/report.csv has one line
for each object. With --scheduler the workers of a Dask cluster compute; data, OUT and weights must lie at the same
paths there.
Exit code 1 when a case failed."""

_EPILOG = """examples:
  medsamslicer batch DATA --prompts prompts.csv -o results
  medsamslicer batch DATA --like DONE -o results
  medsamslicer batch DATA --prompts prompts.csv -o results --scheduler tcp://HOST:8786
  dask scheduler; dask worker tcp://HOST:8786 --nthreads 1     # the cluster of the line above"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "batch",
        help="many volumes with a table of prompts",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--prompts", type=Path, metavar="TABLE", help="CSV, one row a prompt")
    given.add_argument("--like", type=Path, metavar="LABELED", help="folder of segmented cases to be like")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help="folder of the results"
    )
    parser.add_argument("--format", choices=ENDINGS, default=ENDINGS[0], help="default: .seg.nrrd")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster, such as tcp://HOST:8786")
    parser.add_argument("--model", default=BUNDLED_ID, metavar="NAME|FILE", help=f"default: {BUNDLED_ID}")
    parser.add_argument(
        "--yes", action="store_true", help="use a checkpoint file whose hash is not known yet"
    )
    parser.add_argument(
        "--device", default="auto", help=f"auto, cpu, cuda or mps (default: auto); {UNTRIED_DEVICES}"
    )
    parser.add_argument("--tier", choices=("auto", *TIERS), help="arithmetic (default: auto)")
    parser.add_argument("--threads", type=threads, metavar="N", help="CPU threads of each case")
    parser.add_argument(
        "--window", default="auto", help="gray values, as in `medsamslicer segment` (default: auto)"
    )
    parser.add_argument("--cleanup", choices=CLEANUPS, default="none", help="of the masks (default: none)")
    parser.add_argument("--overlap", choices=OVERLAPS, default="keep", help="default: keep")
    parser.add_argument("--axis", choices=("k", "j", "i"), help="of the slices, with --like (default: k)")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from ...io.atomic import reserved
    from ..batch.case import BatchOptions
    from ..batch.run import cases_of, cases_without_prompts, run_batch
    from ..batch.table import read_table

    _check(arguments)
    rows = {} if arguments.prompts is None else read_table(arguments.prompts)
    like = () if arguments.like is None else _labeled_files(arguments.like)
    file = Registry.from_environment().open(arguments.model, confirmation(arguments.yes), loads)
    if like:
        from ..batch.like import check_remembers

        check_remembers(file)
    options = BatchOptions(
        whole_name(arguments.model),
        file.sha256,
        arguments.device,
        None if arguments.tier in (None, "auto") else arguments.tier,
        arguments.threads,
        arguments.window,
        arguments.cleanup,
        arguments.overlap,
        like,
        arguments.axis or "k",
    )
    out: Path = arguments.output
    if like:
        cases = cases_without_prompts(arguments.folder, out, arguments.format, options)
    else:
        cases = cases_of(arguments.folder, rows, out, arguments.format, options)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {out} cannot be created: {error.strerror or error}.") from error

    def progress(number: int, of: int, result: CaseResult) -> None:
        if result.error:
            warn(f"{number} of {of}: {result.name} failed: {result.error}")
        else:
            show_message(f"{number} of {of}: {result.name}: done in {duration(result.seconds)}")

    with reserved(out):
        summary = run_batch(cases, out, arguments.scheduler, progress)
    sys.stdout.write(
        f"{summary.done} cases done, {summary.resumed} were done before, {summary.failed} failed: {summary.report}\n"
    )
    return FAILED if summary.failed else OK


def _check(arguments: argparse.Namespace) -> None:
    if arguments.like is not None and (arguments.cleanup, arguments.overlap) != ("none", "keep"):
        raise UsageError("--cleanup and --overlap go with --prompts, not with --like")
    if arguments.like is None and arguments.axis is not None:
        raise UsageError("--axis goes with --like: a table has a column for it")
    if arguments.like is not None and arguments.output.resolve() == arguments.like.resolve():
        raise UsageError("in the folder of --like, results would count as labels: choose another one for -o")


def _labeled_files(folder: Path) -> tuple[LabeledFiles, ...]:
    from ..batch.like import labeled_files

    return labeled_files(folder)
