"""Segmenting in one blocking call, for notebooks and batches; same engine and same rules as the panel.

from MedSAMSlicerLib.core.prompts import SliceRef, box_from_voxels
from MedSAMSlicerLib.scene.nodes import volume_geometry

volume = slicer.util.getNode("CT")
box = box_from_voxels(volume_geometry(volume), SliceRef(SliceAxis.K, 40), 100, 120, 180, 210)
done = logic.segment(volume, [box])                       # or a PromptSet, or the path of a prompts file
array = slicer.util.arrayFromSegmentBinaryLabelmap(done.segmentation_node, done.segment_ids["Segment"], volume)
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
from ..core.errors import Cancelled, MedSAMError, PromptError
from ..core.geometry import VolumeGeometry
from ..core.intensity import Window
from ..core.masks import PackedMask
from ..core.prompts import ObjectPrompts, Prompt, PromptSet
from ..core.translation import tr as _
from ..models.registry import BUNDLED_ID
from ..scene.nodes import check_usable, volume_array, volume_geometry
from ..scene.segments import SegmentMasks, create_segmentation
from .engine_state import Engine, NetworkChoice
from .jobs import (
    Advance,
    CleanJob,
    ObjectToRun,
    PrepareJob,
    PropagateJob,
    SliceFound,
    SlicesGone,
    WindowJob,
    load_prompts,
)
from .prompt_files import Names
from .worker import Job, Worker

# Union, since Python 3.10 is served and an alias is evaluated.
PromptsLike = Union[PromptSet, str, Path, Sequence[Prompt]]  # noqa: UP007

logger = logging.getLogger(__name__)

_COLOR = (0.5, 0.8, 0.3)
_WAIT_SECONDS = 0.05


@dataclass(frozen=True)
class SegmentCallResult:
    """What `segment` made.

    Attributes:
        segmentation_node: that holds the masks.
        segment_ids: by the name of the object in the prompts.
        confidences: by that name, then by slice index, 0..1.
        prompts: what was segmented, with window, checkpoint and tier: all that is needed to repeat it.
    """

    segmentation_node: Any
    segment_ids: dict[str, str]
    confidences: dict[str, dict[int, float]]
    prompts: PromptSet


def segment(
    volume_node: Any,
    prompts: PromptsLike,
    segmentation_node: Any | None = None,
    *,
    window: str | Window | None = None,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    tier: str | None = None,
    overlap: str = "none",
    cleanup: Cleanup | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> SegmentCallResult:
    """Segment everything that the prompts name; returns when it is done.

    Args:
        volume_node: a scalar volume; never changed.
        prompts: a PromptSet, the path of a prompts file, or prompts of one object, which is then named "Segment".
        segmentation_node: takes the masks as new segments; None = a new segmentation.
        window: as in `core.intensity.choose_window`, or a Window; None = that of the prompts, else "auto".
        checkpoint: id or file; None = that of the prompts, else the bundled one.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        tier: "exact", "balanced" or "fast"; None = that of the prompts, else chosen by the device.
        overlap: whose voxels a mask may take: "none", "visible" or "all"; locked segments keep theirs.
        cleanup: of every mask; None = that of the prompts.
        progress: called as progress(slices done, slices in all).
        cancel: returns True once it is to stop; Cancelled is raised then and nothing is left in the scene.

    Raises:
        MedSAMError: In one sentence what is wrong with volume, prompts, network or memory.
    """
    check_usable(volume_node)
    geometry, array = volume_geometry(volume_node), volume_array(volume_node)
    prompt_set = _prompt_set(prompts, geometry)
    with closing(_Runner(cancel)) as runner:
        chosen = window if window is not None else prompt_set.window or "auto"
        choosing = WindowJob(array, chosen, volume_node.GetAttribute("DICOM.Modality"))
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
    return _written(volume_node, segmentation_node, prompt_set, masks, confidences, overlap)


def _prompt_set(prompts: PromptsLike, geometry: VolumeGeometry) -> PromptSet:
    if isinstance(prompts, (str, Path)):
        prompts = load_prompts(Path(prompts), geometry)
    if not isinstance(prompts, PromptSet):
        listed = tuple(prompts)
        if not listed:
            raise PromptError(_("There are no prompts: give a point, a box, a line or a mask."))
        prompts = PromptSet(geometry, listed[0].slice.axis, (ObjectPrompts("Segment", _COLOR, listed),))
    if prompts.geometry != geometry:
        raise PromptError(_("The prompts were given on another volume."))
    if not any(obj.prompts for obj in prompts.objects):
        raise PromptError(_("There are no prompts: give a point, a box, a line or a mask."))
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
        elif isinstance(value, Advance) and progress is not None:
            progress(value.done, value.total)

    runner.run(
        PropagateJob(objects), take, {number: obj.name for number, obj in enumerate(prompt_set.objects)}
    )
    return masks, confidences


def _written(
    volume_node: Any,
    segmentation_node: Any | None,
    prompt_set: PromptSet,
    masks: list[dict[int, PackedMask]],
    confidences: list[dict[int, float]],
    overlap: str,
) -> SegmentCallResult:
    node = segmentation_node or create_segmentation(volume_node.GetScene(), volume_node)
    segments = SegmentMasks(node, volume_node)
    try:
        names = Names(tuple(segments.name(each) for each in segments.segment_ids()))
        ids: dict[str, str] = {}
        with segments.streaming():
            for obj, slices in zip(prompt_set.objects, masks, strict=True):
                ids[obj.name] = segments.add(names.next(obj.name), obj.color)
                arrays = {index: mask.to_array() for index, mask in slices.items() if not mask.is_empty}
                segments.write_slices(ids[obj.name], prompt_set.axis, arrays, overlap)
    finally:
        segments.close()
    found = {obj.name: values for obj, values in zip(prompt_set.objects, confidences, strict=True)}
    return SegmentCallResult(node, ids, found, prompt_set)


class _Runner:
    """Runs one job after the other and waits for each."""

    def __init__(self, cancel: Callable[[], bool] | None) -> None:
        self._worker, self._cancel = Worker(Engine), cancel

    def run(
        self, job: Job, take: Callable[[Any], None] | None = None, names: dict[int, str] | None = None
    ) -> list[Any]:
        """What the job brought; its error is raised, with objects by their names."""
        results: list[Any] = []
        errors: list[MedSAMError] = []

        def end(error: MedSAMError | None) -> None:
            if error is not None:
                errors.append(error)

        ticket = self._worker.submit(job, take or results.append, end)
        while self._worker.busy:
            self._worker.dispatch(_WAIT_SECONDS)
            if self._cancel is not None and not ticket.cancelled.is_set() and self._cancel():
                self._worker.cancel(ticket)
        if errors:
            text = str(errors[0])
            for number, name in (names or {}).items():
                text = text.replace(repr(f"object-{number}"), repr(name))
            kind = type(errors[0])
            raise Cancelled(_("The segmentation was cancelled.")) if kind is Cancelled else kind(text)
        return results

    def close(self) -> None:
        """End the thread."""
        self._worker.close()
