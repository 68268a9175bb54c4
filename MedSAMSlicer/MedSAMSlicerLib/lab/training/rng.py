"""Random choices that depend on a seed and a count alone, so that a run can stop anywhere and be shared among GPUs."""

from __future__ import annotations

import numpy

from .fields import Source


def seed_of(*numbers: int) -> int:
    """One seed from several whole numbers, such as a run's seed and a step; all of them >= 0."""
    return int(numpy.random.SeedSequence(numbers).generate_state(1, numpy.uint64)[0] >> 2)


class SeededRng(Source):
    """The choices of one step: those for the whole batch, and a stream of its own for each clip.

    A clip's choices depend on its number in the whole batch, wherever it is computed.

    Args:
        seeds: What the step is known by.
        first: Number of this process's first clip in the batch of all processes.
    """

    def __init__(self, *seeds: int, first: int = 0) -> None:
        super().__init__(seed_of(*seeds))
        self._seeds, self._first = seeds, first
        self._clips: dict[int, Source] = {}

    def of(self, clip: int) -> Source:
        """The stream of the clip with that position in this process's batch."""
        if clip not in self._clips:
            self._clips[clip] = Source(seed_of(*self._seeds, 1 + self._first + clip))
        return self._clips[clip]


def of_clip(source: Source, clip: int) -> Source:
    """The stream for one clip of a batch: its own where there is one, else the one for all."""
    return source.of(clip) if isinstance(source, SeededRng) else source
