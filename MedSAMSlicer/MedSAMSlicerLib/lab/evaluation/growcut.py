"""Slicer's "Grow from seeds" as a baseline, from the same boxes, range and clicks.

The algorithm is that of 3D Slicer itself, `vtkImageGrowCutSegment`, from the `slicer-core` package; it is imported on
demand. Its seeds are those of :mod:`.seeds`. The image has the same window as for the network. As in Slicer, only the
surroundings of the seeds are computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.errors import MedSAMError
from . import seeds
from .baselines import Baseline, Stack
from .boxes import BoxesAndRange


def growcut_baseline() -> Baseline:
    """GrowCut, seeded from boxes, range and clicks.

    Raises:
        MedSAMError: `slicer-core` is not installed.
    """
    _filter()
    about = f"vtkImageGrowCutSegment of slicer-core; {seeds.ABOUT}"
    return Baseline("GrowCut", grow, about, looks=True, clicks=True)


def grow(stack: Stack, boxes_and_range: BoxesAndRange) -> npt.NDArray[np.bool_]:
    """The mask (slices, rows, columns) that the seeds grow to."""
    sown = seeds.paint(stack, boxes_and_range)
    # The filter does not look beyond the border voxels of its image, so that they may not hold anything of interest.
    image = np.pad(stack.gray(sown.around), 1, mode="edge")
    painted = np.pad(sown.painted, 1, mode="edge")
    painted[:, (0, -1), :] = painted[:, :, (0, -1)] = seeds.BACKGROUND
    grown = np.zeros(stack.shape, np.bool_)
    grown[sown.around] = (_run(image, painted)[1:-1, 1:-1, 1:-1] == seeds.INSIDE) & sown.allowed
    return grown


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
