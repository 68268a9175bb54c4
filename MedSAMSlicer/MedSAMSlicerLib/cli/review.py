"""`medsamslicer review`: which slices of a segmentation should be looked at first."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from ..core.errors import MedSAMError
from ..models.registry import BUNDLED_ID, Registry
from .argument_types import add_network_options, add_volume_options, positive, split_label
from .exit_codes import OK
from .models import loads
from .segment import read_input_volume
from .terminal import ProgressBar, confirmation, warn

if TYPE_CHECKING:
    from ..engine.slice_scores import SliceScore

_DESCRIPTION = """Score the slices of any segmentation, the most doubtful first.

The network redraws each slice from the masks on the neighboring slices. Pixels where both drawings contradict the mask
are doubted in full, pixels where only one does in part. Nothing is changed or written."""

_EPILOG = """examples:
  medsamslicer review ct.nii.gz --mask total.nii.gz,5
  medsamslicer review ct.nii.gz --mask organs.seg.nrrd,spleen --most 5
  medsamslicer review mr.nrrd --mask tumor.nii.gz --model sam2.1-small --json"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "review",
        help="find likely faults in a segmentation",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_volume_options(parser)
    parser.add_argument(
        "--mask",
        required=True,
        metavar="FILE[,LABEL]",
        help="label image, and the value or name of its segment",
    )
    parser.add_argument("--axis", choices=("k", "j", "i"), default="k", help="array axis (default: k)")
    parser.add_argument("--most", type=positive, metavar="N", help="show so many slices (default: all)")
    network = add_network_options(parser)
    network.add_argument("--window", default="auto", help="gray values, as for segment (default: auto)")
    parser.add_argument("--json", action="store_true", help="print the slices as JSON")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from ..core.geometry import SliceAxis
    from ..core.masks import slices_of
    from ..core.scores import review_order
    from ..engine.slice_scores import score_slices, slices_to_score
    from ..io.labels import read_mask
    from .compute import ComputeSettings, slice_segmenter

    volume = read_input_volume(arguments.volume, arguments.series, arguments.spacing)
    for sentence in volume.warnings:
        warn(sentence)
    path, label = split_label(arguments.mask)
    axis = SliceAxis.parse(arguments.axis)
    masks = slices_of(read_mask(path, volume.geometry, label), axis)
    count = len(slices_to_score(masks, volume.geometry.slice_count(axis)))
    if not masks:
        raise MedSAMError(f"{arguments.mask} contains no mask: there is nothing to review.")
    file = Registry.from_environment().open(arguments.model or BUNDLED_ID, confirmation(arguments.yes), loads)
    settings = ComputeSettings(arguments.device, arguments.tier, arguments.threads)
    segmenter = slice_segmenter(volume, arguments.window, file, settings)
    scores = []
    with ProgressBar("reviewing") as bar:
        for score in score_slices(segmenter, axis, masks):
            scores.append(score)
            bar.update(len(scores), count, f"slice {score.index}")
    by_index = {score.index: score for score in scores}
    areas = {index: mask.count for index, mask in masks.items()}
    order = review_order({score.index: score.doubted for score in scores}, areas)
    _show([by_index[index] for index in order[: arguments.most]], areas, arguments.json)
    return OK


def _show(scores: list[SliceScore], areas: dict[int, int], as_json: bool) -> None:
    """Print the slices in the order of their doubt."""
    rows = [
        {
            "slice": score.index,
            "doubted": round(float(score.doubted), 1),
            "confidence": round(float(score.confidence), 3),
            "pixels": areas.get(score.index, 0),
        }
        for score in scores
    ]
    if as_json:
        sys.stdout.write(json.dumps({"slices": rows}, indent=1) + "\n")
        return
    sys.stdout.write("slice  doubted pixels  mask pixels  confidence\n")
    for row in rows:
        sys.stdout.write(
            f"{row['slice']:5d}  {row['doubted']:14.1f}  {row['pixels']:11d}  {row['confidence']:10.2f}\n"
        )
