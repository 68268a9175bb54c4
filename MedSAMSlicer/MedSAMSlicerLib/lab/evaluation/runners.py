"""The runners to be measured behind one interface: our engine, and by :mod:`.baselines` whatever stands beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ...core.geometry import SliceAxis
from ...core.intensity import Window
from ...core.prompts import ObjectPrompts, PromptSet
from ...engine.result import ObjectResult
from ...engine.segmenter import VolumeSegmenter
from ...engine.slice_mask import SliceMask
from ...io.volumes import Volume
from ...sam2.networks import Network
from .peak_memory import DeviceMemory
from .prompt_protocol import BACKWARD, FORWARD, PromptProtocol
from .windows import window_of

BoolVolume = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class RunnerAnswer:
    """The answer of a runner to all prompts given so far.

    Args:
        mask: (K, J, I) bool.
        seconds: until the whole mask was there.
        first_seconds: until the first slice of it was there.
        confidence: the runner's own estimate by slice index, 0..1; empty if it has none.
        peak_mb: MiB by which the device's memory grew since the runner began, where the runner knows better than
            the process: on a GPU. None = it cannot.
    """

    mask: BoolVolume
    seconds: float
    first_seconds: float
    confidence: Mapping[int, float]
    peak_mb: float | None = None


@dataclass(frozen=True)
class Request:
    """The question to a runner.

    Args:
        prompts: all prompts so far of one object, with the range where one was given.
        protocol: the protocol; a runner obeys its direction, carries nothing if it is single-frame, and takes the mask
            that `mask_token` names.
    """

    prompts: ObjectPrompts
    protocol: PromptProtocol


Ask = Callable[[Request], RunnerAnswer]
"""Answers to all prompts of one object so far; asked again after each correction."""


class Runner(Protocol):
    """Something that segments."""

    name: str

    def supports(self, protocol: PromptProtocol) -> bool:
        """Return whether it can be used in that way."""

    def corrects(self, protocol: PromptProtocol) -> bool:
        """Return whether it makes use of its corrections; if not, it is measured after the first prompts alone."""

    def describe(self) -> dict[str, Any]:
        """Return what a reader must know to repeat it, ready for JSON."""

    def begin(self, volume: Volume, axis: SliceAxis) -> Ask:
        """Start on one object; nothing of an earlier object may be cached, so that seconds are honest."""


@runtime_checkable
class RunnerOfMany(Protocol):
    """A runner that shares what it knows of an image among the objects in it."""

    def begin_many(self, volume: Volume, axis: SliceAxis, count: int) -> Sequence[Ask]:
        """Start on so many objects of one volume; nothing of an earlier volume may be cached."""


def begin_many(runner: Runner, volume: Volume, axis: SliceAxis, count: int) -> Sequence[Ask]:
    """Start on so many objects of one volume, together where the runner can do that."""
    if isinstance(runner, RunnerOfMany):
        return runner.begin_many(volume, axis, count)
    return [runner.begin(volume, axis) for _ in range(count)]


class EngineRunner:
    """This project's engine.

    Args:
        name: in tables, such as the checkpoint's id.
        model: the network.
        about: where the weights come from: id, SHA-256.
        tier: of the engine; None = its own choice.
        device: "cpu", "cuda", "mps".
        threads: on the CPU; None = its own choice.
        volume_stage: see :class:`VolumeSegmenter`.
    """

    def __init__(
        self,
        name: str,
        model: Network,
        about: Mapping[str, Any] | None = None,
        *,
        tier: str | None = None,
        device: str = "cpu",
        threads: int | None = None,
        volume_stage: str = "auto",
    ) -> None:
        self._volume_stage = volume_stage
        self.name, self._model, self._about = name, model, dict(about or {})
        self._tier, self._device, self._threads = tier, device, threads
        self._window_of = LastWindow()

    def supports(self, protocol: PromptProtocol) -> bool:
        """Every protocol, as far as the network knows clicks, and draws alternatives where one is taken."""
        config = self._model.config
        usual = protocol.mask_token in ("auto", "single")
        known = protocol.prompt != "click" or "point" in config.prompts
        return known and (usual or config.num_multimask_outputs > 0)

    def corrects(self, protocol: PromptProtocol) -> bool:
        """Always."""
        return True

    def describe(self) -> dict[str, Any]:
        """Checkpoint, arithmetic and device."""
        return {
            **self._about,
            "tier": self._tier or "auto",
            "device": self._device,
            "threads": self._threads,
            "volume_stage": self._volume_stage,
        }

    def begin(self, volume: Volume, axis: SliceAxis) -> Ask:
        """A segmentation with an empty cache; the window of a volume is chosen once."""
        return self._ask(self._segmenter(volume), volume, axis)

    def begin_many(self, volume: Volume, axis: SliceAxis, count: int) -> list[Ask]:
        """Segmentations that share the features of the slices."""
        segmenter = self._segmenter(volume)
        return [self._ask(segmenter, volume, axis) for _ in range(count)]

    def _segmenter(self, volume: Volume) -> VolumeSegmenter:
        return VolumeSegmenter(
            volume.array,
            volume.geometry,
            self._model,
            self._window_of(volume),
            tier=self._tier,
            device=self._device,
            threads=self._threads,
            volume_stage=self._volume_stage,
        )

    def _ask(self, segmenter: VolumeSegmenter, volume: Volume, axis: SliceAxis) -> Ask:
        live, memory = segmenter.live(axis), DeviceMemory(self._device)

        def ask(request: Request) -> RunnerAnswer:
            object_prompts = request.prompts
            segmenter.network(axis).mask_token = request.protocol.mask_token
            prompts = PromptSet(volume.geometry, axis, (object_prompts,))
            wanted = wanted_slices(request, volume.geometry.slice_count(axis))
            began, first = time.perf_counter(), None
            for event in live.update(
                prompts, wanted=None if wanted is None else {object_prompts.name: wanted}
            ):
                if first is None and isinstance(event, SliceMask):
                    first = time.perf_counter() - began
            result = live.result()
            seconds = time.perf_counter() - began
            found: ObjectResult = result.objects[0]
            return RunnerAnswer(
                result.masks[object_prompts.name], seconds, first or seconds, found.iou, memory.growth_mb()
            )

        return ask


class LastWindow:
    """Chooses the window of a volume, once as long as no other volume comes between."""

    def __init__(self) -> None:
        self._last: tuple[Volume, Window | None] | None = None

    def __call__(self, volume: Volume) -> Window | None:
        """The window; None for color, which has none."""
        if self._last is None or self._last[0] is not volume:
            self._last = (volume, window_of(volume.array, volume.modality))
        return self._last[1]


def wanted_slices(request: Request, count: int) -> range | None:
    """The slices of a volume of `count` slices that may hold a mask beside the prompted ones; None = all."""
    protocol, object_prompts = request.protocol, request.prompts
    first, last = object_prompts.slice_range or (0, count - 1)
    prompted = [prompt.slice.index for prompt in object_prompts.prompts]
    if protocol.is_single_frame:
        return range(0)
    if protocol.direction == FORWARD:
        return range(min(prompted) + 1, last + 1)
    return range(first, max(prompted)) if protocol.direction == BACKWARD else None
