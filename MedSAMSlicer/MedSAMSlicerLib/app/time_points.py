"""The time points of a sequence: each has a session of its own, suspended and resumed with its history.

Slicer copies another time point into the volume and into the segmentation. Just before that the session of the present
one is saved and suspended; once time stands still, that of the new one begins. So no mask gets into another time point,
and nothing counts as a change of the volume.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from ..core.errors import MedSAMError
from ..core.intensity import Window
from ..core.scores import MaskScores
from ..core.session import Session
from .editing import unused_name
from .network_inputs import NetworkInputs
from .ports import Handle, Tool, Watch
from .projector import Projector
from .state import Topic
from .time_series import TimePoint
from .workspace import Workspace

_PASSING_SECONDS = 0.15  # a time point that is shown for less was only passed on the way to another


class Sessions(Protocol):
    """Begins and ends sessions: :class:`.inputs.Inputs`."""

    def save(self) -> None:
        """Write the session into the scene."""
        ...

    def end_session(self) -> None:
        """Forget session and volume."""
        ...

    def begin_session(self, node: Handle, restored: bool = False) -> None:
        """Work on a volume."""
        ...


class TimePoints:
    """Leaves and reaches time points.

    Attributes:
        window: that of the time point before, for one that has none yet; None without one before.
    """

    def __init__(
        self, work: Workspace, projector: Projector, network: NetworkInputs, sessions: Sessions
    ) -> None:
        self._work, self._projector, self._network, self._sessions = work, projector, network, sessions
        self.window: Window | None = None
        self._watch: Watch | None = None
        self._held: dict[str, HeldSession] = {}  # by `TimePoint.value`; "" without a sequence
        self._before: str | None = None  # the time point that was left last
        self._tool: Tool | None = None

    @property
    def shown(self) -> TimePoint | None:
        """The time point that is shown, also while the sequence plays; None for a volume of no sequence."""
        work = self._work
        return work.time_point if work.passing is None else work.scene.times.of(work.passing)

    def follow(self, volume: Handle) -> None:
        """Watch which time point a volume shows."""
        if self._watch is not None:
            self._watch.close()
        self._watch = self._work.scene.times.watch(volume, self._leave, self._pass)

    def _leave(self) -> None:
        """Another time point is about to be shown: suspend the session while its masks are still there."""
        work = self._work
        node, time = work.volume_node, work.time_point
        if node is None or time is None or work.scene.is_closing:
            return
        work.time_left.emit()
        self._tool, self.window, self._before = work.placing_tool, work.window, time.value
        self._sessions.save()
        if work.masks is not None and work.masks.surface_lacks:
            work.masks.update_surface()
        held = hold(work)
        if held is not None:
            self._held[time.value] = held
        self._sessions.end_session()
        work.passing = node

    def _pass(self) -> None:
        """Another time point is shown: its session begins once time stands still."""
        work = self._work
        if work.passing is not None:
            work.notify(*(topic for topic in Topic if topic is not Topic.MESSAGE))
            work.poller.schedule("time point", _PASSING_SECONDS, self.arrive, restart=True)

    def arrive(self) -> None:
        """Go on with the session of the time point that is shown, unless the sequence plays."""
        work, node = self._work, self._work.passing
        work.poller.unschedule("time point")
        time = None if node is None else work.scene.times.of(node)
        if node is None or (time is not None and time.playing):
            return
        work.passing = None
        try:
            work.scene.volumes.check_usable(node)
            self._sessions.begin_session(node, restored=True)
            self._take_names()
        except MedSAMError as error:
            work.show_error(error)
        tool, self._tool = self._tool, None
        work.notify(*(topic for topic in Topic if topic is not Topic.MESSAGE))
        work.time_reached.emit(tool)

    def look(self) -> None:
        """A node was deleted: where that was the sequence, its volume is an ordinary one with the session it has."""
        work = self._work
        there = work.volume_node is not None and work.scene.volumes.is_there(work.volume_node)
        if there and work.time_point is not None and work.scene.times.of(work.volume_node) is None:
            work.time_point = None
            self.forget_sessions()
            self._sessions.save()

    def _take_names(self) -> None:
        """Objects are called as their segments, which may have got a name or color at another time point."""
        work = self._work
        for segment_id, object_id in work.object_ids.items():
            obj = work.object(object_id)
            if obj is None or work.masks is None or work.session is None:
                continue
            name, color = work.masks.name(segment_id), work.masks.color(segment_id)
            if (name, color) != (obj.name, obj.color):
                new = name if name == obj.name else unused_name(work.session, name)
                work.session.describe(object_id, new, color)
                self._projector.prompts()

    def share_segments(self, segmentation: Handle, volume: Handle) -> None:
        """Every time point has the segments of the one before; empty, and without those that were deleted there."""
        time = self._work.time_point
        if self._before is not None and time is not None:
            held = self._held.get(time.value)
            deleted = () if held is None else held.removed_ids.values()
            self._work.scene.times.share_segments(segmentation, volume, self._before, deleted)

    def suspend(self) -> dict[str, HeldSession]:
        """Return the sessions of all time points, that of the present one included, for `restore`."""
        held = hold(self._work)
        return {**self._held, **({} if held is None else {self._key: held})}

    def restore(self, sessions: dict[str, HeldSession]) -> None:
        """Restore suspended sessions, each when its time point is reached."""
        self._held = dict(sessions)

    @property
    def _key(self) -> str:
        return "" if self._work.time_point is None else self._work.time_point.value

    def resume(self) -> bool:
        """Go on with the session of this time point, if it was left before, and say whether it was."""
        work = self._work
        held = self._held.pop(self._key, None)
        if held is None or not resume(work, self._projector, held):
            return False
        self._projector.prompts()
        self._network.restore(None, held.window)
        work.stale.update(held.stale)
        if held.computed_with != (work.checkpoint, work.tier):
            self._network.mark_stale()
        return True

    def forget_sessions(self) -> None:
        """Another segmentation: the sessions are those that the scene holds."""
        self._held.clear()
        self._before = None

    def forget(self) -> None:
        """Another volume, or none."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self.forget_sessions()
        self._tool = self.window = self._work.passing = self._work.time_point = None
        self._work.poller.unschedule("time point")


@dataclass(frozen=True, eq=False)
class HeldSession:
    """The parts of a session that it needs to continue.

    Attributes:
        session: with prompts, masks and history.
        object_ids, removed_ids, stale, scores: as in :class:`.workspace.Workspace`.
        window: what the network saw.
        computed_with: checkpoint and arithmetic.
        digests: of the slices of each segment, to find out what was changed in it meanwhile.
    """

    session: Session
    object_ids: dict[str, int]
    removed_ids: dict[int, str]
    stale: set[int]
    scores: MaskScores
    window: Window | None
    computed_with: tuple[str, str | None]
    digests: dict[str, dict[int, str]] = field(default_factory=dict)


def hold(work: Workspace) -> HeldSession | None:
    """The session that is worked on now; None when there is none, or nothing in it."""
    if work.session is None or work.masks is None or not (work.object_ids or work.removed_ids):
        return None
    there = work.masks.segment_ids()
    return HeldSession(
        work.session,
        dict(work.object_ids),
        dict(work.removed_ids),
        {*work.stale},
        work.scores,
        work.window,
        (work.checkpoint, work.tier),
        {each: work.masks.digests(each) for each in work.object_ids if each in there},
    )


def resume(work: Workspace, projector: Projector, held: HeldSession) -> bool:
    """Go on with a session, with what was changed in its segments meanwhile as edits of the user.

    Nothing happens, and False is returned, where the volume lies elsewhere by now or a segment is gone.
    """
    if work.masks is None or work.geometry != held.session.geometry:
        return False
    if not {*held.object_ids} <= {*work.masks.segment_ids()}:
        return False
    work.session = held.session
    work.object_ids.update(held.object_ids)
    work.removed_ids.update(held.removed_ids)
    work.scores = held.scores
    work.window = held.window  # before anything is prepared: it is no other than before
    projector.restored()
    for segment_id, before in held.digests.items():
        obj = work.object(held.object_ids[segment_id])
        if obj is None or obj.axis is None:
            continue
        now = work.masks.digests(segment_id)
        indices = [index for index in now.keys() | before.keys() if now.get(index) != before.get(index)]
        edits = work.masks.read_slices(segment_id, obj.axis, sorted(indices)) if indices else {}
        if edits:
            projector.edited_meanwhile(segment_id, edits)
    return True
