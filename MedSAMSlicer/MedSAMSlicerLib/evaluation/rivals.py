"""What a user gets for the same effort without a network: one box on one slice, and the slice range.

- **box**: the box, filled, on every slice of the range.
- **ellipsoid**: the ellipse in the box, shrinking to nothing one slice beyond each end of the range.
- **GrowCut**: Slicer's "Grow from seeds" (Zhu et al. 2014, `vtkImageGrowCutSegment`), see :mod:`.growcut`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import PromptError
from ..core.geometry import FloatArray, SliceAxis, VolumeGeometry
from ..core.prompts import Box, ObjectPrompts, in_slice
from ..io.volumes import Volume
from .protocol import Protocol as WayOfWorking
from .runners import Answer, Ask, BoolVolume


@dataclass(frozen=True)
class BoxAndRange:
    """A box on a slice with the range, in slice index coordinates.

    Args:
        index: the slice of the box.
        first, last: the range.
        left, top, right, bottom: on voxel edges.
    """

    index: int
    first: int
    last: int
    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def of(cls, said: ObjectPrompts, geometry: VolumeGeometry) -> BoxAndRange:
        """From the one box of an object; PromptError when something else was said."""
        if len(said.prompts) != 1 or not isinstance(said.prompts[0], Box) or said.slice_range is None:
            raise PromptError(f"A rival needs one box and the slice range, got {said.prompts!r}.")
        box = said.prompts[0]
        (x0, y0), (x1, y1) = in_slice(box, geometry).tolist()
        return cls(box.slice.index, *said.slice_range, x0, y0, x1, y1)

    def inside(self, shape: Sequence[int]) -> npt.NDArray[np.bool_]:
        """(slices, rows, columns) true in the box on every slice of the range."""
        z, y, x = np.ogrid[tuple(slice(n) for n in shape)]
        held = (z >= self.first) & (z <= self.last) & (y > self.top) & (y < self.bottom)
        return np.asarray(held & (x > self.left) & (x < self.right))

    def radius(self, shape: Sequence[int]) -> FloatArray:
        """(slices, rows, columns): 0 in the middle of the box, 1 on its ellipse and one slice beyond the range."""
        z, y, x = np.ogrid[tuple(slice(n) for n in shape)]
        reach = np.where(z >= self.index, self.last + 1 - self.index, self.index - self.first + 1)
        across = (x - (self.left + self.right) / 2) / ((self.right - self.left) / 2)
        down = (y - (self.top + self.bottom) / 2) / ((self.bottom - self.top) / 2)
        return np.sqrt(across**2 + down**2 + ((z - self.index) / reach) ** 2)


Draw = Callable[[npt.NDArray[Any], BoxAndRange], npt.NDArray[np.bool_]]
"""Slices (slices, rows, columns) and what was said -> the mask of the same shape."""


class Rival:
    """A way to draw from a box and a range alone.

    Args:
        name: in tables.
        draw: see :data:`Draw`.
        about: what a reader must know to repeat it.
    """

    corrects = False

    def __init__(self, name: str, draw: Draw, about: str) -> None:
        self.name, self._draw, self._about = name, draw, about

    def supports(self, protocol: WayOfWorking) -> bool:
        """Only a box with a range."""
        return protocol.prompt in ("box", "loose box") and protocol.ranged

    def describe(self) -> dict[str, Any]:
        """What it does, in one sentence."""
        return {"method": self._about}

    def begin(self, volume: Volume, axis: SliceAxis) -> Ask:
        """Nothing has to be prepared."""

        def ask(said: ObjectPrompts) -> Answer:
            began = time.perf_counter()
            given = BoxAndRange.of(said, volume.geometry)
            drawn = self._draw(np.moveaxis(volume.array, int(axis), 0), given)
            mask: BoolVolume = np.ascontiguousarray(np.moveaxis(drawn, 0, int(axis)))
            seconds = time.perf_counter() - began
            return Answer(mask, seconds, seconds, {})

        return ask


def box_rival() -> Rival:
    """The box on every slice of the range."""
    return Rival(
        "box", lambda slices, said: said.inside(slices.shape), "box filled on every slice of the range"
    )


def ellipsoid_rival() -> Rival:
    """An ellipsoid in box and range."""
    return Rival(
        "ellipsoid",
        lambda slices, said: said.inside(slices.shape) & (said.radius(slices.shape) <= 1.0),
        "ellipse in the box, shrinking to nothing one slice beyond each end of the range",
    )
