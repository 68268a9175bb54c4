"""Text models of the package transformers from a folder on disk: detectors (Grounding DINO, OWL-ViT) and CLIP.

Nothing is downloaded: the folder holds the weights, the config and the tokenizer as `save_pretrained` writes them or as
they were downloaded before.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import CheckpointError, MedSAMError
from ..core.foreign_errors import first_line
from ..engine.text import Image, Mask, TextBox, TextDetector, TextRanker

_MARGIN = 0.1  # around a mask, so that CLIP sees what surrounds it
_LEAST_SCORE = 0.05


def text_model(folder: str | Path) -> TextDetector | TextRanker:
    """The model of a folder.

    Raises:
        MedSAMError: If transformers is not installed.
        CheckpointError: If the folder holds no such model.
    """
    path = Path(folder)
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        kind = str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} holds no text model: a folder with config.json, weights and tokenizer is needed, such as that of "
            "grounding-dino-tiny (about 690 MB), which this program does not download."
        ) from error
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise MedSAMError(
            "Text models need the packages transformers and pillow: pip install transformers pillow."
        ) from error
    ranks = kind == "clip"
    try:
        processor = transformers.AutoProcessor.from_pretrained(
            str(path), local_files_only=True, use_fast=False
        )
        make = transformers.AutoModel if ranks else transformers.AutoModelForZeroShotObjectDetection
        model = make.from_pretrained(str(path), local_files_only=True).eval()
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise CheckpointError(
            f"The text model {kind} in {path} cannot be used: {first_line(error)}"
        ) from error
    return ClipRanker(model, processor) if ranks else TransformersDetector(model, processor)


class TransformersDetector:
    """A zero-shot object detector of transformers."""

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor

    def boxes(self, image: Image, words: Sequence[str]) -> list[TextBox]:
        """See TextDetector."""
        import torch

        inputs = self._processor(images=_picture(image), text=[list(words)], return_tensors="pt")
        with torch.inference_mode():
            outputs = self._model(**inputs)
        [found] = self._processor.post_process_grounded_object_detection(
            outputs, threshold=_LEAST_SCORE, target_sizes=[image.shape[:2]], text_labels=[list(words)]
        )
        labels = found.get("text_labels") or found["labels"]
        return [
            TextBox(word, (box[0], box[1], box[2], box[3]), float(score))
            for label, box, score in zip(
                labels, found["boxes"].tolist(), found["scores"].tolist(), strict=True
            )
            if (word := _word_of(label, words)) is not None
        ]


class ClipRanker:
    """CLIP (Radford et al. 2021) looks at the part of the image around each mask, gray beside the mask."""

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor

    def scores(self, image: Image, masks: Sequence[Mask], words: Sequence[str]) -> npt.NDArray[np.floating]:
        """See TextRanker."""
        import torch

        parts = [_picture(_part(image, mask)) for mask in masks]
        inputs = self._processor(images=parts, text=list(words), return_tensors="pt", padding=True)
        with torch.inference_mode():
            outputs = self._model(**inputs)
        return np.asarray(outputs.logits_per_image.softmax(1).numpy())


def _picture(image: Image) -> Any:
    from PIL import Image as Pictures

    return Pictures.fromarray(np.ascontiguousarray(image))


def _part(image: Image, mask: Mask) -> Image:
    rows, columns = np.nonzero(mask)
    margin = int(_MARGIN * max(np.ptp(rows), np.ptp(columns))) + 1
    top, left = max(0, int(rows.min()) - margin), max(0, int(columns.min()) - margin)
    part = (slice(top, int(rows.max()) + margin + 1), slice(left, int(columns.max()) + margin + 1))
    return np.where(mask[part][..., np.newaxis], image[part], np.uint8(127))


def _word_of(label: object, words: Sequence[str]) -> str | None:
    """The word that a label is: detectors give words, their numbers, or only a part of what was asked for."""
    if isinstance(label, str):
        text = label.strip().lower()
        return next((word for word in words if text and (text in word.lower() or word.lower() in text)), None)
    number = int(label)  # type: ignore[call-overload]
    return words[number] if 0 <= number < len(words) else None
