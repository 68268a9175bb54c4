"""The published packages as runners: `sam2` and `transformers` on the same weights, frames and prompts as our engine.

They see the frames that our engine shows a network that looks at whole slices: through the same window, square in mm.
Prompts become the same network pixels, and masks come back the same way. Everything else is as the packages have it:
first the slices with prompts, then from the lowest of them forward, then backward, in the range where one was given;
a correction prompts its slice, and the object is carried both ways again.

With `transformers` a correction of a tracked slice is lost when the object is carried again, so clicks are not used to
correct there; boxes on further slices are, with all boxes given to it again.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...core.geometry import SliceAxis
from ...core.intensity import Window
from ...core.tiers import Tier
from ...engine.precision import choose, torch_settings
from ...engine.slice_prompts import SlicePrompts, slice_prompts
from ...engine.view import FrameView
from ...io.volumes import Volume
from ...sam2.model import SAM2
from .official import OfficialSession, build_official_predictor, published_network
from .official_transformers import TransformersSession, build_transformers_model
from .peak_memory import DeviceMemory
from .protocol import BACKWARD, FORWARD, PromptProtocol
from .runners import Ask, BoolVolume, LastWindow, Request, RunnerAnswer

Logits = Iterator[tuple[int, Tensor]]
"""Slice index and logits (1, 1, S / 4, S / 4) as the network gives them."""


class PublishedSession(Protocol):
    """One object in one volume in a package."""

    def prompt(self, prompts_by_slice: Mapping[int, SlicePrompts], new: Iterable[int]) -> Logits:
        """Prompt slices, with all prompts so far and the slices on which some are new; yields their masks."""

    def carry(self, start: int, direction: str) -> Logits:
        """Carry the object from a slice over the range."""


class PublishedSam2Session:
    """One object in one volume in the `sam2` package."""

    def __init__(self, predictor: Any, frames: npt.NDArray[np.uint8], used: range, view: FrameView) -> None:
        self._session = OfficialSession(predictor, frames, used, low=True)
        self._used, self._view = used, view

    def prompt(self, prompts_by_slice: Mapping[int, SlicePrompts], new: Iterable[int]) -> Logits:
        """Prompt the slices that have new prompts; yields their masks."""
        for index in new:
            prompts = prompts_by_slice[index]
            if prompts.mask is not None and not prompts.points:
                mask = self._view.mask_frame(prompts.mask) > 0
                yield index, self._session.add_mask(index, mask)
                continue
            corners, points = _network_pixels(prompts, self._view)
            labels = [int(positive) for _, _, positive in prompts.points]
            box = None if corners is None else corners.ravel().tolist()
            yield index, self._session.add_points(index, points.tolist(), labels, box=box)

    def carry(self, start: int, direction: str) -> Logits:
        """Carry the object over the range."""
        if direction != BACKWARD:
            yield from self._session.propagate(start=start, steps=self._used[-1] - start)
        if direction != FORWARD:
            yield from self._session.propagate(start=start, steps=start - self._used[0], reverse=True)


class PublishedTransformersSession:
    """One object in one volume in the `transformers` package."""

    def __init__(self, model: Any, frames: npt.NDArray[np.uint8], used: range, view: FrameView) -> None:
        self._session = TransformersSession(model, frames, used)
        self._used, self._view = used, view

    def prompt(self, prompts_by_slice: Mapping[int, SlicePrompts], new: Iterable[int]) -> Logits:
        """Prompt all slices again, as if nothing had been carried before; yields their masks."""
        self._session.forget_objects()
        for index, prompts in sorted(prompts_by_slice.items()):
            if prompts.mask is not None and not prompts.points:
                self._session.add(index, mask=torch.from_numpy(self._view.mask_frame(prompts.mask)))
            else:
                points, labels = prompts.in_network(self._view, torch.device("cpu"))
                assert points is not None
                assert labels is not None
                self._session.add(index, points[0], labels[0])
            yield index, self._session.logits(index)

    def carry(self, start: int, direction: str) -> Logits:
        """Carry the object over the range."""
        if direction != BACKWARD:
            yield from self._session.propagate(start, self._used[-1])
        if direction != FORWARD:
            yield from self._session.propagate(start, self._used[0])


class _PublishedRunner(ABC):
    """The common part of both.

    Args:
        name: in tables.
        model: the network whose weights are used.
        about: where they come from: id, SHA-256.
        device: "cpu", "cuda".
        threads: on the CPU; None = as our engine chooses.

    Raises:
        MedSAMError: the package is not installed, or cannot compute that network.
    """

    package = ""

    def __init__(
        self,
        name: str,
        model: SAM2,
        about: Mapping[str, Any] | None = None,
        *,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        self.name, self._about, self._device, self._threads = name, dict(about or {}), device, threads
        self._precision = choose(device, Tier.EXACT)
        self._size = model.config.image_size
        self._window_of = LastWindow()
        self._built = self._build(model)

    def supports(self, protocol: PromptProtocol) -> bool:
        """Every protocol in which the package chooses among the masks that the network draws."""
        return protocol.mask_token == "auto"

    def corrects(self, protocol: PromptProtocol) -> bool:
        """Return whether the package carries such corrections on."""
        return True

    def describe(self) -> dict[str, Any]:
        """Checkpoint, package and its version, arithmetic and device."""
        package = f"{self.package} {version(self.package)}"
        more = {"arithmetic": "float32", "device": self._device, "threads": self._threads}
        return {**self._about, "package": package, **more}

    def begin(self, volume: Volume, axis: SliceAxis) -> Ask:
        """The frames are prepared when the first prompts say which are needed."""
        view = FrameView.whole(volume.geometry, axis, self._size)
        count = volume.geometry.slice_count(axis)
        window, memory = self._window_of(volume), DeviceMemory(self._device)
        session: PublishedSession | None = None

        def ask(request: Request) -> RunnerAnswer:
            nonlocal session
            began, first = time.perf_counter(), None
            prompts_by_slice = request.prompts
            start, last = prompts_by_slice.slice_range or (0, count - 1)
            mask: BoolVolume = np.zeros(volume.geometry.shape, np.bool_)
            slices = np.moveaxis(mask, int(axis), 0)
            with torch_settings(self._precision, self._threads), torch.inference_mode():
                if session is None:
                    used = range(start, last + 1)
                    session = self._start(_frames(volume, axis, window, view, used), used, view)
                for index, logits in _answers(session, request, volume):
                    slices[index] = view.mask_from_logits(logits[0, 0].float().cpu().numpy()) > 0
                    first = first or time.perf_counter() - began
            seconds = time.perf_counter() - began
            return RunnerAnswer(mask, seconds, first or seconds, {}, memory.growth_mb())

        return ask

    @abstractmethod
    def _build(self, model: SAM2) -> Any: ...

    @abstractmethod
    def _start(self, frames: npt.NDArray[np.uint8], used: range, view: FrameView) -> PublishedSession: ...


class Sam2Runner(_PublishedRunner):
    """The published video predictor of the `sam2` package."""

    package = "sam2"

    def _build(self, model: SAM2) -> Any:
        network = published_network(model.config).name
        weights = model.state_dict()
        return build_official_predictor(network, weights, image_size=self._size, device=self._device)

    def _start(self, frames: npt.NDArray[np.uint8], used: range, view: FrameView) -> PublishedSam2Session:
        return PublishedSam2Session(self._built, frames, used, view)


class TransformersRunner(_PublishedRunner):
    """Sam2VideoModel of the `transformers` package."""

    package = "transformers"

    def corrects(self, protocol: PromptProtocol) -> bool:
        """Boxes only: see the top of this file."""
        return protocol.correct_with == "box"

    def _build(self, model: SAM2) -> Any:
        return build_transformers_model(model).to(self._device)

    def _start(
        self, frames: npt.NDArray[np.uint8], used: range, view: FrameView
    ) -> PublishedTransformersSession:
        return PublishedTransformersSession(self._built, frames, used, view)


def _answers(session: PublishedSession, request: Request, volume: Volume) -> Logits:
    """The masks of all slices; a later one of the same slice replaces an earlier one."""
    prompts, protocol = request.prompts.prompts, request.protocol
    latest = max(prompt.round for prompt in prompts)
    new = sorted({prompt.slice.index for prompt in prompts if prompt.round == latest})
    prompts_by_slice = {
        index: slice_prompts(
            [prompt for prompt in prompts if prompt.slice.index == index],
            volume.geometry,
            request.prompts.name,
        )
        for index in {prompt.slice.index for prompt in prompts}
    }
    yield from session.prompt(prompts_by_slice, new)
    if not protocol.is_single_frame:
        yield from session.carry(min(prompts_by_slice), protocol.direction)


def _frames(
    volume: Volume, axis: SliceAxis, window: Window | None, view: FrameView, used: range
) -> npt.NDArray[np.uint8]:
    """(N, S, S) or in color (N, S, S, 3): what our engine shows a network; slices that are not used stay black."""
    size, count = view.size, volume.geometry.slice_count(axis)
    frames = np.zeros((count, size, size, *volume.array.shape[3:]), np.uint8)
    for index in used:
        taken = np.take(volume.array, index, axis=int(axis))
        frames[index] = view.frame(np.asarray(taken, np.uint8) if window is None else window.apply(taken))
    return frames


def _network_pixels(
    prompts: SlicePrompts, view: FrameView
) -> tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.float32]]:
    """The corners of the box (2, 2), None without one, and the points (P, 2)."""
    pixels, _ = prompts.in_network(view, torch.device("cpu"))
    assert pixels is not None
    both = pixels[0].numpy()
    return (both[:2], both[2:]) if prompts.box is not None else (None, both)
