"""The ports of `app/` in memory, without 3D Slicer: what a web page, or any other program around, has to bring."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from MedSAMSlicerLib.app.ports import (
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
from MedSAMSlicerLib.core.digests import EMPTY, digest_of
from MedSAMSlicerLib.core.errors import SessionError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.intensity import Window
from MedSAMSlicerLib.core.prompts import Prompt


@dataclass(eq=False)
class MemoryVolume:
    """Gray values (K, J, I) and where they lie."""

    array: npt.NDArray[Any]
    geometry: VolumeGeometry
    name: str = "Volume"


@dataclass(eq=False)
class MemorySegment:
    name: str
    color: Color
    voxels: npt.NDArray[np.bool_]  # (K, J, I)
    locked: bool = False


@dataclass(eq=False)
class MemorySegmentation:
    name: str
    segments: dict[str, MemorySegment] = field(default_factory=dict)


class MemoryVolumes:
    """Volumes never change here."""

    def check_usable(self, volume: Handle) -> None:
        pass

    def geometry(self, volume: Handle) -> VolumeGeometry:
        return volume.geometry

    def array(self, volume: Handle) -> npt.NDArray[Any]:
        return volume.array

    def name(self, volume: Handle) -> str:
        return volume.name

    def modality(self, volume: Handle) -> str | None:
        return None

    def display_window(self, volume: Handle) -> Window | None:
        return None

    def is_there(self, volume: Handle) -> bool:
        return True

    def identifier(self, volume: Handle) -> str:
        return volume.name

    def find(self, identifier: str) -> Handle | None:
        return None

    def hardened_copy(self, volume: Handle) -> Handle:
        return volume

    def watch(self, volume: Handle, scheduler: Scheduler, listener: VolumeListener) -> Watch:
        return _NothingToWatch()


class _NothingToWatch:
    voxels_are_the_same = True

    def close(self) -> None:
        pass


class MemorySegments:
    """Masks in arrays. Nobody else writes them, so there are no edits."""

    def __init__(self, segmentation: MemorySegmentation, volume: MemoryVolume) -> None:
        self.segmentation_node = segmentation
        self._volume = volume
        self._axes: dict[str, SliceAxis] = {}
        self._streaming = 0

    def segment_ids(self) -> tuple[str, ...]:
        return tuple(self.segmentation_node.segments)

    def name(self, segment_id: str) -> str:
        return self._segment(segment_id).name

    def color(self, segment_id: str) -> Color:
        return self._segment(segment_id).color

    def add(self, name: str, color: Color | None = None) -> str:
        known = self.segmentation_node.segments
        number = 1 + max((int(key[1:]) for key in known), default=0)
        empty = np.zeros(self._volume.geometry.shape, np.bool_)
        known[f"s{number}"] = MemorySegment(name, color or (0.5, 0.8, 0.3), empty)
        return f"s{number}"

    def bring_back(self, segment_id: str) -> bool:
        return False

    def set_terminology(self, segment_id: str, text: str | None) -> None:
        pass

    def measure(self, segment_id: str) -> tuple[int, dict[str, int]]:
        own = self._segment(segment_id).voxels
        shared = {
            other: int((own & self._segment(other).voxels).sum())
            for other in self.segment_ids()
            if other != segment_id
        }
        return int(own.sum()), {other: count for other, count in shared.items() if count}

    def visible(self, segment_id: str) -> bool:
        return True

    def remove(self, segment_id: str) -> None:
        del self.segmentation_node.segments[segment_id]

    def locked(self, segment_id: str) -> bool:
        return self._segment(segment_id).locked

    def set_locked(self, segment_id: str, locked: bool) -> None:
        self._segment(segment_id).locked = locked

    def read_slices(
        self, segment_id: str, axis: SliceAxis, indices: Iterable[int] | None = None
    ) -> dict[int, Mask]:
        slices = np.moveaxis(self._segment(segment_id).voxels, int(axis), 0)
        chosen = np.flatnonzero(slices.any(axis=(1, 2))).tolist() if indices is None else indices
        return {index: np.array(slices[index]) for index in chosen}

    def write_slices(self, segment_id: str, axis: SliceAxis, masks: Mapping[int, Mask]) -> None:
        if self.locked(segment_id):
            raise SessionError("A locked segment is not written.")
        slices = np.moveaxis(self._segment(segment_id).voxels, int(axis), 0)
        for index, mask in masks.items():
            slices[index] = mask
        self.set_axis(segment_id, axis)

    def edits(self, among: Collection[str] | None = None) -> dict[str, dict[int, Mask]]:
        return {}

    def settle(self, segment_id: str | None = None) -> None:
        pass

    def digests(self, segment_id: str) -> dict[int, str]:
        axis = self._axes.get(segment_id, SliceAxis.K)
        found = {index: digest_of(mask) for index, mask in self.read_slices(segment_id, axis).items()}
        return {index: digest for index, digest in found.items() if digest != EMPTY}

    def set_axis(self, segment_id: str, axis: SliceAxis) -> None:
        self._axes[segment_id] = axis

    @contextmanager
    def streaming(self) -> Iterator[None]:
        self._streaming += 1
        try:
            yield
        finally:
            self._streaming -= 1

    @property
    def is_streaming(self) -> bool:
        return self._streaming > 0

    surface_lacks = False

    def update_surface(self) -> None:
        pass

    def moved_with_volume(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def _segment(self, segment_id: str) -> MemorySegment:
        return self.segmentation_node.segments[segment_id]


class MemorySegmentations:
    def check(self, segmentation: Handle, volume: Handle) -> None:
        pass

    def create(self, volume: Handle) -> Handle:
        return MemorySegmentation(f"{volume.name} segmentation")

    def open(
        self, segmentation: Handle, volume: Handle, listener: SegmentsListener | None = None
    ) -> Segments:
        return MemorySegments(segmentation, volume)

    def name(self, segmentation: Handle) -> str:
        return segmentation.name


class MemoryViews:
    """One view across each axis; `looked_at` is the one that the user looks at."""

    def __init__(self) -> None:
        self.looked_at = SliceAxis.K
        self.indices = dict.fromkeys(SliceAxis, 0)
        self.changes: tuple[Mapping[int, Mask], Mapping[int, Mask]] | None = None

    def shown(self, volume: Handle, axis: SliceAxis | None) -> ShownSlice | None:
        chosen = self.looked_at if axis is None else axis
        return ShownSlice(chosen, self.indices[chosen], 0.0, chosen.name)

    def other_volume(self, view_name: str, volume: Handle) -> Handle | None:
        return None

    def show_slice(self, volume: Handle, axis: SliceAxis, index: int) -> None:
        self.indices[axis] = index

    def show_place_elsewhere(self, volume: Handle, ras: Sequence[float]) -> None:
        pass

    def show_changes(
        self, volume: Handle, axis: SliceAxis, added: Mapping[int, Mask], removed: Mapping[int, Mask]
    ) -> None:
        self.changes = (added, removed)

    def hide_changes(self) -> None:
        self.changes = None

    def orientation(self, volume: Handle, axis: SliceAxis) -> str:
        return ("axial", "coronal", "sagittal")[axis]

    def slices_in_words(self, volume: Handle, axis: SliceAxis) -> str:
        return f"{self.orientation(volume, axis)} slices"


class MemoryMarkups:
    """Remembers what is to be shown."""

    def __init__(self) -> None:
        self.shown: tuple[ObjectMarkups, ...] = ()

    def sync(self, objects: Sequence[ObjectMarkups], volume: Handle | None) -> None:
        self.shown = tuple(objects)

    def hide(self) -> None:
        self.shown = ()

    def close(self) -> None:
        pass


class MemoryTools:
    """A user who places prompts with `place`."""

    def __init__(self, on_edit: Callable[[PromptEdit], None], on_left: Callable[[Tool | None], None]) -> None:
        self._on_edit, self._on_left = on_edit, on_left
        self.tool: Tool | None = None
        self._object_id = 0

    def start(self, tool: Tool, obj: ObjectMarkups, volume: Handle) -> None:
        self.tool, self._object_id = tool, obj.object_id

    def place(self, prompt: Prompt) -> None:
        """The user has placed a prompt with the tool; a box or a line is one, then the tool is put down."""
        assert self.tool is not None
        self._on_edit(PromptEdit("add", self._object_id, None, prompt))
        if self.tool in (Tool.BOX, Tool.LINE):
            self.tool = None
            self._on_left(None)

    def stop(self) -> None:
        self.tool = None

    def close(self) -> None:
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
        self.overlap = "none"
        self._sessions: dict[int, list[tuple[Handle, Handle, str]]] = {}

    def session_of(self, volume: Handle | None, segmentation: Handle | None) -> str | None:
        kept = self._sessions.get(id(volume), ())
        return next((text for _volume, other, text in kept if other is segmentation), None)

    def set_session_of(self, volume: Handle | None, segmentation: Handle | None, text: str | None) -> None:
        if volume is None or segmentation is None:
            return
        others = [each for each in self._sessions.get(id(volume), ()) if each[1] is not segmentation]
        self._sessions[id(volume)] = [*others, (volume, segmentation, text)] if text else others

    def segmentation_of(self, volume: Handle) -> Handle | None:
        kept = self._sessions.get(id(volume), ())
        return kept[-1][1] if kept else None

    def use_session_of(self, volume: Handle, segmentation: Handle | None) -> None:
        self.set_session_of(volume, segmentation, self.session_of(volume, segmentation))

    def drop_sessions_of(self, volume: Handle) -> None:
        self._sessions.pop(id(volume), None)

    def change_sessions_of(self, volume: Handle, change: Callable[[str], str]) -> None:
        kept = self._sessions.get(id(volume), [])
        kept[:] = [(each, segmentation, change(text)) for each, segmentation, text in kept]

    def drop_lost_sessions(self) -> None:
        pass

    def close(self) -> None:
        pass


class MemoryScene:
    """All of it; `user` places prompts, `markups` shows them."""

    is_closing = False

    def __init__(self) -> None:
        self.volumes = MemoryVolumes()
        self.segmentations = MemorySegmentations()
        self.views = MemoryViews()
        self.choices = MemoryChoices()
        self.markups = MemoryMarkups()
        self.user: MemoryTools

    def prompts(
        self,
        on_edit: Callable[[PromptEdit], None],
        on_left: Callable[[Tool | None], None],
        later: Callable[[Callable[[], None]], None] | None,
    ) -> tuple[PromptMarkups, PromptTools]:
        self.user = MemoryTools(on_edit, on_left)
        return self.markups, self.user

    def observe(self, listener: SceneListener) -> Callable[[], None]:
        return lambda: None


def as_port(scene: MemoryScene) -> Scene:
    """The scene as `app/` sees it; a type checker says here what it lacks."""
    return scene
