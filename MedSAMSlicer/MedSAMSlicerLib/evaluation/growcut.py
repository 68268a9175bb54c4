"""Slicer's "Grow from seeds" as a rival, from the same box and range.

The algorithm is that of 3D Slicer itself, `vtkImageGrowCutSegment`, from the `slicer-core` package; it is imported on
demand. Seeds are what a user would paint who knows a box and the range: inside, the ellipsoid of box and range,
shrunk to `SEED_PART` of its radii; background, beyond the range and everywhere farther from the box than `GAP` of its
extent, since nobody paints background up to the object's edge. What grows out of the box is taken away again. The
image has the same window as for the network. As in Slicer, only the surroundings of the seeds are computed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import MedSAMError
from ..core.intensity import choose_window
from .rivals import BoxAndRange, Rival

SEED_PART = 0.5
GAP = 0.2
_MARGIN = 2  # voxels of background around the gap

_INSIDE, _BACKGROUND = 1, 2


def growcut_rival() -> Rival:
    """GrowCut, seeded from box and range.

    Raises:
        MedSAMError: `slicer-core` is not installed.
    """
    _filter()
    return Rival(
        "GrowCut",
        grow,
        f"vtkImageGrowCutSegment of slicer-core; seeds: inside, the ellipsoid of box and range at {SEED_PART:g} of its "
        f"radii; background, beyond the range and farther from the box than {GAP:g} of its extent; cut off at the box",
    )


def grow(slices: npt.NDArray[Any], said: BoxAndRange) -> npt.NDArray[np.bool_]:
    """The mask (slices, rows, columns) that the seeds grow to."""
    grey = choose_window(slices, "auto").apply(slices)
    inside, loose = said.inside(slices.shape), _grown(said)
    seeds = np.where(loose.inside(slices.shape), 0, _BACKGROUND).astype(np.uint8)
    seeds[inside & (said.radius(slices.shape) <= SEED_PART)] = _INSIDE
    around = _around(loose, slices.shape)
    # The filter does not look beyond the border voxels of its image, so that they may not hold anything of interest.
    image = np.pad(grey[around], 1, mode="edge")
    painted = np.pad(seeds[around], 1, mode="edge")
    painted[:, (0, -1), :] = painted[:, :, (0, -1)] = _BACKGROUND
    grown = np.zeros(slices.shape, np.bool_)
    grown[around] = _run(image, painted)[1:-1, 1:-1, 1:-1] == _INSIDE
    return grown & inside


def _grown(said: BoxAndRange) -> BoxAndRange:
    """The box with the gap around it, which is one voxel at least."""
    x, y = (max(1.0, GAP * extent) for extent in (said.right - said.left, said.bottom - said.top))
    return replace(said, left=said.left - x, right=said.right + x, top=said.top - y, bottom=said.bottom + y)


def _around(said: BoxAndRange, shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    edges = (
        (said.first, said.last + 1, 1),
        (said.top + 0.5, said.bottom + 0.5, _MARGIN),
        (said.left + 0.5, said.right + 0.5, _MARGIN),
    )
    z, y, x = (
        slice(max(int(low) - margin, 0), min(int(np.ceil(high)) + margin, size))
        for (low, high, margin), size in zip(edges, shape, strict=True)
    )
    return z, y, x


def _filter() -> Any:
    try:
        from slicer import vtkImageGrowCutSegment
    except ImportError as error:
        raise MedSAMError(
            f"GrowCut needs 3D Slicer's own code ({error}): install it with pip install 'medsamslicer[slicer]'."
        ) from error
    return vtkImageGrowCutSegment()


def _run(image: npt.NDArray[np.uint8], seeds: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    from vtk.util.numpy_support import vtk_to_numpy

    grow_cut = _filter()
    grow_cut.SetIntensityVolume(_as_vtk(image))
    grow_cut.SetSeedLabelVolume(_as_vtk(seeds))
    grow_cut.Update()
    grown = vtk_to_numpy(grow_cut.GetOutput().GetPointData().GetScalars()).reshape(image.shape)
    return np.array(grown, np.uint8)


def _as_vtk(array: npt.NDArray[np.uint8]) -> Any:
    from vtk import VTK_UNSIGNED_CHAR, vtkImageData
    from vtk.util.numpy_support import numpy_to_vtk

    image = vtkImageData()
    image.SetDimensions(*reversed(array.shape))
    voxels = numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True, array_type=VTK_UNSIGNED_CHAR)
    image.GetPointData().SetScalars(voxels)
    return image
