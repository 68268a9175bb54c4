"""SecondReader: LiteMedSAM reads some slices again, each within the box of the mask that was carried there.

SAM 2's memory carries an object from slice to slice and may drift. LiteMedSAM (Ma et al. 2024) remembers nothing, but
it was trained on a million pairs of medical images and masks, and given a box it often draws the better edge. Neither
is right everywhere: how well both agree on the key slices, where the user has seen the mask, and on every other slice
reports to the volume stage how far the second reading can be trusted.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from ..core.folders import bundled_folders
from ..core.metrics import dice
from ..core.tiers import second_network_is_off
from ..sam2.checkpoint import load_network
from ..sam2.sam1 import SAM1
from .crop import Bounds, bounds_of
from .network import LOGIT_LIMIT
from .propagate import Cancel, ProgressCounter, stop_if
from .slicewise import CARRY_MARGIN, SliceWiseNetwork
from .view import FrameView
from .volume.evidence import Reading, VolumeEvidence

FILE = "litemedsam.safetensors"

MOST_SLICES = 12
"""Slices of an object that are read at most beside the key slices; between them the logits are interpolated."""

WORTH_READING = 0.6
"""Mean Dice with the masks of the key slices from which on the other slices are read, too."""

ENOUGH_DRAWN = 0.2
"""Nothing is read where no slice lies farther than this part of the object's length from one that the user drew."""

SURELY_BETTER = 0.5
"""Difference of two masks' :func:`likeness` from which on the second network's is taken on a slice with a box."""

# Of what `looks` gives; learned on 100 slices of sarcomas by `medsamslicer train choice`, see docs/model-card.md.
_LIKENESS = (3.03, 16.8, -0.906)

# Sides of boxes lie on multiples of this part of the frame's side, so that a small change reads nothing again.
_GRID = 0.5 / 256
_KEPT = 256  # readings

Floats = npt.NDArray[np.float32]
Masks = npt.NDArray[np.bool_]


class SecondReader:
    """Reads slices of one volume along one axis.

    Args:
        network: of the volume, with boxes as prompts.
        whole: the view of whole slices.
    """

    def __init__(self, network: SliceWiseNetwork, whole: FrameView) -> None:
        self.network = network
        self.store = network.store
        self._whole = whole
        self._read: OrderedDict[tuple[int, Bounds], npt.NDArray[np.float16]] = OrderedDict()

    def with_reading(
        self,
        evidence: VolumeEvidence,
        masks: Masks,
        cancel: Cancel | None = None,
        counter: ProgressCounter | None = None,
    ) -> VolumeEvidence:
        """The evidence with what the network draws in the boxes of masks.

        Slices that bind their neighbors are read first, in the user's box where there is one. If the network does not
        see there what the user has seen, it is of no use for this object, and nothing more is read.

        Args:
            evidence: of one object.
            masks: (slices, rows, columns) bool of the evidence's part of the volume.
            cancel: asked before each slice.
            counter: counts the slices that are read.

        Raises:
            Canceled: If `cancel()` became true.
        """
        keys = [int(place) for place in np.flatnonzero(evidence.keys) if masks[place].any()]
        drawn = self._drawn(evidence, masks, keys, cancel, counter)
        on_keys = [dice(drawn[place][None] > 0, masks[place][None]) for place in keys]
        if not keys or np.mean(on_keys) < WORTH_READING:
            return evidence
        others = [place for place in _spaced(masks, evidence.corner[0]) if place not in drawn]
        drawn.update(self._drawn(evidence, masks, others, cancel, counter))
        return replace(evidence, reading=_reading(drawn, masks, float(np.mean(on_keys))))

    def _drawn(
        self,
        evidence: VolumeEvidence,
        masks: Masks,
        places: Sequence[int],
        cancel: Cancel | None,
        counter: ProgressCounter | None,
    ) -> dict[int, Floats]:
        """Logits (rows, columns) of slices that hold a mask, each read in the user's box or that of its mask."""
        first, top, left = evidence.corner
        given = {int(place): sides for place, *sides in evidence.boxes if evidence.keys[int(place)]}
        rows, columns = (
            slice(at, at + size) for at, size in zip((top, left), evidence.shape[1:], strict=True)
        )
        found: dict[int, Floats] = {}
        for place in places:
            stop_if(cancel)
            bounds = bounds_of(masks[place])
            assert bounds is not None
            x0, y0, x1, y1 = given[place] if place in given else self._widened(bounds)
            low = self.read(first + place, self._on_grid((x0 + left, y0 + top, x1 + left, y1 + top)))
            found[place] = self._whole.mask_from_logits(low)[rows, columns].clip(-LOGIT_LIMIT, LOGIT_LIMIT)
            if counter is not None:
                counter.add(first + place)
        return found

    def drawn_better(self, index: int, box: Bounds, mask: npt.NDArray[np.bool_]) -> Floats | None:
        """What this network draws in the user's box, where its mask looks more like an object than another one.

        Args:
            index: the slice.
            box: left, top, right and bottom in slice index coordinates, on voxel edges.
            mask: (rows, columns) bool, what the first network draws in that box.

        Returns:
            (rows, columns) float32 logits; None where the first network's mask stays.
        """
        logits = self.drawn(index, box)
        spacing = self._whole.spacing
        score = likeness(logits > 0, box, spacing) - likeness(mask, box, spacing)
        return logits if score > SURELY_BETTER else None

    def drawn(self, index: int, box: Bounds) -> Floats:
        """(rows, columns) float32 logits of slice `index` within a box in slice index coordinates."""
        return self._whole.mask_from_logits(self.read(index, box))

    def masks_in(self, index: int, boxes: Sequence[Bounds]) -> list[Masks]:
        """(rows, columns) bool of slice `index` in each of several boxes; nothing of it is kept."""
        low = self.network.logits_in_boxes(index, self._whole, boxes)
        return [self._whole.mask_from_logits(logits) > 0 for logits in low]

    def prepare(self, index: int) -> None:
        """Encode a slice in the background, unless it is: reading it then takes little time. Returns at once."""
        self.store.fill(index, self._whole, [index])

    def is_prepared(self, index: int) -> bool:
        """Return whether a slice is encoded."""
        return self.store.contains(index, self._whole)

    def read(self, index: int, box: Bounds) -> npt.NDArray[np.float32]:
        """(4h, 4w) float32 logits of slice `index` within a box in slice index coordinates, in the whole view."""
        key = index, box
        if key not in self._read:
            low = self.network.logits_in_box(index, self._whole, box)
            self._read[key] = low.clip(-LOGIT_LIMIT, LOGIT_LIMIT).astype(np.float16)
            while len(self._read) > _KEPT:
                self._read.popitem(last=False)
        self._read.move_to_end(key)
        return self._read[key].astype(np.float32)

    def _widened(self, box: Bounds) -> Bounds:
        """A box that is wider at each side by `CARRY_MARGIN` of the frame's side."""
        wide, high = (CARRY_MARGIN * self._whole.side_mm / mm for mm in reversed(self._whole.spacing))
        return box[0] - wide, box[1] - high, box[2] + wide, box[3] + high

    def _on_grid(self, box: Bounds) -> Bounds:
        """The smallest box on a coarse grid around another, within the slice."""
        wide, high = (_GRID * self._whole.side_mm / mm for mm in reversed(self._whole.spacing))
        rows, columns = self._whole.shape
        return (
            max(math.floor((box[0] + 0.5) / wide) * wide, 0.0) - 0.5,
            max(math.floor((box[1] + 0.5) / high) * high, 0.0) - 0.5,
            min(math.ceil((box[2] + 0.5) / wide) * wide, float(columns)) - 0.5,
            min(math.ceil((box[3] + 0.5) / high) * high, float(rows)) - 0.5,
        )


def drawn_throughout(drawn: Collection[int], first: int, last: int) -> bool:
    """Return whether the user drew so many slices of an object that reading the others gains nothing.

    With three drawn slices that lie evenly over an object, or more, masks were no better for it (docs/benchmark.md),
    and it takes most of the time.

    Args:
        drawn: the slices that the user drew or accepted.
        first, last: of the object, or of its range.
    """
    places = np.array(sorted(drawn))
    if not places.size:
        return False
    gaps = np.abs(np.arange(first, last + 1)[:, None] - places).min(1)
    return bool(gaps.max() <= ENOUGH_DRAWN * (last - first + 1))


def likeness(mask: npt.NDArray[np.bool_], box: Bounds, spacing: tuple[float, float]) -> float:
    """How much a mask looks like the object that a user put a box around: the difference of two decides.

    Returns:
        A score without a unit of what :func:`looks` gives; minus infinity for an empty mask.
    """
    seen = looks(mask, box, spacing)
    return -math.inf if seen is None else float(np.dot(_LIKENESS, seen))


def looks(
    mask: npt.NDArray[np.bool_], box: Bounds, spacing: tuple[float, float]
) -> tuple[float, float, float] | None:
    """What a mask in a user's box looks like.

    A box is drawn tightly, so the mask should reach its sides and fill it; and objects have smooth outlines.

    Args:
        mask: (rows, columns) bool.
        box: left, top, right and bottom in slice index coordinates, on voxel edges.
        spacing: mm between rows and between columns.

    Returns:
        The part of the box that is filled, the IoU of the mask's own box with it, and the length of the outline by the
        root of the area; None of an empty mask.
    """
    own = bounds_of(mask)
    if own is None:
        return None
    fill, tightness = _shared_with(mask, own, box)
    padded = np.pad(mask, 1)
    outline = np.count_nonzero(padded[1:] != padded[:-1]) * spacing[1]
    outline += np.count_nonzero(padded[:, 1:] != padded[:, :-1]) * spacing[0]
    area = np.count_nonzero(mask) * spacing[0] * spacing[1]
    return fill, tightness, float(outline / math.sqrt(area))


def _shared_with(mask: npt.NDArray[np.bool_], own: Bounds, box: Bounds) -> tuple[float, float]:
    """The part of a box that a mask fills, and the IoU of the mask's own box with it."""
    inside = [
        (np.arange(size) > low) & (np.arange(size) < high)
        for size, low, high in zip(mask.shape, (box[1], box[0]), (box[3], box[2]), strict=True)
    ]
    area = max((box[2] - box[0]) * (box[3] - box[1]), 1.0)
    width, height = (min(own[n + 2], box[n + 2]) - max(own[n], box[n]) for n in (0, 1))
    both = max(width, 0.0) * max(height, 0.0)
    either = (own[2] - own[0]) * (own[3] - own[1]) + area - both
    return np.count_nonzero(mask[np.ix_(*inside)]) / area, both / either


def _spaced(masks: Masks, first: int) -> list[int]:
    """Slices with a mask at even distances: multiples of a power of two, so that objects and rounds share them.

    Args:
        masks: (slices, rows, columns) bool.
        first: index of the first slice within the volume.
    """
    seen = np.flatnonzero(masks.any((1, 2)))
    step = 1
    while (seen[-1] - seen[0]) / step >= MOST_SLICES:
        step *= 2
    return [int(place) for place in seen if (first + place) % step == 0]


def _reading(drawn: Mapping[int, Floats], masks: Masks, on_keys: float) -> Reading:
    """Logits and agreement on the slices that were read, and interpolated between them."""
    read = sorted(drawn)
    count = len(masks)
    logits, known = np.zeros(masks.shape, np.float32), np.zeros(count, np.bool_)
    inside = slice(read[0], read[-1] + 1)
    known[inside] = True
    for place in range(count)[inside]:
        after = bisect.bisect_left(read, place)
        high = read[after]
        low = high if high == place else read[after - 1]
        weight = np.float32(0 if high == low else (place - low) / (high - low))
        logits[place] = (1 - weight) * drawn[low] + weight * drawn[high]
    alike = [dice(drawn[place][None] > 0, masks[place][None]) for place in read]
    agreement = np.where(known, np.interp(np.arange(count), read, alike), 0)
    return Reading(logits, known, agreement.astype(np.float32), on_keys)


def bundled_reader(device: torch.device) -> SAM1 | None:
    """The network that comes with the program, on a device; None where there is none, or the environment forbids it.

    Raises:
        CheckpointError: If its file is damaged.
    """
    return None if second_network_is_off() else _loaded(device)


@functools.cache
def _loaded(device: torch.device) -> SAM1 | None:
    for folder in bundled_folders():
        if (folder / FILE).is_file():
            model = load_network(folder / FILE)
            assert isinstance(model, SAM1)
            return model.to(device).eval()
    return None
