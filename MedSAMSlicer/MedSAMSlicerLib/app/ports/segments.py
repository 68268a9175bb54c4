"""Segmentations and their segments, as masks on the slices of a volume."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ...core.geometry import SliceAxis
from .volumes import Handle

Mask = npt.NDArray[np.bool_]  # (rows, columns)
Color = tuple[float, float, float]  # red, green and blue, 0..1


@dataclass(frozen=True)
class SegmentsListener:
    """The functions to call when the segments of a segmentation change, with the identifier of the segment.

    Attributes:
        on_modified: another module may be changing a segment: `Segments.edits` says what once that is over.
        on_added, on_renamed, on_recolored: of a segment.
        on_removed: a segment was deleted; with the slices, across an axis, that another module had changed before that.
    """

    on_modified: Callable[[], None]
    on_added: Callable[[str], None]
    on_removed: Callable[[str, SliceAxis, Mapping[int, Mask]], None]
    on_renamed: Callable[[str], None]
    on_recolored: Callable[[str], None]


class Segments(Protocol):
    """The segments of one segmentation, as masks on the slices of one volume.

    Masks are bool (rows, columns) as in `VolumeGeometry.slice_shape`. An own write is never reported as an edit.
    """

    @property
    def segmentation_node(self) -> Handle:
        """The segmentation; SessionError when it is gone."""
        ...

    def segment_ids(self) -> tuple[str, ...]:
        """All segments in the order of the table."""
        ...

    def name(self, segment_id: str) -> str:
        """Return what the user calls it."""
        ...

    def color(self, segment_id: str) -> Color:
        """Red, green and blue in 0..1."""
        ...

    def add(self, name: str, color: Color | None = None, segment_id: str | None = None) -> str:
        """Add an empty segment, with this identifier if it is free; returns its identifier."""
        ...

    def bring_back(self, segment_id: str) -> bool:
        """Add a segment again that was deleted, as it was, and say whether that was possible."""
        ...

    def tag(self, segment_id: str, name: str) -> str | None:
        """Return what a tag of a segment says; None without it."""
        ...

    def set_tag(self, segment_id: str, name: str, value: str) -> None:
        """Give a segment a tag, which is saved with it."""
        ...

    def set_terminology(self, segment_id: str, text: str | None) -> None:
        """Store what a segment is, in Slicer's serialized form; None for nothing."""
        ...

    def measure(self, segment_id: str) -> tuple[int, dict[str, int]]:
        """Count the voxels of a segment, and those that it shares with others, by their identifiers."""
        ...

    def remove(self, segment_id: str) -> None:
        """Delete a segment."""
        ...

    def visible(self, segment_id: str) -> bool:
        """Return whether the views show the segment."""
        ...

    def locked(self, segment_id: str) -> bool:
        """Return whether no mask may change the segment."""
        ...

    def set_locked(self, segment_id: str, locked: bool) -> None:
        """Keep the voxels of a segment from being written or taken, or allow it again."""
        ...

    def read_slices(
        self, segment_id: str, axis: SliceAxis, indices: Iterable[int] | None = None
    ) -> dict[int, Mask]:
        """New masks of the slices `indices` across `axis`, or of all that are not empty."""
        ...

    def union(self, chosen: Collection[str], axis: SliceAxis, indices: Iterable[int]) -> dict[int, Mask]:
        """Return what any of some segments has on slices across `axis`; slices with nothing are left out."""
        ...

    def count_under(self, axis: SliceAxis, masks: Mapping[int, Mask]) -> dict[str, int]:
        """The pixels of masks, by slice across `axis`, that each segment has, counted; those with none are left out."""
        ...

    def write_slices(self, segment_id: str, axis: SliceAxis, masks: Mapping[int, Mask]) -> None:
        """Make slices of a segment equal to `masks`; the other segments keep every voxel.

        Raises:
            SessionError: the segment is locked or gone, or a slice or the shape of a mask does not exist.
            GeometryError: segmentation and volume no longer lie on the same voxels.
        """
        ...

    def edits(self, among: Collection[str] | None = None) -> dict[str, dict[int, Mask]]:
        """The masks of slices that others changed since they were written or settled, by segment; of `among` only."""
        ...

    def touched_elsewhere(self) -> bool:
        """Return whether others touched voxels since this was asked last; changes of names and tags do not count."""
        ...

    def settle(self, segment_id: str | None = None) -> None:
        """Let what is in a segment now, or in all, count as known: it is no edit any more."""
        ...

    def digests(self, segment_id: str) -> dict[int, str]:
        """Digests of the slices that are not empty, as written or settled last; see `core.digests`."""
        ...

    def set_axis(self, segment_id: str, axis: SliceAxis) -> None:
        """Report edits of a segment along another axis from now on; edits so far count as known."""
        ...

    def streaming(self) -> AbstractContextManager[None]:
        """While masks stream in, nothing slow is made of them, such as a surface; it is made once, at the end."""
        ...

    @property
    def is_streaming(self) -> bool:
        """Return whether masks stream in."""
        ...

    @property
    def surface_lacks(self) -> bool:
        """Return whether a surface was shown and is not, since its voxels changed."""
        ...

    def update_surface(self) -> None:
        """Make the surfaces again that writes have dropped."""
        ...

    def moved_with_volume(self) -> bool:
        """The volume lies elsewhere: whether every mask is on the same of its voxels as before."""
        ...

    def close(self) -> None:
        """Watch no longer."""
        ...


class Segmentations(Protocol):
    """The segmentations that masks are written to."""

    def check(self, segmentation: Handle, volume: Handle) -> None:
        """Raise GeometryError, in one sentence for the user, unless masks of the volume can be written into it."""
        ...

    def create(self, volume: Handle) -> Handle:
        """A new segmentation for masks of a volume."""
        ...

    def open(
        self, segmentation: Handle, volume: Handle, listener: SegmentsListener | None = None
    ) -> Segments:
        """The segments of a segmentation as masks of a volume. Raises GeometryError as `check`."""
        ...

    def name(self, segmentation: Handle) -> str:
        """Return what the user calls it."""
        ...
