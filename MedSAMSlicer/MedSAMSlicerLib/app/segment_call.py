"""Segmenting an array in one blocking call; same engine and same rules as the panel.

box = box_from_voxels(geometry, SliceRef(SliceAxis.K, 40), 100, 120, 180, 210)
done = segment_array(array, geometry, [box])              # or a PromptSet, or the path of a prompts file
mask = volume_of(done.masks["Segment"], done.prompts.axis, geometry.shape)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from ..core.cleanups import Cleanup
from ..core.errors import Canceled, MedSAMError, ObjectError, PromptError
from ..core.geometry import VolumeGeometry
from ..core.intensity import Window
from ..core.masks import PackedMask
from ..core.prompts import ObjectPrompts, Prompt, PromptSet
from ..core.translation import tr as _
from ..models.registry import BUNDLED_ID
from .engine_state import Engine, NetworkChoice
from .jobs import (
    CleanJob,
    ObjectToRun,
    PrepareJob,
    PropagateJob,
    SliceFound,
    SlicesDone,
    SlicesGone,
    WindowJob,
    engine_name,
    load_prompts,
)
from .worker import Job, Worker

# Union, since Python 3.10 is served and an alias is evaluated.
PromptsLike = Union[PromptSet, str, Path, Sequence[Prompt]]  # noqa: UP007

logger = logging.getLogger(__name__)

_COLOR = (0.5, 0.8, 0.3)
_WAIT_SECONDS = 0.05


@dataclass(frozen=True)
class SegmentedArray:
    """The result of `segment_array`.

    Attributes:
        masks: by the name of the object, then by slice index.
        confidences: by that name, then by slice index, 0..1.
        prompts: what was segmented, with window, checkpoint and tier: all that is needed to repeat it.
    """

    masks: dict[str, dict[int, PackedMask]]
    confidences: dict[str, dict[int, float]]
    prompts: PromptSet


def segment_array(
    array: npt.NDArray[np.generic],
    geometry: VolumeGeometry,
    prompts: PromptsLike,
    *,
    modality: str | None = None,
    window: str | Window | None = None,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    tier: str | None = None,
    cleanup: Cleanup | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> SegmentedArray:
    """Segment everything that the prompts name; returns when it is done.

    Args:
        array: gray values, (K, J, I); never changed.
        geometry: where its voxels lie.
        prompts: a PromptSet, the path of a prompts file, or prompts of one object, which is then named "Segment".
        modality: DICOM's, such as "CT", if it is known.
        window: as in `core.intensity.choose_window`, or a Window; None = that of the prompts, else "auto".
        checkpoint: id or file; None = that of the prompts, else the bundled one.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        tier: "exact", "balanced" or "fast"; None = that of the prompts, else chosen by the device.
        cleanup: of every mask; None = that of the prompts.
        progress: called as progress(slices done, slices in all).
        cancel: returns True once it is to stop; Canceled is raised then.

    Raises:
        MedSAMError: In one sentence what is wrong with prompts, network or memory.
    """
    prompt_set = _prompt_set(prompts, geometry)
    with closing(_Runner(cancel)) as runner:
        chosen = window if window is not None else prompt_set.window or "auto"
        choosing = WindowJob(array, chosen, modality)
        [used] = runner.run(choosing)
        for sentence in choosing.notes:
            logger.warning("%s", sentence)
        named = checkpoint if checkpoint is not None else prompt_set.checkpoint_id or BUNDLED_ID
        sha256 = prompt_set.checkpoint_sha256 if checkpoint is None else None
        choice = NetworkChoice(str(named), sha256, device, tier or prompt_set.tier)
        [ready] = runner.run(PrepareJob(array, geometry, used, choice))
        prompt_set = replace(
            prompt_set,
            window=used,
            checkpoint_id=ready.checkpoint_id,
            checkpoint_sha256=ready.sha256,
            tier=ready.tier,
        )
        masks, confidences = _propagated(runner, prompt_set, progress)
        wanted = Cleanup.from_prompt_set(prompt_set.cleanup) if cleanup is None else cleanup
        if wanted.is_on:
            for number, obj in enumerate(prompt_set.objects):
                keys = frozenset(prompt.slice.index for prompt in obj.prompts)
                job = CleanJob(geometry, prompt_set.axis, masks[number], keys, frozenset(), wanted)
                for changed in runner.run(job):
                    masks[number].update(changed)
    names = [obj.name for obj in prompt_set.objects]
    return SegmentedArray(
        dict(zip(names, masks, strict=True)), dict(zip(names, confidences, strict=True)), prompt_set
    )


def _prompt_set(prompts: PromptsLike, geometry: VolumeGeometry) -> PromptSet:
    if isinstance(prompts, (str, Path)):
        prompts = load_prompts(Path(prompts), geometry)
    if not isinstance(prompts, PromptSet):
        listed = tuple(prompts)
        if not listed:
            raise PromptError(_("There are no prompts: add a point, a box, a line or a mask."))
        prompts = PromptSet(geometry, listed[0].slice.axis, (ObjectPrompts("Segment", _COLOR, listed),))
    if prompts.geometry != geometry:
        raise PromptError(_("The prompts belong to another volume."))
    if not any(obj.prompts for obj in prompts.objects):
        raise PromptError(_("There are no prompts: add a point, a box, a line or a mask."))
    return replace(prompts, objects=tuple(obj for obj in prompts.objects if obj.prompts))


def _propagated(
    runner: _Runner, prompt_set: PromptSet, progress: Callable[[int, int], None] | None
) -> tuple[list[dict[int, PackedMask]], list[dict[int, float]]]:
    """Masks and confidences by slice, for each object."""
    masks: list[dict[int, PackedMask]] = [{} for _entry in prompt_set.objects]
    confidences: list[dict[int, float]] = [{} for _entry in prompt_set.objects]
    objects = tuple(
        ObjectToRun(number, prompt_set.axis, obj) for number, obj in enumerate(prompt_set.objects)
    )
    empty: npt.NDArray[np.bool_] = np.zeros(prompt_set.geometry.slice_shape(prompt_set.axis), np.bool_)

    def take(value: Any) -> None:
        if isinstance(value, SliceFound):
            masks[value.object_id][value.index] = PackedMask.from_array(value.mask)
            if value.confidence is not None:
                confidences[value.object_id][value.index] = value.confidence
        elif isinstance(value, SlicesGone):
            masks[value.object_id].update((index, PackedMask.from_array(empty)) for index in value.indices)
        elif isinstance(value, SlicesDone) and progress is not None:
            progress(value.done, value.total)

    runner.run(
        PropagateJob(objects), take, {number: obj.name for number, obj in enumerate(prompt_set.objects)}
    )
    return masks, confidences


class _Runner:
    """Runs one job after the other and waits for each."""

    def __init__(self, cancel: Callable[[], bool] | None) -> None:
        self._worker, self._cancel = Worker(Engine), cancel

    def run(
        self, job: Job, take: Callable[[Any], None] | None = None, names: dict[int, str] | None = None
    ) -> list[Any]:
        """Return what the job brought; its error is raised, with objects by their names."""
        results: list[Any] = []
        errors: list[MedSAMError] = []

        def end(error: MedSAMError | None) -> None:
            if error is not None:
                errors.append(error)

        ticket = self._worker.submit(job, take or results.append, end)
        while self._worker.busy:
            self._worker.dispatch(_WAIT_SECONDS)
            if self._cancel is not None and not ticket.canceled.is_set() and self._cancel():
                self._worker.cancel(ticket)
        if errors:
            error = errors[0]
            if isinstance(error, ObjectError):
                known = {engine_name(number): name for number, name in (names or {}).items()}
                raise error.named(known.get(error.object_name, error.object_name))
            raise Canceled(_("The segmentation was canceled.")) if isinstance(error, Canceled) else error
        return results

    def close(self) -> None:
        """End the thread."""
        self._worker.close()
