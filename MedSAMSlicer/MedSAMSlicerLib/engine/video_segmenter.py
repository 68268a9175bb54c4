"""VideoSegmenter: objects through the frames of a video, each from the frame where it is first marked.

with open_frames("operation.mp4") as frames:
    video = VideoSegmenter(frames, model)
    grasper = video.object("grasper", video.box(0, 40, 20, 90, 80))
    result = video.segment([grasper])
    result.mask("grasper", 12)                                   # (rows, columns) bool
    needle = video.object("needle", video.point(300, 55, 40))    # it enters later
    result = video.segment([grasper, needle])                    # computes the needle alone

An object is computed from its own prompts only, so adding or removing one never changes another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from ..core.errors import MedSAMError, PromptError
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.prompts import (
    Box,
    MaskPrompt,
    ObjectPrompts,
    Point,
    Prompt,
    PromptSet,
    SliceRef,
    box_from_voxels,
    point_from_voxel,
)
from ..core.tiers import DIRECTIONS, Tier
from ..sam2.networks import Network
from .propagate import Cancel, Progress
from .proposals import Proposal, ProposalSettings, new_objects
from .result import ObjectResult
from .segmenter import DEFAULT_CACHE_BYTES, FrameSource, VolumeSegmenter

LEAST_CROP_MARGIN = 3.0
"""Side of the square that follows an object / its box, at least, of networks that are shown such squares.

What moves leaves a narrower one: of a generated disc that moves by a quarter of its width a frame the mean Dice was
.345 with 1.7 times the box, as in volumes, and .937 with 3 times (`python -m Testing.Lab.family_numbers`).
"""

_COLORS = ((0.90, 0.62, 0.00), (0.34, 0.71, 0.91), (0.00, 0.62, 0.45), (0.94, 0.89, 0.26), (0.84, 0.37, 0.00))


@dataclass(frozen=True, eq=False)
class VideoResult:
    """The masks of all objects, packed; frames outside of an object's range have none.

    Attributes:
        shape: (frames, rows, columns).
        objects: in the order of the prompts.
        prompts: that led to them, with the range of frames of each.
    """

    shape: tuple[int, int, int]
    objects: tuple[ObjectResult, ...]
    prompts: tuple[ObjectPrompts, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the objects."""
        return tuple(obj.name for obj in self.objects)

    def mask(self, name: str, index: int) -> npt.NDArray[np.bool_]:
        """The mask of an object on a frame, (rows, columns) bool.

        Raises:
            PromptError: If there is no such object.
        """
        found = self.found(name, index)
        return np.zeros(self.shape[1:], np.bool_) if found is None else found

    def found(self, name: str, index: int) -> npt.NDArray[np.bool_] | None:
        """As :meth:`mask`; None on frames where the object was not looked for."""
        stored = self._object(name).slices.get(index)
        return None if stored is None else stored.mask

    def masks(self, index: int) -> dict[str, npt.NDArray[np.bool_]]:
        """The masks of all objects on a frame."""
        return {obj.name: self.mask(obj.name, index) for obj in self.objects}

    def confidence(self, name: str, index: int) -> float | None:
        """The certainty of the network of a mask, 0..1; None where the object was not looked for."""
        stored = self._object(name).slices.get(index)
        return None if stored is None else stored.confidence

    def _object(self, name: str) -> ObjectResult:
        for obj in self.objects:
            if obj.name == name:
                return obj
        raise PromptError(f"There is no object {name!r} in this result.")


class VideoSegmenter:
    """Segments objects in one video with one network.

    Args:
        frames: such as :func:`~..io.video.open_frames` gives; read one by one, the network's features are kept up to
            `cache_bytes`.
        model: any network; see :class:`~.segmenter.VolumeSegmenter` for it and the following.
        tier, device, cache_bytes, threads, memory: as there.
        crop_margin: as there; None = as the checkpoint was trained, but `LEAST_CROP_MARGIN` at least.
        patience: frames in a row without the object after which it is no longer looked for; 0 = never, so that what
            was hidden for a while is found again.
    """

    def __init__(
        self,
        frames: FrameSource,
        model: Network,
        *,
        tier: Tier | str | None = None,
        device: str | torch.device = "cpu",
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        threads: int | None = None,
        memory: str = "all",
        crop_margin: float | None = None,
        patience: int = 0,
    ) -> None:
        self.frames, self.geometry = frames, video_geometry(frames)
        crop_margin = video_crop_margin(model) if crop_margin is None else crop_margin
        self.segmenter = VolumeSegmenter(
            frames,
            self.geometry,
            model,
            tier=tier,
            device=device,
            cache_bytes=cache_bytes,
            threads=threads,
            crop_margin=crop_margin,
            patience=patience,
            volume_stage="off",
            memory=memory,
            tapers=False,
        )
        self._live = self.segmenter.live()
        self._colored = 0

    # ------------------------------------------------------------------------------------------------------ prompts

    def box(self, frame: int, x0: float, y0: float, x1: float, y1: float, round: int = 0) -> Box:
        """A box on a frame, in pixels; x1 and y1 are the first column and row beyond the object."""
        return box_from_voxels(self.geometry, self._on(frame), x0, y0, x1, y1, round)

    def point(self, frame: int, x: float, y: float, positive: bool = True, round: int = 0) -> Point:
        """A click on an object (or, not positive, beside it), in pixels; the first pixel is (0, 0)."""
        return point_from_voxel(self.geometry, self._on(frame), x, y, positive, round)

    def mask(self, frame: int, mask: npt.NDArray[np.bool_], round: int = 0) -> MaskPrompt:
        """The object on a frame, (rows, columns) bool."""
        return MaskPrompt(self._on(frame), mask, round)

    def object(
        self,
        name: str,
        *prompts: Prompt,
        color: tuple[float, float, float] | None = None,
        frames: tuple[int, int] | None = None,
    ) -> ObjectPrompts:
        """An object and its prompts.

        Args:
            name: of the object.
            prompts: on any frames; those of round 1 correct what round 0 gave, and so on.
            color: red, green, blue in 0..1; None = chosen in turn.
            frames: first and last frame to look for it; None = as the direction of the run says.
        """
        if color is None:
            color = _COLORS[self._colored % len(_COLORS)]
            self._colored += 1
        return ObjectPrompts(name, color, prompts, frames)

    # -------------------------------------------------------------------------------------------------------- at once

    def segment(
        self,
        objects: Sequence[ObjectPrompts],
        direction: str = "forward",
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> VideoResult:
        """Bring all objects up to date with their prompts; what was computed before for the same prompts stays.

        Args:
            objects: all objects so far.
            direction: "forward" from an object's first prompted frame to the end of the video, "backward" from its
                last prompted frame to the beginning, or "both". A range given with the object comes first.
            progress: called as progress(frames done, frames in all, frame).
            cancel: returns True once the user wants to stop.

        Raises:
            PromptError: If the prompts do not fit the video or each other.
            Canceled: If `cancel()` became true; what was finished stays cached for the next call.
        """
        prompts = self.prompt_set(objects, direction)
        for _ in self._live.update(prompts, progress, cancel):
            pass
        results = (self._live.object_result(obj.name) for obj in objects)
        kept = (
            ObjectResult(r.name, r.color, r.geometry, r.axis, dict(r.slices), list(r.ended))
            for r in results
            if r is not None
        )
        return VideoResult(self.geometry.shape, tuple(kept), prompts.objects)

    def prompt_set(self, objects: Sequence[ObjectPrompts], direction: str = "forward") -> PromptSet:
        """The objects as prompts of the video, each with the range of frames that the direction gives it."""
        return PromptSet(
            self.geometry, objects=tuple(directed(obj, direction, self.geometry.shape[0]) for obj in objects)
        )

    def suggest(
        self,
        frame: int,
        result: VideoResult | None = None,
        settings: ProposalSettings | None = None,
        cancel: Cancel | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Proposal]:
        """The masks found on a frame that no object covers yet, the most certain first; see :mod:`.proposals`.

        Raises:
            PromptError: If there is no such frame, or the network was trained on boxes only.
        """
        found = self.segmenter.propose(frame, SliceAxis.K, settings, cancel, progress)
        tracked = [] if result is None else [*result.masks(frame).values()]
        return new_objects([proposal for proposal in found if proposal.area], tracked)

    def _on(self, frame: int) -> SliceRef:
        if not 0 <= frame < self.geometry.shape[0]:
            raise PromptError(
                f"Frame {frame} does not exist: the video has frames 0 to {self.geometry.shape[0] - 1}."
            )
        return SliceRef(SliceAxis.K, frame)


def video_crop_margin(model: Network) -> float | None:
    """The square that follows an object through a video / its box; None for a network of whole slices."""
    trained = model.config.crop_margin
    return None if trained is None else max(trained, LEAST_CROP_MARGIN)


def video_geometry(frames: FrameSource) -> VolumeGeometry:
    """The frames as slices of a volume, of square pixels and one after the other, for prompts and results."""
    return VolumeGeometry.from_spacing(frames.shape[:3], (1.0, 1.0, 1.0))


def directed(obj: ObjectPrompts, direction: str, frames: int) -> ObjectPrompts:
    """The object with the range of frames that a direction gives it; its own range comes first.

    Raises:
        MedSAMError: If there is no such direction.
    """
    if direction not in DIRECTIONS:
        raise MedSAMError(f"The direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}.")
    prompted = [prompt.slice.index for prompt in obj.prompts]
    if obj.slice_range is not None or not prompted:
        return obj
    first = min(prompted) if direction == "forward" else 0
    last = max(prompted) if direction == "backward" else frames - 1
    return replace(obj, slice_range=(first, last))
