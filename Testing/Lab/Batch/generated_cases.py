"""Generated abdomens with a table of prompts: python -m Testing.Lab.Batch.generated_cases FOLDER [CASES]"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from MedSAMSlicerLib.io.nifti import write_nifti
from MedSAMSlicerLib.phantom.ct import ct_phantom

ORGANS = ("liver", "spleen", "right_kidney")
SHAPE = (20, 96, 96)


def write_cases(folder: Path, count: int) -> Path:
    """Write the volumes, the true labels in a folder of their own, and the table; returns the table."""
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    lines = ["case,object,slice,box,range"]
    for seed in range(count):
        array, geometry, truth = ct_phantom(SHAPE, seed)
        name = f"case{seed:02d}.nii.gz"
        write_nifti(folder / name, array, geometry)
        labels = np.zeros(SHAPE, np.uint8)
        for number, organ in enumerate(ORGANS, start=1):
            mask = truth[organ]
            labels[mask] = number
            index = int(mask.sum(axis=(1, 2)).argmax())
            rows, columns = mask[index].nonzero()
            filled = np.flatnonzero(mask.any(axis=(1, 2)))
            box = f"{columns.min()} {rows.min()} {columns.max() + 1} {rows.max() + 1}"
            lines.append(f"{name},{organ},{index},{box},{filled[0]}-{filled[-1]}")
        write_nifti(folder / "truth" / name, labels, geometry)
    table = folder / "prompts.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


if __name__ == "__main__":
    made = write_cases(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20)
    sys.stdout.write(f"{made}\n")
