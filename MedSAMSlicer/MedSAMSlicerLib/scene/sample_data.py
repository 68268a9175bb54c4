"""Volumes to try the module on, in Slicer's Sample Data: three that Slicer publishes, one that is generated here."""

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
_ADDRESS = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"

# Name, file and SHA-256 as in `registerBuiltInSampleDataSources` of Slicer's SampleData.py (5.10 and main).
PUBLISHED = (
    ("CTLiver", "CTLiver.nrrd", "e16eae0ae6fefa858c5c11e58f0f1bb81834d81b7102e021571056324ef6f37e"),
    ("CTACardio", "CTA-cardio.nrrd", "3b0d4eb1a7d8ebb0c5a89cc0504640f76a030b4e869e33ff34c564c3d3b88ad2"),
    ("MRHead", "MR-head.nrrd", "cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93"),
)


def register(icons: Path) -> None:
    """Offer the volumes in Slicer's Sample Data; called when Slicer has started.

    Args:
        icons: folder of the thumbnails.
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
    for name, file, digest in PUBLISHED:
        add(
            category=CATEGORY,
            sampleName=f"MedSAM{name}",
            uris=_ADDRESS + digest,
            fileNames=file,
            nodeNames=name,
            checksums=f"SHA256:{digest}",
            thumbnailFileName=_published_thumbnail(name),
        )


def _load(_source: Any) -> None:
    """What Sample Data calls when the user presses the button of the generated volume."""
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


def _published_thumbnail(name: str) -> str | None:
    """The picture that Slicer itself has for a sample of its own."""
    module = getattr(slicer.modules, "sampledata", None)
    if module is None:
        return None
    path = Path(module.path).parent / "Resources" / "Icons" / f"{name}.png"
    return str(path) if path.is_file() else None
