"""Networks without memory: each slice is segmented by itself, and the object is carried as a box.

The box of a slice is that of its neighbor's mask, a little wider (Ma et al., Segment Anything in Medical Images and
Videos, 2024, carry LiteMedSAM so). On a slice that the user prompts, the prompts are given as they are, with the mask
that they correct; a checkpoint that was trained on boxes only gets only boxes. To the rest of the engine this is a
network like any other: prompts, corrections, tracks, canceling and features are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ..core.errors import PromptError
from ..sam2.model import NO_OBJECT_LOGIT, DecoderPrompts, MaskOutput
from ..sam2.networks import ImageNetwork
from ..sam2.sam1 import BOX_CORNER
from .bank import Recollection, SliceMemory
from .features import FeatureStore, SliceFeatures
from .network import NetworkFacts, SliceViews
from .view import FrameView

CARRY_MARGIN = 3 / 256
"""By how much the carried box is wider at each side, in parts of the frame's side (Ma et al. 2024: 3 of 256 pixels)."""

_GIVEN_LOGIT = 10.0  # of a mask that the user gave
_SCORE = 10.0  # of an object that is there, or not


class SliceWiseNetwork(SliceViews):
    """A network of SAM 1 over the slices of one volume.

    Args:
        model: in evaluation mode, on its device.
        store: the features of the volume's slices.
        slice_count: number of slices along the axis.
    """

    remembers = False

    def __init__(self, model: ImageNetwork, store: FeatureStore, slice_count: int) -> None:
        config = model.config
        facts = NetworkFacts(
            config.name, config.image_size, config.stride, config.crop_margin, prompts=config.prompts
        )
        super().__init__(store, slice_count, facts, next(model.parameters()).device)
        self.model = model

    def condition(self, features: SliceFeatures, recollections: Sequence[Recollection], span: int) -> Tensor:
        """(B, C, h, w): the slices as they are, since nothing is remembered."""
        return features.top.float()

    def decode(
        self, features: SliceFeatures, conditioned: Tensor, prompts: DecoderPrompts, count: int = 0
    ) -> MaskOutput:
        """The masks of B objects from their prompts, or from the boxes of their masks.

        A checkpoint that was trained on boxes only takes a click as a reason to make the box of the mask so far
        larger; it cannot begin with a click.

        Raises:
            PromptError: If there is neither a box nor a mask, and the checkpoint knows only boxes.
        """
        batch = len(conditioned)
        shown = [self._shown(prompts, n) for n in range(batch)]
        present = torch.tensor([given is not None for given in shown], device=self.device)
        answers = [self._drawn(conditioned[n : n + 1], given) for n, given in enumerate(shown)]
        logits = torch.cat([logits for logits, _ in answers]).float()
        iou = torch.cat([iou for _, iou in answers]).clamp(0, 1)
        present = present & (logits > 0).flatten(1).any(1)
        return MaskOutput(
            logits.where(present[:, None, None, None], NO_OBJECT_LOGIT),
            iou,
            torch.where(present, _SCORE, -_SCORE),
            logits.new_zeros(batch, 1),
        )

    def _drawn(self, embedding: Tensor, given: DecoderPrompts | None) -> tuple[Tensor, Tensor]:
        """The mask of one object (1, 1, 4h, 4w) and its IoU; of an object that is gone (None), anything."""
        if given is None:
            side = 4 * embedding.shape[-1]
            return embedding.new_full((1, 1, side, side), NO_OBJECT_LOGIT), embedding.new_zeros(1)
        assert given.labels is not None
        has_box = bool((given.labels >= BOX_CORNER).any())
        points = int((given.labels < BOX_CORNER).sum())
        multimask = self.model.config.multimask_for(points, has_box, given.mask is not None)
        return self.model.decode(embedding, given, multimask, self.mask_token)

    def decode_given_mask(self, features: SliceFeatures, mask: Tensor) -> MaskOutput:
        """A mask (B, 1, S, S) of zeros and ones that the user gave, as the answer."""
        side = 4 * features.top.shape[-1]
        share = functional.interpolate(mask.float(), (side, side), mode="area")
        present = mask.flatten(1).any(1)
        score = torch.where(present, _SCORE, -_SCORE)
        return MaskOutput(_GIVEN_LOGIT * (2 * share - 1), torch.ones_like(score), score, score[:, None] * 0)

    def remember(
        self, features: SliceFeatures, logits: Tensor, score: Tensor, pointer: Tensor, prompted: bool
    ) -> list[SliceMemory]:
        """Nothing, for B objects."""
        return [SliceMemory(pointer[n : n + 1], None) for n in range(len(pointer))]

    def logits_in_box(
        self, index: int, view: FrameView, box: tuple[float, float, float, float]
    ) -> npt.NDArray[np.float32]:
        """The logits of slice `index` for one box, without any object: evidence for other parts of the engine.

        Args:
            index: the slice.
            view: what the network sees of it.
            box: left, top, right and bottom in slice index coordinates, on voxel edges.

        Returns:
            (4h, 4w) float32 logits in that view.
        """
        found: npt.NDArray[np.float32] = self.logits_in_boxes(index, view, [box])[0]
        return found

    @torch.inference_mode()
    def logits_in_boxes(
        self, index: int, view: FrameView, boxes: Sequence[tuple[float, float, float, float]]
    ) -> npt.NDArray[np.float32]:
        """As :meth:`logits_in_box` of several boxes at once, (B, 4h, 4w)."""
        features = self.features([(index, view)])
        corners = np.stack([view.box_to_network(box[:2], box[2:]) for box in boxes])
        labels = torch.tensor([[2, 3]], device=self.device).expand(len(boxes), -1)
        prompts = DecoderPrompts(torch.from_numpy(corners).to(self.device), labels)
        logits, _ = self.model.decode(features.top.float(), prompts)
        found: npt.NDArray[np.float32] = logits[:, 0].float().cpu().numpy()
        return found

    def _shown(self, prompts: DecoderPrompts, n: int) -> DecoderPrompts | None:
        """Return what the network is shown of object n; None = the object is gone."""
        mask = None if prompts.mask is None else prompts.mask[n : n + 1]
        box = None if mask is None else self._box_of(mask[0, 0])
        if prompts.points is None or prompts.labels is None:  # carried from the neighbor
            return None if box is None else self._in_box(box)
        if not self.model.config.only_boxes:
            corrected = mask if box is not None else None  # an empty mask says nothing
            return DecoderPrompts(prompts.points[n : n + 1], prompts.labels[n : n + 1], corrected)
        box = _with_points(prompts.points[n].tolist(), prompts.labels[n].tolist(), box)
        if box is None:
            raise PromptError(
                f"{self.facts.name} was trained on boxes only: where there is no mask yet, draw a box, not a point."
            )
        return self._in_box(box)

    def _in_box(self, box: tuple[float, float, float, float]) -> DecoderPrompts:
        corners = torch.tensor([box], device=self.device).view(1, 2, 2)
        return DecoderPrompts(corners, torch.tensor([[2, 3]], device=self.device))

    def _box_of(self, logits: Tensor) -> tuple[float, float, float, float] | None:
        """The box around a mask (4h, 4w), a little wider, in network pixels; None for an empty mask."""
        inside = logits > 0
        rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
        if not len(rows):
            return None
        side = float(self.facts.image_size)
        scale = side / logits.shape[-1]
        margin = CARRY_MARGIN * side
        return (
            max(float(columns[0]) * scale - margin, 0.0),
            max(float(rows[0]) * scale - margin, 0.0),
            min(float(columns[-1] + 1) * scale + margin, side),
            min(float(rows[-1] + 1) * scale + margin, side),
        )


def _with_points(
    points: Sequence[Sequence[float]],
    labels: Sequence[int],
    box: tuple[float, float, float, float] | None,
) -> tuple[float, float, float, float] | None:
    """The box that was drawn, else the box so far, made to hold the points inside. None without either."""
    corners = [point for point, label in zip(points, labels, strict=True) if label >= BOX_CORNER]
    if corners:
        (left, top), (right, bottom) = corners[:2]
        box = left, top, right + 1, bottom + 1
    if box is None:
        return None
    inside = [point for point, label in zip(points, labels, strict=True) if label == 1]
    xs, ys = [x for x, _ in inside], [y for _, y in inside]
    return (
        min([box[0], *xs]),
        min([box[1], *ys]),
        max([box[2], *(x + 1 for x in xs)]),
        max([box[3], *(y + 1 for y in ys)]),
    )
