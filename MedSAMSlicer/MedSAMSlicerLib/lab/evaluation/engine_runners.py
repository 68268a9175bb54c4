"""One engine on one scripted session: the same prompts for this engine and for the published predictor.

The script is what a user does: prompt the middle slice, propagate both ways, click again on that slice, correct another
slice, add a second object. Every runner offers the same methods, each of which does all the work that is necessary
until the masks are there.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from ...core.geometry import SliceAxis, VolumeGeometry
from ...core.intensity import Window
from ...core.prompts import Box, ObjectPrompts, Prompt, PromptSet, SliceRef, box_from_voxels, point_from_voxel
from ...core.tiers import TIERS
from ...engine.segmenter import VolumeSegmenter
from ...sam2.model import SAM2
from .official import OfficialSession, build_official_predictor

OFFICIAL = ("official", "official, bfloat16 autocast", "official, medium precision")
VARIANTS = (*OFFICIAL, *TIERS)


@dataclass(frozen=True)
class Script:
    """Return the description of a volume of `slices` square slices of `size` voxels a side."""

    slices: int
    size: int

    @property
    def middle(self) -> int:
        """The slice that is prompted first."""
        return self.slices // 2

    @property
    def corrected(self) -> int:
        """The slice that is corrected, half-way between the middle and the end."""
        return (self.middle + self.slices) // 2

    def box(self, number: int) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 (far edges exclusive) of object 0 or 1 on the middle slice."""
        left, top, right, bottom = ((0.30, 0.32, 0.55, 0.60), (0.50, 0.45, 0.72, 0.66))[number]
        scale = self.size
        return int(left * scale), int(top * scale), int(right * scale), int(bottom * scale)

    def click(self, number: int = 0) -> tuple[int, int]:
        """x, y of a click inside object 0; each number is another place, so that none is answered from memory."""
        return int(0.42 * self.size) + number, int(0.45 * self.size)


class TimedRunner(Protocol):
    """The steps that are measured."""

    def first_pass(self) -> None:
        """Prompt the middle slice and propagate both ways."""

    def prepare_click(self) -> None:
        """Make sure that the features of the prompted slice are cached; not measured."""

    def click(self, number: int) -> None:
        """Click `number` on the prompted slice, each in another place."""

    def correct(self) -> None:
        """Click on a tracked slice and bring up to date what lies in that direction."""

    def again(self) -> None:
        """Compute every slice again with both prompted slices, both ways."""

    def second_object(self) -> None:
        """Prompt another object on the middle slice and propagate it both ways."""


def frames_of(script: Script, seed: int = 0) -> npt.NDArray[np.uint8]:
    """(slices, size, size) uint8: ellipsoids in noise; speed does not depend on what is seen."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0 : script.size, 0 : script.size].astype(np.float32) / script.size - 0.5
    frames = np.empty((script.slices, script.size, script.size), np.uint8)
    for index, frame in enumerate(frames):
        z = (index - script.middle) / script.slices
        gray = np.full(frame.shape, 40.0, np.float32)
        gray[x**2 + y**2 < 0.2] = 90
        gray[((x + 0.07) / 0.12) ** 2 + ((y + 0.04) / 0.14) ** 2 + z**2 < 1] = 190
        gray[((x - 0.11) / 0.1) ** 2 + ((y - 0.05) / 0.1) ** 2 + z**2 < 1] = 140
        frame[:] = (gray + generator.normal(0, 6, frame.shape)).clip(0, 255)
    return frames


def make_runner(
    variant: str, model: SAM2, frames: npt.NDArray[np.uint8], *, device: str, threads: int, cache_bytes: int
) -> TimedRunner:
    """The runner of one of `VARIANTS`."""
    if variant in OFFICIAL:
        return TimedOfficialRunner(variant, model, frames, device)
    return TimedEngineRunner(variant, model, frames, device, threads, cache_bytes)


class TimedEngineRunner:
    """This engine in one tier; no track ends early, so that all runners compute every slice.

    Seeded weights draw masks as large as the slice, and the square of the fast tier would grow with them; it is held
    where the box puts it.
    """

    def __init__(
        self,
        tier: str,
        model: SAM2,
        frames: npt.NDArray[np.uint8],
        device: str,
        threads: int,
        cache_bytes: int,
    ) -> None:
        self._script = Script(len(frames), frames.shape[1])
        self._geometry = VolumeGeometry.from_spacing(frames.shape, (1.0, 1.0, 1.0))
        self._segmenter = VolumeSegmenter(
            frames,
            self._geometry,
            model,
            Window(0, 255, "full"),
            tier=tier,
            device=device,
            threads=threads,
            cache_bytes=cache_bytes,
            patience=0,
            volume_stage="off",
        )
        crop = self._segmenter.options.crop
        if crop is not None:
            held = replace(crop, shrink=0.0, grow=math.inf, drift=math.inf, border=-math.inf)
            self._segmenter.options = replace(self._segmenter.options, crop=held)
        self._live = self._segmenter.live()
        self._prompts = self._prompt_set(self._object("first", self._box(0)))

    def first_pass(self) -> None:
        """As :meth:`TimedRunner.first_pass`."""
        self._exhaust(self._live.update(self._prompts))

    def prepare_click(self) -> None:
        """As :meth:`TimedRunner.prepare_click`."""
        self._segmenter.network().features([(self._script.middle, self._segmenter.whole())])

    def click(self, number: int) -> None:
        """As :meth:`TimedRunner.click`."""
        [first] = self._prompts.objects
        clicked = replace(first, prompts=(*first.prompts, self._click(self._script.middle, number)))
        self._live.preview(clicked, self._script.middle)

    def correct(self) -> None:
        """As :meth:`TimedRunner.correct`."""
        [first] = self._prompts.objects
        corrected = replace(first, prompts=(*first.prompts, self._click(self._script.corrected)))
        self._prompts = replace(self._prompts, objects=(corrected,))
        self._exhaust(self._live.update(self._prompts))

    def again(self) -> None:
        """As :meth:`TimedRunner.again`."""
        [first] = self._prompts.objects
        at_once = replace(first, prompts=tuple(replace(prompt, round=0) for prompt in first.prompts))
        self._exhaust(self._segmenter.live().update(self._prompt_set(at_once)))

    def second_object(self) -> None:
        """As :meth:`TimedRunner.second_object`."""
        objects = (*self._prompts.objects, self._object("second", self._box(1)))
        self._exhaust(self._live.update(replace(self._prompts, objects=objects)))

    def _box(self, number: int) -> Box:
        return box_from_voxels(
            self._geometry, SliceRef(SliceAxis.K, self._script.middle), *self._script.box(number)
        )

    def _click(self, index: int, number: int = 0) -> Prompt:
        x, y = self._script.click(number)
        point = point_from_voxel(self._geometry, SliceRef(SliceAxis.K, index), x, y, True)
        return replace(point, round=1)

    def _object(self, name: str, *prompts: Prompt) -> ObjectPrompts:
        return ObjectPrompts(name, (1.0, 0.5, 0.0), prompts, None)

    def _prompt_set(self, *objects: ObjectPrompts) -> PromptSet:
        return PromptSet(self._geometry, SliceAxis.K, objects)

    @staticmethod
    def _exhaust(events: Iterator[object]) -> None:
        for _ in events:
            pass


class TimedOfficialRunner:
    """The published predictor, plain or with one of the two usual ways to make it faster."""

    def __init__(self, variant: str, model: SAM2, frames: npt.NDArray[np.uint8], device: str) -> None:
        self._script = Script(len(frames), frames.shape[1])
        self._frames, self._variant, self._device = frames, variant, device
        self._predictor = build_official_predictor(
            model.config.name, model.state_dict(), image_size=frames.shape[1], device=device
        )
        self._session: OfficialSession | None = None

    def first_pass(self) -> None:
        """As :meth:`TimedRunner.first_pass`."""
        with self._arithmetic():
            self._session = OfficialSession(self._predictor, self._frames)
            self._prompt_and_propagate(self._session, 0)

    def prepare_click(self) -> None:
        """As :meth:`TimedRunner.prepare_click`."""
        with self._arithmetic():
            self._running().keep_features(self._script.middle)

    def click(self, number: int) -> None:
        """As :meth:`TimedRunner.click`."""
        with self._arithmetic():
            self._click(self._running(), self._script.middle, number)

    def correct(self) -> None:
        """As :meth:`TimedRunner.correct`."""
        session = self._running()
        with self._arithmetic():
            self._click(session, self._script.corrected)
            for _ in session.propagate():
                pass

    def again(self) -> None:
        """As :meth:`TimedRunner.again`."""
        session = self._running()
        with self._arithmetic():
            for reverse in (False, True):
                for _ in session.propagate(reverse=reverse):
                    pass

    def second_object(self) -> None:
        """As :meth:`TimedRunner.second_object`."""
        session = self._running()
        with self._arithmetic():
            session.forget_objects()
            self._prompt_and_propagate(session, 1)

    def _prompt_and_propagate(self, session: OfficialSession, number: int) -> None:
        session.add_points(self._script.middle, box=self._script.box(number))
        for reverse in (False, True):
            for _ in session.propagate(reverse=reverse):
                pass

    def _click(self, session: OfficialSession, index: int, number: int = 0) -> None:
        session.add_points(index, [self._script.click(number)], [1])

    def _running(self) -> OfficialSession:
        if self._session is None:
            self.first_pass()
        assert self._session is not None
        return self._session

    @contextlib.contextmanager
    def _arithmetic(self) -> Iterator[None]:
        medium = self._variant.endswith("medium precision")
        before = torch.get_float32_matmul_precision()
        if medium:
            torch.set_float32_matmul_precision("medium")
        try:
            with self._autocast():
                yield
        finally:
            torch.set_float32_matmul_precision(before)

    def _autocast(self) -> AbstractContextManager[object]:
        if self._variant.endswith("autocast"):
            return torch.autocast(torch.device(self._device).type, torch.bfloat16)
        return contextlib.nullcontext()
