"""The voxels that each segment shows where the masks of several meet: a function of the masks and their claims alone.

Every mask carries a claim, which says when it was asked for and from whom it takes voxels. The masks are laid down in
the order of their claims; so undo, which brings an earlier mask back with its earlier claim, gives every segment back
what it had.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

GIVE_WAY = ("stop", "none", "visible", "all")
"""What happens where a new mask meets other segments: it stops at those that are visible (the default), both hold the
voxels, or visible ones or all give way; locked ones never give way."""


@dataclass(frozen=True)
class Claim:
    """The turn and the limits of a mask's claim to voxels that another segment has.

    Attributes:
        turn: counts the masks of a session as they were asked for; 0 for a mask that was there before.
        takes: whether other segments lose the voxels that they claimed at an earlier turn.
        spared: segments that keep theirs all the same: those that were locked or, if so chosen, hidden at that turn.
    """

    turn: int = 0
    takes: bool = False
    spared: frozenset[str] = frozenset()


BEFORE_ALL = Claim()
"""The claim of a mask that was there before all others."""


class Claims:
    """Counts the claims of one session."""

    def __init__(self) -> None:
        self._turn = 0

    def new(self, takes: bool = False, spared: frozenset[str] = frozenset()) -> Claim:
        """The claim of masks that are asked for now."""
        self._turn += 1
        return Claim(self._turn, takes, spared)

    def renewed(self, claim: Claim) -> Claim:
        """The same claim, made now: that of a mask which the user edited."""
        return self.new(claim.takes, claim.spared)

    def go_on_after(self, claims: Iterable[Claim]) -> None:
        """Let the next claim come after these, such as those of masks that were saved."""
        self._turn = max([self._turn, *(claim.turn for claim in claims)])


@dataclass(frozen=True, eq=False)
class ClaimedMask:
    """One mask of a segment, bool of any shape, with its claim; a segment may have several in one place."""

    segment_id: str
    mask: npt.NDArray[np.bool_]
    claim: Claim


def shown(masks: Iterable[ClaimedMask]) -> dict[str, npt.NDArray[np.bool_]]:
    """Return what each segment shows: new bool arrays of the masks' common shape, by segment."""
    found: dict[str, npt.NDArray[np.bool_]] = {}
    for each in sorted(masks, key=lambda each: each.claim.turn):
        if each.claim.takes:
            for other, held in found.items():
                if other != each.segment_id and other not in each.claim.spared:
                    held &= ~each.mask
        known = found.get(each.segment_id)
        found[each.segment_id] = each.mask.copy() if known is None else known | each.mask
    return found
