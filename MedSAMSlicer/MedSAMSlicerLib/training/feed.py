"""Batches from a process of its own, so that the trainer never waits for the generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from multiprocessing.queues import Queue
from queue import Full

import torch
import torch.multiprocessing

from .clips import Batch, ClipSampler, ClipSettings
from .fields import Source
from .settings import TrainSettings
from .synthetic import SceneSettings


def scene_size(size: int) -> int:
    """Side of the scenes from which windows of `size` pixels are cut: enough for small objects to be coarse."""
    return min(3 * size // 2, 224)


class ClipStream:
    """Seeded batches for one stage; the length of the clips says what a batch is for (see `Trainer.step`).

    Stage 1: single slices, and pairs of neighbours for teacher-forced steps. Stage 2: mostly longer clips.
    """

    def __init__(self, settings: TrainSettings, seed: int) -> None:
        self.settings = settings
        self.source = Source(seed)
        slices = 8 if settings.stage == 1 else settings.longest + 3
        clips = ClipSettings(size=settings.size)
        uses = settings.uses * (2 if settings.stage == 1 else 1)
        scenes = SceneSettings(slices=slices, size=scene_size(settings.size))
        self.sampler = ClipSampler(self.source, scenes, clips, settings.pool, uses)

    def length(self) -> int:
        """Slices of the next batch's clips."""
        single = self.settings.stage == 1 or self.source.chance(self.settings.single_share)
        if single:
            return 2 if self.source.chance(0.3) else 1
        return self.source.integer(self.settings.shortest, self.settings.longest)

    def next(self) -> Batch:
        length = self.length()
        frames = self.settings.frames if length > 1 else self.settings.frames * 2 // 3
        return self.sampler.batch(max(1, frames // length), length)


def _produce(queue: Queue[Batch], settings: TrainSettings, seed: int) -> None:
    """Fill the queue until the trainer is gone, even if it was killed."""
    torch.set_num_threads(1)
    trainer = parent_process()
    stream = ClipStream(settings, seed)
    while True:
        batch = stream.next()
        while True:
            if trainer is not None and not trainer.is_alive():
                return
            try:
                queue.put(batch, timeout=5)
                break
            except Full:
                continue


@contextmanager
def batches(settings: TrainSettings, seed: int) -> Iterator[Iterator[Batch]]:
    """An endless iterator of batches; its worker processes end with the context."""
    if settings.workers == 0:
        stream = ClipStream(settings, seed)
        yield iter(stream.next, None)
        return
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue(maxsize=12)
    workers = [
        context.Process(target=_produce, args=(queue, settings, seed + 7919 * number), daemon=True)
        for number in range(settings.workers)
    ]
    for worker in workers:
        worker.start()
    try:
        yield iter(queue.get, None)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
