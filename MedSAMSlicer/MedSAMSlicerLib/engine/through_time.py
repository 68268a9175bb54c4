"""The same slice at the time points of a sequence: its mask at one of them, carried to the others.

The images of the slice are the frames of a video, in which the network follows the mask with the memory that it has
for the slices of a volume (SAM 2, Ravi et al. 2024); a network without memory goes from frame to frame.
Drawing the mask again in a box around what was followed was tried and was worse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.prompts import MaskPrompt, ObjectPrompts, PromptSet, SliceRef
from .cleanup import components
from .propagate import Cancel
from .segmenter import FrameSource, VolumeSegmenter
from .slice_mask import SliceMask
from .video_segmenter import video_crop_margin

_SPECK = 0.1  # a part with less than this share of the largest is a speck, unless the given mask has such parts, too


@dataclass(frozen=True, eq=False)
class FrameMask:
    """The mask found at one time point.

    Attributes:
        frame: the time point, counted among the frames.
        mask: bool (rows, columns).
        confidence: 0..1.
    """

    frame: int
    mask: npt.NDArray[np.bool_]
    confidence: float


class FramesInColor:
    """A slice in color at each time point, taken from its volume when it is asked for.

    Args:
        volumes: (K, J, I, 3) uint8 of each time point.
        axis, index: the slice.
    """

    def __init__(self, volumes: Sequence[npt.NDArray[np.generic]], axis: SliceAxis, index: int) -> None:
        self._volumes, self._axis, self._index = volumes, axis, index
        rows, columns = np.take(volumes[0], index, int(axis)).shape[:2]
        self.shape = (len(volumes), rows, columns, 3)

    def frame(self, index: int) -> npt.NDArray[np.uint8]:
        """The slice at one time point, (rows, columns, 3)."""
        return np.asarray(np.take(self._volumes[index], self._index, int(self._axis)), np.uint8)


def slice_in_time(
    volumes: Sequence[npt.NDArray[np.generic]], axis: SliceAxis, index: int
) -> npt.NDArray[np.generic] | FrameSource:
    """A slice of each time point: (times, rows, columns) in gray values, or frames in color.

    Args:
        volumes: of each time point, (K, J, I) or in color (K, J, I, 3).
        axis, index: the slice.
    """
    if volumes[0].ndim == 4:
        return FramesInColor(volumes, axis, index)
    return np.stack([np.take(volume, index, int(axis)) for volume in volumes])


def carried_masks(
    segmenter: VolumeSegmenter,
    frames: npt.NDArray[np.generic] | FrameSource,
    axis: SliceAxis,
    start: int,
    mask: npt.NDArray[np.bool_],
    cancel: Cancel | None = None,
) -> Iterator[FrameMask]:
    """Follow a mask from one time point to all others, in both directions.

    Args:
        segmenter: of the volume at one of the time points; gives network, window and device.
        frames: a slice across `axis` at each time point, see :func:`slice_in_time`.
        axis: of the slice in the volume.
        start: the time point of the mask.
        mask: bool (rows, columns), not empty.
        cancel: returns True once the user wants to stop.

    Yields:
        The mask of each other time point, as it is found.

    Raises:
        Canceled: If `cancel()` became true.
    """
    spacing = segmenter.geometry.spacing  # mm along (i, j, k)
    in_plane = (spacing[2 - axis.column_axis], spacing[2 - axis.row_axis], 1.0)
    video = VolumeSegmenter(
        frames,
        VolumeGeometry.from_spacing(frames.shape[:3], in_plane),
        segmenter.model,
        segmenter.window,
        tier=segmenter.precision.tier,
        device=segmenter.precision.device,
        threads=segmenter.threads,
        cache_bytes=segmenter.cache_bytes,
        crop_margin=video_crop_margin(segmenter.model) if isinstance(frames, FrameSource) else None,
        patience=0,
        volume_stage="off",
        tapers=False,
    )
    given = MaskPrompt(SliceRef(SliceAxis.K, start), mask)
    obj = ObjectPrompts("object", (1.0, 1.0, 1.0), (given,))
    speck = min(_SPECK, _smallest_part(mask) / 2)
    for event in video.live().update(PromptSet(video.geometry, objects=(obj,)), None, cancel):
        if isinstance(event, SliceMask) and event.index != start:
            yield FrameMask(event.index, without_specks(event.mask, speck), event.confidence)


def without_specks(mask: npt.NDArray[np.bool_], share: float) -> npt.NDArray[np.bool_]:
    """A mask (rows, columns) without parts that have less than a share, 0..1, of the pixels of its largest part."""
    labels, count = components(mask[None], fully=True)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    kept = sizes >= share * sizes[1:].max()
    kept[0] = False
    return np.asarray(kept[labels[0]], np.bool_)


def _smallest_part(mask: npt.NDArray[np.bool_]) -> float:
    """The pixels of the smallest part of a mask (rows, columns) by those of its largest; 1 when it is in one part."""
    labels, count = components(mask[None], fully=True)
    sizes = np.bincount(labels.ravel())[1:]
    return float(sizes.min() / sizes.max()) if count else 1.0
