"""Geodesic distance from seeds: how much the gray changes, at least, on the way from a seed to a voxel.

The distance that "grow from seeds" methods compare (Zhu et al. 2014, fast GrowCut). Along one axis all voxels of a line
are relaxed at once: with W the running sum of the steps, d[i] = min over j <= i of d[j] + W[i] - W[j] is a running
minimum. Sweeps along the three axes and back are repeated, so that paths may turn that often.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FAR = np.float32(1e4)
"""The distance of what no seed reaches; larger than any path through an image."""

Floats = npt.NDArray[np.float32]


def step_costs(
    gray: Floats, spacing: tuple[float, float, float], length: float
) -> tuple[Floats, Floats, Floats]:
    """Running sums of the cost of steps along each of the three axes.

    Args:
        gray: (slices, rows, columns), in units in which 1 is a strong edge.
        spacing: mm along each axis.
        length: cost of a step of 1 mm without any change of gray.
    """
    sums = []
    for axis, mm in enumerate(spacing):
        steps = np.abs(np.diff(gray, axis=axis)) + np.float32(length * mm)
        first = np.zeros_like(np.take(gray, [0], axis=axis))
        sums.append(np.cumsum(np.concatenate([first, steps], axis=axis), axis=axis, dtype=np.float32))
    return sums[0], sums[1], sums[2]


def distances(sums: tuple[Floats, Floats, Floats], seeds: npt.NDArray[np.bool_], rounds: int = 3) -> Floats:
    """Distance of every voxel from the nearest seed, (..., slices, rows, columns) float32; `FAR` without seeds.

    Args:
        sums: of :func:`step_costs`.
        seeds: (..., slices, rows, columns) bool.
        rounds: of sweeps along all axes, both ways.
    """
    found = np.where(seeds, np.float32(0), FAR).astype(np.float32)
    for _ in range(rounds):
        for axis, running in enumerate(sums):
            at = axis - 3
            found -= running
            np.minimum.accumulate(found, axis=at, out=found)
            found += 2 * running
            flipped = np.flip(found, at)
            np.minimum.accumulate(flipped, axis=at, out=flipped)
            found -= running
    return np.asarray(found, np.float32)
