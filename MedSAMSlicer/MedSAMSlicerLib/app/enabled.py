"""The reasons why something cannot be done now: the sentence for the tooltip of a disabled button."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..core.translation import tr as _
from .review import has_doubtful
from .state import Action, NetworkState
from .workspace import Workspace

Check = Callable[[Workspace], "str | None"]


def reason(work: Workspace, action: Action) -> str | None:
    """Return why `action` is not possible now, in one sentence; None when it is."""
    if work.closed:
        return _("The module is closed.")
    for check in _CHECKS[action]:
        why = check(work)
        if why is not None:
            return why
    return None


def _being_carried() -> str:
    return _("Masks are being carried through time: cancel it or wait until it ends.")


def _volume(work: Workspace) -> str | None:
    if work.view_held:
        return _being_carried()
    return None if work.session is not None else work.no_session


def _segment(work: Workspace) -> str | None:
    return None if work.segment_id is not None else _("Add or select a segment first.")


def _unlocked(work: Workspace) -> str | None:
    locked = work.segment_id is not None and work.is_locked(work.segment_id)
    return _("The segment is locked: unlock it first.") if locked else None


def _idle(work: Workspace) -> str | None:
    if work.carrying:
        return _being_carried()
    if work.running is None:
        return None
    return _("A propagation is running: cancel it or wait until it ends.")


def _network(work: Workspace) -> str | None:
    state = work.network.state
    if state is NetworkState.READY:
        return None
    if state is NetworkState.NOT_INSTALLED:
        return _("PyTorch must be installed first.")
    if state is NetworkState.FAILED:
        return _("The network cannot be used: {failure}").format(failure=work.network.failure)
    return _("Please wait: the network is being loaded.")


def _has_key_slice(work: Workspace) -> str | None:
    obj = work.selected_object
    if obj is None or not obj.key_slices:
        return _("Click on the object first: add a point, a box, a line or a stroke.")
    return None


def _inside(work: Workspace) -> str | None:
    obj = work.selected_object
    if obj is None or obj.kept_slices or any(getattr(prompt, "positive", True) for prompt in obj.prompts):
        return None
    return _("All prompts so far mark background: click on the object, too.")


def _points(work: Workspace) -> str | None:
    """A network that was trained on boxes only takes a click only as a correction of what a box gave."""
    if "point" in work.network.prompts:
        return None
    obj = work.selected_object
    if obj is not None and (obj.masks or any(prompt.has_extent for prompt in obj.prompts)):
        return None
    return _("This network accepts only boxes: draw a box around the object first.")


def _not_searching(work: Workspace) -> str | None:
    return _("A slice is being searched: cancel it or wait until it ends.") if work.searching else None


def _prompts(work: Workspace) -> str | None:
    obj = work.selected_object
    return None if obj is not None and obj.prompts else _("The segment has no prompts.")


def _axis(work: Workspace) -> str | None:
    obj = work.selected_object
    return None if obj is not None and obj.axis is not None else _("Add a first prompt to the segment.")


def _masks(work: Workspace) -> str | None:
    obj = work.selected_object
    return (
        None
        if obj is not None and obj.masks
        else _("The segment has no mask yet: click on the object first.")
    )


def _pending(work: Workspace) -> str | None:
    obj = work.selected_object
    if obj is None or work.due_objects([obj.id]):
        return None
    return _(
        "Every slice is up to date: correct one with a prompt, and the slices next to it are recomputed."
    )


def _any_due(work: Workspace) -> str | None:
    objects = [obj for obj in work.objects if not obj.locked and obj.key_slices]
    if not objects:
        return _("No unlocked segment has prompts.")
    if work.due_objects():
        return None
    return _("Every slice of every segment is up to date.")


def _shown_mask(work: Workspace) -> str | None:
    obj, shown = work.selected_object, work.shown()
    if obj is None or shown is None or shown.axis != obj.axis or shown.index not in obj.masks:
        return _("The segment has no mask on the slice that is shown.")
    return None


def _shown_kept(work: Workspace) -> str | None:
    obj, shown = work.selected_object, work.shown()
    if obj is None or shown is None or shown.axis != obj.axis or shown.index not in obj.kept_slices:
        return _("The slice that is shown is not accepted.")
    return None


def _predicted(work: Workspace) -> str | None:
    obj = work.selected_object
    if obj is None or not obj.masks.keys() - obj.kept_slices:
        return _("All computed slices are already accepted.")
    return None


def _doubtful(work: Workspace) -> str | None:
    obj = work.selected_object
    if obj is None or not has_doubtful(obj, work.scores.of(obj)):
        return _("No slices left to review.")
    return None


def _undo(work: Workspace) -> str | None:
    return None if work.session is not None and work.session.undo_label else _("There is nothing to undo.")


def _redo(work: Workspace) -> str | None:
    return None if work.session is not None and work.session.redo_label else _("There is nothing to redo.")


def _ranged(work: Workspace) -> str | None:
    obj = work.selected_object
    return None if obj is not None and obj.slice_range else _("The range is already the whole volume.")


def _changes(work: Workspace) -> str | None:
    return None if work.last_run else _("This segment has no propagation whose changes could be shown.")


def _started(work: Workspace) -> str | None:
    obj = work.selected_object
    return None if obj is not None and obj.start is not None else _("Start from this segment first.")


def _running(work: Workspace) -> str | None:
    busy = work.running is not None or work.scoring is not None or work.carrying or work.searching
    return None if busy else _("Nothing is running.")


def _not_scoring(work: Workspace) -> str | None:
    return None if work.scoring is None else _("A review is running: cancel it or wait until it ends.")


def _made_elsewhere(work: Workspace) -> str | None:
    obj = work.selected_object
    if obj is None or obj.start is not None or not obj.prompts:
        return None
    return _(
        "The network made this segment and is certain of its slices as the strip shows: press Next doubtful, "
        "or start from this segment first."
    )


def _in_time(work: Workspace) -> str | None:
    if work.time_point is None:
        return _("The volume is not one of a sequence.")
    return _("The sequence has only one time point.") if work.time_point.count < 2 else None


def _alone(work: Workspace) -> str | None:
    text = _("Masks are carried through one volume only: remove those under More volumes first.")
    return text if work.channels else None


def _not_last(work: Workspace) -> str | None:
    time = work.time_point
    last = time is not None and time.number == time.count - 1
    return _("This is the last time point.") if last else None


def _objects(work: Workspace) -> str | None:
    return None if work.session is not None and work.session.axes else _("No segment has prompts yet.")


_ON_SEGMENT = (_volume, _segment, _unlocked)
_CHECKS: Mapping[Action, tuple[Check, ...]] = {
    Action.ADD_SEGMENT: (_volume,),
    Action.PLACE: (_volume, _unlocked),
    Action.PLACE_POINT: (_volume, _unlocked, _points),
    Action.SCRIBBLE: (_volume, _unlocked, _points),
    Action.USE_CURRENT_MASK: _ON_SEGMENT,
    Action.SET_RANGE: (*_ON_SEGMENT, _axis),
    Action.CLEAR_RANGE: (*_ON_SEGMENT, _ranged),
    Action.REMOVE_PROMPTS: (*_ON_SEGMENT, _prompts),
    Action.PROPAGATE: (*_ON_SEGMENT, _idle, _has_key_slice, _inside, _network, _pending),
    Action.PROPAGATE_ALL: (_volume, _idle, _network, _any_due),
    Action.CARRY_NEXT: (_volume, _in_time, _not_last, _alone, _idle, _segment, _masks, _network),
    Action.CARRY_ALL: (_volume, _in_time, _alone, _idle, _segment, _masks, _network),
    Action.CANCEL: (_running,),
    Action.ACCEPT_SLICE: (*_ON_SEGMENT, _shown_mask),
    Action.ACCEPT_ALL: (*_ON_SEGMENT, _masks, _predicted),
    Action.RELEASE_SLICE: (*_ON_SEGMENT, _shown_kept),
    Action.LOCK: (_volume, _segment),
    Action.START_FROM_SEGMENT: (*_ON_SEGMENT, _idle),
    Action.SET_REACH: (*_ON_SEGMENT, _idle, _started),
    Action.REVIEW: (*_ON_SEGMENT, _idle, _not_scoring, _network, _made_elsewhere),
    Action.SUGGEST: (_volume, _idle, _not_searching, _network),
    Action.CLEANUP: _ON_SEGMENT,
    Action.NEXT_DOUBTFUL: (_volume, _segment, _doubtful),
    Action.PREVIOUS_KEY_SLICE: (_volume, _segment, _has_key_slice),
    Action.NEXT_KEY_SLICE: (_volume, _segment, _has_key_slice),
    Action.SHOW_CHANGES: (_volume, _changes),
    Action.KEEP_CHANGES: (_volume, _changes),
    Action.REVERT_CHANGES: (_volume, _idle, _changes),
    Action.UNDO: (_volume, _undo),
    Action.REDO: (_volume, _idle, _redo),
    Action.EXPORT_PROMPTS: (_volume, _objects),
    Action.IMPORT_PROMPTS: (_volume, _idle),
    Action.ESTIMATE: (*_ON_SEGMENT, _idle, _has_key_slice, _inside, _network),
}
