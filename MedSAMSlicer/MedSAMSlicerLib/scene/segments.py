"""Masks to segments and back: only what changes is written, and no other segment loses voxels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from ..core.digests import KnownSlices, Mask
from ..core.errors import GeometryError, SessionError
from ..core.geometry import SliceAxis
from .deleted_segments import FollowedSegments
from .labelmap_prints import ImagePrint, Print, changed_slices, image_print, labelmap_times
from .labelmaps import (
    VolumeGrid,
    check_segmentation,
    create_segmentation,
    ensure_display,
    give_reference,
    labelmap_of,
    own_labelmap,
    place_empty_labelmaps,
    segment_ids,
)
from .removed_segments import RemovedSegments
from .segment_events import SegmentEvents
from .segment_voxels import SegmentVoxels
from .surfaces import Surfaces

__all__ = ["SegmentMasks", "check_segmentation", "create_segmentation"]

logger = logging.getLogger(__name__)

LOCKED_TAG = "MedSAMSlicer.Locked"  # Slicer has no locks of its own on segments

SegmentCallback = Callable[[str], None]
RemovedCallback = Callable[[str, SliceAxis, dict[int, Mask]], None]


class SegmentMasks:
    """The segments of one segmentation node, as masks on the slices of one volume.

    Masks are bool (rows, columns) as in `VolumeGeometry.slice_shape`. An own write is never reported as an edit.

    Args:
        segmentation_node, volume_node: in one scene.
        on_edit: called at once with the identifier of a segment whose voxels another module changed; to find out, all
            labelmaps are read after each change, which only small ones allow.
        on_modified: called when another module may be changing a segment: `edits` reports it once that is over.
        on_added, on_renamed, on_recolored: called with the identifier of the segment.
        on_removed: called with the identifier, and the slices, across an axis, that another module had changed before
            the segment was deleted.

    Raises:
        GeometryError: the grids do not fit, see `check_segmentation`.
    """

    def __init__(
        self,
        segmentation_node: Any,
        volume_node: Any,
        *,
        on_edit: SegmentCallback | None = None,
        on_modified: Callable[[], None] | None = None,
        on_added: SegmentCallback | None = None,
        on_removed: RemovedCallback | None = None,
        on_renamed: SegmentCallback | None = None,
        on_recolored: SegmentCallback | None = None,
    ) -> None:
        check_segmentation(segmentation_node, volume_node)
        ensure_display(segmentation_node)
        give_reference(segmentation_node, volume_node)
        place_empty_labelmaps(segmentation_node, VolumeGrid(segmentation_node, volume_node))
        self._scene = segmentation_node.GetScene()
        self._segmentation_id: str = segmentation_node.GetID()
        self._volume_id: str = volume_node.GetID()
        self._surfaces = Surfaces()
        self._known: dict[str, KnownSlices] = {}
        self._unread: set[str] = (
            set()
        )  # known by their labelmaps alone: nobody has asked for their slices yet
        self._prints: dict[str, Print] = {}  # of each labelmap when its slices were compared last
        self._on_edit, self._on_added, self._on_removed = on_edit, on_added, on_removed
        self._on_modified = on_modified
        self._streaming = self._writing = 0
        self._times = labelmap_times(segmentation_node)
        self._followed = FollowedSegments(self._segment_changing)
        self._removed = RemovedSegments(segmentation_node)
        self.settle()
        self._events = SegmentEvents(
            segmentation_node,
            volume_node,
            on_voxels=self._voxels_changed,
            on_modified=self._segments_modified,
            on_added=self._segment_added,
            on_removed=self._segment_removed,
            on_renamed=on_renamed or _ignore,
            on_recolored=on_recolored or _ignore,
            on_looks=self._looks_changed,
        )

    # -- the table

    @property
    def segmentation_node(self) -> Any:
        """The node; SessionError when it is gone."""
        return self._node(self._segmentation_id)

    @property
    def volume_node(self) -> Any:
        """The volume's node; SessionError when it is gone."""
        return self._node(self._volume_id)

    def segment_ids(self) -> tuple[str, ...]:
        """All segments in the order of the table."""
        return segment_ids(self.segmentation_node)

    def name(self, segment_id: str) -> str:
        """Return what the user calls it."""
        return str(self._segment(segment_id).GetName())

    def color(self, segment_id: str) -> tuple[float, float, float]:
        """Red, green and blue in 0..1."""
        red, green, blue = self._segment(segment_id).GetColor()
        return red, green, blue

    def rename(self, segment_id: str, name: str) -> None:
        """Give a segment another name."""
        self._segment(segment_id).SetName(name)

    def remove(self, segment_id: str) -> None:
        """Delete a segment."""
        self._segment(segment_id)
        self.segmentation_node.GetSegmentation().RemoveSegment(segment_id)

    def visible(self, segment_id: str) -> bool:
        """Return whether the views show the segment."""
        display = self.segmentation_node.GetDisplayNode()
        return display is None or bool(display.GetSegmentVisibility(segment_id))

    def locked(self, segment_id: str) -> bool:
        """Return whether no mask may change the segment. Slicer has no such lock, so a tag of ours keeps it."""
        return _tag(self._segment(segment_id), LOCKED_TAG) == "1"

    def set_locked(self, segment_id: str, locked: bool) -> None:
        """Keep the voxels of a segment from being written or taken, or allow it again."""
        segment = self._segment(segment_id)
        if locked:
            segment.SetTag(LOCKED_TAG, "1")
        elif self.locked(segment_id):
            segment.RemoveTag(LOCKED_TAG)

    def tag(self, segment_id: str, name: str) -> str | None:
        """Return what a tag of a segment says; None without it."""
        return _tag(self._segment(segment_id), name)

    def set_tag(self, segment_id: str, name: str, value: str) -> None:
        """Give a segment a tag, which is saved with it."""
        segment = self._segment(segment_id)
        with self._own_write():  # no voxel is another
            segment.SetTag(name, value)

    def set_terminology(self, segment_id: str, text: str | None) -> None:
        """Store what a segment is, in Slicer's serialized form; None for nothing."""
        segment, tag = self._segment(segment_id), slicer.vtkSegment.GetTerminologyEntryTagName()
        if text:
            segment.SetTag(tag, text)
        else:
            segment.RemoveTag(tag)

    def add(
        self, name: str, color: tuple[float, float, float] | None = None, segment_id: str | None = None
    ) -> str:
        """Add an empty segment, in Slicer's next color unless one is given; returns its identifier.

        It has the identifier `segment_id` where that is free.

        It gets a labelmap of its own: writing it then touches no other segment's. Slicer brings the labelmaps
        together again when the segmentation is saved.
        """
        segmentation = self.segmentation_node.GetSegmentation()
        if segment_id is None or segment_id in self.segment_ids():
            segment_id = str(segmentation.GenerateUniqueSegmentID("Segment"))
        with self._own_write():
            if color is None:
                segmentation.AddEmptySegment(segment_id, name)
            else:
                segmentation.AddEmptySegment(segment_id, name, color)
            own_labelmap(segmentation.GetSegment(segment_id), self._voxels().grid)
        self._look_at(segment_id)
        return segment_id

    def bring_back(self, segment_id: str) -> bool:
        """Add a segment again that was removed, without voxels and else as it was; False when that cannot be."""
        with self._own_write():
            back = self._removed.bring_back(self.segmentation_node, segment_id, self._voxels().grid)
        if back:
            self._look_at(segment_id)
        return back

    # -- the masks

    def read_slices(
        self, segment_id: str, axis: SliceAxis, indices: Iterable[int] | None = None
    ) -> dict[int, Mask]:
        """New masks, bool (rows, columns), of the slices `indices` across `axis`, or of all that are not empty."""
        self._segment(segment_id)
        return self._voxels().read(segment_id, axis, indices)

    def write_slices(self, segment_id: str, axis: SliceAxis, masks: Mapping[int, Mask]) -> None:
        """Make slices of a segment equal to `masks`, bool (rows, columns) by slice index across `axis`.

        Only what changes is written, and other segments keep every voxel.

        Raises:
            SessionError: the segment is locked or gone, or a slice or the shape of a mask does not exist.
            GeometryError: segmentation and volume no longer lie on the same voxels.
        """
        if self.locked(segment_id):
            raise SessionError(_('"{segment}" is locked.').format(segment=self.name(segment_id)))
        voxels = self._voxels()
        checked = _checked(masks, axis, voxels.shape)
        as_known = self._as_known(self._sharing(segment_id))
        known = self._known.get(segment_id)
        if known is None or not [*known.indices()]:
            self.set_axis(segment_id, axis)
            known = self._known[segment_id]
        with self._own_write():
            changed = voxels.write(segment_id, axis, checked)
        if known.axis == axis:
            for index, mask in checked.items():
                known.put(index, mask)
        if changed:
            self._finish(segment_id, as_known)
            if known.axis != axis:
                del self._known[segment_id]  # to be read as a whole
                self._learn(segment_id, known.axis, voxels, self._present_prints([segment_id])[segment_id])

    def union(self, chosen: Collection[str], axis: SliceAxis, indices: Iterable[int]) -> dict[int, Mask]:
        """Return what any of some segments has on slices across `axis`; slices with nothing are left out."""
        return self._voxels().union(chosen, axis, indices)

    def count_under(self, axis: SliceAxis, masks: Mapping[int, Mask]) -> dict[str, int]:
        """The pixels of masks, by slice across `axis`, that each segment has, counted; those with none are left out."""
        return self._voxels().count_under(axis, masks)

    def measure(self, segment_id: str) -> tuple[int, dict[str, int]]:
        """The number of voxels of a segment, and the number of them that each other segment has, too."""
        voxels = self._voxels()
        return voxels.count(segment_id), voxels.shared(segment_id)

    def edits(self, among: Collection[str] | None = None) -> dict[str, dict[int, Mask]]:
        """The masks of slices that another module changed since they were written or settled, by segment.

        The voxels themselves are compared, so that no event is needed. Slices are those across `axis_of` the segment.
        They stay edits until `settle` or the next write. Of a segment that was neither written nor settled by itself so
        far, every slice counts on which another segment of its labelmap may have been changed instead.

        Args:
            among: compare these segments only; None = all.

        Raises:
            GeometryError: segmentation and volume no longer lie on the same voxels.
        """
        chosen = [
            each for each in self.segment_ids() if each in self._known and (among is None or each in among)
        ]
        voxels, prints, found = self._voxels(), self._present_prints(chosen), {}
        for segment_id in chosen:
            if prints[segment_id] == self._prints.get(segment_id):
                continue
            edits = self._edits_of(segment_id, voxels, prints[segment_id])
            if edits:
                found[segment_id] = edits
            else:
                self._prints[segment_id] = prints[segment_id]
        return found

    def touched_elsewhere(self) -> bool:
        """Return whether another module touched voxels since this was asked last, or added or deleted a segment.

        Labelmaps are not read: voxels that were set to what they were count, too.
        """
        before, self._times = self._times, labelmap_times(self.segmentation_node)
        return before != self._times

    def digests(self, segment_id: str) -> dict[int, str]:
        """Digests of the slices across `axis_of` the segment that are not empty, as written or settled last."""
        if segment_id in self._unread:
            self.settle(segment_id)
        known = self._known.get(segment_id)
        return {} if known is None else {index: known.digest(index) for index in sorted(known.indices())}

    def settle(self, segment_id: str | None = None) -> None:
        """Let what is in a segment now, or in all, count as known: it is no edit any more.

        Slices are read of the one segment only, or of all if edits are reported at once: reading every segment of a
        large labelmap takes seconds.
        """
        chosen = self.segment_ids() if segment_id is None else (segment_id,)
        voxels, prints = self._voxels(), self._present_prints(chosen)
        for each in chosen:
            if segment_id is not None or self._on_edit is not None:
                self._learn(each, self.axis_of(each), voxels, prints[each])
            elif self._prints.get(each) != prints[each]:
                self._known[each], self._prints[each] = KnownSlices(self.axis_of(each)), prints[each]
                self._unread.add(each)

    def axis_of(self, segment_id: str) -> SliceAxis:
        """The slice axis along which a segment was written last; K before."""
        known = self._known.get(segment_id)
        return SliceAxis.K if known is None else known.axis

    def set_axis(self, segment_id: str, axis: SliceAxis) -> None:
        """Report edits of a segment along another axis from now on; edits so far count as known."""
        unread = segment_id in self._unread or segment_id not in self._known
        if unread or self.axis_of(segment_id) != axis:
            self._learn(segment_id, axis, self._voxels(), self._present_prints([segment_id])[segment_id])

    # -- the surface

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """While masks stream in, no surface is shown of what changes; it is made once, at the end."""
        self._streaming += 1
        try:
            yield
        finally:
            self._streaming -= 1
            if not self._streaming and self._scene.GetNodeByID(self._segmentation_id) is not None:
                self.update_surface()

    @property
    def surface_lacks(self) -> bool:
        """Return whether a closed surface was shown and is not, since its voxels changed."""
        return self._surfaces.lack

    @property
    def is_streaming(self) -> bool:
        """Return whether masks stream in, so that surfaces are made at the end of it."""
        return self._streaming > 0

    def update_surface(self) -> None:
        """Make the closed surfaces again that writes have dropped; about a second for a large segment.

        Nothing happens where no surface was shown before.
        """
        if not self.surface_lacks:
            return
        with self._own_write():
            self._surfaces.update(self.segmentation_node)

    def moved_with_volume(self) -> bool:
        """The volume lies elsewhere: whether every mask is on the same of its voxels as before."""
        try:
            same = not self.edits()
        except GeometryError:
            return False
        if same:
            self._events.volume_moved(self.volume_node)
        return same

    def close(self) -> None:
        """Remove every observer."""
        self._events.close()
        self._followed.close()

    # -- inside

    def _node(self, node_id: str) -> Any:
        node = self._scene.GetNodeByID(node_id)
        if node is None:
            raise SessionError(_("The volume or the segmentation was deleted."))
        return node

    def _segment(self, segment_id: str) -> Any:
        segment = self.segmentation_node.GetSegmentation().GetSegment(segment_id)
        if segment is None:
            raise SessionError(_("There is no segment {segment!r}.").format(segment=segment_id))
        return segment

    def _voxels(self) -> SegmentVoxels:
        return SegmentVoxels(self.segmentation_node, self.volume_node)

    @contextmanager
    def _own_write(self) -> Iterator[None]:
        self._writing += 1
        try:
            yield
        finally:
            self._writing -= 1
            node = self._scene.GetNodeByID(self._segmentation_id)
            if not self._writing and node is not None:
                self._times = labelmap_times(node)

    def _finish(self, segment_id: str, as_known: frozenset[str]) -> None:
        """Notify the views of an own write.

        Args:
            segment_id: of the segment that was written.
            as_known: the segments whose voxels were as known before it; edits of the others stay to be found.
        """
        node = self.segmentation_node
        with self._own_write():
            self._surfaces.drop(node, {segment_id})
            # Not Modified() of the labelmap: that would drop the surfaces of all segments.
            labelmap_of(node, segment_id).GetPointData().GetScalars().Modified()
            for event in ("SourceRepresentationModified", "RepresentationModified"):
                node.GetSegmentation().InvokeEvent(getattr(slicer.vtkSegmentation, event), segment_id)
        written = as_known.intersection(self._sharing(segment_id))
        if written:
            prints = self._present_prints(written)
            self._prints.update((each, prints[each]) for each in written)

    def _sharing(self, segment_id: str) -> list[str]:
        """The segments in the labelmap of a segment, that one included."""
        node = self.segmentation_node
        image = labelmap_of(node, segment_id)
        return [other for other in self.segment_ids() if labelmap_of(node, other) is image]

    def _learn(self, segment_id: str, axis: SliceAxis, voxels: SegmentVoxels, present: Print) -> None:
        """Keep digests of the slices of a segment; where the labelmap shows which of them changed, only of those."""
        changed = changed_slices(self._prints.get(segment_id), present, axis)
        known = self._known.get(segment_id)
        if known is None or known.axis != axis or segment_id in self._unread or changed is None:
            known, changed = KnownSlices(axis), None
        else:
            changed = [index for index in changed if 0 <= index < voxels.shape[axis]]
        for index, mask in voxels.read(segment_id, axis, changed).items():
            known.put(index, mask)
        self._known[segment_id], self._prints[segment_id] = known, present
        self._unread.discard(segment_id)
        self._followed.follow([(segment_id, self._segment(segment_id))])

    def _present_prints(self, among: Collection[str] | None = None) -> dict[str, Print]:
        """Return a fingerprint of the voxels and places of the labelmaps of segments.

        A labelmap that several share is read once.
        """
        node, grid = self.segmentation_node, self._voxels().grid
        images: dict[Any, ImagePrint] = {}  # by image, not by id: once one is let go, another may get its id
        found = {}
        for segment_id in self.segment_ids() if among is None else among:
            image = labelmap_of(node, segment_id)
            if image not in images:
                images[image] = image_print(image, grid)
            value = int(node.GetSegmentation().GetSegment(segment_id).GetLabelValue())
            found[segment_id] = Print(value, images[image])
        return found

    def _as_known(self, among: Collection[str]) -> frozenset[str]:
        """Those of some segments whose labelmap is as it was when their slices were compared last."""
        prints = self._present_prints(among)
        return frozenset(each for each, present in prints.items() if self._prints.get(each) == present)

    def _edits_of(
        self, segment_id: str, voxels: SegmentVoxels, present: Print | None, deleted: Any = None
    ) -> dict[int, Mask]:
        """Edits of a segment whose labelmap is `present` now; of a deleted one, `deleted` is its vtkSegment."""
        known = self._known[segment_id]
        changed = (
            None if present is None else changed_slices(self._prints.get(segment_id), present, known.axis)
        )
        if changed is not None:
            count = voxels.shape[known.axis]
            changed = [index for index in changed if 0 <= index < count]
        segment = self._segment(segment_id) if deleted is None else deleted
        now = voxels.read_segment(segment, known.axis, changed)
        edits = {index: mask for index, mask in now.items() if known.differs(index, mask)}
        if changed is None:
            shape = (voxels.shape[known.axis.row_axis], voxels.shape[known.axis.column_axis])
            gone = (index for index in known.indices() if index not in now)
            edits.update({index: np.zeros(shape, dtype=np.bool_) for index in gone})
        return dict(sorted(edits.items()))

    def _voxels_changed(self) -> None:
        if self._writing or self._scene.IsClosing():
            return
        if self._on_edit is None:
            self._segments_modified()
            return
        try:
            edited = self.edits()
        except GeometryError as error:
            logger.warning("The edit of a segment cannot be followed: %s", error)
            return
        for segment_id in edited:
            self._on_edit(segment_id)

    def _looks_changed(self) -> None:
        if not self._scene.IsClosing():
            self._removed.look(self.segmentation_node)

    def _segments_modified(self) -> None:
        if self._on_modified is not None and not self._writing and not self._scene.IsClosing():
            self._on_modified()

    def _segment_added(self, segment_id: str) -> None:
        if not self._writing:
            self._look_at(segment_id)
        if self._on_added is not None:
            self._on_added(segment_id)

    def _look_at(self, segment_id: str) -> None:
        try:
            self.settle(segment_id)
        except GeometryError as error:  # a segment of another grid, added by another module
            self._forget(segment_id)
            logger.warning("Segment %s is left alone: %s", segment_id, error)

    def _forget(self, segment_id: str) -> None:
        self._known.pop(segment_id, None)
        self._prints.pop(segment_id, None)
        self._unread.discard(segment_id)

    def _segment_changing(self, segment_id: str) -> None:
        """A segment changes somehow: it may be about to be deleted, and its voxels in a shared labelmap cleared."""
        if self._writing or self._scene.IsClosing() or segment_id not in self._known:
            return
        try:
            present = self._present_prints([segment_id])[segment_id]
            same = self._prints.get(segment_id) == present
            self._followed.note(
                segment_id, {} if same else self._edits_of(segment_id, self._voxels(), present)
            )
        except (GeometryError, SessionError) as error:
            logger.warning("The edit of a segment cannot be followed: %s", error)

    def _last_edits(self, segment_id: str) -> dict[int, Mask]:
        """Return what another module had changed in a segment that was deleted."""
        segment = self._followed.segment(segment_id)
        if segment is None or segment_id not in self._known or self._scene.IsClosing():
            return {}
        try:
            if not self._voxels().read_segment(segment, SliceAxis.K):
                # Cleared, as its part of a shared labelmap is.
                return self._followed.noted(segment_id)
            return self._edits_of(segment_id, self._voxels(), None, segment)
        except GeometryError:
            return {}

    def _segment_removed(self, segment_id: str) -> None:
        axis, edits = self.axis_of(segment_id), self._last_edits(segment_id)
        self._followed.forget(segment_id)
        self._forget(segment_id)
        self._surfaces.forget(segment_id)
        if self._on_removed is not None:
            self._on_removed(segment_id, axis, edits)


def _checked(masks: Mapping[int, Mask], axis: SliceAxis, shape: tuple[int, int, int]) -> dict[int, Mask]:
    wanted = (shape[axis.row_axis], shape[axis.column_axis])
    for index, mask in masks.items():
        if not 0 <= index < shape[axis]:
            text = _("Slice {index} does not exist: there are slices 0 to {last}.")
            raise SessionError(text.format(index=index, last=shape[axis] - 1))
        if mask.shape != wanted or mask.dtype != np.bool_:
            text = _("The mask of slice {index} must be bool {wanted}, got {dtype} {shape}.")
            raise SessionError(text.format(index=index, wanted=wanted, dtype=mask.dtype, shape=mask.shape))
    return dict(masks)


def _ignore(_segment_id: str) -> None:
    """The callback when nobody observes edits."""


def terminology_of(segment: Any) -> str | None:
    """Slicer's serialized terminology entry of a vtkSegment; None without."""
    return _tag(segment, slicer.vtkSegment.GetTerminologyEntryTagName())


def _tag(segment: Any, tag: str) -> str | None:
    value = vtk.reference("")
    return str(value) if segment.GetTag(tag, value) else None
