"""How large a segment is: volume and diameters, measured on what the segment shows."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.app.lesions import LESION_TAG
from MedSAMSlicerLib.core.diameters import diameters
from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.core.masks import slices_of
from MedSAMSlicerLib.core.prompts import MaskPrompt, SliceRef

from .controllers import LEFT, Driver, choose_from_elsewhere

pytestmark = pytest.mark.slicer


def test_diameters_and_volume_of_a_propagated_segment(driver: Driver) -> None:
    driver.prompted()
    driver.controller.runs.propagate()
    driver.settle()
    fact = driver.controller.review.measure()
    assert fact is not None
    assert fact.measured is not None
    assert fact.measured.longest_mm == pytest.approx(
        20 * 0.8, abs=2.5
    )  # an ellipsoid of 20 x 18 voxels of 0.8 mm
    assert fact.measured.perpendicular_mm == pytest.approx(18 * 0.8, abs=2.5)
    assert 4 <= fact.measured.index <= 10
    assert fact.milliliters == pytest.approx(LEFT.sum() * 0.8 * 0.8 * 3.0 / 1000, rel=0.3)


def test_segment_of_another_program_has_a_volume_and_no_diameters(driver: Driver) -> None:
    choose_from_elsewhere(driver, LEFT)
    driver.controller.inputs.select_segment("organ")
    fact = driver.controller.review.measure()
    assert fact is not None
    assert fact.measured is None
    assert fact.milliliters == pytest.approx(LEFT.sum() * 0.8 * 0.8 * 3.0 / 1000)


def test_what_another_segment_took_is_measured_no_longer(driver: Driver) -> None:
    driver.prompted()
    driver.controller.runs.propagate()
    driver.settle()
    controller = driver.controller
    first, before = controller.inputs.segment_id, controller.review.measure()
    assert first is not None
    assert before is not None
    assert before.measured is not None
    controller.inputs.masks.set_tag(first, LESION_TAG, "1")
    controller.network.set_overlap("all")
    whole, middle = driver.mask(first), int(np.argwhere(driver.mask(first)).mean(axis=0)[1])
    other = controller.inputs.add_segment("other")
    for index in np.flatnonzero(whole.any(axis=(1, 2))).tolist():
        half = whole[index].copy()
        half[middle:] = False
        if half.any():
            driver.place(MaskPrompt(SliceRef(SliceAxis.K, index), half), other)
    driver.settle()
    left = driver.mask(first)
    assert left.sum() < 0.7 * whole.sum()
    controller.inputs.select_segment(first)
    after, [lesion] = controller.review.measure(), controller.lesions.lesions
    expected = diameters(slices_of(left, SliceAxis.K), (0.8, 0.8))
    assert after is not None
    assert after.milliliters == lesion.milliliters == pytest.approx(left.sum() * 0.8 * 0.8 * 3.0 / 1000)
    assert after.measured == lesion.measured == expected
    assert after.measured.perpendicular_mm < 0.8 * before.measured.perpendicular_mm
