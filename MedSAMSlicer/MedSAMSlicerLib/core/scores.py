"""The scores that a network gives masks that it did not draw for the slice itself: a hint where to look first.

They were made elsewhere, or carried from another time point of a sequence.

Scores are no part of the history: a score counts as long as its slice has the mask that was scored, whatever step of
undo brought that mask, and as long as nobody computed or accepted another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .masks import MaskState, PackedMask
from .prompts import MaskPrompt

if TYPE_CHECKING:
    from .segment_object import SegmentObject

_SLIVER = 0.1
"""A mask at an end of the object with less than this part of the largest one's pixels is the last to look at."""

_SCORED = (MaskState.STARTED, MaskState.ACCEPTED)


@dataclass(frozen=True)
class MaskScore:
    """The score of the mask of one slice.

    Attributes:
        mask: that was scored.
        doubted: its pixels, or those beside it, that are doubted.
        confidence: 0..1.
        beside: the masks on the two slices below and the two above, on which it depends; None = not known, such as in
            a saved session.
    """

    mask: PackedMask
    doubted: float
    confidence: float
    beside: tuple[PackedMask | None, ...] | None = None


@dataclass
class MaskScores:
    """The scores of all objects of a session, by object and slice index."""

    _found: dict[int, dict[int, MaskScore]] = field(default_factory=dict)

    def put(self, object_id: int, index: int, score: MaskScore) -> None:
        """Keep the score of a slice in place of an earlier one."""
        self._found.setdefault(object_id, {})[index] = score

    def of(self, obj: SegmentObject) -> dict[int, MaskScore]:
        """The scores that count, by slice index: of masks that the object started from, or that were carried to it."""
        return {
            index: score
            for index, score in self._found.get(obj.id, {}).items()
            if _scored_mask(obj, index) == score.mask
        }

    def outdated(self, obj: SegmentObject, indices: Iterable[int]) -> list[int]:
        """Those of some slices that have no score, or one that was made beside other masks."""
        known, masks = self.of(obj), {index: stored.mask for index, stored in obj.masks.items()}
        return [
            index
            for index in indices
            if index not in known or known[index].beside != masks_beside(masks, index)
        ]

    def overtaken(self, obj: SegmentObject) -> list[int]:
        """The slices whose scores were made beside masks that have been changed since."""
        known = [index for index, score in self.of(obj).items() if score.beside is not None]
        return self.outdated(obj, sorted(known))

    def outdate(self) -> None:
        """Let all be made again when they are asked for, since another network looks now; until then they count."""
        for scores in self._found.values():
            for index, score in scores.items():
                scores[index] = MaskScore(score.mask, score.doubted, score.confidence)

    def saved(self, obj: SegmentObject) -> dict[str, list[float]]:
        """The scores that count, for a file: doubted pixels and confidence by slice index."""
        return {
            str(index): [round(score.doubted, 2), round(score.confidence, 4)]
            for index, score in self.of(obj).items()
        }

    def restore(self, obj: SegmentObject, saved: Mapping[str, list[float]]) -> None:
        """Take in what `saved` gave, for the masks that the object has now."""
        for key, (doubted, confidence) in saved.items():
            mask = _scored_mask(obj, int(key))
            if mask is not None:
                self.put(obj.id, int(key), MaskScore(mask, float(doubted), float(confidence)))


def is_carried(obj: SegmentObject, index: int) -> bool:
    """Return whether all that is given on a slice is one mask, and nobody has accepted or drawn what came of it."""
    stored, prompts = obj.masks.get(index), obj.prompts_on(index)
    return len(prompts) == 1 and isinstance(prompts[0], MaskPrompt) and not (stored and stored.is_kept)


def _scored_mask(obj: SegmentObject, index: int) -> PackedMask | None:
    """The mask of a slice that a score is about; None where the network has seen to the slice itself."""
    stored, prompts = obj.masks.get(index), obj.prompts_on(index)
    if is_carried(obj, index) and isinstance(prompts[0], MaskPrompt):
        return PackedMask.from_array(prompts[0].mask)
    return stored.mask if stored is not None and stored.state in _SCORED else None


def masks_beside(masks: Mapping[int, PackedMask], index: int) -> tuple[PackedMask | None, ...]:
    """The masks on the two slices below and the two above a slice; None where there is none."""
    return tuple(masks.get(index + step) for step in (-2, -1, 1, 2))


def review_order(doubted: Mapping[int, float], areas: Mapping[int, int]) -> list[int]:
    """Slices in the order in which they should be looked at: the most doubted first, slivers at both ends last.

    Args:
        doubted: pixels by slice index.
        areas: pixels of all masks of the object by slice index.
    """
    small = _slivers(areas)
    return sorted(doubted, key=lambda index: (index in small, -doubted[index], index))


def _slivers(areas: Mapping[int, int]) -> set[int]:
    """The slices with small masks at both ends of an object, by the pixels of all its masks."""
    filled = [index for index, area in sorted(areas.items()) if area]
    least = _SLIVER * max(areas.values(), default=0)
    found: set[int] = set()
    for order in (filled, filled[::-1]):
        for index in order:
            if areas[index] >= least:
                break
            found.add(index)
    return found
