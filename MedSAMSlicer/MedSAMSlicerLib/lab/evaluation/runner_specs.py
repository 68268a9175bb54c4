"""The name of a runner, in a few words that can be sent to another process; built there once."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import CheckpointError, MedSAMError
from ...models.download import sha256_of
from ...models.registry import CheckpointFile

if TYPE_CHECKING:
    from ...sam2.networks import Network
    from .runners import Runner

ENGINE, SAM2_PACKAGE, TRANSFORMERS, OWN = "engine", "sam2", "transformers", "own"
NETWORKS = (ENGINE, SAM2_PACKAGE, TRANSFORMERS)
BASELINES = ("box", "ellipsoid", "GrowCut", "interpolation", "random walker")


@dataclass(frozen=True)
class RunnerSpec:
    """One runner.

    Args:
        kind: one of `NETWORKS`, of `BASELINES`, or "own".
        model: id of the checkpoint; of an own runner MODULE:FUNCTION, where the function takes nothing and returns it.
        file: the weights; at the same path on every machine that computes.
        config: name of the network, where the file does not say it.
        sha256: what the file must have.
        tier: of the engine; None = its own choice.
        device: where it runs, as torch calls it.
        threads: on the CPU; None = its own choice.
        volume_stage: of the engine; None = its own choice.
    """

    kind: str
    model: str | None = None
    file: str | None = None
    config: str | None = None
    sha256: str | None = None
    tier: str | None = None
    device: str = "cpu"
    threads: int | None = None
    volume_stage: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in (*NETWORKS, *BASELINES, OWN):
            raise MedSAMError(f"{self.kind!r} is no runner: {', '.join((*NETWORKS, *BASELINES, OWN))}.")

    @property
    def name(self) -> str:
        """In tables; an own runner has a name of its own once it is built."""
        if self.kind in BASELINES:
            return self.kind
        if self.kind == ENGINE:
            stage = None if self.volume_stage is None else f"volume stage {self.volume_stage}"
            return ", ".join(part for part in (self.model, self.tier, stage) if part)
        return f"{self.model}, {self.kind}" if self.kind in NETWORKS else str(self.model)


def network_spec(
    kind: str,
    file: CheckpointFile,
    *,
    tier: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    volume_stage: str | None = None,
) -> RunnerSpec:
    """A network of `NETWORKS` with the weights of a file."""
    checkpoint = file.checkpoint
    return RunnerSpec(
        kind,
        checkpoint.id,
        str(file.path),
        checkpoint.config,
        file.sha256,
        tier,
        device,
        threads,
        volume_stage,
    )


@cache
def build(spec: RunnerSpec) -> Runner:
    """The runner, the same one for the same words within a process.

    Raises:
        MedSAMError: a package is not installed, or the weights are not there or not those that were meant.
    """
    if spec.kind in BASELINES:
        return _baselines()[spec.kind]()
    if spec.kind == OWN:
        return _own(str(spec.model))
    model, about = _model(spec), {"checkpoint": spec.model, "sha256": spec.sha256}
    if spec.kind == ENGINE:
        from .runners import EngineRunner

        return EngineRunner(
            spec.name,
            model,
            about,
            tier=spec.tier,
            device=spec.device,
            threads=spec.threads,
            volume_stage=spec.volume_stage or "auto",
        )
    from ...sam2.model import SAM2
    from .official_runners import Sam2Runner, TransformersRunner

    if not isinstance(model, SAM2):
        raise MedSAMError(f"{spec.model} has no memory: the published video predictors cannot run it.")
    made = Sam2Runner if spec.kind == SAM2_PACKAGE else TransformersRunner
    return made(spec.name, model, about, device=spec.device, threads=spec.threads)


def forget_built() -> None:
    """Let go of all runners and their weights."""
    build.cache_clear()


def _baselines() -> dict[str, Callable[[], Runner]]:
    from .baselines import box_baseline, ellipsoid_baseline
    from .growcut import growcut_baseline
    from .interpolation import interpolation_baseline
    from .random_walker import random_walker_baseline

    makers = (
        box_baseline,
        ellipsoid_baseline,
        growcut_baseline,
        interpolation_baseline,
        random_walker_baseline,
    )
    return dict(zip(BASELINES, makers, strict=True))


def _own(function_name: str) -> Runner:
    module, _, function = function_name.partition(":")
    try:
        runner: Runner = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise MedSAMError(
            f"The runner {function_name!r} cannot be made ({error}); it is MODULE:FUNCTION of yours."
        ) from error
    return runner


def _model(spec: RunnerSpec) -> Network:
    from ...sam2.checkpoint import load_named

    path = Path(str(spec.file))
    if not path.is_file():
        raise CheckpointError(f"The weights {path} are not on this computer.")
    if spec.sha256 is not None and sha256_of(path) != spec.sha256:
        raise CheckpointError(
            f"The weights {path} are not those that were meant: their SHA-256 is another one."
        )
    return load_named(path, spec.config)
