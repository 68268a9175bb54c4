"""The gray values that runners see: one rule for all of them."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from ...core.intensity import Window, choose_window

WINDOWED = "windowed"
"""The modality of a volume whose values are gray values from 0 to 255 already."""


def window_of(array: npt.NDArray[Any], modality: str | None) -> Window | None:
    """The window of a volume (K, J, I); None for color (K, J, I, 3), which has none."""
    if array.ndim > 3:
        return None
    return Window(0.0, 255.0, "8-bit") if modality == WINDOWED else choose_window(array, "auto", modality)
