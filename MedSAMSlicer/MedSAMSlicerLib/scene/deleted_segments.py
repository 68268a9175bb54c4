"""The content of segments when they were deleted, for edits that Slicer did not report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..core.digests import Mask
from .observers import Observers


class FollowedSegments:
    """The vtkSegments of a segmentation, kept beyond their deletion, until `close`.

    A labelmap of its own stays with a deleted segment. A shared one is cleared first, of which only the segment itself
    gives notice: `on_change` is called then, and at other changes of a segment.
    """

    def __init__(self, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change
        self._segments: dict[str, tuple[Any, Observers]] = {}
        self._edits: dict[str, dict[int, Mask]] = {}

    def follow(self, segments: Iterable[tuple[str, Any]]) -> None:
        """Keep these vtkSegments, by identifier; known ones stay as they are."""
        for segment_id, segment in segments:
            kept = self._segments.get(segment_id)
            if kept is not None and kept[0] is segment:
                continue
            self.forget(segment_id)
            observers = Observers()
            observers.add(
                segment, "ModifiedEvent", lambda _caller, _event, changed=segment_id: self._on_change(changed)
            )
            self._segments[segment_id] = segment, observers

    def segment(self, segment_id: str) -> Any:
        """The vtkSegment, in the segmentation or not; None when it was never followed."""
        return self._segments.get(segment_id, (None,))[0]

    def note(self, segment_id: str, edits: dict[int, Mask]) -> None:
        """These slices differ from what was known when the segment gave notice of a change last."""
        self._edits[segment_id] = edits

    def noted(self, segment_id: str) -> dict[int, Mask]:
        """Return what `note` got last."""
        return self._edits.get(segment_id, {})

    def forget(self, segment_id: str) -> None:
        """Release a segment."""
        self._edits.pop(segment_id, None)
        if segment_id in self._segments:
            self._segments.pop(segment_id)[1].close()

    def close(self) -> None:
        """Release all."""
        for segment_id in [*self._segments]:
            self.forget(segment_id)
