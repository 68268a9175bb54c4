"""Weights come back as they were written, and a file that is anything else is refused in one sentence."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from MedSAMSlicerLib.core.errors import CheckpointError
from MedSAMSlicerLib.sam2 import BASE_PLUS, LARGE, MEDSAM2, NANO, SAM2, SMALL, TINY, Config, checkpoint

KEY = "sam_mask_decoder.iou_token.weight"


@pytest.fixture(scope="module")
def nano() -> SAM2:
    return checkpoint.seeded(NANO)


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory, nano: SAM2) -> Path:
    """A file in the official format (with the small network, to be quick)."""
    path = tmp_path_factory.mktemp("official") / "nano.pt"
    torch.save({"model": nano.state_dict()}, path)
    return path


def _assert_equal(ours: SAM2, other: SAM2) -> None:
    for (name, mine), (other_name, theirs) in zip(
        ours.state_dict().items(), other.state_dict().items(), strict=True
    ):
        assert name == other_name
        assert torch.equal(mine, theirs), name


def test_an_official_file_comes_back_bit_for_bit(nano: SAM2, official: Path):
    model, config = checkpoint.load(official)
    assert config == NANO
    assert not model.training
    _assert_equal(model, nano)


def test_a_safetensors_file_comes_back_bit_for_bit_with_its_config(tmp_path: Path, nano: SAM2):
    own = replace(NANO, name="own", image_size=160, crop_margin=2.5)
    checkpoint.save(nano, tmp_path / "a.safetensors", {"license": "Apache-2.0"})
    model, config = checkpoint.load(tmp_path / "a.safetensors")
    assert config == NANO
    _assert_equal(model, nano)
    nano_of_own = SAM2(own)
    checkpoint.save(nano_of_own, tmp_path / "b.safetensors")
    assert checkpoint.load(tmp_path / "b.safetensors")[1] == own


def test_half_precision_takes_half_the_space_and_is_computed_in_float32(tmp_path: Path, nano: SAM2):
    path = tmp_path / "half.safetensors"
    checkpoint.save(nano, path, half=True)
    model, _ = checkpoint.load(path)
    assert path.stat().st_size < 6_000_000
    for mine, original in zip(model.state_dict().values(), nano.state_dict().values(), strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, original, rtol=1e-3, atol=1e-6)


def test_saving_leaves_nothing_behind_when_it_fails(tmp_path: Path, nano: SAM2):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # as on a full disk
    try:
        with pytest.raises(OSError, match="too large"):
            checkpoint.save(nano, tmp_path / "a.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_weights_too_large_for_half_precision_are_not_written(tmp_path: Path):
    model = checkpoint.seeded(NANO)
    model.state_dict()[KEY].fill_(1e6)
    with pytest.raises(CheckpointError, match=KEY):
        checkpoint.save(model, tmp_path / "a.safetensors", half=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("config", [TINY, SMALL, BASE_PLUS, LARGE, NANO], ids=lambda config: config.name)
def test_the_network_is_recognized_from_its_weights(config: Config):
    with torch.device("meta"):
        weights = SAM2(config).state_dict()
    assert checkpoint.recognize(weights, "weights.pt") == config


def test_medsam2_is_distinguished_from_the_tiny_network_by_its_file_name():
    with torch.device("meta"):
        weights = SAM2(MEDSAM2).state_dict()
    assert checkpoint.recognize(weights, "MedSAM2_latest.pt") == MEDSAM2


def test_a_given_config_counts_more_than_what_the_file_says(official: Path):
    model, config = checkpoint.load(official, replace(NANO, image_size=256))
    assert config.image_size == model.config.image_size == 256


def _without(weights: dict[str, Tensor]) -> None:
    del weights[KEY]


def _with_another(weights: dict[str, Tensor]) -> None:
    weights["other_part.latents"] = torch.zeros(3)


def _with_a_shape(weights: dict[str, Tensor]) -> None:
    weights[KEY] = torch.zeros(1, 96)


def _with_nan(weights: dict[str, Tensor]) -> None:
    weights[KEY] = torch.full_like(weights[KEY], torch.nan)


def _with_infinity(weights: dict[str, Tensor]) -> None:
    weights[KEY] = torch.full_like(weights[KEY], torch.inf)


def _with_integers(weights: dict[str, Tensor]) -> None:
    weights[KEY] = weights[KEY].long()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_without, f"is not a medsamslicer_nano checkpoint: it has no weight {KEY}"),
        (_with_another, r"has an unknown weight other_part\.latents"),
        (_with_a_shape, rf"weight {KEY} has shape \(1, 96\), not \(1, 128\)"),
        (_with_nan, f"weight {KEY} has values that are not finite numbers"),
        (_with_infinity, f"weight {KEY} has values that are not finite numbers"),
        (_with_integers, f"the weight {KEY} has the type torch.int64"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    tmp_path: Path, nano: SAM2, suffix: str, change: Callable[[dict[str, Tensor]], None], sentence: str
):
    weights, path = dict(nano.state_dict()), tmp_path / f"changed{suffix}"
    change(weights)
    if suffix == ".pt":
        torch.save({"model": weights}, path)
    else:
        save_file(weights, path)
    with pytest.raises(CheckpointError, match=f"changed.*{sentence}"):
        checkpoint.load(path)


@pytest.mark.parametrize("content", [{"state_dict": {}}, {"model": {}}, [1, 2], {"model": {"a": "text"}}])
def test_a_torch_file_without_a_network_is_refused(tmp_path: Path, content: object):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"other\.pt"):
        checkpoint.load(tmp_path / "other.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_another_network_is_refused(tmp_path: Path, suffix: str):
    weights = torch.nn.Linear(3, 3).state_dict()
    path = tmp_path / f"other{suffix}"
    torch.save({"model": weights}, path) if suffix == ".pt" else save_file(weights, path)
    with pytest.raises(CheckpointError, match="contains no network that MedSAMSlicer knows"):
        checkpoint.load(path)


def test_the_weights_of_one_network_do_not_pass_for_another(official: Path):
    with pytest.raises(CheckpointError, match=r"nano\.pt is not a sam2\.1_hiera_tiny checkpoint"):
        checkpoint.load(official, TINY)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "pickle"])
def test_a_file_that_would_run_a_program_is_not_opened(tmp_path: Path, zipped: bool):
    victim, path = tmp_path / "victim", tmp_path / "bomb.pt"
    if zipped:
        torch.save({"model": {"weight": torch.zeros(1), "bomb": Bomb(victim)}}, path)
    else:
        path.write_bytes(pickle.dumps({"model": Bomb(victim)}))
    with pytest.raises(CheckpointError, match=r"bomb\.pt is"):
        checkpoint.load(path)
    assert not victim.exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("part", [0.0, 0.0001, 0.3, 0.9, 0.9999])
def test_a_file_that_is_cut_off_is_refused(
    tmp_path: Path, nano: SAM2, official: Path, suffix: str, part: float
):
    whole, path = tmp_path / "whole.safetensors", tmp_path / f"cut{suffix}"
    checkpoint.save(nano, whole)
    content = (official if suffix == ".pt" else whole).read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(CheckpointError, match=rf"cut\{suffix} is damaged"):
        checkpoint.load(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_altered_bytes_never_end_in_anything_but_a_sentence(tmp_path: Path):
    random = torch.Generator().manual_seed(0)
    path = tmp_path / "altered.pt"
    torch.save({"model": {"a": torch.zeros(5)}}, path)
    content = path.read_bytes()
    for _ in range(300):
        altered = bytearray(content)
        for place in torch.randint(4, len(content), (8,), generator=random).tolist():
            altered[place] = int(torch.randint(256, (), generator=random))
        path.write_bytes(altered)
        with pytest.raises(CheckpointError, match=r"altered\.pt"):
            checkpoint.load(path)


def test_an_archive_that_grows_when_it_is_unpacked_is_refused_unread(
    tmp_path: Path, official: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(official) as sound, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in sound.namelist():
            packed.writestr(name, sound.read(name))
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(CheckpointError, match=r"bomb\.pt is damaged, incomplete or not a checkpoint"):
        checkpoint.load(path)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"checkpoint file .*nowhere\.pt does not exist"):
        checkpoint.load(tmp_path / "nowhere.pt")


@pytest.mark.parametrize(
    "description", ["", "[]", "{}", '{"trunk": {"kind": "mamba"}}', NANO.to_json().replace("192", '"192"')]
)
def test_a_description_that_cannot_be_read_is_refused(tmp_path: Path, nano: SAM2, description: str):
    path = tmp_path / "odd.safetensors"
    save_file(nano.state_dict(), path, {"config": description})
    with pytest.raises(CheckpointError, match="description of the network"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_size", 20_000),
        ("image_size", None),
        ("image_size", 1e400),
        ("hidden_dim", 10**9),
        ("hidden_dim", -128),
        ("memory_attention_layers", 10**8),
        ("dense_prompts", 1),
        ("crop_margin", float("nan")),
        ("name", "x" * 100_000),
        ("name", None),
        ("trunk", {"kind": "convolutional", "channels": [32, 64, 96, 128], "blocks": [1, 2, 3, 10**8]}),
        ("trunk", {"kind": "convolutional", "channels": [32, 64, 96], "blocks": [1, 2, 3, 1]}),
        ("trunk", {"kind": "convolutional", "channels": None, "blocks": None}),
        ("trunk", {"kind": "hiera", "embed_dim": 96, "num_heads": 1, "stages": [1, 1, 1, 1],
                   "global_attention_blocks": [0] * 1000}),
    ],
)  # fmt: skip
def test_a_description_is_bounded_before_a_network_is_built(
    tmp_path: Path, nano: SAM2, monkeypatch: pytest.MonkeyPatch, field: str, value: object
):
    path = tmp_path / "huge.safetensors"
    save_file(nano.state_dict(), path, {"config": json.dumps({**json.loads(NANO.to_json()), field: value})})
    monkeypatch.setattr(checkpoint, "SAM2", None)
    with pytest.raises(CheckpointError, match="description of the network") as error:
        checkpoint.load(path)
    assert len(str(error.value)) < 300


def test_a_described_network_that_cannot_be_built_is_refused(tmp_path: Path, nano: SAM2):
    path = tmp_path / "odd.safetensors"
    save_file(nano.state_dict(), path, {"config": replace(NANO, stride=0).to_json()})
    with pytest.raises(CheckpointError, match=r"odd\.safetensors describes a network that cannot be built"):
        checkpoint.load(path)


@pytest.mark.parametrize("config", [TINY, LARGE, MEDSAM2, NANO], ids=lambda config: config.name)
def test_a_config_comes_back_from_json(config: Config):
    assert Config.from_json(config.to_json()) == config


def test_seeded_weights_are_the_same_every_time_and_leave_the_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second, other = checkpoint.seeded(NANO, 1), checkpoint.seeded(NANO, 1), checkpoint.seeded(NANO, 2)
    assert torch.equal(torch.rand(1), expected)
    _assert_equal(first, second)
    assert not torch.equal(first.state_dict()[KEY], other.state_dict()[KEY])
    assert all(parameter.any() for parameter in first.parameters())
