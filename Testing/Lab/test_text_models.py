"""Words lead to masks through text models on disk: tiny ones with random weights, whose answers mean nothing."""

from __future__ import annotations

import json
import string
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from Testing.small_networks import SMALL

torch = pytest.importorskip("torch")

from MedSAMSlicerLib.cli import main  # noqa: E402
from MedSAMSlicerLib.core.errors import CheckpointError, MedSAMError  # noqa: E402
from MedSAMSlicerLib.core.geometry import VolumeGeometry  # noqa: E402
from MedSAMSlicerLib.engine.proposals import ProposalSettings  # noqa: E402
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter  # noqa: E402
from MedSAMSlicerLib.engine.text import TextBox, find_by_text  # noqa: E402
from MedSAMSlicerLib.lab import text_models  # noqa: E402
from MedSAMSlicerLib.lab.text_models import ClipRanker, TransformersDetector, text_model  # noqa: E402
from MedSAMSlicerLib.sam2.checkpoint import save, seeded  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

IMAGE = np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8)
WORDS = ("liver", "left kidney")
TEXT = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
          "image_size": 32, "patch_size": 8}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Letters alone."""
    folder = tmp_path_factory.mktemp("tokens")
    tokens = ["!", "<|startoftext|>", "<|endoftext|>", *string.ascii_lowercase]
    tokens += [f"{letter}</w>" for letter in string.ascii_lowercase]
    (folder / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    transformers = pytest.importorskip("transformers")
    return transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16
    )


@pytest.fixture(scope="module")
def detector(tokenizer: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("owlvit")
    torch.manual_seed(0)
    transformers = pytest.importorskip("transformers")
    config = transformers.OwlViTConfig(text_config=TEXT, vision_config=VISION, projection_dim=16)
    transformers.OwlViTForObjectDetection(config).save_pretrained(folder)
    images = transformers.OwlViTImageProcessor(size={"height": 32, "width": 32})
    transformers.OwlViTProcessor(images, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tokenizer: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16)
    transformers.CLIPModel(config).save_pretrained(folder)
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    transformers.CLIPProcessor(transformers.CLIPImageProcessor(**sizes), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def segmenter() -> VolumeSegmenter:
    array = np.random.default_rng(1).normal(0, 20, (3, 40, 48)).astype(np.float32)
    array[:, 10:30, 12:36] += 120
    geometry = VolumeGeometry.from_spacing(array.shape, (1, 1, 1))
    return VolumeSegmenter(array, geometry, seeded(SMALL, 3), threads=1, volume_stage="off")


def test_a_detector_gives_the_boxes_of_its_own_processor_for_each_word(
    detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_models, "_LEAST_SCORE", 0.0)  # random weights are certain of nothing
    model = text_model(detector)
    assert isinstance(model, TransformersDetector)
    found = model.boxes(IMAGE, WORDS)
    assert found
    assert {each.word for each in found} <= set(WORDS)
    transformers = pytest.importorskip("transformers")
    theirs = transformers.OwlViTForObjectDetection.from_pretrained(detector).eval()
    processor = transformers.OwlViTProcessor.from_pretrained(detector)
    inputs = processor(images=IMAGE, text=[list(WORDS)], return_tensors="pt")
    with torch.no_grad():
        expected = processor.post_process_grounded_object_detection(
            theirs(**inputs), threshold=0.0, target_sizes=[(40, 48)]
        )[0]
    assert np.allclose([each.box for each in found], expected["boxes"].numpy(), atol=1e-3)
    assert np.allclose([each.score for each in found], expected["scores"].numpy(), atol=1e-5)
    assert [WORDS.index(each.word) for each in found] == expected["labels"].tolist()


def test_clip_ranks_what_the_network_finds(clip: Path, segmenter: VolumeSegmenter) -> None:
    model = text_model(clip)
    assert isinstance(model, ClipRanker)
    mask = np.zeros((40, 48), bool)
    mask[5:20, 5:30] = True
    table = model.scores(IMAGE, [mask, ~mask], WORDS)
    assert table.shape == (2, 2)
    assert np.allclose(table.sum(1), 1, atol=1e-5)
    loose = ProposalSettings(points_per_side=3, least_iou=0.0, least_stability=0.0)
    found = find_by_text(segmenter, model, WORDS, 1, settings=loose)
    assert found
    assert {each.word for each in found} <= set(WORDS)


class BrightDetector:
    """Finds what is bright and calls it by the first word; beside that something too small, and a doubtful box."""

    def boxes(self, image: npt.NDArray[np.uint8], words: Sequence[str]) -> list[TextBox]:
        rows, columns = np.nonzero(image[..., 0] > 150)
        around = (columns.min(), rows.min(), columns.max() + 1.0, rows.max() + 1.0)
        return [
            TextBox(words[0], (float(around[0]), float(around[1]), around[2], around[3]), 0.9),
            TextBox(words[-1], (5.0, 5.0, 5.2, 5.4), 0.8),
            TextBox(words[-1], (-5.0, -5.0, 30.0, 30.0), 0.1),
        ]


def bright_detector() -> BrightDetector:
    return BrightDetector()


def test_the_network_draws_in_the_boxes_that_a_plug_in_gives(segmenter: VolumeSegmenter) -> None:
    found = find_by_text(segmenter, BrightDetector(), WORDS, 1)
    assert [each.word for each in found] == ["liver"]
    assert found[0].proposal.mask.shape == (40, 48)
    assert found[0].proposal.stability == 0.9
    with pytest.raises(MedSAMError, match="At least one word"):
        find_by_text(segmenter, BrightDetector(), [" "], 1)
    with pytest.raises(MedSAMError, match="object returns neither boxes nor scores"):
        find_by_text(segmenter, object(), WORDS, 1)  # type: ignore[arg-type]


def test_the_command_takes_a_folder_or_a_function_and_names_what_is_missing(
    tmp_path: Path, detector: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDSAMSLICER_MODELS", str(tmp_path / "models"))
    save(seeded(SMALL, 3), tmp_path / "network.safetensors")
    array = np.random.default_rng(1).normal(0, 20, (3, 40, 48)).astype(np.float32)
    array[:, 10:30, 12:36] += 120
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "a.nii.gz"))
    words = ["propose", str(tmp_path / "a.nii.gz"), "--model", str(tmp_path / "network.safetensors"), "--yes",
             "--slice", "1", "--threads", "1", "--text", "liver", "-o", str(tmp_path / "o.seg.nrrd")]  # fmt: skip
    assert main([*words, "--json", "--text-model", f"{__name__}:bright_detector"]) == 0
    assert json.loads(capsys.readouterr().out)["proposals"][0]["name"] == "liver"
    assert main([*words, "--text-model", str(detector)]) in (0, 1)  # random weights may find nothing
    for chosen, sentence in (
        (str(tmp_path), "holds no text model: a folder with config.json"),
        ("no_such_module:function", "No module named 'no_such_module'"),
    ):
        capsys.readouterr()
        assert main([*words, "--text-model", chosen]) == 1
        assert sentence in capsys.readouterr().err
    assert main(words) == 2
    assert "--text WORD and --text-model FOLDER must be given together" in capsys.readouterr().err


def test_a_folder_without_weights_and_a_missing_package_are_named(
    tmp_path: Path, detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text((detector / "config.json").read_text())
    with pytest.raises(CheckpointError, match=r"The text model owlvit in .* cannot be used"):
        text_model(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MedSAMError, match="need the packages transformers and pillow"):
        text_model(detector)
