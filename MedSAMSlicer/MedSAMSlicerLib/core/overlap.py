"""Whose voxel it is where several segments claim one, so that what was taken can be given back.

For each contested voxel the overlaps keeps the order in which segments came to claim it, and which of them want it
now. It belongs to the last in that order who wants it. Since leaving keeps the place in the order, undoing and
redoing masks gives every segment exactly what it had.

Few different situations occur, so each has a number, and one array holds the number of each voxel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Voxels = npt.NDArray[np.int64]  # flat indices into the volume's (K, J, I), each once
Flags = npt.NDArray[np.bool_]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Claims:
    """Who claims a voxel.

    Attributes:
        order: the first to come first; those in one tuple had the voxel together.
        wanting: who wants it now.
    """

    order: tuple[tuple[str, ...], ...] = ()
    wanting: frozenset[str] = frozenset()

    @property
    def members(self) -> frozenset[str]:
        """All who ever claimed it."""
        return frozenset(member for rank in self.order for member in rank)

    @property
    def owners(self) -> frozenset[str]:
        """Return who has it."""
        for rank in reversed(self.order):
            if not self.wanting.isdisjoint(rank):
                return self.wanting & frozenset(rank)
        return frozenset()

    def without(self, segment_id: str) -> Claims:
        """Without a place for a segment; nobody's, when nothing is left to contest."""
        ranks = (tuple(member for member in rank if member != segment_id) for rank in self.order)
        order = tuple(rank for rank in ranks if rank)
        return Claims(order, self.wanting - {segment_id}) if len(order) > 1 else _UNCONTESTED

    def entered(self, segment_id: str, holders: frozenset[str]) -> Claims:
        """With a segment wanting it, which `holders` have now."""
        order = self.order
        strangers = tuple(sorted(holders - self.members))
        if strangers:  # who came while this segment was away is before it in the order
            order = (*self.without(segment_id).order, strangers, (segment_id,))
        elif order and segment_id not in self.members:
            order = (*order, (segment_id,))
        if not order:
            return _UNCONTESTED
        return Claims(order, self.wanting | holders | {segment_id})

    def as_in(self, then: Claims) -> Claims:
        """In the order of `then`, if the same ones want it; who came later stands behind."""
        if self.wanting != then.wanting or not then.members <= self.members:
            return self
        later = (tuple(member for member in rank if member not in then.members) for rank in self.order)
        return Claims((*then.order, *(rank for rank in later if rank)), self.wanting)

    def last(self, segment_id: str) -> Claims:
        """With a segment as the last to come."""
        if segment_id not in self.members:
            return self
        ranks = (tuple(member for member in rank if member != segment_id) for rank in self.order)
        return Claims((*(rank for rank in ranks if rank), (segment_id,)), self.wanting)


_UNCONTESTED = Claims()


@dataclass(frozen=True, eq=False)
class Order:
    """Who came when on some contested voxels, at one time; made and read by the overlaps alone."""

    voxels: Voxels
    numbers: npt.NDArray[np.uint16]


class OverlapOrders:
    """The contested voxels of a segmentation; no memory is used until there are some."""

    def __init__(self) -> None:
        self._numbers: npt.NDArray[np.uint16] | None = None
        self._claims: list[Claims] = [_UNCONTESTED]
        self._number_of: dict[Claims, int] = {_UNCONTESTED: 0}

    def __bool__(self) -> bool:
        return self._numbers is not None

    def knows(self, segment_id: str) -> bool:
        """Return whether a segment ever claimed a contested voxel."""
        return any(segment_id in claims.members for claims in self._claims)

    def enter(
        self, segment_id: str, voxels: Voxels, holders: Mapping[str, Flags], take: bool, shape: Shape
    ) -> Flags:
        """A segment wants voxels that it has not; returns which become its own.

        Args:
            segment_id: who wants them.
            voxels: which, (N,).
            holders: by segment, which of them others have and may lose, (N,).
            take: whether it may take anything; without, it gets a voxel beside the others and claims nothing.
            shape: of the volume.
        """
        if not take:
            self.strike(segment_id, voxels)
            return np.ones(len(voxels), dtype=np.bool_)
        if self._numbers is None:
            if not holders:
                return np.ones(len(voxels), dtype=np.bool_)
            # calloc: only the pages that hold contested voxels take memory.
            self._numbers = np.zeros(int(np.prod(shape)), dtype=np.uint16)
        # One group of voxels for each situation and set of holders.
        names = list(holders)
        sets, which = _groups(np.stack([holders[name] for name in names], axis=1)) if names else ([()], None)
        numbers = self._numbers[voxels].astype(np.int64)
        keys = numbers if which is None else numbers * len(sets) + which
        gained = np.zeros(len(voxels), dtype=np.bool_)
        for key in np.flatnonzero(np.bincount(keys, minlength=1)).tolist():
            here = keys == key
            number, column = divmod(key, len(sets))
            having = frozenset(name for name, has in zip(names, sets[column], strict=True) if has)
            after = self._claims[number].entered(segment_id, having)
            self._numbers[voxels[here]] = self._number(after)
            gained[here] = not after.order or segment_id in after.owners
        return gained

    def leave(self, segment_id: str, voxels: Voxels) -> dict[str, Voxels]:
        """A segment wants voxels no more; returns, by segment, those that become the property of others."""
        return self._change(voxels, lambda claims: Claims(claims.order, claims.wanting - {segment_id}))

    def come_last(self, segment_id: str, voxels: Voxels) -> None:
        """A segment takes its place at the end of the order."""
        self._change(voxels, lambda claims: claims.last(segment_id))

    def contested(self, segment_id: str, voxels: tuple[slice | int, ...], shape: Shape) -> Flags:
        """On which voxels of a part of the volume a segment has a place in the order."""
        with_it = np.array([segment_id in claims.members for claims in self._claims])
        assert self._numbers is not None
        return np.asarray(with_it[self._numbers.reshape(shape)[voxels]])

    def order(self, voxels: Voxels) -> Order:
        """The order as it is now on contested voxels."""
        assert self._numbers is not None
        return Order(voxels, self._numbers[voxels])

    def put_back(self, order: Order, locked: frozenset[str]) -> tuple[dict[str, Voxels], dict[str, Voxels]]:
        """Let segments stand in the order in which they stood, as far as the same ones want the same voxels now.

        Returns, by segment, the voxels it gets by that and those it loses; where one of `locked` would, nothing
        changes.
        """
        gained: dict[str, list[Voxels]] = {}
        lost: dict[str, list[Voxels]] = {}
        if self._numbers is None:
            return {}, {}
        pairs = np.stack([self._numbers[order.voxels], order.numbers], axis=1)
        for now, then in np.unique(pairs, axis=0).tolist():
            before = self._claims[now]
            after = before.as_in(self._claims[then])
            moving = before.owners ^ after.owners
            if before == after or moving & locked:
                continue
            here = order.voxels[(pairs == (now, then)).all(axis=1)]
            self._numbers[here] = self._number(after)
            for owner in moving:
                (gained if owner in after.owners else lost).setdefault(owner, []).append(here)
        return (
            {owner: np.concatenate(found) for owner, found in gained.items()},
            {owner: np.concatenate(found) for owner, found in lost.items()},
        )

    def lent(self, segment_id: str, voxels: tuple[slice | int, ...], shape: Shape) -> Flags:
        """Which voxels of a part of the volume a segment wants and another has."""
        lent = [segment_id in claims.wanting - claims.owners for claims in self._claims]
        if self._numbers is None:
            return np.zeros(np.empty(shape, dtype=np.bool_)[voxels].shape, dtype=np.bool_)
        return np.asarray(np.array(lent)[self._numbers.reshape(shape)[voxels]])

    def strike(self, segment_id: str, voxels: Voxels) -> None:
        """A segment has no claim any more to voxels; nobody gets or loses any by that."""
        self._change(voxels, lambda claims: claims.without(segment_id))

    def remove(self, segment_id: str) -> dict[str, Voxels]:
        """A segment is gone; returns, by segment, the voxels that become the property of others."""
        if self._numbers is None:
            return {}
        with_it = np.array([segment_id in claims.members for claims in self._claims])
        voxels = np.flatnonzero(with_it[self._numbers])
        freed = self.leave(segment_id, voxels)
        self.strike(segment_id, voxels)
        return freed

    def _change(self, voxels: Voxels, step: Callable[[Claims], Claims]) -> dict[str, Voxels]:
        """Change the claims on voxels; returns, by segment, the voxels that it has only now."""
        if self._numbers is None or not len(voxels):
            return {}
        numbers = self._numbers[voxels]
        gained: dict[str, list[Voxels]] = {}
        for number in np.flatnonzero(np.bincount(numbers)).tolist():
            before = self._claims[number]
            after = step(before)
            if after == before or not number:
                continue
            here = voxels[numbers == number]
            self._numbers[here] = self._number(after)
            for owner in after.owners - before.owners:
                gained.setdefault(owner, []).append(here)
        return {owner: np.concatenate(found) for owner, found in gained.items()}

    def _number(self, claims: Claims) -> int:
        if claims not in self._number_of:
            self._number_of[claims] = len(self._claims)
            self._claims.append(claims)
        return self._number_of[claims]


def _groups(flags: Flags) -> tuple[list[tuple[bool, ...]], npt.NDArray[np.int64]]:
    """The different rows of (N, M) flags, and which of them each row is."""
    rows, which = np.unique(np.packbits(flags, axis=1), axis=0, return_inverse=True)
    sets = np.unpackbits(rows, axis=1, count=flags.shape[1]).astype(bool)
    return [tuple(row) for row in sets.tolist()], which.reshape(-1)
