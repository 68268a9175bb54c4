"""A volume to try the module on, in Slicer's Sample Data beside Slicer's own CTLiver, CTACardio and MRHead."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

logger = logging.getLogger(__name__)

CATEGORY = "MedSAMSlicer"


def register(icons: Path) -> None:
    """Offer the volume in Slicer's Sample Data; called when Slicer has started.

    Args:
        icons: folder of the thumbnail.
    """
    add = importlib.import_module("SampleData").SampleDataLogic.registerCustomSampleDataSource
    add(
        category=CATEGORY,
        sampleName="GeneratedAbdomenCT",
        uris="",
        fileNames="GeneratedAbdomenCT.nrrd",
        nodeNames="GeneratedAbdomenCT",
        customDownloader=_load,
        thumbnailFileName=str(icons / "GeneratedAbdomenCT.png"),
    )


def _load(_source: Any) -> None:
    """Return what Sample Data calls when the user presses the button of the generated volume."""
    load_generated()


def load_generated() -> Any:
    """Draw a CT-like abdomen, put it into the scene and the slice views, and return its volume node."""
    from ..phantom.ct import ct_phantom

    array, geometry, _masks = ct_phantom()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", _("Generated abdomen CT"))
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(geometry.ijk_to_ras[row, column]))
    node.SetIJKToRASMatrix(matrix)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(400, 40)
    if slicer.app.layoutManager() is not None:
        slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node
