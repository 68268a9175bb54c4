"""Everything that a network finds on one slice, without a prompt of the user: candidate segments to choose from.

A grid of clicks covers the slice, each click gives three masks; those stay whose IoU the network estimates high and
whose outline hardly moves with the threshold, and of masks with almost equal boxes the best. With crop layers the same
is done on overlapping parts of the slice, whose small objects the network then sees larger. The rules and numbers are
those of SAM (Kirillov et al. 2023) and SAM 2, whose generators give the same masks from the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ..core.errors import MedSAMError, PromptError
from ..core.masks import bounding_box
from ..sam2.input_rule import normalized
from ..sam2.model import SAM2, DecoderPrompts, ImageFeatures
from ..sam2.networks import Network
from .cleanup import components
from .view import FrameView, resampling_weights

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Encode = Callable[[Tensor], ImageFeatures]

LEAST_IOU = {True: 0.88, False: 0.80}
"""What a mask's estimated IoU must exceed: for networks of SAM 1 and of SAM 2."""

_CROP_EDGE = 20  # pixels: masks that end so near to the edge of a part of the slice go on beyond it
_MASKS_AT_ONCE = 16
_PILLOW_BITS = 22
_NEW_OBJECT_IOU = 0.5
_NEW_OBJECT_COVERED = 0.5


@dataclass(frozen=True)
class ProposalSettings:
    """The settings of the search of the slice.

    Args:
        points_per_side: of the grid of clicks.
        points_at_once: clicks in one batch.
        least_iou: estimated IoU that a mask must exceed; None = `LEAST_IOU`.
        least_stability: of a mask: (voxels above the threshold + offset) / (voxels above the threshold - offset).
        stability_offset: in logits.
        box_overlap: of two masks whose boxes overlap by more than this IoU, the one of lower estimated IoU goes.
        crop_layers: layer i has 4**i overlapping parts of the slice; 0 = the slice alone.
        crop_overlap: as `box_overlap` between parts, where the mask of the smaller part stays.
        crop_overlap_ratio: overlap of parts of the first layer / shorter side of the slice; less in further layers.
        crop_points_divisor: by how much the grid becomes coarser with each layer.
        smallest_region: holes and islands of fewer pixels are filled and taken off; 0 = none.

    Raises:
        MedSAMError: If a number makes no sense.
    """

    points_per_side: int = 32
    points_at_once: int = 64
    least_iou: float | None = None
    least_stability: float = 0.95
    stability_offset: float = 1.0
    box_overlap: float = 0.7
    crop_layers: int = 0
    crop_overlap: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_points_divisor: int = 1
    smallest_region: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.points_per_side <= 256:
            raise MedSAMError(f"The grid must have 1 to 256 points per side, not {self.points_per_side}.")
        if not 0 <= self.crop_layers <= 4:
            raise MedSAMError(f"The number of crop layers must be 0 to 4, not {self.crop_layers}.")
        for name in ("least_stability", "box_overlap", "crop_overlap", "crop_overlap_ratio"):
            if not 0 <= getattr(self, name) <= 1:
                raise MedSAMError(f"{name} must be between 0 and 1, not {getattr(self, name)}.")
        if min(self.points_at_once, self.crop_points_divisor) < 1 or self.smallest_region < 0:
            raise MedSAMError(f"The numbers of points and pixels must be positive, got {self}.")


@dataclass(frozen=True, eq=False)
class Proposal:
    """One mask that was found.

    Attributes:
        mask: (rows, columns) bool.
        bounds: left, top, width and height of its box: the last column minus the first, and so on.
        iou: estimated by the network.
        stability: see `ProposalSettings`.
        point: (x, y) the click that gave it.
        crop: left, top, width and height of the part of the slice in which it was found.
    """

    mask: Mask
    bounds: tuple[float, float, float, float]
    iou: float
    stability: float
    point: tuple[float, float]
    crop: tuple[int, int, int, int]

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(self.mask.sum())


@dataclass(frozen=True, eq=False)
class _Found:
    """Masks of one part of the slice before they are compared; N of everything."""

    masks: list[Mask]
    boxes: Tensor  # (N, 4) left, top, right, bottom; float32
    iou: Tensor
    stability: Tensor
    points: Tensor  # (N, 2)

    def take(self, kept: Sequence[int]) -> _Found:
        rows = torch.tensor(kept, dtype=torch.long)
        return _Found(
            [self.masks[n] for n in kept],
            self.boxes[rows],
            self.iou[rows],
            self.stability[rows],
            self.points[rows],
        )


class Proposer:
    """Finds everything on slices with one network.

    Args:
        model: in evaluation mode.
        settings: how the slice is searched.
        encode: (1, C, S, S) frames -> features; None = the network's own image encoder in its plain form.

    Raises:
        PromptError: If the network was trained on boxes only.
    """

    def __init__(
        self, model: Network, settings: ProposalSettings | None = None, encode: Encode | None = None
    ) -> None:
        if "point" not in model.config.prompts:
            raise PromptError(
                f"{model.config.name} was trained on boxes only, so it cannot find objects from clicks."
            )
        self.model = model
        self.settings = settings or ProposalSettings()
        self._encode = encode or self._plain
        self._device = next(model.parameters()).device

    @torch.inference_mode()
    def find(
        self,
        image: Image,
        pause: Callable[[], object] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Proposal]:
        """All masks on a slice, in the order in which the published generators give them.

        Args:
            image: (rows, columns) gray or (rows, columns, 3) in color, uint8.
            pause: called between batches of clicks; may raise to give up.
            progress: called with the clicks so far and in all.
        """
        shape = image.shape[:2]
        parts = list(crop_boxes(shape, self.settings.crop_layers, self.settings.crop_overlap_ratio))
        found: list[tuple[_Found, int]] = []
        total, done = sum(self._points_in(layer) ** 2 for _part, layer in parts), 0

        def between(clicks: int) -> None:
            nonlocal done
            if pause is not None:
                pause()
            if progress is not None:
                progress(done, total)
            done += clicks

        for number, (part, layer) in enumerate(parts):
            found.append((self._in_part(image, part, layer, between), number))
        proposals = [
            Proposal(
                mask,
                _xywh(some.boxes[n]),
                float(some.iou[n]),
                float(some.stability[n]),
                (float(some.points[n, 0]), float(some.points[n, 1])),
                _part_xywh(parts[number][0]),
            )
            for some, number in found
            for n, mask in enumerate(some.masks)
        ]
        if len(parts) > 1:
            boxes = torch.tensor([_xyxy(p.bounds) for p in proposals]).reshape(-1, 4)
            smaller_first = torch.tensor([1 / (p.crop[2] * p.crop[3]) for p in proposals])
            proposals = [proposals[n] for n in suppressed(boxes, smaller_first, self.settings.crop_overlap)]
        return self._cleaned(proposals) if self.settings.smallest_region else proposals

    def _points_in(self, layer: int) -> int:
        """Clicks along a side of a part of a layer."""
        return int(self.settings.points_per_side // self.settings.crop_points_divisor**layer)

    def _in_part(
        self, image: Image, part: tuple[int, int, int, int], layer: int, between: Callable[[int], object]
    ) -> _Found:
        left, top, right, bottom = part
        piece = image[top:bottom, left:right]
        frame, shown = framed(piece, self.model)
        features = self._encode(frame.to(self._device))
        settings = self.settings
        grid = point_grid(self._points_in(layer))
        points = grid * torch.tensor([right - left, bottom - top], dtype=torch.float64)
        found: list[_Found] = []
        for some in points.split(settings.points_at_once):
            between(len(some))
            found.append(self._of_points(some, features, shown, part, image.shape[:2]))
        together = _Found(
            [mask for each in found for mask in each.masks],
            torch.cat([each.boxes for each in found]),
            torch.cat([each.iou for each in found]),
            torch.cat([each.stability for each in found]),
            torch.cat([each.points for each in found]),
        )
        kept = together.take(suppressed(together.boxes, together.iou, settings.box_overlap))
        offset = torch.tensor([left, top])
        return _Found(
            kept.masks, kept.boxes + offset.repeat(2), kept.iou, kept.stability, kept.points + offset
        )

    def _of_points(
        self,
        points: Tensor,
        features: ImageFeatures,
        shown: tuple[int, int],
        part: tuple[int, int, int, int],
        shape: tuple[int, int],
    ) -> _Found:
        """The masks of one batch of clicks that are good enough, in the whole slice; boxes are in the part."""
        left, top, right, bottom = part
        size = (bottom - top, right - left)
        scale = torch.tensor([shown[1] / size[1], shown[0] / size[0]], dtype=torch.float64)
        low, iou = self._drawn(features, (points * scale).float()[:, None].to(self._device))
        alternatives = low.shape[1]
        low, iou = low.flatten(0, 1), iou.flatten(0, 1).float().cpu()
        points = points.repeat_interleave(alternatives, 0)
        least = self.settings.least_iou
        least = LEAST_IOU[not isinstance(self.model, SAM2)] if least is None else least
        good = (iou > least).nonzero()[:, 0] if least > 0 else torch.arange(len(iou))
        masks: list[Mask] = []
        boxes, stabilities, kept = [], [], []
        for some in good.split(_MASKS_AT_ONCE):
            logits = self._enlarged(low[some.to(low.device)][:, None], shown, size)[:, 0].float().cpu()
            for row, each in zip(some.tolist(), logits, strict=True):
                stability = _stability(each, self.settings.stability_offset)
                if self.settings.least_stability > 0 and not stability >= self.settings.least_stability:
                    continue
                mask = (each > 0).numpy()
                box = _box(mask)
                if _ends_at_edge(box, part, shape):
                    continue
                whole = np.zeros(shape, np.bool_)
                whole[top:bottom, left:right] = mask
                masks.append(whole)
                boxes.append(box)
                stabilities.append(stability)
                kept.append(row)
        rows = torch.tensor(kept, dtype=torch.long)
        return _Found(
            masks,
            torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            iou[rows],
            torch.tensor(stabilities),
            points[rows],
        )

    def _drawn(self, features: ImageFeatures, points: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, T, 4h, 4w) and IoU (B, T) of one click each: the alternatives, or the one mask there is."""
        prompts = DecoderPrompts(
            points, torch.ones(points.shape[:2], dtype=torch.int32, device=points.device)
        )
        if not isinstance(self.model, SAM2):
            logits, iou = self.model.candidates(features.top, prompts)
        else:
            conditioned = self.model.condition_first(features.top).expand(len(points), -1, -1, -1)
            candidates = self.model.candidates(conditioned, features.mid, features.fine, prompts)
            logits, iou = candidates.logits, candidates.iou
        return (logits, iou) if logits.shape[1] == 1 else (logits[:, 1:], iou[:, 1:])

    def _enlarged(self, low: Tensor, shown: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """Logits (N, 1, 4h, 4w) of the frame -> (N, 1, rows, columns) of the part of the slice."""
        if not isinstance(self.model, SAM2):
            side = self.model.config.image_size
            low = functional.interpolate(low, (side, side), mode="bilinear", align_corners=False)
            low = low[..., : shown[0], : shown[1]]
        return functional.interpolate(low, size, mode="bilinear", align_corners=False)

    def _plain(self, frames: Tensor) -> ImageFeatures:
        encoded = self.model.encode_image(frames)
        return encoded if isinstance(encoded, ImageFeatures) else ImageFeatures.alone(encoded)

    def _cleaned(self, proposals: Sequence[Proposal]) -> list[Proposal]:
        """Without small holes and islands; of masks that have become alike, one that was not changed stays."""
        cleaned, unchanged = [], []
        for proposal in proposals:
            mask = without_small_regions(proposal.mask, self.settings.smallest_region)
            same = mask is proposal.mask
            unchanged.append(float(same))
            bounds = proposal.bounds if same else _xywh(torch.tensor(_box(mask), dtype=torch.float32))
            cleaned.append(
                Proposal(mask, bounds, proposal.iou, proposal.stability, proposal.point, proposal.crop)
            )
        boxes = torch.tensor([_box(p.mask) for p in cleaned], dtype=torch.float32).reshape(-1, 4)
        overlap = max(self.settings.box_overlap, self.settings.crop_overlap)
        return [cleaned[n] for n in suppressed(boxes, torch.tensor(unchanged), overlap)]


def new_objects(proposals: Sequence[Proposal], tracked: Sequence[Mask]) -> list[Proposal]:
    """Proposals that are none of the objects that are segmented already, the most certain first.

    One is left out when its IoU with a tracked mask exceeds one half, or when more than half of it is covered.
    """
    covered = np.zeros(proposals[0].mask.shape, np.bool_) if proposals else None
    for mask in tracked:
        covered = mask if covered is None else covered | mask
    kept = []
    for proposal in proposals:
        known = any(
            (proposal.mask & mask).sum() > _NEW_OBJECT_IOU * (proposal.mask | mask).sum() for mask in tracked
        )
        assert covered is not None
        if not known and (proposal.mask & covered).sum() <= _NEW_OBJECT_COVERED * proposal.area:
            kept.append(proposal)
    return sorted(kept, key=lambda p: -p.iou * p.stability)


# ------------------------------------------------------------------------------------------------------ the parts


def framed(image: Image, model: Network) -> tuple[Tensor, tuple[int, int]]:
    """A slice as the published generators show it, and how many rows and columns of the frame it takes.

    Returns:
        (1, C, S, S) float32, and (rows, columns) of the frame.
    """
    rule, size = model.config.input, model.config.image_size
    rows, columns = image.shape[:2]
    if isinstance(model, SAM2):  # stretched, and not rounded to gray values
        channels = torch.from_numpy(np.ascontiguousarray(image)).float()
        channels = channels[None] if image.ndim == 2 else channels.permute(2, 0, 1)
        stretched = functional.interpolate(
            channels[None], (size, size), mode="bilinear", antialias=True, align_corners=False
        )
        return normalized(rule, stretched.permute(0, 2, 3, 1) if image.ndim == 3 else stretched[:, 0]), (
            size,
            size,
        )
    if rule.fit == "stretch":
        view = FrameView((rows, columns), (1 / rows, 1 / columns), 0.0, 0.0, 1.0, size, rule.filter)
        return normalized(rule, torch.from_numpy(view.frame(image))[None]), (size, size)
    scale = size / max(rows, columns)
    shown = (int(rows * scale + 0.5), int(columns * scale + 0.5))
    frame = np.zeros((size, size, *image.shape[2:]), np.uint8)
    frame[: shown[0], : shown[1]] = _resized(image, shown, rule.filter)
    inside = np.zeros((size, size), np.bool_)
    inside[: shown[0], : shown[1]] = True
    return normalized(rule, torch.from_numpy(frame)[None], torch.from_numpy(inside)[None]), shown


def _resized(image: Image, shape: tuple[int, int], filter: str) -> Image:
    """A slice of another shape, as Pillow resizes: columns first, weights and sums in whole parts of 2**-22."""
    if image.ndim == 3:
        return np.stack([_resized(channel, shape, filter) for channel in np.moveaxis(image, -1, 0)], axis=-1)
    rows, columns = (
        np.rint(resampling_weights(filter, 0.0, float(old), new, old) * 2**_PILLOW_BITS).astype(np.int64)
        for old, new in zip(image.shape, shape, strict=True)
    )
    half = 1 << (_PILLOW_BITS - 1)
    narrow = ((image.astype(np.int64) @ columns.T + half) >> _PILLOW_BITS).clip(0, 255)
    return np.asarray(((rows @ narrow + half) >> _PILLOW_BITS).clip(0, 255), np.uint8)


def point_grid(side: int) -> Tensor:
    """(side * side, 2) x, y in 0..1: the centers of equal squares, row by row; one point at least."""
    side = max(side, 1)
    places = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    y, x = torch.meshgrid(places, places, indexing="ij")
    return torch.stack([x, y], 2).flatten(0, 1)


def crop_boxes(
    shape: tuple[int, int], layers: int, overlap_ratio: float
) -> Iterator[tuple[tuple[int, int, int, int], int]]:
    """Left, top, right and bottom of every part of a slice (rows, columns), with its layer; the whole slice first."""
    rows, columns = shape
    yield (0, 0, columns, rows), 0
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(shape) * 2 / count)
        height, width = (math.ceil((overlap * (count - 1) + extent) / count) for extent in shape)
        for i in range(count):
            for j in range(count):
                left, top = (width - overlap) * i, (height - overlap) * j
                yield (left, top, min(left + width, columns), min(top + height, rows)), layer


def suppressed(boxes: Tensor, scores: Tensor, most_overlap: float) -> list[int]:
    """The rows of boxes (N, 4) that stay, best score first: none overlaps a better one by more IoU than that."""
    order = scores.argsort(descending=True, stable=True)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    while len(order):
        best, order = int(order[0]), order[1:]
        kept.append(best)
        corner = torch.maximum(boxes[best, :2], boxes[order, :2])
        far = torch.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = (far - corner).clamp(min=0).prod(1)
        order = order[~(shared / (areas[best] + areas[order] - shared) > most_overlap)]
    return kept


def without_small_regions(mask: Mask, least: int) -> Mask:
    """A mask with holes and islands of fewer than `least` pixels gone; the same object when there are none.

    Pixels that touch at a corner belong together. When all islands are small, the largest stays.
    """
    holes, count = components(~mask, fully=True)
    areas = np.bincount(holes.ravel(), minlength=count + 1)
    small = np.flatnonzero(areas[1:] < least) + 1
    filled = mask | np.isin(holes, small) if small.size else mask
    islands, count = components(filled, fully=True)
    areas = np.bincount(islands.ravel(), minlength=count + 1)[1:]
    if not (areas < least).any():
        return filled
    large = np.flatnonzero(areas >= least) + 1
    return np.isin(islands, large if large.size else [int(areas.argmax()) + 1])


def _stability(logits: Tensor, offset: float) -> float:
    """Pixels above +offset / pixels above -offset; not a number when there are none."""
    inner, outer = int((logits > offset).sum()), int((logits > -offset).sum())
    return inner / outer if outer else math.nan


def _box(mask: Mask) -> tuple[int, int, int, int]:
    """First and last column and row of a mask as left, top, right and bottom; zeros when it is empty."""
    box = bounding_box(mask)
    if box is None:
        return 0, 0, 0, 0
    rows, columns = box
    return columns.start, rows.start, columns.stop - 1, rows.stop - 1


def _ends_at_edge(box: Sequence[int], part: tuple[int, int, int, int], shape: tuple[int, int]) -> bool:
    """Return whether a box in a part of the slice ends near a side of the part that is no side of the slice."""
    offset = (part[0], part[1], part[0], part[1])
    whole = (0, 0, shape[1], shape[0])
    return any(
        abs(place + shift - edge) <= _CROP_EDGE and abs(place + shift - end) > _CROP_EDGE
        for place, shift, edge, end in zip(box, offset, part, whole, strict=True)
    )


def _xywh(box: Tensor) -> tuple[float, float, float, float]:
    left, top, right, bottom = box.tolist()
    return left, top, right - left, bottom - top


def _xyxy(bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, width, height = bounds
    return left, top, left + width, top + height


def _part_xywh(part: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    left, top, right, bottom = part
    return left, top, right - left, bottom - top
