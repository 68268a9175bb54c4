from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import PromptError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.prompts import SliceRef, in_slice
from MedSAMSlicerLib.core.strokes import scribble_from_mask

GEOMETRY = VolumeGeometry.from_spacing((5, 40, 50), (0.5, 0.5, 3.0))
PLACE = SliceRef(SliceAxis.K, 2)


def test_stroke_runs_through_the_middle_of_the_paint() -> None:
    mask = np.zeros((40, 50), bool)
    mask[18:23, 5:45] = True
    scribble = scribble_from_mask(GEOMETRY, PLACE, mask)
    xy = in_slice(scribble, GEOMETRY)
    assert abs(xy[:, 1] - 20).max() <= 2
    assert np.ptp(xy[:, 0]) > 33
    assert scribble.radius_mm == pytest.approx(1.25, rel=0.3)


def test_every_point_of_a_bent_stroke_lies_on_the_paint() -> None:
    rows, columns = np.mgrid[:40, :50]
    distance = np.hypot(rows - 20, columns - 25)
    mask = (abs(distance - 14) < 2) & (columns > 15)
    xy = in_slice(scribble_from_mask(GEOMETRY, PLACE, mask, positive=False), GEOMETRY)
    assert all(mask[round(y), round(x)] for x, y in xy.tolist())


def test_dot_is_a_stroke() -> None:
    mask = np.zeros((40, 50), bool)
    mask[7, 9] = True
    scribble = scribble_from_mask(GEOMETRY, PLACE, mask)
    assert in_slice(scribble, GEOMETRY).round().tolist() == [[9, 7]]


def test_largest_of_several_strokes_counts() -> None:
    mask = np.zeros((40, 50), bool)
    mask[2, 2] = True
    mask[30, 10:40] = True
    assert (in_slice(scribble_from_mask(GEOMETRY, PLACE, mask), GEOMETRY)[:, 1].round() == 30).all()


def test_nothing_painted_is_refused() -> None:
    with pytest.raises(PromptError, match="Nothing was painted on slice 2"):
        scribble_from_mask(GEOMETRY, PLACE, np.zeros((40, 50), bool))
    with pytest.raises(PromptError, match="stroke on slice 2 must be bool"):
        scribble_from_mask(GEOMETRY, PLACE, np.zeros((50, 40), bool))
