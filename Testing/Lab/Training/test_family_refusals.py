"""Wrong input to the commands of docs/family.md: one sentence, before anything is computed, and nothing is left behind.

More of `segment` is tested in Testing/Cli/test_bad_input.py, videos in Testing/Cli/test_video.py, weights of other
networks in Testing/Engine/test_family.py, labeled cases in Testing/Lab/Batch/test_like.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from MedSAMSlicerLib.cli import main  # noqa: E402
from MedSAMSlicerLib.engine.features import FeatureStore  # noqa: E402
from MedSAMSlicerLib.lab.training.heads import head_for  # noqa: E402
from MedSAMSlicerLib.sam2.checkpoint import save, seeded  # noqa: E402
from MedSAMSlicerLib.sam2.config import Config, Sam1Config, TinyViTConfig  # noqa: E402
from MedSAMSlicerLib.sam2.heads import serialized_head  # noqa: E402
from MedSAMSlicerLib.sam2.sam1 import SAM1  # noqa: E402

TINYVIT = TinyViTConfig((32, 32, 32, 32), (1, 1, 1, 1), (4, 4, 4, 4), stem_kernel=1, stem_stride=1)
BOXES = Sam1Config("boxes", 32, TINYVIT, decoder_feedforward=32, only_boxes=True)
BOX = "--box=6,10,10,34,32"

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory, tiny_network: Config) -> Path:
    """Networks with memory (convolutional, one mask) and without (boxes only), and heads of the first."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("networks")
    nano = seeded(tiny_network, 3)
    save(nano, folder / "nano.safetensors")
    save(SAM1(BOXES).eval(), folder / "boxes.safetensors")
    for kind in ("patch", "implicit"):
        (folder / f"{kind}.safetensors").write_bytes(serialized_head(head_for(nano, kind), nano))
    other = seeded(tiny_network, 4)
    (folder / "other.safetensors").write_bytes(serialized_head(head_for(other, "implicit"), other))
    return folder


@pytest.fixture
def refused(
    networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refused:
    """Run a command that must fail before a slice is looked at, with one line; the line."""
    monkeypatch.setenv("MEDSAMSLICER_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(FeatureStore, "get", lambda *_: pytest.fail("a slice was looked at"))

    def run(*words: object) -> str:
        places = {"{nano}": networks / "nano.safetensors", "{boxes}": networks / "boxes.safetensors"}
        code = main([str(places.get(str(word), word)) for word in (*words, "--threads", "1", "--yes")])
        error = capsys.readouterr().err
        assert code in (1, 2), error
        assert error.count("\n") == 1, error
        assert not list(tmp_path.glob("out*"))
        return error

    return run


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--model", "{boxes}", "--point=6,22,20"), "boxes only: draw a box around 'Segment_1' on slice 6 first"),
        (("--model", "{boxes}", BOX, "--point=8,22,20"), "draw a box around 'Segment_1' on slice 8 first"),
        (("--model", "{nano}", BOX + ",-"), "On slice 6 no prompt marks the inside of 'Segment_1'"),
        (("--model", "{boxes}", BOX, "--memory", "prune"), "boxes has no memory of slices"),
        (("--model", "mobile-sam", BOX), "mobile-sam is not on this computer"),
        (("--model", "sam-med2d", BOX), "get sam-med2d_b.pth from github.com/OpenGVLab/SAM-Med2D"),
        (("--model", "{nano}", BOX, "--finer", "FOLDER/none.safetensors"), "none.safetensors does not exist"),
        (("--model", "{nano}", BOX, "--finer", "FOLDER/patch.safetensors"), "the head patch, but implicit is needed"),
        (("--model", "{nano}", BOX, "--finer", "FOLDER/other.safetensors"), "was trained for another network"),
        (("--model", "{nano}", BOX, "--adapters", "FOLDER/patch.safetensors"), "is not an adapter file"),
    ],
)  # fmt: skip
def test_segment_refuses_before_it_computes(
    refused: Refused, networks: Path, balls: Path, tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    given = [word.replace("FOLDER", str(networks)) for word in words]
    assert sentence in refused("segment", balls / "case0_image.nii.gz", "-o", tmp_path / "out.nii.gz", *given)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--adapter", "depth", "--checkpoint", "{nano}"), "the image encoder of test is convolutional"),
        (("--adapter", "temporal", "--checkpoint", "{boxes}"), "looks along a clip, and boxes learns single slices"),
        (("--adapter", "bottlenek", "--checkpoint", "{nano}"), "The adapter must be one of bottleneck, "),
    ],
)  # fmt: skip
def test_adapters_that_do_not_fit_a_network(
    refused: Refused, balls: Path, tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    given = (
        "--data",
        balls,
        "--tune",
        "adapters",
        "--steps",
        "1",
        "--workers",
        "0",
        "--out",
        tmp_path / "out",
    )
    assert sentence in refused("train", *given, *words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("head", "--checkpoint", "{nano}"), "The head must be one of patch, volume, implicit: none was named"),
        (("distil", "--teacher", "{nano}"), "test has a memory; teachers are networks without"),
        (("distil", "--teacher", "{boxes}", "--student", "resnet"), "The student must be one of tinyvit, "),
        (("--preset", "surgical", "--checkpoint", "{boxes}"), "learns single slices: the preset surgical learns clips"),
        (("--preset", "flare", "--checkpoint", "{nano}"), "The preset must be one of flare22, "),
    ],
)  # fmt: skip
def test_train_refuses_before_it_reads_a_volume(
    refused: Refused, balls: Path, tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    assert sentence in refused("train", *words, "--data", balls, "--out", tmp_path / "out")


def test_a_benchmark_in_which_nothing_is_measured_says_why(
    networks: Path,
    balls: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MEDSAMSLICER_MODELS", str(tmp_path / "models"))
    rows = [{"name": "a", "image": str(balls / "gone.nii.gz"), "label": str(balls / "case0_label.nii.gz")}]
    (tmp_path / "manifest.json").write_text(json.dumps(rows))
    options = ["--yes", "--no-baselines", "--no-pictures", "--only", "a", "--out", str(tmp_path / "out")]
    for network, data, protocol, sentence in (
        ("nano", tmp_path, "box", "every case was skipped."),
        (
            "nano",
            balls,
            "SAM 2 study, 2-D: box, best mask",
            "nano draws one mask only, and an alternative is",
        ),
        ("boxes", balls, "click", "boxes was trained on boxes only, and these protocols begin with a click."),
    ):
        given = ["--model", str(networks / f"{network}.safetensors"), "--data", str(data)]
        assert main(["benchmark", "accuracy", *given, "--protocol", protocol, *options]) == 1
        assert f"Nothing was measured: {sentence}" in capsys.readouterr().err
        for path in (tmp_path / "out").iterdir():
            path.unlink()
