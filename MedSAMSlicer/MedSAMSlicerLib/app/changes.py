"""Show what changed: the voxels that the last run added and removed, in two colors, to keep or to revert."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..core.errors import SessionError
from ..core.segment_object import SegmentObject
from ..core.translation import tr as _
from .projector import Projector
from .state import ChangedVoxels, Topic
from .workspace import Workspace


class Changes:
    """The difference between a segment before and after its last run."""

    def __init__(self, work: Workspace, projector: Projector) -> None:
        self._work, self._projector = work, projector
        self.shown = False
        work.closing.connect(self.forget)

    def run_finished(self, run: int, before: dict[int, SegmentObject]) -> None:
        """A run is complete, on objects that were as `before`."""
        for object_id, obj in before.items():
            self._work.before_runs[object_id] = (run, obj)
        self._draw()

    def forget(self) -> None:
        """The session ends."""
        self._work.before_runs.clear()
        self.shown = False
        self._work.scene.views.hide_changes()
        self._work.scene.views.hide_earlier()

    @property
    def last(self) -> ChangedVoxels | None:
        """Return what the last run of the selected segment changed; None when there is nothing to keep or revert."""
        found = self._work.last_run
        if found is None:
            return None
        added, removed = self._difference(*found)
        count = [sum(int(mask.sum()) for mask in masks.values()) for masks in (added, removed)]
        return ChangedVoxels(count[0], count[1], tuple(sorted({*added, *removed})))

    def show(self, shown: bool) -> None:
        """Show in color what the last run added and removed."""
        if shown and self._work.last_run is None:
            raise SessionError(_("This segment has no propagation whose changes could be shown."))
        self.shown = shown
        self._draw()
        self._work.notify(Topic.MASKS)

    def show_before(self, shown: bool) -> None:
        """Show the mask that the segment had before its prompts changed last, in place of its own, or stop showing it.

        Raises:
            SessionError: no prompt of the segment can be taken back.
        """
        work, obj = self._work, self._work.selected_object
        if not shown:
            work.scene.views.hide_earlier()
            return
        before = self._before_last_prompt()
        if obj is None or before is None or obj.axis is None or work.segment_id is None:
            raise SessionError(_("This segment has no prompt whose effect could be shown."))
        masks = {} if before.axis != obj.axis else self._projector.masks_of(before)
        arrays = {index: mask.to_array() for index, mask in masks.items()}
        work.scene.views.show_earlier(
            work.volume_node, work.segmentation_node, work.segment_id, obj.axis, arrays
        )

    def _before_last_prompt(self) -> SegmentObject | None:
        session, object_id = self._work.session, self._work.object_id
        return None if session is None or object_id is None else session.before_last_prompt(object_id)

    def keep(self) -> None:
        """Keep what the last run changed, and hide the colors."""
        object_id = self._work.object_id
        if object_id is None or self._work.before_runs.pop(object_id, None) is None:
            raise SessionError(_("This segment has no propagation whose changes could be kept."))
        self.show(False)

    def revert(self) -> None:
        """Bring back the masks from before the last run, as one step of undo."""
        session = self._work.usable_volume()[1]
        found, object_id = self._work.last_run, self._work.object_id
        if found is None or object_id is None:
            raise SessionError(_("This segment has no propagation whose changes could be reverted."))
        before, after = found
        run = self._work.before_runs.pop(object_id)[0]
        if session.last_run == run and session.next_undo() == {object_id}:
            session.undo()
        else:
            session.restore_masks(object_id, before, f"Revert {after.name}")
        self.shown = False
        self._work.scene.views.hide_changes()
        self._projector.after_change([object_id])

    # -- inside

    def _difference(
        self, before: SegmentObject, now: SegmentObject
    ) -> tuple[dict[int, npt.NDArray[np.bool_]], dict[int, npt.NDArray[np.bool_]]]:
        added: dict[int, npt.NDArray[np.bool_]] = {}
        removed: dict[int, npt.NDArray[np.bool_]] = {}
        was_there = dict(before.masks)
        for (
            index,
            preview,
        ) in before.previews.items():  # the correction that the run was for counts as changed
            was_there.pop(index, None)
            if preview.under is not None:
                was_there[index] = preview.under
        cleaned = self._projector.masks_of(before)
        olds = {
            index: stored.mask if index in before.previews else cleaned.get(index, stored.mask)
            for index, stored in was_there.items()
        }
        news = self._projector.masks_of(now)
        for index in olds.keys() | news.keys():
            old, new = olds.get(index), news.get(index)
            if old is not None and new is not None and old == new:
                continue
            shape = (old or new).shape  # type: ignore[union-attr]  # one of them is there
            empty = np.zeros(shape, np.bool_)
            was = empty if old is None else old.to_array()
            is_now = empty if new is None else new.to_array()
            for masks, mask in ((added, is_now & ~was), (removed, was & ~is_now)):
                if mask.any():
                    masks[index] = mask
        return added, removed

    def _draw(self) -> None:
        found, volume, views = self._work.last_run, self._work.volume_node, self._work.scene.views
        if not self.shown or found is None or volume is None or found[1].axis is None:
            views.hide_changes()
            self.shown = self.shown and found is not None
            return
        views.show_changes(volume, found[1].axis, *self._difference(*found))
