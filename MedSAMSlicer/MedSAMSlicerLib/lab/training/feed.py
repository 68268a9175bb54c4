"""Batches from processes of their own, so that the trainer never waits for the generator.

Batches are numbered by the step they are for. How long the clips of a number are follows from seed and number alone, so
that several trainers agree on it. Clips of labeled volumes follow from seed and number as a whole; generated scenes
come from a pool that each leg starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from queue import Empty, Full
from typing import Protocol

import torch
import torch.multiprocessing

from ...core.errors import MedSAMError
from . import distributed
from .clips import Batch, ClipSampler, ClipSettings, clip_count, clip_length, scene_size
from .fields import Source
from .labeled import find_cases, read_cases, split
from .mixture import MixedStream
from .rng import seed_of
from .settings import TrainSettings
from .synthetic import SceneSettings, make_scene
from .volume_clips import Augmentation, VolumeClips

_CLIPS, _SCENES = 2, 3  # what a seed is for
_QUEUE = 12


class Stream(Protocol):
    """Makes the batch of a step; the length of its clips says what it is for (see `Trainer.step`)."""

    def batch(self, number: int) -> Batch:
        """The batch with that number."""
        ...


class ClipStream:
    """Clips of generated scenes from a pool of its own."""

    def __init__(self, settings: TrainSettings, seed: int) -> None:
        self.settings = settings
        self.source = Source(seed, settings.scene_device)
        slices = 8 if settings.stage == 1 else 2 * settings.longest - 2
        clips = ClipSettings(size=settings.size)
        uses = settings.uses * (2 if settings.stage == 1 else 1)
        scenes = SceneSettings(slices=slices, size=scene_size(settings.size))
        make = partial(make_scene, self.source, scenes)
        self.sampler = ClipSampler(self.source, make, clips, settings.pool, uses)

    def batch(self, number: int) -> Batch:
        """As many clips as the number's length allows, the next ones from the pool."""
        length = clip_length(self.settings, number)
        return self.sampler.batch(clip_count(self.settings, length), length)


class VolumeStream:
    """Clips of labeled volumes; each process of several makes its part of the whole batch.

    The first worker of the first process names the volumes it cannot use, unless validation has read them all.
    """

    def __init__(self, settings: TrainSettings, margin: float | None, rank: int = 0, worker: int = 0) -> None:
        assert settings.data is not None
        self.settings, self.rank = settings, rank
        cases = find_cases(settings.data.folder, warn=False)
        training, held_out = split(cases, settings.data, settings.seed)
        warn = training != held_out and rank == worker == 0
        volumes = read_cases(training, settings.data.window, warn, settings.data.smallest)
        shortest = settings.shortest if settings.stage == 2 else 2 if settings.pair_share else 1
        self.clips = VolumeClips(
            volumes, settings.size, margin, Augmentation(), shortest, settings.unions, settings.fit
        )

    def batch(self, number: int) -> Batch:
        """This process's part of the clips of a number."""
        length = clip_length(self.settings, number)
        count = clip_count(self.settings, length)
        seed = seed_of(self.settings.seed, _CLIPS, number)
        return self.clips.batch(seed, count, length, first=self.rank * count)


def make_stream(settings: TrainSettings, margin: float | None, leg: int, rank: int, worker: int) -> Stream:
    """The stream of one worker of one process. Raises VolumeError when labeled volumes cannot be used."""
    if settings.mixture is not None:
        return MixedStream(settings, margin, leg, rank, worker)
    if settings.data is not None:
        return VolumeStream(settings, margin, rank, worker)
    return ClipStream(settings, seed_of(settings.seed, _SCENES, leg, rank, worker))


def _produce(
    queue: Queue[Batch | str],
    settings: TrainSettings,
    margin: float | None,
    leg: int,
    rank: int,
    worker: int,
    start: int,
) -> None:
    """Fill the queue with every `workers`-th batch until the trainer is gone, even if it was killed."""
    torch.set_num_threads(1)
    try:
        stream = make_stream(settings, margin, leg, rank, worker)
        number = start + worker
        while _offer(queue, stream.batch(number)):
            number += settings.workers
    except MedSAMError as error:
        _offer(queue, str(error))


def _offer(queue: Queue[Batch | str], item: Batch | str) -> bool:
    """Wait for a place in the queue; False when the trainer is gone."""
    trainer = parent_process()
    while trainer is None or trainer.is_alive():
        try:
            queue.put(item, timeout=5)
            return True
        except Full:
            continue
    queue.cancel_join_thread()  # nobody reads what is left: the process must not wait for that at its end
    return False


def _take(queue: Queue[Batch | str], worker: BaseProcess) -> Batch:
    """The next batch of a worker. Raises MedSAMError with the worker's message, or when it is gone."""
    while True:
        try:
            item = queue.get(timeout=5)
        except Empty:
            if worker.is_alive():
                continue
            raise MedSAMError(
                "A process that makes training clips has ended; there may be too little memory."
            ) from None
        if isinstance(item, str):
            raise MedSAMError(item)
        return item


@contextmanager
def batches(settings: TrainSettings, margin: float | None, leg: int, start: int) -> Iterator[Iterator[Batch]]:
    """The batches of all steps from `start` on; the worker processes end with the context.

    Args:
        margin: `Config.crop_margin`.
        leg: generated scenes differ from leg to leg.
    """
    rank = distributed.rank()
    if settings.workers == 0:
        stream = make_stream(settings, margin, leg, rank, 0)
        yield (stream.batch(number) for number in _counted(start))
        return
    context = torch.multiprocessing.get_context("spawn")
    queues = [context.Queue(maxsize=max(2, _QUEUE // settings.workers)) for _ in range(settings.workers)]
    workers = [
        context.Process(
            target=_produce, args=(queue, settings, margin, leg, rank, number, start), daemon=True
        )
        for number, queue in enumerate(queues)
    ]
    for worker in workers:
        worker.start()
    try:
        turns = ((number - start) % settings.workers for number in _counted(start))
        yield (_take(queues[turn], workers[turn]) for turn in turns)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _counted(start: int) -> Iterator[int]:
    while True:
        yield start
        start += 1
