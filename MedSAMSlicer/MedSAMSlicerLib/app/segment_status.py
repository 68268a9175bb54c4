"""The status of a segment, in Slicer's own words: in progress with its first prompt, completed once all is accepted."""

from __future__ import annotations

import enum

from ..core.masks import MaskState
from ..core.segment_object import SegmentObject
from .ports import Segments
from .workspace import Workspace

LESION_TAG = "MedSAMSlicer.Lesion"  # of the segments in the list of lesions
STATUS_TAG = "Segmentation.Status"  # of Slicer: vtkSlicerSegmentationsModuleLogic::GetStatusTagName


class SegmentStatus(str, enum.Enum):
    """The value of Slicer's tag, which its tables show and its files keep."""

    NOT_STARTED = "notstarted"
    IN_PROGRESS = "inprogress"
    COMPLETED = "completed"
    FLAGGED = "flagged"


class StatusFollower:
    """Keeps the status of segments at what their objects say.

    It is written when that changes, so that what the user chooses in a table stays until then. A flag stays until
    everything is accepted.
    """

    def __init__(self, work: Workspace) -> None:
        self._work = work
        self._shown: dict[int, SegmentStatus] = {}  # by object

    def forget(self) -> None:
        """A session began or ended."""
        self._shown.clear()

    def known(self, obj: SegmentObject) -> None:
        """The segment has the status that it was saved with."""
        self._shown[obj.id] = self._status(obj)

    def follow(self, object_id: int) -> None:
        """An object changed, or is gone."""
        work, obj = self._work, self._work.object(object_id)
        segment_id = work.segment_of(object_id)
        if obj is None or work.masks is None or segment_id not in work.segment_ids:
            self._shown.pop(object_id, None)
            return
        assert segment_id is not None
        status = self._status(obj)
        if self._shown.get(object_id, SegmentStatus.NOT_STARTED) is status:
            return
        self._shown[object_id] = status
        present = status_of(work.masks, segment_id)
        flagged = present is SegmentStatus.FLAGGED and status is SegmentStatus.IN_PROGRESS
        if present is not status and not flagged:
            set_status(work.masks, segment_id, status)

    def _status(self, obj: SegmentObject) -> SegmentStatus:
        if not obj.prompts and not obj.masks:
            return SegmentStatus.NOT_STARTED
        session = self._work.session
        accepted = any(stored.state is MaskState.ACCEPTED for stored in obj.masks.values())
        whole = accepted and len(obj.kept_slices) == len(obj.masks)
        if whole and session is not None and not session.pending_slices(obj.id):
            return SegmentStatus.COMPLETED
        return SegmentStatus.IN_PROGRESS


def status_of(masks: Segments, segment_id: str) -> SegmentStatus:
    """Return how far a segment is; not started where its tag says nothing known."""
    tag = masks.tag(segment_id, STATUS_TAG)
    return next((status for status in SegmentStatus if status.value == tag), SegmentStatus.NOT_STARTED)


def set_status(masks: Segments, segment_id: str, status: SegmentStatus) -> None:
    """Set the status of a segment; its voxels stay as they are."""
    masks.set_tag(segment_id, STATUS_TAG, status.value)
