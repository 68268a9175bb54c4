"""`medsamslicer propose`: everything that a network finds on one slice, as candidates for `medsamslicer segment`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import MedSAMError
from ..core.tiers import TIERS
from ..models.registry import BUNDLED_ID, Registry
from .argument_types import positive, threads
from .exit_codes import FAILED, OK
from .models import loads
from .outputs import check_targets, needs_dicom, reserved_targets, write_masks
from .segment import read_input_volume
from .terminal import UNTRIED_DEVICES, ProgressBar, confirmation, show_message, warn

if TYPE_CHECKING:
    from ..core.prompts import PromptSet
    from ..engine.proposals import Proposal
    from ..engine.segmenter import VolumeSegmenter
    from ..io.volumes import Volume

_DESCRIPTION = """Find everything on one slice without a prompt: candidate segments, the most certain first.

A grid of clicks covers the slice; masks stay that the network estimates to be good, that hardly change with the
threshold and that overlap no better one. Networks that were trained with boxes alone cannot do it.

With --save-prompts each candidate is kept as a mask prompt: take out those that are not wanted, and
`medsamslicer segment VOLUME --prompts JSON` carries the others through the volume."""

_EPILOG = """examples:
  medsamslicer propose ct.nii.gz --slice 40 --model sam2.1-small -o candidates.seg.nrrd
  medsamslicer propose ct.nii.gz --slice 40 --most 5 --save-prompts five.json -o five.seg.nrrd
  medsamslicer segment ct.nii.gz --prompts five.json --model sam2.1-small -o all.seg.nrrd"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "propose",
        help="find everything on one slice, without prompts",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("volume", type=Path, metavar="VOLUME")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="as for segment")
    parser.add_argument("--slice", type=int, required=True, metavar="N", help="counted from 0 along --axis")
    parser.add_argument("--axis", choices=("k", "j", "i"), default="k", help="array axis (default: k)")
    parser.add_argument("--series", metavar="UID", help="SeriesInstanceUID, where a folder holds several")
    parser.add_argument("--spacing", metavar="X,Y[,Z]", help="mm, where a DICOM series does not tell")
    search = parser.add_argument_group("search")
    search.add_argument(
        "--points-per-side", type=positive, default=32, metavar="N", help="grid of clicks (default: 32)"
    )
    search.add_argument(
        "--least-iou", type=float, metavar="X", help="estimated IoU (default: 0.88 for SAM, 0.8 for SAM 2)"
    )
    search.add_argument("--least-stability", type=float, default=0.95, metavar="X", help="(default: 0.95)")
    search.add_argument(
        "--crop-layers", type=int, default=0, metavar="N", help="also search parts (default: 0)"
    )
    search.add_argument(
        "--smallest-region", type=int, default=0, metavar="PIXELS", help="smaller holes and islands go"
    )
    search.add_argument("--most", type=positive, default=20, metavar="N", help="candidates (default: 20)")
    network = parser.add_argument_group("network")
    network.add_argument("--model", metavar="NAME|FILE", help=f"checkpoint (default: {BUNDLED_ID})")
    network.add_argument("--yes", action="store_true", help="use a checkpoint whose hash is not known yet")
    network.add_argument("--device", default="auto", help=f"as for segment; {UNTRIED_DEVICES}")
    network.add_argument("--tier", choices=("auto", *TIERS), default="auto")
    network.add_argument("--threads", type=threads, metavar="N", help="CPU threads")
    network.add_argument("--window", default="auto", help="gray values, as for segment (default: auto)")
    parser.add_argument("--save-prompts", type=Path, metavar="JSON", help="candidates as mask prompts")
    parser.add_argument("--json", action="store_true", help="print the candidates as JSON")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    check_targets(arguments.volume, arguments.output, None, arguments.save_prompts)
    if needs_dicom(arguments.output):
        raise MedSAMError("Candidates cannot be written as DICOM SEG: segment the chosen ones first.")
    with reserved_targets(arguments.output, arguments.save_prompts):
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    import numpy as np

    from ..io.atomic import write_bytes

    volume = read_input_volume(arguments.volume, arguments.series, arguments.spacing)
    for sentence in volume.warnings:
        warn(sentence)
    segmenter, prompts = _prepared(arguments, volume)
    found = _found(arguments, segmenter)
    if not found:
        warn(f"Nothing was found on slice {arguments.slice}; lower --least-iou or --least-stability.")
        return FAILED
    prompts = _as_prompts(prompts, found, arguments.slice)
    if arguments.save_prompts is not None:
        write_bytes(arguments.save_prompts, prompts.to_json().encode())
    masks = {}
    for obj, proposal in zip(prompts.objects, found, strict=True):
        masks[obj.name] = np.zeros(volume.geometry.shape, np.bool_)
        np.moveaxis(masks[obj.name], int(prompts.axis), 0)[arguments.slice] = proposal.mask
    write_masks(arguments.output, masks, volume, prompts.objects)
    described = [_described(obj.name, proposal) for obj, proposal in zip(prompts.objects, found, strict=True)]
    if arguments.json:
        sys.stdout.write(json.dumps({"slice": arguments.slice, "proposals": described}, indent=1) + "\n")
    else:
        for each in described:
            show_message(f"{each['name']}: {each['area']} pixels, estimated IoU {each['iou']:.2f}")
    return OK


def _prepared(arguments: argparse.Namespace, volume: Volume) -> tuple[VolumeSegmenter, PromptSet]:
    """The network on the volume, and prompts without objects that say how it sees it."""
    from ..core.geometry import SliceAxis
    from ..core.intensity import choose_window
    from ..core.prompts import PromptSet
    from ..engine.devices import chosen_device
    from ..engine.segmenter import VolumeSegmenter
    from ..sam2.checkpoint import load_named

    file = Registry.from_environment().open(arguments.model or BUNDLED_ID, confirmation(arguments.yes), loads)
    window = choose_window(volume.array, arguments.window, volume.modality, warn)
    segmenter = VolumeSegmenter(
        volume.array,
        volume.geometry,
        load_named(file.path, file.checkpoint.config),
        window,
        tier=None if arguments.tier == "auto" else arguments.tier,
        device=chosen_device(arguments.device),
        threads=arguments.threads,
        volume_stage="off",
    )
    prompts = PromptSet(
        volume.geometry,
        SliceAxis.parse(arguments.axis),
        window=segmenter.window,
        checkpoint_id=file.checkpoint.id,
        checkpoint_sha256=file.sha256,
    )
    return segmenter, prompts


def _found(arguments: argparse.Namespace, segmenter: VolumeSegmenter) -> list[Proposal]:
    """The best candidates, the most certain first."""
    from ..core.geometry import SliceAxis
    from ..engine.proposals import ProposalSettings, new_objects

    settings = ProposalSettings(
        points_per_side=arguments.points_per_side,
        least_iou=arguments.least_iou,
        least_stability=arguments.least_stability,
        crop_layers=arguments.crop_layers,
        smallest_region=arguments.smallest_region,
    )
    with ProgressBar("searching"):
        found = segmenter.propose(arguments.slice, SliceAxis.parse(arguments.axis), settings)
    return [proposal for proposal in new_objects(found, []) if proposal.area][: arguments.most]


def _as_prompts(prompts: PromptSet, found: list[Proposal], index: int) -> PromptSet:
    from dataclasses import replace

    from ..core.prompts import MaskPrompt, ObjectPrompts, SliceRef
    from ..io.segmentations import color_of

    slice_ref = SliceRef(prompts.axis, index)
    objects = tuple(
        ObjectPrompts(f"Candidate_{number + 1}", color_of(number), (MaskPrompt(slice_ref, proposal.mask),))
        for number, proposal in enumerate(found)
    )
    return replace(prompts, objects=objects)


def _described(name: str, proposal: Proposal) -> dict[str, Any]:
    left, top, width, height = proposal.bounds
    return {
        "name": name,
        "area": proposal.area,
        "iou": round(proposal.iou, 4),
        "stability": round(proposal.stability, 4),
        "box": [left, top, left + width + 1, top + height + 1],
        "point": [round(place, 2) for place in proposal.point],
    }
