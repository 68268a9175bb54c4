"""Whose voxel it is: what a mask took from other segments, so that it can be given back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Voxels = npt.NDArray[np.int64]  # flat indices into the volume's (K, J, I), each once


class Ledger:
    """Voxels that one segment (the taker) took from others (the owners)."""

    def __init__(self) -> None:
        self._taken: dict[str, dict[str, Voxels]] = {}

    def take(self, taker: str, owner: str, voxels: Voxels) -> None:
        """Remember that `taker` has these voxels of `owner` now."""
        claims = self._taken.setdefault(taker, {})
        claims[owner] = np.union1d(claims.get(owner, _none()), voxels)

    def give_back(self, taker: str, left: Voxels) -> dict[str, Voxels]:
        """The voxels among `left`, which the taker no longer has, by the segment they came from."""
        back = {}
        for owner, voxels in list(self._taken.get(taker, {}).items()):
            returned = np.isin(voxels, left)
            if returned.any():
                back[owner] = voxels[returned]
                self._keep(taker, owner, voxels[~returned])
        return back

    def give_up(self, owner: str, voxels: Voxels) -> None:
        """`owner` does not want these voxels back; whom it had taken them from gets them instead."""
        inherited = self.give_back(owner, voxels)
        for taker, claimed in self._claims_on(owner):
            mine = np.isin(claimed, voxels)
            self._keep(taker, owner, claimed[~mine])
            for first_owner, given in inherited.items():
                handed_on = np.intersect1d(claimed[mine], given)
                if len(handed_on) and first_owner != taker:
                    self.take(taker, first_owner, handed_on)

    def forget(self, owner: str, voxels: Voxels) -> None:
        """`owner` has these voxels again, or says otherwise of them."""
        for taker, claimed in self._claims_on(owner):
            self._keep(taker, owner, claimed[~np.isin(claimed, voxels)])

    def claimed_from(self, owner: str) -> Voxels:
        """All voxels that others took from `owner`."""
        claims = [voxels for _, voxels in self._claims_on(owner)]
        return np.unique(np.concatenate(claims)) if claims else _none()

    def remove(self, segment_id: str) -> dict[str, Voxels]:
        """Strike a segment out; returns what it had taken, by owner."""
        self.give_up(segment_id, self.claimed_from(segment_id))
        return self._taken.pop(segment_id, {})

    def __bool__(self) -> bool:
        return bool(self._taken)

    def _claims_on(self, owner: str) -> Iterator[tuple[str, Voxels]]:
        for taker, claims in list(self._taken.items()):
            if owner in claims:
                yield taker, claims[owner]

    def _keep(self, taker: str, owner: str, voxels: Voxels) -> None:
        claims = self._taken[taker]
        if len(voxels):
            claims[owner] = voxels
        else:
            claims.pop(owner, None)
            if not claims:
                self._taken.pop(taker)


def _none() -> Voxels:
    return np.empty(0, dtype=np.int64)
