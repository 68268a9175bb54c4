"""How long a stroke of Slicer's brush takes where many segments share one labelmap.

20 segments in 512 x 512 x 300 voxels, one stroke on one slice: `python -m Testing.Mrml.shared_labelmap`.
"""

from __future__ import annotations

import itertools
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .conftest import MrmlScene

SHAPE = (300, 512, 512)
COUNT = 20


def shared_segmentation(
    mrml: MrmlScene, volume: Any, count: int = COUNT, shape: tuple[int, int, int] = SHAPE
) -> Any:
    """A segmentation of boxes side by side, in one labelmap as TotalSegmentator's and as Slicer loads it."""
    import vtk

    slicer = mrml.slicer
    node = mrml.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    labels = np.zeros(shape, np.uint8)
    columns = np.linspace(0, shape[2], count + 1).astype(int)
    for value, (first, end) in enumerate(itertools.pairwise(columns), start=1):
        labels[shape[0] // 10 : -shape[0] // 10, shape[1] // 4 : -shape[1] // 4, first:end] = value
    image = slicer.vtkOrientedImageData()
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    image.SetImageToWorldMatrix(matrix)
    image.SetExtent(0, shape[2] - 1, 0, shape[1] - 1, 0, shape[0] - 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    scalars = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    scalars[:] = labels.ravel()
    for value in range(1, count + 1):
        segment = slicer.vtkSegment()
        segment.SetName(f"organ {value}")
        segment.SetLabelValue(value)
        segment.AddRepresentation("Binary labelmap", image)
        node.GetSegmentation().AddSegment(segment, f"organ_{value}")
    return node


def stroke(mrml: MrmlScene, node: Any, segment_id: str, index: int, shape: tuple[int, int, int]) -> None:
    """Paint beside a segment on slice `index`, by the call that Segment Editor paints with."""
    import vtk

    slicer = mrml.slicer
    segment = node.GetSegmentation().GetSegment(segment_id)
    shared = segment.GetRepresentation("Binary labelmap")
    brush = slicer.vtkOrientedImageData()
    matrix = vtk.vtkMatrix4x4()
    shared.GetImageToWorldMatrix(matrix)
    brush.SetImageToWorldMatrix(matrix)
    brush.SetExtent(0, shape[2] // 8, 0, shape[1] // 8, index, index)
    brush.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk.util.numpy_support.vtk_to_numpy(brush.GetPointData().GetScalars())[:] = segment.GetLabelValue()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.SetBinaryLabelmapToSegment(brush, node, segment_id, logic.MODE_MERGE_MAX)


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def main() -> None:
    from MedSAMSlicerLib.scene.export_files import export_nifti
    from MedSAMSlicerLib.scene.segments import SegmentMasks

    mrml = MrmlScene.boot()
    volume = mrml.volume_node(np.zeros(SHAPE, np.int16), np.diag([0.7, 0.7, 1.0, 1.0]))
    node = shared_segmentation(mrml, volume)
    bare = [seconds(lambda n=n: stroke(mrml, node, "organ_3", 100 + n, SHAPE)) for n in range(3)]
    made: list[Any] = []
    opened = seconds(lambda: made.append(SegmentMasks(node, volume, on_modified=lambda: None)))
    masks = made[0]
    columns: dict[str, list[float]] = {"Slicer's own": bare, "painting": [], "taking it": [], "facts": []}
    for number in range(5):
        columns["painting"].append(seconds(lambda n=number: stroke(mrml, node, "organ_3", 110 + n, SHAPE)))

        def take() -> None:
            assert list(masks.edits({"organ_3"})) == ["organ_3"]
            masks.settle("organ_3")

        columns["taking it"].append(seconds(take))
        columns["facts"].append(seconds(lambda: masks.measure("organ_3")))
    lines = [f"chosen in the module: {opened:.2f} s"]
    for name, values in columns.items():
        spread = f"median of {len(values)}, {min(values):.3f} to {max(values):.3f}"
        lines.append(f"{name}: {np.median(values):.3f} s ({spread})")
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        spent = seconds(lambda: export_nifti(node, volume, Path(folder) / "organs.nii.gz"))
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lines.append(f"export as NIfTI: {spent:.1f} s, {(after - before) / 1024**2:.2f} GiB more at its peak")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
