"""3D Slicer's scene as `app/` needs it: the ports of :mod:`..app.ports` on MRML nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..app.ports import (
    Handle,
    Mask,
    PromptEdit,
    Scene,
    SceneListener,
    Scheduler,
    SegmentsListener,
    ShownSlice,
    Tool,
    VolumeListener,
)
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.intensity import Window
from . import nodes, slice_views
from .earlier_mask import EarlierMask
from .parameter_node import ParameterNode
from .placing import Placing
from .prompt_markups import Kind, kind_of_tool
from .prompt_nodes import PromptNodes
from .scene_events import SceneEvents
from .segments import SegmentMasks, check_segmentation, create_segmentation
from .sequences import SlicerTimeSeries, keep_for_each_time_point
from .volume_watch import VolumeWatch

CHANGES_NAME = "MedSAMSlicer changes"
ADDED, REMOVED = (0.2, 0.9, 0.2), (0.9, 0.2, 0.9)


def slicer_scene(scene: Any) -> Scene:
    """The ports on a vtkMRMLScene."""
    return SlicerScene(scene)


class SlicerScene:
    """See :class:`..app.ports.Scene`."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self.volumes = SlicerVolumes(scene)
        self.segmentations = SlicerSegmentations(scene)
        self.views = SlicerViews(scene)
        self.times = SlicerTimeSeries(scene)
        self.choices = ParameterNode(scene)

    @property
    def is_closing(self) -> bool:
        """Return whether the scene is being closed."""
        return bool(self._scene.IsClosing())

    def prompts(
        self,
        on_edit: Callable[[PromptEdit], None],
        on_left: Callable[[Tool | None], None],
        schedule: Callable[[Callable[[], None]], None] | None,
    ) -> tuple[PromptNodes, Placing]:
        """Prompts as markups nodes, placed with Slicer's own place mode."""

        def takes_points(kind: Kind) -> bool:
            return placing.tool is not None and kind_of_tool(placing.tool) is kind

        markups = PromptNodes(self._scene, on_edit, schedule, takes_points)
        placing = Placing(self._scene, markups, on_left, schedule)
        return markups, placing

    def observe(self, listener: SceneListener) -> Callable[[], None]:
        """Observe the scene until the returned function is called."""
        events = SceneEvents(
            self._scene,
            removed=_called(listener.on_removed),
            closing=_called(listener.on_closing),
            closed=_called(listener.on_closed),
            loaded=_called(listener.on_loaded),
        )
        return events.close


def _called(act: Callable[[], None]) -> Callable[..., None]:
    """An observer's callback, whatever the event brings."""

    def called(_caller: Any, _event: str, _data: Any = None) -> None:
        act()

    return called


class SlicerVolumes:
    """See :class:`..app.ports.Volumes`."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene

    def check_usable(self, volume: Handle) -> None:
        """See :func:`.nodes.check_usable`."""
        nodes.check_usable(volume)

    def geometry(self, volume: Handle) -> VolumeGeometry:
        """See :func:`.nodes.volume_geometry`."""
        return nodes.volume_geometry(volume)

    def array(self, volume: Handle) -> npt.NDArray[Any]:
        """See :func:`.nodes.volume_array`."""
        return nodes.volume_array(volume, color=True)

    def name(self, volume: Handle) -> str:
        """The node's name."""
        return str(volume.GetName())

    def modality(self, volume: Handle) -> str | None:
        """Return what Slicer's DICOM module wrote down; None for a volume of another file."""
        modality: str | None = volume.GetAttribute("DICOM.Modality")
        return modality

    def display_window(self, volume: Handle) -> Window | None:
        """Return the window that somebody chose for the views; None while it is the one Slicer finds by itself.

        That one shows nearly all values, from the 0.1th to the 99.9th percentile: of a CT the organs in a few grays.
        """
        display = volume.GetScalarVolumeDisplayNode()
        if display is None or display.GetAutoWindowLevel() or not display.GetWindow() > 0:
            return None
        level, half = display.GetLevel(), display.GetWindow() / 2
        return Window(level - half, level + half, "display")

    def is_there(self, volume: Handle) -> bool:
        """Return whether the node is in the scene."""
        return bool(self._scene.IsNodePresent(volume))

    def identifier(self, volume: Handle) -> str:
        """The node's ID."""
        return str(volume.GetID())

    def find(self, identifier: str) -> Handle | None:
        """The node with this ID."""
        return self._scene.GetNodeByID(identifier)

    def to_world(self, volume: Handle) -> npt.NDArray[np.float64]:
        """See :func:`.nodes.transform_to_world`."""
        return nodes.transform_to_world(volume)

    def hardened_copy(self, volume: Handle) -> Handle:
        """See :func:`.nodes.hardened_copy`."""
        return nodes.hardened_copy(volume)

    def watch(self, volume: Handle, scheduler: Scheduler, listener: VolumeListener) -> VolumeWatch:
        """Observe the node."""
        calls = (listener.on_voxels, listener.on_moved, listener.on_display)
        return VolumeWatch(volume, nodes.volume_array(volume, color=True), scheduler, *calls)


class SlicerSegmentations:
    """See :class:`..app.ports.Segmentations`."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene

    def check(self, segmentation: Handle, volume: Handle) -> None:
        """See :func:`.labelmaps.check_segmentation`."""
        check_segmentation(segmentation, volume)

    def create(self, volume: Handle) -> Handle:
        """See :func:`.labelmaps.create_segmentation`."""
        return create_segmentation(self._scene, volume)  # `open` makes it one of a sequence if the volume is

    def open(
        self, segmentation: Handle, volume: Handle, listener: SegmentsListener | None = None
    ) -> SegmentMasks:
        """See :class:`.segments.SegmentMasks`; of a sequence, each time point has a segmentation of its own."""
        check_segmentation(segmentation, volume)
        keep_for_each_time_point(segmentation, volume)
        if listener is None:
            return SegmentMasks(segmentation, volume)
        return SegmentMasks(
            segmentation,
            volume,
            on_modified=listener.on_modified,
            on_added=listener.on_added,
            on_removed=listener.on_removed,
            on_renamed=listener.on_renamed,
            on_recolored=listener.on_recolored,
        )

    def name(self, segmentation: Handle) -> str:
        """The node's name."""
        return str(segmentation.GetName())


class SlicerViews:
    """See :class:`..app.ports.Views`."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._changes_id: str | None = None
        self._earlier = EarlierMask(scene)

    def shown(self, volume: Handle, axis: SliceAxis | None) -> ShownSlice | None:
        """See :func:`.slice_views.looked_at`."""
        return slice_views.looked_at(self._scene, volume, axis)

    def other_volume(self, view_name: str, volume: Handle) -> Handle | None:
        """See :func:`.slice_views.other_volume_in_view`."""
        return slice_views.other_volume_in_view(self._scene, view_name, volume)

    def show_slice(self, volume: Handle, axis: SliceAxis, index: int) -> None:
        """See :func:`.slice_views.show_slice`."""
        slice_views.show_slice(self._scene, volume, axis, index)

    def show_place_elsewhere(self, volume: Handle, ras: Sequence[float]) -> None:
        """See :func:`.slice_views.show_place_elsewhere`."""
        slice_views.show_place_elsewhere(self._scene, volume, ras)

    def show_around(self, volume: Handle, ras: Sequence[float], size_mm: float) -> None:
        """See :func:`.slice_views.show_around`."""
        slice_views.show_around(self._scene, volume, ras, size_mm)

    def show_changes(
        self, volume: Handle, axis: SliceAxis, added: Mapping[int, Mask], removed: Mapping[int, Mask]
    ) -> None:
        """Show a segmentation that is neither edited nor saved."""
        self.hide_changes()
        node = create_segmentation(self._scene, volume, CHANGES_NAME, helper=True)
        self._changes_id = node.GetID()
        masks = SegmentMasks(node, volume)
        try:
            masks.write_slices(masks.add("added", ADDED), axis, added)
            masks.write_slices(masks.add("removed", REMOVED), axis, removed)
        finally:
            masks.close()

    def hide_changes(self) -> None:
        """Remove that segmentation."""
        node = self._scene.GetNodeByID(self._changes_id) if self._changes_id else None
        self._changes_id = None
        if node is not None and not self._scene.IsClosing():
            nodes.remove_with_display(node)

    def show_earlier(
        self,
        volume: Handle,
        segmentation: Handle,
        segment_id: str,
        axis: SliceAxis,
        masks: Mapping[int, Mask],
    ) -> None:
        """See :class:`.earlier_mask.EarlierMask`."""
        self._earlier.show(volume, segmentation, segment_id, axis, masks)

    def hide_earlier(self) -> None:
        """See :class:`.earlier_mask.EarlierMask`."""
        self._earlier.hide()

    def orientation(self, volume: Handle, axis: SliceAxis) -> str:
        """See :func:`.slice_views.orientation`."""
        return slice_views.orientation(volume, axis)

    def slices_in_words(self, volume: Handle, axis: SliceAxis) -> str:
        """See :func:`.slice_views.slices_in_words`."""
        return slice_views.slices_in_words(self._scene, volume, axis)
