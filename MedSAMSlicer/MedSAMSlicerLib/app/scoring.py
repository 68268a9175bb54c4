"""Review of a segment that was made elsewhere: the network scores its slices in the background, and no voxel changes.

The scores stand in the strip, and "Next doubtful" goes by them. They are asked for in short jobs, one after the other:
previews and propagations come in between.
"""

from __future__ import annotations

import time

from ..core.errors import Canceled, MedSAMError, SessionError
from ..core.masks import MaskState
from ..core.scores import MaskScore, masks_beside
from ..core.segment_object import SegmentObject
from ..core.translation import tr as _
from .enabled import reason
from .inputs import Inputs
from .jobs import ScoreJob, ScoreRun, SliceScored
from .network_inputs import NetworkInputs
from .propagation import Propagation
from .review import doubtful_slices
from .starting import Starting
from .state import Action, NetworkState, RunProgress, Topic
from .worker import Ticket
from .workspace import Workspace


class Scoring:
    """Scores the slices of the selected segment, one review at a time."""

    def __init__(
        self,
        work: Workspace,
        starting: Starting,
        inputs: Inputs,
        network: NetworkInputs,
        runs: Propagation,
    ) -> None:
        self._work, self._starting = work, starting
        self._run: ScoreRun | None = None
        self._ticket: Ticket | None = None
        self._done = 0
        self._began = 0.0
        self._silent = False
        work.closing.connect(self.abandon)
        inputs.session_ends.connect(self.abandon)
        inputs.object_removed.connect(self._object_removed)
        network.ready.connect(self._network_ready)
        runs.finished.connect(self._run_finished)

    @property
    def busy(self) -> bool:
        """Return whether a review is under way."""
        return self._run is not None

    @property
    def progress(self) -> RunProgress | None:
        """The progress of the review under way."""
        run = self._run
        if run is None:
            return None
        return RunProgress.since(self._began, self._done, len(run.wanted), _("Reviewing"))

    def review(self) -> None:
        """Score the slices of the selected segment; returns at once.

        Its masks are taken as a start, as `Starting.start` does, if they are not yet: a correction then changes its own
        slice alone, unless the user has chosen otherwise.
        Slices that have a score already are scored again only if masks beside them have changed, or the network has.

        Raises:
            MedSAMError: another review is under way, the segment is empty, the network is not there, ...
        """
        work = self._work
        why = reason(work, Action.REVIEW)
        if why is not None:
            raise SessionError(why)
        if work.selected_object is None or work.selected_object.start is None:
            self._starting.start(self._starting.chosen_reach or 0)
        obj = work.selected_object
        assert obj is not None
        assert obj.axis is not None
        wanted = work.scores.outdated(obj, _reviewable(obj))
        if not wanted:
            self._show_end(obj)
            return
        work.scorings += 1
        self._begin(obj, wanted)
        work.show_message(_('Reviewing "{segment}": no voxel changes.').format(segment=obj.name))

    def cancel(self) -> None:
        """End the review within one slice; the scores so far stay."""
        if self._run is None:
            raise SessionError(_("Nothing is running."))
        done, total = self._done, len(self._run.wanted)
        self.abandon()
        self._work.notify(Topic.MASKS)
        text = _("The review was canceled; {done} of {total} slices have a score.")
        self._work.show_message(text.format(done=done, total=total))

    def abandon(self) -> None:
        """End the review silently, as when the session ends."""
        if self._run is None:
            return
        self._run = self._work.scoring = None
        if self._ticket is not None:
            self._work.worker.cancel(self._ticket)
        self._work.notify(Topic.RUN)

    def _object_removed(self, object_id: int) -> None:
        """A segment was deleted: its review ends."""
        if self._work.scoring == object_id:
            self.abandon()

    def _network_ready(self) -> None:
        """Another network, or another window: scores count until they are asked for again, a review begins again."""
        self._work.scores.outdate()

    def _run_finished(self, _run: int, before: dict[int, SegmentObject]) -> None:
        """A correction has changed masks: what was scored beside them is scored again, silently."""
        self._work.poller.soon(lambda: self._score_again([*before]))

    def _score_again(self, object_ids: list[int]) -> None:
        work = self._work
        ready = work.network.state is NetworkState.READY and work.running is None
        for obj in map(work.object, object_ids):
            if ready and self._run is None and obj is not None and obj.start is not None:
                overtaken = work.scores.overtaken(obj)
                if overtaken:
                    self._begin(obj, overtaken, silent=True)

    def _begin(self, obj: SegmentObject, wanted: list[int], silent: bool = False) -> None:
        """Begin to score slices of an object; `silent` without a message at the end."""
        assert obj.axis is not None
        masks = {index: stored.mask for index, stored in obj.masks.items()}
        self._run, self._done, self._began = ScoreRun(obj.axis, masks, tuple(wanted)), 0, time.perf_counter()
        self._silent, self._work.scoring = silent, obj.id
        self._go_on()
        self._work.notify(Topic.RUN)

    def _go_on(self) -> None:
        """Hand in the next few slices."""
        run, work = self._run, self._work
        if run is not None:
            self._ticket = work.worker.submit(
                ScoreJob(run), lambda found: self._take(run, found), lambda error: self._end(run, error)
            )
            work.poller.start()

    def _take(self, run: ScoreRun, found: SliceScored) -> None:
        obj = self._work.object(self._work.scoring)
        if run is not self._run or obj is None:
            return
        self._done += 1
        beside = masks_beside(run.masks, found.index)
        score = MaskScore(run.masks[found.index], found.doubted, found.confidence, beside)
        self._work.scores.put(obj.id, found.index, score)

    def _end(self, run: ScoreRun, error: MedSAMError | None) -> None:
        """A job is done: go on with the next slices, or end the review."""
        if run is not self._run:
            return
        obj = self._work.object(self._work.scoring)
        if error is None and not run.finished and obj is not None and obj.start is not None:
            self._go_on()
            self._work.notify(Topic.RUN)  # the strip shows more; the scene holds it at the end
            return
        self._run = self._ticket = self._work.scoring = None
        self._work.notify(Topic.RUN, Topic.MASKS)
        if isinstance(error, Canceled):
            text = _("The review stopped because another network or window was chosen: start it again.")
            self._work.show_message(text)
        elif error is not None:
            self._work.show_error(error)
        elif obj is not None and obj.start is not None and not self._silent:
            self._show_end(obj)

    def _show_end(self, obj: SegmentObject) -> None:
        order = doubtful_slices(obj, self._work.scores.of(obj))
        if not order:
            text = _('"{segment}" was reviewed: no slices left to review.')
            self._work.show_message(text.format(segment=obj.name))
            return
        text = _(
            '"{segment}" was reviewed: slice {index} is the most doubtful of {count}. Next doubtful shows it; correct '
            "it with a prompt, or accept it."
        )
        self._work.show_message(text.format(segment=obj.name, index=order[0][1], count=len(order)))


def _reviewable(obj: SegmentObject) -> list[int]:
    """The slices with masks that the object started from: those that are not empty, and the empty ones beside them."""
    filled = {index for index, stored in obj.masks.items() if not stored.mask.is_empty}
    near = filled | {beside for index in filled for beside in (index - 1, index + 1)}
    return [index for index in sorted(near & obj.masks.keys()) if obj.masks[index].state is MaskState.STARTED]
