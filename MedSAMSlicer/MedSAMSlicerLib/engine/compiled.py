"""Image encoders compiled by OpenVINO for this processor, where it is installed and has proven itself.

Torch runs every network and is all that is needed. OpenVINO (the extra `openvino`) runs the same weights and, on many
processors, in less time. It is used on the CPU, for networks that were prepared: exported once, compared with torch on
the same frame, and timed beside it. What was found is kept with the compiled network in the cache folder, so that the
choice, and with it every mask, stays the same until weights, processor or versions change.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.metadata
import json
import logging
import os
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..core.errors import CheckpointError, MedSAMError
from ..core.folders import cache_folder
from ..core.foreign_errors import first_line
from ..sam2.adapters import adapters_of, base_hash
from ..sam2.model import ImageFeatures
from ..sam2.networks import Network
from .precision import Precision, checked_runtime, has_openvino

logger = logging.getLogger(__name__)

FOLDER = "openvino"
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.06}  # relative to the largest value of a map
_HINT = {torch.float32: "f32", torch.bfloat16: "bf16"}
_RUNS = 3
_POLL_MS = 10

Pause = Callable[[], object]


class Encoder(Protocol):
    """An image encoder: from frames to features."""

    def __call__(self, frames: Tensor, pause: Pause | None = None) -> ImageFeatures:
        """(N, 3, S, S) float32 frames -> float32 features."""
        ...


@dataclass(frozen=True)
class Findings:
    """The results of preparing a network for a processor.

    Args:
        error: largest difference from torch in float32, relative to the largest value of a map.
        torch_ms, openvino_ms: median time of one frame.
        used: whether it is close enough and faster.
    """

    error: float
    torch_ms: float
    openvino_ms: float
    used: bool


class ChosenEncoder:
    """The encoder of a network in the runtime that was chosen for it.

    Args:
        plain: by torch.
        model: in float32, on the CPU.
        precision: From :func:`~.precision.choose`.
    """

    def __init__(self, plain: Encoder, model: Network, precision: Precision) -> None:
        self._plain, self._model, self._precision = plain, model, precision
        self._chosen: dict[int, Encoder] = {}

    def __call__(self, frames: Tensor, pause: Pause | None = None) -> ImageFeatures:
        """(N, 3, S, S) float32 frames -> float32 features; `pause` is called every few ms and may raise."""
        side = frames.shape[-1]
        if side not in self._chosen:
            self._chosen[side] = self._choose(side)
        return self._chosen[side](frames, pause)

    def _choose(self, side: int) -> Encoder:
        try:
            network = PreparedNetwork.of(self._model, self._precision, side)
            findings = network.findings()
            if findings is None and self._precision.runtime == "openvino":
                findings = network.prepare(self._plain)
            if findings is None or not findings.used:
                return self._plain
            return network.encoder()
        except (MedSAMError, OSError, RuntimeError) as error:
            reason = first_line(error)
            logger.warning("OpenVINO is not used for %s: %s", self._model.config.name, reason)
            return self._plain


@dataclass(frozen=True, eq=False)
class PreparedNetwork:
    """An image encoder as OpenVINO knows it, in the cache folder.

    Args:
        model: in float32, on the CPU.
        precision: says how numbers are held.
        side: of the frames, in pixels.
        folder: where its files lie.
    """

    model: Network
    precision: Precision
    side: int
    folder: Path

    @classmethod
    def of(cls, model: Network, precision: Precision, side: int) -> PreparedNetwork:
        """The place of a network, by its weights, the frames' size, the numbers, the processor and the versions."""
        words = (
            model.config.name,
            _hash_of(model),
            side,
            precision.dtype,
            _processor(),
            _version(),
            torch.__version__,
        )
        digest = hashlib.sha256("\n".join(map(str, words)).encode()).hexdigest()[:32]
        return cls(model, precision, side, cache_folder() / FOLDER / digest)

    def findings(self) -> Findings | None:
        """The results of preparing it; None = it was not prepared."""
        try:
            return Findings(**json.loads((self.folder / "findings.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def prepare(self, plain: Encoder) -> Findings:
        """Export the network, compare it with torch and time both; takes some seconds, once.

        Args:
            plain: the encoder by torch that it may replace.

        Raises:
            MedSAMError: If OpenVINO is not there, or it cannot read the network.
            OSError: If the cache folder cannot be written.
        """
        checked_runtime("openvino")
        logger.info("Preparing %s for this processor, which is done only once.", self.model.config.name)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=self.folder.parent))
        try:
            self._export(making / "encoder.xml")
            findings = self._compared(plain, OpenVINOEncoder(_compiled(making, self.precision.dtype)))
            (making / "findings.json").write_text(json.dumps(asdict(findings), indent=1), encoding="utf-8")
            shutil.rmtree(self.folder, ignore_errors=True)
            os.replace(making, self.folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
        return findings

    def encoder(self) -> Encoder:
        """The compiled encoder.

        Raises:
            RuntimeError: If its files cannot be read.
        """
        return OpenVINOEncoder(_compiled(self.folder, self.precision.dtype))

    def _export(self, path: Path) -> None:
        openvino = _openvino()
        example = torch.zeros(1, 3, self.side, self.side)
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # deprecations within torch and OpenVINO
                graph = openvino.convert_model(torch.export.export(_Maps(self.model).eval(), (example,)))
        except (RuntimeError, TypeError, ValueError) as error:
            reason = first_line(error)
            raise CheckpointError(f"OpenVINO cannot read {self.model.config.name}: {reason}") from error
        openvino.save_model(graph, path, compress_to_fp16=False)

    def _compared(self, plain: Encoder, compiled: Encoder) -> Findings:
        frames = torch.randn(1, 3, self.side, self.side, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            truth = _features(_Maps(self.model)(frames))
        found = compiled(frames)
        error = max(
            float((ours - theirs).abs().max() / theirs.abs().max())
            for ours, theirs in zip(found, truth, strict=True)
            if theirs.numel()
        )
        torch_ms, openvino_ms = _median_ms(plain, frames), _median_ms(compiled, frames)
        used = error <= _TOLERANCE[self.precision.dtype] and openvino_ms < torch_ms
        return Findings(error, round(torch_ms, 1), round(openvino_ms, 1), used)


class OpenVINOEncoder:
    """Features by a compiled network, one frame after the other.

    Args:
        network: `openvino.CompiledModel`, (1, 3, S, S) -> one map or three.
    """

    def __init__(self, network: Any) -> None:
        self._network = network

    def __call__(self, frames: Tensor, pause: Pause | None = None) -> ImageFeatures:
        """(N, 3, S, S) float32 frames -> float32 features; `pause` is called every few ms and may raise."""
        found = [self._maps(frame[None], pause) for frame in frames]
        return _features([torch.cat(parts) for parts in zip(*found, strict=True)])

    def _maps(self, frame: Tensor, pause: Pause | None) -> list[Tensor]:
        request = self._network.create_infer_request()  # one each, since several threads may ask
        request.start_async([frame.contiguous().numpy()])
        try:
            while not request.wait_for(_POLL_MS):
                if pause is not None:
                    pause()
        except BaseException:
            request.cancel()
            with contextlib.suppress(RuntimeError):  # by which OpenVINO says that it was canceled in time
                request.wait()
            raise
        return [torch.from_numpy(output.data.copy()) for output in request.output_tensors]


class _Maps(nn.Module):
    """The image encoder alone, with maps as its outputs."""

    def __init__(self, model: Network) -> None:
        super().__init__()
        self._model = model

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        found = self._model.encode_image(frames)
        return (found,) if isinstance(found, Tensor) else tuple(part for part in found if part.numel())


def _features(maps: Sequence[Tensor]) -> ImageFeatures:
    """One map alone, or three, as features."""
    return ImageFeatures(*maps) if len(maps) == 3 else ImageFeatures.alone(maps[0])


def can_be_compiled(model: Network) -> bool:
    """Return whether a network can be handed to OpenVINO: any that has no adapters in it."""
    return has_openvino() and not adapters_of(model)


@functools.lru_cache(maxsize=4)
def _read(folder: Path, stamp: int, dtype: torch.dtype, threads: int) -> Any:
    openvino = _openvino()
    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": _HINT[dtype],
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    return core.compile_model(core.read_model(folder / "encoder.xml"), "CPU", settings)


def _compiled(folder: Path, dtype: torch.dtype) -> Any:
    """The network in a folder, compiled for as many threads as torch uses now."""
    stamp = (folder / "encoder.xml").stat().st_mtime_ns
    return _read(folder, stamp, dtype, torch.get_num_threads())


def _median_ms(encoder: Encoder, frames: Tensor) -> float:
    encoder(frames)
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        encoder(frames)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


_hashes: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()


def _hash_of(model: Network) -> str:
    """The hash of a network's weights, computed once for each network."""
    if model not in _hashes:
        _hashes[model] = base_hash(model)
    return _hashes[model]


@functools.cache
def _processor() -> str:
    """The name of the processor; the same name stands for the same instructions."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - a file of the kernel
            found = [line.strip() for line in lines if line.startswith(("model name", "flags"))][:2]
        return "\n".join(found)
    except OSError:
        return platform.processor() or platform.machine()


def _version() -> str:
    return importlib.metadata.version("openvino")


def _openvino() -> Any:
    """The package, imported without its reporter of usage: nothing is found to anybody about this computer."""
    reporter = "openvino_telemetry"
    with _importing:
        before = sys.modules.get(reporter, _MISSING)
        # With None the import fails, and OpenVINO takes its own stub instead.
        sys.modules[reporter] = None  # type: ignore[assignment]
        try:
            return importlib.import_module("openvino")
        finally:
            if before is _MISSING:
                del sys.modules[reporter]
            else:
                sys.modules[reporter] = before


_importing = threading.Lock()
_MISSING: Any = object()
