"""The prompts of all objects on a volume as markups nodes, equal to the session and editable by the user."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..app.ports import EditKind, ObjectMarkups, PromptEdit, ShownSlice
from ..core.errors import MedSAMError
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.prompts import Prompt
from . import prompt_markups as markups
from . import prompt_sync as syncing
from .box_look import BoxLook
from .data_tree import drop_if_empty, folder_of
from .nodes import volume_geometry
from .prompt_events import MarkupsEvents
from .prompt_markups import Kind
from .prompt_sync import Place, Shown, ShownPrompt
from .refusals import AcrossSlicesError, in_words
from .slice_views import clicked_slice_node, shown_slice

logger = logging.getLogger(__name__)

_SAME_MM = 1e-4


class PromptNodes:
    """Keeps markups nodes equal to the prompts of a session, and reports what the user does to them.

    Nodes are found by their attributes, so that those of a loaded scene are taken over. Nothing that `sync` does is
    reported as an edit.

    Args:
        scene: the MRML scene.
        on_change: called with each edit of the user; it may call `sync`.
        schedule: how to run something after Slicer has finished with the event, such as a QTimer of 0 ms; at once
            when absent.
        takes_points: whether a new point of a kind is one of the user; without it all are.
    """

    def __init__(
        self,
        scene: Any,
        on_change: Callable[[PromptEdit], None],
        schedule: Callable[[Callable[[], None]], None] | None = None,
        takes_points: Callable[[Kind], bool] = lambda kind: True,
    ) -> None:
        self._scene = scene
        self._on_change = on_change
        self._schedule = schedule or (lambda action: action())
        self._volume_id: str | None = None
        self._objects: dict[int, ObjectMarkups] = {}
        self._shown: dict[str, Shown] = {}
        self._unfinished: set[str] = set()  # nodes that are being drawn
        self._syncing = False
        self._takes_points = takes_points
        self._events = MarkupsEvents(scene, self._node_changed, self._node_removed)
        self._boxes = BoxLook(scene, self._events.is_dragged)

    @property
    def is_syncing(self) -> bool:
        """Return whether nodes are being made equal to the session now."""
        return self._syncing

    # -- from the session to the scene

    def sync(self, objects: Sequence[ObjectMarkups], volume_node: Any | None) -> None:
        """Make the scene show these prompts and no others on the volume.

        Without a volume it removes the nodes of the last one and those whose volume is gone.

        Raises:
            VolumeError, GeometryError: the volume cannot be used.
        """
        geometry = None if volume_node is None else volume_geometry(volume_node)
        was_syncing, self._syncing = self._syncing, True
        try:
            if volume_node is None or geometry is None:
                objects = ()
            self._events.follow_transform_of(volume_node)
            self._objects = {obj.object_id: obj for obj in objects}
            for node in self._nodes_to_drop(volume_node):
                self._drop(node)
            self._volume_id = None if volume_node is None else volume_node.GetID()
            self._show_those_of_the_volume()
            for obj in objects:
                for kind in Kind:
                    self._sync_kind(obj, kind, volume_node, geometry)  # type: ignore[arg-type]
        finally:
            self._syncing = was_syncing

    def hide(self) -> None:
        """The volume is worked on no longer: its markups are hidden until `sync` has it again."""
        was_syncing, self._syncing = self._syncing, True
        try:
            self._events.follow_transform_of(None)
            self._volume_id = None
            self._show_those_of_the_volume()
        finally:
            self._syncing = was_syncing

    def read(self, volume_node: Any) -> tuple[ObjectMarkups, ...]:
        """The prompts that the markups of the scene hold for a volume, in the order in which they were given.

        For a scene whose session text is lost; scribbles and masks are not among them. Markups that do not fit
        the volume are passed over.
        """
        geometry = volume_geometry(volume_node)
        found: dict[int, ObjectMarkups] = {}
        prompts: dict[int, list[tuple[int, Prompt]]] = {}
        for node in self._nodes_of(volume_node):
            object_id, kind = markups.node_object(node), markups.node_kind(node)
            if object_id is None or kind is None:
                continue
            try:
                given, slice_range = syncing.read_node(node, kind, geometry)
            except MedSAMError as error:
                logger.warning("The markup %s is skipped: %s", node.GetName(), error)
                continue
            if object_id not in found:
                name = (node.GetName() or "").rsplit(" ", 1)[0] or f"Object {object_id}"
                color = tuple(node.GetDisplayNode().GetSelectedColor())
                found[object_id] = ObjectMarkups(
                    object_id, node.GetAttribute(markups.SEGMENT) or "", name, color
                )
            if slice_range is not None:
                found[object_id] = replace(found[object_id], slice_range=slice_range)
            prompts.setdefault(object_id, []).extend(given)
        return tuple(
            replace(
                obj, prompts=tuple(prompt for _, prompt in sorted(prompts[key], key=lambda item: item[0]))
            )
            for key, obj in sorted(found.items())
        )

    def node_for_placing(self, kind: Kind, obj: ObjectMarkups, volume_node: Any) -> Any:
        """The node that takes the next click: that of the object's points, or a new ROI or line."""
        was_syncing, self._syncing = self._syncing, True
        try:
            self._objects[obj.object_id] = obj
            self._volume_id = volume_node.GetID()
            nodes = self._nodes_of(volume_node, obj.object_id, kind) if kind.holds_points else []
            node = nodes[0] if nodes else self._new_node(obj, kind, volume_node)
            if kind.is_box:
                axis = self._axis(obj.object_id) or SliceAxis.K
                markups.turn_to_volume(node, volume_geometry(volume_node), axis)
            if not kind.holds_points:
                self._unfinished.add(node.GetID())
            return node
        finally:
            self._syncing = was_syncing

    def drop_unfinished(self) -> None:
        """Remove what was begun and not finished: a box or line with one corner."""
        was_syncing, self._syncing = self._syncing, True
        try:
            for node_id in list(self._unfinished):
                node = self._scene.GetNodeByID(node_id)
                if node is not None and not self._shown_prompts(node):
                    self._drop(node)
            self._unfinished.clear()
        finally:
            self._syncing = was_syncing

    def close(self) -> None:
        """Remove every observer; the nodes stay in the scene."""
        self._events.close()
        self._boxes.close()
        self._shown.clear()
        self._objects.clear()
        self._unfinished.clear()

    # -- inside: making nodes equal

    def _nodes_of(
        self, volume_node: Any, object_id: int | None = None, kind: Kind | None = None
    ) -> list[Any]:
        found = []
        for number in range(self._scene.GetNumberOfNodesByClass("vtkMRMLMarkupsNode")):
            node = self._scene.GetNthNodeByClass(number, "vtkMRMLMarkupsNode")
            fits = markups.node_kind(node) is not None and (kind is None or markups.node_kind(node) is kind)
            if fits and (object_id is None or markups.node_object(node) == object_id):
                found.append(node)
        volume_id = volume_node.GetID()
        return [node for node in found if node.GetNodeReferenceID(markups.VOLUME_ROLE) == volume_id]

    def _show_those_of_the_volume(self) -> None:
        """Hide the prompts of other volumes, which would have no effect."""
        for number in range(self._scene.GetNumberOfNodesByClass("vtkMRMLMarkupsNode")):
            node = self._scene.GetNthNodeByClass(number, "vtkMRMLMarkupsNode")
            if markups.node_kind(node) is not None:
                theirs = node.GetNodeReferenceID(markups.VOLUME_ROLE) == self._volume_id
                markups.set_hidden(node, not theirs)

    def _nodes_to_drop(self, volume_node: Any | None) -> list[Any]:
        """Nodes of objects that are gone; without a volume those of the last one, too."""
        if volume_node is not None:
            return [
                node for node in self._nodes_of(volume_node) if markups.node_object(node) not in self._objects
            ]
        found = []
        for number in range(self._scene.GetNumberOfNodesByClass("vtkMRMLMarkupsNode")):
            node = self._scene.GetNthNodeByClass(number, "vtkMRMLMarkupsNode")
            volume = node.GetNodeReference(markups.VOLUME_ROLE)
            if markups.node_kind(node) is not None and (volume is None or volume.GetID() == self._volume_id):
                found.append(node)
        return found

    def _sync_kind(self, obj: ObjectMarkups, kind: Kind, volume_node: Any, geometry: VolumeGeometry) -> None:
        wanted = [
            (position, prompt)
            for position, prompt in enumerate(obj.prompts)
            if markups.kind_of_prompt(prompt) is kind
        ]
        nodes = self._nodes_of(volume_node, obj.object_id, kind)
        if kind.holds_points:
            if not nodes and wanted:
                nodes = [self._new_node(obj, kind, volume_node)]
            for extra in nodes[1:]:
                self._drop(extra)
            for node in nodes[:1]:
                self._prepare(node, obj, kind)
                if not self._events.is_dragged(node):
                    self._shown[node.GetID()] = syncing.sync_points(node, obj.object_id, kind, wanted)
            return
        finished = [
            node for node in nodes if syncing.places(node, kind) or node.GetID() not in self._unfinished
        ]
        pairs, missing, spare = syncing.matched(finished, kind, wanted, geometry)
        pairs += [(self._new_node(obj, kind, volume_node), prompt) for prompt in missing]
        for node in spare:
            self._drop(node)
        for node, prompt in pairs:
            self._prepare(node, obj, kind)
            self._unfinished.discard(node.GetID())
            if not self._events.is_dragged(node):
                self._shown[node.GetID()] = syncing.sync_single(
                    node, obj.object_id, kind, prompt, geometry, obj.slice_range
                )

    def _new_node(self, obj: ObjectMarkups, kind: Kind, volume_node: Any) -> Any:
        node = markups.make_node(self._scene, kind, obj.object_id, volume_node)
        self._shown[node.GetID()] = Shown(obj.object_id, kind)
        self._prepare(node, obj, kind)
        return node

    def _prepare(self, node: Any, obj: ObjectMarkups, kind: Kind) -> None:
        node.SetAttribute(markups.SEGMENT, obj.segment_id)
        markups.set_appearance(node, kind, obj.name, obj.color, obj.active)
        self._events.watch(node)
        if kind.is_box:
            self._boxes.watch(node)

    def _drop(self, node: Any) -> None:
        self._events.release(node)
        self._boxes.release(node.GetID())
        self._shown.pop(node.GetID(), None)
        self._unfinished.discard(node.GetID())
        # A node that goes while the mouse is placing it would leave its picture in the view.
        markups.mark_removed(node)
        node_id = node.GetID()
        self._schedule(lambda: self._remove_marked(node_id))

    def _remove_marked(self, node_id: str) -> None:
        node = self._scene.GetNodeByID(node_id)
        if node is not None and markups.is_marked_removed(node):
            folder = folder_of(node)
            self._scene.RemoveNode(node)
            drop_if_empty(self._scene, folder)

    # -- inside: what the user does

    def _node_removed(self, node_id: str) -> None:
        shown = self._shown.pop(node_id, None)
        self._unfinished.discard(node_id)
        self._boxes.release(node_id)
        if shown is None or self._syncing or self._scene.IsClosing():
            return
        positions = [obj.position for obj in shown.prompts.values() if obj.position is not None]
        for position in sorted(positions, reverse=True):
            self._report_removed(shown.object_id, position)

    def _node_changed(self, node: Any) -> None:
        if self._syncing or self._scene.IsClosing() or self._volume_id is None:
            return
        volume_node = self._scene.GetNodeByID(self._volume_id)
        if volume_node is None or node.GetNodeReferenceID(markups.VOLUME_ROLE) != self._volume_id:
            return
        # One edit at a time: the session answers each with a sync, which may change what is shown.
        while (shown := self._shown.get(node.GetID())) is not None:
            now = syncing.places(node, shown.kind)
            if not self._report_next(node, shown, now, volume_node):
                return

    def _report_next(self, node: Any, shown: Shown, now: dict[str, Place], volume_node: Any) -> bool:
        """Report one edit of a node; return whether there was one."""
        for key, obj in reversed(shown.prompts.items()):
            if key not in now:
                del shown.prompts[key]
                if not shown.kind.holds_points:
                    self._without_events(lambda: self._drop(node))
                if obj.position is not None:
                    self._report_removed(shown.object_id, obj.position)
                return True
        for key, place in now.items():
            known = shown.prompts.get(key)
            if known is None or not _same(known.place, place):
                self._report_placed(node, shown, key, place, volume_node)
                return True
        return False

    def _report_removed(self, object_id: int, position: int) -> None:
        for shown in self._shown.values():  # the session's positions move up, with or without a sync
            for obj in shown.prompts.values():
                if shown.object_id == object_id and obj.position is not None and obj.position > position:
                    obj.position -= 1
        self._on_change(PromptEdit("remove", object_id, position, None))

    def _report_placed(self, node: Any, shown: Shown, key: str, place: Place, volume_node: Any) -> None:
        """Report a new prompt, or one that was moved."""
        known = shown.prompts.get(key)
        view = None if known is not None else self._view(volume_node)
        if known is None and shown.kind.holds_points and not self._takes_points(shown.kind):
            # Another module's tool or a script has put a point into our list: it is no prompt.
            shown.prompts[key] = ShownPrompt(None, None, place)
            self._schedule(lambda: self._take_back(node.GetID(), key))
            return
        position = None if known is None else known.position
        kind: EditKind = "change" if known is not None and known.position is not None else "add"
        geometry = volume_geometry(volume_node)
        axis = self._axis(shown.object_id)
        try:
            elsewhere = view is not None and axis is not None and view.axis != axis
            if elsewhere and axis is not None and not shown.kind.holds_points:
                raise AcrossSlicesError
            axis = axis if axis is not None else SliceAxis.K if view is None else view.axis
            prompt, slice_range = self._prompt(node, shown.kind, key, geometry, axis, flat=view is not None)
        except MedSAMError as error:
            shown.prompts[key] = known or ShownPrompt(None, None, place)
            self._schedule(lambda: self._take_back(node.GetID(), key))
            refused = in_words(error, self._scene, volume_node, axis)
            self._on_change(PromptEdit(kind, shown.object_id, position, None, error=refused, view=view))
            return
        range_changed = shown.kind is Kind.BOX and slice_range != shown.slice_range
        if known is not None and kind == "change" and not range_changed and _is_unchanged(known, prompt):
            known.place = place  # Slicer has only written the same place in other words
            return
        shown.prompts[key] = ShownPrompt(position, prompt, place)
        shown.slice_range = slice_range
        self._unfinished.discard(node.GetID())
        self._on_change(
            PromptEdit(kind, shown.object_id, position, prompt, range_changed, slice_range, view=view)
        )

    def _prompt(
        self, node: Any, kind: Kind, key: str, geometry: VolumeGeometry, axis: SliceAxis, flat: bool
    ) -> tuple[Prompt, tuple[int, int] | None]:
        if kind.holds_points:
            return syncing.new_point(node, kind, key, geometry, axis), None
        if kind.is_box:
            return markups.read_box(node, geometry, axis, flat, kind is Kind.BOX)
        ends = [ras for _, ras in markups.defined_points(node).values()]
        return markups.read_line(ends, geometry, axis), None

    def _take_back(self, node_id: str, key: str) -> None:
        """Show a refused edit no longer: a new markup goes, a moved one returns to its place."""
        node, shown = self._scene.GetNodeByID(node_id), self._shown.get(node_id)
        if node is None or shown is None or key not in shown.prompts:
            return
        obj, volume_node = shown.prompts[key], self._scene.GetNodeByID(self._volume_id)
        self._without_events(lambda: self._restore(node, shown, key, obj, volume_node))

    def _restore(self, node: Any, shown: Shown, key: str, obj: ShownPrompt, volume_node: Any) -> None:
        if shown.kind.holds_points:
            number = node.GetNthControlPointIndexByID(key)
            if obj.prompt is None:
                del shown.prompts[key]
                node.RemoveNthControlPoint(number)
            else:
                node.SetNthControlPointPosition(number, *obj.place)
        elif obj.prompt is None or obj.position is None or volume_node is None:
            self._drop(node)
        else:
            wanted = (obj.position, obj.prompt)
            self._shown[node.GetID()] = syncing.sync_single(
                node, shown.object_id, shown.kind, wanted, volume_geometry(volume_node), shown.slice_range
            )

    def _without_events(self, action: Callable[[], None]) -> None:
        was_syncing, self._syncing = self._syncing, True
        try:
            action()
        finally:
            self._syncing = was_syncing

    def _shown_prompts(self, node: Any) -> bool:
        shown = self._shown.get(node.GetID())
        return shown is not None and bool(shown.prompts)

    def _axis(self, object_id: int) -> SliceAxis | None:
        """The slice axis of an object; None before its first prompt."""
        obj = self._objects.get(object_id)
        if obj is None or obj.axis is not None:
            return None if obj is None else obj.axis
        return obj.prompts[0].slice.axis if obj.prompts else None

    def _view(self, volume_node: Any) -> ShownSlice | None:
        slice_node = clicked_slice_node(self._scene)
        return None if slice_node is None else shown_slice(slice_node, volume_node)


def _is_unchanged(known: ShownPrompt, prompt: Prompt) -> bool:
    return known.prompt is not None and markups.same_place(known.prompt, prompt)


def _same(one: Place, other: Place) -> bool:
    return len(one) == len(other) and all(abs(a - b) < _SAME_MM for a, b in zip(one, other, strict=True))
