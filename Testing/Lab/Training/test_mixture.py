"""A network learns from several sources at once; what chooses its weights is in none of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from Testing.small_networks import SMALLEST

from MedSAMSlicerLib.cli import main
from MedSAMSlicerLib.core.intensity import Window
from MedSAMSlicerLib.core.metrics import dice
from MedSAMSlicerLib.core.tiers import SECOND_NETWORK
from MedSAMSlicerLib.engine.box_proposals import edge_of
from MedSAMSlicerLib.lab.training import mixture, teacher
from MedSAMSlicerLib.lab.training.fields import Source
from MedSAMSlicerLib.lab.training.labeled import DataSettings, LabeledVolume, TrainingTarget
from MedSAMSlicerLib.lab.training.mixture import MixedStream, Mixture, anatomy_scene, parts
from MedSAMSlicerLib.lab.training.settings import TrainSettings
from MedSAMSlicerLib.lab.training.synthetic import GeneratedScene
from MedSAMSlicerLib.lab.training.teacher import make_lessons, read_lessons
from MedSAMSlicerLib.lab.training.validation import validation_batches
from MedSAMSlicerLib.models import BUNDLED_ID
from MedSAMSlicerLib.phantom.ct import ct_phantom
from MedSAMSlicerLib.sam2.checkpoint import load, save, seeded

from .conftest import write_ball

MODULE = Path(teacher.__file__).parents[3]
MAPS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four labeled volumes and four label maps of a ball beside a block, without an image."""
    folder = tmp_path_factory.mktemp("mixed")
    rows: list[dict[str, str | None]] = []
    for number in range(4):
        write_ball(folder, f"case{number}", number)
        rows.append({"image": f"case{number}_image.nii.gz", "label": f"case{number}_label.nii.gz"})
    z, y, x = np.ogrid[:20, :40, :40]
    for number in range(MAPS):
        labels = np.zeros((20, 40, 40), np.uint8)
        labels[(z - 10) ** 2 + (y - 20) ** 2 + (x - 14) ** 2 < 64 - 3 * number] = 1
        labels[4:16, 10:30, 24:32] = 2
        sitk.WriteImage(sitk.GetImageFromArray(labels), str(folder / f"map{number}.nii.gz"))
        rows.append({"image": None, "label": f"map{number}.nii.gz"})
    (folder / "manifest.json").write_text(json.dumps(rows))
    return folder


def settings_of(folder: Path, out: Path, **values: object) -> TrainSettings:
    chosen = {"size": 32, "frames": 8, "longest": 4, "stage": 2, "workers": 0, "pool": 2, **values}
    data = DataSettings(folder, validation=0.25)
    return TrainSettings(out=out, minutes=1, data=data, mixture=Mixture(), **chosen)


def test_what_is_kept_for_validation_is_in_no_source(folder: Path, tmp_path: Path) -> None:
    cases, maps, (kept, kept_maps) = parts(settings_of(folder, tmp_path))
    assert len(kept) == len(kept_maps) == 1
    assert not {case.name for case in cases} & {case.name for case in kept}
    assert not set(maps) & set(kept_maps)
    assert len(cases) + len(kept) == 4
    assert len(maps) + len(kept_maps) == MAPS


@pytest.mark.parametrize(
    ("offered", "shares"),
    [
        (("generated", "drawn", "taught", "labeled"), (0.4, 0.3, 0.15, 0.15)),
        (("generated", "drawn", "labeled"), (0.47, 0.35, 0.0, 0.18)),
    ],
)
def test_a_source_that_is_not_offered_leaves_its_share_to_the_others(
    offered: tuple[str, ...], shares: tuple[float, ...]
) -> None:
    source = Source(1)
    drawn = Counter(Mixture().draw(source, offered) for _ in range(2000))
    for name, share in zip(("generated", "drawn", "taught", "labeled"), shares, strict=True):
        assert drawn[name] / 2000 == pytest.approx(share, abs=0.04), name


def test_batches_are_cut_from_every_source(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source shows a gray of its own; which one a batch has follows from its number alone."""
    scenes = {gray: a_scene(gray) for gray in (60, 120, 180)}
    monkeypatch.setattr(mixture, "make_scene", lambda *_: scenes[60])
    monkeypatch.setattr(mixture, "anatomy_scene", lambda *_: scenes[120])
    monkeypatch.setattr(mixture, "read_lessons", lambda *_: [scenes[180]])
    settings = settings_of(folder, tmp_path, lessons=tmp_path)
    streams = [MixedStream(settings, None, leg, 0, 0) for leg in (1, 2)]
    seen = []
    for number in range(24):
        grays = [int(stream.batch(number).frames.max()) for stream in streams]
        assert grays[0] == grays[1] or max(grays) > 180  # volumes are turned and windowed a little
        seen.append(grays[0])
    assert {60, 120, 180} < set(seen)
    assert max(seen) > 180


def a_scene(gray: int) -> GeneratedScene:
    """A square of one gray on four slices."""
    image, masks = torch.zeros(4, 32, 32, dtype=torch.uint8), torch.zeros(1, 4, 32, 32, dtype=torch.bool)
    image[:, 8:24, 8:24], masks[:, :, 8:24, 8:24] = gray, True
    return GeneratedScene(image, masks, (0,))


def test_a_structure_of_a_label_map_becomes_a_scene_to_cut_clips_from(folder: Path) -> None:
    maps = sorted(folder.glob("map*"))
    first, again = (anatomy_scene(Source(3), maps) for _ in range(2))
    assert torch.equal(first.image, again.image)
    (key,) = first.keys
    areas = first.masks[0].sum((1, 2))
    assert areas[key] >= 0.4 * areas.max()


def test_validation_is_of_all_kinds(folder: Path, tmp_path: Path) -> None:
    batches = validation_batches(settings_of(folder, tmp_path, validation_clips=8), 1.7)
    assert sorted({len(batch.frames) for batch in batches}) == [4, 8, 12]  # volumes, label maps, scenes
    for batch in batches:
        assert (batch.masks[0] > 127).any((1, 2)).all()


@pytest.mark.slow
def test_what_the_teacher_is_sure_of_are_objects_of_the_image(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Organs of a generated abdomen are among its masks; files are written once."""
    image, geometry, organs = ct_phantom((12, 192, 192))
    target = TrainingTarget("any", (0, 0, 0), np.ones((1, 1, 1), np.bool_))
    volume = LabeledVolume("phantom", image, geometry, Window(-160, 240, "soft tissue"), (target,))
    monkeypatch.setattr(teacher, "read_cases", lambda _: [volume])
    monkeypatch.setattr(teacher, "SLICES", 2)
    case = parts(settings_of(folder, tmp_path))[0][0]
    monkeypatch.delenv(SECOND_NETWORK)
    model = load(MODULE / "Resources" / "Models" / "medsamslicer_nano.safetensors")[0]
    assert make_lessons([case], tmp_path, model, 0) > 0
    best = []
    for lesson in read_lessons(tmp_path, [case.name]):
        gray = lesson.image[0].numpy()
        (k,) = (at for at in range(len(image)) if np.array_equal(volume.window.apply(image[at]), gray))
        for masks in lesson.masks.numpy():
            best.append(max(dice(masks[:1], organ[k][None]) for organ in organs.values()))
            assert edge_of(gray, masks[0]) > 10
    assert sum(each > 0.75 for each in best) >= 2
    assert make_lessons([case], tmp_path, model, 0) == 0


def test_the_command_learns_on_a_mixture(
    folder: Path,
    tmp_path: Path,
    few_validation_clips: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(teacher, "_lessons", lambda *_: iter(()))
    for name in ("make_scene", "anatomy_scene"):
        monkeypatch.setattr(mixture, name, lambda *_: a_scene(200))
    checkpoint = tmp_path / "tiny.safetensors"
    save(seeded(SMALLEST, 1), checkpoint)
    arguments = ["train", "--mix", "--data", str(folder), "--checkpoint", str(checkpoint), "--yes"]
    arguments += [
        "--steps",
        "2",
        "--workers",
        "0",
        "--frames",
        "8",
        "--longest",
        "4",
        "--precision",
        "float32",
    ]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0, capsys.readouterr().err
    assert 0 <= json.loads(capsys.readouterr().out)["clip"] <= 1
    assert len(list((tmp_path / "run" / "lessons").iterdir())) == 3


@pytest.mark.parametrize("missing", ["--data", "--checkpoint"])
def test_a_mixture_without_what_it_needs_is_refused(
    missing: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"--data": str(folder), "--checkpoint": BUNDLED_ID}
    del given[missing]
    arguments = [text for pair in given.items() for text in pair]
    assert main(["train", "--mix", "--out", str(tmp_path / "run"), *arguments]) == 2
    assert missing in capsys.readouterr().err
