"""Previews: the mask of a slice for the prompts that it has, asked of the worker after each change."""

from __future__ import annotations

from ..core.errors import Canceled, MedSAMError
from ..core.prompts import Prompt
from ..core.segment_object import SegmentObject, kept_as_prompts
from ..core.session import Session
from .jobs import FillJob, ObjectToRun, PreviewJob, SecondLookJob, SliceFound
from .neighbors import Neighbors
from .projector import Projector
from .state import NetworkState
from .worker import Ticket
from .workspace import Workspace


class Previews:
    """Requests missing previews, and puts them into the session."""

    def __init__(self, work: Workspace, projector: Projector) -> None:
        self._work, self._projector = work, projector
        self._neighbors = Neighbors(work)
        self._requested: set[tuple[int, int, tuple[Prompt, ...]]] = set()
        self._second_looks: dict[tuple[int, int], Ticket] = {}  # by object and slice
        projector.projected.connect(self.request)

    def forget(self) -> None:
        """The session ends, or another network is there: what was asked for does not come any more."""
        self._requested.clear()
        self._second_looks.clear()

    def request(self) -> None:
        """Request the masks of all slices whose prompts have no preview yet."""
        work = self._work
        if work.session is None or work.network.state is not NetworkState.READY:
            return
        for obj in work.session.objects:
            for index in obj.pending_previews():
                self._request(work.session, obj, index)

    def request_again(self) -> None:
        """Another network is ready."""
        self.forget()
        self.request()

    def _request(self, session: Session, obj: SegmentObject, index: int) -> None:
        work, projector = self._work, self._projector
        axis, prompts = obj.axis, obj.prompts_on(index)
        key = (obj.id, index, prompts)
        if axis is None or key in self._requested:
            return
        self._requested.add(key)
        to_run = ObjectToRun(obj.id, axis, kept_as_prompts(obj))
        outdated = self._second_looks.pop((obj.id, index), None)
        if outdated is not None:
            work.worker.cancel(outdated)

        def show(found: SliceFound | None) -> None:
            if found is None or session is not work.session:
                return
            projector.take_edits()
            now = work.object(obj.id)
            if now is None or now.axis != axis:
                return
            claim = projector.claim(work.segment_of(obj.id))
            around = self._neighbors.of(now, {index: found.mask})
            others = self._neighbors.voxels(around, axis, [index]).get(index)
            if session.apply_preview(obj.id, index, prompts, found.mask, found.confidence, claim, others):
                projector.show_preview(session.object(obj.id), index, found.mask)

        def end(error: MedSAMError | None) -> None:
            if error is None and session is work.session:
                look = SecondLookJob(to_run, index)
                self._second_looks[obj.id, index] = work.worker.submit(look, show, _nothing)
            if error is None or isinstance(error, Canceled):
                self._requested.discard(key)  # one that failed is not requested again: it would fail again
                if session is work.session:
                    self.request()  # prompts may be again those whose preview was given up or came too early
            else:
                work.show_error(error)
            if work.running is None:
                work.worker.submit(FillJob(axis, index), _nothing, _nothing)

        work.worker.submit(PreviewJob(to_run, index), show, end)
        work.poller.start()


def _nothing(_: object) -> None:
    """Nothing waits for it."""
