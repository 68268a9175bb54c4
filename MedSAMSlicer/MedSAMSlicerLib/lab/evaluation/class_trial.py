"""A trial of all labels of a case at once: one runner in one protocol, masks that exclude each other.

A voxel that several labels claim goes to the one whose runner is surest of the slice, in doubt to the lower label. So
clicks for one label may change another one's mask, and all of them are scored after each round.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ...core.errors import MedSAMError
from ...core.prompts import ObjectPrompts, Prompt
from ...io.volumes import Volume
from .datasets import BoolVolume, Target
from .measurement import Measurement, Step
from .peak_memory import ProcessMemory
from .protocol import PromptProtocol
from .runners import Ask, Request, Runner, RunnerAnswer, begin_many
from .scores import scores_by_slice, step_of
from .trial import COLOR, chance_of, dice_on, measurement_of

logger = logging.getLogger(__name__)

KeepClass = Callable[[int, int, BoolVolume], None]
"""Called as keep(number of the class, step, mask), in order."""


@dataclass
class _Class:
    """One label while it is measured."""

    target: Target
    ask: Ask
    given: list[Prompt]
    known: Measurement
    interactions: int
    answer: RunnerAnswer | None = None
    seconds: float = 0.0
    error: str | None = None
    peak: float | None = None
    steps: list[Step] = field(default_factory=list)


def run_class_trial(
    volume: Volume,
    targets: Sequence[Target],
    protocol: PromptProtocol,
    runner: Runner,
    seed: int,
    keep: KeepClass | None = None,
) -> list[Measurement]:
    """Let a runner segment all labels of a case, correct each as the protocol says, and score each step.

    Args:
        volume: of the case.
        targets: its labels, in ascending order.
        protocol, runner: the runner supports the protocol.
        seed: of what is left to chance.
        keep: is given every mask.

    Returns:
        A measurement for each label. Where the runner fails on one with a MedSAMError, its sentence and no steps; the
        mask of that label is empty, and the others go on.
    """
    firsts = [protocol.first(target, volume.geometry, chance_of(target, seed)) for target in targets]
    known = [
        measurement_of(target, protocol, runner, first) for target, first in zip(targets, firsts, strict=True)
    ]
    try:
        asks = begin_many(runner, volume, targets[0].axis, len(targets))
    except MedSAMError as error:
        logger.info("%s failed on %s: %s", runner.name, targets[0].case.name, error)
        return [replace(each, error=str(error)) for each in known]
    classes = [
        _Class(target, ask, [*first], about, protocol.first_interactions(target, first))
        for target, ask, first, about in zip(targets, asks, firsts, known, strict=True)
    ]
    corrections = protocol.corrections if runner.corrects(protocol) else 0
    asked = [each for each in classes if each.given]
    for number in range(corrections + 1):
        for each in classes:
            each.seconds = 0.0
        for each in asked:
            _answer(each, volume, protocol, runner)
        masks = exclusive([each.answer for each in classes], volume.geometry.shape)
        for place, (each, mask) in enumerate(zip(classes, masks, strict=True)):
            _score(each, mask, volume)
            if keep is not None:
                keep(place, number, mask)
        if number == corrections:
            break
        asked = [
            each
            for each, mask in zip(classes, masks, strict=True)
            if each.error is None and _correct(each, mask, volume, protocol, number + 1)
        ]
        if not asked:
            break
    return [_measurement(each) for each in classes]


def exclusive(answers: Sequence[RunnerAnswer | None], shape: tuple[int, int, int]) -> list[BoolVolume]:
    """The masks of all labels, (K, J, I) bool, none of which share a voxel.

    Args:
        answers: in ascending order of the labels; None = nothing is known of that label.
        shape: (K, J, I) of the volume.
    """
    owner = np.full(shape, -1, np.int32)
    surest = np.full(shape, -np.inf, np.float32)
    for number, answer in enumerate(answers):
        if answer is None:
            continue
        estimates = np.zeros((shape[0], 1, 1), np.float32)
        for index, estimate in answer.confidence.items():
            estimates[index] = estimate
        claimed = answer.mask & (estimates > surest)
        owner[claimed] = number
        surest = np.where(claimed, estimates, surest)
    return [owner == number for number in range(len(answers))]


def _answer(each: _Class, volume: Volume, protocol: PromptProtocol, runner: Runner) -> None:
    """Ask for one label."""
    target, memory = each.target, ProcessMemory()
    slice_range = protocol.slice_range(target)
    memory.begin()
    try:
        answer = each.ask(
            Request(ObjectPrompts(target.name, COLOR, tuple(each.given), slice_range), protocol)
        )
    except MedSAMError as error:
        logger.info("%s failed on %s, %s: %s", runner.name, target.case.name, target.name, error)
        each.answer, each.error = None, str(error)
        return
    memory.end()
    if each.answer is None:
        each.known = replace(each.known, first_seconds=round(answer.first_seconds, 4))
    each.answer, each.seconds = answer, answer.seconds
    grown = memory.growth_mb() if answer.peak_mb is None else answer.peak_mb
    each.peak = max((mb for mb in (each.peak, grown) if mb is not None), default=None)


def _score(each: _Class, mask: BoolVolume, volume: Volume) -> None:
    target = each.target
    if not each.steps:
        prompted = each.known.prompted_slices
        each.known = replace(
            each.known,
            slices=scores_by_slice(mask, target.mask, target.axis),
            prompted_dice=dice_on(target, mask, prompted[0]) if prompted else 0.0,
        )
    each.steps.append(step_of(mask, target, volume.geometry.spacing, each.interactions, each.seconds))


def _correct(each: _Class, mask: BoolVolume, volume: Volume, protocol: PromptProtocol, round: int) -> bool:
    """Give the next correction; False when nothing is wrong any more."""
    more = protocol.next_correction(each.target, mask, volume.geometry, each.given, round)
    if more is None:
        return False
    each.given += more.prompts
    each.interactions += 1
    return True


def _measurement(each: _Class) -> Measurement:
    if each.error is not None:
        return replace(
            each.known, slices=(), prompted_dice=0.0, first_seconds=None, steps=(), error=each.error
        )
    peak = None if each.peak is None else round(each.peak, 1)
    return replace(each.known, steps=tuple(each.steps), peak_mb=peak)
