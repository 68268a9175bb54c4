"""`medsamslicer video`: objects through the frames of a video."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import MedSAMError, PromptError
from ..core.tiers import DIRECTIONS, MEMORY_POLICIES
from ..models.registry import BUNDLED_ID, CheckpointFile, Registry
from .argument_types import add_network_options, not_negative, positive
from .exit_codes import OK, UsageError
from .models import loads
from .prompt_text import add_prompt
from .terminal import ProgressBar, confirmation, duration, show_message, warn

if TYPE_CHECKING:
    from ..core.prompts import ObjectPrompts, PromptSet
    from ..engine.video_segmenter import VideoResult, VideoSegmenter
    from ..io.video import FrameReader

_DESCRIPTION = """Segment objects through the frames of a video: surgery, endoscopy, ultrasound.

VIDEO is a video file (MP4 and others, which needs the package av), a folder of pictures in the order of the numbers in
their names, or a ZIP file of such pictures. Frames are shown to the network in color and read one by one.

Places are pixels counted from 0: FRAME, X from the left, Y from the top. The far edges of a box are exclusive: X1 and
Y1 are the first column and row beyond it. Prompts of the same NAME belong to one object; each object begins on the
frame where it is prompted first, and adding an object never changes another.

FOLDER is new or empty. It gets masks/NAME/FRAME.png, annotations.json (COCO run lengths in the layout of YouTube-VIS),
prompts.json to repeat the run, and overlay.mp4."""

_EPILOG = """examples:
  medsamslicer video operation.mp4 --box grasper=0,120,80,310,260 -o grasper
  medsamslicer video operation.mp4 --box grasper=0,120,80,310,260 --point needle=140,300,200 -o both
  medsamslicer video frames/ --mask polyp=40,polyp_of_frame_40.png --direction both -o polyp
  medsamslicer video echo.zip --box ventricle=12,50,60,140,180 --model sam2.1-small --no-overlay -o ventricle
  medsamslicer video operation.mp4 --prompts both/prompts.json --suggest 200 -o again"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "video",
        help="from prompts to masks on the frames of a video",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("video", type=Path, metavar="VIDEO")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    _add_prompts(parser)
    network = add_network_options(parser)
    network.add_argument("--adapters", type=Path, metavar="FILE", help="adapters trained for that checkpoint")
    network.add_argument("--cache-mb", type=positive, metavar="MB", help="memory for encoded frames")
    network.add_argument(
        "--memory",
        choices=MEMORY_POLICIES,
        default="all",
        help="which remembered frames are used; prune = without those that add least, which is faster (default: all)",
    )
    more = parser.add_argument_group("results")
    more.add_argument(
        "--suggest",
        type=not_negative,
        metavar="FRAME",
        help="also write what no object covers on that frame, as mask prompts: suggestions.json",
    )
    more.add_argument("--no-overlay", action="store_true", help="do not draw the masks on the video")
    more.add_argument("--json", action="store_true", help="print result and timings as JSON")
    return parser


def _add_prompts(parser: argparse.ArgumentParser) -> None:
    prompts = parser.add_argument_group("prompts (any number)")
    for kind, form, text in (
        (
            "box",
            "[NAME=]FRAME,X0,Y0,X1,Y1[,+|-]",
            "a box around the object (+) or what is not the object (-)",
        ),
        ("point", "[NAME=]FRAME,X,Y[,+|-]", "a click on the object (+, the default) or outside it (-)"),
        ("mask", "[NAME=]FRAME,FILE", "the object on one frame: a picture of that size, not 0 on the object"),
    ):
        add_prompt(prompts, kind, form, text)
    prompts.add_argument("--prompts", type=Path, metavar="JSON", help="prompts.json of an earlier run")
    prompts.add_argument("--range", metavar="FIRST,LAST", help="frames to stay within, both included")
    prompts.add_argument(
        "--direction",
        choices=DIRECTIONS,
        default="forward",
        help="from the prompted frames to the end, to the beginning, or both (default: forward)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from ..io.atomic import reserved
    from ..io.video_output import check_new_folder

    if not arguments.given and arguments.prompts is None and arguments.suggest is None:
        raise UsageError("video needs a prompt: --box, --point, --mask or --prompts, or --suggest FRAME")
    check_new_folder(arguments.output)
    with reserved(arguments.output):
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    from ..io.video import open_frames

    start = time.perf_counter()
    with open_frames(arguments.video) as frames:
        overlay = not arguments.no_overlay and _can_draw()
        objects = _objects(arguments, frames)
        if arguments.suggest is not None:
            _check_frame(arguments.suggest, frames)
        file = Registry.from_environment().open(
            arguments.model or BUNDLED_ID, confirmation(arguments.yes), loads
        )
        video = _segmenter(arguments, frames, file)
        began = time.perf_counter()
        result = _segmented(arguments, video, objects)
        segmented = time.perf_counter()
        suggestions = _suggestions(arguments, video, result, file)
        _write(arguments, frames, video, result, file, suggestions, overlay)
    seconds = {
        "open": began - start,
        "segment": segmented - began,
        "write": time.perf_counter() - segmented,
        "total": time.perf_counter() - start,
    }
    _report(arguments, result, suggestions, seconds)
    return OK


def _can_draw() -> bool:
    from ..io.video import import_av

    try:
        import_av("overlay.mp4 is left out: it is a video, which")
    except MedSAMError as error:
        warn(str(error))
        return False
    return True


def _objects(arguments: argparse.Namespace, frames: FrameReader) -> tuple[ObjectPrompts, ...]:
    """Prompts of the file, then those of the command line."""
    from ..core.geometry import SliceAxis
    from ..core.input_files import read_prompts
    from ..engine.video_segmenter import directed, video_geometry
    from .prompt_arguments import check_range, objects_from_arguments, parse_range

    geometry = video_geometry(frames)
    given = read_prompts(arguments.prompts, geometry).objects if arguments.prompts else ()
    for text in arguments.given:
        _check_frame(text.whole(0), frames)
    wanted = parse_range(arguments.range) if arguments.range else None
    objects = objects_from_arguments(arguments.given, geometry, SliceAxis.K, False, wanted, given)
    if wanted is not None and wanted[1] >= len(frames):
        raise PromptError(f"The range {wanted[0]},{wanted[1]} exceeds the last frame, {len(frames) - 1}.")
    if not objects and arguments.suggest is None:
        raise PromptError(f"{arguments.prompts} holds no prompts.")
    check_range(objects)
    return tuple(directed(obj, arguments.direction, len(frames)) for obj in objects)


def _check_frame(index: int, frames: FrameReader) -> None:
    if index >= len(frames):
        raise PromptError(f"Frame {index} does not exist: {frames.path} has frames 0 to {len(frames) - 1}.")


def _segmenter(arguments: argparse.Namespace, frames: FrameReader, file: CheckpointFile) -> VideoSegmenter:
    from ..engine.video_segmenter import VideoSegmenter
    from .compute import ComputeSettings, loaded_network

    settings = ComputeSettings(
        device=arguments.device,
        tier=arguments.tier,
        threads=arguments.threads,
        cache_mb=arguments.cache_mb,
        memory=arguments.memory,
        adapters=arguments.adapters,
    )
    return VideoSegmenter(frames, loaded_network(file, settings), **settings.of_engine())


def _segmented(
    arguments: argparse.Namespace, video: VideoSegmenter, objects: Sequence[ObjectPrompts]
) -> VideoResult:
    from .compute import check_estimate

    if not objects:
        return video.segment([])
    check_estimate(video.segmenter, video.prompt_set(objects), as_volumes=False)
    with ProgressBar("segmenting") as bar:
        return video.segment(
            objects,
            arguments.direction,
            progress=lambda done, total, index: bar.update(done, total, f"frame {index}"),
        )


def _suggestions(
    arguments: argparse.Namespace, video: VideoSegmenter, result: VideoResult, file: CheckpointFile
) -> PromptSet | None:
    """The regions that no object covers on the chosen frame, as mask prompts; None unless it is asked for."""
    from ..core.prompts import ObjectPrompts
    from ..io.segmentations import color_of

    if arguments.suggest is None:
        return None
    with ProgressBar("searching") as bar:
        found = video.suggest(
            arguments.suggest, result, progress=lambda done, total: bar.update(done, total, "clicks")
        )
    if not found:
        warn(
            f"Nothing that no object covers was found on frame {arguments.suggest}; networks trained on whole "
            "pictures, such as sam2.1-small, find more than the bundled one."
        )
    objects = [
        ObjectPrompts(f"Candidate_{n + 1}", color_of(n), (video.mask(arguments.suggest, proposal.mask),))
        for n, proposal in enumerate(found)
    ]
    return replace(_prompt_set(video, file), objects=tuple(objects))


def _prompt_set(video: VideoSegmenter, file: CheckpointFile) -> PromptSet:
    tier = video.segmenter.precision.tier.value
    return replace(
        video.prompt_set(()), checkpoint_id=file.checkpoint.id, checkpoint_sha256=file.sha256, tier=tier
    )


def _write(
    arguments: argparse.Namespace,
    frames: FrameReader,
    video: VideoSegmenter,
    result: VideoResult,
    file: CheckpointFile,
    suggestions: PromptSet | None,
    overlay: bool,
) -> None:
    from .. import __version__
    from ..io.video_output import VideoMasks, new_folder, write_video_masks

    about = {
        "description": f"Masks of {frames.path.name}, made by MedSAMSlicer {__version__}",
        "checkpoint": file.checkpoint.id,
        "checkpoint_sha256": file.sha256,
    }
    colors = {obj.name: obj.color for obj in result.objects}
    prompts = replace(_prompt_set(video, file), objects=result.prompts)
    with new_folder(arguments.output) as folder, ProgressBar("writing") as bar:
        (folder / "prompts.json").write_text(prompts.to_json(), encoding="utf-8")
        if suggestions is not None:
            (folder / "suggestions.json").write_text(suggestions.to_json(), encoding="utf-8")
        content = VideoMasks(colors, result.found, about)
        write_video_masks(
            folder, frames, content, overlay, lambda done, total: bar.update(done, total, f"frame {done}")
        )


def _report(
    arguments: argparse.Namespace,
    result: VideoResult,
    suggestions: PromptSet | None,
    seconds: dict[str, float],
) -> None:
    described = []
    for obj in result.objects:
        seen = sorted(index for index, stored in obj.slices.items() if not stored.packed.is_empty)
        described.append(
            {
                "name": obj.name,
                "frames": len(seen),
                "first_frame": seen[0] if seen else None,
                "last_frame": seen[-1] if seen else None,
                "prompted_frames": list(obj.key_slices),
            }
        )
        show_message(f"{obj.name}: on {len(seen)} of {result.shape[0]} frames")
    names = None if suggestions is None else [obj.name for obj in suggestions.objects]
    if names is not None:
        show_message(f"{len(names)} suggestions for frame {arguments.suggest}")
    show_message(f"{arguments.output} written in {duration(seconds['total'])}.")
    if arguments.json:
        content = {
            "output": str(arguments.output),
            "video": {"path": str(arguments.video), "shape": list(result.shape)},
            "objects": described,
            "suggestions": names,
            "seconds": {name: round(value, 4) for name, value in seconds.items()},
        }
        sys.stdout.write(json.dumps(content, indent=1) + "\n")
