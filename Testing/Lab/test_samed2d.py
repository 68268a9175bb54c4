"""SA-Med2D-20M's layout is read for measuring and training; what does not fit is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from Testing.small_networks import SMALLEST

from MedSAMSlicerLib.cli import main
from MedSAMSlicerLib.core.errors import VolumeError
from MedSAMSlicerLib.io.png import encode_png
from MedSAMSlicerLib.lab.evaluation import datasets
from MedSAMSlicerLib.lab.samed2d import find_pictures, is_samed2d
from MedSAMSlicerLib.lab.training.labeled import find_cases, read_case


def write(folder: Path, name: str, pixels: np.ndarray) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(pixels.astype(np.uint8)))
    return name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four CT slices, an endoscopy picture in color and an X-ray; masks of 0/1 and of 0/255, one of them a union."""
    root, random, index = tmp_path / "SAMed2Dv1", np.random.default_rng(0), {}
    names = [f"ct_00--Abdomen--Case_{n:05d}--x_{n:04d}" for n in range(4)]
    for number, name in enumerate([*names, "endoscopy_00--Colon--p1--0001", "x_ray--Chest--p2--0002"]):
        mask = np.zeros((48, 40), bool)
        mask[10 + number : 30, 8:28] = True
        gray = 60 + 120 * mask + random.normal(0, 8, mask.shape)
        pixels = np.stack([gray, gray / 2, gray / 3], -1) if name.startswith("endo") else gray
        image = write(root, f"images/{name}.png", pixels.clip(0, 255))
        value = 255 if number % 2 else 1
        masks = [write(root, f"masks/{name}--0000_{n:03d}.png", part * value)
                 for n, part in enumerate((mask, mask & (np.arange(40) < 16)))]  # fmt: skip
        masks.append(write(root, f"masks/{name}--0007_000.png", mask * value))
        index[image] = masks
    (root / "SAMed2D_v1.json").write_text(json.dumps(index))
    classes = {"Abdomen": {"liver": 0, "union_organs": 7}, "Colon": {"polyp": 0, "union_all": 7}}
    (root / "SAMed2D_v1_class_mapping_id.json").write_text(json.dumps(classes))
    return root


def test_names_give_modality_data_set_axis_class_and_instance(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert is_samed2d(folder)
    pictures = find_pictures(folder)
    assert [each.modality for each in pictures] == ["CT"] * 4 + ["endoscopy", "X-ray"]
    assert [each.axis for each in pictures] == ["x"] * 4 + [None, None]
    assert pictures[0].dataset == "Abdomen"
    assert [(m.number, m.instance, m.name) for m in pictures[0].masks] == [(0, 0, "liver"), (0, 1, "liver")]
    assert [m.name for m in pictures[5].masks] == [
        "class 0",
        "class 0",
        "class 7",
    ]  # its classes are not named
    assert "CC BY-NC-SA 4.0" in caplog.text


def test_the_list_of_masks_to_images_gives_the_same(folder: Path) -> None:
    before = find_pictures(folder)
    index = json.loads((folder / "SAMed2D_v1.json").read_text())
    (folder / "SAMed2D_v1.json").unlink()
    turned = {mask: image for image, masks in index.items() for mask in masks}
    (folder / "label2image_test.json").write_text(json.dumps(turned))
    assert find_pictures(folder) == before


def test_of_many_pictures_each_modality_is_drawn_alike_and_the_same_seed_draws_the_same(folder: Path) -> None:
    chosen = find_pictures(folder, most=4, seed=3)
    assert sorted(each.modality for each in chosen) == ["CT", "CT", "X-ray", "endoscopy"]
    assert chosen == find_pictures(folder, most=4, seed=3)
    assert any(chosen != find_pictures(folder, most=4, seed=seed) for seed in range(4, 9))


def test_each_mask_is_a_case_to_measure_with_its_class_and_modality(folder: Path) -> None:
    cases = datasets.find_cases(folder)
    assert len(cases) == 5 * 2 + 3
    volume, [target] = datasets.load_case(next(case for case in cases if "--Colon--" in case.name))
    assert volume.array.shape == (1, 48, 40, 3)
    assert (target.name, target.case.modality, target.kind) == ("polyp", "endoscopy", "image")
    assert target.mask.sum() == 16 * 20


def test_the_command_measures_pictures_by_modality(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    from MedSAMSlicerLib.sam2.checkpoint import save, seeded

    monkeypatch.setenv("MEDSAMSLICER_MODELS", str(tmp_path / "models"))
    save(seeded(SMALLEST, 1), tmp_path / "start.safetensors")
    words = ["benchmark", "accuracy", "--data", str(folder), "--model", str(tmp_path / "start.safetensors"),
             "--yes", "--threads", "1", "--protocol", "loose box+range", "--no-baselines", "--no-pictures",
             "--json", "--out", str(tmp_path / "out")]  # fmt: skip
    assert main(words) == 0
    measured = json.loads(capsys.readouterr().out)["measurements"]
    assert len(measured) == 5 * 2 + 3
    assert {row["modality"] for row in measured} == {"CT", "endoscopy", "X-ray"}


def test_a_picture_is_learned_from_with_all_its_masks(folder: Path) -> None:
    cases = find_cases(folder)
    assert len(cases) == 6
    volume = read_case(cases[0])
    assert volume.array.shape == (1, 48, 40)
    assert [target.mask.shape for target in volume.targets] == [(1, 20, 20), (1, 20, 8)]


def test_the_command_trains_on_pictures_with_a_preset(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from functools import partial

    from MedSAMSlicerLib.lab.training import settings
    from MedSAMSlicerLib.sam2.checkpoint import load, save, seeded

    monkeypatch.setattr(settings, "TrainSettings", partial(settings.TrainSettings, validation_clips=2))
    monkeypatch.setenv("MEDSAMSLICER_MODELS", str(tmp_path / "models"))
    save(seeded(SMALLEST, 1), tmp_path / "start.safetensors")
    words = ["train", "--preset", "sam-med2d", "--checkpoint", str(tmp_path / "start.safetensors"), "--yes",
             "--data", str(folder), "--steps", "2", "--frames", "4", "--threads", "1", "--workers", "0"]  # fmt: skip
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    load(tmp_path / "out" / "last.safetensors")


def test_what_does_not_fit_the_layout_is_named(folder: Path) -> None:
    listed = folder / "SAMed2D_v1.json"
    index = json.loads(listed.read_text())
    image, masks = next(iter(index.items()))
    (folder / masks[0]).unlink()
    with pytest.raises(VolumeError, match=r"lacks masks/ct_00--Abdomen--Case_00000--x_0000--0000_000\.png"):
        find_pictures(folder)
    for content, sentence in (
        (
            {image: ["masks/other--0000_000.png"]},
            "is not called ct_00--Abdomen--Case_00000--x_0000--CCCC_III",
        ),
        ({"images/liver.png": masks}, "liver.png in .* is not called MODALITY--DATASET"),
        ({image: 5}, "neither the name of a file nor a list"),
        ([], "cannot be read as a list of SA-Med2D-20M"),
        ({}, "names no picture"),
    ):
        listed.write_text(json.dumps(content))
        with pytest.raises(VolumeError, match=sentence):
            find_pictures(folder)
