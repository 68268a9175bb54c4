"""A saved scene brings prompts, session and segments back, as a bundle and as a folder of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.core.geometry import SliceAxis

from .conftest import MrmlScene
from .test_prompt_nodes import assert_same, of, prompts_on
from .test_segment_masks import blob, slices_of, whole
from .volumes import CASES, case, node_of, put_under

pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
from MedSAMSlicerLib.scene import nodes
from MedSAMSlicerLib.scene.parameter_node import ParameterNode
from MedSAMSlicerLib.scene.prompt_nodes import PromptNodes
from MedSAMSlicerLib.scene.segments import SegmentMasks, create_segmentation

pytestmark = pytest.mark.slicer
TEXT = '{"prompts": ["a; b: c | d", "Läsion <&> \\"1\\"\\n"], "n": 1.5e-7}\n'
TURN = np.array([[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1.0]])


def save_and_load(mrml: MrmlScene, folder: Path, bundle: bool) -> None:
    """As File / Save and File / Open do it: every node with a file of its own, then the scene."""
    scene, slicer = mrml.scene, mrml.slicer
    if scene.GetDataIOManager() is None:
        cache, manager = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
        (folder / "cache").mkdir()
        cache.SetRemoteCacheDirectory(str(folder / "cache"))
        manager.SetCacheManager(cache)
        scene.SetCacheManager(cache)
        scene.SetDataIOManager(manager)
    if bundle:
        assert scene.WriteToMRB(str(folder / "study.mrb"))
        scene.Clear(False)
        assert scene.ReadFromMRB(str(folder / "study.mrb"))
        return
    (folder / "study").mkdir()
    assert mrml.application.SaveSceneToSlicerDataBundleDirectory(str(folder / "study"), None)
    saved = next((folder / "study").glob("*.mrml"))
    scene.Clear(False)
    scene.SetURL(str(saved))
    assert scene.Connect()


@pytest.mark.parametrize("bundle", [True, False], ids=["mrb", "folder"])
@pytest.mark.parametrize("name", ["oblique", "permuted left-handed", "as scanned"])
def test_a_saved_scene_brings_everything_back(
    mrml: MrmlScene, tmp_path: Path, name: str, bundle: bool
) -> None:
    geometry = case(name)
    volume = node_of(mrml, geometry)
    put_under(mrml, volume, TURN)
    segmentation = create_segmentation(mrml.scene, volume)
    masks = SegmentMasks(segmentation, volume)
    arrays = {"Läsion 3": blob(geometry.shape, 1), "other": blob(geometry.shape, 2)}  # they overlap
    ids = {text: masks.add(text) for text in arrays}
    for text, array in arrays.items():
        masks.write_slices(ids[text], SliceAxis.J, slices_of(array, SliceAxis.J))
    masks.set_locked(ids["other"], True)
    wanted = prompts_on(geometry, SliceAxis.J, 2)
    prompt_nodes = PromptNodes(mrml.scene, lambda edit: pytest.fail(f"reported {edit}"))
    prompt_nodes.sync([of(wanted)], volume)
    parameters = ParameterNode(mrml.scene)
    parameters.volume, parameters.segmentation = volume, segmentation
    parameters.segment_id, parameters.overlap = ids["other"], "visible"
    parameters.set_session_of(volume, segmentation, TEXT)
    masks.close()
    prompt_nodes.close()
    del volume, segmentation

    save_and_load(mrml, tmp_path, bundle)

    parameters = ParameterNode(mrml.scene)
    volume, segmentation = parameters.volume, parameters.segmentation
    assert (parameters.overlap, parameters.session_of(volume, segmentation)) == ("visible", TEXT)
    found = nodes.volume_geometry(volume)
    assert found.distance_to(geometry) < 1e-4
    np.testing.assert_allclose(nodes.transform_to_world(volume), TURN)
    edits: list[Any] = []
    prompt_nodes = PromptNodes(mrml.scene, edits.append)
    (prompts,) = prompt_nodes.read(volume)
    assert prompts.object_id == 3
    for one, other in zip(prompts.prompts, wanted, strict=True):
        assert_same(one, other, 1e-3)
    before = sorted(node.GetID() for node in prompt_nodes._nodes_of(volume))
    prompt_nodes.sync([of(wanted)], volume)  # takes the loaded nodes over
    assert sorted(node.GetID() for node in prompt_nodes._nodes_of(volume)) == before
    assert len(before) == 4
    assert edits == []
    masks = SegmentMasks(segmentation, volume)
    assert masks.locked(parameters.segment_id)
    for segment_id in masks.segment_ids():
        np.testing.assert_array_equal(whole(masks, segment_id, found.shape), arrays[masks.name(segment_id)])
    masks.close()
    prompt_nodes.close()


@pytest.mark.parametrize("name", CASES)
def test_prompts_of_every_geometry_survive_a_bundle(mrml: MrmlScene, tmp_path: Path, name: str) -> None:
    geometry = case(name)
    volume = node_of(mrml, geometry)
    wanted = prompts_on(geometry)
    if name == "sheared":
        wanted = tuple(prompt for prompt in wanted if not hasattr(prompt, "corner"))
    prompt_nodes = PromptNodes(mrml.scene, lambda edit: pytest.fail(f"reported {edit}"))
    prompt_nodes.sync([of(wanted)], volume)
    prompt_nodes.close()
    save_and_load(mrml, tmp_path, bundle=True)
    volume = mrml.scene.GetFirstNodeByName("volume")
    (prompts,) = prompt_nodes.read(volume)
    for one, other in zip(prompts.prompts, wanted, strict=True):
        assert_same(one, other, 1e-3)


def test_the_choices_of_a_study_live_in_one_node(mrml: MrmlScene) -> None:
    first, second = (node_of(mrml, case(name)) for name in ("oblique", "sheared"))
    parameters, changes = ParameterNode(mrml.scene), []
    assert parameters.node is ParameterNode(mrml.scene).node
    defaults = (parameters.volume, parameters.segmentation, parameters.segment_id, parameters.checkpoint)
    assert defaults == (None,) * 4
    assert (parameters.window_spec, parameters.tier, parameters.overlap) == ("display", None, "stop")
    remove = parameters.observe(lambda: changes.append(True))
    parameters.window_spec = "-100,300"
    assert len(changes) == 1
    parameters.window_spec = "-100,300"
    assert len(changes) == 1
    remove()
    parameters.tier, parameters.checkpoint = "fast", "/models/my file; 1.safetensors"
    assert (parameters.tier, parameters.checkpoint) == ("fast", "/models/my file; 1.safetensors")
    with pytest.raises(ValueError, match="overlap"):
        parameters.overlap = "some"
    masks = create_segmentation(mrml.scene, first)
    parameters.set_session_of(first, None, "nowhere")  # without a segmentation there is no session
    assert parameters.session_of(first, None) is None
    parameters.segmentation = masks
    parameters.volume = first
    parameters.set_session_of(first, masks, "one")
    parameters.volume = second
    parameters.set_session_of(second, masks, "two")
    assert (parameters.session_of(first, masks), parameters.session_of(second, masks)) == ("one", "two")
    mrml.scene.RemoveNode(first)
    third = node_of(mrml, case("permuted"))
    assert parameters.session_of(third, masks) is None
    parameters.set_session_of(third, masks, "three")  # takes the place of the one whose volume is gone
    assert (parameters.session_of(second, masks), parameters.session_of(third, masks)) == ("two", "three")
    parameters.set_session_of(second, masks, None)
    assert parameters.session_of(second, masks) is None
    assert len(changes) == 1
    parameters.close()


def test_each_segmentation_of_a_volume_has_a_session_of_its_own(mrml: MrmlScene) -> None:
    volume, other = (node_of(mrml, case(name)) for name in ("oblique", "sheared"))
    one, two = (create_segmentation(mrml.scene, volume) for _ in range(2))
    parameters = ParameterNode(mrml.scene)
    assert parameters.segmentation_of(volume) is None
    parameters.set_session_of(volume, one, "one")
    parameters.set_session_of(volume, two, "two")
    parameters.set_session_of(other, one, "three")
    assert [parameters.session_of(volume, each) for each in (one, two)] == ["one", "two"]
    assert parameters.segmentation_of(volume) is two
    parameters.use_session_of(volume, one)
    assert parameters.segmentation_of(volume) is one
    parameters.set_session_of(volume, two, "two again")
    assert parameters.segmentation_of(volume) is two
    mrml.scene.RemoveNode(two)
    parameters.drop_lost_sessions()
    assert parameters.segmentation_of(volume) is one
    parameters.drop_sessions_of(volume)
    assert parameters.session_of(volume, one) is None
    assert parameters.session_of(other, one) == "three"
    parameters.close()
