"""One object of a session as an immutable value."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from .cleanups import Cleanup
from .geometry import SliceAxis, VolumeGeometry
from .intensity import Window
from .masks import MaskState, PackedMask, StoredMask, slices_of, volume_of
from .overlap import BEFORE_ALL, Claim
from .plan import KeptMask, Track, replay, tracks, tracks_after_change
from .prompts import MaskPrompt, ObjectPrompts, Prompt, PromptSet, SliceRef
from .start import Start, corrected_mask, given_by_start, masks_of_start, turned_start, with_gaps

# What a key slice says: its prompts, and its mask with its round when that belongs to the user.
KeyContent = tuple[tuple[Prompt, ...], PackedMask | None, int]


@dataclass(frozen=True)
class Preview:
    """The mask of a slice is only a preview.

    Attributes:
        prompts: those of the slice that it was drawn for.
        under: the mask that the slice had before the first preview, which comes back with the prompts it was made for.
    """

    prompts: tuple[Prompt, ...]
    under: StoredMask | None


@dataclass(frozen=True)
class SegmentObject:
    """One object of a session; every change makes a new value.

    Attributes:
        id: never used again within a session.
        object_prompts: name, color, prompts and slice range.
        masks: by slice index.
        axis: the slice axis of its prompts, masks and slice range, fixed by the first of them; None without any.
        cleanup: what is done to the masks before they are shown; the masks here are raw.
        previews: by slice index, for masks that no propagation made.
        locked: whether prompts and masks must stay as they are.
        propagations: how many propagations began; the round of the next prompt.
        propagated: the content of each key slice when the last propagation began; empty before the first.
        run: the last propagation; results of an earlier one come too late.
        settled: what slices say that were accepted since just as it had computed them: nothing new to their neighbors.
        unfinished: slices that propagation was to compute and has not brought yet.
        start: the masks that the object began with, where prompts correct masks made elsewhere.
    """

    id: int
    object_prompts: ObjectPrompts
    masks: Mapping[int, StoredMask] = field(default_factory=lambda: MappingProxyType({}))
    locked: bool = False
    propagations: int = 0
    propagated: Mapping[int, KeyContent] = field(default_factory=lambda: MappingProxyType({}))
    settled: Mapping[int, KeyContent] = field(default_factory=lambda: MappingProxyType({}))
    run: int = 0
    unfinished: frozenset[int] = frozenset()
    axis: SliceAxis | None = None
    cleanup: Cleanup = field(default_factory=Cleanup)
    previews: Mapping[int, Preview] = field(default_factory=lambda: MappingProxyType({}))
    start: Start | None = None

    @property
    def name(self) -> str:
        """Name of the segment."""
        return self.object_prompts.name

    @property
    def color(self) -> tuple[float, float, float]:
        """Red, green and blue of the segment, 0..1."""
        return self.object_prompts.color

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """All prompts, in the order in which they were given."""
        return self.object_prompts.prompts

    @property
    def slice_range(self) -> tuple[int, int] | None:
        """First and last slice to propagate over, both included; None for the whole volume."""
        return self.object_prompts.slice_range

    def with_fields(self, **changes: Any) -> SegmentObject:
        """The object with other values of `name`, `color`, `prompts` or `slice_range`."""
        return replace(self, object_prompts=replace(self.object_prompts, **changes))

    @property
    def kept_slices(self) -> frozenset[int]:
        """Slices whose masks the user accepted or edited."""
        return frozenset(index for index, stored in self.masks.items() if stored.is_kept)

    @property
    def key_slices(self) -> frozenset[int]:
        """Slices with prompts, or with a mask that the user accepted or edited."""
        return self.kept_slices | {prompt.slice.index for prompt in self.prompts}

    def reach(self, slice_count: int) -> tuple[int, int]:
        """The slice range; without one, from where to where a propagated mask reaches, else all slices."""
        if self.slice_range is not None:
            return self.slice_range
        seen = [index for index, stored in self.masks.items() if not stored.mask.is_empty]
        return (min(seen), max(seen)) if self.propagated and seen else (0, slice_count - 1)

    def dragged_range(self, first: int, last: int, slice_count: int) -> tuple[int, int] | None:
        """The range once one of its ends was dragged; None for one that holds every slice.

        Where there was none, the other end is where the mask ends.
        """
        if (first, last) == (0, slice_count - 1):
            return None
        if self.slice_range is not None:
            return first, last
        low, high = self.reach(slice_count)
        return (first or min(low, last), last) if last < slice_count - 1 else (first, max(first, high))

    def prompts_on(self, index: int) -> tuple[Prompt, ...]:
        """Return the prompts on a slice."""
        return tuple(prompt for prompt in self.prompts if prompt.slice.index == index)

    def key_content(self) -> dict[int, KeyContent]:
        """Return what each key slice says."""
        content: dict[int, KeyContent] = {}
        for index in sorted(self.key_slices):
            stored = self.masks.get(index)
            kept = stored is not None and stored.is_kept
            mask, turn = (stored.mask, stored.round) if stored is not None and kept else (None, 0)
            if mask is None:
                mask, turn = corrected_mask(self, index) or (None, 0)
            content[index] = (self.prompts_on(index), mask, turn)
        return content

    def changed_slices(self) -> set[int]:
        """Slices whose content as key slices is not what the last propagation began with."""
        now, then = self.key_content(), self._known_content()
        none: KeyContent = ((), None, 0)
        return {index for index in {*now, *then} if now.get(index, none)[:2] != then.get(index, none)[:2]}

    def content_before(self) -> dict[int, KeyContent]:
        """What changed slices were when the last propagation began, as far as they were key slices then."""
        known = self._known_content()
        return {index: known[index] for index in sorted(self.changed_slices() & known.keys())}

    def outdated_slices(self, slice_count: int) -> set[int]:
        """Changed slices, and corrections of what is another mask by these changes or beside another key slice."""
        changed = self.changed_slices()
        if not changed or self.axis is None or all(prompt.round == 0 for prompt in self.prompts):
            return changed
        limits = self.slice_range or (0, slice_count - 1)
        now, then = self.key_content(), self._known_content()
        then.update((index, now[index]) for index in then.keys() & now.keys() if index not in changed)
        ids, known = (_key_ids(content, self.axis, limits) for content in (now, then))
        return changed | {index for index in ids.keys() & known.keys() if ids[index] != known[index]}

    def pending_tracks(self, slice_count: int) -> tuple[Track, ...]:
        """The tracks that a propagation has to compute now, given the one before.

        They are those beside a change, and those with a slice that was never computed or whose computation was
        canceled.
        """
        first, last = self.slice_range or (0, slice_count - 1)
        now, changed = self.key_content(), self.outdated_slices(slice_count)
        beside = set(tracks_after_change(self._known_content(), now, changed, first, last, self.kept_slices))
        done = self.masks.keys() - self.unfinished
        return tuple(
            track
            for track in tracks(now, first, last)
            if track in beside or not done.issuperset(track.slices)
        )

    def pending_key_slices(self, slice_count: int) -> tuple[int, ...]:
        """The prompted slices whose own masks a propagation has to compute now, in ascending order."""
        pending = self.outdated_slices(slice_count) | self.unfinished | (self.key_slices - self.masks.keys())
        return tuple(sorted((pending & self.key_slices) - self.kept_slices))

    def pending_slices(self, slice_count: int) -> frozenset[int]:
        """All slices that a propagation has to compute now."""
        pending = {index for track in self.pending_tracks(slice_count) for index in track.slices}
        return frozenset(pending.union(self.pending_key_slices(slice_count)))

    def pending_previews(self) -> tuple[int, ...]:
        """Slices whose prompts changed since they were propagated or previewed, in ascending order."""
        if self.locked:
            return ()
        changed = self.changed_slices() & {prompt.slice.index for prompt in self.prompts}
        wanted = [
            index for index in changed - self.kept_slices if self._previewed(index) != self.prompts_on(index)
        ]
        return tuple(sorted(wanted))

    def with_range(self, slice_range: tuple[int, int] | None, slice_count: int) -> SegmentObject:
        """The object with another slice range; what was propagated with the former one is to be computed again.

        The range says where the object ends, and no slice of it looks the same without. Slices of the user stay, and
        those of a mask made elsewhere, which only prompts change.
        """
        after = self.with_fields(slice_range=slice_range)
        if slice_range == self.slice_range or not self.propagated or self.start is not None:
            return after
        first, last = slice_range or (0, slice_count - 1)
        return replace(after, unfinished=frozenset(range(first, last + 1)) - self.kept_slices)

    def begun(self, run: int, slice_count: int, recompute: bool = False) -> SegmentObject:
        """The object when propagation `run` begins. With `recompute`, of all slices but the user's own."""
        pending = self.pending_slices(slice_count)
        if recompute:
            first, last = self.slice_range or (0, slice_count - 1)
            pending |= frozenset(range(first, last + 1)) - self.kept_slices
        return replace(
            self,
            propagations=self.propagations + 1,
            propagated=MappingProxyType(self.key_content()),
            settled=MappingProxyType({}),
            run=run,
            unfinished=pending,
            previews=MappingProxyType({}),
        )

    def with_pending(
        self, pending: Iterable[int], changed: Iterable[int], before: Mapping[int, KeyContent]
    ) -> SegmentObject:
        """The object as it was saved: slices to compute, those changed since the last propagation, and these before."""
        others = frozenset(changed)
        known = {index: what for index, what in self.key_content().items() if index not in others}
        return replace(self, propagated=MappingProxyType({**known, **before}), unfinished=frozenset(pending))

    def with_masks(self, masks: Mapping[int, StoredMask]) -> SegmentObject:
        """The object with these masks in place of those it had on the same slices."""
        merged = dict(sorted({**self.masks, **masks}.items()))
        return replace(self, masks=MappingProxyType(merged), unfinished=self.unfinished - masks.keys())

    def without_masks(self, indices: Collection[int]) -> SegmentObject:
        """The object without the masks of these slices, which are then to be computed as if they never had been."""
        kept = {index: stored for index, stored in self.masks.items() if index not in indices}
        return replace(self, masks=MappingProxyType(kept))

    def trimmed(self) -> SegmentObject:
        """The object without the masks that the network made beyond its slice range; those of the user stay."""
        if self.slice_range is None:
            return self
        first, last = self.slice_range
        return self.without_masks(
            {
                index
                for index, stored in self.masks.items()
                if stored.state is MaskState.PREDICTED and not first <= index <= last
            }
        )

    def with_prompts(self, prompts: tuple[Prompt, ...]) -> SegmentObject:
        """The object with these prompts; where they are again those of the last propagation its masks come back."""
        after = self.with_fields(prompts=prompts)
        masks, previews = dict(self.masks), dict(self.previews)
        for index, preview in self.previews.items():
            settled = self.propagated.get(index, ((), None))[0]
            if after.prompts_on(index) != settled or index in self.kept_slices:
                continue
            del previews[index]
            masks.pop(index, None)
            if preview.under is not None:
                masks[index] = preview.under
        if len(previews) < len(self.previews):
            after = replace(
                after,
                masks=MappingProxyType(dict(sorted(masks.items()))),
                previews=MappingProxyType(previews),
            )
        after = with_gaps(self, after)
        if prompts:
            return replace(after, axis=prompts[0].slice.axis)
        return after if after.masks or after.slice_range else after.without_axis()

    @property
    def is_free(self) -> bool:
        """Return whether a prompt along another slice axis is possible.

        It is as long as the object has no prompts and all its masks are the user's.
        """
        return not self.prompts and len(self.kept_slices) == len(self.masks)

    @property
    def is_edited(self) -> bool:
        """Return whether the user drew or accepted a mask."""
        return any(stored.state in (MaskState.ACCEPTED, MaskState.EDITED) for stored in self.masks.values())

    @property
    def latest_claim(self) -> Claim:
        """The claim of the mask that was asked for last."""
        claims = (stored.claim for stored in self.masks.values())
        return max(claims, key=lambda claim: claim.turn, default=BEFORE_ALL)

    def without_axis(self) -> SegmentObject:
        """The object without masks, free for any slice axis; what counts slices of the present one goes."""
        return replace(
            self,
            axis=None,
            masks=MappingProxyType({}),
            object_prompts=replace(self.object_prompts, slice_range=None),
            propagated=MappingProxyType({}),
            settled=MappingProxyType({}),
            previews=MappingProxyType({}),
            unfinished=frozenset(),
            run=0,
            start=None,
        )

    def turned(self, axis: SliceAxis, shape: tuple[int, int, int]) -> SegmentObject:
        """The object along another slice axis: its masks, which are the user's, cover the same voxels (K, J, I)."""
        if self.axis in (None, axis):
            return self
        if self.start is not None and not self.is_edited:
            return turned_start(self, axis, shape)
        masks = {index: stored.mask for index, stored in self.masks.items()}
        free = replace(self.without_axis(), axis=axis if masks else None)
        return free.with_voxels(masks, self.axis, shape, self.latest_claim) if masks else free

    def with_voxels(
        self,
        masks: Mapping[int, PackedMask],
        axis: SliceAxis,
        shape: tuple[int, int, int],
        claim: Claim = BEFORE_ALL,
    ) -> SegmentObject:
        """The object with masks drawn by the user on slices across any axis, in a volume of `shape` (K, J, I)."""
        assert self.axis is not None
        volume = volume_of({index: stored.mask for index, stored in self.masks.items()}, self.axis, shape)
        slices = np.moveaxis(volume, int(axis), 0)
        for index, mask in masks.items():
            slices[index] = mask.to_array()
        found = slices_of(volume, self.axis)
        empty = PackedMask.empty((shape[self.axis.row_axis], shape[self.axis.column_axis]))
        drawn = {
            index: StoredMask(found.get(index, empty), MaskState.EDITED, None, self.propagations, claim)
            for index in found.keys() | self.masks.keys()
            if index not in self.masks or self.masks[index].mask != found.get(index, empty)
        }
        return self.with_masks(drawn)

    def with_preview(
        self, index: int, prompts: tuple[Prompt, ...], seen: StoredMask | None, mask: StoredMask
    ) -> SegmentObject:
        """The object with a preview for the prompts of a slice that showed `seen` until now, else the same.

        Prompts that a propagation began with need none: its result counts.
        """
        begins = self.prompts_on(index)[: len(prompts)] == prompts
        if self.locked or index in self.kept_slices or self.masks.get(index) != seen or not begins:
            return self
        if index not in self.changed_slices():
            return self
        under = self.previews[index].under if index in self.previews else seen
        masks = dict(sorted({**self.masks, index: mask}.items()))
        previews = {**self.previews, index: Preview(prompts, under)}
        return replace(self, masks=MappingProxyType(masks), previews=MappingProxyType(previews))

    def with_outdated_previews(self) -> SegmentObject:
        """The object with its previews as they are, but to be computed again: the network sees other gray values."""
        again = {index: replace(preview, prompts=()) for index, preview in self.previews.items()}
        return replace(self, previews=MappingProxyType(again)) if again else self

    def accepted(self, masks: Mapping[int, StoredMask]) -> SegmentObject:
        """The object with these masks, those it has already, as the user's own."""
        kept = {}
        for index, stored in masks.items():
            known = stored.state in (MaskState.ACCEPTED, MaskState.STARTED)  # nothing new to what lies beside
            turn = stored.round if known else self.propagations
            kept[index] = replace(stored, state=MaskState.ACCEPTED, round=turn)
        after, changed = self.with_masks(kept), self.changed_slices()
        content = after.key_content()
        as_computed = {
            index: content[index]
            for index in masks
            if self.propagated
            and index not in changed | self.unfinished | self.previews.keys() | self.kept_slices
        }
        return replace(after, settled=MappingProxyType({**self.settled, **as_computed}))

    def released(self, masks: Mapping[int, StoredMask]) -> SegmentObject:
        """The object with these masks, those it has already, no longer as the user's own."""
        freed = {index: replace(mask, state=MaskState.PREDICTED, round=0) for index, mask in masks.items()}
        return self.with_masks({**freed, **masks_of_start(self, masks)})

    def _known_content(self) -> dict[int, KeyContent]:
        """Return what the masks were computed from, and what was accepted of them."""
        settled = {index: what for index, what in self.settled.items() if index in self.kept_slices}
        return {**self.propagated, **settled}

    def _previewed(self, index: int) -> tuple[Prompt, ...]:
        return self.previews[index].prompts if index in self.previews else ()


def letter_of(axis: SliceAxis | None) -> str:
    """The letter of a slice axis; "none" without one."""
    return "none" if axis is None else axis.name.lower()


def kept_as_prompts(obj: SegmentObject, whole: bool = False) -> ObjectPrompts:
    """Return the prompts of an object, and as mask prompts the masks that the user accepted or edited in its range.

    Of a started object (see `start`) also the masks that a run looks at; with `whole` all of them. Masks come after
    the prompts of their round: no prompt is given on a slice that is the user's.
    """
    given = obj.object_prompts if obj.start is None else given_by_start(obj, whole)
    first, last = given.slice_range or (0, max(obj.masks, default=0))
    kept = [
        MaskPrompt(SliceRef(obj.axis, index), stored.mask.to_array(), stored.round)
        for index, stored in obj.masks.items()
        if obj.axis is not None
        and stored.is_kept
        and stored.state is not MaskState.STARTED
        and not (stored.mask.is_empty and stored.round == 0)
        and first <= index <= last
    ]
    prompts = sorted((*given.prompts, *kept), key=lambda prompt: prompt.round)
    return replace(given, prompts=tuple(prompts))


def all_prompts_of(
    objects: Sequence[SegmentObject],
    geometry: VolumeGeometry,
    axis: SliceAxis,
    window: Window | None,
    checkpoint_id: str | None,
    checkpoint_sha256: str | None,
    tier: str | None,
) -> PromptSet:
    """All that is needed to repeat objects along one axis."""
    cleanups = {obj.cleanup.prompt_set_name for obj in objects}
    cleanup = cleanups.pop() if len(cleanups) == 1 and cleanups != {"none"} else None
    given = tuple(kept_as_prompts(obj, whole=True) for obj in objects)
    return PromptSet(geometry, axis, given, window, checkpoint_id, checkpoint_sha256, tier, cleanup)


def _key_ids(content: Mapping[int, KeyContent], axis: SliceAxis, limits: tuple[int, int]) -> dict[int, str]:
    """Return what stands for the masks of key slices, by index."""
    given = [prompt for prompts, _, _ in content.values() for prompt in prompts]
    kept = [
        KeptMask(SliceRef(axis, index), mask, turn)
        for index, (_, mask, turn) in content.items()
        if mask is not None and not (mask.is_empty and turn == 0)
    ]
    rounds = replay((*given, *kept), *limits)
    return {index: step.id for index, step in rounds[-1].keys.items()} if rounds else {}
