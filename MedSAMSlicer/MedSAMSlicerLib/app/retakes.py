"""What took voxels back from other segments, so that undo and redo give every segment what it had."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from ..core.moving import Mover
from ..core.overlap import Order
from ..core.prompts import Prompt
from ..core.segment_object import SegmentObject


@dataclass(frozen=True)
class Asked:
    """Masks that the user has just asked for.

    Attributes:
        indices: their slices.
        prompts: of a slice that was previewed; None for a run.
        run: the session's number of a run; 0 for a preview.
    """

    indices: frozenset[int]
    prompts: tuple[Prompt, ...] | None = None
    run: int = 0

    def stands(self, obj: SegmentObject) -> bool:
        """Return whether the object is one for which this was asked, and that was not undone."""
        return obj.run >= self.run if self.prompts is None else self._is_said(obj)

    def is_back(self, obj: SegmentObject) -> bool:
        """Return whether it was undone and is done again."""
        return obj.run == self.run if self.prompts is None else self._is_said(obj)

    def moved(self, move: Mover) -> Asked:
        """The same with its prompts moved."""
        return self if self.prompts is None else replace(self, prompts=tuple(map(move, self.prompts)))

    def _is_said(self, obj: SegmentObject) -> bool:
        prompts = self.prompts or ()
        return all(obj.prompts_on(index)[: len(prompts)] == prompts for index in self.indices)


class Retakes:
    """What took voxels back, by object: what stands, and what was undone, the last one last."""

    def __init__(self) -> None:
        self._standing: dict[int, list[tuple[Asked, Mapping[int, Order]]]] = {}
        self._undone: dict[int, list[Asked]] = {}

    def note(self, object_id: int, asked: Collection[Asked], orders: Mapping[int, Order]) -> None:
        """Slices took voxels back; `orders` are those before."""
        for each in asked:
            held = {index: order for index, order in orders.items() if index in each.indices}
            if held:
                self._standing.setdefault(object_id, []).append((each, held))

    def renew(self, object_id: int) -> None:
        """The user did something new: what was undone is not done again."""
        self._undone.pop(object_id, None)

    def undone(self, obj: SegmentObject) -> list[Order]:
        """The orders that are to be put back, the earliest first, since what changed them was undone."""
        orders: list[Order] = []
        standing = self._standing.get(obj.id, [])
        while standing and not standing[-1][0].stands(obj):
            asked, held = standing.pop()
            self._undone.setdefault(obj.id, []).append(asked)
            orders = [*held.values(), *orders]
        return orders

    def done_again(self, obj: SegmentObject) -> list[Asked]:
        """Return what takes voxels back once more, since it is done again."""
        undone, found = self._undone.get(obj.id, []), []
        while undone and undone[-1].is_back(obj):
            found.append(undone.pop())
        return found

    def move(self, move: Mover) -> None:
        """The volume lies elsewhere, and with it all prompts."""
        for standing in self._standing.values():
            standing[:] = [(asked.moved(move), held) for asked, held in standing]
        for undone in self._undone.values():
            undone[:] = [asked.moved(move) for asked in undone]

    def forget(self, object_id: int) -> None:
        """The object is gone."""
        self._standing.pop(object_id, None)
        self._undone.pop(object_id, None)
