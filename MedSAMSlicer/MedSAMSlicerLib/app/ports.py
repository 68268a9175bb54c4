"""What the module needs of the program around it, as small Protocols.

`scene/` implements them on 3D Slicer's scene; a web page or a test brings its own. Volumes and segmentations are
handles that only their owner looks into: in 3D Slicer they are nodes.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from ..core.errors import MedSAMError
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.intensity import Window
from ..core.prompts import Prompt
from .time_series import TimeSeries

Handle = Any
"""A volume or a segmentation of the program around; compared by identity, never looked into."""

Mask = npt.NDArray[np.bool_]  # (rows, columns)
Color = tuple[float, float, float]  # red, green and blue, 0..1
EditKind = Literal["add", "change", "remove"]

ALIGNED_DEGREES = 0.5
"""A view that is turned by less shows one slice of voxels; a slice of 500 mm is then off by 4 mm at its rim."""


class Tool(enum.Enum):
    """What the next click in a slice view places."""

    POINT_POSITIVE = "point_positive"
    POINT_NEGATIVE = "point_negative"
    BOX = "box"
    BOX_NEGATIVE = "box_negative"
    LINE = "line"


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


@dataclass(frozen=True)
class ObjectMarkups:
    """The prompts of one object, as they are to be shown.

    Attributes:
        object_id: that of the session.
        segment_id: of the segment that takes its masks.
        name, color: of that segment, red, green and blue in 0..1.
        prompts: in the session's order; scribbles and masks are no markups and are passed over.
        slice_range: first and last slice to propagate over; None for all.
        active: whether it is the selected one, shown bright and open to the mouse.
        axis: the slice axis of the object; that of its first prompt when None.
    """

    object_id: int
    segment_id: str
    name: str
    color: Color
    prompts: tuple[Prompt, ...] = ()
    slice_range: tuple[int, int] | None = None
    active: bool = True
    axis: SliceAxis | None = None


@dataclass(frozen=True)
class PromptEdit:
    """What the user did to a prompt where it is shown.

    Attributes:
        kind: "add", "change" or "remove".
        object_id: of the object that the prompt belongs to.
        position: of the prompt in `ObjectMarkups.prompts`; None for a new one.
        prompt: as it is now, with round 0; None when it was removed or refused.
        range_changed: whether the slice range became `slice_range`, as the depth of a box in space says.
        slice_range: first and last slice; None for all.
        error: why the edit was refused; the prompt is then shown as it was before.
        view: the slice view in which it was made, when that is known.
    """

    kind: EditKind
    object_id: int
    position: int | None
    prompt: Prompt | None
    range_changed: bool = False
    slice_range: tuple[int, int] | None = None
    error: MedSAMError | None = None
    view: ShownSlice | None = None


class Scheduler(Protocol):
    """Does things a moment later, on the main thread; see :class:`.poller.Poller`."""

    def schedule(self, key: str, seconds: float, action: Callable[[], None], restart: bool = False) -> None:
        """Do `action` in `seconds`; with `restart` the time begins at each call."""
        ...

    def unschedule(self, key: str) -> None:
        """Do not do it."""
        ...


@dataclass(frozen=True)
class VolumeListener:
    """What to call when a volume changes.

    Attributes:
        on_voxels: voxels or grid are others than before, or there are none any more.
        on_moved: the volume lies elsewhere.
        on_display: the display changed, such as its window.
    """

    on_voxels: Callable[[], None]
    on_moved: Callable[[], None]
    on_display: Callable[[], None]


@dataclass(frozen=True)
class SegmentsListener:
    """What to call when the segments of a segmentation change, with the identifier of the segment.

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


@dataclass(frozen=True)
class SceneListener:
    """What to call when a volume or segmentation was removed, before and after all is closed, and after loading."""

    on_removed: Callable[[], None]
    on_closing: Callable[[], None]
    on_closed: Callable[[], None]
    on_loaded: Callable[[], None]


class Watch(Protocol):
    """Watches one volume until `close`."""

    @property
    def voxels_are_the_same(self) -> bool:
        """Return whether the volume holds what it held when the watch began, wherever that lies now."""
        ...

    def close(self) -> None:
        """Watch no longer."""
        ...


class Volumes(Protocol):
    """Volumes of gray values."""

    def check_usable(self, volume: Handle) -> None:
        """Raise VolumeError or GeometryError, in one sentence for the user, unless the volume can be segmented."""
        ...

    def geometry(self, volume: Handle) -> VolumeGeometry:
        """Shape and IJK-to-RAS matrix (mm) of a volume in its own RAS."""
        ...

    def array(self, volume: Handle) -> npt.NDArray[Any]:
        """The voxels, (K, J, I), read-only."""
        ...

    def name(self, volume: Handle) -> str:
        """Return what the user calls it."""
        ...

    def modality(self, volume: Handle) -> str | None:
        """DICOM's modality, such as "CT"; None when it is not known."""
        ...

    def display_window(self, volume: Handle) -> Window | None:
        """The gray values that somebody chose to see as black and white; None while nobody did."""
        ...

    def is_there(self, volume: Handle) -> bool:
        """Return whether the volume was not deleted."""
        ...

    def identifier(self, volume: Handle) -> str:
        """Return what stands for the volume where it must not be kept alive."""
        ...

    def find(self, identifier: str) -> Handle | None:
        """The volume with this identifier; None when it was deleted."""
        ...

    def to_world(self, volume: Handle) -> npt.NDArray[np.float64]:
        """(4, 4) matrix in mm from the volume's own RAS to that of the world; GeometryError if it is not linear."""
        ...

    def hardened_copy(self, volume: Handle) -> Handle:
        """A copy of a volume, resampled as the transform above it bends it."""
        ...

    def watch(self, volume: Handle, scheduler: Scheduler, listener: VolumeListener) -> Watch:
        """Report what really changed, a moment after it did."""
        ...


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
        """How many pixels of masks, by slice across `axis`, each segment has; those that have none are left out."""
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
    """Where masks go."""

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


class Views(Protocol):
    """The slice views."""

    def shown(self, volume: Handle, axis: SliceAxis | None) -> ShownSlice | None:
        """What the views show across `axis`, or in the view that the user looks at; None when no view shows it."""
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


class PromptMarkups(Protocol):
    """The prompts of all objects where the user sees and changes them."""

    def sync(self, objects: Sequence[ObjectMarkups], volume: Handle | None) -> None:
        """Show these prompts and no others on the volume."""
        ...

    def hide(self) -> None:
        """The volume is worked on no longer: hide its prompts until `sync` has it again."""
        ...

    def close(self) -> None:
        """Watch no longer; what is shown stays."""
        ...


class PromptTools(Protocol):
    """The active tool."""

    @property
    def tool(self) -> Tool | None:
        """Return what is being placed; None while the mouse is free."""
        ...

    def start(self, tool: Tool, obj: ObjectMarkups, volume: Handle) -> None:
        """Let the next clicks place prompts of an object."""
        ...

    def stop(self) -> None:
        """Release the mouse."""
        ...

    def close(self) -> None:
        """Stop and watch no longer."""
        ...


class Choices(Protocol):
    """The choices about a study, and its sessions as text, where they are saved with it."""

    volume: Handle | None
    segmentation: Handle | None
    segment_id: str | None
    window_spec: str
    checkpoint: str | None
    tier: str | None
    overlap: str

    def session_of(self, volume: Handle | None, segmentation: Handle | None, time: str = "") -> str | None:
        """The text of a session, None without one; `time` is the `TimePoint.value`, "" for a volume of no sequence."""
        ...

    def set_session_of(
        self,
        volume: Handle | None,
        segmentation: Handle | None,
        text: str | None,
        time: str = "",
        channels: Sequence[Handle] = (),
    ) -> None:
        """Keep the text of a session, and the volumes that the network sees beside this one; without text, drop it."""
        ...

    def session_channels(
        self, volume: Handle | None, segmentation: Handle | None, time: str = ""
    ) -> tuple[Handle | None, ...]:
        """The `channels` that a session was kept with, in their order; None for each that is gone."""
        ...

    def channels_of(self, volume: Handle) -> tuple[tuple[Handle, str], ...]:
        """The volumes chosen beside a volume, each with its window as text; those that are gone are left out."""
        ...

    def set_channels_of(self, volume: Handle, channels: Sequence[tuple[Handle, str]]) -> None:
        """Keep the volumes chosen beside a volume, each with its window as text."""
        ...

    def segmentation_of(self, volume: Handle) -> Handle | None:
        """The segmentation that was worked on last with a volume; None when there was none, or it is gone."""
        ...

    def use_session_of(self, volume: Handle, segmentation: Handle | None) -> None:
        """The session, if there is one, is worked on again."""
        ...

    def drop_sessions_of(self, volume: Handle, time: str = "") -> None:
        """Forget every session on a volume at one time point."""
        ...

    def change_sessions_of(self, volume: Handle, change: Callable[[str], str]) -> None:
        """Let every session on a volume be `change(text)`."""
        ...

    def drop_lost_sessions(self) -> None:
        """Forget sessions whose volume or segmentation is gone."""
        ...

    def close(self) -> None:
        """Watch no longer."""
        ...


class Scene(Protocol):
    """All of it."""

    @property
    def volumes(self) -> Volumes:
        """The volumes."""
        ...

    @property
    def segmentations(self) -> Segmentations:
        """Where masks go."""
        ...

    @property
    def views(self) -> Views:
        """The slice views."""
        ...

    @property
    def times(self) -> TimeSeries:
        """The sequences that volumes belong to."""
        ...

    @property
    def choices(self) -> Choices:
        """Return what is saved with the study."""
        ...

    @property
    def is_closing(self) -> bool:
        """Return whether everything is being removed, so that nothing may be written any more."""
        ...

    def prompts(
        self,
        on_edit: Callable[[PromptEdit], None],
        on_left: Callable[[Tool | None], None],
        schedule: Callable[[Callable[[], None]], None] | None,
    ) -> tuple[PromptMarkups, PromptTools]:
        """Show prompts, and let the user place them.

        Args:
            on_edit: called when the user changes a prompt.
            on_left: called when the user puts the tool down, with the tool whose two clicks were at one place, else
                None.
            schedule: does something once the event under way is over; None = at once.
        """
        ...

    def observe(self, listener: SceneListener) -> Callable[[], None]:
        """Call the listener until the returned function is called."""
        ...
