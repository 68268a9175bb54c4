"""Sample data: what is offered, and the generated volume in the scene."""

from __future__ import annotations

import re
import sys
import types

import numpy as np

from MedSAMSlicerLib.phantom.ct import ct_phantom

from .conftest import RESOURCES


def test_each_sample_has_an_address_with_its_own_checksum_and_the_generated_one_a_picture(host, monkeypatch):
    from MedSAMSlicerLib.scene import sample_data

    offered: list[dict] = []
    logic = types.SimpleNamespace(registerCustomSampleDataSource=lambda **source: offered.append(source))
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=logic))
    sample_data.register(RESOURCES / "Icons")
    generated, *published = offered
    assert (RESOURCES / "Icons" / "GeneratedAbdomenCT.png").samefile(generated["thumbnailFileName"])
    assert callable(generated["customDownloader"])
    assert len(published) == 3
    for source in published:
        algorithm, digest = source["checksums"].split(":")
        assert algorithm == "SHA256"
        assert re.fullmatch("[0-9a-f]{64}", digest)
        assert source["uris"].endswith(digest)


def test_the_generated_volume_lies_where_the_phantom_says_and_is_shown(host):
    from MedSAMSlicerLib.scene.nodes import volume_array, volume_geometry
    from MedSAMSlicerLib.scene.sample_data import load_generated

    node = load_generated()
    array, geometry, _masks = ct_phantom()
    assert volume_geometry(node) == geometry
    assert np.array_equal(volume_array(node), array)
    composite = host.view("Red").mrmlSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == node.GetID()
