"""Up to two volumes beside the one that is segmented, such as PET and MR, as further channels of the network.

Each keeps its own window and its own place: it is put on the voxels of the first volume, wherever headers and linear
transforms say that it lies. They must be registered already. Where the first volume is one of a sequence, those that
the same browser shows go from one time point to the next with it, and all others stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..core.errors import GeometryError, MedSAMError, SessionError, VolumeError
from ..core.intensity import WINDOWS, Window
from ..core.translation import tr as _
from .channel_places import geometry_beside, share_a_place
from .network_inputs import NetworkInputs
from .persistence import SavedChannel
from .ports import Handle, Scheduler, VolumeListener, Watch
from .state import Level, Topic
from .workspace import FurtherVolume, Workspace

MOST_FURTHER = 2
"""Volumes beside the first one: a network has three channels."""

_SPECS = ("display", *WINDOWS)


class ChannelInputs:
    """Chooses further volumes, watches them, and hands them to the network."""

    def __init__(self, work: Workspace, network: NetworkInputs) -> None:
        self._work, self._network = work, network
        self._watches: list[Watch] = []
        self._lost: list[str] = []  # names of volumes that a session was made with and that are missing
        self._due_after_run = False  # a volume went while a propagation was under way, which still saw it
        network.channels_prepared.connect(self._prepared)
        work.observe(self._notified)

    @property
    def chosen(self) -> tuple[FurtherVolume, ...]:
        """The volumes beside the first one, in the order of their channels."""
        return self._work.channels

    @property
    def fused(self) -> npt.NDArray[np.uint8] | None:
        """All volumes as the network sees them, (K, J, I, 3); None while there is one only, or until it is ready."""
        return self._work.fused if self._work.channels else None

    # -- choosing

    def reason(self, node: Handle | None, position: int = 0) -> str | None:
        """The reason why a volume cannot be the second (`position` 0) or third (1) one; None when it can.

        Without a volume: why none can be chosen at that position.
        """
        try:
            self._check(node, position)
        except MedSAMError as error:
            return str(error)
        return None

    def choose(self, position: int, node: Handle | None, spec: str | None = None) -> None:
        """Show the network another volume beside the first one, or none: as the second (0) or third (1) one.

        When the second one goes, the third one takes its place. Masks that are there stay, and are due again.

        Raises:
            MedSAMError: the volume cannot be a channel, in one sentence.
        """
        before = list(self.chosen)
        known = before[position] if position < len(before) else None
        if node is None and known is None:
            return
        self._network.check_idle()
        if node is None:
            del before[position]
        else:
            self._check(node, position)
            new = FurtherVolume(node, spec or (known.spec if known is not None else "display"))
            before[position : position + 1] = [new]
        self._use(tuple(before))
        self._changed()

    def set_window(self, position: int, spec: str) -> None:
        """Choose the window of the second (0) or third (1) volume, with the words of `NetworkInputs.set_window`."""
        if position >= len(self.chosen):
            raise SessionError(_("Choose the volume first, then its window."))
        self._network.check_idle()
        chosen = spec.strip().lower()
        if chosen not in _SPECS:
            text = _("The window must be one of {names}, got {window!r}.")
            raise MedSAMError(text.format(window=spec, names=", ".join(_SPECS)))
        channels = list(self.chosen)
        channels[position] = replace(channels[position], spec=chosen, window=None)
        self._use(tuple(channels))
        self._changed()

    def _check(self, node: Handle | None, position: int) -> None:
        work = self._work
        first, volumes = work.volume_node, work.scene.volumes
        if first is None or work.geometry is None:
            raise SessionError(_("Choose a volume first."))
        if work.array is not None and work.array.ndim == 4:
            text = _('"{volume}" is in color, which takes all channels of the network.')
            raise VolumeError(text.format(volume=volumes.name(first)))
        if position > len(self.chosen):
            raise SessionError(_("Choose the second volume first."))
        if node is None:
            return
        name = volumes.name(node)
        if node is first:
            text = _('"{volume}" is the volume that is segmented: choose another one.')
            raise VolumeError(text.format(volume=name))
        if any(each.node is node for place, each in enumerate(self.chosen) if place != position):
            raise VolumeError(_('"{volume}" is a channel already: choose another one.').format(volume=name))
        try:
            volumes.check_usable(node)
        except (
            MedSAMError
        ) as error:  # without an offer to harden a copy: that is for the volume that is segmented
            raise VolumeError(str(error)) from error
        if volumes.array(node).ndim == 4:
            text = _('"{volume}" is in color, which takes all channels of the network.')
            raise VolumeError(text.format(volume=name))
        if work.scene.times.of(node) is not None and not work.scene.times.together(first, node):
            text = _(
                '"{volume}" belongs to a sequence and changes with the time point, but "{first}" does not change with '
                "it: select both in one sequence browser."
            )
            raise VolumeError(text.format(volume=name, first=volumes.name(first)))
        if not share_a_place(work.geometry, geometry_beside(work, node)):
            text = _('"{volume}" and "{first}" do not overlap in space. Register them first.')
            raise GeometryError(text.format(volume=name, first=volumes.name(first)))

    # -- sessions

    def begin(self, nodes: tuple[Handle | None, ...], saved: tuple[SavedChannel, ...] | None) -> None:
        """A session begins: take up the volumes that it was saved with, or those chosen for its volume before.

        Args:
            nodes: of the saved session, None for each that is gone.
            saved: what the session says of them; None = it is a new session.
        """
        work, volume = self._work, self._work.volume_node
        self._close_watches()
        work.channels, self._lost = (), []
        if volume is None:
            return
        if saved is None:
            for node, spec in work.parameter.channels_of(volume):
                self._take_up(FurtherVolume(node, spec), work.scene.volumes.name(node))
            self._lost.clear()  # nothing was computed with them
        else:
            for number, channel in enumerate(saved):
                node = nodes[number] if number < len(nodes) else None
                found = None if node is None else FurtherVolume(node, channel.spec, channel.window)
                self._take_up(found, channel.name)
        self._use(work.channels)

    def warn(self) -> None:
        """Warn of the volumes of a session that are missing, once the network has been asked for it."""
        lost, self._lost = self._lost, []
        if lost:
            self._network.mark_stale()
            text = _(
                "The session was made with {volumes} as further channels, which cannot be used now: new results "
                "will differ."
            )
            names = ", ".join(f'"{name}"' for name in lost)
            self._work.show_message(text.format(volumes=names), Level.WARNING)

    def forget(self) -> None:
        """The session ends."""
        self._close_watches()
        self._work.channels, self._work.fused, self._due_after_run = (), None, False

    def moved(self) -> None:
        """The first volume, or one beside it, came under another transform: they meet elsewhere now."""
        if self._work.channels:
            self._drop_unusable()

    def node_removed(self) -> None:
        """A node was deleted, maybe one of these volumes."""
        if any(not self._work.scene.volumes.is_there(each.node) for each in self.chosen):
            self._drop_unusable()

    def _take_up(self, channel: FurtherVolume | None, name: str) -> None:
        work = self._work
        try:
            if channel is None:
                raise VolumeError("gone")
            self._check(channel.node, len(work.channels))
        except MedSAMError:
            self._lost.append(name)
        else:
            work.channels = (*work.channels, channel)

    def _drop_unusable(self) -> None:
        """Go on without the volumes that are deleted or lie elsewhere now, and say so; all masks are due again."""
        work, volumes = self._work, self._work.scene.volumes
        before, gone = self.chosen, []
        work.channels = ()
        for channel in before:
            if not volumes.is_there(channel.node):
                gone.append(_('The volume "{volume}" was deleted.').format(volume=volumes.name(channel.node)))
                continue
            why = self.reason(channel.node, len(work.channels))
            if why is None:
                work.channels = (*work.channels, channel)
            else:
                gone.append(why)
        self._use(work.channels)
        self._changed()
        if gone:
            rest = _("The network now sees one volume fewer; existing masks stay until you propagate.")
            work.show_message(" ".join((*gone, rest)), Level.WARNING)

    # -- handing over

    def _use(self, channels: tuple[FurtherVolume, ...]) -> None:
        """Keep and watch these volumes."""
        work = self._work
        self._close_watches()
        work.channels = channels
        if work.volume_node is not None:
            work.parameter.set_channels_of(work.volume_node, [(each.node, each.spec) for each in channels])
        for number, channel in enumerate(channels):
            listener = VolumeListener(self.moved, self.moved, self._display_changed)
            keys = _PrefixedScheduler(work.poller, f"channel {number} ")
            self._watches.append(work.scene.volumes.watch(channel.node, keys, listener))

    def _close_watches(self) -> None:
        for watch in self._watches:
            watch.close()
        self._watches.clear()

    def _notified(self, topic: Topic) -> None:
        if topic is Topic.RUN and self._due_after_run and self._work.running is None:
            self._due_after_run = False
            self._network.mark_stale()

    def _changed(self) -> None:
        """The network sees something else from now on."""
        self._due_after_run = self._work.running is not None
        self._network.mark_stale()
        self._network.prepare()
        self._work.notify(Topic.INPUTS, Topic.NETWORK, Topic.MASKS)

    def _display_changed(self) -> None:
        """A window of the views was changed: it is followed until the first prompt is given."""
        work = self._work
        if self._network.window_is_fixed or work.running is not None:
            return
        shown = [self._as_displayed(each) for each in self.chosen]
        if [each.window for each in shown] != [each.window for each in self.chosen]:
            work.channels = tuple(shown)
            self._network.prepare()

    def _as_displayed(self, volume: FurtherVolume) -> FurtherVolume:
        """A further volume with the window of the views, if it follows them; without one to have it found anew."""
        if volume.spec != "display":
            return volume
        window = self._work.scene.volumes.display_window(volume.node)
        automatic = volume.window is not None and volume.window.name != "display"
        return volume if window is None and automatic else replace(volume, window=window)

    def _prepared(self, windows: tuple[Window, ...]) -> None:
        """The network was prepared with these windows of the further volumes."""
        if len(windows) == len(self.chosen):
            self._work.channels = tuple(
                replace(each, window=window) for each, window in zip(self.chosen, windows, strict=True)
            )


class _PrefixedScheduler:
    """A scheduler whose keys have a prefix, so that no other watch uses them."""

    def __init__(self, scheduler: Scheduler, prefix: str) -> None:
        self._scheduler, self._prefix = scheduler, prefix

    def schedule(self, key: str, seconds: float, action: Callable[[], None], restart: bool = False) -> None:
        """See :class:`.ports.Scheduler`."""
        self._scheduler.schedule(self._prefix + key, seconds, action, restart)

    def unschedule(self, key: str) -> None:
        """See :class:`.ports.Scheduler`."""
        self._scheduler.unschedule(self._prefix + key)
