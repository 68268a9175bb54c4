"""How large a segment is: volume and diameters, measured on what the segment shows."""

from __future__ import annotations

import pytest

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
