"""The slices that count on a slice: the rules of the official SAM 2 video predictor, as indices alone.

The conditioning slices (those the user prompted) always count and share the last temporal index; of the slices tracked
before, the nearest `num_memories - 1` in tracking order count, the nearest with index 0; object pointers reach back
further and carry their distance in slices.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Recalled:
    """Slices that count on another one.

    Attributes:
        memories: those whose spatial memories count, each with its temporal index.
        pointers: those whose object pointers count, each with its signed distance in slices.
    """

    memories: tuple[tuple[int, int], ...]
    pointers: tuple[tuple[int, float], ...]


def recalled(
    index: int,
    step: int,
    conditioning: Collection[int],
    tracked: Collection[int],
    num_memories: int,
    pointer_span: int,
) -> tuple[Recalled, Recalled]:
    """The slices that count on `index`, tracking to higher (`step` 1) or lower (-1) ones: prompted, and tracked.

    Args:
        index: of the slice.
        step: 1 or -1.
        conditioning: prompted slices, in the order in which they count.
        tracked: slices that were tracked.
        num_memories: spatial memories of the network, conditioning ones included.
        pointer_span: slices over which pointers reach, the slice itself included.
    """
    last = num_memories - 1
    prompted = Recalled(
        tuple((at, last) for at in conditioning),
        tuple((at, float((index - at) * step)) for at in conditioning if (index - at) * step >= 0),
    )
    behind = {distance: index - step * distance for distance in range(1, max(num_memories, pointer_span))}
    found = {distance: at for distance, at in behind.items() if at in tracked}
    return prompted, Recalled(
        tuple((found[distance], distance - 1) for distance in range(last, 0, -1) if distance in found),
        tuple((at, float(distance)) for distance, at in found.items() if distance < pointer_span),
    )
