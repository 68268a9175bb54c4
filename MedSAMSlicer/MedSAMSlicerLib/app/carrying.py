"""Carrying masks from one time point of a sequence to the next, or to all others.

The masks of prompted slices are followed through time, each on its own slice. At every time point they are then mask
prompts, from which the mask of the volume is propagated; both together are one step of undo there. The time points are
selected one after the other while that goes on; with all of them, the views stay where it began. Where the user has
given prompts or drawn masks nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt

from ..core.cleanups import Cleanup
from ..core.errors import Canceled, MedSAMError, SessionError, VolumeError
from ..core.geometry import SliceAxis
from ..core.masks import MaskState, PackedMask
from ..core.prompts import MaskPrompt, ObjectPrompts, PromptSet, SliceRef
from ..core.scores import MaskScore
from ..core.segment_object import SegmentObject
from ..core.translation import tr as _
from .editing import Editing
from .enabled import reason
from .jobs import Advance, CarryJob, SliceCarried, SliceInTime
from .ports import Handle
from .projector import Projector
from .propagation import Propagation
from .state import Action, Level, NetworkState, RunProgress, Topic
from .time_points import TimePoints
from .worker import Ticket
from .workspace import Workspace

_STEP_SECONDS = 0.05


@dataclass(frozen=True)
class _Source:
    """What is carried of one segment."""

    object_id: int  # at the time point where carrying began
    axis: SliceAxis
    slice_range: tuple[int, int] | None
    cleanup: Cleanup


@dataclass
class _Journey:
    """Masks on their way.

    Attributes:
        volume: of the sequence.
        start: the time point where it began; `name` is what the user calls it.
        targets: time points that are still to be reached, in this order.
        sources: by segment.
        returns: whether the first time point is shown again at the end.
        at: the time point that has to be shown now.
        stage: "follow" while slices are followed through time, "go", "wait" and "run" at each target, then "return".
        found: by time point and object, masks by slice, and how certain the network is of them.
        reached, spared: names of time points that got masks, and of those where the user's own masks stay.
    """

    volume: Handle
    start: int
    name: str
    targets: list[int]
    sources: dict[str, _Source]
    returns: bool
    at: int
    stage: str = "follow"
    ticket: Ticket | None = None
    counted: Advance | None = None
    found: dict[int, dict[int, dict[int, MaskScore]]] = field(default_factory=dict)
    total: int = 0
    run_is_done: bool = False
    reached: list[str] = field(default_factory=list)
    spared: list[str] = field(default_factory=list)


class Carrying:
    """Carries masks through time, one journey at a time."""

    def __init__(
        self, work: Workspace, projector: Projector, times: TimePoints, editing: Editing, runs: Propagation
    ) -> None:
        self._work, self._projector = work, projector
        self._times, self._editing, self._runs = times, editing, runs
        self._journey: _Journey | None = None
        runs.finished.connect(self._run_finished)
        work.closing.connect(self._forget)

    @property
    def busy(self) -> bool:
        """Return whether masks are on their way."""
        return self._journey is not None

    @property
    def progress(self) -> RunProgress | None:
        """How far they are."""
        journey = self._journey
        if journey is None:
            return None
        if journey.stage == "follow":
            counted = journey.counted or Advance(0, 0)
            text = _("Tracking {total} slices through time").format(total=counted.total)
            return RunProgress(counted.done, counted.total, None, text)
        done = journey.total - len(journey.targets)
        text = _("Time point {done} of {total}").format(done=done, total=journey.total)
        return RunProgress(done - 1, journey.total, None, text)

    def carry(self, all_times: bool = False, every_slice: bool = False, all_segments: bool = False) -> None:
        """Carry masks to the next time point; returns at once.

        Args:
            all_times: to all time points, after and before this one, not only to the next.
            every_slice: carry every slice that has a mask, not only those that the user prompted, accepted or drew.
            all_segments: those of all segments, not only of the selected one.

        Raises:
            MedSAMError: there is nothing to carry, no other time point, a propagation is under way, ...
        """
        work = self._work
        why = reason(work, Action.CARRY_ALL if all_times else Action.CARRY_NEXT)
        if why is not None:
            raise SessionError(why)
        self._projector.take_edits()
        assert work.selected_object is not None
        objects = work.objects if all_segments else (work.selected_object,)
        slices = tuple(each for obj in objects for each in self._slices(obj, every_slice))
        if not slices:
            text = _("No prompted slice has a mask: propagate first, or carry every slice.")
            raise SessionError(text)
        journey = self._planned(objects, all_times)
        shown = sorted((journey.start, *journey.targets))
        volumes = self._volumes(journey.volume, shown)
        self._journey, work.carrying = journey, True
        self._follow(journey, CarryJob(volumes, shown.index(journey.start), slices), shown)
        work.notify(Topic.RUN)
        self._step_soon()

    def cancel(self) -> None:
        """Stop; what was carried to time points before stays, and is a step of undo there.

        Raises:
            SessionError: nothing is on its way.
        """
        journey = self._journey
        if journey is None:
            raise SessionError(_("Nothing is running."))
        if self._runs.busy:
            self._runs.cancel()
        self._come_back(journey)
        text = _("Carrying was canceled. Time points that are done: {count}.")
        self._work.show_message(text.format(count=len(journey.reached)))

    # -- inside

    def _planned(self, objects: Sequence[SegmentObject], all_times: bool) -> _Journey:
        """Where the masks of some objects go."""
        work, volume = self._work, self._work.usable_volume()[0]
        now = work.time_point
        assert now is not None
        after = [*range(now.number + 1, now.count)]
        targets = [*after, *reversed(range(now.number))] if all_times else after[:1]
        sources = {
            segment_id: _Source(obj.id, obj.axis, obj.slice_range, obj.cleanup)
            for obj in objects
            for segment_id in [work.segment_of(obj.id)]
            if segment_id is not None and obj.axis is not None
        }
        return _Journey(
            volume, now.number, now.text, targets, sources, all_times, now.number, total=len(targets)
        )

    def _volumes(self, volume: Handle, numbers: Sequence[int]) -> tuple[npt.NDArray[Any], ...]:
        """The voxels of some time points; VolumeError unless all have the slices of the one that is shown."""
        work = self._work
        found = tuple(work.scene.times.array(volume, number) for number in numbers)
        for number, array in zip(numbers, found, strict=True):
            if work.array is None or array.shape != work.array.shape:
                text = _('The volume at "{time}" has other slices than the one shown.')
                raise VolumeError(text.format(time=work.scene.times.name_of(volume, number)))
        return found

    def _follow(self, journey: _Journey, job: CarryJob, numbers: Sequence[int]) -> None:
        """Let the worker follow the slices through these time points."""
        work = self._work

        def take(value: SliceCarried | Advance) -> None:
            if isinstance(value, Advance):
                journey.counted = value
                work.notify(Topic.RUN)
            elif value.mask.any():
                masks = journey.found.setdefault(numbers[value.frame], {}).setdefault(value.object_id, {})
                doubted = (1.0 - value.confidence) * float(value.mask.sum())
                masks[value.index] = MaskScore(PackedMask.from_array(value.mask), doubted, value.confidence)

        def end(error: MedSAMError | None) -> None:
            if journey is not self._journey:
                return
            if error is None:
                journey.stage = "go"
            else:
                self._end()
                if not isinstance(error, Canceled):
                    work.show_error(error)

        journey.ticket = work.worker.submit(job, take, end)

    def _slices(self, obj: SegmentObject, every: bool) -> list[SliceInTime]:
        """The slices of an object that are carried, with the masks that are shown."""
        if obj.axis is None:
            return []
        masks = {index: mask for index, mask in self._projector.masks_of(obj).items() if not mask.is_empty}
        own = (MaskState.ACCEPTED, MaskState.EDITED)
        given = {prompt.slice.index for prompt in obj.prompts}
        given |= {index for index, stored in obj.masks.items() if stored.state in own}
        chosen = sorted(masks if every else masks.keys() & given)
        return [SliceInTime(obj.id, obj.axis, index, masks[index].to_array()) for index in chosen]

    def _step_soon(self) -> None:
        self._work.poller.schedule("carry", _STEP_SECONDS, self._step)

    def _step(self) -> None:
        journey, work = self._journey, self._work
        if journey is None:
            return
        if not self._is_shown(journey):
            self._end()
            if work.scene.volumes.is_there(journey.volume):
                text = _(
                    "Carrying stopped because another time point was shown. Time points that are done: {count}."
                )
                work.show_message(text.format(count=len(journey.reached)), Level.WARNING)
            return
        try:
            self._advance(journey)
        except MedSAMError as error:
            self._come_back(journey)
            work.show_error(error)
        if self._journey is not None:
            self._step_soon()

    def _is_shown(self, journey: _Journey) -> bool:
        """Return whether the volume shows the time point at which the journey is."""
        work = self._work
        if work.volume_node is not journey.volume:
            return False
        return work.time_point is not None and work.time_point.number == journey.at

    def _advance(self, journey: _Journey) -> None:
        work = self._work
        if journey.stage == "go":
            if journey.targets:
                if journey.returns and journey.at == journey.start:
                    self._editing.stop_placing()
                    work.scene.times.hold_view(journey.volume, work.segmentation_node)
                    work.view_held = True
                journey.at = journey.targets.pop(0)
                self._show(journey, journey.at)
                journey.stage = "wait"
            elif journey.returns:
                journey.at, journey.stage = journey.start, "return"
                self._show(journey, journey.start)
            else:
                self._arrived(journey)
        elif journey.stage == "return" and work.network.state in (NetworkState.READY, NetworkState.FAILED):
            self._arrived(journey)
        elif journey.stage == "wait" and work.network.state is NetworkState.FAILED:
            raise SessionError(work.network.failure)
        elif journey.stage == "wait" and work.network.state is NetworkState.READY:
            journey.run_is_done = False
            journey.stage = "run" if self._begin(journey) else "go"
        elif journey.stage == "run" and not self._runs.busy:
            if not journey.run_is_done:  # canceled, or it failed, which a message has said
                self._come_back(journey)
                return
            assert work.time_point is not None
            journey.reached.append(work.time_point.text)
            if work.segmentation_node is not None:  # whose surfaces are shown if those of the last one are
                self._times.share_segments(work.segmentation_node, journey.volume)
            journey.stage = "go"

    def _show(self, journey: _Journey, number: int) -> None:
        self._work.scene.times.select(journey.volume, number)
        self._times.arrive()

    def _begin(self, journey: _Journey) -> bool:
        """Give the segments of this time point their prompts and propagate, and say whether there is anything."""
        work = self._work
        session = work.usable_volume()[1]
        found, run = journey.found.pop(journey.at, {}), session.new_run()
        chosen: list[int] = []
        for segment_id, source in journey.sources.items():
            masks = found.get(source.object_id)
            if not masks or segment_id not in work.segment_ids:
                continue
            object_id = self._editing.object_of(segment_id)
            obj = session.object(object_id)
            if obj.locked or _is_of_the_user(obj):
                assert work.time_point is not None
                journey.spared.append(work.time_point.text)
                continue
            after = _carried(obj, source, masks)
            PromptSet(session.geometry, source.axis, (after.object_prompts,))  # refuses what does not fit
            session.change(object_id, f"Carry from {journey.name}", _becomes(after), run)
            for index, score in masks.items():
                work.scores.put(object_id, index, score)
            chosen.append(object_id)
        if chosen:
            self._runs.propagate_objects(tuple(chosen), run)
            self._projector.after_change(chosen)
        return bool(chosen)

    def _run_finished(self, _number: int, _before: object) -> None:
        if self._journey is not None:
            self._journey.run_is_done = True

    def _arrived(self, journey: _Journey) -> None:
        self._end()
        one, several = (
            _("Carried from {name} to {time}."),
            _("Carried from {name} to {count} of {total} time points."),
        )
        reached = journey.reached
        text = one if journey.total == len(reached) == 1 else several
        text = text.format(
            name=journey.name, time=reached[-1] if reached else "", count=len(reached), total=journey.total
        )
        if journey.spared:
            own = _("Time points with your own prompts or masks were left unchanged: {names}.")
            text = f"{text} {own.format(names=', '.join(dict.fromkeys(journey.spared)))}"
        lost = journey.total - len(reached) - len(dict.fromkeys(journey.spared))
        if lost > 0:
            gone = _("Time points where the object was not found: {count}.").format(count=lost)
            text = f"{text} {gone}"
        self._work.show_message(text, Level.WARNING if lost > 0 else Level.INFO)

    def _come_back(self, journey: _Journey) -> None:
        """End early; the views show the time point that they showed all the time."""
        self._end()
        if journey.returns and journey.at != journey.start and self._work.volume_node is journey.volume:
            self._show(journey, journey.start)

    def _end(self) -> None:
        journey = self._journey
        self._forget()
        if journey is not None and journey.ticket is not None and journey.stage == "follow":
            self._work.worker.cancel(journey.ticket)
        self._work.notify(Topic.RUN)

    def _forget(self) -> None:
        self._journey, self._work.carrying, self._work.view_held = None, False, False
        self._work.scene.times.release_view()
        self._work.poller.unschedule("carry")


def _is_of_the_user(obj: SegmentObject) -> bool:
    """Return whether the user drew, accepted or prompted anything; masks that were carried before are not counted."""
    return bool(obj.kept_slices) or any(not isinstance(prompt, MaskPrompt) for prompt in obj.prompts)


def _becomes(after: SegmentObject) -> Callable[[SegmentObject], SegmentObject]:
    return lambda before: after


def _carried(obj: SegmentObject, source: _Source, masks: dict[int, MaskScore]) -> SegmentObject:
    """The object with masks as its only prompts, as if it had never had any."""
    prompts = tuple(
        MaskPrompt(SliceRef(source.axis, index), masks[index].mask.to_array()) for index in sorted(masks)
    )
    given = ObjectPrompts(obj.name, obj.color, prompts, source.slice_range)
    return replace(SegmentObject(obj.id, given), axis=source.axis, cleanup=source.cleanup)
