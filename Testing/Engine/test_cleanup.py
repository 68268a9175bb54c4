"""What clean-up takes away and fills, and what it leaves alone."""

from __future__ import annotations

import numpy as np

from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.engine.cleanup import clean


def test_islands_go_and_small_holes_are_filled_when_asked() -> None:
    mask = np.zeros((6, 30, 30), bool)
    mask[1:4, 5:25, 5:25] = True
    mask[2, 10, 10] = False
    mask[5, 2:4, 2:4] = True
    tidy = clean(mask, SliceAxis.K, [2], "both")
    assert tidy.sum() == 3 * 400
    assert np.array_equal(clean(mask, SliceAxis.K, [2], "none"), mask)
    assert clean(mask, SliceAxis.K, [5], "islands").sum() == 4
    ring = np.zeros((1, 30, 30), bool)
    ring[0, 5:25, 5:25] = True
    ring[0, 8:22, 8:22] = False
    assert np.array_equal(clean(ring, SliceAxis.K, [0], "holes"), ring)
