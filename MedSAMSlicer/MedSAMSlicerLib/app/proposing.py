"""Suggestions: what the network finds on the slice in view by itself, as candidate segments to accept or reject."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.errors import Canceled, MedSAMError, SessionError
from ..core.prompts import MaskPrompt, SliceRef
from ..core.translation import tr as _
from .editing import Editing
from .enabled import reason
from .inputs import Inputs
from .jobs import CandidateFound, ProposeJob, Search
from .ports import Segments, ShownSlice
from .state import Action, Level, RunProgress, Topic
from .worker import Ticket
from .workspace import Workspace

CANDIDATE_TAG = "MedSAMSlicer.Candidate"


@dataclass(frozen=True)
class Candidate:
    """A segment that was suggested and is neither accepted nor rejected.

    Attributes:
        segment_id, name: of its segment.
        certainty: IoU as the network estimates it, 0..1.
        area_mm2: of its mask on the slice that was searched.
    """

    segment_id: str
    name: str
    certainty: float
    area_mm2: float


def is_candidate(work: Workspace, segment_id: str | None) -> bool:
    """Return whether a segment was suggested and is neither accepted nor rejected."""
    if work.masks is None or segment_id is None or segment_id not in work.segment_ids:
        return False
    return bool(work.masks.tag(segment_id, CANDIDATE_TAG))


class Proposing:
    """Searches one slice at a time; each candidate is a segment with its mask as a prompt.

    Attributes:
        search: how slices are searched.
    """

    def __init__(self, work: Workspace, editing: Editing, inputs: Inputs) -> None:
        self._work, self._editing, self._inputs = work, editing, inputs
        self.search = Search()
        self._job: ProposeJob | None = None
        self._ticket: Ticket | None = None
        self._began = 0.0
        work.closing.connect(self.abandon)
        inputs.session_ends.connect(self.abandon)

    @property
    def busy(self) -> bool:
        """Return whether a slice is being searched."""
        return self._job is not None

    @property
    def progress(self) -> RunProgress | None:
        """The progress of the search."""
        job = self._job
        return None if job is None else RunProgress.since(self._began, *job.progress, _("Searching"))

    def suggest(self) -> None:
        """Search the slice in view; returns at once, candidates arrive as segments.

        Raises:
            MedSAMError: the network is not there, or something else is running.
        """
        work = self._work
        why = reason(work, Action.SUGGEST)
        if why is not None:
            raise SessionError(why)
        volume = work.usable_volume()[0]
        shown = work.scene.views.shown(volume, None)
        if shown is None:
            raise SessionError(_("Show the slice to search in a slice view first."))
        assert work.geometry is not None
        known: list[npt.NDArray[np.bool_]] = []
        if work.masks is not None:
            for segment_id in work.segment_ids:
                known += work.masks.read_slices(segment_id, shown.axis, [shown.index]).values()
        job = self._job = ProposeJob(shown.axis, shown.index, self.search, tuple(known))
        self._began, found = time.perf_counter(), list[CandidateFound]()
        self._work.searching = True
        self._ticket = work.worker.submit(
            job, found.append, lambda error: self._end(job, shown, found, error)
        )
        work.poller.start()
        work.show_message(_("Searching slice {index}.").format(index=shown.index))
        work.notify(Topic.RUN)

    def cancel(self) -> None:
        """Give up the search."""
        if self._job is None:
            raise SessionError(_("Nothing is running."))
        self.abandon()
        self._work.show_message(_("The search was canceled; nothing was suggested."))

    def abandon(self) -> None:
        """Give up the search silently, as when the session ends."""
        if self._ticket is not None:
            self._work.worker.cancel(self._ticket)
        if self._job is not None:
            self._finish()

    # ------------------------------------------------------------------------------------------------ candidates

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Return what was suggested and is neither accepted nor rejected, in the order of the table."""
        masks = self._work.masks
        tags = (
            {} if masks is None else {each: masks.tag(each, CANDIDATE_TAG) for each in self._work.segment_ids}
        )
        found = []
        for segment_id, tag in tags.items():
            if tag and masks is not None:
                certainty, _slash, area = tag.partition("/")
                found.append(
                    Candidate(segment_id, masks.name(segment_id), float(certainty), float(area or 0))
                )
        return tuple(found)

    def accept(self, segment_id: str) -> None:
        """Keep a candidate as a segment: it can be propagated, corrected and named."""
        masks = self._candidate(segment_id)
        masks.set_tag(segment_id, CANDIDATE_TAG, "")
        self._inputs.select_segment(segment_id)
        self._work.notify(Topic.SEGMENTS)
        self._editing.prompts_changed.emit(self._editing.object_of(segment_id))  # it may grow now

    def reject(self, segment_id: str) -> None:
        """Delete a candidate; Undo brings it back."""
        self._candidate(segment_id).remove(segment_id)

    def reject_rest(self) -> None:
        """Delete all candidates that are left."""
        for each in self.candidates:
            self.reject(each.segment_id)

    def _candidate(self, segment_id: str) -> Segments:
        masks = self._work.masks
        if masks is None or all(each.segment_id != segment_id for each in self.candidates):
            raise SessionError(_("Select a suggestion in the list first."))
        return masks

    def _finish(self) -> None:
        """Nothing is searched any more."""
        self._job = self._ticket = None
        self._work.searching = False
        self._work.notify(Topic.RUN)

    def _end(
        self, job: ProposeJob, shown: ShownSlice, found: list[CandidateFound], error: MedSAMError | None
    ) -> None:
        if job is not self._job:
            return
        self._finish()
        if isinstance(error, Canceled):
            return
        if error is not None:
            self._work.show_error(error)
            return
        try:
            for each in found:
                self._add(shown, each)
        except MedSAMError as failed:
            self._work.show_error(failed)
            return
        if not found:
            text = _("Nothing was found on slice {index}: draw a box around the object instead.")
            self._work.show_message(text.format(index=shown.index), Level.WARNING)
        else:
            text = _("{count} suggestions on slice {index}: accept those that you want, reject the others.")
            self._work.show_message(text.format(count=len(found), index=shown.index))

    def _add(self, shown: ShownSlice, found: CandidateFound) -> None:
        work = self._work
        segment_id = self._inputs.add_segment(work.free_name(_("Candidate {number}")))
        assert work.masks is not None
        assert work.session is not None
        across = work.session.geometry.in_plane_spacing(shown.axis)
        area = float(found.mask.sum()) * across[0] * across[1]
        work.masks.set_tag(segment_id, CANDIDATE_TAG, f"{found.certainty:.3f}/{area:.1f}")
        self._editing.add_prompt(MaskPrompt(SliceRef(shown.axis, shown.index), found.mask))
