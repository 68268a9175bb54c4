"""A trial: one runner on one target in one protocol, from the first prompts to the last correction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...core.errors import MedSAMError, PromptError
from ...core.metrics import dice
from ...core.prompts import ObjectPrompts, Prompt
from ...io.volumes import Volume
from .datasets import BoolVolume, Target
from .measurement import Measurement, Step
from .peak_memory import ProcessMemory
from .protocol import PromptProtocol
from .runners import Request, Runner, RunnerAnswer, begin_many
from .scores import scores_by_slice, step_of
from .simulated_user import plane_of

logger = logging.getLogger(__name__)

COLOR = (1.0, 0.8, 0.2)

Keep = Callable[[int, RunnerAnswer], None]
"""Called as keep(step, answer), in order."""


def is_measured(target: Target, protocol: PromptProtocol, runner: Runner) -> bool:
    """Return whether a runner is tried on a target in a protocol: both must fit."""
    return protocol.fits(target) and runner.supports(protocol)


def run_trial(
    volume: Volume,
    target: Target,
    protocol: PromptProtocol,
    runner: Runner,
    seed: int,
    keep: Keep | None = None,
) -> Measurement:
    """Let a runner segment a target, correct it as the protocol says, and score each step.

    Args:
        volume: the target's.
        target, protocol, runner: see :func:`is_measured`.
        seed: of what is left to chance; what comes of it depends on the target alone, not on what ran before.
        keep: is given every answer.

    Returns:
        All steps, or those before a correction that the runner refuses with a PromptError: the mask stays as it was.
        Where the runner fails with another MedSAMError, its sentence and no steps.

    Raises:
        MedSAMError: the surface metrics are not installed; see `scores.check_installed`.
    """
    first = protocol.first(target, volume.geometry, chance_of(target, seed))
    known = measurement_of(target, protocol, runner, first)
    steps: list[Step] = []
    peak: float | None = None
    rounds = _rounds(volume, target, protocol, runner, first)
    while True:
        try:
            round_ = next(rounds, None)
        except MedSAMError as error:
            whom = runner.name, target.case.name, target.name, error
            if not (steps and isinstance(error, PromptError)):
                logger.info("%s failed on %s, %s: %s", *whom)
                return replace(known, slices=(), prompted_dice=0.0, first_seconds=None, error=str(error))
            logger.info("%s refused a correction on %s, %s: %s", *whom)
            round_ = None
        if round_ is None:
            return replace(known, steps=tuple(steps), peak_mb=None if peak is None else round(peak, 1))
        answer, mask = round_.answer, round_.answer.mask
        if not steps:
            known = replace(
                known,
                slices=scores_by_slice(mask, target.mask, target.axis),
                prompted_dice=dice_on(target, mask, known.prompted_slices[0]),
                first_seconds=round(answer.first_seconds, 4),
            )
        spacing = volume.geometry.spacing
        steps.append(step_of(mask, target, spacing, round_.interactions, answer.seconds, round_.degrees))
        peak = max((mb for mb in (peak, round_.peak_mb) if mb is not None), default=None)
        if keep is not None:
            keep(len(steps) - 1, answer)


@dataclass(frozen=True, eq=False)
class _AnswerRound:
    """An answer, how many interactions led to it, MiB by which memory grew, and degrees of freedom of corrections."""

    answer: RunnerAnswer
    interactions: int
    peak_mb: float | None
    degrees: int | None


def _rounds(
    volume: Volume, target: Target, protocol: PromptProtocol, runner: Runner, first: Sequence[Prompt]
) -> Iterator[_AnswerRound]:
    """The answers to the first prompts and to each correction, until nothing is wrong or all were given."""
    corrections = protocol.corrections if runner.corrects(protocol) else 0
    given: list[Prompt] = [*first]
    interactions, degrees = protocol.first_interactions(target, first), None
    slice_range = protocol.slice_range(target)
    memory = ProcessMemory()
    objects = protocol.as_objects(first)
    asks = begin_many(runner, volume, target.axis, len(objects))
    for number in range(corrections + 1):
        memory.begin()
        answer = united(
            [
                ask(Request(ObjectPrompts(target.name, COLOR, tuple(prompts), slice_range), protocol))
                for ask, prompts in zip(asks, objects if len(objects) > 1 else [given], strict=True)
            ]
        )
        memory.end()
        peak_mb = memory.growth_mb() if answer.peak_mb is None else answer.peak_mb
        yield _AnswerRound(answer, interactions, peak_mb, degrees)
        if number == corrections:
            return
        more = protocol.next_correction(target, answer.mask, volume.geometry, given, number + 1)
        if more is None:
            return
        given += more.prompts
        interactions += 1
        degrees = None if more.degrees is None else (degrees or 0) + more.degrees


def united(answers: Sequence[RunnerAnswer]) -> RunnerAnswer:
    """The answers about several objects as one about all of them: seconds add up, the least certain object counts."""
    if len(answers) == 1:
        return answers[0]
    indices = {index for answer in answers for index in answer.confidence}
    peaks = [answer.peak_mb for answer in answers if answer.peak_mb is not None]
    return RunnerAnswer(
        np.any([answer.mask for answer in answers], axis=0),
        sum(answer.seconds for answer in answers),
        answers[0].first_seconds,
        {i: min(a.confidence[i] for a in answers if i in a.confidence) for i in sorted(indices)},
        max(peaks, default=None),
    )


def chance_of(target: Target, seed: int) -> list[int]:
    """The seed of what is left to chance on a target: it does not matter what was measured before."""
    return [seed, *target.case.name.encode(), 0, *target.name.encode()]


def measurement_of(
    target: Target, protocol: PromptProtocol, runner: Runner, first: Sequence[Prompt]
) -> Measurement:
    """The facts of a measurement that are known before the runner is asked."""
    return Measurement(
        case=target.case.name,
        target=target.name,
        modality=target.case.modality,
        kind=target.case.kind,
        series=target.case.is_series,
        runner=runner.name,
        protocol=protocol.name,
        voxels=int(np.count_nonzero(target.mask)),
        slice_range=target.slice_range,
        prompted_slices=tuple(sorted({prompt.slice.index for prompt in first})),
    )


def dice_on(target: Target, mask: BoolVolume, index: int) -> float:
    """Dice on one slice alone."""
    seen, truth = (plane_of(volume, target.axis, index)[None] for volume in (mask, target.mask))
    return round(float(dice(seen, truth)), 5)
