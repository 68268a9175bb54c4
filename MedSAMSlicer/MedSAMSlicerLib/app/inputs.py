"""Volume, segmentation and network: what a session is based on, and what happens to it when the scene changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ..core.errors import MedSAMError, NonLinearTransformError, SessionError
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.scores import MaskScores
from ..core.session import Session
from ..core.translation import tr as _
from ..io.segmentations import color_of
from .channels import ChannelInputs
from .editing import unused_name
from .moved_volume import follow_volume
from .network_inputs import NetworkInputs
from .persistence import SavedChannel, read_scores, read_state, saved_channels, saved_network, write_state
from .ports import Handle, Mask, SceneListener, Segments, SegmentsListener, VolumeListener, Watch
from .projector import Projector
from .signals import Signal
from .state import Level, NetworkState, Topic
from .time_points import HeldSession, TimePoints
from .workspace import Workspace

_SAVED = (Topic.SEGMENTS, Topic.PROMPTS, Topic.MASKS, Topic.HISTORY, Topic.NETWORK)
_SAVE_SECONDS = 0.05


@dataclass(frozen=True, eq=False)
class SuspendedWork:
    """The work of a user, to be resumed later.

    Attributes:
        segment_id: the segment that was selected.
        sessions: with their history, by time point.
    """

    segment_id: str | None
    sessions: dict[str, HeldSession]


class Inputs:
    """The volume, the segmentation and the selected segment.

    Signals:
        session_ends: no result of the session is to be shown any more.
        segment_selected: another segment is selected.
        object_removed: the segment of an object was deleted.

    Attributes:
        times: the time points, where the volume is one of a sequence.
        channels: the volumes that the network sees beside this one.
    """

    def __init__(self, work: Workspace, projector: Projector, network: NetworkInputs) -> None:
        self._work, self._projector, self._network = work, projector, network
        self._discarded: str | None = None  # the segment that is being discarded
        self.session_ends: Signal[[]] = Signal()
        self.segment_selected: Signal[[]] = Signal()
        self.object_removed: Signal[[int]] = Signal()
        self._watch: Watch | None = None
        self.times = TimePoints(work, projector, network, self)
        self.channels = ChannelInputs(work, network)
        actions = (self._node_removed, self._scene_closes, self._scene_closed, self._scene_loaded)
        remove = work.scene.observe(SceneListener(*(_unless_closed(work, act) for act in actions)))
        work.observe(self._changed)
        work.closing.connect(remove)
        work.closing.connect(self._close)

    def restore(self) -> None:
        """Go on with what the scene says."""
        self._scene_loaded()

    # ------------------------------------------------------------------------------------------------ what there is

    @property
    def volume_node(self) -> Handle | None:
        """The volume; None when there is none or it was deleted."""
        return self._work.volume_node if self._work.passing is None else self._work.passing

    @property
    def geometry(self) -> VolumeGeometry | None:
        """Shape and place of the volume's voxels."""
        return self._work.geometry

    @property
    def segmentation_node(self) -> Handle | None:
        """The segmentation that masks are written to; None until the first segment is added."""
        work = self._work
        return work.segmentation_node if work.passing is None else work.parameter.segmentation

    @property
    def masks(self) -> Segments | None:
        """The segments of that segmentation as masks of the volume; None until there is one."""
        return self._work.masks

    @property
    def segment_color(self) -> tuple[float, float, float] | None:
        """Red, green and blue in 0..1 of the selected segment; None without one."""
        masks, segment_id = self._work.masks, self._work.segment_id
        return None if masks is None or segment_id is None else masks.color(segment_id)

    @property
    def segment_id(self) -> str | None:
        """The selected segment."""
        return self._work.segment_id

    @property
    def segment_ids(self) -> tuple[str, ...]:
        """All segments of the segmentation, in the order of its table."""
        return self._work.segment_ids

    # -------------------------------------------------------------------------------------------------- the volume

    def set_volume(self, node: Handle | None) -> None:
        """Work on this scalar volume; a session on another volume ends, its segments and prompts stay in the scene.

        Raises:
            VolumeError, GeometryError: the volume cannot be used, such as under a non-linear transform.
        """
        if node is self.volume_node:
            return
        self._work.offered_volume_id = None
        if node is not None:
            try:
                self._work.scene.volumes.check_usable(node)
            except NonLinearTransformError:
                self._work.offered_volume_id = self._work.scene.volumes.identifier(node)
                raise
        self.save()
        self.end_session()
        self.times.forget()
        if node is not None and self._work.parameter.volume is not node:
            self._choose_segmentation(node)
        self._work.parameter.volume = node
        if node is not None:
            self.begin_session(node, restored=True)
        self._work.notify(
            Topic.INPUTS, Topic.SEGMENTS, Topic.PROMPTS, Topic.MASKS, Topic.HISTORY, Topic.NETWORK
        )

    def take_offer(self) -> bool:
        """Turn to the volume that a message offers, a hardened copy of a bent one; False when none is offered."""
        work = self._work
        offered_id, work.offered_volume_id = work.offered_volume_id, None
        node = work.scene.volumes.find(offered_id) if offered_id else None
        if node is None:
            return False
        try:
            self.set_volume(node)
        except NonLinearTransformError:
            self.set_volume(work.scene.volumes.hardened_copy(node))
        return True

    def _choose_segmentation(self, node: Handle) -> None:
        """Go on with the segmentation that this volume had last; one that does not fit the volume is put aside."""
        parameter, times = self._work.parameter, self._work.scene.times
        chosen, last = parameter.segmentation_of(node), parameter.segmentation
        in_time = times.of(node) is not None or (last is not None and times.of(last) is not None)
        if chosen is None and not in_time:  # a time point has a segmentation of its own
            chosen = last
        try:
            if chosen is not None:
                self._work.scene.segmentations.check(chosen, node)
        except MedSAMError:
            chosen = None  # a new one is made with the first prompt
        parameter.segmentation = chosen

    def begin_session(self, node: Handle, restored: bool = False) -> None:
        """Work on a volume; with `restored` on the session that it has."""
        work = self._work
        work.volume_node, work.time_point = node, work.scene.times.of(node)
        self.times.follow(node)
        work.geometry, work.array = work.scene.volumes.geometry(node), work.scene.volumes.array(node)
        work.session = Session(work.geometry)
        self._watch_volume(node)
        chosen = work.parameter.segmentation
        if chosen is not None:
            try:
                self.times.share_segments(chosen, node)
                self._attach(chosen)
            except MedSAMError as error:
                work.show_error(error)
        text = work.parameter.session_of(node, chosen, work.time) if restored else None
        kept = work.parameter.session_channels(node, chosen, work.time) if text else ()
        self.channels.begin(kept, saved_channels(text) if text else None)
        if restored and self.times.resume():
            self.channels.warn()
            return
        if text and work.masks is not None:
            try:
                work.object_ids.update(read_state(text, work.session, work.masks))
                work.scores = read_scores(text, work.session)
            except MedSAMError as error:
                work.show_error(error)
            self._projector.restored()
            work.parameter.use_session_of(node, chosen)
        self._projector.prompts()
        if text and work.session.objects:
            self._network.restore(*saved_network(text))
            self.channels.warn()
        elif self.times.window is not None:
            self._network.restore(None, self.times.window)
        else:
            self._network.choose_window()

    def _watch_volume(self, node: Handle) -> None:
        if self._watch is not None:
            self._watch.close()
        listener = VolumeListener(self._volume_changed, self._moved, self._network.display_changed)
        self._watch = self._work.scene.volumes.watch(node, self._work.poller, listener)

    def end_session(self, closing: bool = False) -> None:
        """Forget session and volume; the scene stays as it is."""
        work = self._work
        self.session_ends.emit()
        work.poller.unschedule("edits")
        work.poller.unschedule("save")
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if work.masks is not None:
            work.masks.close()
            work.masks = None
        if not closing and work.placing_tool is not None:
            work.placing.stop()
        if not closing:
            work.prompt_nodes.hide()
        work.volume_node = work.geometry = work.array = work.session = work.segment_id = work.window = None
        work.object_ids.clear()
        work.removed_ids.clear()
        work.stale.clear()
        work.scores = MaskScores()
        self.channels.forget()
        self._projector.start()
        self._network.forget_volume()
        if work.network.state is not NetworkState.NOT_INSTALLED:
            work.network = replace(work.network, state=NetworkState.WAITING)

    def _volume_changed(self) -> None:
        """The voxels are others than before: begin again, with prompts and masks where they still fit."""
        work = self._work
        node, before = work.volume_node, work.session
        if node is None or before is None:
            return
        name, same = work.scene.volumes.name(node), False
        try:
            work.scene.volumes.check_usable(node)
            same = work.scene.volumes.geometry(node) == before.geometry
        except MedSAMError as error:
            self.end_session()
            work.show_error(error)
            work.notify(*Topic)
            return
        if (
            not same
            and self._watch
            and self._watch.voxels_are_the_same
            and follow_volume(work, self._projector)
        ):
            self._watch_volume(node)
            self._network.prepare()
            work.notify(*(topic for topic in Topic if topic is not Topic.MESSAGE))
            return
        kept = self.times.suspend()
        self.end_session()
        if not same:
            work.prompt_nodes.sync((), node)
            work.parameter.drop_sessions_of(node, work.time)
        if same:
            self.times.restore(kept)
        self.begin_session(node, restored=same)
        if same:
            self._network.choose_window()
            self._network.mark_stale()
            text = _(
                'The voxels of "{volume}" were changed: your prompts and masks stay, and the next propagation '
                "recomputes them."
            ).format(volume=name)
        else:
            text = _(
                'The volume "{volume}" now has a different voxel grid: its prompts were removed, its masks stay.'
            ).format(volume=name)
        work.show_message(text, Level.WARNING)
        work.notify(*(topic for topic in Topic if topic is not Topic.MESSAGE))

    def _moved(self) -> None:
        """The volume came under another transform."""
        work = self._work
        if work.volume_node is None:
            return
        try:
            work.scene.volumes.check_usable(work.volume_node)
            self._projector.prompts()
            self.channels.moved()
        except MedSAMError as error:  # a non-linear one: the session rests until the volume is chosen again
            bent_id = work.scene.volumes.identifier(work.volume_node)
            self.set_volume(None)
            work.offered_volume_id = bent_id if isinstance(error, NonLinearTransformError) else None
            work.show_error(error)
        work.notify(Topic.INPUTS, Topic.VIEW)

    # ---------------------------------------------------------------------------------- for another module's work

    def suspend(self) -> SuspendedWork:
        """Return what is worked on now, with its history, for `resume`; it goes on until something else is chosen."""
        self.save()
        work = self._work
        return SuspendedWork(work.parameter.segment_id, self.times.suspend())

    def resume(self, volume: Handle | None, segmentation: Handle | None, kept: SuspendedWork) -> None:
        """Resume suspended work, and forget what was worked on meanwhile.

        Raises:
            MedSAMError: The volume cannot be used any more.
        """
        work = self._work
        if work.session is not None and work.session.objects:
            self.session_ends.emit()
            work.prompt_nodes.sync((), work.volume_node)
        self.end_session()
        self.times.forget()
        work.parameter.volume, work.parameter.segmentation = volume, segmentation
        work.parameter.segment_id = kept.segment_id
        if volume is not None:
            self.times.restore(kept.sessions)
            self.begin_session(volume, restored=True)
        work.notify(*(topic for topic in Topic if topic is not Topic.MESSAGE))

    # ------------------------------------------------------------------------------------------ the segmentation

    def set_segmentation(self, node: Handle | None) -> None:
        """Write into this segmentation; None = one is made when the first segment is added."""
        work = self._work
        if node is self.segmentation_node:
            return
        if work.passing is not None:
            raise SessionError(work.no_session)
        volume = work.volume_node
        if node is not None and volume is not None:
            work.scene.segmentations.check(node, volume)
        self.save()
        if work.session is not None and work.session.objects:
            self.session_ends.emit()
            work.prompt_nodes.sync((), volume)  # they come back with the segmentation
        work.parameter.segmentation = node
        self.times.forget_sessions()
        if volume is not None:
            self.end_session()
            self.begin_session(volume, restored=True)
            if work.segment_ids and work.session is not None and not work.session.objects:
                name = work.scene.segmentations.name(node) if node is not None else ""
                text = _('The masks of the segmentation "{name}" are used as they are, without prompts.')
                work.show_message(text.format(name=name))
        work.notify(*(topic for topic in Topic if topic is not Topic.MESSAGE))

    def _attach(self, node: Handle) -> None:
        work = self._work
        listener = SegmentsListener(
            on_modified=self._projector.edited_elsewhere,
            on_added=self._segment_added,
            on_removed=self._segment_removed,
            on_renamed=self._segment_looks,
            on_recolored=self._segment_looks,
        )
        work.masks = work.scene.segmentations.open(node, work.volume_node, listener)
        ids = work.masks.segment_ids()
        saved = work.parameter.segment_id
        work.segment_id = saved if saved in ids else next(iter(ids), None)

    def ensure_segmentation(self) -> None:
        """Make a segmentation if there is none."""
        volume = self._work.usable_volume()[0]
        if self._work.masks is None:
            node = self._work.scene.segmentations.create(volume)
            self._work.parameter.segmentation = node
            self._attach(node)
            self._work.notify(Topic.INPUTS)

    def add_segment(self, name: str | None = None, terminology: str | None = None) -> str:
        """Add an empty segment and select it; a segmentation is made if there is none. Returns its segment id.

        `terminology` is Slicer's serialized entry that says what it is; None = it stays open.
        """
        work = self._work
        self.ensure_segmentation()
        assert work.masks is not None
        taken = {work.masks.name(each) for each in work.masks.segment_ids()}
        numbered = (f"Segment_{number}" for number in range(1, len(taken) + 2))
        new = name or next(each for each in numbered if each not in taken)
        segment_id = work.masks.add(new, color_of(len(taken)))  # Slicer's first colors are pale on CT and MR
        if terminology:
            work.masks.set_terminology(segment_id, terminology)
        self.select_segment(segment_id)
        work.notify(Topic.INPUTS, Topic.SEGMENTS)
        return segment_id

    def discard_segment(self, segment_id: str) -> None:
        """Delete a segment that was added and never had a prompt or a mask; no step of undo."""
        if self._work.masks is not None:
            self._discarded = segment_id
            self._work.masks.remove(segment_id)
            self._discarded = None

    def select_segment(self, segment_id: str) -> None:
        """Let prompts go to this segment."""
        work = self._work
        if segment_id not in work.segment_ids:
            raise SessionError(_("There is no segment {segment!r}.").format(segment=segment_id))
        if segment_id == work.segment_id:
            return
        work.segment_id = work.parameter.segment_id = segment_id
        self._projector.prompts()
        self.segment_selected.emit()
        work.notify(Topic.SEGMENTS, Topic.PROMPTS, Topic.MASKS, Topic.VIEW)

    def _segment_added(self, segment_id: str) -> None:
        if self._work.segment_id is None:
            self._work.segment_id = segment_id
        self._projector.outside_segment_added(segment_id)
        self._work.notify(Topic.SEGMENTS)

    def _segment_removed(self, segment_id: str, axis: SliceAxis, edits: Mapping[int, Mask]) -> None:
        """A segment was deleted, with edits that had not been reported: undo brings these back, too."""
        work = self._work
        if work.scene.is_closing:
            return
        if work.segment_id == segment_id:
            work.segment_id = next(iter(work.segment_ids), None)
        object_id = work.object_ids.pop(segment_id, None)
        if object_id is None:
            self._projector.outside_segment_gone(segment_id)
        elif (
            segment_id == self._discarded
            and work.session is not None
            and work.session.forget_object(object_id)
        ):
            self._projector.prompts()
        elif work.session is not None:
            work.removed_ids[object_id] = segment_id
            obj = work.session.object(object_id)
            if edits and obj.locked:
                work.session.adopt_masks(object_id, edits, axis, work.session.claims.new())
            elif edits:
                work.session.edit_masks(object_id, edits, axis)
            work.session.delete_object(object_id, even_locked=True)
            self._projector.after_change([object_id])
            self.object_removed.emit(object_id)
            if obj.prompts or obj.masks:  # it may have been Undo in Segment Editor, which was meant otherwise
                work.show_message(_('"{segment}" was deleted: Undo brings it back.').format(segment=obj.name))
        work.notify(Topic.SEGMENTS, Topic.PROMPTS, Topic.MASKS, Topic.HISTORY)

    def _segment_looks(self, segment_id: str) -> None:
        """A segment was renamed or recolored."""
        work = self._work
        object_id = work.object_ids.get(segment_id)
        if object_id is not None and work.session is not None and work.masks is not None:
            obj, name = work.session.object(object_id), work.masks.name(segment_id)
            if name != obj.name:
                name = unused_name(work.session, name)
            work.session.describe(object_id, name, work.masks.color(segment_id))
            self._projector.prompts()
        work.notify(Topic.SEGMENTS)

    # ----------------------------------------------------------------------------------------------------- scene

    def save(self) -> None:
        """Write the session into the scene, with what another module has edited until now."""
        if self._work.masks is not None:
            self._projector.take_edits()
        self._write()

    def _changed(self, topic: Topic) -> None:
        """Keep the session in the scene up to date: Slicer sends no event before it saves a scene."""
        if topic in _SAVED:
            seconds = _SAVE_SECONDS * (1 if self._work.running is None else 10)
            self._work.poller.schedule("save", seconds, self._write)

    def _write(self) -> None:
        work = self._work
        work.poller.unschedule("save")
        if work.volume_node is None or work.session is None or work.masks is None or work.scene.is_closing:
            return
        has_content = any(obj.prompts or obj.masks for obj in work.session.objects)
        text = (
            write_state(
                work.session,
                work.masks,
                work.object_ids,
                work.network,
                work.window,
                work.stale,
                work.scores,
                [
                    SavedChannel(work.scene.volumes.name(each.node), each.spec, each.window)
                    for each in work.channels
                ],
            )
            if has_content
            else None
        )
        pair, further = (work.volume_node, work.segmentation_node), [each.node for each in work.channels]
        kept = [each for each in work.parameter.session_channels(*pair, work.time) if each is not None]
        if text != work.parameter.session_of(*pair, work.time) or (text and kept != further):
            work.parameter.set_session_of(*pair, text, work.time, further)

    def _node_removed(self) -> None:
        work = self._work
        if work.scene.is_closing:
            return
        work.parameter.drop_lost_sessions()
        if work.passing is not None and not work.scene.volumes.is_there(work.passing):
            self.times.forget()
            work.notify(*(topic for topic in Topic if topic is not Topic.MESSAGE))
        if work.volume_node is None:
            return
        self.times.look()
        if not work.scene.volumes.is_there(work.volume_node):
            name = work.scene.volumes.name(work.volume_node)
            self.end_session()
            work.prompt_nodes.sync((), None)
            text = _('The volume "{volume}" was deleted: its session has ended, its masks stay.')
            work.show_message(text.format(volume=name), Level.WARNING)
        elif work.masks is not None and work.parameter.segmentation is None:
            volume = work.volume_node
            self.end_session()
            work.prompt_nodes.sync((), volume)
            work.parameter.drop_lost_sessions()
            self.begin_session(volume)
            work.show_message(_("The segmentation was deleted, and its session with it."), Level.WARNING)
        else:
            self.channels.node_removed()
            return
        work.notify(*(topic for topic in Topic if topic is not Topic.MESSAGE))

    def _scene_closes(self) -> None:
        self.end_session(closing=True)
        self.times.forget()

    def _scene_closed(self) -> None:
        self._work.notify(*(topic for topic in Topic if topic is not Topic.MESSAGE))

    def _scene_loaded(self) -> None:
        """Take over the choices of a scene that was loaded, and its session."""
        work = self._work
        saved = work.parameter
        work.window_spec, work.tier, work.overlap = saved.window_spec, saved.tier, saved.overlap
        work.checkpoint = saved.checkpoint or work.checkpoint
        if saved.volume is not None and saved.volume is not work.volume_node:
            try:
                self.set_volume(saved.volume)
            except MedSAMError as error:
                work.show_error(error)

    def _close(self) -> None:
        if not self._work.scene.is_closing:
            self.save()
        self.end_session(closing=True)
        self.times.forget()


def _unless_closed(work: Workspace, act: Callable[[], None]) -> Callable[[], None]:
    """`act`, as long as the controller is not closed."""

    def called() -> None:
        if not work.closed:
            act()

    return called
