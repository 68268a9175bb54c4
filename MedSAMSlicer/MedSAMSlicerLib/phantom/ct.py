"""A CT-like abdomen that never was a patient: for the demo, for tests and for screenshots.

Anatomy in millimeters, drawn by hand with smooth shapes, a soft organic warp and the noise of a scanner. It has nothing
in common with the generator of the training data, so that the demo is a case the bundled network has not seen.
"""

from __future__ import annotations

import numpy
from numpy.typing import NDArray

from ..core.errors import VolumeError
from ..core.geometry import VolumeGeometry
from ._anatomy import draw_organs, draw_skeleton, draw_trunk, draw_vessels
from .painter import Array, Painter, blur, smooth_field

FIELD_OF_VIEW_MM = (180.0, 250.0, 358.4)
"""Extent of the volume from feet to head, from front to back and from right to left."""

_NOISE_HU = 11.0


def ct_phantom(
    shape: tuple[int, int, int] = (60, 256, 256), seed: int = 0
) -> tuple[NDArray[numpy.int16], VolumeGeometry, dict[str, NDArray[numpy.bool_]]]:
    """A contrast-enhanced abdomen from the dome of the liver to the lower poles of the kidneys.

    Args:
        shape: Voxels along (K, J, I); the field of view is always the same, so the spacing follows from the shape
            (1.4 x 1.4 x 3 mm for the default shape; voxels are square in the slice).
        seed: Another seed is another patient: other proportions, other bends, other noise.

    Returns:
        (K, J, I) int16 HU; its geometry (supine, head first: i to the left, j to the back, k to the head); and a
        (K, J, I) bool mask for each organ: liver, liver_lesion, spleen, right_kidney, left_kidney, aorta, vena_cava,
        stomach, gallbladder, pancreas, vertebrae, colon.

    Raises:
        VolumeError: If a side has fewer than 8 voxels.
    """
    if min(shape) < 8:
        raise VolumeError(
            f"A phantom needs at least 8 voxels along each of its three axes, not {tuple(shape)}."
        )
    rng = numpy.random.default_rng(seed)
    in_plane = FIELD_OF_VIEW_MM[2] / shape[2]
    between = FIELD_OF_VIEW_MM[0] / shape[0]
    spacings = (between, max(in_plane, FIELD_OF_VIEW_MM[1] / shape[1]), in_plane)
    painter = _blank(rng, shape, spacings)
    draw_trunk(painter, rng)
    draw_skeleton(painter, rng)
    draw_organs(painter, rng)
    draw_vessels(painter, rng)
    image = _scan(rng, painter, spacings)
    half = [(count - 1) / 2 * spacing for count, spacing in zip(shape, spacings, strict=True)]
    geometry = VolumeGeometry.from_spacing(
        shape, spacings[::-1], origin=(half[2], half[1], -half[0]), direction=numpy.diag([-1.0, -1.0, 1.0])
    )
    return image, geometry, painter.masks


def _blank(
    rng: numpy.random.Generator, shape: tuple[int, int, int], spacings: tuple[float, float, float]
) -> Painter:
    """Air, and coordinates bent a little everywhere so that nothing is a perfect ellipsoid."""
    z, y, x = (
        ((numpy.arange(count) - (count - 1) / 2) * spacing).astype(numpy.float32)
        for count, spacing in zip(shape, spacings, strict=True)
    )
    bend = [
        3.0 * smooth_field(rng, (z, y, x), 55.0) + 0.8 * smooth_field(rng, (z, y, x), 17.0) for _ in range(3)
    ]
    full_z, full_y, full_x = numpy.meshgrid(z, y, x, indexing="ij")
    image = numpy.full(shape, -1000, numpy.float32)
    return Painter(full_x + bend[0], full_y + bend[1], full_z + bend[2], (z, y, x), image, spacings[2])


def _scan(
    rng: numpy.random.Generator, painter: Painter, spacings: tuple[float, float, float]
) -> NDArray[numpy.int16]:
    """Blur of the kernel, correlated noise that is strongest in the middle of the body, faint streaks between bones."""
    image = blur(painter.image, (0.35, 0.9 / spacings[1], 0.9 / spacings[2]))
    noise: Array = rng.standard_normal(image.shape).astype(numpy.float32)
    noise = blur(noise, (0.0, 0.8, 0.8)) * numpy.float32(2.6)
    z, y, x = painter.axes
    depth = numpy.clip(1 - (x[None, None, :] / 190) ** 2 - (y[None, :, None] / 140) ** 2, 0, 1)
    inside = image > -980
    image += numpy.where(inside, (0.45 + 0.75 * depth) * _NOISE_HU, 5.0) * noise
    streaks = smooth_field(rng, (z, y * 6, x * 0.15), 30.0)
    image += numpy.where(inside, 3.0 * depth, 0.0) * streaks
    rounded: NDArray[numpy.int16] = numpy.clip(numpy.rint(image), -1024, 3071).astype(numpy.int16)
    return rounded
