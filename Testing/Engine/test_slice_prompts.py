"""What the prompts of one slice say together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.prompts import MaskPrompt, SliceRef, box_from_voxels, point_from_voxel
from MedSAMSlicerLib.engine.slice_prompts import slice_prompts

GEOMETRY = VolumeGeometry.from_spacing((6, 20, 24), (1.0, 1.0, 2.0))
SLICE = SliceRef(SliceAxis.K, 3)
POINT = point_from_voxel(GEOMETRY, SLICE, 9, 8, True)
BOX = box_from_voxels(GEOMETRY, SLICE, 5, 4, 15, 12)
MASK = MaskPrompt(SLICE, np.pad(np.ones((6, 6), np.bool_), ((5, 9), (7, 11))))


def test_mask_says_all_and_what_was_given_before_it_no_longer_counts() -> None:
    together = slice_prompts([POINT, BOX, MASK], GEOMETRY)
    assert together.mask is not None
    assert np.array_equal(together.mask, MASK.mask)
    assert (together.box, together.points) == (None, ())


def test_clicks_after_a_mask_correct_it() -> None:
    together = slice_prompts([BOX, MASK, POINT, replace(POINT, round=1)], GEOMETRY)
    assert together.mask is not None
    assert together.box is None
    assert together.points == ((9.0, 8.0, True), (9.0, 8.0, True))


def test_mask_of_a_later_round_takes_the_place_of_earlier_clicks_and_masks() -> None:
    other = replace(MASK, mask=~MASK.mask, round=2)
    together = slice_prompts([MASK, replace(POINT, round=1), other], GEOMETRY)
    assert together.mask is not None
    assert np.array_equal(together.mask, other.mask)
    assert together.points == ()
