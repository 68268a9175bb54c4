"""The commands of docs/family.md's table, each run as a user types it, on something small.

Further rows are run elsewhere: presets in test_presets.py and Testing/Lab/test_samed2d.py, `batch --like` in
Testing/Lab/Batch/test_like.py, `video`, `propose` and `--channel` in Testing/Cli, `propose --text` in
Testing/Lab/test_text_models.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from safetensors import safe_open
from Testing.clips import dice

torch = pytest.importorskip("torch")

from MedSAMSlicerLib.cli import main  # noqa: E402
from MedSAMSlicerLib.lab.training import distillation  # noqa: E402
from MedSAMSlicerLib.lab.training.tuning import ADAPTERS  # noqa: E402
from MedSAMSlicerLib.sam2.checkpoint import load_network, save, seeded  # noqa: E402
from MedSAMSlicerLib.sam2.config import Config, Sam1Config, TinyViTConfig, ViTConfig  # noqa: E402
from MedSAMSlicerLib.sam2.sam1 import SAM1  # noqa: E402

TINYVIT = TinyViTConfig((32, 32, 32, 32), (1, 1, 1, 1), (4, 4, 4, 4), stem_kernel=1, stem_stride=1)
LITE = Sam1Config("small_lite", 32, TINYVIT, decoder_feedforward=32)
VIT = ViTConfig(32, 2, 2, (1,), grid=4, window=2, adapters=True)
MED2D = Sam1Config("small_med2d", 64, VIT, decoder_feedforward=32)

Run = Callable[..., str]


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_validation_clips: None) -> None:
    """Own confirmed hashes, and a small student."""
    monkeypatch.setenv("MEDSAMSLICER_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(distillation, "STUDENTS", {"tinyvit": TINYVIT, "convolutional": None})


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command that must succeed; what it prints."""

    def command(*words: object) -> str:
        code = main([str(word) for word in (*words, "--threads", "1", "--yes")])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    return command


def masks(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def written(network: torch.nn.Module, path: Path) -> Path:
    save(network, path)
    return path


BOX = "--box=6,10,10,34,32"


def test_row_1_and_3_litemedsam_segments_a_volume_from_one_box(run: Run, balls: Path, tmp_path: Path) -> None:
    run(
        *("segment", balls / "case0_image.nii.gz", "--model", "litemedsam", _box_of(balls, 6)),
        *("--range", "5,7", "--volume-stage", "off", "-o", tmp_path / "a.nii.gz"),
    )
    found, truth = (masks(path)[5:8] > 0 for path in (tmp_path / "a.nii.gz", balls / "case0_label.nii.gz"))
    assert dice(found, truth) > 0.85


def _box_of(balls: Path, index: int) -> str:
    """The tight box of the first ball on a slice."""
    rows, columns = np.nonzero(masks(balls / "case0_label.nii.gz")[index])
    sides = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return f"--box={index}," + ",".join(map(str, sides))


def test_row_4_memories_are_pruned(run: Run, balls: Path, tmp_path: Path, tiny_network: Config) -> None:
    start = written(seeded(tiny_network, 3), tmp_path / "start.safetensors")
    words = ("segment", balls / "case0_image.nii.gz", BOX, "--model", start, "--volume-stage", "off")
    for memory in ("all", "prune"):
        run(*words, "--memory", memory, "-o", tmp_path / f"{memory}.nii.gz")
    assert masks(tmp_path / "prune.nii.gz").shape == masks(tmp_path / "all.nii.gz").shape


@pytest.mark.parametrize("adapter", [*ADAPTERS, "bottleneck+depth+hyper", "depthwise-3d+click-feature"])
def test_rows_7_8_11_12_and_16_adapters_learn_and_segment(
    run: Run, balls: Path, tmp_path: Path, official_network: Config, adapter: str
) -> None:
    start = written(seeded(official_network, 1), tmp_path / "start.safetensors")
    run(
        *("train", "--data", balls, "--checkpoint", start, "--tune", "adapters", "--adapter", adapter),
        *("--steps", "1", "--frames", "4", "--longest", "4", "--workers", "0", "--out", tmp_path / "out"),
    )
    run(
        *("segment", balls / "case0_image.nii.gz", "--model", start, BOX, "--range", "5,7"),
        *("--adapters", tmp_path / "out" / "last.safetensors", "-o", tmp_path / "a.nii.gz"),
    )
    assert masks(tmp_path / "a.nii.gz").shape == (12, 40, 44)


@pytest.mark.parametrize("adapter", ["bottleneck+hyper+click-feature", "channel-spatial", "parallel-conv"])
def test_rows_7_8_11_and_16_adapters_learn_on_networks_of_sam_too(
    run: Run, balls: Path, tmp_path: Path, adapter: str
) -> None:
    torch.manual_seed(0)
    start = written(
        SAM1(replace(MED2D, trunk=replace(VIT, adapters=False))).eval(), tmp_path / "a.safetensors"
    )
    run(
        *("train", "--data", balls, "--checkpoint", start, "--tune", "adapters", "--adapter", adapter),
        *("--steps", "3", "--frames", "4", "--workers", "0", "--out", tmp_path / "out"),
    )
    with safe_open(tmp_path / "out" / "last.safetensors", "np") as file:
        learned = {name for name in file.keys() if ".up." in name and file.get_tensor(name).any()}  # noqa: SIM118
    for kind in adapter.split("+"):  # the last layer of each began at zero
        assert (
            any(f"adapter_{kind.replace('-', '_')}" in name for name in learned) or kind == "channel-spatial"
        )
    run(
        *("segment", balls / "case0_image.nii.gz", "--model", start, BOX, "--range", "5,7"),
        *("--adapters", tmp_path / "out" / "last.safetensors", "-o", tmp_path / "a.nii.gz"),
    )


def test_row_9_the_grid_of_the_sam2_study(
    run: Run, balls: Path, tmp_path: Path, official_network: Config
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("image", "label"):
        volume = sitk.ReadImage(str(balls / f"case0_{name}.nii.gz"))[::2, ::2, 4:8]
        sitk.WriteImage(volume, str(folder / f"a_{name}.nii.gz"))
    start = written(seeded(official_network, 3), tmp_path / "start.safetensors")
    output = run(
        *("benchmark", "accuracy", "--data", folder, "--suite", "sam2-study", "--model", start),
        *("--volume-stage", "off", "--no-baselines", "--no-pictures", "--out", tmp_path / "out"),
    )
    assert "SAM 2 study:" in output
    assert "SAM 2 study, 2-D:" in output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len({row["protocol"] for row in report["measurements"]}) == 47
    assert not any(row["error"] for row in report["measurements"])


def test_row_10_a_network_learns_on_three_channels_and_is_measured_on_them(
    run: Run, balls: Path, tmp_path: Path, tiny_network: Config
) -> None:
    rows = []
    for number in range(2):
        names = [str(balls / f"case{number}_{kind}.nii.gz") for kind in ("image", "label")]
        rows.append({"name": str(number), "image": names[0], "label": names[1], "window": "full",
                     "channels": [names[0], {"image": names[0], "window": "0,300"}]})  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps(rows))
    start = written(seeded(tiny_network, 3), tmp_path / "start.safetensors")
    words = ("--data", tmp_path, "--out", tmp_path / "tuned")
    run("train", *words, "--checkpoint", start, "--steps", "1", "--frames", "4", "--workers", "0")
    tuned = tmp_path / "tuned" / "last.safetensors"
    run(
        *("benchmark", "accuracy", "--data", tmp_path, "--out", tmp_path / "found", "--model", tuned),
        *("--protocol", "box", "--no-baselines", "--no-pictures"),
    )


@pytest.mark.parametrize(("config", "prompt"), [(MED2D, BOX), (LITE, "--point=6,22,20")])
def test_rows_11_and_17_networks_of_sam_segment_slice_by_slice(
    run: Run, balls: Path, tmp_path: Path, config: Sam1Config, prompt: str
) -> None:
    torch.manual_seed(0)
    model = written(SAM1(config).eval(), tmp_path / "net.safetensors")
    run("segment", balls / "case0_image.nii.gz", "--model", model, prompt, "-o", tmp_path / "a.nii.gz")
    assert masks(tmp_path / "a.nii.gz").shape == (12, 40, 44)


def test_rows_13_17_and_18_a_student_is_distilled_with_every_stage(
    run: Run, balls: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    teacher = written(SAM1(replace(LITE, name="teacher")).eval(), tmp_path / "teacher.safetensors")
    output = run(
        *("train", "distil", "--teacher", teacher, "--student", "tinyvit", "--loss", "mse+perceptual"),
        *("--encoder-steps", "2", "--decoder-steps", "2", "--modality-steps", "2", "--batch", "2"),
        *("--data", _with_modality(balls, tmp_path), "--out", tmp_path / "out"),
    )
    assert set(json.loads(output)) == {"start", "encoder", "decoder", "modality"}
    assert load_network(tmp_path / "out" / "student.safetensors").config.image_size == 32
    run(
        *("segment", balls / "case0_image.nii.gz", BOX, "--range", "5,7", "-o", tmp_path / "a.nii.gz"),
        *("--model", tmp_path / "out" / "student.safetensors"),
    )


def _with_modality(balls: Path, folder: Path) -> Path:
    """The labeled volumes as CT, listed in a manifest."""
    files = [(balls / f"case{n}_image.nii.gz", balls / f"case{n}_label.nii.gz") for n in range(3)]
    rows = [
        {"name": image.name, "image": str(image), "label": str(label), "modality": "CT"}
        for image, label in files
    ]
    (folder / "kinds").mkdir()
    (folder / "kinds" / "manifest.json").write_text(json.dumps(rows))
    return folder / "kinds"


def test_row_19_a_network_learns_that_a_click_may_mean_the_whole(
    run: Run, balls: Path, tmp_path: Path, tiny_network: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    start = written(seeded(tiny_network, 3), tmp_path / "start.safetensors")
    words = (
        "train",
        "--data",
        balls,
        "--checkpoint",
        start,
        "--steps",
        "1",
        "--frames",
        "4",
        "--workers",
        "0",
    )
    run(*words, "--unions", "0.5", "--out", tmp_path / "out")
    assert main([str(word) for word in (*words, "--unions", "2", "--out", tmp_path / "other")]) == 2
    assert "--unions is a share from 0 to 1, got 2.0" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["patch", "volume", "implicit"])
def test_rows_13_14_15_and_19_heads_are_trained_and_used(
    run: Run, balls: Path, tmp_path: Path, tiny_network: Config, kind: str
) -> None:
    start = written(seeded(tiny_network, 3), tmp_path / "start.safetensors")
    output = run(
        *("train", "head", "--head", kind, "--data", balls, "--checkpoint", start, "--steps", "40"),
        *("--out", tmp_path / "out"),
    )
    assert {"first_loss", "last_loss"} <= set(json.loads(output))
    head = tmp_path / "out" / "head.safetensors"
    image = balls / "case0_image.nii.gz"
    if kind == "implicit":
        words = (
            "segment",
            image,
            "--model",
            start,
            _box_of(balls, 6),
            "--range",
            "5,7",
            "--volume-stage",
            "off",
        )
        run(*words, "-o", tmp_path / "plain.nii.gz")
        finer = ("--finer", f"{head},3", "--overlap", "highest", "--json")
        printed = run(*words, *finer, "-o", tmp_path / "fine.nii.gz")
        plain, fine = (sitk.ReadImage(str(tmp_path / f"{name}.nii.gz")) for name in ("plain", "fine"))
        [obj] = json.loads(printed)["objects"]
        assert obj["voxels"] == np.count_nonzero(masks(tmp_path / "fine.nii.gz"))
        assert obj["milliliters"] == pytest.approx(obj["voxels"] * np.prod(fine.GetSpacing()) / 1000)
        assert fine.GetSize() == tuple(n * f for n, f in zip(plain.GetSize(), (3, 3, 1), strict=True))
        resampled = sitk.GetArrayFromImage(
            sitk.Resample(fine, plain, sitk.Transform(), sitk.sitkNearestNeighbor)
        )
        wide = sitk.BinaryDilate(plain > 0, [3, 3, 0], sitk.sitkBox)
        assert not (resampled[sitk.GetArrayFromImage(wide) == 0] > 0).any()  # at the same place
        narrow = sitk.BinaryErode(plain > 0, [3, 3, 0], sitk.sitkBox)
        assert (resampled[sitk.GetArrayFromImage(narrow) > 0] > 0).all()
        return
    where = ("--slice", "6") if kind == "patch" else ()
    code = main(
        [str(word) for word in ("propose", image, "--model", start, "--head", head, *where, "--threads", "1",
                                "--yes", "-o", tmp_path / "a.seg.nrrd")]
    )  # fmt: skip
    assert code == 0 or kind == "patch"  # with random features a patch head may find nothing
