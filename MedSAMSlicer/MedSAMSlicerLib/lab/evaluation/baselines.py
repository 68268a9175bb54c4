"""The baselines without a network, for the same effort: boxes on one or several slices, and the slice range.

- **box**: the box, filled, on every slice of the range.
- **ellipsoid**: the ellipse in the box, shrinking to nothing one slice beyond each end of the range.
- **GrowCut**: Slicer's "Grow from seeds" (Zhu et al. 2014, `vtkImageGrowCutSegment`), see :mod:`.growcut`.
- **interpolation**: Slicer's "Fill between slices" (Zukić et al. 2016), see :mod:`.interpolation`.
- **random walker**: Grady 2006, see :mod:`.random_walker`.

Each is given what the engine is given and never the truth. Between several boxed slices the box changes linearly. All
of them are corrected by boxes on further slices, GrowCut and the random walker by clicks too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.errors import PromptError
from ...core.geometry import SliceAxis
from ...core.intensity import Window, luma
from ...io.volumes import Volume
from .boxes import Around, BoxesAndRange
from .prompt_protocol import BOTH, PromptProtocol
from .runners import Ask, BoolVolume, Request, RunnerAnswer
from .windows import window_of


@dataclass(frozen=True, eq=False)
class Stack:
    """A volume cut into slices, as baselines look at it.

    Args:
        array: (slices, rows, columns) voxels, or (slices, rows, columns, 3) uint8 color.
        spacing: mm from slice to slice, from row to row and from column to column.
        modality: "CT", "MR", ... where the file gives it.
    """

    array: npt.NDArray[Any]
    spacing: tuple[float, float, float]
    modality: str | None = None

    @classmethod
    def of(cls, volume: Volume, axis: SliceAxis) -> Stack:
        """A volume cut along an axis; a view, nothing is copied."""
        between = volume.geometry.spacing[2 - axis]
        spacing = (between, *volume.geometry.in_plane_spacing(axis))
        return cls(np.moveaxis(volume.array, int(axis), 0), spacing, volume.modality)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        slices, rows, columns = self.array.shape[:3]
        return slices, rows, columns

    @cached_property
    def window(self) -> Window | None:
        """The window of the whole volume, the same as for the network; None for color."""
        return window_of(self.array, self.modality)

    def gray(self, around: Around) -> npt.NDArray[np.uint8]:
        """Gray values of a part of the volume: its window applied, or the luma of its colors."""
        part = self.array[around]
        return luma(part) if self.window is None else self.window.apply(part)


Draw = Callable[[Stack, BoxesAndRange], npt.NDArray[np.bool_]]
"""The picture and the prompts -> the mask (slices, rows, columns)."""


class Baseline:
    """A way to draw from boxes and a range.

    Args:
        name: in tables.
        draw: see :data:`Draw`.
        about: what a reader must know to repeat it.
        looks: whether it looks at the image; its window is chosen before the clock starts, as for the engine.
        clicks: whether clicks correct it; boxes do in any case.
    """

    def __init__(
        self, name: str, draw: Draw, about: str, *, looks: bool = False, clicks: bool = False
    ) -> None:
        self.name, self._draw, self._about = name, draw, about
        self._looks, self._clicks = looks, clicks

    def supports(self, protocol: PromptProtocol) -> bool:
        """Boxes with a range; one way only where that way leads over the whole range. There is one mask to take."""
        whole = protocol.direction == BOTH or protocol.start == "first"
        boxed = protocol.prompt in ("box", "loose box") and protocol.mask_token == "auto"
        return boxed and protocol.ranged and whole

    def corrects(self, protocol: PromptProtocol) -> bool:
        """Return whether it makes use of the corrections of a protocol."""
        return self._clicks or protocol.correct_with == "box"

    def describe(self) -> dict[str, Any]:
        """Return what it does, in one sentence."""
        return {"method": self._about}

    def begin(self, volume: Volume, axis: SliceAxis) -> Ask:
        """Nothing but the window is prepared."""
        stack = Stack.of(volume, axis)
        if self._looks:
            _ = stack.window

        def ask(request: Request) -> RunnerAnswer:
            began = time.perf_counter()
            boxes_and_range = BoxesAndRange.of(request.prompts, volume.geometry)
            if boxes_and_range.clicks and not self._clicks:
                raise PromptError(
                    f"Clicks do not correct the baseline {self.name!r}, got {len(boxes_and_range.clicks)}."
                )
            mask: BoolVolume = np.ascontiguousarray(
                np.moveaxis(self._draw(stack, boxes_and_range), 0, int(axis))
            )
            seconds = time.perf_counter() - began
            return RunnerAnswer(mask, seconds, seconds, {})

        return ask


def box_baseline() -> Baseline:
    """The box on every slice of the range."""
    return Baseline("box", _fill_box, "box filled on every slice of the range")


def ellipsoid_baseline() -> Baseline:
    """An ellipsoid in box and range."""
    return Baseline(
        "ellipsoid",
        _fill_ellipsoid,
        "ellipse in the box, shrinking to nothing one slice beyond each end of the range",
    )


def _fill_box(stack: Stack, boxes_and_range: BoxesAndRange) -> npt.NDArray[np.bool_]:
    mask, around = np.zeros(stack.shape, np.bool_), boxes_and_range.surroundings(stack.shape)
    mask[around] = boxes_and_range.inside(around)
    return mask


def _fill_ellipsoid(stack: Stack, boxes_and_range: BoxesAndRange) -> npt.NDArray[np.bool_]:
    mask, around = np.zeros(stack.shape, np.bool_), boxes_and_range.surroundings(stack.shape)
    mask[around] = boxes_and_range.inside(around) & (boxes_and_range.radius(around) <= 1.0)
    return mask
