"""`medsamslicer demo`: the main job on a generated volume, with the bundled checkpoint and no download."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import OutputError
from ..models.registry import BUNDLED_ID, Registry
from .exit_codes import FAILED, OK
from .models import loads
from .terminal import UNTRIED_DEVICES, confirmation, duration

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..core.geometry import VolumeGeometry
    from ..core.prompts import ObjectPrompts
    from ..io.volumes import Volume
    from .compute import SegmentedVolume

REQUIRED_DICE = 0.85
STRUCTURES = ("liver", "spleen", "right_kidney", "left_kidney", "aorta")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "demo",
        help="segment a generated volume and compare with the truth",
        description="Make a CT-like volume whose true segmentation is known, segment five organs from one box on one\n"
        "slice and the range of slices each, and compare.\n"
        f"Exit code 1 when the mean Dice is below {REQUIRED_DICE}.",
        epilog="examples:\n"
        "  medsamslicer demo\n"
        "  medsamslicer demo --output phantom --seed 7\n"
        "  medsamslicer demo --model sam2.1-tiny --device cuda",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--output", type=Path, default=Path("demo"), metavar="FOLDER", help="default: ./demo")
    parser.add_argument("--seed", type=int, default=0, help="of the generated volume (default: 0)")
    parser.add_argument("--model", default=BUNDLED_ID, metavar="NAME|FILE", help=f"default: {BUNDLED_ID}")
    parser.add_argument(
        "--yes", action="store_true", help="use a checkpoint file whose hash is not known yet"
    )
    parser.add_argument(
        "--device", default="auto", help=f"auto, cpu, cuda or mps (default: auto); {UNTRIED_DEVICES}"
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; returns the exit code."""
    from ..io.atomic import reserved

    folder = arguments.output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be created: {error.strerror or error}.") from error
    with reserved(folder):
        return _run(arguments, folder)


def _run(arguments: argparse.Namespace, folder: Path) -> int:
    from ..core.intensity import choose_window
    from ..core.metrics import dice
    from ..core.prompts import PromptSet
    from ..io.volumes import Volume
    from ..phantom.ct import ct_phantom
    from .compute import ComputeSettings, segment_volume

    checkpoint = Registry.from_environment().open(arguments.model, confirmation(arguments.yes), loads)
    array, geometry, truth = ct_phantom(seed=arguments.seed)
    volume = Volume(array, geometry, "phantom", folder / "volume.nii.gz", modality="CT")
    prompts = PromptSet(
        geometry,
        objects=_one_box_and_range_each(truth, geometry),
        window=choose_window(array, "auto", "CT"),
        checkpoint_id=checkpoint.checkpoint.id,
        checkpoint_sha256=checkpoint.sha256,
    )
    result = segment_volume(volume, prompts, checkpoint, ComputeSettings(arguments.device))
    scores = {name: float(dice(result.masks[name], truth[name])) for name in STRUCTURES}
    mean = sum(scores.values()) / len(scores)
    files = _write(folder, volume, result)
    if arguments.json:
        content = {
            "dice": scores,
            "mean_dice": mean,
            "seconds": result.seconds,
            "files": [str(file) for file in files],
        }
        sys.stdout.write(json.dumps(content, indent=1) + "\n")
    else:
        _print(scores, mean, result.seconds, files)
    return OK if mean >= REQUIRED_DICE else FAILED


def _one_box_and_range_each(
    truth: dict[str, npt.NDArray[np.bool_]], geometry: VolumeGeometry
) -> tuple[ObjectPrompts, ...]:
    """For each structure the tight box on the slice where it is largest, and its first and last slice."""
    from ..core.geometry import SliceAxis
    from ..core.prompts import ObjectPrompts, SliceRef, box_from_voxels
    from ..io.segmentations import color_of

    objects = []
    for number, name in enumerate(STRUCTURES):
        areas = truth[name].sum(axis=(1, 2))
        index, seen = int(areas.argmax()), areas.nonzero()[0]
        rows, columns = truth[name][index].nonzero()
        edges = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        box = box_from_voxels(geometry, SliceRef(SliceAxis.K, index), *(int(edge) for edge in edges))
        objects.append(ObjectPrompts(name, color_of(number), (box,), (int(seen[0]), int(seen[-1]))))
    return tuple(objects)


def _write(folder: Path, volume: Volume, result: SegmentedVolume) -> list[Path]:
    """The volume, the segmentation and the picture; returns the files."""
    from ..io.nifti import write_nifti
    from .outputs import draw_result, write_masks

    volume_file, segmentation, picture = volume.path, folder / "demo.seg.nrrd", folder / "demo.png"
    write_nifti(volume_file, volume.array, volume.geometry)
    write_masks(segmentation, result.masks, volume, result.prompts.objects)
    draw_result(picture, volume, result)
    return [volume_file, segmentation, picture]


def _print(scores: dict[str, float], mean: float, seconds: dict[str, float], files: list[Path]) -> None:
    lines = [f"{name.replace('_', ' '):15s} Dice {score:.3f}" for name, score in scores.items()]
    lines.append(
        f"{'mean':15s} Dice {mean:.3f} ({'at least' if mean >= REQUIRED_DICE else 'below'} {REQUIRED_DICE})"
    )
    lines.append(f"segmented in {duration(seconds['segment'])}; written:")
    lines += [f"  {file}" for file in files]
    sys.stdout.write("\n".join(lines) + "\n")
