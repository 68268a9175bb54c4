"""The study's choices, kept in the scene in a plain scripted module node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import vtk

from ..core.overlap import GIVE_WAY

MODULE = "MedSAMSlicer"
_VOLUME, _SEGMENTATION = "Volume", "Segmentation"
_SESSION = "Session"
_SESSION_VOLUME, _SESSION_SEGMENTATION, _SESSION_TURN = "SessionVolume", "SessionSegmentation", "SessionTurn"
_SESSION_TIME = "SessionTime"
_SESSION_CHANNEL = "SessionChannel"
_CHANNEL, _CHANNELS_OF = "Channel", "ChannelsOf"
_MOST_CHANNELS = 2  # beside the volume itself


class ParameterNode:
    """Typed access to the module's one vtkMRMLScriptedModuleNode, which is made when the scene has none.

    Setting a value that is there already changes nothing and notifies no observer.
    """

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._removers: list[Callable[[], None]] = []

    @property
    def node(self) -> Any:
        """The node itself."""
        node = self._scene.GetSingletonNode(MODULE, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = self._scene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)  # CreateNodeByClass hands over a reference
            node.SetSingletonTag(MODULE)
            node.SetModuleName(MODULE)
            node.SetName(MODULE)
            node = self._scene.AddNode(node)
        return node

    @property
    def volume(self) -> Any | None:
        """The volume to segment."""
        return self.node.GetNodeReference(_VOLUME)

    @volume.setter
    def volume(self, volume_node: Any | None) -> None:
        self._refer(_VOLUME, volume_node)

    @property
    def segmentation(self) -> Any | None:
        """The segmentation that takes the masks."""
        return self.node.GetNodeReference(_SEGMENTATION)

    @segmentation.setter
    def segmentation(self, segmentation_node: Any | None) -> None:
        self._refer(_SEGMENTATION, segmentation_node)

    @property
    def segment_id(self) -> str | None:
        """The selected segment."""
        return self._text("SegmentID")

    @segment_id.setter
    def segment_id(self, segment_id: str | None) -> None:
        self._set("SegmentID", segment_id)

    @property
    def window_spec(self) -> str:
        """Return what `core.intensity.choose_window` takes, such as "auto", "lung" or "-100,300"; or "display"."""
        return self._text("Window") or "display"

    @window_spec.setter
    def window_spec(self, spec: str) -> None:
        self._set("Window", spec)

    @property
    def checkpoint(self) -> str | None:
        """Identifier or file of the network's weights."""
        return self._text("Checkpoint")

    @checkpoint.setter
    def checkpoint(self, checkpoint: str | None) -> None:
        self._set("Checkpoint", checkpoint)

    @property
    def tier(self) -> str | None:
        """The arithmetic: "exact", "balanced" or "fast"; None to let the device decide."""
        return self._text("Tier")

    @tier.setter
    def tier(self, tier: str | None) -> None:
        self._set("Tier", tier)

    @property
    def overlap(self) -> str:
        """The rule for where masks meet, one of `core.overlap.GIVE_WAY`."""
        overlap = self._text("Overlap")
        return overlap if overlap in GIVE_WAY else GIVE_WAY[0]

    @overlap.setter
    def overlap(self, overlap: str) -> None:
        if overlap not in GIVE_WAY:
            raise ValueError(f"The overlap must be one of {', '.join(GIVE_WAY)}, got {overlap!r}.")
        self._set("Overlap", overlap)

    def session_of(
        self, volume_node: Any | None, segmentation_node: Any | None, time: str = ""
    ) -> str | None:
        """The text of the session on a volume with a segmentation; None when there is none.

        `time` is the index value of the time point, "" for a volume that belongs to no sequence.
        """
        slot = self._slot(volume_node, segmentation_node, time)
        return None if slot is None else self._text(f"{_SESSION}{slot}")

    def set_session_of(
        self,
        volume_node: Any | None,
        segmentation_node: Any | None,
        text: str | None,
        time: str = "",
        channels: Sequence[Any] = (),
    ) -> None:
        """Keep the text of the session on a volume with a segmentation, or drop it; without both nothing happens."""
        if volume_node is None or segmentation_node is None:
            return
        slot = self._slot(volume_node, segmentation_node, time)
        if slot is None:
            if not text:
                return
            slot = self._free_slot()
        if not text:
            self._drop(slot)
            return
        node = self.node
        was_modifying = node.StartModify()
        self._refer(f"{_SESSION_VOLUME}{slot}", volume_node)
        self._refer(f"{_SESSION_SEGMENTATION}{slot}", segmentation_node)
        self._set(f"{_SESSION_TIME}{slot}", time)
        self._set(f"{_SESSION}{slot}", text)
        for number in range(_MOST_CHANNELS):
            role = f"{_SESSION_CHANNEL}{number + 1}_{slot}"
            self._refer(role, channels[number] if number < len(channels) else None)
        self._take_turn(slot)
        node.EndModify(was_modifying)

    def session_channels(
        self, volume_node: Any | None, segmentation_node: Any | None, time: str = ""
    ) -> tuple[Any | None, ...]:
        """The volumes beside the first one that a session was kept with; None for each that is gone."""
        slot = self._slot(volume_node, segmentation_node, time)
        if slot is None:
            return ()
        roles = (f"{_SESSION_CHANNEL}{number + 1}_{slot}" for number in range(_MOST_CHANNELS))
        return tuple(self.node.GetNodeReference(role) for role in roles)

    def channels_of(self, volume_node: Any) -> tuple[tuple[Any, str], ...]:
        """The volumes chosen beside a volume, each with its window as text; those that are gone are left out."""
        node = self.node
        if node.GetNodeReferenceID(_CHANNELS_OF) != volume_node.GetID():
            return ()
        names = (f"{_CHANNEL}{number + 1}" for number in range(_MOST_CHANNELS))
        found = ((node.GetNodeReference(name), self._text(f"{name}Window") or "display") for name in names)
        return tuple((channel, window) for channel, window in found if channel is not None)

    def set_channels_of(self, volume_node: Any, channels: Sequence[tuple[Any, str]]) -> None:
        """Keep the volumes chosen beside a volume, each with its window as text."""
        node = self.node
        was_modifying = node.StartModify()
        self._refer(_CHANNELS_OF, volume_node if channels else None)
        for number in range(_MOST_CHANNELS):
            channel, window = channels[number] if number < len(channels) else (None, None)
            self._refer(f"{_CHANNEL}{number + 1}", channel)
            self._set(f"{_CHANNEL}{number + 1}Window", window)
        node.EndModify(was_modifying)

    def segmentation_of(self, volume_node: Any) -> Any | None:
        """The segmentation that was worked on last with a volume; None when there was none, or it is gone."""
        node, slots = self.node, self._slots_of(volume_node)
        latest = max(slots, key=self._turn, default=None)
        return None if latest is None else node.GetNodeReference(f"{_SESSION_SEGMENTATION}{latest}")

    def use_session_of(self, volume_node: Any, segmentation_node: Any | None) -> None:
        """The session, if there is one, is worked on again: `segmentation_of` the volume is this one from now on."""
        if segmentation_node is None:
            return
        wanted, node = segmentation_node.GetID(), self.node
        slots = [
            slot
            for slot in self._slots_of(volume_node)
            if node.GetNodeReferenceID(f"{_SESSION_SEGMENTATION}{slot}") == wanted
        ]
        latest = max(
            slots, key=self._turn, default=None
        )  # any of its time points says which segmentation it is
        if latest is not None:
            self._take_turn(latest)

    def drop_sessions_of(self, volume_node: Any, time: str = "") -> None:
        """Forget every session on a volume at one time point."""
        for slot in self._slots_of(volume_node):
            if self._time(slot) == time:
                self._drop(slot)

    def change_sessions_of(self, volume_node: Any, change: Callable[[str], str]) -> None:
        """Let every session on a volume be `change(text)`."""
        for slot in self._slots_of(volume_node):
            self._set(f"{_SESSION}{slot}", change(self._text(f"{_SESSION}{slot}") or ""))

    def drop_lost_sessions(self) -> None:
        """Forget sessions whose volume or segmentation is gone."""
        for slot in self._slots():
            if self._is_lost(slot):
                self._drop(slot)

    def observe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back whenever a value changes, until the returned function is called."""
        node = self.node
        tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: callback())
        node_id = node.GetID()
        del node

        def remove() -> None:
            observed = self._scene.GetNodeByID(node_id)
            if observed is not None:
                observed.RemoveObserver(tag)
            if remove in self._removers:
                self._removers.remove(remove)

        self._removers.append(remove)
        return remove

    def close(self) -> None:
        """Remove every observer."""
        for remove in list(self._removers):
            remove()

    def _text(self, name: str) -> str | None:
        return self.node.GetParameter(name) or None

    def _set(self, name: str, value: str | None) -> None:
        node = self.node
        if value:
            node.SetParameter(name, value)
        else:
            node.UnsetParameter(name)

    def _refer(self, role: str, target: Any | None) -> None:
        self.node.SetNodeReferenceID(role, None if target is None else target.GetID())

    def _slot(self, volume_node: Any | None, segmentation_node: Any | None, time: str) -> int | None:
        """The number under which a session is kept; references survive a change of node IDs."""
        if volume_node is None or segmentation_node is None:
            return None
        wanted, node = segmentation_node.GetID(), self.node
        found = self._slots_of(volume_node)
        return next(
            (
                slot
                for slot in found
                if node.GetNodeReferenceID(f"{_SESSION_SEGMENTATION}{slot}") == wanted
                and self._time(slot) == time
            ),
            None,
        )

    def _time(self, slot: int) -> str:
        return self._text(f"{_SESSION_TIME}{slot}") or ""

    def _slots_of(self, volume_node: Any) -> list[int]:
        node, wanted = self.node, volume_node.GetID()
        return [
            slot for slot in self._slots() if node.GetNodeReferenceID(f"{_SESSION_VOLUME}{slot}") == wanted
        ]

    def _slots(self) -> list[int]:
        names = self.node.GetParameterNames()
        return sorted(
            int(name[len(_SESSION) :])
            for name in names
            if name[len(_SESSION) :].isdigit() and name.startswith(_SESSION)
        )

    def _is_lost(self, slot: int) -> bool:
        roles = (f"{_SESSION_VOLUME}{slot}", f"{_SESSION_SEGMENTATION}{slot}")
        return any(self.node.GetNodeReference(role) is None for role in roles)

    def _free_slot(self) -> int:
        """A slot that is not taken, or one whose volume or segmentation is gone."""
        slots = self._slots()
        lost = next((slot for slot in slots if self._is_lost(slot)), None)
        return max(slots, default=0) + 1 if lost is None else lost

    def _turn(self, slot: int) -> int:
        text = self._text(f"{_SESSION_TURN}{slot}") or ""
        return int(text) if text.isdigit() else 0

    def _take_turn(self, slot: int) -> None:
        """From now on this is the session that was used last."""
        latest = max((self._turn(other) for other in self._slots() if other != slot), default=0)
        if self._turn(slot) <= latest:
            self._set(f"{_SESSION_TURN}{slot}", str(latest + 1))

    def _drop(self, slot: int) -> None:
        node = self.node
        was_modifying = node.StartModify()
        self._refer(f"{_SESSION_VOLUME}{slot}", None)
        self._refer(f"{_SESSION_SEGMENTATION}{slot}", None)
        self._set(f"{_SESSION}{slot}", None)
        for number in range(_MOST_CHANNELS):
            self._refer(f"{_SESSION_CHANNEL}{number + 1}_{slot}", None)
        self._set(f"{_SESSION_TURN}{slot}", None)
        self._set(f"{_SESSION_TIME}{slot}", None)
        node.EndModify(was_modifying)
