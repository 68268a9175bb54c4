"""The mask of one slice, stored small enough that undo can keep every version of a large volume."""

from __future__ import annotations

import enum
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .errors import SessionError
from .geometry import SliceAxis
from .overlap import BEFORE_ALL, Claim, Claims


class MaskState(enum.Enum):
    """The origin of the mask of a slice; all but PREDICTED are never overwritten.

    STARTED is a mask that the object began with (see `start`), out of reach of all prompts so far.
    """

    PREDICTED = "predicted"
    ACCEPTED = "accepted"
    EDITED = "edited"
    STARTED = "started"


def bounding_box(mask: npt.NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """The region where a mask of any shape is true, first to last along every axis; None for an empty one."""
    found = []
    for axis in range(mask.ndim):
        held = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not held.size:
            return None
        found.append(slice(int(held[0]), int(held[-1]) + 1))
    return tuple(found)


def run_lengths(values: npt.NDArray[np.bool_]) -> list[int]:
    """The lengths of alternating runs of (N,) bool, the first one of False, which may be 0."""
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    runs: list[int] = np.diff(np.concatenate(([0], changes, [values.size]))).tolist()
    return [0, *runs] if values.size and values[0] else runs


@dataclass(frozen=True)
class PackedMask:
    """A bool (rows, columns) mask as the compressed bits of its bounding box; compared by value.

    Attributes:
        shape: (rows, columns) of the slice.
        corner: first row and column of the bounding box; (0, 0) for an empty mask.
        extent: rows and columns of the bounding box; (0, 0) for an empty mask.
        bits: the pixels of the box in row order, eight to a byte, deflated.
    """

    shape: tuple[int, int]
    corner: tuple[int, int]
    extent: tuple[int, int]
    bits: bytes

    @classmethod
    def from_array(cls, mask: npt.NDArray[np.bool_]) -> PackedMask:
        """The packed form of a bool (rows, columns) array; SessionError for any other array."""
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise SessionError(
                f"A mask must be bool (rows, columns), got {mask.dtype} of shape {mask.shape}."
            )
        shape = (int(mask.shape[0]), int(mask.shape[1]))
        box = bounding_box(mask)
        if box is None:
            return cls.empty(shape)
        part, (rows, columns) = mask[box], box
        bits = zlib.compress(pack_bits(part).tobytes(), level=1)
        return cls(shape, (rows.start, columns.start), (part.shape[0], part.shape[1]), bits)

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> PackedMask:
        """A mask without pixels on a slice of (rows, columns)."""
        return cls(shape, (0, 0), (0, 0), b"")

    def to_array(self) -> npt.NDArray[np.bool_]:
        """A new bool array (rows, columns)."""
        mask = np.zeros(self.shape, dtype=np.bool_)
        if self.bits:
            (y0, x0), (rows, columns) = self.corner, self.extent
            packed = np.frombuffer(zlib.decompress(self.bits), dtype=np.uint8)
            mask[y0 : y0 + rows, x0 : x0 + columns] = unpack_bits(packed, (rows, columns))
        return mask

    @property
    def count(self) -> int:
        """The number of pixels that belong to the object."""
        if not self.bits:
            return 0
        packed = np.frombuffer(zlib.decompress(self.bits), dtype=np.uint8)
        return int(unpack_bits(packed, self.extent).sum())

    @property
    def is_empty(self) -> bool:
        """Return whether no pixel belongs to the object."""
        return not self.bits


@dataclass(frozen=True)
class StoredMask:
    """The mask of one slice as a session keeps it.

    Attributes:
        mask: the pixels.
        state: predicted, accepted, edited or started.
        confidence: what the network thinks of its mask, 0..1; None for masks of the user.
        round: number of propagations before the user accepted or edited it; 0 while predicted.
        claim: how it comes to voxels that another segment has.
        barred: voxels of other segments at which the mask stopped, which nothing that is made of it later may enter,
            such as a clean-up; None = it stopped nowhere.
    """

    mask: PackedMask
    state: MaskState = MaskState.PREDICTED
    confidence: float | None = None
    round: int = 0
    claim: Claim = BEFORE_ALL
    barred: PackedMask | None = None

    @property
    def is_kept(self) -> bool:
        """Return whether no propagation may replace the mask, since it belongs to the user or is out of reach."""
        return self.state is not MaskState.PREDICTED


_NEAR = 16  # pixels around a mask within which a clean-up may add to it


def predicted_mask(
    mask: PackedMask,
    confidence: float | None = None,
    claim: Claim = BEFORE_ALL,
    others: npt.NDArray[np.bool_] | None = None,
) -> StoredMask:
    """Return a mask of the network as it is stored, without the voxels that `others`, (rows, columns), have already."""
    if others is None or mask.is_empty:
        return StoredMask(mask, MaskState.PREDICTED, confidence, claim=claim)
    (top, left), (rows, columns) = mask.corner, mask.extent
    near = np.zeros(mask.shape, np.bool_)
    near[max(top - _NEAR, 0) : top + rows + _NEAR, max(left - _NEAR, 0) : left + columns + _NEAR] = True
    barred = PackedMask.from_array(others & near)
    if barred.is_empty:
        return StoredMask(mask, MaskState.PREDICTED, confidence, claim=claim)
    stopped = PackedMask.from_array(mask.to_array() & ~others)
    return StoredMask(stopped, MaskState.PREDICTED, confidence, claim=claim, barred=barred)


def edited_masks(
    before: Mapping[int, StoredMask], masks: Mapping[int, PackedMask], turn: int, claims: Claims
) -> dict[int, StoredMask]:
    """Return masks, by slice, that the user drew; each keeps what the one before it took from other segments.

    Args:
        before: the masks of the same object until now.
        masks: that were drawn.
        turn: how many propagations there were.
        claims: of the session.
    """
    edited = {}
    for index, mask in masks.items():
        known = before.get(index)
        old = BEFORE_ALL if known is None else known.claim
        claim = old if known is not None and known.mask == mask else claims.renewed(old)
        edited[index] = StoredMask(mask, MaskState.EDITED, None, turn, claim)
    return edited


def pack_bits(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Return the pixels of a bool array of any shape, eight to a byte, in row order: (ceil(size / 8),) uint8."""
    return np.packbits(mask)


def unpack_bits(bits: npt.NDArray[np.uint8], shape: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Return the bool array of `shape` that `pack_bits` packed."""
    return np.unpackbits(bits, count=math.prod(shape)).astype(np.bool_).reshape(shape)


def volume_of(
    masks: Mapping[int, PackedMask], axis: SliceAxis, shape: tuple[int, int, int]
) -> npt.NDArray[np.bool_]:
    """The masks of slices across `axis` as one bool volume (K, J, I) of `shape`."""
    volume = np.zeros(shape, dtype=np.bool_)
    slices = np.moveaxis(volume, int(axis), 0)
    for index, mask in masks.items():
        slices[index] = mask.to_array()
    return volume


def slices_of(volume: npt.NDArray[np.bool_], axis: SliceAxis) -> dict[int, PackedMask]:
    """The masks of all slices of a bool volume (K, J, I) across `axis` that are not empty."""
    slices = np.moveaxis(volume, int(axis), 0)
    filled = np.flatnonzero(slices.any(axis=(1, 2))).tolist()
    return {index: PackedMask.from_array(np.ascontiguousarray(slices[index])) for index in filled}
