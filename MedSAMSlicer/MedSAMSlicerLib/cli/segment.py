"""`medsamslicer segment`: one volume, some prompts, one segmentation."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.cleanups import CLEANUPS
from ..core.errors import (
    CheckpointError,
    OutputError,
    PromptError,
    SeveralSeriesError,
    SpacingUnknownError,
    VolumeError,
)
from ..core.folders import without_tilde
from ..core.tiers import MEMORY_POLICIES, OVERLAPS, RUNTIMES, STAGES
from ..models.registry import BUNDLED_ID, CheckpointFile, Registry
from .argument_types import (
    add_network_options,
    add_volume_options,
    positive,
    split_label,
    split_window,
)
from .exit_codes import OK, UsageError
from .models import loads
from .outputs import (
    check_dicom,
    check_targets,
    draw_result,
    needs_dicom,
    rescue_masks,
    reserved_targets,
    write_masks,
)
from .prompt_text import add_prompt
from .terminal import confirmation, duration, show_message, warn

if TYPE_CHECKING:
    from ..core.prompts import PromptSet
    from ..io.fusion import Channel
    from ..io.volumes import Volume
    from .compute import SegmentedVolume

_DESCRIPTION = """Segment structures of a CT or MR volume from a few prompts, slice after slice, in both directions.

VOLUME is a NIfTI, NRRD or MetaImage file, or a folder with a DICOM series.

Places are voxel indices in the order of the file's own array, counted from 0: SLICE along --axis; X along the in-plane
axis that varies fastest in memory, Y along the other. The far edges of a box are exclusive: X1 and Y1 are the first
column and row beyond it. With --ras places are mm in RAS instead: --point R,A,S  --box R,A,S,R,A,S  --line R,A,S,R,A,S;
a box in mm that is as deep as two slices or more lies on its middle slice and limits the range, as a 3-D region does.

NAME is the name of the segment; prompts of the same name belong to one object, those without a name to Segment_1."""

_EPILOG = """examples:
  medsamslicer segment ct.nii.gz --box spleen=40,120,200,210,280 -o spleen.seg.nrrd
  medsamslicer segment ct.nii.gz --box spleen=40,120,200,210,280 --range 25,60 --window soft-tissue -o spleen.nii.gz
  medsamslicer segment mr.nrrd --point tumor=12,80,95 --point tumor=12,60,90,- --picture tumor.png -o tumor.seg.nrrd
  medsamslicer segment mr.nrrd --axis i --line lesion=30,50,60,71,64 -o lesion.seg.nrrd
  medsamslicer segment dicom_folder --ras --box liver=-80,-40,10,60,70,10 -o liver.dcm
  medsamslicer segment ct.nii.gz --mask liver=31,liver_of_one_slice.nii.gz --json -o liver.seg.nrrd
  medsamslicer segment ct.nii.gz --channel pet.nii.gz,pet --channel mr.nii.gz --box t=31,90,80,120,110 -o t.seg.nrrd
  medsamslicer segment ct.nii.gz --box a=3,10,10,40,40 --save-prompts a.json -o a.seg.nrrd
  medsamslicer segment ct.nii.gz --prompts a.json -o again.seg.nrrd     # the same mask, bit for bit"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "segment",
        help="from prompts to a 3-D segmentation",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_volume_options(parser)
    out = parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    out.help = ".seg.nrrd (segmentation of 3D Slicer), .nii.gz .nii .nrrd .mha (labels), .dcm (DICOM SEG)"
    _add_prompts(parser)
    network = add_network_options(parser)
    network.add_argument("--adapters", type=Path, metavar="FILE", help="adapters trained for that checkpoint")
    network.add_argument("--cache-mb", type=positive, metavar="MB", help="memory for encoded slices")
    network.add_argument(
        "--window",
        help="gray values: auto, a CT preset such as soft-tissue or lung, percentile, pet, full or LOWER,UPPER "
        "(default: auto)",
    )
    network.add_argument(
        "--channel",
        action="append",
        default=[],
        metavar="FILE[,WINDOW]",
        help="a registered volume, such as PET or MR, that the network sees beside this one; at most two",
    )
    network.add_argument(
        "--volume-stage",
        choices=STAGES,
        default="auto",
        help="how all slices are refined together at the end; fused = without learned weights (default: auto)",
    )
    network.add_argument(
        "--memory",
        choices=MEMORY_POLICIES,
        default="all",
        help="which remembered slices are used; prune = without those that add least, which is faster (default: all)",
    )
    network.add_argument(
        "--runtime",
        choices=RUNTIMES,
        default="auto",
        help="what runs image encoders on the CPU; auto = OpenVINO after `models prepare`, if faster (default: auto)",
    )
    more = parser.add_argument_group("results")
    more.add_argument(
        "--cleanup",
        choices=CLEANUPS,
        help="as in the panel: islands = keep only the part with prompts, holes = fill holes, both = one connected "
        "part, no holes (default: as in --prompts, else none)",
    )
    more.add_argument(
        "--overlap",
        choices=OVERLAPS,
        help="keep = allow overlap, as the panel calls it; highest = each voxel is of the segment it fits best "
        "(default: as in --prompts, else keep)",
    )
    more.add_argument(
        "--finer",
        metavar="HEAD[,TIMES]",
        help="an implicit head of yours (`train head`) draws outlines with 2 to 8 times the rows and columns (2)",
    )
    more.add_argument(
        "--picture", type=Path, metavar="PNG", help="slices with masks and prompts drawn on them"
    )
    more.add_argument(
        "--save-prompts", type=Path, metavar="JSON", help="everything needed to repeat this run"
    )
    more.add_argument("--json", action="store_true", help="print result and timings as JSON")
    return parser


def _add_prompts(parser: argparse.ArgumentParser) -> None:
    prompts = parser.add_argument_group("prompts (any number)")
    for kind, form, text in (
        (
            "box",
            "[NAME=]SLICE,X0,Y0,X1,Y1[,+|-]",
            "a box around the object (+) or what is not the object (-)",
        ),
        ("point", "[NAME=]SLICE,X,Y[,+|-]", "a click on the object (+, the default) or outside it (-)"),
        ("line", "[NAME=]SLICE,X0,Y0,X1,Y1", "the longest diameter of a lesion (RECIST)"),
        (
            "mask",
            "[NAME=]SLICE,FILE[,LABEL]",
            "the object on one slice: a label volume or a picture of that slice",
        ),
    ):
        add_prompt(prompts, kind, form, text)
    prompts.add_argument(
        "--prompts", type=Path, metavar="JSON", help="prompts of an earlier run or of 3D Slicer"
    )
    prompts.add_argument("--axis", choices=("k", "j", "i"), help="array axis of the slices (default: k)")
    prompts.add_argument("--range", metavar="FIRST,LAST", help="slices to stay within, both included")
    prompts.add_argument("--ras", action="store_true", help="boxes, points and lines are in RAS mm")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    if not arguments.given and arguments.prompts is None:
        raise UsageError("segment needs a prompt: --box, --point, --line, --mask or --prompts")
    if len(arguments.channel) > 2:
        raise UsageError(f"--channel can be given twice, not {len(arguments.channel)} times")
    _finer(arguments)
    start = time.perf_counter()
    check_targets(
        arguments.volume,
        arguments.output,
        arguments.picture,
        arguments.save_prompts,
        _other_inputs(arguments),
    )
    with reserved_targets(arguments.output, arguments.picture, arguments.save_prompts):
        return _run(arguments, start)


def _run(arguments: argparse.Namespace, start: float) -> int:
    volume = read_input_volume(arguments.volume, arguments.series, arguments.spacing)
    for sentence in volume.warnings:
        warn(sentence)
    if needs_dicom(arguments.output) and not volume.dicom_files:
        raise OutputError(f"Cannot write {arguments.output}: {arguments.volume} is not a DICOM series.")
    prompts = _prompts(arguments, volume)
    checkpoint = _checkpoint(arguments, prompts)
    prompts = replace(prompts, checkpoint_id=checkpoint.checkpoint.id, checkpoint_sha256=checkpoint.sha256)
    if needs_dicom(arguments.output):
        check_dicom(arguments.output, [obj.name for obj in prompts.objects], volume)
    read_s = time.perf_counter() - start

    from .compute import ComputeSettings, segment_volume

    settings = ComputeSettings(
        arguments.device,
        prompts.tier,
        arguments.threads,
        arguments.cache_mb,
        arguments.volume_stage,
        arguments.memory,
        arguments.runtime,
        arguments.adapters,
        _channels(arguments),
        _finer(arguments),
    )
    result = segment_volume(volume, prompts, checkpoint, settings)
    write_start = time.perf_counter()
    write_results(arguments, volume, result)
    timings = {
        "read": read_s,
        **result.seconds,
        "write": time.perf_counter() - write_start,
        "total": time.perf_counter() - start,
    }
    _report(arguments, volume, result, checkpoint, timings)
    return OK


def _channels(arguments: argparse.Namespace) -> tuple[Channel, ...]:
    """The volumes of --channel, each with its window."""
    from ..io.fusion import read_channel

    return tuple(read_channel(*split_window(text), warn) for text in arguments.channel)


def _finer(arguments: argparse.Namespace) -> tuple[Path, int] | None:
    """The head of --finer and how many times finer it draws. Raises UsageError."""
    if arguments.finer is None:
        return None
    path, _, times = arguments.finer.rpartition(",")
    if not path:
        path, times = arguments.finer, "2"
    if times not in {str(number) for number in range(2, 9)}:
        raise UsageError(f"--finer is a file of a head, and maybe 2 to 8 times after a comma, not {times!r}")
    if arguments.picture is not None or needs_dicom(arguments.output):
        raise UsageError(
            "--finer has another grid than the volume: leave out --picture, and write no DICOM SEG"
        )
    return Path(path), int(times)


def _other_inputs(arguments: argparse.Namespace) -> dict[Path, str]:
    """Files beside the volume that must stay as they are; the prompts may be saved where they came from."""
    masks = [split_label(text.rest_after_slice())[0] for text in arguments.given if text.kind == "mask"]
    inputs = dict.fromkeys(masks, "the file of a --mask")
    inputs.update((split_window(text)[0], "the file of a --channel") for text in arguments.channel)
    if arguments.adapters is not None:
        inputs[arguments.adapters] = "the file of the --adapters"
    finer = _finer(arguments)
    if finer is not None:
        inputs[finer[0]] = "the head of --finer"
    if arguments.model is not None:
        inputs[without_tilde(arguments.model)] = "the --model"
    if arguments.prompts is not None and arguments.prompts != arguments.save_prompts:
        inputs[arguments.prompts] = "the file of the --prompts"
    return inputs


def read_input_volume(path: Path, series_uid: str | None, spacing: str | None) -> Volume:
    """The volume that a command works on, with the options that help to read it named in its errors."""
    from ..io.volumes import read_volume
    from .prompt_arguments import parse_spacing

    try:
        volume = read_volume(path, series_uid, None if spacing is None else parse_spacing(spacing))
    except SpacingUnknownError as error:
        raise VolumeError(f"{error} Give it with --spacing X,Y or X,Y,Z.") from error
    except SeveralSeriesError as error:  # the library knows of no option
        found = "; ".join(error.listing)
        text = f"{error.path} holds {len(error.listing)} series, choose one with --series UID: {found}."
        raise VolumeError(text) from error
    if series_uid is not None and volume.dicom_files is None:
        raise VolumeError(f"--series {series_uid} is for DICOM, but {path} is not.")
    return volume


def _prompts(arguments: argparse.Namespace, volume: Volume) -> PromptSet:
    """Prompts of the file, then those of the command line, on the volume; its window chosen."""
    from ..core.geometry import SliceAxis
    from ..core.input_files import read_prompts
    from ..core.intensity import choose_window, with_contrast
    from ..core.prompts import PromptSet
    from .prompt_arguments import check_range, objects_from_arguments, parse_range

    geometry = volume.geometry
    read = read_prompts(arguments.prompts, geometry) if arguments.prompts else PromptSet(geometry)
    axis = SliceAxis.parse(arguments.axis) if arguments.axis else read.axis
    if read.objects and axis != read.axis:
        raise PromptError(
            f"{arguments.prompts} is for slice axis {read.axis.name.lower()}, not {arguments.axis}."
        )
    slice_range = parse_range(arguments.range) if arguments.range else None
    objects = objects_from_arguments(
        arguments.given, geometry, axis, arguments.ras, slice_range, read.objects
    )
    window = read.window
    if window is None or arguments.window is not None:
        window = choose_window(volume.array, arguments.window or "auto", volume.modality, warn)
    else:
        window = with_contrast(window, volume.array, warn)
    tier = arguments.tier or read.tier
    prompts = replace(
        read,
        axis=axis,
        objects=objects,
        window=window,
        tier=None if tier == "auto" else tier,
        cleanup=arguments.cleanup or read.cleanup or "none",
        overlap=arguments.overlap or read.overlap or "keep",
    )
    if not any(obj.prompts for obj in prompts.objects):
        raise PromptError(f"{arguments.prompts} holds no prompts.")
    check_range(prompts.objects)
    return prompts


def _checkpoint(arguments: argparse.Namespace, prompts: PromptSet) -> CheckpointFile:
    """The checkpoint of --model, else that of the prompts file, else the bundled one."""
    registry = Registry.from_environment()
    confirm = confirmation(arguments.yes)
    if arguments.model is not None or prompts.checkpoint_id is None:
        file = registry.open(arguments.model or BUNDLED_ID, confirm, loads)
    else:
        try:
            file = registry.open_saved(prompts.checkpoint_id, prompts.checkpoint_sha256, confirm, loads)
        except CheckpointError as error:
            raise CheckpointError(
                f"{arguments.prompts} was made with {prompts.checkpoint_id}: {error}"
            ) from error
    if prompts.checkpoint_sha256 not in (None, file.sha256):
        differs = f"{arguments.prompts} was made with another checkpoint ({prompts.checkpoint_id}, SHA-256"
        differs = (
            f"{differs} {str(prompts.checkpoint_sha256)[:16]}…) than {file.path.name} ({file.sha256[:16]}…)"
        )
        if arguments.model is None:
            raise CheckpointError(f"{differs}; name one with --model.")
        warn(f"{differs}; the masks will differ.")
    return file


def write_results(arguments: argparse.Namespace, volume: Volume, result: SegmentedVolume) -> None:
    """Write all that was asked for, the segmentation last: when it is there, everything is.

    Masks that a DICOM SEG cannot hold are written beside it as .seg.nrrd. Raises OutputError, which names that file.
    """
    from ..io.atomic import write_bytes

    volume = replace(volume, geometry=result.geometry)  # finer, where --finer asks for it
    if arguments.save_prompts is not None:
        write_bytes(arguments.save_prompts, result.prompts.to_json().encode())
    if arguments.picture is not None:
        draw_result(arguments.picture, volume, result)
    try:
        write_masks(arguments.output, result.masks, volume, result.prompts.objects)
    except OutputError as error:
        if not needs_dicom(arguments.output):
            raise
        beside = rescue_masks(arguments.output, result.masks, volume, result.prompts.objects)
        raise OutputError(f"{error} The masks were written to {beside} instead.") from error


def where_lost(name: str, ended: Sequence[Mapping[str, int]]) -> str:
    """Beyond which slices an object was not looked for, since it was gone: one sentence."""
    ways = sorted((event["direction"] < 0, event["last_seen"]) for event in ended)
    places = [f"{'before' if down else 'after'} slice {index}" for down, index in dict.fromkeys(ways)]
    return f"{name}: not seen {', nor '.join(places)}; the slices beyond were not searched."


def _report(
    arguments: argparse.Namespace,
    volume: Volume,
    result: SegmentedVolume,
    checkpoint: CheckpointFile,
    timings: dict[str, float],
) -> None:
    from ..core.geometry import volume_text

    for sentence in result.notes:
        warn(sentence)
    for obj in result.objects:
        show_message(f"{obj['name']}: {volume_text(obj['milliliters'])} mL on {obj['slices']} slices")
        if obj["ended"]:
            show_message(where_lost(obj["name"], obj["ended"]))
    show_message(f"{arguments.output} written in {duration(timings['total'])}.")
    if arguments.json:
        content = {
            "output": str(arguments.output),
            "volume": {
                "path": str(arguments.volume),
                "shape_kji": list(volume.geometry.shape),
                "spacing_ijk_mm": list(volume.geometry.spacing),
                "modality": volume.modality,
            },
            "axis": result.prompts.axis.name.lower(),
            "window": json.loads(result.prompts.window.to_json()) if result.prompts.window else None,
            "channels": arguments.channel,
            "checkpoint": {
                "id": checkpoint.checkpoint.id,
                "path": str(checkpoint.path),
                "sha256": checkpoint.sha256,
            },
            "device": result.device,
            "tier": result.prompts.tier,
            "objects": result.objects,
            "notes": list(result.notes),
            "seconds": {name: round(value, 4) for name, value in timings.items()},
        }
        sys.stdout.write(json.dumps(content, indent=1) + "\n")
