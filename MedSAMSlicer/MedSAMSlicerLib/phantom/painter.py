"""Painting a phantom in millimeters: soft-edged organs, smooth noise and the scanner's blur, in numpy alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy
from numpy.typing import NDArray

Array = NDArray[numpy.floating[Any]]
Block = tuple[slice, slice, slice]
Point = tuple[float, float, float]


def spline_weights(positions: Array, count: int) -> Array:
    """(N, count) cubic B-spline weights at positions (N,) in units of the knots, valid in [0, count - 3]."""
    distance = numpy.abs(positions[:, None] - (numpy.arange(count, dtype=numpy.float32)[None] - 1))
    near = 2 / 3 - distance**2 + 0.5 * distance**3
    far = numpy.clip(2 - distance, 0, None) ** 3 / 6
    weights: Array = numpy.where(distance < 1, near, far).astype(numpy.float32)
    return weights


def smooth_field(rng: numpy.random.Generator, axes: tuple[Array, Array, Array], scale_mm: float) -> Array:
    """(K, J, I) smooth noise of about unit variance that changes over `scale_mm`; axes in mm along z, y, x."""
    weights = []
    for axis in axes:
        positions = (axis - axis.min()) / scale_mm + numpy.float32(rng.random())
        weights.append(spline_weights(positions.astype(numpy.float32), int(positions.max()) + 4))
    knots = rng.standard_normal([weight.shape[1] for weight in weights]).astype(numpy.float32)
    field_zyx = numpy.einsum("kz,zyx->kyx", weights[0], knots, optimize=True)
    field_zyx = numpy.matmul(weights[1][None], field_zyx)
    smooth: Array = numpy.matmul(field_zyx, weights[2].T[None]) / numpy.float32(0.332)
    return smooth


def blur(image: Array, sigma: tuple[float, float, float]) -> Array:
    """Gaussian blur, sigma in voxels along (K, J, I), edges replicated."""
    for axis, width in enumerate(sigma):
        radius = int(numpy.ceil(2.5 * width))
        if radius < 1 or width < 0.2:
            continue
        kernel = numpy.exp(-0.5 * (numpy.arange(-radius, radius + 1) / width) ** 2)
        kernel = (kernel / kernel.sum()).astype(numpy.float32)
        padded = numpy.pad(image, [(radius, radius) if a == axis else (0, 0) for a in range(3)], mode="edge")
        total = numpy.zeros_like(image)
        for offset, weight in enumerate(kernel):
            part = [slice(None)] * 3
            part[axis] = slice(offset, offset + image.shape[axis])
            total += weight * padded[tuple(part)]
        image = total
    return image


def smooth_union(first: Array, second: Array, softness: float) -> Array:
    """Signed distance to the union of two bodies, with a fillet of `softness` mm where they meet."""
    blend = numpy.clip(0.5 + 0.5 * (second - first) / softness, 0, 1)
    united: Array = second + (first - second) * blend - softness * blend * (1 - blend)
    return united


@dataclass
class Painter:
    """A volume under construction.

    Args:
        x, y, z: (K, J, I) coordinates in mm after the organic warp: to the patient's left, to the back, to the head.
        axes: The same without the warp, one array an axis in the order z, y, x.
        image: (K, J, I) float32 HU.
        voxel: Width of the soft edge in mm.
        masks: The organs painted so far, by name.
    """

    x: Array
    y: Array
    z: Array
    axes: tuple[Array, Array, Array]
    image: Array
    voxel: float
    masks: dict[str, NDArray[numpy.bool_]] = field(default_factory=dict)

    def block(self, center: Point, reach: float | Point) -> Block:
        """The part of the volume within `reach` mm of a center (x, y, z), the warp allowed for."""
        reaches = (reach, reach, reach) if isinstance(reach, (int, float)) else reach
        bounds = []
        for axis, middle, extent in zip(self.axes, center[::-1], reaches[::-1], strict=True):
            inside = numpy.flatnonzero(numpy.abs(axis - middle) <= extent + 12)
            bounds.append(slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0))
        return bounds[0], bounds[1], bounds[2]

    def ellipsoid(
        self, block: Block, center: Point, radii: Point, tilt: float = 0.0, lean: float = 0.0
    ) -> Array:
        """Signed distance in mm (about) to an ellipsoid turned by `tilt` in the slice and leaning `lean` mm per mm."""
        z = self.z[block] - center[2]
        x, y = self.x[block] - center[0] - lean * z, self.y[block] - center[1]
        cosine, sine = numpy.float32(numpy.cos(tilt)), numpy.float32(numpy.sin(tilt))
        along, across = cosine * x + sine * y, cosine * y - sine * x
        radius = numpy.sqrt((along / radii[0]) ** 2 + (across / radii[1]) ** 2 + (z / radii[2]) ** 2)
        distance: Array = (radius - 1) * numpy.float32(min(radii[0], radii[1]))
        return distance

    def tube(self, path: list[Point], radii: list[float]) -> tuple[Block, Array]:
        """Signed distance in mm to a tube through the points, and the block it was computed in."""
        low, high = numpy.min(path, 0), numpy.max(path, 0)
        center, half = (low + high) / 2, (high - low) / 2 + max(radii) + 2
        block = self.block((center[0], center[1], center[2]), (half[0], half[1], half[2]))
        x, y, z = self.x[block], self.y[block], self.z[block]
        distance = numpy.full(x.shape, 1e3, numpy.float32)
        for (start, end), (first, last) in zip(pairwise(path), pairwise(radii), strict=True):
            axis = numpy.asarray(end, numpy.float32) - numpy.asarray(start, numpy.float32)
            dx, dy, dz = x - start[0], y - start[1], z - start[2]
            along = numpy.clip(
                (dx * axis[0] + dy * axis[1] + dz * axis[2]) / max(float(axis @ axis), 1e-6), 0, 1
            )
            squared = (dx - along * axis[0]) ** 2 + (dy - along * axis[1]) ** 2 + (dz - along * axis[2]) ** 2
            distance = numpy.minimum(distance, numpy.sqrt(squared) - (first + (last - first) * along))
        return block, distance

    def paint(
        self,
        block: Block,
        distance: Array,
        hu: float | Array,
        name: str | None = None,
        only: Array | None = None,
    ) -> None:
        """Blend a body in: full inside, soft over one voxel at its edge.

        Args:
            distance: Signed distance in mm over the block, negative inside.
            hu: Its CT number, or an array of them over the block.
            name: Register (or extend) a mask of this name; names painted earlier lose what is painted over them.
            only: A second signed distance the body must lie within.
        """
        if distance.size == 0:
            return
        if only is not None:
            distance = numpy.maximum(distance, only)
        alpha = numpy.clip(0.5 - distance / self.voxel, 0, 1)
        region = self.image[block]
        region += alpha * (hu - region)
        inside = alpha > 0.5
        if name is None:
            return
        for other, mask in self.masks.items():
            if other != name:
                mask[block] &= ~inside
        self.masks.setdefault(name, numpy.zeros(self.image.shape, bool))[block] |= inside
