"""What a network remembers of one object, and what of it counts on a slice.

The rules are those of the official SAM 2 video predictor: the conditioning slices (those the user prompted) always
count and share the last temporal index; of the slices tracked before, the nearest `num_memories - 1` in tracking order
count, the nearest with index 0; object pointers reach back further and carry their distance in slices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor
from torch.nn import functional

from .memory_attention import MemoryKeys

MEMORY_POLICIES = ("all", "prune")
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
    """What counts on one slice: spatial memories with temporal index, and pointers with signed distance in slices."""

    memories: list[tuple[MemoryKeys, int]]
    pointers: list[tuple[Tensor, float]]

    @property
    def signature(self) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """What must agree for objects to be computed as one batch."""
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
        """What counts on slice `index` when tracking towards higher (`step` +1) or lower (-1) indices."""
        last = self.num_memories - 1
        memories = [(memory.keys, last) for memory in self.conditioning.values() if memory.keys is not None]
        prompted = len(memories)
        for distance in range(last, 0, -1):
            memory = self.history.get(index - step * distance)
            if memory is not None and memory.keys is not None:
                memories.append((memory.keys, distance - 1))
        if self.policy == "prune":
            memories = pruned(memories, prompted, self.num_memories - PRUNED_MEMORIES)
        pointers = [
            (memory.pointer, float((index - at) * step))
            for at, memory in self.conditioning.items()
            if (index - at) * step >= 0
        ]
        for distance in range(1, self.pointer_span):
            at = index - step * distance
            if not 0 <= at < self.slice_count:
                break
            if at in self.history:
                pointers.append((self.history[at].pointer, float(distance)))
        return Recollection(memories, pointers)

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
