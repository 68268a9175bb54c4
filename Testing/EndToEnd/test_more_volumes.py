"""A PET and an MR beside the CT, chosen in the panel: what only they show is segmented, saved and found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .user import Mask, User, dice, largest, same

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
LESION = "lesion"


def lesion(liver: Mask) -> Mask:
    """(K, J, I): an ellipsoid in the middle of the liver that the CT does not show."""
    scale = liver.shape[1] / 128
    radii = 6, 10 * scale, 9 * scale
    middle = np.argwhere(liver).mean(axis=0).round()
    parts = ((at - c) / r for at, c, r in zip(np.indices(liver.shape), middle, radii, strict=True))
    return np.asarray(sum(part**2 for part in parts) <= 1)


def further_volumes(user: User) -> tuple[Any, Any]:
    """A PET with coarser voxels under a transform, and an MR on the voxels of the CT; both show the lesion."""
    scene, util = user.host.scene, __import__("slicer").util
    truth = lesion(user.truth["liver"])
    shape = truth.shape
    user.truth = {**user.truth, LESION: truth}
    rng = np.random.default_rng(4)
    mr = user.host.add_volume(
        (400 * truth + rng.normal(90, 15, shape)).astype(np.int16), user.matrix, name="MR"
    )
    halved = user.matrix @ np.diag([2.0, 2.0, 1.0, 1.0])
    away = np.eye(4)
    away[:3, 3] = 15, 10, -4
    uptake = 8 * truth[:, ::2, ::2] + rng.random((shape[0], shape[1] // 2, shape[2] // 2))
    pet = user.host.add_volume(uptake.astype(np.float32), away @ halved, name="PET")
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "registration")
    transform.SetMatrixTransformToParent(util.vtkMatrixFromArray(np.linalg.inv(away)))
    pet.SetAndObserveTransformNodeID(transform.GetID())
    user.host.set_window(pet, 8, 4)
    user.host.set_window(mr, 500, 300)
    user.host.show_volume(user.volume)
    user.turn_to(user.volume)
    return pet, mr


def choose(user: User, which: str, node: Any) -> None:
    getattr(user.ui, f"{which}VolumeSelector").setCurrentNode(node)
    user.host.process_events(0.05)
    user.settled().ready()


def test_lesion_that_the_ct_does_not_show_is_segmented_saved_and_found_again(
    user: User, tmp_path: Path
) -> None:
    pet, mr = further_volumes(user)
    user.ui.moreVolumes.collapsed = False
    assert not user.ui.thirdVolumeSelector.enabled
    assert not user.ui.secondWindowSelector.enabled
    choose(user, "second", pet)
    assert user.ui.thirdVolumeSelector.enabled
    choose(user, "third", mr)
    user.ui.thirdWindowSelector.setCurrentIndex(user.ui.thirdWindowSelector.findData("percentile"))
    user.settled().ready()
    assert "PET, MR" in user.ui.moreVolumes.title
    _index, low, high = largest(user.truth[LESION])
    user.box(low, high)
    user.propagate()
    found = user.mask()
    assert dice(found, user.truth[LESION]) > 0.7
    user.picture("more-volumes")
    user.host.dialogs.answer(str(tmp_path / "prompts.json"))
    user.choose("exportButton", "Prompts")
    user.settled()
    user.host.dialogs.shown.clear()
    assert "They do not include PET, MR: pass these with --channel" in user.message
    user.host.save_scene(tmp_path / "patient.mrb")
    user.host.load_scene(tmp_path / "patient.mrb")
    user.until(lambda: user.controller.inputs.volume_node is not None)
    user.ready()
    chosen = user.controller.inputs.channels.chosen
    assert [each.node.GetName() for each in chosen] == ["PET", "MR"]
    assert user.ui.secondVolumeSelector.currentNode().GetName() == "PET"
    assert user.ui.thirdWindowSelector.currentData == "percentile"
    assert not user.ui.propagateButton.enabled, "nothing is due"
    user.volume = user.controller.inputs.volume_node
    assert same(user.mask(), found)
    user.host.scene.RemoveNode(chosen[0].node)
    user.settled().ready()
    assert 'The volume "PET" was deleted.' in user.message
    assert user.ui.secondVolumeSelector.currentNode().GetName() == "MR"
    assert user.ui.propagateButton.enabled, "the network sees less now"


def test_volume_that_cannot_be_a_channel_is_refused_with_a_sentence_and_the_selector_goes_back(
    user: User,
) -> None:
    far = user.matrix.copy()
    far[0, 3] += 4000
    elsewhere = user.host.add_volume(np.ones((4, 8, 8), np.int16), far, name="elsewhere")
    user.host.show_volume(user.volume)
    user.turn_to(user.volume)
    user.ui.moreVolumes.collapsed = False
    choose(user, "second", user.volume)
    assert '"CT" is the volume that is segmented' in user.message
    assert user.ui.secondVolumeSelector.currentNode() is None
    choose(user, "second", elsewhere)
    assert "do not overlap in space" in user.message
    assert user.ui.secondVolumeSelector.currentNode() is None
    assert user.ui.moreVolumes.title == "More volumes"
