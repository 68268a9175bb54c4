"""The ports of `app/` in memory, without 3D Slicer: volumes and segments in arrays, no views of their own.

What `app/ports` says of a method is not repeated here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..app.ports import (
    Color,
    Handle,
    Mask,
    ObjectMarkups,
    PromptEdit,
    PromptMarkups,
    PromptTools,
    Scene,
    SceneListener,
    Scheduler,
    Segments,
    SegmentsListener,
    ShownSlice,
    Tool,
    VolumeListener,
    Watch,
)
from ..core.digests import EMPTY, digest_of
from ..core.errors import SessionError
from ..core.geometry import SliceAxis, VolumeGeometry, patient_axes, slice_normals
from ..core.intensity import Window
from ..core.prompts import Prompt
from ..core.translation import tr as _
from .time_series import NothingToWatch, NoTimeSeries


@dataclass(eq=False)
class MemoryVolume:
    """Gray values (K, J, I) and where they lie."""

    array: npt.NDArray[Any]
    geometry: VolumeGeometry
    name: str = "Volume"
    modality: str | None = None


@dataclass(eq=False)
class MemorySegment:
    """One segment: voxels are bool (K, J, I)."""

    name: str
    color: Color
    voxels: npt.NDArray[np.bool_]
    locked: bool = False
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class MemorySegmentation:
    """Segments by their identifiers, and those that were removed."""

    name: str
    segments: dict[str, MemorySegment] = field(default_factory=dict)
    removed: dict[str, MemorySegment] = field(default_factory=dict)
    count: int = 0


class MemoryVolumes:
    """Volumes never change here."""

    def check_usable(self, volume: Handle) -> None:
        """See `app/ports`."""

    def geometry(self, volume: Handle) -> VolumeGeometry:
        """See `app/ports`."""
        return volume.geometry

    def array(self, volume: Handle) -> npt.NDArray[Any]:
        """See `app/ports`."""
        return volume.array

    def name(self, volume: Handle) -> str:
        """See `app/ports`."""
        return volume.name

    def modality(self, volume: Handle) -> str | None:
        """See `app/ports`."""
        found: str | None = volume.modality
        return found

    def display_window(self, volume: Handle) -> Window | None:
        """See `app/ports`."""
        return None

    def is_there(self, volume: Handle) -> bool:
        """See `app/ports`."""
        return True

    def identifier(self, volume: Handle) -> str:
        """See `app/ports`."""
        return volume.name

    def find(self, identifier: str) -> Handle | None:
        """See `app/ports`."""
        return None

    def to_world(self, volume: Handle) -> npt.NDArray[np.float64]:
        """See `app/ports`."""
        return np.eye(4)

    def hardened_copy(self, volume: Handle) -> Handle:
        """See `app/ports`."""
        return volume

    def watch(self, volume: Handle, scheduler: Scheduler, listener: VolumeListener) -> Watch:
        """See `app/ports`."""
        return NothingToWatch()


class MemorySegments:
    """Masks in arrays. No other module writes them, so there are no edits.

    The user renames, recolors and deletes segments by `rename`, `recolor` and `delete`, which notify the listener.
    """

    def __init__(
        self,
        segmentation: MemorySegmentation,
        volume: MemoryVolume,
        listener: SegmentsListener | None = None,
    ) -> None:
        self.segmentation_node = segmentation
        self._volume, self._listener = volume, listener
        self._axes: dict[str, SliceAxis] = {}
        self._streaming = 0

    def segment_ids(self) -> tuple[str, ...]:
        """See `app/ports`."""
        return tuple(self.segmentation_node.segments)

    def name(self, segment_id: str) -> str:
        """See `app/ports`."""
        return self._segment(segment_id).name

    def color(self, segment_id: str) -> Color:
        """See `app/ports`."""
        return self._segment(segment_id).color

    def add(self, name: str, color: Color | None = None, segment_id: str | None = None) -> str:
        """See `app/ports`."""
        node = self.segmentation_node
        node.count += 1
        if segment_id is None or segment_id in node.segments:
            segment_id = f"s{node.count}"
        empty = np.zeros(self._volume.geometry.shape, np.bool_)
        node.segments[segment_id] = MemorySegment(name, color or (0.5, 0.8, 0.3), empty)
        return segment_id

    def bring_back(self, segment_id: str) -> bool:
        """See `app/ports`."""
        found = self.segmentation_node.removed.pop(segment_id, None)
        if found is not None:
            self.segmentation_node.segments[segment_id] = found
        return found is not None

    def rename(self, segment_id: str, name: str) -> None:
        """Give a segment another name, as its user does."""
        self._segment(segment_id).name = name
        if self._listener is not None:
            self._listener.on_renamed(segment_id)

    def recolor(self, segment_id: str, color: Color) -> None:
        """Give a segment another color, as its user does."""
        self._segment(segment_id).color = color
        if self._listener is not None:
            self._listener.on_recolored(segment_id)

    def delete(self, segment_id: str) -> None:
        """Delete a segment, as its user does."""
        self.remove(segment_id)
        if self._listener is not None:
            self._listener.on_removed(segment_id, self._axes.get(segment_id, SliceAxis.K), {})

    def tag(self, segment_id: str, name: str) -> str | None:
        """See `app/ports`."""
        return self._segment(segment_id).tags.get(name)

    def set_tag(self, segment_id: str, name: str, value: str) -> None:
        """See `app/ports`."""
        self._segment(segment_id).tags[name] = value

    def set_terminology(self, segment_id: str, text: str | None) -> None:
        """See `app/ports`."""

    def measure(self, segment_id: str) -> tuple[int, dict[str, int]]:
        """See `app/ports`."""
        own = self._segment(segment_id).voxels
        shared = {
            other: int((own & self._segment(other).voxels).sum())
            for other in self.segment_ids()
            if other != segment_id
        }
        return int(own.sum()), {other: count for other, count in shared.items() if count}

    def visible(self, segment_id: str) -> bool:
        """See `app/ports`."""
        return True

    def remove(self, segment_id: str) -> None:
        """See `app/ports`."""
        node = self.segmentation_node
        node.removed[segment_id] = self._segment(segment_id)
        del node.segments[segment_id]

    def locked(self, segment_id: str) -> bool:
        """See `app/ports`."""
        return self._segment(segment_id).locked

    def set_locked(self, segment_id: str, locked: bool) -> None:
        """See `app/ports`."""
        self._segment(segment_id).locked = locked

    def read_slices(
        self, segment_id: str, axis: SliceAxis, indices: Iterable[int] | None = None
    ) -> dict[int, Mask]:
        """See `app/ports`."""
        slices = np.moveaxis(self._segment(segment_id).voxels, int(axis), 0)
        chosen = np.flatnonzero(slices.any(axis=(1, 2))).tolist() if indices is None else indices
        return {index: np.array(slices[index]) for index in chosen}

    def union(self, chosen: Collection[str], axis: SliceAxis, indices: Iterable[int]) -> dict[int, Mask]:
        """See `app/ports`."""
        found: dict[int, Mask] = {}
        for index in indices:
            masks = [self.read_slices(each, axis, [index])[index] for each in chosen]
            if any(mask.any() for mask in masks):
                found[index] = np.any(masks, axis=0)
        return found

    def count_under(self, axis: SliceAxis, masks: Mapping[int, Mask]) -> dict[str, int]:
        """See `app/ports`."""
        counts = {
            each: sum(int((mask & there[index]).sum()) for index, mask in masks.items())
            for each in self.segment_ids()
            for there in [self.read_slices(each, axis, masks)]
        }
        return {each: count for each, count in counts.items() if count}

    def write_slices(self, segment_id: str, axis: SliceAxis, masks: Mapping[int, Mask]) -> None:
        """See `app/ports`."""
        if self.locked(segment_id):
            raise SessionError(_("The segment is locked: unlock it first."))
        slices = np.moveaxis(self._segment(segment_id).voxels, int(axis), 0)
        for index, mask in masks.items():
            slices[index] = mask
        self.set_axis(segment_id, axis)

    def edits(self, among: Collection[str] | None = None) -> dict[str, dict[int, Mask]]:
        """See `app/ports`."""
        return {}

    def touched_elsewhere(self) -> bool:
        """See `app/ports`."""
        return False

    def settle(self, segment_id: str | None = None) -> None:
        """See `app/ports`."""

    def digests(self, segment_id: str) -> dict[int, str]:
        """See `app/ports`."""
        axis = self._axes.get(segment_id, SliceAxis.K)
        found = {index: digest_of(mask) for index, mask in self.read_slices(segment_id, axis).items()}
        return {index: digest for index, digest in found.items() if digest != EMPTY}

    def set_axis(self, segment_id: str, axis: SliceAxis) -> None:
        """See `app/ports`."""
        self._axes[segment_id] = axis

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """See `app/ports`."""
        self._streaming += 1
        try:
            yield
        finally:
            self._streaming -= 1

    @property
    def is_streaming(self) -> bool:
        """See `app/ports`."""
        return self._streaming > 0

    surface_lacks = False

    def update_surface(self) -> None:
        """See `app/ports`."""

    def moved_with_volume(self) -> bool:
        """See `app/ports`."""
        return True

    def close(self) -> None:
        """See `app/ports`."""

    def _segment(self, segment_id: str) -> MemorySegment:
        found = self.segmentation_node.segments.get(segment_id)
        if found is None:
            raise SessionError(_("There is no segment {segment!r}.").format(segment=segment_id))
        return found


class MemorySegmentations:
    """Segmentations fit every volume that they were made for."""

    def check(self, segmentation: Handle, volume: Handle) -> None:
        """See `app/ports`."""

    def create(self, volume: Handle) -> Handle:
        """See `app/ports`."""
        return MemorySegmentation(f"{volume.name} segmentation")

    def open(
        self, segmentation: Handle, volume: Handle, listener: SegmentsListener | None = None
    ) -> Segments:
        """See `app/ports`."""
        return MemorySegments(segmentation, volume, listener)

    def name(self, segmentation: Handle) -> str:
        """See `app/ports`."""
        return segmentation.name


def orientation_of(geometry: VolumeGeometry, axis: SliceAxis) -> str:
    """Return "axial", "coronal" or "sagittal": what the slices across an array axis are, by their normal.

    No two axes of a volume share a word, however oblique it is.
    """
    normals = slice_normals(geometry.ijk_to_ras[:3, :3])
    return ("sagittal", "coronal", "axial")[patient_axes(normals)[axis]]


class MemoryViews:
    """One view across each axis; `looked_at` is the one that the user looks at."""

    def __init__(self) -> None:
        self.looked_at = SliceAxis.K
        self.indices = dict.fromkeys(SliceAxis, 0)
        self.around: tuple[tuple[float, ...], float] | None = None
        self.earlier: Mapping[int, Mask] | None = None
        self.changes: tuple[Mapping[int, Mask], Mapping[int, Mask]] | None = None

    def shown(self, volume: Handle, axis: SliceAxis | None) -> ShownSlice | None:
        """See `app/ports`."""
        chosen = self.looked_at if axis is None else axis
        return ShownSlice(chosen, self.indices[chosen], 0.0, chosen.name)

    def other_volume(self, view_name: str, volume: Handle) -> Handle | None:
        """See `app/ports`."""
        return None

    def show_slice(self, volume: Handle, axis: SliceAxis, index: int) -> None:
        """See `app/ports`."""
        self.indices[axis] = index

    def show_place_elsewhere(self, volume: Handle, ras: Sequence[float]) -> None:
        """See `app/ports`."""

    def show_around(self, volume: Handle, ras: Sequence[float], size_mm: float) -> None:
        """See `app/ports`."""
        self.around = (tuple(ras), size_mm)

    def show_changes(
        self, volume: Handle, axis: SliceAxis, added: Mapping[int, Mask], removed: Mapping[int, Mask]
    ) -> None:
        """See `app/ports`."""
        self.changes = (added, removed)

    def hide_changes(self) -> None:
        """See `app/ports`."""
        self.changes = None

    def show_earlier(
        self,
        volume: Handle,
        segmentation: Handle,
        segment_id: str,
        axis: SliceAxis,
        masks: Mapping[int, Mask],
    ) -> None:
        """See `app/ports`."""
        self.earlier = masks

    def hide_earlier(self) -> None:
        """See `app/ports`."""
        self.earlier = None

    def orientation(self, volume: Handle, axis: SliceAxis) -> str:
        """See `app/ports`."""
        return orientation_of(volume.geometry, axis)

    def slices_in_words(self, volume: Handle, axis: SliceAxis) -> str:
        """See `app/ports`."""
        return f"{self.orientation(volume, axis)} slices"


class MemoryMarkups:
    """Remembers what is to be shown."""

    def __init__(self) -> None:
        self.shown: tuple[ObjectMarkups, ...] = ()

    def sync(self, objects: Sequence[ObjectMarkups], volume: Handle | None) -> None:
        """See `app/ports`."""
        self.shown = tuple(objects)

    def hide(self) -> None:
        """See `app/ports`."""
        self.shown = ()

    def close(self) -> None:
        """See `app/ports`."""


class MemoryTools:
    """A user who places prompts with `place`."""

    def __init__(self, on_edit: Callable[[PromptEdit], None], on_left: Callable[[Tool | None], None]) -> None:
        self._on_edit, self._on_left = on_edit, on_left
        self.tool: Tool | None = None
        self._object_id = 0

    def start(self, tool: Tool, obj: ObjectMarkups, volume: Handle) -> None:
        """See `app/ports`."""
        self.tool, self._object_id = tool, obj.object_id

    def place(self, prompt: Prompt) -> None:
        """The user has placed a prompt with the tool; a box or a line is one, then the tool is put down."""
        assert self.tool is not None
        self._on_edit(PromptEdit("add", self._object_id, None, prompt))
        if self.tool in (Tool.BOX, Tool.BOX_NEGATIVE, Tool.LINE):
            self.tool = None
            self._on_left(None)

    def stop(self) -> None:
        """See `app/ports`."""
        self.tool = None

    def close(self) -> None:
        """See `app/ports`."""
        self.stop()


class MemoryChoices:
    """Choices in attributes, sessions in a dictionary."""

    def __init__(self) -> None:
        self.volume: Handle | None = None
        self.segmentation: Handle | None = None
        self.segment_id: str | None = None
        self.window_spec = "display"
        self.checkpoint: str | None = None
        self.tier: str | None = None
        self.overlap = "stop"
        self._sessions: dict[int, list[tuple[Handle, Handle, str]]] = {}

    def session_of(self, volume: Handle | None, segmentation: Handle | None, time: str = "") -> str | None:
        """See `app/ports`."""
        kept = self._sessions.get(id(volume), ())
        return next((text for _volume, other, text in kept if other is segmentation), None)

    def set_session_of(
        self,
        volume: Handle | None,
        segmentation: Handle | None,
        text: str | None,
        time: str = "",
        channels: Sequence[Handle] = (),
    ) -> None:
        """See `app/ports`."""
        if volume is None or segmentation is None:
            return
        others = [each for each in self._sessions.get(id(volume), ()) if each[1] is not segmentation]
        self._sessions[id(volume)] = [*others, (volume, segmentation, text)] if text else others

    def session_channels(
        self, volume: Handle | None, segmentation: Handle | None, time: str = ""
    ) -> tuple[Handle | None, ...]:
        """See `app/ports`; the page shows one volume."""
        return ()

    def channels_of(self, volume: Handle) -> tuple[tuple[Handle, str], ...]:
        """See `app/ports`."""
        return ()

    def set_channels_of(self, volume: Handle, channels: Sequence[tuple[Handle, str]]) -> None:
        """See `app/ports`."""

    def segmentation_of(self, volume: Handle) -> Handle | None:
        """See `app/ports`."""
        kept = self._sessions.get(id(volume), ())
        return kept[-1][1] if kept else None

    def use_session_of(self, volume: Handle, segmentation: Handle | None) -> None:
        """See `app/ports`."""
        self.set_session_of(volume, segmentation, self.session_of(volume, segmentation))

    def drop_sessions_of(self, volume: Handle, time: str = "") -> None:
        """See `app/ports`."""
        self._sessions.pop(id(volume), None)

    def change_sessions_of(self, volume: Handle, change: Callable[[str], str]) -> None:
        """See `app/ports`."""
        kept = self._sessions.get(id(volume), [])
        kept[:] = [(each, segmentation, change(text)) for each, segmentation, text in kept]

    def drop_lost_sessions(self) -> None:
        """See `app/ports`."""

    def close(self) -> None:
        """See `app/ports`."""


class MemoryScene:
    """All of it; `user` places prompts, `markups` shows them."""

    is_closing = False

    def __init__(self) -> None:
        self.volumes = MemoryVolumes()
        self.segmentations = MemorySegmentations()
        self.views = MemoryViews()
        self.times = NoTimeSeries()
        self.choices = MemoryChoices()
        self.markups = MemoryMarkups()
        self.user: MemoryTools

    def prompts(
        self,
        on_edit: Callable[[PromptEdit], None],
        on_left: Callable[[Tool | None], None],
        schedule: Callable[[Callable[[], None]], None] | None,
    ) -> tuple[PromptMarkups, PromptTools]:
        """See `app/ports`."""
        self.user = MemoryTools(on_edit, on_left)
        return self.markups, self.user

    def observe(self, listener: SceneListener) -> Callable[[], None]:
        """See `app/ports`."""
        return lambda: None


def as_port(scene: MemoryScene) -> Scene:
    """The scene as `app/` sees it; a type checker says here what it lacks."""
    return scene
