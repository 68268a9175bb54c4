"""Rivals are exact where they must be, and know no more than box and range."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import PromptError
from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.core.metrics import dice
from MedSAMSlicerLib.core.prompts import ObjectPrompts
from MedSAMSlicerLib.evaluation.growcut import growcut_rival
from MedSAMSlicerLib.evaluation.protocol import PROTOCOLS
from MedSAMSlicerLib.evaluation.rivals import Rival, box_rival, ellipsoid_rival
from MedSAMSlicerLib.evaluation.simulated_user import box_on, click_on

from .labelled_volumes import GEOMETRY, SHAPE, brick, ellipsoid, target_of, volume_of


def answer(rival: Rival, mask: np.ndarray, axis: SliceAxis = SliceAxis.K) -> np.ndarray:
    target = target_of(mask, axis)
    box = box_on(target, GEOMETRY, target.largest_slice)
    ask = rival.begin(volume_of(mask), axis)
    return ask(ObjectPrompts("object", (1, 0, 0), (box,), target.slice_range)).mask


@pytest.mark.parametrize("axis", list(SliceAxis))
def test_the_box_is_exact_on_a_brick(axis: SliceAxis) -> None:
    assert np.array_equal(answer(box_rival(), brick(), axis), brick())


def test_the_ellipsoid_is_exact_on_an_ellipsoid() -> None:
    # Its box reaches half a voxel beyond the outermost centres, its ends one slice beyond the range.
    truth = ellipsoid(radii=(5, 9.5, 12.5))
    assert (truth.any((1, 2)).sum(), truth.any((0, 2)).sum(), truth.any((0, 1)).sum()) == (11, 19, 25)
    assert (
        dice(answer(ellipsoid_rival(), truth), ellipsoid(radii=(6, 9.5, 12.5))) > 0.999
    )  # rounding at its skin


def test_the_ellipsoid_fills_its_share_of_the_box() -> None:
    filled, box = answer(ellipsoid_rival(), brick()), brick()
    assert not (filled & ~box).any()
    assert filled.any(axis=(1, 2)).sum() == 9
    assert np.count_nonzero(filled[3]) / np.count_nonzero(box[3]) == pytest.approx(np.pi / 4, abs=0.03)


@pytest.mark.slicer
@pytest.mark.parametrize("axis", list(SliceAxis))
def test_growcut_finds_a_bright_ellipsoid(axis: SliceAxis) -> None:
    pytest.importorskip("slicer")
    assert dice(answer(growcut_rival(), ellipsoid(), axis), ellipsoid()) > 0.95


@pytest.mark.slicer
def test_growcut_finds_an_object_that_fills_the_volume_up_to_its_ends() -> None:
    pytest.importorskip("slicer")
    mask = np.zeros(SHAPE, bool)
    mask[:, 8:25, 10:31] = True
    assert dice(answer(growcut_rival(), mask), mask) > 0.95


def test_rivals_need_a_box_and_a_range() -> None:
    target = target_of(brick())
    ask = box_rival().begin(volume_of(brick()), SliceAxis.K)
    with pytest.raises(PromptError, match="one box and the slice range"):
        ask(ObjectPrompts("object", (1, 0, 0), (click_on(target, GEOMETRY, 7),), (3, 11)))
    supported = [name for name, protocol in PROTOCOLS.items() if box_rival().supports(protocol)]
    assert supported == ["box+range", "loose box+range"]
