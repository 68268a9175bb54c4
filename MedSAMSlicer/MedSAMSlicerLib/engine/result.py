"""The content of a segmentation: per object and slice the mask, its estimates, and what a later correction needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..core.cleanups import CLEANUPS
from ..core.errors import MedSAMError
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.masks import PackedMask
from ..core.tiers import OVERLAPS
from .cleanup import clean
from .key_slice import Prior
from .network import LOGIT_LIMIT
from .slice_mask import SliceMask, TrackEnded, confidence_of
from .view import FrameView

_LEAST = 0.05  # the smallest logit; a mask is what it is, however the stored logits are rounded

_PRIOR_STEPS = 4.0  # per unit of logit; -32..31.75 in one byte
_STRENGTH_STEPS = 8.0  # per unit of logit; 0..31.875 in one byte

BoolVolume = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class StoredSlice:
    """One slice of one object, small enough to keep thousands: the mask packed, one byte a low-resolution logit.

    Args:
        packed: the mask.
        strength: uint8, the logits inside the mask, to decide between overlapping objects.
        iou: the network's own estimate of the mask's IoU, 0..1.
        object_score: logit, > 0 if the object is on this slice.
        is_key: whether the slice was prompted.
        view: what the network looked at.
        low: int8 (4h, 4w) logits in that view, for corrections; None where the object is not.
    """

    packed: PackedMask
    strength: npt.NDArray[np.uint8]
    iou: float
    object_score: float
    is_key: bool
    view: FrameView
    low: npt.NDArray[np.int8] | None

    @classmethod
    def of(cls, mask: SliceMask) -> StoredSlice:
        """Pack a result."""
        strength = (mask.logits[mask.mask].clip(0, 31.875) * _STRENGTH_STEPS).astype(np.uint8)
        low = None if mask.is_empty else quantized(mask.low)
        return cls(
            PackedMask.from_array(mask.mask),
            strength,
            mask.iou,
            mask.object_score,
            mask.is_key,
            mask.view,
            low,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.packed.shape

    @property
    def mask(self) -> BoolVolume:
        """(rows, columns) bool."""
        return self.packed.to_array()

    @property
    def confidence(self) -> float:
        """The certainty of the network of this mask, 0..1."""
        return confidence_of(self.iou, self.object_score, self.low is None)

    @property
    def prior(self) -> Prior | None:
        """Return what a correction of this slice starts from; None where the object is not."""
        return None if self.low is None else Prior(self.view, self.low.astype(np.float32) / _PRIOR_STEPS)

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """(rows, columns) float32 within `LOGIT_LIMIT`, with the sign of the mask."""
        prior, mask = self.prior, self.mask
        if prior is None:
            return np.asarray(np.where(mask, LOGIT_LIMIT, -LOGIT_LIMIT), np.float32)
        found = prior.view.mask_from_logits(prior.low).clip(-LOGIT_LIMIT, LOGIT_LIMIT)
        return np.asarray(np.where(mask, np.maximum(found, _LEAST), np.minimum(found, -_LEAST)), np.float32)

    def as_mask(self, name: str, index: int) -> SliceMask:
        """The slice as an object's refined result on slice `index`."""
        low = (
            np.full((self.view.size // 4,) * 2, -LOGIT_LIMIT, np.float32)
            if self.prior is None
            else self.prior.low
        )
        return SliceMask(
            name,
            index,
            self.logits,
            self.mask,
            self.iou,
            self.object_score,
            self.is_key,
            self.view,
            low,
            True,
        )


def quantized(low: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
    """Logits in steps of a quarter, cut to -32..31.75: all that a correction needs of them."""
    return np.asarray(np.rint(low.clip(-32, 31.75) * _PRIOR_STEPS), np.int8)


@dataclass(eq=False)
class ObjectResult:
    """One segmented object.

    Args:
        name, color: as in its prompts.
        geometry, axis: of the volume and its slices.
        slices: what is known, by slice index; slices that are missing were not computed or hold no object.
        ended: tracks that ended before the end of the range because the object was gone.
    """

    name: str
    color: tuple[float, float, float]
    geometry: VolumeGeometry
    axis: SliceAxis
    slices: dict[int, StoredSlice] = field(default_factory=dict)
    ended: list[TrackEnded] = field(default_factory=list)

    @property
    def mask(self) -> BoolVolume:
        """(K, J, I) bool, a new array with every call."""
        volume = np.zeros(self.geometry.shape, np.bool_)
        slices = np.moveaxis(volume, self.axis, 0)
        for index, stored in self.slices.items():
            slices[index] = stored.mask
        return volume

    @property
    def strength(self) -> npt.NDArray[np.uint8]:
        """(K, J, I) uint8, the logits inside the mask in steps of 1/8; 0 outside, at least 1 inside."""
        volume = np.zeros(self.geometry.shape, np.uint8)
        slices = np.moveaxis(volume, self.axis, 0)
        for index, stored in self.slices.items():
            slices[index][stored.mask] = np.maximum(stored.strength, 1)
        return volume

    @property
    def key_slices(self) -> tuple[int, ...]:
        """Indices of the prompted slices."""
        return tuple(sorted(index for index, stored in self.slices.items() if stored.is_key))

    @property
    def iou(self) -> dict[int, float]:
        """The network's own estimate by slice index."""
        return {index: stored.iou for index, stored in sorted(self.slices.items())}

    @property
    def object_score(self) -> dict[int, float]:
        """The object score by slice index."""
        return {index: stored.object_score for index, stored in sorted(self.slices.items())}


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """All objects of one run.

    Args:
        geometry, axis: of the volume and its slices.
        objects: in the order of the prompts.
        masks: by object name, (K, J, I) bool, cleaned and with overlaps resolved as asked.
        timings: seconds by name: "total", "slices" (number computed), "per_slice".
    """

    geometry: VolumeGeometry
    axis: SliceAxis
    objects: tuple[ObjectResult, ...]
    masks: Mapping[str, BoolVolume]
    timings: Mapping[str, float]

    @property
    def ended(self) -> tuple[TrackEnded, ...]:
        """All tracks that ended early."""
        return tuple(event for obj in self.objects for event in obj.ended)


def finished_masks(objects: Sequence[ObjectResult], cleanup: str, overlap: str) -> dict[str, BoolVolume]:
    """The masks of objects as volumes.

    Args:
        objects: of one volume.
        cleanup: one of `CLEANUPS`, see :mod:`.cleanup`.
        overlap: "keep" = objects may overlap; "highest" = a voxel belongs to the object with the highest logit, the
            earlier one if equal.

    Raises:
        MedSAMError: If an option is unknown.
    """
    if cleanup not in CLEANUPS:
        raise MedSAMError(f"The clean-up must be one of {', '.join(CLEANUPS)}, got {cleanup!r}.")
    if overlap not in OVERLAPS:
        raise MedSAMError(f"The rule for overlaps must be one of {', '.join(OVERLAPS)}, got {overlap!r}.")
    masks = {obj.name: clean(obj.mask, obj.axis, obj.key_slices, cleanup) for obj in objects}
    if overlap == "keep" or len(objects) < 2:
        return masks
    best = np.zeros(objects[0].geometry.shape, np.uint8)
    owner = np.zeros(objects[0].geometry.shape, np.uint16)
    for number, obj in enumerate(objects, start=1):
        strength = obj.strength
        strength[masks[obj.name] & (strength == 0)] = 1  # holes that were filled
        wins = masks[obj.name] & (strength > best)
        best[wins], owner[wins] = strength[wins], number
    return {obj.name: owner == number for number, obj in enumerate(objects, start=1)}
