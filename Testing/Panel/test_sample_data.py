"""Sample data: what is offered, and the generated volume in the scene."""

from __future__ import annotations

import sys
import types

import numpy as np

from MedSAMSlicerLib.phantom.ct import ct_phantom

from .conftest import RESOURCES


def test_generated_volume_is_offered_with_a_picture_and_none_that_slicer_offers_itself(host, monkeypatch):
    from MedSAMSlicerLib.scene import sample_data

    offered: list[dict] = []
    logic = types.SimpleNamespace(registerCustomSampleDataSource=lambda **source: offered.append(source))
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=logic))
    sample_data.register(RESOURCES / "Icons")
    assert [source["sampleName"] for source in offered] == ["GeneratedAbdomenCT"]
    assert (RESOURCES / "Icons" / "GeneratedAbdomenCT.png").samefile(offered[0]["thumbnailFileName"])
    assert callable(offered[0]["customDownloader"])


def test_the_generated_volume_lies_where_the_phantom_says_and_is_shown(host):
    from MedSAMSlicerLib.scene.nodes import volume_array, volume_geometry
    from MedSAMSlicerLib.scene.sample_data import load_generated

    node = load_generated()
    array, geometry, _masks = ct_phantom()
    assert volume_geometry(node) == geometry
    assert np.array_equal(volume_array(node), array)
    composite = host.view("Red").mrmlSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == node.GetID()
