"""Training of the volume stage: examples from the engine, one leg and the next, weights that the engine reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from Testing.small_networks import SMALL

from MedSAMSlicerLib.core.errors import CheckpointError, VolumeError
from MedSAMSlicerLib.engine.volume.evidence import VolumeEvidence
from MedSAMSlicerLib.engine.volume.network import IN_CHANNELS, VolumeNet
from MedSAMSlicerLib.engine.volume.stage import VolumeStage
from MedSAMSlicerLib.engine.volume.weights import bundled_stage, load_stage, save_stage
from MedSAMSlicerLib.lab.training.anatomy import draw_anatomy
from MedSAMSlicerLib.lab.training.example_files import read_examples
from MedSAMSlicerLib.lab.training.fields import Source
from MedSAMSlicerLib.lab.training.volume_examples import Example, shown_by, with_clicks
from MedSAMSlicerLib.lab.training.volume_stage import (
    BEST,
    VolumeTraining,
    stage_loss,
    train_volume_stage,
    varied,
)
from MedSAMSlicerLib.sam2 import SAM2
from MedSAMSlicerLib.sam2.checkpoint import seeded


@pytest.fixture(scope="module")
def model() -> SAM2:
    return seeded(SMALL, 1)


def _labels() -> np.ndarray:
    """A ball beside a block in a room."""
    z, y, x = np.ogrid[:20, :40, :40]
    labels = np.zeros((20, 40, 40), np.uint8)
    labels[(z - 10) ** 2 + (y - 20) ** 2 + (x - 14) ** 2 < 64] = 1
    labels[4:16, 10:30, 24:32] = 2
    return labels


def test_anatomy_is_drawn_with_its_structure_as_the_target_and_again_the_same() -> None:
    first, again = (draw_anatomy(_labels(), (2.0, 1.0, 1.0), Source(5), (32, 64)) for _ in range(2))
    assert first is not None
    assert again is not None
    assert np.array_equal(first.image, again.image)
    assert first.image.shape == first.mask.shape
    assert 0.01 < first.mask.mean() < 0.6
    assert first.image.std() > 5
    assert draw_anatomy(np.zeros((8, 8, 8), np.uint8), (1.0, 1.0, 1.0), Source(0), (32, 64)) is None


def _folder(folder: Path) -> Path:
    """Two volumes with a label, and a label map without an image."""
    entries = []
    for number in range(2):
        labels = np.roll(_labels(), number, axis=1)[::2]
        gray = 60 + 50 * labels + np.random.default_rng(number).normal(0, 6, labels.shape)
        for name, array in (("image", gray.astype(np.int16)), ("label", labels)):
            image = sitk.GetImageFromArray(array)
            image.SetSpacing((1.0, 1.0, 4.0))
            sitk.WriteImage(image, str(folder / f"v{number}_{name}.nii.gz"))
        entries.append(
            f'{{"name": "v{number}", "image": "v{number}_image.nii.gz", "label": "v{number}_label.nii.gz"}}'
        )
    drawn = sitk.GetImageFromArray(_labels())
    sitk.WriteImage(drawn, str(folder / "map.nii.gz"))
    entries.append('{"name": "map", "image": null, "label": "map.nii.gz"}')
    (folder / "manifest.json").write_text(f"[{', '.join(entries)}]")
    return folder


def test_a_run_learns_goes_on_and_leaves_weights_that_the_engine_reads(tmp_path: Path, model: SAM2) -> None:
    data = tmp_path / "data"
    data.mkdir()
    settings = VolumeTraining(tmp_path / "run", _folder(data), minutes=0.02, drawn=2)
    first = train_volume_stage(settings, model)
    assert first.examples > 0
    assert 0 <= first.learned <= 1
    stage = load_stage(settings.out / BEST)
    assert sum(value.numel() for value in stage.parameters()) < 500_000
    made = {path.name: path.stat().st_mtime_ns for path in (settings.out / "examples").iterdir()}
    state = torch.load(settings.out / "state.pt", weights_only=True)
    longer = VolumeTraining(settings.out, settings.data, minutes=0.04, drawn=2)
    train_volume_stage(longer, model)
    assert torch.load(settings.out / "state.pt", weights_only=True)["step"] > state["step"]
    assert {path.name: path.stat().st_mtime_ns for path in (settings.out / "examples").iterdir()} == made


def test_without_ranges_every_example_is_without_and_the_bundled_weights_are_where_it_begins(
    tmp_path: Path, model: SAM2
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    settings = VolumeTraining(tmp_path / "run", _folder(data), minutes=0.001, drawn=2, ranged=False)
    train_volume_stage(settings, model)
    found = [
        example["stack"]
        for path in sorted((settings.out / "examples").iterdir())
        for example in read_examples(path, ["stack"])
    ]
    assert found
    is_ranged = 14  # the channel of the stack that tells whether the user gave the slice range
    assert not any(stack[is_ranged].any() for stack in found)
    bundled, trained = bundled_stage(), load_stage(settings.out / BEST)
    assert bundled is not None
    for before, after in zip(bundled.parameters(), trained.parameters(), strict=True):
        assert torch.allclose(before, after, atol=0.02)


def test_clicks_of_the_examples_lie_where_the_stage_was_wrong_and_mend_their_slices() -> None:
    z, y, x = np.ogrid[:9, :30, :30]
    truth = (y - 14) ** 2 + (x - 14) ** 2 < 60 + 0 * z
    drawn = (y - 14) ** 2 + (x - 14 - 2 * (z - 4)) ** 2 < 60  # it drifts to the side
    keys = np.arange(9) == 4
    noise = np.random.default_rng(0).integers(90, 110, truth.shape).astype(np.uint8)  # no edge helps
    logits = np.where(drawn, 6, -6).astype(np.float32)
    evidence = VolumeEvidence(
        (0, 0, 0), (3.0, 1.0, 1.0), noise, logits, keys, keys, np.ones(9, np.float32), 0, 8, True
    )
    stage = VolumeStage()
    before = shown_by(stage, evidence)
    clicked = with_clicks(evidence, truth, stage, 3, np.random.default_rng(1))
    assert len(clicked.points) == 3
    place, column, row, positive = clicked.points[0]
    assert before[place, int(row), int(column)] != positive == truth[place, int(row), int(column)]
    fixed = np.flatnonzero(clicked.fixed & ~keys)
    assert sorted(fixed) == sorted({place for place, *_ in clicked.points})
    wrong = ((clicked.logits > 0) != truth)[fixed].sum()
    assert wrong < (before != truth)[fixed].sum()


def test_a_folder_with_nothing_to_learn_is_refused(tmp_path: Path, model: SAM2) -> None:
    with pytest.raises(VolumeError, match="nothing that the volume stage can learn from"):
        train_volume_stage(VolumeTraining(tmp_path / "run", drawn=0), model)


def _example() -> Example:
    random = np.random.default_rng(0)
    truth = np.zeros((9, 80, 70), np.uint8)
    truth[2:7, 20:50, 20:50] = 255
    fused = np.where(truth > 0, 2.0, -2.0) + random.normal(0, 1, truth.shape)
    return Example(
        random.normal(0, 1, (IN_CHANNELS, *truth.shape)).astype(np.float16),
        fused.astype(np.float16),
        truth,
        np.ones(9, np.bool_),
        3.0,
    )


def test_variation_keeps_logit_and_truth_together_and_limits_the_size() -> None:
    for seed in range(12):
        stack, fused, truth, counted, anisotropy = varied(_example(), Source(seed))
        assert stack.shape[1:] == fused.shape == truth.shape
        assert len(counted) == len(truth)
        assert max(truth.shape[1:]) <= 64
        assert anisotropy in (3.0, 1.5)
        inside, outside = fused[truth > 0.9], fused[truth < 0.1]
        assert not len(inside) or float(inside.mean()) > float(outside.mean()) + 2


def test_the_loss_falls_when_the_answer_is_right_and_heeds_counted_slices_only() -> None:
    truth = torch.zeros(4, 8, 8)
    truth[:, 2:6, 2:6] = 1
    counted = torch.tensor([True, True, True, False])
    right = (truth - 0.5) * 10
    wrong = right.clone()
    wrong[3] *= -1
    assert stage_loss(right, truth, counted) < 0.1
    assert stage_loss(wrong, truth, counted) == stage_loss(right, truth, counted)
    assert stage_loss(-right, truth, counted) > 1


def test_weights_come_back_as_they_were_written_and_damage_is_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, path = VolumeNet(), tmp_path / "stage.safetensors"
    path.write_bytes(save_stage(network, {"license": "Apache-2.0"}))
    back = load_stage(path)
    x = torch.randn(1, IN_CHANNELS, 5, 11, 13)
    with torch.inference_mode():
        assert torch.allclose(back(x, 3.0), network(x, 3.0), atol=1e-2)
    assert back(x, 3.0).shape == (1, 1, 5, 11, 13)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"stage\.safetensors"):
        load_stage(path)
    with pytest.raises(CheckpointError, match="no weights of the volume stage"):
        load_stage(tmp_path / "none.safetensors")
    torch.nn.init.constant_(network.last.weight, float("inf"))
    with pytest.raises(CheckpointError, match=r"last\.weight"):
        save_stage(network)
