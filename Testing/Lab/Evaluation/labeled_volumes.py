"""Generated volumes, color pictures and color videos with labels, in memory and as files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.io.volumes import Volume
from MedSAMSlicerLib.lab.evaluation.datasets import Case, Target

SHAPE = (15, 36, 44)
PICTURE_SHAPE = (48, 64)
FRAMES = 8
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
    entries.append({"name": "unlabeled", "image": "first/image.nii.gz", "label": None})
    (folder / "manifest.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder


def spot(row: float = 22, column: float = 30, radius: float = 10) -> np.ndarray:
    """(rows, columns) bool: a disc in a picture."""
    rows, columns = np.indices(PICTURE_SHAPE)
    return np.hypot(rows - row, columns - column) <= radius


def colored(mask: np.ndarray, noise: float = 4.0) -> np.ndarray:
    """(..., 3) uint8: a brighter, red object before a dim bluish background."""
    background, object_ = np.array([60.0, 80.0, 110.0]), np.array([220.0, 120.0, 90.0])
    colors = np.where(mask[..., np.newaxis], object_, background)
    drawn = np.random.default_rng(0).normal(0, noise, colors.shape)
    return (colors + drawn).clip(0, 255).astype(np.uint8)


def moving_spot(gone: tuple[int, ...] = ()) -> np.ndarray:
    """(FRAMES, rows, columns) bool: the disc crosses the picture; it is out of sight on the frames `gone`."""
    frames = [spot(18 + index, 14 + 5 * index) for index in range(FRAMES)]
    return np.stack([np.zeros_like(f) if index in gone else f for index, f in enumerate(frames)])


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """(rows, columns) gray or (rows, columns, 3) color, in the format of the file's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=pixels.ndim == 3), str(path))


def volume_case(folder: Path, name: str = "solid") -> Path:
    """One 3-D pair, NAME_image.nii.gz and NAME_label.nii.gz; returns `folder`."""
    write(folder / f"{name}_image.nii.gz", bright(ellipsoid()))
    write(folder / f"{name}_label.nii.gz", ellipsoid().astype(np.uint8))
    return folder


def picture_case(folder: Path, name: str = "picture") -> Path:
    """One color PNG with its 0/255 mask, NAME.png and NAME_mask.png; returns `folder`."""
    write_picture(folder / f"{name}.png", colored(spot()))
    write_picture(folder / f"{name}_mask.png", spot().astype(np.uint8) * 255)
    return folder


def video_case(folder: Path, name: str = "film", gone: tuple[int, ...] = ()) -> Path:
    """One color video as DAVIS has it, JPEGImages/NAME and Annotations/NAME, PNG frames; returns `folder`."""
    truth = moving_spot(gone)
    for index, (frame, mask) in enumerate(zip(colored(truth), truth, strict=True)):
        write_picture(folder / "JPEGImages" / name / f"{index:05}.png", frame)
        write_picture(folder / "Annotations" / name / f"{index:05}.png", mask.astype(np.uint8))
    return folder


def mixed_data_set(folder: Path) -> Path:
    """One volume, one color picture and one color video with a manifest; returns `folder`."""
    volume_case(folder)
    picture_case(folder)
    video_case(folder)
    files = {
        "solid": ("MR", "solid_image.nii.gz", "solid_label.nii.gz", "egg"),
        "picture": ("dermoscopy", "picture.png", "picture_mask.png", "mole"),
        "film": ("endoscopy", "JPEGImages/film", "Annotations/film", "polyp"),
    }
    entries = [
        {
            "name": name,
            "modality": modality,
            "image": image,
            "label": label,
            "labels": {"1": {"name": target}},
        }
        for name, (modality, image, label, target) in files.items()
    ]
    (folder / "manifest.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder
