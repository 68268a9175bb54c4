"""The picture of a slice as the network sees it."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.intensity import Window


@pytest.mark.parametrize("axis", list(SliceAxis))
def test_picture_has_true_proportions_and_fits_its_room(host, axis):
    from MedSAMSlicerLib.panel.slice_picture import pixmap_of

    geometry = VolumeGeometry.from_spacing((10, 40, 60), (0.5, 1.0, 3.0))
    array = np.zeros(geometry.shape, dtype=np.int16)
    picture = pixmap_of(array, geometry, axis, 5, Window(0, 100), 100)
    rows, columns = geometry.slice_shape(axis)
    high, wide = geometry.in_plane_spacing(axis)
    assert max(picture.width(), picture.height()) == 100
    assert picture.width() / picture.height() == pytest.approx(columns * wide / (rows * high), rel=0.03)


def test_picture_shows_the_gray_values_of_the_window(host):
    from MedSAMSlicerLib.panel.slice_picture import pixmap_of

    geometry = VolumeGeometry.from_spacing((3, 64, 64), (1.0, 1.0, 1.0))
    array = np.zeros(geometry.shape, dtype=np.int16)
    array[1, :32] = 100
    array[1, 32:] = 50
    image = pixmap_of(array, geometry, SliceAxis.K, 1, Window(0, 100), 64).toImage()
    assert image.pixelColor(32, 5).red() == 255
    assert image.pixelColor(32, 60).red() == 128


def test_a_large_slice_is_thinned_before_it_is_drawn(host):
    from MedSAMSlicerLib.panel.slice_picture import gray_slice

    gray = gray_slice(np.zeros((2, 1500, 700), dtype=np.uint8), SliceAxis.K, 0, Window(0, 1))
    assert gray.shape == (500, 350)
