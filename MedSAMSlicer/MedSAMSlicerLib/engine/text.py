"""Words in place of clicks: a text model says where on a slice what they name may lie, the network draws it there.

Text models are plug-ins of the user's: a detector gives boxes for words, a ranker says how well masks go with words.
None comes with this program, and none is downloaded. The public ones were trained on photographs and know few medical
words; what they find is a candidate to look at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..core.errors import MedSAMError
from ..core.geometry import SliceAxis
from ..core.prompts import ObjectPrompts, SliceRef, box_from_voxels
from .propagate import Cancel
from .proposals import Proposal, ProposalSettings
from .segmenter import VolumeSegmenter

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TextBox:
    """A box where something may lie.

    Attributes:
        word: one of those that were asked for.
        box: left, top, right, bottom in pixels of the image, on pixel edges.
        score: how certain the model is, 0..1.
    """

    word: str
    box: tuple[float, float, float, float]
    score: float


@runtime_checkable
class TextDetector(Protocol):
    """A model that finds boxes for words."""

    def boxes(self, image: Image, words: Sequence[str]) -> list[TextBox]:
        """Boxes on an image, (rows, columns, 3) uint8, in any order."""
        ...


@runtime_checkable
class TextRanker(Protocol):
    """A model that says how well parts of an image go with words."""

    def scores(self, image: Image, masks: Sequence[Mask], words: Sequence[str]) -> npt.NDArray[np.floating]:
        """(masks, words) how well each mask goes with each word; of a mask they sum to 1."""
        ...


@dataclass(frozen=True, eq=False)
class Named:
    """A mask and the word that it was found by."""

    word: str
    proposal: Proposal


def find_by_text(
    segmenter: VolumeSegmenter,
    model: TextDetector | TextRanker,
    words: Sequence[str],
    index: int,
    axis: SliceAxis = SliceAxis.K,
    least_score: float = 0.2,
    settings: ProposalSettings | None = None,
    cancel: Cancel | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Named]:
    """The objects that words name on a slice, the most certain first.

    Args:
        segmenter: its network draws the masks.
        model: a detector, in whose boxes the network draws; or a ranker of everything that the network finds.
        words: such as "liver".
        index, axis: the slice.
        least_score: of a box, or of a mask and its word.
        settings: how the slice is searched for a ranker.
        cancel: returns True once the user wants to stop.
        progress: called with the clicks of a ranker's search so far and in all.

    Raises:
        MedSAMError: If there are no words, or the model is neither detector nor ranker.
        PromptError: If there is no such slice.
    """
    if not words or not all(word.strip() for word in words):
        raise MedSAMError(f"At least one word to look for is needed, got {list(words)}.")
    image = segmenter.frame(index, axis)
    colored = image if image.ndim == 3 else np.repeat(image[..., np.newaxis], 3, axis=-1)
    if isinstance(model, TextRanker):
        proposals = segmenter.propose(index, axis, settings, cancel, progress)
        if not proposals:
            return []
        table = model.scores(colored, [proposal.mask for proposal in proposals], words)
        found = [
            (float(row.max()), words[int(row.argmax())], proposal)
            for row, proposal in zip(table, proposals, strict=True)
        ]
    elif isinstance(model, TextDetector):
        found = [
            (each.score, each.word, proposal)
            for each in model.boxes(colored, words)
            if each.score >= least_score and (proposal := _drawn(segmenter, each, index, axis)) is not None
        ]
    else:
        raise MedSAMError(
            f"The text model {type(model).__name__} returns neither boxes nor scores for words."
        )
    found.sort(key=lambda each: -each[0])
    return [Named(word, proposal) for score, word, proposal in found if score >= least_score]


def _drawn(segmenter: VolumeSegmenter, found: TextBox, index: int, axis: SliceAxis) -> Proposal | None:
    """The mask that the network draws in a box; None where the box has no size on the slice, or nothing is drawn."""
    rows, columns = segmenter.geometry.slice_shape(axis)
    left, right = np.clip([found.box[0], found.box[2]], 0, columns).tolist()
    top, bottom = np.clip([found.box[1], found.box[3]], 0, rows).tolist()
    if right - left < 1 or bottom - top < 1:
        return None
    box = box_from_voxels(segmenter.geometry, SliceRef(axis, index), left, top, right, bottom)
    mask = segmenter.live(axis).preview(ObjectPrompts(found.word, (1.0, 1.0, 1.0), (box,)), index)
    if not mask.mask.any():
        return None
    ys, xs = np.nonzero(mask.mask)
    bounds = (float(xs.min()), float(ys.min()), float(np.ptp(xs)), float(np.ptp(ys)))
    middle = ((left + right) / 2, (top + bottom) / 2)
    return Proposal(mask.mask, bounds, mask.iou, found.score, middle, (0, 0, columns, rows))
