"""The fine-tuning of networks in published studies, as settings of this trainer, by the names of the studies.

Only what the trainer has is set; what differs from the study is written with each. All learn from the user's labeled
volumes and start from a checkpoint of the user's choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...core.errors import MedSAMError
from .losses import LossWeights
from .rollout import PromptMix

_BOXES = PromptMix(box=1.0, point=0.0, scribble=0.0, box_and_point=0.0, mask=0.0)
_BOX_OR_CLICK = PromptMix(box=0.5, point=0.5, scribble=0.0, box_and_point=0.0, mask=0.0)
_DICE_AND_ENTROPY = LossWeights(cross_entropy=1.0, focal=0.0, dice=1.0, iou=0.0, object_score=0.0)
_SINGLE = {"stage": 1, "pair_share": 0.0, "corrections": 0.0}


@dataclass(frozen=True)
class Preset:
    """One recipe.

    Args:
        study: where it comes from.
        tune: which weights learn, one of `TUNE`.
        learning_rate: the highest.
        settings: further fields of `TrainSettings`.
        smallest: voxels of the smallest object to learn; None = as always.
        different: what the study did otherwise.
    """

    study: str
    tune: str
    learning_rate: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    different: str = ""
    smallest: int | None = None


PRESETS: dict[str, Preset] = {
    "flare22": Preset(
        "SAM 2 benchmark (Ma et al. 2024, arXiv 2408.03322)",
        "encoder-decoder",
        6e-5,
        {**_SINGLE, "mix": _BOXES, "weights": _DICE_AND_ENTROPY, "weight_decay": 0.01},
        "1,000 epochs; parts of an object below 100 pixels on a slice were left out",
        smallest=1000,
    ),
    "medsam": Preset(
        "MedSAM (Ma et al. 2024, Nature Communications 15:654)",
        "encoder-decoder",
        1e-4,
        {**_SINGLE, "mix": _BOXES, "weights": _DICE_AND_ENTROPY, "weight_decay": 0.01},
        "a network without memory, on 1.1 million image-mask pairs with 20 GPUs",
    ),
    "biosam2": Preset(
        "BioSAM-2 (Yan et al. 2024, arXiv 2408.03286), as its published program trains",
        "memory-decoder",
        1e-4,
        {"stage": 2, "corrections": 0.0, "mix": _BOX_OR_CLICK, "weights": _DICE_AND_ENTROPY},
        "the article tunes the image encoder and the decoder instead: --preset biosam2-article",
    ),
    "biosam2-article": Preset(
        "BioSAM-2 (Yan et al. 2024, arXiv 2408.03286), as the article describes it",
        "encoder-decoder",
        1e-4,
        {"stage": 2, "corrections": 0.0, "mix": _BOX_OR_CLICK, "weights": _DICE_AND_ENTROPY},
        "its published program tunes memory and decoder instead: --preset biosam2",
    ),
    "surgical": Preset(
        "Surgical SAM 2 (Liu et al. 2024, arXiv 2408.07931)",
        "all",
        5e-5,
        {
            "stage": 2,
            "shortest": 8,
            "longest": 8,
            "single_share": 0.0,
            "layer_decay": 0.9,
            "weights": LossWeights(cross_entropy=0.0, focal=20.0, dice=1.0, iou=1.0, object_score=1.0),
        },
        "SAM 2.1 small at 512 pixels, up to three objects a clip",
    ),
    "sam-med2d": Preset(
        "SAM-Med2D (Cheng et al. 2023, arXiv 2308.16184), nine rounds",
        "encoder-decoder",
        1e-4,
        {
            "stage": 1,
            "pair_share": 0.0,
            "corrections": 1.0,
            "correction_clicks": (8, 8),
            "mix": _BOX_OR_CLICK,
            "weights": LossWeights(cross_entropy=0.0, focal=20.0, dice=1.0, iou=1.0, object_score=0.0),
        },
        "adapters in the image encoder of SAM, in the first round alone; 1, 3, 5 or 9 clicks a round",
    ),
}
"""By name."""


def preset(name: str) -> Preset:
    """The preset of that name; MedSAMError when there is none."""
    if name not in PRESETS:
        raise MedSAMError(f"The preset must be one of {', '.join(PRESETS)}, got {name!r}.")
    return PRESETS[name]
