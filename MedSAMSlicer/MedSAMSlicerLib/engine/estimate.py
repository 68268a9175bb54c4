"""Before a run: how much memory and time it will take.

Sizes of what is kept are counted from shapes; how long a slice takes and how much the network needs while it computes
are measured on a few slices. On the CPU peak memory is that of the whole process (right within 30 % on the shapes that
the tests run); on other devices memory of the device is counted as if it were the process's (not run: none available).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from ..core.errors import InsufficientMemoryError
from ..core.geometry import SliceAxis
from ..core.prompts import PromptSet
from ..sam2.model import DecoderPrompts
from ..sam2.sam1 import EMBEDDING
from .bank import Recollection
from .features import SliceFeatures
from .process_memory import forget_highest, highest_bytes, resident_bytes
from .second_reader import MOST_SLICES
from .segmenter import READER_CACHE_BYTES, VolumeSegmenter
from .volume.stage import working_factor

_TRIES = 2  # the quickest counts: what else the machine does can only slow one down
_REFOLLOWED = 1.3  # encodings per slice when a square follows the object, which is moved now and then
_WORKING_BYTES_PER_PIXEL = 400  # of the frame; only where the system cannot be asked
_STAGE_BYTES_PER_VOXEL = 650  # of the working grid; 575 to 810 measured on 178,000 to 737,000 voxels
_FOREGROUND = 0.2  # of a slice: part of its voxels inside an object, of which one byte each is kept
_FOREGROUND_OF_FRAME = 0.06  # the same of a frame of a video


@dataclass(frozen=True)
class Probe:
    """The times and sizes measured on one slice.

    Args:
        encode_seconds: to compute the features of a slice.
        step_seconds: to carry one object to one slice whose features are there, with all memories filled.
        resident_bytes: held by the process before the probe.
        working_bytes: held on top of that while computing, at most; with the second network and its weights.
        keys_bytes: one remembered slice of one object.
        features_bytes: one slice's features as they are kept.
        reading_seconds: for the second network to read one slice; 0 without it.
    """

    encode_seconds: float
    step_seconds: float
    resident_bytes: int
    working_bytes: int
    keys_bytes: int
    features_bytes: int
    reading_seconds: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """The time and memory that a run will take.

    Args:
        peak_bytes: of memory, at most at one time.
        seconds: from the first slice to the last.
        parts: bytes by name: "now" (what the process holds already), "network" (while it and the second one compute),
            "features", "memories", "stage" (the volume stage, and what its second network keeps), "results".
    """

    peak_bytes: int
    seconds: float
    parts: Mapping[str, int]

    @property
    def further_bytes(self) -> int:
        """Bytes of memory on top of what the process holds already."""
        return self.peak_bytes - self.parts["now"]


def check_memory(needed: int, free: int | None, spared: int) -> None:
    """Refuse a run that does not fit into memory.

    Args:
        needed: bytes on top of what the process holds already.
        free: bytes where the network runs, see :func:`.devices.free_bytes`; None = unknown, nothing is checked.
        spared: bytes that a smaller cache of features would need less.

    Raises:
        InsufficientMemoryError: With the numbers and what could be done; `less_will_do` if a smaller cache is enough.
    """
    if free is None or needed <= free:
        return
    least = needed - spared
    advice = (
        f"with a smaller cache of features it would be about {_gigabytes(least)}, but slower"
        if least <= free
        else "use a smaller model, fewer objects at once or a smaller range"
    )
    raise InsufficientMemoryError.for_run(needed, free, advice, less_will_do=least <= free)


def estimate(
    segmenter: VolumeSegmenter,
    prompts: PromptSet | int,
    axis: SliceAxis = SliceAxis.K,
    probe: Probe | None = None,
    as_volumes: bool = True,
) -> Estimate:
    """Return what it will take to segment objects in a segmenter's volume.

    Args:
        segmenter: as it will be used.
        prompts: the objects; or how many, each over the whole volume along `axis`.
        axis: only used with a number of objects.
        probe: from :func:`measure`; None = measured now, which takes as long as three to six slices.
        as_volumes: whether the finished masks are volumes; those of a video stay packed, frame by frame.
    """
    if isinstance(prompts, PromptSet):
        axis = prompts.axis
    count = segmenter.geometry.slice_count(axis)
    ranges = [range(count)] * prompts if isinstance(prompts, int) else _ranges(prompts, count)
    lengths = [len(slices) for slices in ranges]
    measured = probe or measure(segmenter, axis)
    followed = segmenter.options.crop is not None
    encoded = round(sum(lengths) * _REFOLLOWED) if followed else len(set().union(*ranges))
    parts = {
        "now": measured.resident_bytes,
        "network": measured.working_bytes,
        "features": min(segmenter.cache_bytes, encoded * measured.features_bytes),
        "memories": _memories_bytes(segmenter, axis, len(lengths), measured),
        "stage": _stage_bytes(segmenter, axis, lengths),
        "results": _results_bytes(segmenter, axis, lengths, as_volumes),
    }
    seconds = encoded * measured.encode_seconds + sum(lengths) * measured.step_seconds
    seconds += sum(min(length, MOST_SLICES) for length in lengths) * measured.reading_seconds
    return Estimate(sum(parts.values()), seconds, parts)


def measure(segmenter: VolumeSegmenter, axis: SliceAxis = SliceAxis.K) -> Probe:
    """Compute slices in the middle of the volume and steps of tracking, as a run would; the features stay."""
    before = resident_bytes() or 0
    resettable = forget_highest()
    with segmenter.settings(), torch.inference_mode():
        features, encode_seconds = _encoded(segmenter, axis)
        step, keys_bytes = _step(segmenter, features, axis)
        step()  # the first time is slower than all others
        step_seconds = min(_seconds(step) for _ in range(_TRIES))
    reading = _reading_seconds(segmenter, axis)
    side = segmenter.model.config.image_size
    working = (highest_bytes() or 0) - before if resettable else _WORKING_BYTES_PER_PIXEL * side * side
    kept = sum(part.numel() for part in features) * segmenter.precision.storage.itemsize
    return Probe(encode_seconds, step_seconds, before, max(working, 0), keys_bytes, kept, reading)


def _reading_seconds(segmenter: VolumeSegmenter, axis: SliceAxis) -> float:
    """The seconds that the second network takes for a slice; 0 without one, or if the slice was read already."""
    reader = segmenter.second_reader(axis)
    if reader is None:
        return 0.0
    middle = segmenter.geometry.slice_count(axis) // 2
    rows, columns = segmenter.geometry.slice_shape(axis)
    with segmenter.settings():
        return _seconds(partial(reader.read, middle, (-0.5, -0.5, columns - 0.5, rows - 0.5)))


def _encoded(segmenter: VolumeSegmenter, axis: SliceAxis) -> tuple[SliceFeatures, float]:
    """Features of a slice in the middle, and the seconds one takes; 0 if all are cached."""
    store, view = segmenter.network(axis).store, segmenter.whole(axis)
    count = segmenter.geometry.slice_count(axis)
    outward = sorted(range(count), key=lambda index: abs(index - count // 2))
    missing = [index for index in outward if not store.contains(index, view)][: 1 + _TRIES]
    taken = [_seconds(partial(store.get, index, view)) for index in missing]
    quickest = min(taken[1:] or taken, default=0.0)  # the first is slower than all others
    return store.get(outward[0], view), quickest


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _step(
    segmenter: VolumeSegmenter, features: SliceFeatures, axis: SliceAxis
) -> tuple[Callable[[], None], int]:
    """A step of tracking with all memories filled, and the bytes of one of these."""
    network, view = segmenter.network(axis), segmenter.whole(axis)
    facts = network.facts
    side = 4 * facts.image_size // facts.stride
    logits = torch.zeros(1, 1, side, side, device=network.device)
    score, pointer = (
        torch.ones(1, device=network.device),
        torch.zeros(1, facts.pointer_channels, device=network.device),
    )
    [memory] = network.remember(features, logits, score, pointer, prompted=True)
    keys = memory.keys
    memories = [] if keys is None else [(keys, n) for n in range(facts.num_memories)]
    pointers = [(pointer, float(n)) for n in range(facts.max_object_pointers)]

    def step() -> None:
        recollection = Recollection(memories, pointers)
        conditioned = network.condition(features, [recollection], facts.max_object_pointers)
        shown = logits if facts.shown_previous or not network.remembers else None
        answer = network.decode(features, conditioned, DecoderPrompts(mask=shown))
        network.remember(features, answer.logits, answer.object_score, answer.pointer, prompted=False)
        view.mask_from_logits(answer.logits[0, 0].float().cpu().numpy())

    return step, 0 if keys is None else keys.num_bytes


def _ranges(prompts: PromptSet, count: int) -> list[range]:
    """Slices to compute for each object."""
    bounds = [obj.slice_range or (0, count - 1) for obj in prompts.objects]
    return [range(first, last + 1) for first, last in bounds]


def _memories_bytes(segmenter: VolumeSegmenter, axis: SliceAxis, objects: int, probe: Probe) -> int:
    """Memories of the trackers under way, in both directions."""
    memories = segmenter.network(axis).facts.num_memories
    return objects * 2 * (memories + 1) * probe.keys_bytes


def _stage_bytes(segmenter: VolumeSegmenter, axis: SliceAxis, lengths: list[int]) -> int:
    """The volume stage, one object after the other, and the features of the second network."""
    if not segmenter.looks_at_volumes:
        return 0
    rows, columns = segmenter.geometry.slice_shape(axis)
    longest = max(lengths, default=0)
    factor = working_factor((longest, rows, columns))
    grid = longest * math.ceil(rows / factor) * math.ceil(columns / factor) * _STAGE_BYTES_PER_VOXEL
    reader = segmenter.second_reader(axis)
    if reader is None:
        return grid
    facts, storage = reader.network.facts, segmenter.precision.storage.itemsize
    features = EMBEDDING * (facts.image_size // facts.stride) ** 2 * storage
    read = sum(min(length, MOST_SLICES) for length in lengths)
    return grid + min(read * features, READER_CACHE_BYTES, segmenter.cache_bytes)


def _results_bytes(segmenter: VolumeSegmenter, axis: SliceAxis, lengths: list[int], as_volumes: bool) -> int:
    """Packed slices of every object, and the finished volume of each."""
    config = segmenter.model.config
    rows, columns = segmenter.geometry.slice_shape(axis)
    low = (4 * config.image_size // config.stride) ** 2
    if not as_volumes:
        return sum(lengths) * (round(rows * columns * _FOREGROUND_OF_FRAME) + low)
    per_slice = round(rows * columns * (1 / 8 + _FOREGROUND)) + low
    planes, lines, samples = segmenter.geometry.shape
    return sum(lengths) * per_slice + len(lengths) * planes * lines * samples


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
