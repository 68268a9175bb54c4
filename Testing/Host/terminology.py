"""A short list of anatomical names, as Slicer's Terminologies module loads them; the wheel comes without its lists."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

NAME = "Anatomy, an excerpt"
ORGANS = {
    "Liver": "10200004",
    "Spleen": "78961009",
    "Pancreas": "15776009",
    "Stomach": "69695003",
    "Gallbladder": "28231008",
    "Aorta": "15825003",
}
PAIRED = {"Kidney": "64033007", "Adrenal gland": "23451007", "Lung": "39607008"}
"""Codes of SNOMED CT, as in Slicer's list of general anatomy."""
SIDES = {"Right": "24028007", "Left": "7771000"}
_SCHEMA = "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/segment-context-schema.json#"


def load_anatomy() -> None:
    """Load the names; the panel completes those that are there when it is made."""
    import slicer

    sides = [_code(*each) for each in SIDES.items()]
    kinds = [_code(*each) for each in ORGANS.items()]
    kinds += [{**_code(*each), "Modifier": sides} for each in PAIRED.items()]
    category = {**_code("Anatomical Structure", "123037004"), "showAnatomy": False, "Type": kinds}
    content = {
        "SegmentationCategoryTypeContextName": NAME,
        "@schema": _SCHEMA,
        "SegmentationCodes": {"Category": [category]},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "anatomy.term.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        loaded = slicer.modules.terminologies.logic().LoadTerminologyFromFile(str(path))
    if loaded != NAME:
        raise ValueError(f"Slicer cannot read the list of names: {loaded!r}")


def _code(meaning: str, value: str) -> dict[str, Any]:
    return {"CodingSchemeDesignator": "SCT", "CodeValue": value, "CodeMeaning": meaning}
