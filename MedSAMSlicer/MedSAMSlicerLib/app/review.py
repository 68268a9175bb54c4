"""Moving through the slices of the selected segment: the doubtful ones, the key slices, and the strip of all."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.errors import SessionError
from ..core.masks import MaskState
from ..core.scores import MaskScore, is_carried, review_order
from ..core.segment_object import SegmentObject
from ..core.translation import tr as _
from .extents import extent_mm, middle_of
from .projector import Projector
from .segment_facts import SegmentFact, SharedVoxels, all_shared, measured
from .state import SliceMark, SliceState
from .workspace import Workspace

_DOUBTED_ABSENCE = 0.5
"""A slice without the object is doubtful if the network is less certain of that."""


class Review:
    """The marks of the strip, and the slices that its buttons lead to."""

    def __init__(self, work: Workspace, projector: Projector) -> None:
        self._work, self._projector = work, projector
        self._run: tuple[int, ...] | None = None  # object, propagation and scoring that `_visited` belongs to
        self._visited: set[int] = set()  # slices that were shown since

    @property
    def slices(self) -> tuple[SliceState, ...]:
        """Every slice of the selected segment along its axis; empty before its first prompt."""
        obj, session = self._work.selected_object, self._work.session
        if obj is None or session is None or obj.axis is None:
            return ()
        pending, scores = session.pending_slices(obj.id), self._work.scores.of(obj)
        count = session.geometry.slice_count(obj.axis)
        return tuple(_state(obj, index, pending, scores.get(index)) for index in range(count))

    @property
    def shown_index(self) -> int | None:
        """The slice along the axis of the selected segment that the views show; None before its first prompt."""
        obj = self._work.selected_object
        if obj is None or obj.axis is None:
            return None
        shown = self._work.shown()
        return shown.index if shown is not None and shown.axis == obj.axis else None

    def next_doubtful(self) -> int:
        """Show the most doubtful slice, then the next with each call, in all views; return its index."""
        obj = self._along()
        order = doubtful_slices(obj, self._work.scores.of(obj))
        if not order:
            raise SessionError(_("No slices left to review."))
        run = obj.id, self._work.scorings, obj.propagations
        if self._run != run:
            same = self._run is not None and self._run[:2] == run[:2]
            self._visited = {index for index in self._visited if same and _is_started(obj, index)}
            self._run = run
        indices = [index for _doubt, index in order]
        left = [index for index in indices if index not in self._visited]
        if not left:
            self._visited.clear()
        index = (left or indices)[0]
        self._visited.add(index)
        self.show_object(index)
        return index

    def previous_key_slice(self) -> int:
        """Show the next lower slice with prompts or a mask of the user; returns its index."""
        return self._key_slice(-1)

    def next_key_slice(self) -> int:
        """Show the next higher slice with prompts or a mask of the user; returns its index."""
        return self._key_slice(1)

    def measure(self) -> SegmentFact | None:
        """Volume, diameters and overlaps of the selected segment, measured now; None without a segment."""
        return measured(self._work, self._projector)

    def shared_voxels(self) -> tuple[SharedVoxels, ...]:
        """Return what segments have in common, counted now, each pair once, the largest first."""
        return all_shared(self._work)

    def _key_slice(self, step: int) -> int:
        """Show the nearest key slice above (1) or below (-1) the shown one."""
        obj, shown = self._along(), self.shown_index
        keys = sorted(obj.key_slices)
        if not keys:
            raise SessionError(_('"{segment}" has no key slice yet: add a prompt.').format(segment=obj.name))
        if shown is None:
            found = keys[0] if step > 0 else keys[-1]
        else:
            beyond = [key for key in keys if (key - shown) * step > 0]
            if not beyond:
                above = _('"{segment}" has no key slice above slice {index}.')
                below = _('"{segment}" has no key slice below slice {index}.')
                text = above if step > 0 else below
                raise SessionError(text.format(segment=obj.name, index=shown))
            found = min(beyond, key=lambda key: abs(key - shown))
        self.show_slice(found)
        return found

    def show_object(self, index: int) -> None:
        """Show a slice of the selected segment, with the segment in the middle of all views and large enough to see."""
        obj = self._along()
        self.show_slice(index)
        session, place = self._work.usable_volume()[1], middle_of(obj, index)
        if place is not None and obj.axis is not None:
            volume = self._work.volume_node
            middle = session.geometry.slice_to_ras([place], index, obj.axis)[0]
            self._work.scene.views.show_around(volume, middle.tolist(), extent_mm(obj, session.geometry))

    def show_slice(self, index: int) -> None:
        """Show a slice of the selected segment in all views that cut its axis."""
        obj = self._along()
        volume, session = self._work.usable_volume()
        assert obj.axis is not None
        last = session.geometry.slice_count(obj.axis) - 1
        if not 0 <= index <= last:
            raise SessionError(
                _("Slice {index} does not exist: there are slices 0 to {last}.").format(
                    index=index, last=last
                )
            )
        self._work.scene.views.show_slice(volume, obj.axis, index)

    def _along(self) -> SegmentObject:
        self._work.usable_volume()
        obj = self._work.selected_object
        if obj is None or obj.axis is None:
            raise SessionError(_("Add a first prompt to the segment."))
        return obj


def has_doubtful(obj: SegmentObject, scores: Mapping[int, MaskScore]) -> bool:
    """Return whether there are slices, computed by the network or scored by it, that the user has not reviewed."""
    return bool(_unseen(obj) or _scored(obj, scores))


def doubtful_slices(
    obj: SegmentObject, scores: Mapping[int, MaskScore] | None = None
) -> list[tuple[float, int]]:
    """Doubted pixels and index of the slices that the user has not reviewed, those with the most first.

    Doubted are (1 - confidence) times the pixels of the mask, or of the larger mask beside an empty slice: a doubt
    about a large cross-section is worth more of the user's time. Slivers at both ends of the object come last. Of
    masks made elsewhere the network's `scores` say how many pixels it doubts.
    """
    areas = {index: stored.mask.count for index, stored in obj.masks.items()}
    doubted = {index: score.doubted for index, score in _scored(obj, scores or {}).items()}
    for index, confidence in _unseen(obj).items():
        area = areas[index] or max(areas.get(index - 1, 0), areas.get(index + 1, 0))
        doubted[index] = (1.0 - confidence) * area
    return [(doubted[index], index) for index in review_order(doubted, areas)]


def _scored(obj: SegmentObject, scores: Mapping[int, MaskScore]) -> dict[int, MaskScore]:
    """The scores of slices that nobody prompted or accepted, but of empty ones that seem to be rightly so."""
    return {
        index: score
        for index, score in scores.items()
        if is_carried(obj, index)
        or (
            _is_started(obj, index)
            and not obj.prompts_on(index)
            and (not obj.masks[index].mask.is_empty or score.confidence < _DOUBTED_ABSENCE)
        )
    }


def _is_started(obj: SegmentObject, index: int) -> bool:
    """Return whether a slice has the mask that the object started from."""
    stored = obj.masks.get(index)
    return stored is not None and stored.state is MaskState.STARTED


def _unseen(obj: SegmentObject) -> dict[int, float]:
    """Confidence of the computed slices without prompts that are not the user's, but where the object surely is not."""
    prompted = {prompt.slice.index for prompt in obj.prompts}
    return {
        index: stored.confidence
        for index, stored in obj.masks.items()
        if stored.confidence is not None
        and not stored.is_kept
        and index not in prompted
        and (not stored.mask.is_empty or stored.confidence < _DOUBTED_ABSENCE)
    }


def _state(obj: SegmentObject, index: int, pending: frozenset[int], score: MaskScore | None) -> SliceState:
    stored = obj.masks.get(index)
    confidence = None if stored is None else stored.confidence
    if score is not None and (confidence is None or is_carried(obj, index)):
        confidence = score.confidence  # of a carried mask: the network only repeats what it is given
    if stored is not None and stored.state is MaskState.STARTED:
        if stored.mask.is_empty and (confidence is None or confidence >= _DOUBTED_ABSENCE):
            return SliceState(index, None, SliceMark.NONE)
        return SliceState(index, confidence, SliceMark.STARTED)
    if stored is not None and stored.is_kept:
        accepted = stored.state is MaskState.ACCEPTED
        return SliceState(index, confidence, SliceMark.ACCEPTED if accepted else SliceMark.EDITED)
    if obj.prompts_on(index):
        return SliceState(index, confidence, SliceMark.PROMPTED)
    if index in pending:
        return SliceState(index, confidence, SliceMark.PENDING)
    return SliceState(index, confidence, SliceMark.NONE if stored is None else SliceMark.PREDICTED)
