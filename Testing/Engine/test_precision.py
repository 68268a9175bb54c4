"""Which arithmetic is chosen, and that torch's process-wide settings are as before afterwards."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.tiers import Tier
from MedSAMSlicerLib.engine import precision
from MedSAMSlicerLib.engine.arithmetic import Arithmetic
from MedSAMSlicerLib.engine.precision import choose, default_threads, torch_settings
from MedSAMSlicerLib.sam2.checkpoint import seeded
from MedSAMSlicerLib.sam2.config import NANO
from MedSAMSlicerLib.sam2.model import SAM2


def flags() -> tuple[object, ...]:
    names = ("mkldnn.matmul", "mkldnn.conv", "cuda.matmul")
    newer = []
    for name in names:
        holder = torch.backends
        for part in name.split("."):
            holder = getattr(holder, part, None)
        newer.append(getattr(holder, "fp32_precision", None))
    try:
        older = torch.get_float32_matmul_precision()
    except RuntimeError:
        older = "mixed"
    return torch.get_num_threads(), older, *newer


# ------------------------------------------------------------------------------------------------------ choosing


def test_exact_means_float32_for_everything():
    chosen = choose("cpu", "exact")
    assert chosen.tier is Tier.EXACT
    assert chosen.dtype == chosen.storage == torch.float32
    assert chosen.note == ""


def test_balanced_takes_bfloat16_where_the_processor_has_it(monkeypatch):
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "_bfloat16_is_right", lambda: True)
    chosen = choose("cpu", Tier.BALANCED)
    assert chosen.dtype == chosen.storage == torch.bfloat16
    assert chosen.note == ""
    assert choose("cpu").tier is Tier.BALANCED


@pytest.mark.parametrize("tier", [Tier.BALANCED, Tier.FAST])
def test_without_bfloat16_balanced_is_exact_and_says_so(monkeypatch, tier):
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: False)
    chosen = choose("cpu", tier)
    assert chosen.dtype == chosen.storage == torch.float32
    assert chosen.tier is tier
    assert "no bfloat16" in chosen.note
    assert choose("cpu").tier is Tier.EXACT


@pytest.fixture
def afresh():
    """What was found out before counts no more, nor does what is found out here count afterwards."""
    checks = precision._onednn_is_right, precision._bfloat16_is_right
    for check in checks:
        check.cache_clear()
    yield
    for check in checks:
        check.cache_clear()


def test_bfloat16_that_multiplies_wrongly_is_not_used(monkeypatch, afresh):
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(precision.functional, "linear", lambda x, weight: 1.1 * (x @ weight.T))
    chosen = choose("cpu", "balanced")
    assert chosen.dtype == torch.float32
    assert "wrong" in chosen.note


@pytest.mark.parametrize("flaw", ["absent", "wrong"])
def test_onednn_that_is_absent_or_multiplies_wrongly_is_not_used(monkeypatch, afresh, flaw):
    def flawed(x, weight, bias, activation):
        if flaw == "absent":
            raise AttributeError("no such operator")
        return x @ weight.T + 1e-3

    monkeypatch.setattr(precision, "onednn_linear", flawed)
    assert not choose("cpu", "exact").onednn


def test_the_choice_does_not_depend_on_time(monkeypatch, afresh):
    def forbidden():
        raise AssertionError("someone looked at the clock")

    first = [choose("cpu", tier) for tier in Tier]
    precision._onednn_is_right.cache_clear()
    precision._bfloat16_is_right.cache_clear()
    for clock in ("time", "perf_counter", "monotonic", "thread_time", "process_time"):
        monkeypatch.setattr(time, clock, forbidden)
    again = [choose("cpu", tier) for tier in Tier]
    monkeypatch.undo()
    assert again == first


def test_choosing_leaves_the_settings_as_they_were(afresh):
    before = flags()
    choose("cpu", "balanced")
    assert flags() == before


@pytest.mark.parametrize("device", ["abacus", "xpu", "meta"])
def test_an_unknown_device_is_named(device):
    with pytest.raises(MedSAMError, match=f"got '{device}'"):
        choose(device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this computer has a GPU")
def test_a_missing_gpu_is_an_error_and_not_a_silent_fall_back():
    with pytest.raises(MedSAMError, match="has no device 'cuda:0'"):
        choose("cuda:0")


def test_an_unknown_tier_is_named():
    with pytest.raises(MedSAMError, match="exact, balanced, fast, got 'sloppy'"):
        choose("cpu", "sloppy")


def test_a_network_in_half_precision_is_refused():
    with pytest.raises(MedSAMError, match=r"torch\.float16"):
        choose("cpu", "exact", torch.nn.Linear(2, 2).half())


# ------------------------------------------------------------------------------------------------------ products


def test_onednn_agrees_with_float64_to_five_digits():
    if not precision._onednn_is_right():
        pytest.skip("oneDNN is not used on this computer")
    generator = torch.Generator().manual_seed(1)
    x, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((300, 96), (70, 96), (70,)))
    truth = x.double() @ weight.double().T + bias.double()
    with torch.inference_mode():
        for activation, expected in (
            ("none", truth),
            ("relu", truth.relu()),
            ("gelu", torch.nn.functional.gelu(truth)),
        ):
            error = precision.onednn_linear(x, weight, bias, activation).double() - expected
            assert error.abs().max() <= 1e-5 * truth.abs().max()


def test_attention_takes_fewer_queries_at_once_the_more_keys_there_are():
    chosen = choose("cpu", "exact")
    assert chosen.chunk_rows(1024) > chosen.chunk_rows(30000) >= 64


# ------------------------------------------------------------------------------------------------------ settings


def test_threads_leave_the_user_interface_a_core(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for cores, expected in ((1, 1), (2, 2), (4, 3), (16, 15)):
        monkeypatch.setattr(precision, "_physical_cores", lambda cores=cores: cores)
        assert default_threads() == expected


@pytest.mark.parametrize(
    ("given", "threads"), [("1", 1), (" 3 ", 3), ("2,4", 2), ("", 15), ("0", 15), ("-2", 15), ("all", 15)]
)
def test_the_environment_says_how_many_threads_there_are(monkeypatch, given, threads):
    monkeypatch.setattr(precision, "_physical_cores", lambda: 16)
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert default_threads() == threads


def test_settings_hold_inside_and_are_restored_after_success_and_failure():
    before = flags()
    with torch_settings(choose("cpu", "exact"), threads=1):
        assert torch.get_num_threads() == 1
    assert flags() == before
    with pytest.raises(KeyError), torch_settings(choose("cpu", "exact"), threads=1):
        raise KeyError
    assert flags() == before


def test_short_float32_products_are_forbidden_inside_and_allowed_again_afterwards():
    original = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        before = flags()
        with torch_settings(choose("cpu", "exact")):
            assert torch.get_float32_matmul_precision() == "highest"
        assert flags() == before
    finally:
        torch.set_float32_matmul_precision(original)


@pytest.mark.skipif(
    not hasattr(torch.backends, "fp32_precision"), reason="torch < 2.9 has only the older setting"
)
def test_settings_made_by_the_newer_interface_are_restored_too():
    holder = torch.backends.mkldnn.matmul
    original = holder.fp32_precision
    holder.fp32_precision = "bf16"
    try:
        before = flags()
        with torch_settings(choose("cpu", "exact")):
            assert holder.fp32_precision == "ieee"
        assert flags() == before
    finally:
        holder.fp32_precision = original


def test_two_threads_may_be_inside_at_once_whoever_leaves_first():
    before = flags()
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with torch_settings(choose("cpu", "exact"), threads=1):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with torch_settings(choose("cpu", "exact"), threads=1):
        thread.start()
        assert entered.wait(10)
    leave.set()
    thread.join()
    assert flags() == before


# -------------------------------------------------------------------------------------- parts of the plain network


@pytest.fixture(scope="module")
def nano() -> SAM2:
    return seeded(NANO)


@pytest.mark.parametrize("tier", list(Tier))
def test_mask_decoder_and_memory_encoder_give_the_same_in_the_arithmetic_of_a_tier(nano, tier):
    arithmetic = Arithmetic(choose("cpu", tier, nano))
    generator = torch.Generator().manual_seed(2)
    frame = torch.rand(1, 64, 64, generator=generator) * 255
    with torch.inference_mode():
        top, mid, fine = nano.encode_image(nano.normalize(frame))
        plain = nano.decode(nano.condition_first(top), mid, fine)
        with arithmetic.decoding():
            fast = nano.decode(nano.condition_first(top), mid, fine)
        assert (fast.logits - plain.logits).abs().max() <= 1e-5 * plain.logits.abs().max()
        memory = nano.encode_memory(top, plain.logits, plain.object_score, from_points=True).features.float()
        with arithmetic.encoding():
            again = nano.encode_memory(
                top, plain.logits, plain.object_score, from_points=True
            ).features.float()
        assert (again - memory).norm() <= 0.01 * memory.norm()
    assert not torch.is_autocast_enabled("cpu")
