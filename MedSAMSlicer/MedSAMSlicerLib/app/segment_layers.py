"""The masks of segments on a slice before any takes voxels from another: those of the session, and those of others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..core.geometry import SliceAxis
from ..core.masks import PackedMask
from ..core.overlap import BEFORE_ALL, Claim, ClaimedMask
from .ports import Segments

Mask = npt.NDArray[np.bool_]
Wanted = dict[int, tuple[PackedMask, Claim]]  # by slice


class OutsideSegments:
    """Segments that are no objects of the session, and the voxels that masks have taken from them."""

    def __init__(self) -> None:
        self._taken: dict[str, npt.NDArray[np.bool_]] = {}  # (K, J, I)
        self._claims: dict[str, Claim] = {}  # of those that were added since the session began

    @property
    def segment_ids(self) -> frozenset[str]:
        """The segments that lack voxels."""
        return frozenset(self._taken)

    def forget(self, segment_id: str | None = None) -> None:
        """A segment is gone or an object of the session; None = all."""
        if segment_id is None:
            self._taken.clear()
            self._claims.clear()
        else:
            self._taken.pop(segment_id, None)
            self._claims.pop(segment_id, None)

    def added(self, segment_id: str, claim: Claim) -> None:
        """A segment was added: masks that were asked for before take nothing from it."""
        self._claims[segment_id] = claim

    def claim(self, segment_id: str) -> Claim:
        """The claim of a segment's mask."""
        return self._claims.get(segment_id, BEFORE_ALL)

    def base(self, masks: Segments, segment_id: str, axis: SliceAxis, index: int) -> Mask:
        """The mask that a segment would have on a slice if nothing was taken from it."""
        mask = masks.read_slices(segment_id, axis, [index])[index]
        taken = self._taken.get(segment_id)
        return mask if taken is None else mask | taken.take(index, axis=int(axis))

    def whole(self, masks: Segments, segment_id: str, axis: SliceAxis) -> dict[int, Mask]:
        """The same for all slices that are not empty."""
        indices = {*masks.read_slices(segment_id, axis)}
        if segment_id in self._taken:
            taken = np.moveaxis(self._taken[segment_id], int(axis), 0)
            indices.update(np.flatnonzero(taken.any(axis=(1, 2))).tolist())
        return {index: self.base(masks, segment_id, axis, index) for index in sorted(indices)}

    def keep(self, segment_id: str, axis: SliceAxis, index: int, taken: Mask, shape: tuple[int, ...]) -> None:
        """Remember what was taken from a segment on a slice."""
        known = self._taken.get(segment_id)
        if known is None and taken.any():
            known = self._taken[segment_id] = np.zeros(shape, np.bool_)
        if known is not None:
            np.moveaxis(known, int(axis), 0)[index] = taken

    def edited(self, segment_id: str, indices: Mapping[int, Mask], axis: SliceAxis) -> None:
        """Slices were edited: what was taken from them does not come back, the user has seen them as they are."""
        known = self._taken.get(segment_id)
        if known is not None:
            np.moveaxis(known, int(axis), 0)[[*indices]] = False


class ObjectMasks:
    """The masks that the session wants for one segment, read on slices across any axis."""

    def __init__(
        self, segment_id: str, wanted: Wanted, axis: SliceAxis, volume_shape: tuple[int, int, int]
    ) -> None:
        self.segment_id = segment_id
        self._wanted, self._axis, self._volume_shape = wanted, axis, volume_shape
        self._arrays: dict[int, Mask] = {}

    def on(self, axis: SliceAxis, index: int) -> list[ClaimedMask]:
        """The masks on one slice across `axis`, one for each claim."""
        if axis == self._axis:
            found = self._wanted.get(index)
            planes = {} if found is None or found[0].is_empty else {found[1]: found[0].to_array()}
        else:
            planes = self._across(axis, index)
        return [ClaimedMask(self.segment_id, mask, claim) for claim, mask in planes.items()]

    def _across(self, axis: SliceAxis, index: int) -> dict[Claim, Mask]:
        """Every own slice meets a slice of another axis in a row or column of both."""
        shape = (self._volume_shape[axis.row_axis], self._volume_shape[axis.column_axis])
        planes: dict[Claim, Mask] = {}
        for number, (packed, claim) in self._wanted.items():
            if packed.is_empty:
                continue
            if number not in self._arrays:
                self._arrays[number] = packed.to_array()
            mask = self._arrays[number]
            line = mask[index] if self._axis.row_axis == axis else mask[:, index]
            if line.any():
                plane = planes.setdefault(claim, np.zeros(shape, np.bool_))
                (plane if axis.row_axis == self._axis else plane.T)[number] = line
        return planes
