"""The items that the engine streams: the mask of one object on one slice, and the news that an object is gone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..sam2.model import MaskOutput
from .view import FrameView


@dataclass(frozen=True, eq=False)
class SliceMask:
    """The mask of one object on one slice.

    Args:
        object: the object's name.
        index: the slice's.
        logits: (rows, columns) float32, > 0 inside; OUTSIDE_LOGIT where the network did not look.
        mask: (rows, columns) bool.
        iou: the network's own estimate of the mask's IoU, 0..1.
        object_score: logit, > 0 if the object is on this slice.
        is_key: whether the slice was prompted.
        view: what the network looked at.
        low: (4h, 4w) float32, the mask logits in that view.
        refined: whether it comes of all slices of the object together, after the slice was streamed by itself.
    """

    object: str
    index: int
    logits: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    iou: float
    object_score: float
    is_key: bool
    view: FrameView
    low: npt.NDArray[np.float32]
    refined: bool = False

    @property
    def is_empty(self) -> bool:
        """Return whether the object is not on this slice."""
        return self.object_score <= 0 or not self.mask.any()

    @property
    def confidence(self) -> float:
        """The certainty of the network of this mask, 0..1; see :func:`confidence_of`."""
        return confidence_of(self.iou, self.object_score, self.is_empty)


def confidence_of(iou: float, object_score: float, is_empty: bool) -> float:
    """The certainty of the network of a slice, 0..1; docs/engine.md says how far that can be trusted.

    Args:
        iou: its own estimate of the mask's IoU.
        object_score: logit that the object is on the slice.
        is_empty: whether it drew nothing; then it is certain so far as it says that the object is not there.
    """
    if not is_empty:
        return max(0.0, min(1.0, iou))
    return 1.0 / (1.0 + math.exp(max(-60.0, min(60.0, object_score))))


@dataclass(frozen=True)
class TrackEnded:
    """A track was given up because its object is gone.

    Args:
        object: the object's name.
        key: the key slice the track started from.
        step: +1 toward higher slice indices, -1 toward lower ones.
        last_seen: the last slice of the track (or the key slice) with the object on it.
        skipped: the slices of the track that were not computed; the object has no mask there.
    """

    object: str
    key: int
    step: int
    last_seen: int
    skipped: tuple[int, ...]


def slice_mask(name: str, index: int, view: FrameView, output: MaskOutput, is_key: bool) -> SliceMask:
    """The result for the caller from the network's output (batch size 1) seen through `view`."""
    low = output.logits[0, 0].float().cpu().numpy()
    logits = view.mask_from_logits(low)
    iou, score = float(output.iou[0]), float(output.object_score[0])
    return SliceMask(name, index, logits, logits > 0, iou, score, is_key, view, low)
