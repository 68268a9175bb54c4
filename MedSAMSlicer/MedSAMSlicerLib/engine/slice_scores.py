"""The doubt about the masks of a segment, slice by slice, however they were made.

Each slice is drawn again from the mask below it and from the mask above it, by any network that carries masks. The
pixels on which both drawings agree against the mask are doubted in full: a fault on one slice misleads only one of the
two drawings of each slice beside it, so that these stay trusted. The mean of what the drawings differ by counts as
well, with less weight, so that the ends of a run of slices with the same fault are seen; in it, what was drawn from a
mask that is itself doubted counts little.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.geometry import SliceAxis
from ..core.masks import PackedMask
from ..core.plan import Track
from .crop import CropPolicy, bounds_of, joined
from .key_slice import KeySlice, key_from_output, prompted
from .live import stepwise
from .network import SliceNetwork
from .propagate import Cancel, stop_if
from .segmenter import VolumeSegmenter
from .slice_prompts import SlicePrompts
from .tracker import Tracker, TrackingOptions, advance
from .view import FrameView

BoolArray = npt.NDArray[np.bool_]

MEAN_WEIGHT = 0.5
"""How much the mean difference of the drawings counts beside what they agree on.

Tried on generated organs and on sarcomas in CT and MR: without it runs of wrong slices are missed, and with more of it
the slices beside a wrong one are taken for wrong."""

_KEPT_KEYS, _KEPT_DRAWINGS = 6, 4


@dataclass(frozen=True)
class SliceScore:
    """The network's score of the mask of one slice.

    Attributes:
        index: the slice's.
        doubted: pixels of the slice that are doubted, weighted; the more, the sooner the slice should be looked at.
        confidence: 0..1, what is not doubted as a part of the larger of the mask and what the network draws.
    """

    index: int
    doubted: float
    confidence: float


def slices_to_score(masks: Mapping[int, PackedMask], count: int) -> list[int]:
    """The slices of `count` that hold a mask, and the empty ones beside them, in ascending order.

    A slice with no mask on either side is left out: there is nothing to draw it from.
    """
    filled = {index for index, mask in masks.items() if not mask.is_empty}
    beside = {near for index in filled for near in (index - 1, index + 1)}
    return sorted(index for index in beside if 0 <= index < count)


def score_slices(
    segmenter: VolumeSegmenter,
    axis: SliceAxis,
    masks: Mapping[int, PackedMask],
    wanted: Collection[int] | None = None,
    cancel: Cancel | None = None,
) -> Iterator[SliceScore]:
    """Compare the masks of one segment with what the network draws from the masks beside them; nothing is changed.

    Args:
        segmenter: of the volume.
        axis: the slice axis of the masks.
        masks: of the segment by slice index, (rows, columns); slices that are missing are empty.
        wanted: the slices to score; None = all of :func:`slices_to_score`.
        cancel: returns True once the user wants to stop.

    Yields:
        One score for each slice, in ascending order.

    Raises:
        Canceled: If `cancel()` became true.
    """
    count = segmenter.geometry.slice_count(axis)
    chosen = slices_to_score(masks, count)
    if wanted is not None:
        chosen = [index for index in chosen if index in wanted]
    drawing = SliceDrawing(segmenter, axis, masks)
    return stepwise(_scores(drawing, chosen, cancel), segmenter.settings)


def _scores(
    drawing: SliceDrawing, chosen: list[int], cancel: Cancel | None
) -> Generator[SliceScore, None, None]:
    for index in chosen:
        stop_if(cancel)
        drawn = drawing.drawn(index)
        trust = [drawing.trust(near) for near in drawn]
        yield score_of(index, drawing.mask(index), [*drawn.values()], trust)


def score_of(
    index: int, mask: BoolArray, drawn: Sequence[BoolArray], trust: Sequence[float] | None = None
) -> SliceScore:
    """The score of a mask (rows, columns) beside one or two drawings of the same slice.

    Args:
        index: the slice.
        mask: that is scored.
        drawn: from the mask below, from the one above, or from both.
        trust: 0..1 in the mask that each was drawn from; None = full.
    """
    weights = np.maximum(np.ones(len(drawn)) if trust is None else np.asarray(trust, float), 0.01)
    differences = [np.count_nonzero(one != mask) for one in drawn]
    mean = float(np.dot(weights, differences) / weights.sum())
    doubted = (_agreed(mask, drawn) + MEAN_WEIGHT * mean) / (1 + MEAN_WEIGHT)
    return SliceScore(index, doubted, max(0.0, 1.0 - doubted / _area(mask, drawn)))


def _agreed(mask: BoolArray, drawn: Sequence[BoolArray]) -> int:
    """Pixels on which all drawings agree against the mask."""
    every, some = np.logical_and.reduce(drawn), np.logical_or.reduce(drawn)
    return int(np.count_nonzero(mask & ~some) + np.count_nonzero(every & ~mask))


def _area(mask: BoolArray, drawn: Sequence[BoolArray]) -> int:
    """Pixels of the largest of all these masks, at least 1."""
    return max(1, *(int(np.count_nonzero(one)) for one in (mask, *drawn)))


class SliceDrawing:
    """Draws slices from the masks beside them, through a view that is kept as long as it suits."""

    def __init__(self, segmenter: VolumeSegmenter, axis: SliceAxis, masks: Mapping[int, PackedMask]) -> None:
        self._network: SliceNetwork = segmenter.network(axis)
        self._whole: FrameView = segmenter.whole(axis)
        self._crop: CropPolicy | None = segmenter.options.crop
        self._options = TrackingOptions(0, None, segmenter.options.memory, tapers=False)
        self._masks = masks
        self._view: FrameView | None = None
        self._keys: dict[tuple[int, FrameView], KeySlice] = {}
        self._drawn: dict[int, dict[int, BoolArray]] = {}
        self._trust: dict[int, float] = {}

    def mask(self, index: int) -> BoolArray:
        """(rows, columns) of a slice."""
        packed = self._masks.get(index)
        return np.zeros(self._whole.shape, np.bool_) if packed is None else packed.to_array()

    def trust(self, index: int) -> float:
        """The agreement of the drawings of a slice with its mask, 0..1: what is drawn from another is worth less."""
        if index not in self._trust:
            mask, drawn = self.mask(index), [*self.drawn(index).values()]
            self._trust[index] = 1.0 - _agreed(mask, drawn) / _area(mask, drawn) if drawn else 1.0
        return max(0.0, self._trust[index])

    def drawn(self, index: int) -> dict[int, BoolArray]:
        """The slice as the network draws it from the mask below it, and from the one above it, by their indices."""
        if index not in self._drawn:
            self._drawn[index] = self._draw(index)
            while len(self._drawn) > _KEPT_DRAWINGS:
                del self._drawn[next(iter(self._drawn))]
        return self._drawn[index]

    def _draw(self, index: int) -> dict[int, BoolArray]:
        beside = [near for near in (index - 1, index + 1) if near in self._masks]
        beside = [near for near in beside if not self._masks[near].is_empty]
        view = self._view_of((*beside, index))
        found = {}
        for near in beside:
            track = Track(near, index - near, (index,), None)
            tracker = Tracker(self._network, "", track, self._key(near, view), None, self._options)
            [drawn] = advance([tracker], batched=False)
            found[near] = np.zeros_like(drawn.mask) if drawn.is_empty else drawn.mask
        return found

    def _view_of(self, indices: tuple[int, ...]) -> FrameView:
        if self._crop is None:
            return self._whole
        bounds = joined(*(bounds_of(self.mask(index)) for index in indices))
        assert bounds is not None
        if self._view is None or not self._crop.fits(self._view, bounds):
            self._view = self._crop.around(self._whole, bounds)
        return self._view

    def _key(self, index: int, view: FrameView) -> KeySlice:
        known = self._keys.get((index, view))
        if known is None:
            given = SlicePrompts((), None, self.mask(index), replaces=True)
            output = prompted(self._network, index, view, given)
            known = key_from_output(index, view, self._whole, output, given)
            self._keys[index, view] = known
            while len(self._keys) > _KEPT_KEYS:
                del self._keys[next(iter(self._keys))]
        return known
