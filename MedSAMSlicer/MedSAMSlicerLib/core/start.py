"""An object that starts from masks made elsewhere, such as a segment of another program.

Prompts correct these masks. The slices within `reach` of a prompt are its gap: only they are computed, all others keep
the mask of the start, bit for bit. Where a gap is follows from the prompts alone, so that a prompt that is taken away
gives its slices back as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from .errors import SessionError
from .masks import MaskState, PackedMask, StoredMask, slices_of, volume_of
from .overlap import BEFORE_ALL, Claim
from .prompts import MaskPrompt, ObjectPrompts, Prompt, SliceRef

if TYPE_CHECKING:
    from .geometry import SliceAxis
    from .segment_object import SegmentObject

REACH_MM = 12.0
"""How far a correction reaches on either side, unless the user chooses: two or three thick slices of CT."""

_FEWEST, _MOST = 2, 10  # slices


@dataclass(frozen=True)
class Start:
    """The masks that an object started from.

    Attributes:
        masks: by slice index; slices without the object are left out.
        reach: slices on either side of a prompt that its correction may change; 0 = its own slice alone.
        claim: how the masks come to voxels that another segment has.
    """

    masks: Mapping[int, PackedMask]
    reach: int
    claim: Claim = BEFORE_ALL


def usual_reach(spacing_mm: float) -> int:
    """The reach, in slices, that a correction has unless the user chooses another; slices are `spacing_mm` apart."""
    return min(_MOST, max(_FEWEST, round(REACH_MM / spacing_mm)))


def started(
    obj: SegmentObject,
    masks: Mapping[int, PackedMask],
    axis: SliceAxis,
    shape: tuple[int, int, int],
    reach: int,
    claim: Claim = BEFORE_ALL,
) -> SegmentObject:
    """The object with masks made elsewhere as its start, without prompts and slice range.

    Args:
        obj: any object.
        masks: by slice index along `axis`; slices that are missing are empty.
        axis: the slice axis of the masks.
        shape: of the volume, (K, J, I).
        reach, claim: see :class:`Start`.

    Raises:
        SessionError: no mask holds anything, a slice does not exist, or `reach` is below 0.
    """
    _check_reach(reach)
    count = shape[int(axis)]
    missing = [index for index in masks if not 0 <= index < count]
    if missing:
        raise SessionError(f"Slice {missing[0]} does not exist: there are slices 0 to {count - 1}.")
    filled = {index: mask for index, mask in sorted(masks.items()) if not mask.is_empty}
    if not filled:
        raise SessionError(f"{obj.name!r} is empty: there is no mask to start from.")
    empty = PackedMask.empty((shape[axis.row_axis], shape[axis.column_axis]))
    stored = {
        index: StoredMask(filled.get(index, empty), MaskState.STARTED, claim=claim) for index in range(count)
    }
    bare = obj.with_fields(prompts=(), slice_range=None).without_axis()
    value = replace(
        bare,
        axis=axis,
        masks=MappingProxyType(stored),
        propagations=max(obj.propagations, 1),  # prompts given now correct what is there
        start=Start(MappingProxyType(filled), reach, claim),
    )
    return replace(value, propagated=MappingProxyType(value.key_content()))


def turned_start(obj: SegmentObject, axis: SliceAxis, shape: tuple[int, int, int]) -> SegmentObject:
    """A started object without prompts, along another slice axis: its start covers the same voxels."""
    assert obj.start is not None
    assert obj.axis is not None
    volume = volume_of({index: stored.mask for index, stored in obj.masks.items()}, obj.axis, shape)
    return started(obj, slices_of(volume, axis), axis, shape, obj.start.reach, obj.start.claim)


def gap(obj: SegmentObject) -> frozenset[int]:
    """The slices that prompts of a started object may change."""
    if obj.start is None:
        return frozenset()
    reach = obj.start.reach
    near = {
        index
        for prompt in obj.prompts
        for index in range(prompt.slice.index - reach, prompt.slice.index + reach + 1)
    }
    return frozenset(near & obj.masks.keys())


def with_gaps(before: SegmentObject, after: SegmentObject) -> SegmentObject:
    """`after` with the masks that follow from its gaps; `before` is the object whose masks it has so far.

    Slices that come into a gap wait to be computed, with the mask of the start until then; slices that leave one have
    that mask again. What the user accepted or drew stays.
    """
    if after.start is None or after.axis is None:
        return after
    now = gap(after)
    changed: dict[int, StoredMask] = {}
    for index in now:
        if after.masks[index].state is MaskState.STARTED:
            changed[index] = StoredMask(after.masks[index].mask, claim=after.masks[index].claim)
    for index in gap(before) - now:
        if index in after.masks and after.masks[index].state is MaskState.PREDICTED:
            changed[index] = _mask_of_start(after, index)
    if not changed:
        return after
    left = {index for index, stored in changed.items() if stored.state is MaskState.STARTED}
    previews = {index: preview for index, preview in after.previews.items() if index not in left}
    masks = dict(sorted({**after.masks, **changed}.items()))
    return replace(
        after,
        masks=MappingProxyType(masks),
        previews=MappingProxyType(previews),
        unfinished=after.unfinished - left,
    )


def with_reach(obj: SegmentObject, reach: int) -> SegmentObject:
    """A started object whose corrections reach farther, or less far.

    Raises:
        SessionError: the object did not start from masks, or `reach` is below 0.
    """
    _check_reach(reach)
    if obj.start is None:
        raise SessionError(f"{obj.name!r} did not start from a segment.")
    return with_gaps(obj, replace(obj, start=replace(obj.start, reach=reach)))


def masks_of_start(obj: SegmentObject, indices: Iterable[int]) -> dict[int, StoredMask]:
    """The masks of the start on those of some slices that have it and are out of reach of all prompts."""
    if obj.start is None:
        return {}
    now = gap(obj)
    found = {index: _mask_of_start(obj, index) for index in indices if index not in now}
    return {index: stored for index, stored in found.items() if obj.masks[index].mask == stored.mask}


def corrected_mask(obj: SegmentObject, index: int) -> tuple[PackedMask, int] | None:
    """The mask that the prompts on a slice correct, and the round of the first of them; None where they replace it.

    A box, a line or a lasso replaces it.
    """
    if obj.start is None or index not in obj.start.masks:
        return None
    given = obj.prompts_on(index)
    if not given:
        return None
    first = min(prompt.round for prompt in given)
    if any(prompt.has_extent and prompt.round == first for prompt in given):
        return None
    return obj.start.masks[index], first


def prompts_of_start(obj: SegmentObject, whole: bool = False) -> tuple[list[Prompt], tuple[int, int] | None]:
    """The masks of the start as prompts, and the slices to compute over; see `segment_object.kept_as_prompts`.

    Args:
        obj: a started object.
        whole: with all masks of the start, as a prompts file needs them. Without, only those that a run looks at: the
            masks that prompts correct, and those at both ends of each gap.
    """
    axis = obj.axis
    assert axis is not None
    open_slices = {index for index, stored in obj.masks.items() if stored.state is not MaskState.STARTED}
    found: list[Prompt] = []
    for index in sorted(open_slices):
        corrected = corrected_mask(obj, index)
        if corrected is not None and not obj.masks[index].is_kept:
            found.append(MaskPrompt(SliceRef(axis, index), corrected[0].to_array(), corrected[1]))
    ends = {end for index in open_slices for end in (index - 1, index + 1)} - open_slices
    shown = {index: stored.mask for index, stored in obj.masks.items() if index not in open_slices}
    filled = {index for index, mask in shown.items() if not mask.is_empty}
    reaching = sorted(open_slices | (filled if whole else filled & ends))
    if not reaching:
        return found, obj.slice_range
    first, last = obj.slice_range or (reaching[0], reaching[-1])
    if first > reaching[-1] or last < reaching[0]:
        return found, obj.slice_range
    first, last = max(first, reaching[0]), min(last, reaching[-1])
    for index, mask in shown.items():
        if not first <= index <= last or (mask.is_empty and not whole):
            continue
        if whole or index in ends:  # an empty mask is given as a correction: as a first prompt it is refused
            found.append(MaskPrompt(SliceRef(axis, index), mask.to_array(), int(mask.is_empty)))
    return found, (first, last)


def given_by_start(obj: SegmentObject, whole: bool = False) -> ObjectPrompts:
    """The prompts of a started object, without those that `segment_object.kept_as_prompts` adds for all objects."""
    masks, slice_range = prompts_of_start(obj, whole)
    return replace(obj.object_prompts, prompts=(*masks, *obj.prompts), slice_range=slice_range)


def _mask_of_start(obj: SegmentObject, index: int) -> StoredMask:
    assert obj.start is not None
    empty = PackedMask.empty(obj.masks[index].mask.shape)
    return StoredMask(obj.start.masks.get(index, empty), MaskState.STARTED, claim=obj.start.claim)


def _check_reach(reach: int) -> None:
    if reach < 0:
        raise SessionError(f"A correction changes 0 slices or more on either side, not {reach}.")
