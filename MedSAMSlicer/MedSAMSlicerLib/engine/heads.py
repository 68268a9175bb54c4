"""The findings of trained heads: first prompts on a slice, organs in a volume, a mask finer than the network's own.

The heads are those of :mod:`..sam2.heads`, trained by the user; all of them read what the segmenter's network computes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..core.errors import MedSAMError, PromptError
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.prompts import ObjectPrompts, SliceRef, box_from_voxels
from ..sam2.heads import ImplicitHead, PatchHead, VolumeHead
from ..sam2.model import SAM2
from .cleanup import components
from .propagate import Cancel, Progress, stop_if
from .segmenter import VolumeSegmenter
from .slice_mask import SliceMask
from .view import FrameView

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

STACK, OVERLAP = 16, 4
"""Slices that a volume head sees at once, and how many of them two stacks share."""

_BAND = 2  # voxels


@dataclass(frozen=True)
class Suggestion:
    """A prompt that a patch head makes by itself.

    Attributes:
        box: first column and row, and those beyond the last, of what was found.
        point: column and row of its most certain place, a first click.
        certainty: mean probability of its places, 0..1.
        area: in pixels of the slice.
    """

    box: tuple[int, int, int, int]
    point: tuple[int, int]
    certainty: float
    area: int


def suggested_prompts(
    segmenter: VolumeSegmenter, head: PatchHead, index: int, axis: SliceAxis = SliceAxis.K
) -> list[Suggestion]:
    """The prompts that a patch head suggests on a slice, the most conspicuous (large and certain) first.

    Raises:
        PromptError: If there is no such slice.
    """
    count = segmenter.geometry.slice_count(axis)
    if not 0 <= index < count:
        raise PromptError(
            f"Slice {index} does not exist: axis {axis.name.lower()} has slices 0 to {count - 1}."
        )
    with segmenter.settings(), torch.inference_mode():
        cells = head(features_of(segmenter, index, axis))[0, 0].float().cpu().numpy()
    logits = segmenter.whole(axis).mask_from_logits(cells)
    labels, parts = components(logits > 0)
    found = []
    for number in range(1, parts + 1):
        rows, columns = np.nonzero(labels == number)
        values = logits[rows, columns]
        best = int(values.argmax())
        box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
        certainty = float((1 / (1 + np.exp(-values))).mean())
        found.append(Suggestion(box, (int(columns[best]), int(rows[best])), certainty, len(rows)))
    return sorted(found, key=lambda each: -each.certainty * each.area**0.5)


def segment_organs(
    segmenter: VolumeSegmenter,
    head: VolumeHead,
    axis: SliceAxis = SliceAxis.K,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> dict[str, BoolArray]:
    """The organs that a volume head was trained on, by name: (K, J, I) bool, without a prompt.

    Stacks of `STACK` slices are drawn one after another; where two overlap, their mean counts.

    Raises:
        Canceled: If `cancel()` became true.
    """
    count, whole = segmenter.geometry.slice_count(axis), segmenter.whole(axis)
    masks = {name: np.zeros(segmenter.geometry.shape, np.bool_) for name in head.config.classes}
    along = {name: np.moveaxis(mask, int(axis), 0) for name, mask in masks.items()}
    waiting: dict[int, tuple[Tensor, int]] = {}
    with segmenter.settings(), torch.inference_mode():
        for start in range(0, max(1, count - OVERLAP), STACK - OVERLAP):
            indices = range(start, min(start + STACK, count))
            stack = []
            for index in indices:
                stop_if(cancel)
                stack.append(features_of(segmenter, index, axis))
                if progress is not None:
                    progress(index + 1, count, index)
            logits = head(torch.stack(stack, 2))[0].float()  # (1 + classes, D, S, S)
            for place, index in enumerate(indices):
                total, times = waiting.pop(index, (torch.zeros_like(logits[:, 0]), 0))
                waiting[index] = (total + logits[:, place], times + 1)
            beyond = start + STACK - OVERLAP if indices[-1] < count - 1 else count
            for index in [index for index in waiting if index < beyond]:
                total, times = waiting.pop(index)
                chosen = _labels(whole, (total / times).cpu().numpy())
                for number, slices in enumerate(along.values(), start=1):
                    slices[index] = chosen == number
    return masks


def finer_mask(
    segmenter: VolumeSegmenter,
    head: ImplicitHead,
    prompts: ObjectPrompts,
    index: int,
    axis: SliceAxis = SliceAxis.K,
    factor: int = 2,
) -> tuple[FloatArray, FloatArray]:
    """The mask that an object's prompts draw on one of their slices, at several times its resolution.

    Args:
        segmenter: without a volume stage.
        head: trained on its network.
        prompts, index, axis: as for a preview.
        factor: whole number, by which rows and columns are finer.

    Returns:
        Logits and how uncertain each place is, (rows * factor, columns * factor) float32 each.

    Raises:
        MedSAMError: If the factor is not 1 to 8, or the segmenter has a volume stage.
    """
    if not 1 <= factor <= 8:
        raise MedSAMError(f"A mask can be 1 to 8 times as fine, not {factor} times.")
    mask, pixels = with_pixels(segmenter, prompts, index, axis)
    low = torch.from_numpy(mask.low)[None, None].to(pixels.device)
    with segmenter.settings(), torch.inference_mode():
        found = head.drawn(pixels, low, factor)
    view = mask.view
    finer = replace(
        view,
        shape=(view.shape[0] * factor, view.shape[1] * factor),
        spacing=(view.spacing[0] / factor, view.spacing[1] / factor),
        left=view.left * factor,
        top=view.top * factor,
    )
    logits, apart = (finer.mask_from_logits(each.float().cpu().numpy()) for each in found)
    return logits, np.maximum(apart, 0)


def finer_volume(
    segmenter: VolumeSegmenter,
    head: ImplicitHead,
    mask: BoolArray,
    axis: SliceAxis = SliceAxis.K,
    factor: int = 2,
    progress: Progress | None = None,
) -> BoolArray:
    """A mask of a volume with the outlines that an implicit head draws in the box of the mask on each slice.

    Only what lies within `_BAND` voxels of the outline can change, so that corrections stay what they are.

    Args:
        segmenter, head, axis, factor, progress: as for :func:`finer_mask`.
        mask: (K, J, I) bool.

    Returns:
        The mask on the grid of :func:`finer_geometry`, bool.
    """
    shape = finer_geometry(segmenter.geometry, axis, factor).shape
    result = np.zeros(shape, np.bool_)
    finer, planes = np.moveaxis(result, int(axis), 0), np.moveaxis(mask, int(axis), 0)
    filled = np.flatnonzero(planes.reshape(len(planes), -1).any(1)).tolist()
    for done, index in enumerate(filled, start=1):
        plane = np.asarray(planes[index])
        rows, columns = np.nonzero(plane)
        sides = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
        box = box_from_voxels(segmenter.geometry, SliceRef(axis, index), *sides)
        prompts = ObjectPrompts("object", (1.0, 0.0, 0.0), (box,))
        logits, _ = finer_mask(segmenter, head, prompts, index, axis, factor)
        near, inside = (_enlarged(each, factor) for each in (_grown(plane), ~_grown(~plane)))
        finer[index] = inside | (near & (logits > 0))
        if progress is not None:
            progress(done, len(filled), index)
    return result


def part_shared(
    finer: Mapping[str, BoolArray], masks: Mapping[str, BoolArray], axis: SliceAxis, factor: int
) -> None:
    """Give each voxel that several finer masks have to one of them, in place.

    It is the one whose mask of the volume has the voxel around it, or else the first.

    Args:
        finer: of :func:`finer_volume`, by name.
        masks: (K, J, I) bool of the same names, none of which share a voxel.
        axis, factor: as for :func:`finer_volume`.
    """
    for one, other in combinations(finer, 2):
        shared = finer[one] & finer[other]
        if shared.any():
            own = masks[other].repeat(factor, axis.row_axis).repeat(factor, axis.column_axis)
            finer[one][shared & own] = False
            finer[other][shared & ~own] = False


def finer_geometry(geometry: VolumeGeometry, axis: SliceAxis, factor: int) -> VolumeGeometry:
    """The grid whose slices across an axis have `factor` times as many rows and columns, at the same place."""
    shape, matrix = list(geometry.shape), np.array(geometry.ijk_to_ras)
    for array_axis in (axis.row_axis, axis.column_axis):
        shape[array_axis] *= factor
        column = 2 - array_axis  # of i, j, k
        matrix[:, column] /= factor
        matrix[:3, 3] -= matrix[:3, column] * (factor - 1) / 2
    return VolumeGeometry((shape[0], shape[1], shape[2]), matrix)


def _grown(plane: BoolArray) -> BoolArray:
    """A mask (rows, columns) with all that lies within `_BAND` of it."""
    padded = np.pad(plane, _BAND)
    shifts = [range(2 * _BAND + 1)] * 2
    rows, columns = plane.shape
    parts = [padded[y : y + rows, x : x + columns] for y, x in product(*shifts)]
    return np.asarray(np.logical_or.reduce(parts))


def _enlarged(plane: BoolArray, factor: int) -> BoolArray:
    return plane.repeat(factor, 0).repeat(factor, 1)


def with_pixels(
    segmenter: VolumeSegmenter, prompts: ObjectPrompts, index: int, axis: SliceAxis
) -> tuple[SliceMask, Tensor]:
    """The mask that prompts draw on a slice, and the decoder's last map (1, C, 4h, 4w) that it was drawn from."""
    if segmenter.looks_at_volumes:
        raise MedSAMError(
            "A finer mask is drawn without the volume stage: create the segmenter with volume_stage='off'."
        )
    with _last_maps(segmenter) as maps:
        mask = segmenter.live(axis).preview(prompts, index)
    return mask, maps[-1].detach().float()


def features_of(segmenter: VolumeSegmenter, index: int, axis: SliceAxis) -> Tensor:
    """(1, C, h, w) float32, the features of a whole slice."""
    return segmenter.network(axis).store.get(index, segmenter.whole(axis)).top


@contextmanager
def _last_maps(segmenter: VolumeSegmenter) -> Iterator[list[Tensor]]:
    model = segmenter.model
    decoder = model.sam_mask_decoder if isinstance(model, SAM2) else model.mask_decoder
    maps: list[Tensor] = []
    hook = decoder.output_upscaling[-1].register_forward_hook(lambda _, __, output: maps.append(output))
    try:
        yield maps
    finally:
        hook.remove()


def _labels(whole: FrameView, logits: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
    """(classes, S, S) of a frame -> the number of the likeliest class of each voxel of the slice, (rows, columns)."""
    return np.asarray(np.stack([whole.mask_from_logits(each) for each in logits]).argmax(0))
