"""The memories of one object that a network keeps, and those that count on a slice.

The rules are those of :mod:`..sam2.recall`. With the policy "prune", of the memories that would count those most like
the nearest are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor
from torch.nn import functional

from ..sam2.recall import recalled
from .memory_attention import MemoryKeys

PRUNED_MEMORIES = 2
"""By how many spatial memories fewer count with the policy "prune" than the network can hold."""


@dataclass(frozen=True)
class SliceMemory:
    """One slice as later slices remember it.

    Args:
        pointer: (1, C) the object in one vector.
        keys: the spatial memory, ready to be attended to; dropped (None) once out of reach.
    """

    pointer: Tensor
    keys: MemoryKeys | None

    def without_keys(self) -> SliceMemory:
        """The same without its spatial memory, of which a pointer is all that is still needed."""
        return SliceMemory(self.pointer, None)


@dataclass(frozen=True)
class Recollection:
    """The memories that count on a slice: spatial ones with temporal index, pointers with signed distance in slices."""

    memories: list[tuple[MemoryKeys, int]]
    pointers: list[tuple[Tensor, float]]

    @property
    def signature(self) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Return what must agree for objects to be computed as one batch."""
        return tuple(index for _, index in self.memories), tuple(distance for _, distance in self.pointers)


@dataclass
class MemoryBank:
    """The memories of one object.

    Args:
        num_memories, max_object_pointers: the network's, see `Config`.
        slice_count: number of slices of the volume; pointers reach back fewer slices in a volume of fewer.
        conditioning: slices the user prompted.
        history: slices tracked from them.
        policy: "all" or "prune"; see the module's docstring.
    """

    num_memories: int
    max_object_pointers: int
    slice_count: int
    conditioning: dict[int, SliceMemory] = field(default_factory=dict)
    history: dict[int, SliceMemory] = field(default_factory=dict)
    policy: str = "all"

    @property
    def pointer_span(self) -> int:
        """Number of slices over which pointers reach, the slice itself included."""
        return min(self.slice_count, self.max_object_pointers)

    def recall(self, index: int, step: int) -> Recollection:
        """Return what counts on slice `index` when tracking toward higher (`step` +1) or lower (-1) indices."""
        own = (self.num_memories, self.pointer_span)
        prompted, tracked = recalled(index, step, self.conditioning, self.history, *own)
        memories = [(self.conditioning[at].keys, when) for at, when in prompted.memories]
        memories += [(self.history[at].keys, when) for at, when in tracked.memories]
        there = [(keys, when) for keys, when in memories if keys is not None]
        if self.policy == "prune":
            protected = sum(self.conditioning[at].keys is not None for at in self.conditioning)
            there = pruned(there, protected, self.num_memories - PRUNED_MEMORIES)
        pointers = [(self.conditioning[at].pointer, distance) for at, distance in prompted.pointers]
        pointers += [(self.history[at].pointer, distance) for at, distance in tracked.pointers]
        return Recollection(there, pointers)

    def forget(self, within_reach: Callable[[int, int], bool]) -> None:
        """Drop what no later slice can use.

        Args:
            within_reach: given a slice and a distance, whether any slice still to come lies within that distance.
        """
        for at in list(self.history):
            if not within_reach(at, self.pointer_span - 1):
                del self.history[at]
            elif self.history[at].keys is not None and not within_reach(at, self.num_memories - 1):
                self.history[at] = self.history[at].without_keys()


def pruned(memories: list[tuple[MemoryKeys, int]], protected: int, most: int) -> list[tuple[MemoryKeys, int]]:
    """The spatial memories without those that are most like the nearest, in the same order.

    Args:
        memories: those of conditioning slices, then the others, the nearest last.
        protected: how many of them, from the first, stay in any case; the nearest stays too.
        most: how many may stay.
    """
    free = range(protected, len(memories) - 1)
    excess = min(len(memories) - most, len(free))
    if excess <= 0:
        return memories
    nearest = memories[-1][0].values.float()  # (B, D, hw)
    alike = [
        float(functional.cosine_similarity(memories[n][0].values.float(), nearest, dim=1).sum(1).mean())
        for n in free
    ]
    gone = sorted(free, key=lambda n: -alike[n - protected])[:excess]
    return [memory for n, memory in enumerate(memories) if n not in gone]
