"""The slice views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...core.geometry import SliceAxis
from .segments import Mask
from .volumes import Handle

ALIGNED_DEGREES = 0.5
"""A view that is turned by less shows one slice of voxels; a slice of 500 mm is then off by 4 mm at its rim."""


@dataclass(frozen=True)
class ShownSlice:
    """The slice of a volume that lies nearest to what a slice view shows.

    Attributes:
        axis: the array axis across which the view cuts best.
        index: of the nearest slice, within the volume.
        off_degrees: angle between the view's normal and that of the slices, 0 to 55; 0 when aligned.
        view_name: such as "Red".
    """

    axis: SliceAxis
    index: int
    off_degrees: float
    view_name: str

    @property
    def is_oblique(self) -> bool:
        """Return whether the view shows something else than one slice of voxels."""
        return self.off_degrees > ALIGNED_DEGREES


class Views(Protocol):
    """The slice views."""

    def shown(self, volume: Handle, axis: SliceAxis | None) -> ShownSlice | None:
        """The slice across `axis` in the views, or in the view that the user looks at; None when no view shows it."""
        ...

    def other_volume(self, view_name: str, volume: Handle) -> Handle | None:
        """The volume that a view shows in place of `volume`; None where it shows that, or none."""
        ...

    def show_slice(self, volume: Handle, axis: SliceAxis, index: int) -> None:
        """Move every view that cuts across `axis` to a slice."""
        ...

    def show_place_elsewhere(self, volume: Handle, ras: Sequence[float]) -> None:
        """Let the views beside the one that was clicked show a place in the volume's own RAS, in mm."""
        ...

    def show_around(self, volume: Handle, ras: Sequence[float], size_mm: float) -> None:
        """Bring a place in the volume's own RAS, mm, to the middle of all views, `size_mm` around it well in sight."""
        ...

    def show_changes(
        self, volume: Handle, axis: SliceAxis, added: Mapping[int, Mask], removed: Mapping[int, Mask]
    ) -> None:
        """Show in two colors what was added and removed, by slice across `axis`, in place of what was shown so."""
        ...

    def hide_changes(self) -> None:
        """Show no changes any more."""
        ...

    def show_earlier(
        self,
        volume: Handle,
        segmentation: Handle,
        segment_id: str,
        axis: SliceAxis,
        masks: Mapping[int, Mask],
    ) -> None:
        """Show masks, by slice across `axis`, in place of a segment in the slice views, until `hide_earlier`."""
        ...

    def hide_earlier(self) -> None:
        """Show the segment itself again."""
        ...

    def orientation(self, volume: Handle, axis: SliceAxis) -> str:
        """Axial, coronal or sagittal: what the slices across an axis are."""
        ...

    def slices_in_words(self, volume: Handle, axis: SliceAxis) -> str:
        """The slices across an axis as the user knows them, such as "axial slices (view Red)"."""
        ...
