"""Labeled generated CTs on which networks are compared: `python -m Testing.Lab.family_volumes FOLDER`.

They are the demo's abdomens, each seed another patient; no network was trained on them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from MedSAMSlicerLib.io.nifti import write_nifti
from MedSAMSlicerLib.phantom.ct import ct_phantom

ORGANS = ("liver", "spleen", "right_kidney", "aorta")
SHAPE = (30, 160, 160)
SEEDS = (1, 2)


def write_volumes(folder: Path, seeds: Sequence[int] = SEEDS, shape: tuple[int, int, int] = SHAPE) -> None:
    """Write `phantomN_image.nii.gz`, its labels and manifest.json for each seed N; shape is that of (K, J, I)."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in seeds:
        image, geometry, masks = ct_phantom(shape, seed)
        label = np.zeros(shape, np.uint8)
        for value, organ in enumerate(ORGANS, start=1):
            label[masks[organ]] = value
        names = {kind: f"phantom{seed}_{kind}.nii.gz" for kind in ("image", "label")}
        write_nifti(folder / names["image"], image, geometry)
        write_nifti(folder / names["label"], label, geometry)
        labels = {str(value): {"name": organ} for value, organ in enumerate(ORGANS, start=1)}
        rows.append({"name": f"phantom{seed}", **names, "modality": "CT", "labels": labels})
    (folder / "manifest.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    write_volumes(Path(sys.argv[1]))
