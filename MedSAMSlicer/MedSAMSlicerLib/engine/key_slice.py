"""Key slices: what the network makes of the prompts on one slice, and how later slices remember it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..sam2.model import DecoderPrompts, MaskOutput
from .bank import MemoryBank, Recollection, SliceMemory
from .crop import CropPolicy, bounds_of, joined
from .network import PREVIOUS_LOGIT_LIMIT, SliceNetwork
from .slice_mask import SliceMask
from .slice_prompts import SlicePrompts, pixel_at
from .view import FrameView

_WIDE_STEPS = 5  # squares tried around a click, each half as wide as the one before
_REFINEMENTS = 2
_CERTAIN = 2.0  # logit
_DOUBT_OF_SMALLNESS = 0.05
_KEPT_VIEWS = 2  # memories kept of one key slice: one for each of the tracks beside it


@dataclass(frozen=True, eq=False)
class Prior:
    """The results on a slice before it is corrected.

    Args:
        view: what the network looked at.
        low: (4h, 4w) float32 mask logits in that view.
    """

    view: FrameView
    low: npt.NDArray[np.float32]


@dataclass(eq=False)
class KeySlice:
    """One prompted slice of one object.

    Args:
        index: the slice's.
        view: what the network looked at.
        whole: the view of the whole slice.
        low: (1, 1, 4h, 4w) mask logits in `view`.
        logits: (rows, columns) float32 of the slice.
        mask: (rows, columns) bool; the user's own where the user gave one.
        iou: the network's own estimate.
        object_score: (1,) logit.
        pointer: (1, C).
    """

    index: int
    view: FrameView
    whole: FrameView
    low: Tensor
    logits: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    iou: float
    object_score: Tensor
    pointer: Tensor
    _memories: dict[FrameView, SliceMemory] = field(default_factory=dict, repr=False)

    def memory(self, network: SliceNetwork, view: FrameView) -> SliceMemory:
        """The slice as remembered by slices that are seen through `view`; made again when the view is another."""
        if view not in self._memories:
            low = self.low if view == self.view else network.low_logits(view, self.logits)
            features = network.features([(self.index, view)])
            [made] = network.remember(features, low, self.object_score, self.pointer, True)
            while len(self._memories) >= _KEPT_VIEWS:
                del self._memories[next(iter(self._memories))]
            self._memories[view] = made
        return self._memories[view]

    def as_mask(self, object_name: str) -> SliceMask:
        """The slice as a result."""
        low = self.low[0, 0].float().cpu().numpy()
        score = float(self.object_score[0])
        return SliceMask(
            object_name, self.index, self.logits, self.mask, self.iou, score, True, self.view, low
        )

    def release(self) -> None:
        """Forget the memories; they are made again when they are needed."""
        self._memories.clear()


def prompted(
    network: SliceNetwork,
    index: int,
    view: FrameView,
    prompts: SlicePrompts,
    recollection: Recollection | None = None,
    span: int = 1,
    prior: Prior | None = None,
) -> MaskOutput:
    """Return what the network answers to prompts on one slice seen through `view`, as the official predictor asks it.

    Args:
        network: of the volume.
        index: the slice.
        view: what the network sees of it.
        prompts: of one object.
        recollection: what is remembered of the object, when the slice was tracked before; None = nothing.
        span: slices over which pointers reach.
        prior: the mask to correct.
    """
    features = network.features([(index, view)])
    if prompts.mask is not None and not prompts.points:
        mask = torch.from_numpy(view.mask_frame(prompts.mask))[None, None].to(network.device)
        return network.decode_given_mask(features, mask)
    shown: Tensor | None = None
    if prompts.mask is not None:
        shown = network.low_logits(view, np.where(prompts.mask, np.float32(10), np.float32(-10)))
    elif prior is not None and prior.view == view:
        shown = torch.from_numpy(prior.low)[None, None].to(network.device)
    elif prior is not None:
        shown = network.low_logits(view, prior.view.mask_from_logits(prior.low))
    if shown is not None:
        shown = shown.clamp(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT)
    conditioned = network.condition(features, [recollection or Recollection([], [])], span)
    points, labels = prompts.in_network(view, network.device)
    return network.decode(features, conditioned, DecoderPrompts(points, labels, shown), prompts.count)


def make_key(
    network: SliceNetwork,
    index: int,
    whole: FrameView,
    prompts: SlicePrompts,
    crop: CropPolicy | None = None,
    prior: Prior | None = None,
    neighbors: Sequence[KeySlice] = (),
    step: int = 1,
) -> KeySlice:
    """Turn the prompts of one object on one slice into a key slice.

    A correction whose mask holds none of the positive points has not understood them: memory and earlier mask
    outweigh the user. It is then drawn from the prompts alone.

    Args:
        network: of the volume.
        index: the slice.
        whole: the view of the whole slice.
        prompts: all prompts of the object on this slice.
        crop: the square that follows the object; None = whole slices.
        prior: what was computed here before, when these prompts correct it.
        neighbors: the nearest other key slices to both sides: what a correction knows of the object.
        step: the direction in which the slice was tracked.
    """
    if prompts.replaces:
        prior, neighbors = None, ()
    view = _view_for(network, index, whole, prompts, crop, prior)
    bank = MemoryBank(network.facts.num_memories, network.facts.max_object_pointers, network.slice_count)
    for key in neighbors:
        bank.conditioning[key.index] = key.memory(network, view)
    output = prompted(network, index, view, prompts, bank.recall(index, step), bank.pointer_span, prior)
    key = within_limits(network, key_from_output(index, view, whole, output, prompts), prompts)
    if (bank.conditioning or prior is not None) and _misses_all(key.mask, prompts):
        return make_key(network, index, whole, prompts, crop)
    return key


def key_from_output(
    index: int, view: FrameView, whole: FrameView, output: MaskOutput, prompts: SlicePrompts
) -> KeySlice:
    """A key slice from the network's answer to its prompts; a mask the user gave stays as it is, voxel by voxel."""
    logits = view.mask_from_logits(output.logits[0, 0].float().cpu().numpy())
    mask = logits > 0
    if prompts.mask is not None and not prompts.points:
        mask = prompts.mask
        logits = np.where(mask, np.float32(10), np.float32(-10))
    return KeySlice(
        index,
        view,
        whole,
        output.logits,
        logits,
        mask,
        float(output.iou[0]),
        output.object_score,
        output.pointer,
    )


def within_limits(network: SliceNetwork, key: KeySlice, prompts: SlicePrompts) -> KeySlice:
    """The key slice without what lies where the prompts say that the object is not."""
    allowed = prompts.allowed
    if allowed is None or not (key.mask & ~allowed).any():
        return key
    logits = np.where(allowed, key.logits, np.minimum(key.logits, np.float32(-10)))
    low = network.low_logits(key.view, logits)
    return replace(key, low=low, logits=logits, mask=key.mask & allowed, _memories={})


def _misses_all(mask: npt.NDArray[np.bool_], prompts: SlicePrompts) -> bool:
    """Return whether there are positive points and none of them is inside."""
    inside = [pixel_at(x, y, mask.shape) for x, y, positive in prompts.points if positive]
    return bool(inside) and not any(mask[pixel] for pixel in inside)


def _view_for(
    network: SliceNetwork,
    index: int,
    whole: FrameView,
    prompts: SlicePrompts,
    crop: CropPolicy | None,
    prior: Prior | None,
) -> FrameView:
    if crop is None:
        return whole
    bounds = prompts.bounds
    if prior is not None:
        seen = joined(bounds_of(prior.view.mask_from_logits(prior.low) > 0), bounds)
        if seen is None or crop.fits(prior.view, seen):
            return prior.view
        return crop.around(whole, seen)
    if prompts.has_extent and bounds is not None:
        return crop.around(whole, bounds)
    return _view_from_points(network, index, whole, prompts, crop)


def _view_from_points(
    network: SliceNetwork, index: int, whole: FrameView, prompts: SlicePrompts, crop: CropPolicy
) -> FrameView:
    """The square for an object of which only points are known.

    A click does not say how large its object is, and a network trained on crops finds something of the expected size
    in every crop. Squares of halving width around the points are tried; the mask counts whose IoU the network
    estimates highest and whose outline it is most certain of, the larger square if in doubt. The square is then drawn
    around that mask until it suits, twice at most.
    """
    bounds = prompts.bounds
    if bounds is None:
        return whole
    center = ((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2)
    smallest = crop.around(whole, bounds).side_mm
    best, best_quality = whole, -math.inf
    steps = _WIDE_STEPS if network.facts.crop_margin else 1  # others were trained on whole slices
    for halvings in range(steps):
        side_mm = whole.side_mm / 2**halvings
        if side_mm < smallest:
            break
        view = whole if halvings == 0 else whole.moved_to(center, side_mm)
        quality = (
            _quality(prompted(network, index, view, prompts), view, crop) - halvings * _DOUBT_OF_SMALLNESS
        )
        if quality > best_quality:
            best, best_quality = view, quality
    for _ in range(_REFINEMENTS):
        answer = prompted(network, index, best, prompts)
        seen = bounds_of(best.mask_from_logits(answer.logits[0, 0].float().cpu().numpy()) > 0)
        if seen is None:
            break
        seen = joined(seen, bounds)
        assert seen is not None
        if crop.fits(best, seen):
            break
        best = crop.around(whole, seen)
    return best


def _quality(answer: MaskOutput, view: FrameView, crop: CropPolicy) -> float:
    """The likeness of a mask to an object of its own; -inf if it is empty. Weights: tried on real volumes."""
    low = answer.logits[0, 0]
    seen = bounds_of(view.mask_from_logits(low.float().cpu().numpy()) > 0)
    if seen is None:
        return -math.inf
    certainty = float((low > _CERTAIN).sum() / (low > -_CERTAIN).sum().clamp(min=1))
    return float(answer.iou[0]) + 0.3 * certainty - 0.5 * crop.touches(view, seen)
