"""Generated volumes with labels, in memory and as files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.evaluation.datasets import Case, Target
from MedSAMSlicerLib.io.volumes import Volume

SHAPE = (15, 36, 44)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (1.0, 1.0, 2.0), (3.0, -4.0, 5.0))


def ellipsoid(
    center: tuple[float, float, float] = (7, 18, 20), radii: tuple[float, ...] = (5, 9, 12)
) -> np.ndarray:
    """(K, J, I) bool."""
    grid = np.indices(SHAPE)
    return sum(((axis - c) / r) ** 2 for axis, c, r in zip(grid, center, radii, strict=True)) <= 1


def brick() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[3:12, 8:25, 10:31] = True
    return mask


def bright(mask: np.ndarray, noise: float = 5.0) -> np.ndarray:
    """A volume in which the mask is brighter than what is around it."""
    return (100 + 120 * mask + np.random.default_rng(0).normal(0, noise, mask.shape)).astype(np.int16)


def target_of(mask: np.ndarray, axis: SliceAxis = SliceAxis.K) -> Target:
    return Target(Case("case", Path("image.nii.gz"), Path("label.nii.gz")), "object", mask, axis)


def volume_of(mask: np.ndarray) -> Volume:
    return Volume(bright(mask), GEOMETRY, "case", Path("image.nii.gz"))


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.0, 1.0, 2.0))
    sitk.WriteImage(image, str(path))


def data_set(folder: Path) -> Path:
    """Two good cases, a damaged one, and one without a label, with a manifest."""
    labels = ellipsoid().astype(np.uint8)
    labels[brick() & (labels == 0)] = 2
    for name in ("first", "second"):
        write(folder / name / "image.nii.gz", bright(labels > 0))
        write(folder / name / "label.nii.gz", labels)
    (folder / "broken").mkdir()
    (folder / "broken" / "image.nii.gz").write_bytes(b"not an image")
    write(folder / "broken" / "label.nii.gz", labels)
    entries = [
        {"name": name, "image": f"{name}/image.nii.gz", "label": f"{name}/label.nii.gz", "modality": "CT",
         "labels": {"1": {"name": "egg"}, "2": {"name": "rest"}}}
        for name in ("first", "broken", "second")
    ]  # fmt: skip
    entries.append({"name": "unlabelled", "image": "first/image.nii.gz", "label": None})
    (folder / "manifest.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder
