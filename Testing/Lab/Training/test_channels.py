"""Volumes with further channels are learned from and measured in color, from the manifest on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

torch = pytest.importorskip("torch")

from MedSAMSlicerLib.lab.evaluation import datasets  # noqa: E402
from MedSAMSlicerLib.lab.training.labeled import find_cases, read_cases  # noqa: E402
from MedSAMSlicerLib.lab.training.rng import SeededRng  # noqa: E402
from MedSAMSlicerLib.lab.training.rollout import rollout  # noqa: E402
from MedSAMSlicerLib.lab.training.volume_clips import Augmentation, VolumeClips  # noqa: E402
from MedSAMSlicerLib.sam2.checkpoint import seeded  # noqa: E402
from MedSAMSlicerLib.sam2.config import Config  # noqa: E402


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One patient with CT and PET, and one with CT alone."""
    folder, rng = tmp_path_factory.mktemp("patients"), np.random.default_rng(0)
    label = np.zeros((8, 24, 24), np.uint8)
    label[2:6, 8:16, 6:18] = 1
    for name, array in (
        ("ct", rng.normal(0, 30, label.shape)),
        ("pet", 5.0 * label + rng.random(label.shape)),
        ("label", label),
    ):
        sitk.WriteImage(sitk.GetImageFromArray(array.astype(np.float32 if name != "label" else np.uint8)),
                        str(folder / f"{name}.nii.gz"))  # fmt: skip
    rows = [
        {"name": "a", "image": "ct.nii.gz", "label": "label.nii.gz", "modality": "CT", "window": "-100,100",
         "channels": ["ct.nii.gz", {"image": "pet.nii.gz", "window": "0,6"}]},
        {"name": "b", "image": "ct.nii.gz", "label": "label.nii.gz", "modality": "CT"},
    ]  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(rows))
    return folder


def test_clips_of_volumes_with_channels_are_in_color(patients: Path, tiny_network: Config) -> None:
    volumes = read_cases(find_cases(patients))
    assert [volume.array.shape for volume in volumes] == [(8, 24, 24, 3), (8, 24, 24)]
    clips = VolumeClips(volumes, 32, None, Augmentation(affine=1.0), 3)
    batch = clips.batch(3, 4, 3)
    assert batch.frames.shape == (3, 4, 32, 32, 3)
    assert batch.masks.shape == (3, 4, 32, 32)
    pet, inside = batch.frames[..., 2].astype(float), batch.masks > 127
    colored = (batch.frames[..., 0] != batch.frames[..., 2]).any((0, 2, 3))
    assert 0 < colored.sum() < 4  # both patients were drawn
    for clip in np.flatnonzero(colored):  # the mask lies where PET is bright, however both were turned
        assert pet[:, clip][inside[:, clip]].mean() > pet[:, clip][~inside[:, clip]].mean() + 80
    frames, masks = torch.from_numpy(batch.frames), torch.from_numpy(batch.masks)
    model = seeded(tiny_network, 1).train()
    found = rollout(model, frames, masks, SeededRng(0), "box", teach=True)
    sum(output.logits.clamp(-5, 5).sum() for output in found.slices).backward()
    assert any(
        bool(weight.grad.any()) for weight in model.image_encoder.parameters() if weight.grad is not None
    )


def test_a_case_with_channels_is_measured_in_color(patients: Path) -> None:
    with_pet, alone = datasets.find_cases(patients)
    volume, targets = datasets.load_case(with_pet)
    assert volume.array.shape == (8, 24, 24, 3)
    assert targets[0].mask.sum() == 4 * 8 * 12
    assert datasets.load_case(alone)[0].array.shape == (8, 24, 24)
