"""The arithmetic that the engine uses: exact, balanced or fast, chosen by what the device says it can do.

- **exact**: float32 everywhere; differs from the plain network by rounding only (about 1e-6 of the largest value).
- **balanced**: bfloat16 in the image encoder, memory attention and memory encoder, where the device really has it;
  elsewhere the arithmetic of exact, and :attr:`Precision.note` says so. On the CPU, residuals of memory attention and
  the mask decoder stay in float32.
- **fast**: as balanced; its callers may leave something out, too (see :mod:`.propagate`).

Nothing is timed: on the same computer the choice, and with it every mask, is the same every time. What the device
says is believed only if a small product comes close to the one in float64.

Nothing here changes a process-wide setting of torch, except :func:`torch_settings`, which restores what it changes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.errors import MedSAMError
from ..core.tiers import RUNTIMES, Tier
from .devices import chosen_device

logger = logging.getLogger(__name__)

_ONEDNN_TOLERANCE = 1e-5  # relative to the largest value of a product
_BFLOAT16_TOLERANCE = 0.02


@dataclass(frozen=True)
class Precision:
    """The arithmetic of one engine; made by :func:`choose`.

    Args:
        tier: What was asked for.
        device: Where the network runs.
        dtype: Of weights and activations in the image encoder and of the products in memory attention.
        storage: Of the features that are kept between slices.
        onednn: Float32 products go through oneDNN instead of the BLAS library (CPU only).
        score_bytes: Attention scores that are held at once, in bytes (CPU only).
        runtime: One of `core.tiers.RUNTIMES`.
        note: One sentence for the user where the tier is not what its name promises; empty otherwise.
    """

    tier: Tier
    device: torch.device
    dtype: torch.dtype = torch.float32
    storage: torch.dtype = torch.float32
    onednn: bool = False
    score_bytes: int = 8 << 20
    runtime: str = "torch"
    note: str = ""

    def chunk_rows(self, keys: int) -> int:
        """The number of queries that attend at once to this many keys."""
        rows = self.score_bytes // max(1, keys * self.dtype.itemsize)
        return max(64, rows // 64 * 64)


def choose(
    device: str | torch.device = "cpu",
    tier: Tier | str | None = None,
    model: nn.Module | None = None,
    runtime: str = "torch",
) -> Precision:
    """The arithmetic for a device and tier; the same every time on the same computer.

    Args:
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        tier: None = balanced where the device has bfloat16, else exact.
        model: The network that will run; it must be in float32.
        runtime: One of `core.tiers.RUNTIMES`.

    Raises:
        MedSAMError: If the device is not there, tier or runtime are unknown, or the network is not in float32.
    """
    asked = _tier(tier)
    place = torch.device(chosen_device(device))
    if model is not None:
        other = next((p.dtype for p in model.parameters() if p.dtype != torch.float32), None)
        if other is not None:
            raise MedSAMError(f"The weights of the network must be float32, not {other}.")
    bfloat16, reason = _has_bfloat16(place)
    if asked is None:
        asked = Tier.BALANCED if bfloat16 else Tier.EXACT
    half = bfloat16 and asked is not Tier.EXACT
    dtype = torch.bfloat16 if half else torch.float32
    note = "" if half or asked is Tier.EXACT else f"{asked.value} computes as exactly as exact: {reason}."
    if note:
        logger.info(note)
    return Precision(
        tier=asked,
        device=place,
        dtype=dtype,
        storage=dtype,
        onednn=place.type == "cpu" and _onednn_is_right(),
        runtime=checked_runtime(runtime),
        note=note,
    )


def has_openvino() -> bool:
    """Return whether OpenVINO can be imported."""
    return importlib.util.find_spec("openvino") is not None


def checked_runtime(name: str) -> str:
    """The name, if it is one of `RUNTIMES` and can be used here.

    Raises:
        MedSAMError: If it is not.
    """
    if name not in RUNTIMES:
        raise MedSAMError(f"The runtime must be one of {', '.join(RUNTIMES)}, got {name!r}.")
    if name == "openvino" and not has_openvino():
        raise MedSAMError(
            "The runtime 'openvino' needs the package openvino: pip install 'medsamslicer[openvino]'."
        )
    return name


# ------------------------------------------------------------------------------------------------ torch's settings


def default_threads() -> int:
    """Threads for the network: as many as OMP_NUM_THREADS says, where it is set.

    Else all physical cores that this process may use, less one for the user interface if there are more than 2.
    """
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # "4,2" is for nested regions
    if given.isdecimal() and int(given) > 0:
        return int(given)
    cores = _physical_cores()
    return cores - 1 if cores > 2 else cores


class _Settings:
    """Counts who uses the changed settings; the last one to leave restores those found by the first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.threads = 1
        self.restore: list[Callable[[], None]] = []


_settings = _Settings()


@contextlib.contextmanager
def torch_settings(precision: Precision, threads: int | None = None) -> Iterator[None]:
    """Inside, float32 products are true float32 and `threads` threads compute; afterwards all is as before.

    Torch keeps these settings for the whole process, and the number of threads also for each thread of Python: enter
    in the thread that computes. Several threads may be inside at once.

    Args:
        precision: Says which device's settings matter.
        threads: None = :func:`default_threads`.
    """
    wanted = default_threads() if threads is None else max(1, threads)
    with _settings.lock:
        if _settings.users == 0:
            _settings.threads = torch.get_num_threads()
            _settings.restore = _true_float32(precision.device)
        _settings.users += 1
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        with _settings.lock:
            _settings.users -= 1
            torch.set_num_threads(_settings.threads)
            if _settings.users == 0:
                for restore in _settings.restore:
                    restore()


def _true_float32(device: torch.device) -> list[Callable[[], None]]:
    """Forbid shorter float32 products where they are allowed; returns what undoes it."""
    undo: list[Callable[[], None]] = []
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # torch >= 2.9, someone set single backends by the newer interface
        backends: Any = torch.backends  # whose newer settings are not annotated
        for holder in (backends.mkldnn.matmul, backends.mkldnn.conv, backends.cuda.matmul):
            undo.append(partial(setattr, holder, "fp32_precision", holder.fp32_precision))
            holder.fp32_precision = "ieee"
    else:
        if before != "highest":
            undo.append(lambda: torch.set_float32_matmul_precision(before))
            torch.set_float32_matmul_precision("highest")
    if device.type == "cuda" and torch.backends.cudnn.allow_tf32:  # not run: no such device available
        undo.append(lambda: setattr(torch.backends.cudnn, "allow_tf32", True))
        torch.backends.cudnn.allow_tf32 = False
    return undo


# -------------------------------------------------------------------------------------------------- what is there


def _tier(tier: Tier | str | None) -> Tier | None:
    try:
        return None if tier is None else Tier(tier)
    except ValueError:
        names = ", ".join(t.value for t in Tier)
        raise MedSAMError(f"The tier must be one of {names}, got {tier!r}.") from None


def _has_bfloat16(device: torch.device) -> tuple[bool, str]:
    """Return whether a device has bfloat16 in hardware, and if not, why."""
    if device.type == "cuda":  # not run: no such device available
        return torch.cuda.is_bf16_supported(including_emulation=False), "this GPU has no bfloat16 arithmetic"
    if device.type == "mps":  # not run: no such device available
        return False, "on Apple GPUs only float32 is used"
    if not _cpu_has_bfloat16():
        return False, "this processor has no bfloat16 arithmetic"
    return _bfloat16_is_right(), "bfloat16 products are wrong on this computer"


def _cpu_has_bfloat16() -> bool:
    """AVX512-BF16 or AMX, or the like on other processors; emulated bfloat16 does not count."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    checks = [getattr(torch.cpu, name) for name in names if hasattr(torch.cpu, name)]
    if any(check() for check in checks):
        return True
    return any(_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _capabilities() -> dict[str, Any]:
    """Return what torch >= 2.10 knows of the processor."""
    read: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    return read()


@lru_cache(maxsize=1)
def _physical_cores() -> int:
    """Physical cores this process may run on; hyper-threads do not help matrix products."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    physical = int(_capabilities().get("num_physical_cores", 0)) or torch.get_num_threads()
    return max(1, min(allowed, physical))


# ------------------------------------------------------------------------------------------- what can be relied upon


@lru_cache(maxsize=1)
def _onednn_is_right() -> bool:
    """Return whether this installation of torch has oneDNN's linear layer, and it is right."""
    return _error(lambda x, weight: onednn_linear(x, weight, None, "none")) <= _ONEDNN_TOLERANCE


@lru_cache(maxsize=1)
def _bfloat16_is_right() -> bool:
    """Return whether linear layers in bfloat16 are right on the CPU."""
    return _error(lambda x, weight: functional.linear(x.bfloat16(), weight.bfloat16())) <= _BFLOAT16_TOLERANCE


def _error(product: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Largest difference from the product in float64, relative to its largest value; inf if torch cannot do it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, 256, generator=generator)
    weight = torch.randn(1024, 256, generator=generator) / 16
    truth = x.double() @ weight.double().T
    try:
        with torch.inference_mode():
            difference = product(x, weight).double() - truth
    except (RuntimeError, AttributeError, TypeError, NotImplementedError):
        return float("inf")
    return float(difference.abs().max() / truth.abs().max())


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    """A linear layer by oneDNN with its activation ("none", "relu", "gelu") fused; the operator behind torch.compile.

    On processors where the BLAS library is not at its best (measured: AMD EPYC, 2.2 times), this is the faster way to
    the same float32 result. :func:`choose` has found out whether it is there and right.
    """
    # oneDNN has no fast kernel for other strides: it would take a reference one, a thousand times slower
    out: Tensor = torch.ops.mkldnn._linear_pointwise(
        x.contiguous(), weight.contiguous(), bias, activation, [], "none"
    )
    return out
