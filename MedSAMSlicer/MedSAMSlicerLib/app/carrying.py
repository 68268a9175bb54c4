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
from .jobs import CarryJob, SliceCarried, SliceInTime, SlicesDone
from .ports import Handle
from .projector import Projector
from .propagation import Propagation
from .state import Action, Level, NetworkState, RunProgress, Topic
from .time_points import TimePoints
from .worker import Ticket
from .workspace import Workspace

_STEP_SECONDS = 0.05


@dataclass(frozen=True)
class _CarriedSegment:
    """The part of one segment that is carried."""

    object_id: int  # at the time point where carrying began
    axis: SliceAxis
    slice_range: tuple[int, int] | None
    cleanup: Cleanup


@dataclass
class _CarryRun:
    """One run of carrying masks.

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
    sources: dict[str, _CarriedSegment]
    returns: bool
    at: int
    stage: str = "follow"
    ticket: Ticket | None = None
    counted: SlicesDone | None = None
    found: dict[int, dict[int, dict[int, MaskScore]]] = field(default_factory=dict)
    total: int = 0
    run_is_done: bool = False
    reached: list[str] = field(default_factory=list)
    spared: list[str] = field(default_factory=list)


class Carrying:
    """Carries masks through time, one run at a time."""

    def __init__(
        self, work: Workspace, projector: Projector, times: TimePoints, editing: Editing, runs: Propagation
    ) -> None:
        self._work, self._projector = work, projector
        self._times, self._editing, self._runs = times, editing, runs
        self._carry_run: _CarryRun | None = None
        runs.finished.connect(self._run_finished)
        work.closing.connect(self._forget)

    @property
    def busy(self) -> bool:
        """Return whether masks are being carried."""
        return self._carry_run is not None

    @property
    def progress(self) -> RunProgress | None:
        """The progress."""
        carry_run = self._carry_run
        if carry_run is None:
            return None
        if carry_run.stage == "follow":
            counted = carry_run.counted or SlicesDone(0, 0)
            text = _("Tracking {total} slices through time").format(total=counted.total)
            return RunProgress(counted.done, counted.total, None, text)
        done = carry_run.total - len(carry_run.targets)
        text = _("Time point {done} of {total}").format(done=done, total=carry_run.total)
        return RunProgress(done - 1, carry_run.total, None, text)

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
        carry_run = self._planned(objects, all_times)
        shown = sorted((carry_run.start, *carry_run.targets))
        volumes = self._volumes(carry_run.volume, shown)
        self._carry_run, work.carrying = carry_run, True
        self._follow(carry_run, CarryJob(volumes, shown.index(carry_run.start), slices), shown)
        work.notify(Topic.RUN)
        self._step_soon()

    def cancel(self) -> None:
        """Stop; what was carried to time points before stays, and is a step of undo there.

        Raises:
            SessionError: nothing is running.
        """
        carry_run = self._carry_run
        if carry_run is None:
            raise SessionError(_("Nothing is running."))
        if self._runs.busy:
            self._runs.cancel()
        self._come_back(carry_run)
        text = _("Carrying was canceled. Time points that are done: {count}.")
        self._work.show_message(text.format(count=len(carry_run.reached)))

    # -- inside

    def _planned(self, objects: Sequence[SegmentObject], all_times: bool) -> _CarryRun:
        """Return a run that carries the masks of some objects to the next time points, or to all others."""
        work, volume = self._work, self._work.usable_volume()[0]
        now = work.time_point
        assert now is not None
        after = [*range(now.number + 1, now.count)]
        targets = [*after, *reversed(range(now.number))] if all_times else after[:1]
        sources = {
            segment_id: _CarriedSegment(obj.id, obj.axis, obj.slice_range, obj.cleanup)
            for obj in objects
            for segment_id in [work.segment_of(obj.id)]
            if segment_id is not None and obj.axis is not None
        }
        return _CarryRun(
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

    def _follow(self, carry_run: _CarryRun, job: CarryJob, numbers: Sequence[int]) -> None:
        """Let the worker follow the slices through these time points."""
        work = self._work

        def take(value: SliceCarried | SlicesDone) -> None:
            if isinstance(value, SlicesDone):
                carry_run.counted = value
                work.notify(Topic.RUN)
            elif value.mask.any():
                masks = carry_run.found.setdefault(numbers[value.frame], {}).setdefault(value.object_id, {})
                doubted = (1.0 - value.confidence) * float(value.mask.sum())
                masks[value.index] = MaskScore(PackedMask.from_array(value.mask), doubted, value.confidence)

        def end(error: MedSAMError | None) -> None:
            if carry_run is not self._carry_run:
                return
            if error is None:
                carry_run.stage = "go"
            else:
                self._end()
                if not isinstance(error, Canceled):
                    work.show_error(error)

        carry_run.ticket = work.worker.submit(job, take, end)

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
        carry_run, work = self._carry_run, self._work
        if carry_run is None:
            return
        if not self._is_shown(carry_run):
            self._end()
            if work.scene.volumes.is_there(carry_run.volume):
                text = _(
                    "Carrying stopped because another time point was shown. Time points that are done: {count}."
                )
                work.show_message(text.format(count=len(carry_run.reached)), Level.WARNING)
            return
        try:
            self._advance(carry_run)
        except MedSAMError as error:
            self._come_back(carry_run)
            work.show_error(error)
        if self._carry_run is not None:
            self._step_soon()

    def _is_shown(self, carry_run: _CarryRun) -> bool:
        """Return whether the volume shows the time point at which the run is."""
        work = self._work
        if work.volume_node is not carry_run.volume:
            return False
        return work.time_point is not None and work.time_point.number == carry_run.at

    def _advance(self, carry_run: _CarryRun) -> None:
        work = self._work
        if carry_run.stage == "go":
            if carry_run.targets:
                if carry_run.returns and carry_run.at == carry_run.start:
                    self._editing.stop_placing()
                    work.scene.times.hold_view(carry_run.volume, work.segmentation_node)
                    work.view_held = True
                carry_run.at = carry_run.targets.pop(0)
                self._show(carry_run, carry_run.at)
                carry_run.stage = "wait"
            elif carry_run.returns:
                carry_run.at, carry_run.stage = carry_run.start, "return"
                self._show(carry_run, carry_run.start)
            else:
                self._arrived(carry_run)
        elif carry_run.stage == "return" and work.network.state in (NetworkState.READY, NetworkState.FAILED):
            self._arrived(carry_run)
        elif carry_run.stage == "wait" and work.network.state is NetworkState.FAILED:
            raise SessionError(work.network.failure)
        elif carry_run.stage == "wait" and work.network.state is NetworkState.READY:
            carry_run.run_is_done = False
            carry_run.stage = "run" if self._begin(carry_run) else "go"
        elif carry_run.stage == "run" and not self._runs.busy:
            if not carry_run.run_is_done:  # canceled, or it failed, which a message has said
                self._come_back(carry_run)
                return
            assert work.time_point is not None
            carry_run.reached.append(work.time_point.text)
            if work.segmentation_node is not None:  # whose surfaces are shown if those of the last one are
                self._times.share_segments(work.segmentation_node, carry_run.volume)
            carry_run.stage = "go"

    def _show(self, carry_run: _CarryRun, number: int) -> None:
        self._work.scene.times.select(carry_run.volume, number)
        self._times.arrive()

    def _begin(self, carry_run: _CarryRun) -> bool:
        """Give the segments of this time point their prompts and propagate, and say whether there is anything."""
        work = self._work
        session = work.usable_volume()[1]
        found, run = carry_run.found.pop(carry_run.at, {}), session.new_run()
        chosen: list[int] = []
        for segment_id, source in carry_run.sources.items():
            masks = found.get(source.object_id)
            if not masks or segment_id not in work.segment_ids:
                continue
            object_id = self._editing.object_of(segment_id)
            obj = session.object(object_id)
            if obj.locked or _is_of_the_user(obj):
                assert work.time_point is not None
                carry_run.spared.append(work.time_point.text)
                continue
            after = _carried(obj, source, masks)
            PromptSet(session.geometry, source.axis, (after.object_prompts,))  # refuses what does not fit
            session.change(object_id, f"Carry from {carry_run.name}", _becomes(after), run)
            for index, score in masks.items():
                work.scores.put(object_id, index, score)
            chosen.append(object_id)
        if chosen:
            self._runs.propagate_objects(tuple(chosen), run)
            self._projector.after_change(chosen)
        return bool(chosen)

    def _run_finished(self, _number: int, _before: object) -> None:
        if self._carry_run is not None:
            self._carry_run.run_is_done = True

    def _arrived(self, carry_run: _CarryRun) -> None:
        self._end()
        one, several = (
            _("Carried from {name} to {time}."),
            _("Carried from {name} to {count} of {total} time points."),
        )
        reached = carry_run.reached
        text = one if carry_run.total == len(reached) == 1 else several
        text = text.format(
            name=carry_run.name,
            time=reached[-1] if reached else "",
            count=len(reached),
            total=carry_run.total,
        )
        if carry_run.spared:
            own = _("Time points with your own prompts or masks were left unchanged: {names}.")
            text = f"{text} {own.format(names=', '.join(dict.fromkeys(carry_run.spared)))}"
        lost = carry_run.total - len(reached) - len(dict.fromkeys(carry_run.spared))
        if lost > 0:
            gone = _("Time points where the object was not found: {count}.").format(count=lost)
            text = f"{text} {gone}"
        self._work.show_message(text, Level.WARNING if lost > 0 else Level.INFO)

    def _come_back(self, carry_run: _CarryRun) -> None:
        """End early; the views show the time point that they showed all the time."""
        self._end()
        if (
            carry_run.returns
            and carry_run.at != carry_run.start
            and self._work.volume_node is carry_run.volume
        ):
            self._show(carry_run, carry_run.start)

    def _end(self) -> None:
        carry_run = self._carry_run
        self._forget()
        if carry_run is not None and carry_run.ticket is not None and carry_run.stage == "follow":
            self._work.worker.cancel(carry_run.ticket)
        self._work.notify(Topic.RUN)

    def _forget(self) -> None:
        self._carry_run, self._work.carrying, self._work.view_held = None, False, False
        self._work.scene.times.release_view()
        self._work.poller.unschedule("carry")


def _is_of_the_user(obj: SegmentObject) -> bool:
    """Return whether the user drew, accepted or prompted anything; masks that were carried before are not counted."""
    return bool(obj.kept_slices) or any(not isinstance(prompt, MaskPrompt) for prompt in obj.prompts)


def _becomes(after: SegmentObject) -> Callable[[SegmentObject], SegmentObject]:
    return lambda before: after


def _carried(obj: SegmentObject, source: _CarriedSegment, masks: dict[int, MaskScore]) -> SegmentObject:
    """The object with masks as its only prompts, as if it had never had any."""
    prompts = tuple(
        MaskPrompt(SliceRef(source.axis, index), masks[index].mask.to_array()) for index in sorted(masks)
    )
    given = ObjectPrompts(obj.name, obj.color, prompts, source.slice_range)
    return replace(SegmentObject(obj.id, given), axis=source.axis, cleanup=source.cleanup)
