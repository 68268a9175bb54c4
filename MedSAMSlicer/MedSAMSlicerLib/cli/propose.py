"""`medsamslicer propose`: what a network finds without a prompt, as candidates for `medsamslicer segment`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import MedSAMError
from ..models.registry import BUNDLED_ID, Registry
from .argument_types import add_network_options, add_volume_options, positive
from .exit_codes import FAILED, OK, UsageError
from .models import loads
from .outputs import check_targets, needs_dicom, reserved_targets, write_masks
from .segment import read_input_volume
from .terminal import ProgressBar, confirmation, show_message, warn

if TYPE_CHECKING:
    from ..core.prompts import PromptSet
    from ..engine.proposals import Proposal
    from ..engine.segmenter import VolumeSegmenter
    from ..io.volumes import Volume

_LIBRARY = __name__.partition(".")[0]

_DESCRIPTION = """Find everything on one slice without a prompt: candidate segments, the most certain first.

A grid of clicks covers the slice. Masks are kept that the network rates well, that hardly change with the threshold
and that do not overlap a better one. For networks that were trained on boxes only, and in place of the bundled one,
which sees the square around an object, boxes are drawn around regions of a similar gray; masks are kept that shifted
boxes give, too, and whose outline separates two grays.

With --head a head of your own (`medsamslicer train head`) is used instead: a patch head for what it was trained to find
on the slice, one box and one mask each; a volume head for its organs in the whole volume, without --slice.

With --text WORD and --text-model FOLDER a model that you have downloaded (Grounding DINO, OWL-ViT or CLIP, for the
package transformers) finds where the named thing may be, and the network draws it. They know few medical words.

With --save-prompts each candidate is kept as a mask prompt: remove those that you do not want, and
`medsamslicer segment VOLUME --prompts JSON` carries the others through the volume."""

_EPILOG = """examples:
  medsamslicer propose ct.nii.gz --slice 40 --model sam2.1-small -o candidates.seg.nrrd
  medsamslicer propose ct.nii.gz --slice 40 --most 5 --save-prompts five.json -o five.seg.nrrd
  medsamslicer segment ct.nii.gz --prompts five.json --model sam2.1-small -o all.seg.nrrd
  medsamslicer propose ct.nii.gz --head organs/head.safetensors -o organs.seg.nrrd"""


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
    add_volume_options(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="as for segment")
    parser.add_argument("--slice", type=int, metavar="N", help="counted from 0 along --axis")
    parser.add_argument("--axis", choices=("k", "j", "i"), default="k", help="array axis (default: k)")
    search = parser.add_argument_group("search")
    search.add_argument(
        "--text", action="append", default=[], metavar="WORD", help="what to look for; may be repeated"
    )
    search.add_argument(
        "--text-model",
        metavar="FOLDER|MODULE:FUNCTION",
        help="a text model on disk, or a function of yours that returns one (MedSAMSlicerLib.engine.text)",
    )
    search.add_argument("--head", type=Path, metavar="FILE", help="use a trained head instead of the grid")
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
        "--smallest-region", type=int, default=0, metavar="PIXELS", help="remove smaller holes and islands"
    )
    search.add_argument("--most", type=positive, default=20, metavar="N", help="candidates (default: 20)")
    network = add_network_options(parser)
    network.add_argument("--window", default="auto", help="gray values, as for segment (default: auto)")
    parser.add_argument("--save-prompts", type=Path, metavar="JSON", help="candidates as mask prompts")
    parser.add_argument("--json", action="store_true", help="print the candidates as JSON")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    if arguments.slice is None and arguments.head is None:
        raise UsageError("propose needs --slice N, or --head FILE of a volume head")
    if bool(arguments.text) != bool(arguments.text_model):
        raise UsageError("--text WORD and --text-model FOLDER must be given together")
    if arguments.text and (arguments.head is not None or arguments.slice is None):
        raise UsageError("--text needs one slice, --slice N, and cannot be combined with --head")
    inputs = {} if arguments.head is None else {arguments.head: "the file of the --head"}
    check_targets(arguments.volume, arguments.output, None, arguments.save_prompts, inputs)
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
    names: list[str] | None = None
    if arguments.text:
        names, found = _found_by_text(arguments, segmenter)
    elif arguments.head is not None:
        head = _head(arguments, segmenter)
        if head.config.kind == "volume":
            return _write_organs(arguments, volume, segmenter, prompts, head)
        found = _found_by(head, arguments, segmenter)
    else:
        found = _found(arguments, segmenter)
    if not found:
        warn(f"Nothing was found on slice {arguments.slice}; lower --least-iou or --least-stability.")
        return FAILED
    prompts = _as_prompts(prompts, found, arguments.slice, names)
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
    from ..core.prompts import PromptSet
    from .compute import ComputeSettings, slice_segmenter

    file = Registry.from_environment().open(arguments.model or BUNDLED_ID, confirmation(arguments.yes), loads)
    settings = ComputeSettings(arguments.device, arguments.tier, arguments.threads)
    segmenter = slice_segmenter(volume, arguments.window, file, settings)
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
    with ProgressBar("searching") as bar:
        found = segmenter.propose(
            arguments.slice,
            SliceAxis.parse(arguments.axis),
            settings,
            progress=lambda done, total: bar.update(done, total, "clicks"),
        )
    return [proposal for proposal in new_objects(found, []) if proposal.area][: arguments.most]


def _head(arguments: argparse.Namespace, segmenter: VolumeSegmenter) -> Any:
    """The head of --head, if it fits the network and there is a slice for it."""
    from ..sam2.heads import load_head

    head = load_head(arguments.head, segmenter.model)
    if head.config.kind == "implicit":
        raise MedSAMError(f"{arguments.head} draws finer masks; it finds nothing by itself.")
    if head.config.kind == "patch" and arguments.slice is None:
        raise UsageError("a patch head needs one slice: give it with --slice N")
    return head


def _found_by(head: Any, arguments: argparse.Namespace, segmenter: VolumeSegmenter) -> list[Proposal]:
    """The masks that the network draws in the boxes of a patch head, the most conspicuous first."""
    from ..core.geometry import SliceAxis
    from ..core.prompts import ObjectPrompts, SliceRef, box_from_voxels
    from ..engine.heads import suggested_prompts
    from ..engine.proposals import Proposal

    axis = SliceAxis.parse(arguments.axis)
    slice_ref, found = SliceRef(axis, arguments.slice), []
    rows, columns = segmenter.geometry.slice_shape(axis)
    for each in suggested_prompts(segmenter, head, arguments.slice, axis)[: arguments.most]:
        x0, y0, x1, y1 = each.box
        box = box_from_voxels(segmenter.geometry, slice_ref, x0, y0, x1, y1)
        drawn = segmenter.live(axis).preview(ObjectPrompts("candidate", (1, 1, 1), (box,)), arguments.slice)
        if drawn.mask.any():
            bounds = (x0, y0, x1 - 1 - x0, y1 - 1 - y0)
            place = (each.point[0], each.point[1])
            found.append(
                Proposal(drawn.mask, bounds, drawn.iou, each.certainty, place, (0, 0, columns, rows))
            )
    return found


def _write_organs(
    arguments: argparse.Namespace,
    volume: Volume,
    segmenter: VolumeSegmenter,
    prompts: PromptSet,
    head: Any,
) -> int:
    """Write the organs of a volume head, and for each a mask prompt on its largest slice."""
    from dataclasses import replace

    import numpy as np

    from ..core.prompts import MaskPrompt, ObjectPrompts, SliceRef
    from ..engine.heads import segment_organs
    from ..io.atomic import write_bytes
    from ..io.segmentations import color_of

    with ProgressBar("segmenting") as bar:
        masks = segment_organs(
            segmenter,
            head,
            prompts.axis,
            lambda done, total, index: bar.update(done, total, f"slice {index}"),
        )
    objects = []
    for number, (name, mask) in enumerate(masks.items()):
        slices = np.moveaxis(mask, int(prompts.axis), 0)
        largest = int(slices.reshape(len(slices), -1).sum(1).argmax())
        given = (MaskPrompt(SliceRef(prompts.axis, largest), slices[largest]),) if mask.any() else ()
        objects.append(ObjectPrompts(name, color_of(number), given))
        if not mask.any():
            warn(f"{name} was not found.")
    if arguments.save_prompts is not None:
        kept = tuple(obj for obj in objects if obj.prompts)
        write_bytes(arguments.save_prompts, replace(prompts, objects=kept).to_json().encode())
    write_masks(arguments.output, masks, volume, objects)
    voxels = {name: int(mask.sum()) for name, mask in masks.items()}
    if arguments.json:
        sys.stdout.write(json.dumps({"organs": voxels}, indent=1) + "\n")
    else:
        for name, count in voxels.items():
            show_message(f"{name}: {count} voxels")
    return OK


def _found_by_text(
    arguments: argparse.Namespace, segmenter: VolumeSegmenter
) -> tuple[list[str], list[Proposal]]:
    """The masks that were found by words, and a name for each: the word, numbered where it comes again."""
    from ..core.geometry import SliceAxis
    from ..engine.proposals import ProposalSettings
    from ..engine.text import find_by_text

    settings = ProposalSettings(
        points_per_side=arguments.points_per_side,
        least_iou=arguments.least_iou,
        least_stability=arguments.least_stability,
    )
    model = _text_model(arguments.text_model)
    with ProgressBar("searching") as bar:
        found = find_by_text(
            segmenter,
            model,
            arguments.text,
            arguments.slice,
            SliceAxis.parse(arguments.axis),
            settings=settings,
            progress=lambda done, total: bar.update(done, total, "clicks"),
        )[: arguments.most]
    names: list[str] = []
    for each in found:
        times = sum(name == each.word or name.startswith(f"{each.word}_") for name in names)
        names.append(f"{each.word}_{times + 1}" if times else each.word)
    return names, [each.proposal for each in found]


def _text_model(text: str) -> Any:
    """The text model of a folder, or what a function of the user's returns."""
    import importlib

    folder = Path(text)
    module, colon, function = text.rpartition(":")
    try:
        if colon and not folder.exists():
            return getattr(importlib.import_module(module), function)()
        return importlib.import_module(f"{_LIBRARY}.lab.text_models").text_model(folder)
    except (ImportError, AttributeError) as error:
        raise MedSAMError(f"The text model {text} cannot be opened: {error}.") from error


def _as_prompts(
    prompts: PromptSet, found: list[Proposal], index: int, names: list[str] | None = None
) -> PromptSet:
    from dataclasses import replace

    from ..core.prompts import MaskPrompt, ObjectPrompts, SliceRef
    from ..io.segmentations import color_of

    slice_ref = SliceRef(prompts.axis, index)
    objects = tuple(
        ObjectPrompts(
            f"Candidate_{number + 1}" if names is None else names[number],
            color_of(number),
            (MaskPrompt(slice_ref, proposal.mask),),
        )
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
