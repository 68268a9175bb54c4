"""One object of a session as an immutable value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from .masks import PackedMask, StoredMask
from .plan import Track, tracks, tracks_after_change
from .prompts import ObjectPrompts, Prompt

# What a key slice says: its prompts, and its mask when that belongs to the user.
KeyContent = tuple[tuple[Prompt, ...], PackedMask | None]


@dataclass(frozen=True)
class SegmentObject:
    """One object of a session; every change makes a new value.

    Attributes:
        id: never used again within a session.
        said: name, colour, prompts and slice range.
        masks: by slice index.
        locked: whether prompts and masks must stay as they are.
        propagations: how many propagations began; the round of the next prompt.
        propagated: the content of each key slice when the last propagation began; empty before the first.
        run: the last propagation; results of an earlier one come too late.
        unfinished: slices that propagation was to compute and has not brought yet.
    """

    id: int
    said: ObjectPrompts
    masks: Mapping[int, StoredMask] = field(default_factory=lambda: MappingProxyType({}))
    locked: bool = False
    propagations: int = 0
    propagated: Mapping[int, KeyContent] = field(default_factory=lambda: MappingProxyType({}))
    run: int = 0
    unfinished: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        """Name of the segment."""
        return self.said.name

    @property
    def kept_slices(self) -> frozenset[int]:
        """Slices whose masks the user accepted or edited."""
        return frozenset(index for index, stored in self.masks.items() if stored.is_kept)

    @property
    def key_slices(self) -> frozenset[int]:
        """Slices with prompts, or with a mask that the user accepted or edited."""
        return self.kept_slices | {prompt.slice.index for prompt in self.said.prompts}

    def key_content(self) -> dict[int, KeyContent]:
        """What each key slice says."""
        content: dict[int, KeyContent] = {}
        for index in sorted(self.key_slices):
            stored = self.masks.get(index)
            prompts = tuple(prompt for prompt in self.said.prompts if prompt.slice.index == index)
            content[index] = (prompts, stored.mask if stored and stored.is_kept else None)
        return content

    def pending_tracks(self, slice_count: int) -> tuple[Track, ...]:
        """The tracks that a propagation has to compute now, given the one before.

        They are those beside a change, and those with a slice that was never computed or whose computation was
        cancelled.
        """
        first, last = self.said.slice_range or (0, slice_count - 1)
        now, changed = self.key_content(), self._changed_slices()
        beside = set(tracks_after_change(self.propagated, now, changed, first, last, self.kept_slices))
        done = self.masks.keys() - self.unfinished
        return tuple(
            track
            for track in tracks(now, first, last)
            if track in beside or not done.issuperset(track.slices)
        )

    def pending_key_slices(self) -> tuple[int, ...]:
        """The prompted slices whose own masks a propagation has to compute now, in ascending order."""
        pending = self._changed_slices() | self.unfinished | (self.key_slices - self.masks.keys())
        return tuple(sorted((pending & self.key_slices) - self.kept_slices))

    def begun(self, run: int, slice_count: int) -> SegmentObject:
        """The object when propagation `run` begins."""
        pending = {index for track in self.pending_tracks(slice_count) for index in track.slices}
        return replace(
            self,
            propagations=self.propagations + 1,
            propagated=MappingProxyType(self.key_content()),
            run=run,
            unfinished=frozenset(pending.union(self.pending_key_slices())),
        )

    def with_masks(self, masks: Mapping[int, StoredMask]) -> SegmentObject:
        """The object with these masks in place of those it had on the same slices."""
        merged = dict(sorted({**self.masks, **masks}.items()))
        return replace(self, masks=MappingProxyType(merged), unfinished=self.unfinished - masks.keys())

    def _changed_slices(self) -> set[int]:
        """Slices whose content as key slices is not what the last propagation began with."""
        now, then = self.key_content(), self.propagated
        return {index for index in {*now, *then} if now.get(index) != then.get(index)}
