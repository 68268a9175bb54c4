"""The same slice at the time points of a sequence: its mask at one of them, carried to the others.

The images of the slice are the frames of a video, in which the network follows the mask with the memory that it has
for the slices of a volume (SAM 2, Ravi et al. 2024); a network without memory goes from frame to frame.
Drawing the mask again in a box around what was followed was tried and was worse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.prompts import MaskPrompt, ObjectPrompts, PromptSet, SliceRef
from .cleanup import components
from .propagate import Cancel
from .segmenter import VolumeSegmenter
from .slice_mask import SliceMask

_SPECK = 0.1  # a part with less than this share of the largest is a speck, unless the given mask has such parts, too


@dataclass(frozen=True, eq=False)
class FrameMask:
    """What was found at one time point.

    Attributes:
        frame: the time point, counted among the frames.
        mask: bool (rows, columns).
        confidence: 0..1.
    """

    frame: int
    mask: npt.NDArray[np.bool_]
    confidence: float


def carried_masks(
    segmenter: VolumeSegmenter,
    frames: npt.NDArray[np.generic],
    axis: SliceAxis,
    start: int,
    mask: npt.NDArray[np.bool_],
    cancel: Cancel | None = None,
) -> Iterator[FrameMask]:
    """Follow a mask from one time point to all others, in both directions.

    Args:
        segmenter: of the volume at one of the time points; gives network, window and device.
        frames: (times, rows, columns): a slice across `axis` at each time point, in gray values.
        axis: of the slice in the volume.
        start: the time point of the mask.
        mask: bool (rows, columns), not empty.
        cancel: returns True once the user wants to stop.

    Yields:
        The mask of each other time point, as it is found.

    Raises:
        Cancelled: If `cancel()` became true.
    """
    spacing = segmenter.geometry.spacing  # mm along (i, j, k)
    in_plane = (spacing[2 - axis.column_axis], spacing[2 - axis.row_axis], 1.0)
    video = VolumeSegmenter(
        frames,
        VolumeGeometry.from_spacing(frames.shape, in_plane),
        segmenter.model,
        segmenter.window,
        tier=segmenter.precision.tier,
        device=segmenter.precision.device,
        threads=segmenter.threads,
        cache_bytes=segmenter.cache_bytes,
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
