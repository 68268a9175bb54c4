"""Propagation: one run at a time on the worker, its slices streamed into session and segment, and cancel.

A prompt given to an object while it is propagated ends the run at the next slice, is previewed, and the propagation
continues by itself with it: what was found before stays a step of its own. Prompts of other objects only interrupt the
run for their preview. There are never two runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import Canceled, InsufficientMemoryError, MedSAMError, SessionError
from ..core.segment_object import SegmentObject, kept_as_prompts
from ..core.session import Session
from ..core.translation import tr as _
from .enabled import reason
from .jobs import EstimateJob, ObjectToRun, PropagateJob, SliceFound, SlicesDone, SlicesGone
from .neighbors import Neighbors
from .projector import Projector
from .signals import Signal
from .state import Action, Level, RunEstimate, RunProgress, Topic
from .worker import Ticket
from .workspace import Workspace

BATCH_SECONDS = 0.15
"""How often streamed slices are written into the segment."""

_WRITING_SHARE = 0.25
"""At most this share of the main thread's time goes into writing."""


@dataclass
class _CurrentRun:
    """The propagation under way."""

    number: int  # the session's
    object_ids: tuple[int, ...]
    before: dict[int, SegmentObject]
    by_itself: bool = False  # begun by Live
    ticket: Ticket | None = None
    began: float = field(default_factory=time.perf_counter)
    counted: SlicesDone | None = None
    found: dict[int, dict[int, tuple[npt.NDArray[np.bool_], float | None]]] = field(default_factory=dict)
    streaming: ExitStack = field(default_factory=ExitStack)
    ending: str = ""  # "cancel", "again" or "abandon" once it is to end early


class Propagation:
    """Starts, feeds and ends runs.

    Signals:
        finished: a run is complete; with its number and the objects as they were before.
        canceled: the user ends the run under way.
    """

    def __init__(self, work: Workspace, projector: Projector) -> None:
        self._work, self._projector = work, projector
        self._neighbors = Neighbors(work)
        self.finished: Signal[[int, dict[int, SegmentObject]]] = Signal()
        self.canceled: Signal[[]] = Signal()
        work.time_left.connect(self.pause)
        self._run: _CurrentRun | None = None
        self._pause = BATCH_SECONDS
        self._offer: Callable[[], None] | None = None
        self.run_estimate: RunEstimate | None = None

    @property
    def busy(self) -> bool:
        """Return whether a propagation is under way."""
        return self._run is not None

    @property
    def progress(self) -> RunProgress | None:
        """The progress of the propagation under way."""
        run = self._run
        if run is None:
            return None
        if run.counted is None:
            return RunProgress(0, 0, None, _("Starting"))
        done, total = run.counted.done, max(run.counted.total, run.counted.done)
        text = _("Slice {done} of {total}") if done else _("Measuring memory and speed")
        return RunProgress.since(run.began, done, total, text.format(done=done, total=total))

    # -- starting

    def propagate(self, all_segments: bool = False, by_itself: bool = False) -> None:
        """Compute what is pending of the selected segment, or of all; returns at once. One step of undo.

        Where Live computes just that already, nothing is begun a second time; `by_itself` says that Live asks.

        Raises:
            MedSAMError: another run is under way, nothing is pending, the network is not there, ...
        """
        run = self._run
        grows = run is not None and run.by_itself and not run.ending
        if run is not None and grows and not all_segments and run.object_ids == (self._work.object_id,):
            return
        why = reason(self._work, Action.PROPAGATE_ALL if all_segments else Action.PROPAGATE)
        if why is not None:
            raise SessionError(why)
        self._work.usable_volume()
        if all_segments:
            chosen = tuple(obj.id for obj in self._work.due_objects())
        else:
            assert self._work.object_id is not None
            chosen = (self._work.object_id,)
        self._begin(chosen, by_itself=by_itself)

    def propagate_objects(self, object_ids: tuple[int, ...], run: int | None = None) -> None:
        """Compute what is pending of some objects, as part of a step with that `run`; the rest as :meth:`propagate`."""
        if self._run is not None:
            raise SessionError(_("A propagation is running: cancel it or wait until it ends."))
        self._begin(object_ids, run=run)

    def _begin(
        self,
        object_ids: tuple[int, ...],
        small: bool = False,
        run: int | None = None,
        by_itself: bool = False,
    ) -> None:
        work = self._work
        session = work.usable_volume()[1]
        before = {object_id: session.object(object_id) for object_id in object_ids}
        recompute = bool(work.stale & {*object_ids})
        number = session.begin_propagation(*object_ids, recompute=recompute, run=run)
        objects = tuple(
            self._to_run(session.object(object_id), before[object_id]) for object_id in object_ids
        )
        current = self._run = _CurrentRun(number, object_ids, before, by_itself)
        work.running = frozenset(object_ids)
        if work.masks is not None:
            current.streaming.enter_context(work.masks.streaming())
        current.ticket = work.worker.submit(
            PropagateJob(objects, small),
            lambda value: self._take(current, value),
            lambda error: self._end(current, error),
        )
        work.poller.start()
        work.notify(Topic.RUN, Topic.HISTORY, Topic.MASKS)

    def _to_run(self, obj: SegmentObject, before: SegmentObject) -> ObjectToRun:
        assert obj.axis is not None
        barred = self._neighbors.barred(obj)
        started = obj.start is not None
        return ObjectToRun(obj.id, obj.axis, kept_as_prompts(before), obj.unfinished, started, barred)

    # -- results

    def _take(self, run: _CurrentRun, value: Any) -> None:
        if run is not self._run or run.ending:
            return
        if isinstance(value, SliceFound):
            run.found.setdefault(value.object_id, {})[value.index] = (value.mask, value.confidence)
        elif isinstance(value, SlicesGone):
            obj = self._work.object(value.object_id)
            if obj is not None and obj.axis is not None and self._work.geometry is not None:
                empty = np.zeros(self._work.geometry.slice_shape(obj.axis), np.bool_)
                run.found.setdefault(obj.id, {}).update((index, (empty, None)) for index in value.indices)
        elif isinstance(value, SlicesDone):
            run.counted = value
        self._work.poller.schedule("batch", self._pause, lambda: self._write(run))

    def _write(self, run: _CurrentRun) -> None:
        """Streamed slices into session and segment; the more that takes, the longer the next batch waits."""
        self._work.poller.unschedule("batch")
        session = self._work.session
        if run is not self._run or run.ending or session is None:
            return
        began = time.perf_counter()
        self._projector.take_edits()
        found = [*run.found]
        try:
            self._keep(run, session)
        except MedSAMError as error:  # such as when the volume has just come under a non-linear transform
            self._work.show_error(error)
            self._stop("cancel")
            return
        spent = time.perf_counter() - began
        self._pause = max(BATCH_SECONDS, spent / _WRITING_SHARE)
        self._work.notify(Topic.RUN, *((Topic.MASKS, Topic.HISTORY) if found else ()))

    def _keep(self, run: _CurrentRun, session: Session, shown: bool = True) -> None:
        """Streamed slices into the session and, if `shown`, into the segments, which the next object then stops at."""
        found, run.found = run.found, {}
        for object_id, slices in found.items():
            obj = self._work.object(object_id)
            if obj is None or obj.axis is None:
                continue
            masks = {index: mask for index, (mask, _confidence) in slices.items()}
            confidences = {index: value for index, (_mask, value) in slices.items() if value is not None}
            claim = self._projector.claim(self._work.segment_of(object_id))
            others = self._neighbors.voxels(self._neighbors.of(obj), obj.axis, masks)
            session.apply_predictions(run.number, object_id, masks, confidences, claim, others)
            if shown:
                self._projector.masks([object_id])

    def _end(self, run: _CurrentRun, error: MedSAMError | None) -> None:
        if run is not self._run:
            run.streaming.close()
            return
        session = self._work.session
        if run.ending != "abandon":
            self._projector.take_edits()
        if session is not None and not run.ending:
            self._write(run)
        self._run = self._work.running = None
        self._work.poller.unschedule("batch")
        changed: tuple[int, ...] = run.object_ids
        if session is not None and run.ending != "abandon":
            if error is None and not run.ending:
                for object_id in run.object_ids:
                    session.end_propagation(run.number, object_id)
                self._work.stale -= {*run.object_ids}
                self.finished.emit(run.number, run.before)
            elif run.ending != "again":
                self._keep(run, session, shown=False)  # what was not written yet, for Redo
                changed = (*changed, *session.cancel_propagation(run.number))
            try:
                self._projector.after_change(dict.fromkeys(changed))
            except MedSAMError as unwritten:
                self._work.show_error(unwritten)
        run.streaming.close()
        self._work.notify(Topic.RUN, Topic.MASKS, Topic.HISTORY)
        if run.ending == "again":
            self._go_on(run)
        elif error is not None and not isinstance(error, Canceled):
            self._fail(run, error)

    def _fail(self, run: _CurrentRun, error: MedSAMError) -> None:
        """Show why the run ended; where less memory would do, that is offered."""
        if not isinstance(error, InsufficientMemoryError) or not error.less_will_do:
            self._work.show_error(error)
            return
        session = self._work.session

        def with_less() -> None:
            if session is self._work.session and self._run is None:
                self._begin(run.object_ids, small=True)

        self._offer = with_less
        self._work.offered_start_id = None
        self._work.show_message(str(error), Level.WARNING, _("Run with less memory"))

    def take_offer(self) -> None:
        """Run with less memory, as the last message offered."""
        offer, self._offer = self._offer, None
        if offer is None:
            raise SessionError(_("There is no offer to accept."))
        offer()

    # -- ending early

    def cancel(self) -> None:
        """End the run within one slice; the segment is as before, Redo brings back what was computed."""
        if self._run is None:
            raise SessionError(_("Nothing is running."))
        self._stop("cancel")
        self.canceled.emit()

    def pause(self) -> None:
        """The time point of the run is left: what the run has found stays, and the rest is computed when asked for."""
        run, session = self._run, self._work.session
        if run is None or session is None:
            return
        try:
            if run.ending == "cancel":
                self._projector.after_change(session.cancel_propagation(run.number))
            else:
                self._keep(run, session)
        except MedSAMError as error:
            self._work.show_error(error)
        self.abandon()
        if run.ending != "cancel" and self._work.time_point is not None:
            text = _(
                'The propagation at "{time}" was stopped when another time point was shown: its masks so far stay, '
                "and Propagate continues from there."
            )
            self._work.show_message(text.format(time=self._work.time_point.text), Level.WARNING)

    def abandon(self) -> None:
        """The session ends: so does the run, and nothing of it is written any more."""
        run = self._run
        if run is not None:
            self._stop("abandon")
            self._run = self._work.running = None
            self._work.poller.unschedule("batch")
            if self._work.scene.is_closing:
                run.streaming.pop_all()
            else:
                run.streaming.close()
        self._offer = None
        self.run_estimate = None

    def prompts_changed(self, object_id: int) -> None:
        """Prompts or range of an object were changed: a run of it is planned again."""
        self.run_estimate = None
        if self._run is not None and object_id in self._run.object_ids and not self._run.ending:
            self._stop("again")  # what was found and not written yet is handed out again by the next run

    def _stop(self, how: str) -> None:
        run = self._run
        if run is not None:
            run.ending = run.ending if run.ending in ("cancel", "abandon") else how
            if run.ticket is not None:
                self._work.worker.cancel(run.ticket)
            self._work.poller.start()

    def _go_on(self, run: _CurrentRun) -> None:
        """Begin again with the prompts that came meanwhile."""
        due = tuple(obj.id for obj in self._work.due_objects(run.object_ids))
        if due:
            try:
                self._begin(due, by_itself=run.by_itself)
            except MedSAMError as error:
                self._work.show_error(error)

    # -- before a run

    def estimate(self) -> None:
        """Find out what the next propagation would take; it arrives as `run_estimate`."""
        why = reason(self._work, Action.ESTIMATE)
        if why is not None:
            raise SessionError(why)
        session = self._work.usable_volume()[1]
        obj = self._work.selected_object
        assert obj is not None
        assert obj.axis is not None
        wanted = session.pending_slices(obj.id)
        job = EstimateJob((ObjectToRun(obj.id, obj.axis, kept_as_prompts(obj), wanted),))

        def show(found: RunEstimate) -> None:
            if session is self._work.session:
                self.run_estimate = found
                self._work.notify(Topic.RUN)

        self._work.worker.submit(job, show, lambda error: None)
        self._work.poller.start()
