"""Image encoders compiled by OpenVINO: the same features, chosen by what was found; torch where anything fails."""

from __future__ import annotations

import atexit
import functools
import importlib
import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from Testing.small_networks import SMALLEST

from MedSAMSlicerLib.core.errors import Canceled, MedSAMError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.intensity import Window
from MedSAMSlicerLib.core.prompts import ObjectPrompts, PromptSet, SliceRef, box_from_voxels
from MedSAMSlicerLib.engine import compiled
from MedSAMSlicerLib.engine.compiled import FOLDER, ChosenEncoder, Findings, PreparedNetwork
from MedSAMSlicerLib.engine.encoder import FastEncoder, Sam1Encoder, encoder_of, prepare
from MedSAMSlicerLib.engine.precision import Precision, choose
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.sam2.adapters import AdapterConfig, attach
from MedSAMSlicerLib.sam2.checkpoint import seeded
from MedSAMSlicerLib.sam2.config import LITEMEDSAM, TINY, HieraConfig, TinyViTConfig
from MedSAMSlicerLib.sam2.model import SAM2
from MedSAMSlicerLib.sam2.networks import Network

from .sam1_oracles import seeded_sam1

if importlib.util.find_spec("openvino") is None:  # importing it here would start its reporter of usage
    pytest.skip("OpenVINO is an extra", allow_module_level=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test's own."""
    monkeypatch.setenv("MEDSAMSLICER_MODELS", str(tmp_path / "models"))
    return tmp_path / "models" / FOLDER


SMALL_HIERA = replace(
    TINY,
    name="small_hiera",
    image_size=64,
    trunk=HieraConfig(16, 1, (1, 1, 2, 1), (2,), (8, 4, 4, 2), position_embedding_size=(7, 7)),
)
SMALL_TINYVIT = replace(
    LITEMEDSAM,
    name="small_tinyvit",
    image_size=64,
    trunk=TinyViTConfig((32, 32, 64, 320), (1, 1, 1, 1), (7, 7, 5, 7), stem_kernel=1, stem_stride=1),
)


@pytest.fixture(scope="module")
def model() -> SAM2:
    found = seeded(SMALLEST, 0)
    assert isinstance(found, SAM2)
    return found


def precision(runtime: str, tier: str = "exact") -> Precision:
    return choose("cpu", tier, runtime=runtime)


def frames(side: int, count: int = 1) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("make", "side"),
    [
        pytest.param(lambda: seeded(SMALLEST, 0), 32, id="convolutions"),
        pytest.param(lambda: seeded(SMALL_HIERA, 0), 64, id="hiera"),
        pytest.param(lambda: seeded_sam1(SMALL_TINYVIT), 64, id="tinyvit"),
    ],
)
def test_features_are_those_of_torch(make: Callable[[], Network], side: int) -> None:
    model = make().eval()
    prepare(model, precision("openvino"))
    encoder = PreparedNetwork.of(model, precision("auto"), side).encoder()
    plain = encoder_of(model, precision("torch"))
    found, truth = encoder(frames(side, 2)), plain(frames(side, 2))
    for ours, theirs in zip(found, truth, strict=True):
        assert ours.shape == theirs.shape
        if theirs.numel():
            assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_bfloat16_is_as_close_as_bfloat16_can_be(model: SAM2) -> None:
    chosen = precision("openvino", "balanced")
    if chosen.dtype != torch.bfloat16:
        pytest.skip(chosen.note)
    found = prepare(model, chosen)
    assert 1e-4 < found.error < 0.06


def test_what_was_found_is_kept_and_nothing_is_prepared_twice(model: SAM2, cache: Path) -> None:
    found = _made()[1]
    assert found.error <= 1e-4
    assert found.used == (found.openvino_ms < found.torch_ms)
    network = _prepared(model, found.used)
    assert [path.name for path in cache.iterdir()] == [network.folder.name]
    assert network.findings() == found
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    encoder_of(model, precision("openvino"))(frames(32))
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()} == before


def test_other_weights_another_size_and_other_numbers_are_prepared_again(model: SAM2) -> None:
    places = {
        PreparedNetwork.of(network, numbers, side).folder
        for network in (model, seeded(SMALLEST, 1))
        for side in (32, 64)
        for numbers in (Precision(tier, torch.device("cpu"), tier_dtype) for tier, tier_dtype in _NUMBERS)
    }
    assert len(places) == 8


_NUMBERS = ((choose("cpu", "exact").tier, torch.float32), (choose("cpu", "exact").tier, torch.bfloat16))


def test_a_network_that_was_not_prepared_runs_in_torch_bit_for_bit(model: SAM2, cache: Path) -> None:
    for ours, theirs in zip(
        encoder_of(model, precision("auto"))(frames(32)),
        encoder_of(model, precision("torch"))(frames(32)),
        strict=True,
    ):
        assert torch.equal(ours, theirs)
    assert not cache.exists()


@pytest.mark.parametrize("used", [True, False])
def test_the_findings_decide(model: SAM2, used: bool) -> None:
    _prepared(model, used)
    encoder = encoder_of(model, precision("auto"))
    assert isinstance(encoder, ChosenEncoder)
    encoder(frames(32))
    assert isinstance(encoder._chosen[32], compiled.OpenVINOEncoder) == used


def test_a_damaged_file_is_reported_and_torch_takes_over(
    model: SAM2, caplog: pytest.LogCaptureFixture
) -> None:
    network = _prepared(model, True)
    (network.folder / "encoder.xml").write_bytes(b"<net>")
    found = encoder_of(model, precision("auto"))(frames(32))
    assert torch.equal(found.top, encoder_of(model, precision("torch"))(frames(32)).top)
    assert "OpenVINO is not used for test" in caplog.text


def test_a_pause_that_raises_ends_the_computation(model: SAM2) -> None:
    _prepared(model, True)
    encoder = encoder_of(model, precision("auto"))
    before = encoder(frames(32))

    class Never:
        """A request that goes on for ever."""

        def __init__(self) -> None:
            self.canceled = False

        def start_async(self, inputs: object) -> None: ...

        def wait_for(self, milliseconds: int) -> bool:
            return self.canceled

        def cancel(self) -> None:
            self.canceled = True

        def wait(self) -> None:
            assert self.canceled
            raise RuntimeError("Infer Request was canceled")  # as OpenVINO does when it is not done yet

    def give_up() -> None:
        raise Canceled("given up")

    request = Never()
    slow = compiled.OpenVINOEncoder(type("Network", (), {"create_infer_request": lambda self: request})())
    with pytest.raises(Canceled, match="given up"):
        slow(frames(32), give_up)
    assert request.canceled
    assert torch.equal(encoder(frames(32)).top, before.top)


def test_nothing_is_reported_about_this_computer(model: SAM2) -> None:
    encoder_of(model, precision("openvino"))(frames(32))
    reporter = importlib.import_module("openvino.tools.ovc.telemetry_utils").tm
    assert reporter.__name__ == "openvino.tools.ovc.telemetry_stub"
    assert "openvino_telemetry" not in sys.modules


def test_networks_with_adapters_stay_in_torch() -> None:
    model = seeded(SMALL_HIERA, 0)
    attach(model, [AdapterConfig("bottleneck", "image_encoder.*.mlp")])
    assert isinstance(encoder_of(model, precision("auto")), FastEncoder | Sam1Encoder)


def test_the_masks_of_a_volume_are_those_of_torch(model: SAM2) -> None:
    volume = np.zeros((6, 32, 32), np.uint8)
    volume[:, 8:24, 10:26] = 200
    geometry = VolumeGeometry.from_spacing(volume.shape, (1.0, 1.0, 1.0))
    box = box_from_voxels(geometry, SliceRef(SliceAxis.K, 2), 10, 8, 25, 23)
    prompts = PromptSet(geometry, SliceAxis.K, (ObjectPrompts("cube", (1.0, 0.0, 0.0), (box,)),))
    _prepared(model, True)
    masks = []
    for runtime in ("torch", "auto"):
        segmenter = VolumeSegmenter(
            volume, geometry, model, Window(0, 255, "full"), tier="exact", threads=1, runtime=runtime
        )
        masks.append(segmenter.segment(prompts).masks["cube"])
    assert masks[0].any()
    assert np.mean(masks[0] != masks[1]) <= 1e-3


def test_an_unknown_runtime_is_named(model: SAM2) -> None:
    with pytest.raises(MedSAMError, match="must be one of auto, torch, openvino, got 'onnx'"):
        choose("cpu", runtime="onnx")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        MedSAMError, match=r"needs the package openvino: pip install 'medsamslicer\[openvino\]'"
    ):
        choose("cpu", runtime="openvino")


@functools.cache
def _made() -> tuple[Path, Findings]:
    """A folder of the smallest network prepared once for all tests, and what was found."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MEDSAMSLICER_MODELS", str(folder))
        found = prepare(seeded(SMALLEST, 0), precision("openvino"))
    return folder / FOLDER, found


def _prepared(model: SAM2, used: bool) -> PreparedNetwork:
    """The network as prepared, with the outcome that a test wants: which of both is faster here is left to chance."""
    network = PreparedNetwork.of(model, precision("auto"), 32)
    shutil.copytree(_made()[0], network.folder.parent)
    path = network.folder / "findings.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text(encoding="utf-8")), "used": used}), encoding="utf-8"
    )
    return network
