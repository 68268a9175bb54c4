"""A student comes nearer to its teacher's embedding, then draws better masks, then knows modalities apart."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import SimpleITK as sitk

torch = pytest.importorskip("torch")

from MedSAMSlicerLib.cli import main  # noqa: E402
from MedSAMSlicerLib.core.errors import CheckpointError, MedSAMError  # noqa: E402
from MedSAMSlicerLib.lab.training import distillation  # noqa: E402
from MedSAMSlicerLib.lab.training.distillation import DistillationSettings, distil, resized  # noqa: E402
from MedSAMSlicerLib.lab.training.labeled import DataSettings  # noqa: E402
from MedSAMSlicerLib.sam2.adapters import load_adapters, set_modality  # noqa: E402
from MedSAMSlicerLib.sam2.checkpoint import load_network, save, seeded  # noqa: E402
from MedSAMSlicerLib.sam2.config import ConvTrunkConfig, Sam1Config, TinyViTConfig  # noqa: E402
from MedSAMSlicerLib.sam2.sam1 import SAM1  # noqa: E402

SMALL_TINYVIT = TinyViTConfig((32, 32, 32, 32), (1, 1, 1, 1), (4, 4, 4, 4), stem_kernel=1, stem_stride=1)
TEACHER = Sam1Config("teacher", 32, replace(SMALL_TINYVIT, depths=(1, 1, 2, 1)), decoder_feedforward=32)
STUDENTS = {
    "tinyvit": SMALL_TINYVIT,
    "convolutional": ConvTrunkConfig(channels=(8, 16, 16, 16), blocks=(1, 1, 1, 1)),
}


@pytest.fixture(autouse=True)
def small_students(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "STUDENTS", STUDENTS)


@pytest.fixture(scope="module")
def teacher() -> SAM1:
    torch.manual_seed(0)
    return SAM1(TEACHER).eval()


@pytest.fixture(scope="module")
def two_kinds(balls: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The labeled volumes, two of them as CT and two, with their gray values turned around, as MR."""
    folder, rows = tmp_path_factory.mktemp("kinds"), []
    for number in range(4):
        image = sitk.ReadImage(str(balls / f"case{number}_image.nii.gz"))
        label = sitk.ReadImage(str(balls / f"case{number}_label.nii.gz"))
        kind = "CT" if number < 2 else "MR"
        sitk.WriteImage(image if kind == "CT" else -image, str(folder / f"{number}.nii.gz"))
        sitk.WriteImage(label, str(folder / f"{number}_l.nii.gz"))
        rows.append({"name": str(number), "image": f"{number}.nii.gz", "label": f"{number}_l.nii.gz",
                     "modality": kind, "window": "full"})  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(rows))
    return folder


def settings(out: Path, **changes: object) -> DistillationSettings:
    made = DistillationSettings(out, encoder_steps=40, batch=2, learning_rate=3e-3, judged=4)
    return replace(made, **changes)


def log_of(out: Path) -> list[dict[str, str]]:
    with (out / "distillation.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("student", ["tinyvit", "convolutional"])
def test_the_embedding_comes_nearer_to_the_teachers_and_the_decoder_is_its_copy(
    tmp_path: Path, teacher: SAM1, balls: Path, student: str
) -> None:
    found = distil(settings(tmp_path, student=student, data=DataSettings(balls)), teacher)
    assert found["encoder"].difference < 0.7 * found["start"].difference
    network = load_network(tmp_path / "student.safetensors")
    assert network.config.trunk == STUDENTS[student]
    for name, weight in teacher.mask_decoder.state_dict().items():
        assert torch.allclose(weight, network.mask_decoder.state_dict()[name])
    assert {row["perceptual"] for row in log_of(tmp_path)} == {""}


def test_the_perceptual_part_is_logged_by_itself_and_falls(
    tmp_path: Path, teacher: SAM1, balls: Path
) -> None:
    chosen = settings(tmp_path, loss="mse+perceptual", perceptual_weight=1.0, data=DataSettings(balls))
    found = distil(chosen, teacher)
    rows = log_of(tmp_path)
    assert found["encoder"].difference < 0.8 * found["start"].difference
    assert float(rows[-1]["perceptual"]) < float(rows[0]["perceptual"])
    assert float(rows[-1]["mse"]) < float(rows[0]["mse"])


def test_after_the_encoder_the_decoder_learns_masks_and_the_encoder_stays(
    tmp_path: Path, teacher: SAM1, balls: Path
) -> None:
    only = settings(tmp_path / "a", encoder_steps=5, data=DataSettings(balls))
    distil(only, teacher)
    found = distil(replace(only, out=tmp_path / "b", decoder_steps=60, learning_rate=3e-3), teacher)
    assert found["decoder"].dice > found["encoder"].dice + 0.1
    a, b = (load_network(tmp_path / name / "student.safetensors").state_dict() for name in "ab")
    differs = {name.split(".")[0] for name in a if not torch.equal(a[name], b[name])}
    assert differs == {"mask_decoder"}


def test_adapters_of_a_modality_learn_what_is_left_and_are_saved_alone(
    tmp_path: Path, teacher: SAM1, two_kinds: Path
) -> None:
    chosen = settings(
        tmp_path, encoder_steps=20, modality_steps=40, data=DataSettings(two_kinds, validation=0.5)
    )
    found = distil(chosen, teacher)
    assert found["modality"].difference < found["encoder"].difference
    assert {row["modality"] for row in log_of(tmp_path) if row["stage"] == "modality"} == {"CT", "MR"}
    student = load_network(tmp_path / "student.safetensors")
    frames = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        plain = student.encode_image(frames)
        load_adapters(student, tmp_path / "modality_adapters.safetensors")
        assert torch.equal(student.encode_image(frames), plain)
        seen = []
        for kind in ("CT", "MR"):
            set_modality(student, kind)
            seen.append(student.encode_image(frames))
    assert not torch.allclose(seen[0], seen[1], atol=1e-4)
    assert not torch.allclose(seen[0], plain, atol=1e-4)


def test_the_command_teaches_on_generated_scenes_a_student_that_segments(
    tmp_path: Path, teacher: SAM1, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSAMSLICER_MODELS", str(tmp_path / "models"))
    save(teacher, tmp_path / "teacher.safetensors")
    words = ("train", "distil", "--teacher", tmp_path / "teacher.safetensors", "--yes", "--threads", "1",
             "--encoder-steps", "3", "--batch", "2", "--out", tmp_path / "out")  # fmt: skip
    assert main([str(word) for word in words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"start", "encoder"}
    assert load_network(tmp_path / "out" / "student.safetensors").config.image_size == 32


def test_what_cannot_be_distilled_is_one_sentence(tmp_path: Path, tiny_network: object) -> None:
    with pytest.raises(MedSAMError, match="test has a memory; teachers are networks without"):
        distil(settings(tmp_path), seeded(tiny_network, 1))  # type: ignore[arg-type]
    with pytest.raises(MedSAMError, match=r"loss must be one of mse, mse\+perceptual, got 'l1'"):
        settings(tmp_path, loss="l1")
    with pytest.raises(MedSAMError, match="Modalities are told apart in labeled volumes only"):
        settings(tmp_path, modality_steps=3)
    with pytest.raises(MedSAMError, match="a convolutional student has none"):
        settings(tmp_path, modality_steps=3, student="convolutional", data=DataSettings(tmp_path))


def test_frames_are_made_smaller_by_the_mean_of_what_a_pixel_covers() -> None:
    frames = torch.arange(16.0).view(1, 4, 4)
    assert resized(frames, 2).tolist() == [[[2.5, 4.5], [10.5, 12.5]]]
    color = torch.stack([frames, 2 * frames, 3 * frames], -1)
    assert torch.equal(resized(color, 2)[..., 2], 3 * resized(frames, 2))


def test_a_run_that_was_stopped_goes_on_and_learns_the_same(
    tmp_path: Path, teacher: SAM1, two_kinds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(
        tmp_path / "whole", encoder_steps=6, decoder_steps=4, modality_steps=4, data=DataSettings(two_kinds)
    )
    whole = distil(chosen, teacher)

    def stopped_at(stop: int) -> object:
        def progress(done: int, total: int, stage: str) -> None:
            assert total == 14
            if done == stop:
                raise KeyboardInterrupt

        return progress

    parts = replace(chosen, out=tmp_path / "parts")
    monkeypatch.setattr(distillation, "_SAVE_SECONDS", 0.0)
    for stop in (3, 7, 8, 12):  # within each stage, and right after the first step of one
        with pytest.raises(KeyboardInterrupt):
            distil(parts, teacher, progress=stopped_at(stop))  # type: ignore[arg-type]
    assert distil(parts, teacher) == whole
    assert distil(parts, teacher) == whole, "all of it is done: nothing is learned again"
    for name in ("student.safetensors", "modality_adapters.safetensors", "distillation.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_teacher_reads_each_lesson_once(
    tmp_path: Path, teacher: SAM1, balls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(tmp_path, lessons=3, encoder_steps=12, data=DataSettings(balls))
    read = 0

    def counted(images: torch.Tensor) -> torch.Tensor:
        nonlocal read
        read += 1
        return SAM1.encode_image(teacher, images)

    monkeypatch.setattr(teacher, "encode_image", counted)
    judged = chosen.judged // chosen.batch
    found = distil(chosen, teacher)
    assert read == 3 + 2 * judged
    assert found["encoder"].difference < found["start"].difference
    fresh = distil(replace(chosen, out=tmp_path / "fresh", lessons=None, encoder_steps=3), teacher)
    kept = distil(replace(chosen, out=tmp_path / "kept", encoder_steps=3), teacher)
    assert kept["encoder"].difference == pytest.approx(fresh["encoder"].difference, rel=1e-2)
    with pytest.raises(MedSAMError, match="Lessons are kept of labeled volumes only"):
        settings(tmp_path, lessons=3)


def test_a_leg_ends_in_time_and_says_how_far_the_student_is(
    tmp_path: Path, teacher: SAM1, balls: Path
) -> None:
    chosen = settings(tmp_path, encoder_steps=2, minutes=1e-6, data=DataSettings(balls))
    found = distil(chosen, teacher)
    assert found == {"start": found["start"], "now": found["start"]}
    assert set(distil(replace(chosen, minutes=None), teacher)) == {"start", "encoder"}


def test_the_state_of_another_run_is_refused(tmp_path: Path, teacher: SAM1, balls: Path) -> None:
    chosen = settings(tmp_path, encoder_steps=2, data=DataSettings(balls))
    distil(chosen, teacher)
    before = (tmp_path / "student.safetensors").read_bytes()
    with pytest.raises(
        CheckpointError, match="holds a run with another teacher, other data or other settings"
    ):
        distil(replace(chosen, student="convolutional"), teacher)
    assert (tmp_path / "student.safetensors").read_bytes() == before
