"""Random geometries written here and read by an independent reader, and the other way round.

nibabel reads and writes the NIfTI files, SimpleITK (whose readers of NRRD and MetaImage this project does not use for
these formats) the others. Voxels must be equal and every corner in place: to a millionth of a voxel where the format
keeps 64-bit numbers, to the rounding of 32-bit numbers where it does not.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.geometry import VolumeGeometry
from MedSAMSlicerLib.io.labels import read_label
from MedSAMSlicerLib.io.native_output import quiet_itk
from MedSAMSlicerLib.io.nifti import write_nifti
from MedSAMSlicerLib.io.segmentations import write_labelmap, write_seg_nrrd
from MedSAMSlicerLib.io.volumes import read_volume

from .rows import Row

COUNT = 1000
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
_EXACT_VOXELS = 1e-6
_ROUNDING = 2.0**-23  # of a number of 32 bits


def run(seed: int, count: int) -> list[Row]:
    """Try each way of writing and reading on `count` geometries."""
    return [check_often(what, check, seed, count) for what, check in CHECKS.items()]


def check_often(what: str, check: Callable[[Path, random.Random], None], seed: int, count: int) -> Row:
    """The row of one way of writing and reading."""
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            try:
                check(Path(folder), random.Random(f"{what} {seed} {number}"))
            except (AssertionError, MedSAMError, RuntimeError, OSError, ValueError) as error:
                failures.append(f"{number}: {type(error).__name__}: {error}".replace("\n", " "))
    return Row(f"geometries: {what}", count, len(failures), failures[0] if failures else "")


# ----------------------------------------------------------------------------------------------------------- geometries


def _geometry(dice: random.Random, sheared: bool = False) -> VolumeGeometry:
    """Oblique or not, mirrored or not, axes in any order, from 2 micrometers to 30 mm, near and far."""
    rng = np.random.default_rng(dice.randrange(2**32))
    directions = np.eye(3)[:, dice.choice(list(permutations(range(3))))]
    if dice.random() < 0.7:
        directions = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    directions = directions * [dice.choice((-1.0, 1.0)) for _ in range(3)]
    if sheared:
        directions = directions @ (np.eye(3) + np.triu(rng.uniform(-0.4, 0.4, (3, 3)), 1))
    size = 10 ** dice.uniform(-2.7, 1) if dice.random() < 0.3 else dice.uniform(0.3, 3)
    spacing = size * np.array([dice.choice((1.0, dice.uniform(0.3, 4))) for _ in range(3)])
    matrix = np.eye(4)
    matrix[:3, :3] = directions * spacing
    matrix[:3, 3] = rng.uniform(-1, 1, 3) * dice.choice((0.0, 50.0, 500.0, 2e4)) * size
    if dice.random() < 0.3:  # as it comes from a file of 32-bit numbers
        matrix = matrix.astype(np.float32).astype(np.float64)
    return VolumeGeometry((dice.randint(2, 9), dice.randint(2, 9), dice.randint(2, 9)), matrix)


def _voxels(geometry: VolumeGeometry, dice: random.Random, dtype: type = np.int16) -> np.ndarray:
    array = np.random.default_rng(dice.randrange(2**32)).integers(0, 3000, geometry.shape)
    array.flat[:2] = 0, 1  # never constant
    return array.astype(dtype)


def _masks(geometry: VolumeGeometry, dice: random.Random) -> dict[str, np.ndarray]:
    labels = _voxels(geometry, dice) % 3
    return {"one": labels == 1, "two": labels == 2}


def _same_place(found: np.ndarray, geometry: VolumeGeometry, bits: int) -> None:
    other = VolumeGeometry(geometry.shape, np.asarray(found, np.float64))
    tolerance = _EXACT_VOXELS * min(geometry.spacing)
    if bits == 32:
        extent = np.abs(geometry.ijk_to_ras[:3, :3]) @ np.array(geometry.shape[::-1])
        tolerance += 4 * _ROUNDING * float((np.abs(geometry.ijk_to_ras[:3, 3]) + extent).max())
    apart = other.distance_to(geometry)
    assert apart <= tolerance, f"{apart:.3g} mm off, {tolerance:.3g} allowed, {geometry.ijk_to_ras.tolist()}"


def _same_voxels(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape, f"shape {found.shape}, not {expected.shape}"
    assert np.array_equal(found, expected), "other voxels"


# --------------------------------------------------------------------------------------------------------- written here


def _nibabel_reads_ours(ending: str) -> Callable[[Path, random.Random], None]:
    def check(folder: Path, dice: random.Random) -> None:
        import nibabel

        geometry = _geometry(dice, sheared=dice.random() < 0.3)
        array = _voxels(geometry, dice, dice.choice((np.uint8, np.int16, np.uint16, np.float32)))
        write_nifti(folder / f"ours{ending}", array, geometry)
        image = nibabel.load(folder / f"ours{ending}")
        _same_voxels(np.asarray(image.dataobj).transpose(), array)
        _same_place(image.affine, geometry, 32)

    return check


def _itk_reads_ours(ending: str) -> Callable[[Path, random.Random], None]:
    def check(folder: Path, dice: random.Random) -> None:
        geometry = _geometry(dice, sheared=dice.random() < 0.3)
        masks = _masks(geometry, dice)
        write = write_seg_nrrd if ending == ".seg.nrrd" else write_labelmap
        write(folder / f"ours{ending}", masks, geometry)
        array, matrix = _read_by_itk(folder / f"ours{ending}")
        _same_voxels(array, masks["one"] * 1 + masks["two"] * 2)
        _same_place(matrix, geometry, 64)

    return check


# ---------------------------------------------------------------------------------------------------------- read here


def _we_read_nibabels(ending: str) -> Callable[[Path, random.Random], None]:
    def check(folder: Path, dice: random.Random) -> None:
        import nibabel

        forms = dice.choice(("sform", "qform", "both"))
        geometry = _geometry(dice, sheared=forms == "sform" and dice.random() < 0.3)
        array = _voxels(geometry, dice, dice.choice((np.uint8, np.int16, np.int32, np.float32, np.float64)))
        kind = nibabel.Nifti2Image if ending == ".nii" and dice.random() < 0.3 else nibabel.Nifti1Image
        image = kind(array.transpose(), geometry.ijk_to_ras)
        image.set_sform(geometry.ijk_to_ras, 1 if forms != "qform" else 0)
        image.set_qform(geometry.ijk_to_ras, 1 if forms != "sform" else 0)
        path = folder / f"theirs{'.hdr' if ending == '.hdr' else ending}"
        if ending == ".hdr":
            image = nibabel.Nifti1Pair(image.dataobj, None, image.header)
        nibabel.save(image, path)
        volume = read_volume(path)
        _same_voxels(volume.array, array)
        # Near half turns the three 32-bit numbers of a qform round an angle to 0.0002, so nibabel reads it, too.
        stored = VolumeGeometry(geometry.shape, nibabel.load(path).affine)
        _same_place(volume.geometry.ijk_to_ras, stored, 32)
        if forms != "qform":
            _same_place(volume.geometry.ijk_to_ras, geometry, 32)

    return check


def _we_read_itks(ending: str) -> Callable[[Path, random.Random], None]:
    def check(folder: Path, dice: random.Random) -> None:
        geometry = _geometry(dice, sheared=dice.random() < 0.3)
        array = _voxels(geometry, dice, dice.choice((np.uint8, np.int16, np.int32, np.float32, np.float64)))
        image = sitk.GetImageFromArray(array)
        lps = _FLIP @ geometry.ijk_to_ras
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetSpacing(geometry.spacing)
        image.SetDirection((lps[:3, :3] / geometry.spacing).ravel().tolist())
        for path in folder.glob("theirs.*"):
            path.unlink()
        sitk.WriteImage(image, str(folder / f"theirs{ending}"), dice.random() < 0.5)
        volume = read_volume(folder / f"theirs{ending}")
        _same_voxels(volume.array, array)
        _same_place(volume.geometry.ijk_to_ras, geometry, 64)
        again, matrix = _read_by_itk(folder / f"theirs{ending}")
        _same_voxels(again, array)
        _same_place(matrix, volume.geometry, 64)

    return check


def _labels_in_another_order(folder: Path, dice: random.Random) -> None:
    """A label map whose axes run in another order and direction is put on the voxels where nibabel sees them."""
    import nibabel

    geometry = _geometry(dice)
    array = _voxels(geometry, dice, np.uint16)
    order, flips = dice.choice(list(permutations(range(3)))), [dice.random() < 0.5 for _ in range(3)]
    stored = nibabel.Nifti1Image(array.transpose(), geometry.ijk_to_ras)
    turned = [[order[axis], -1.0 if flips[axis] else 1.0] for axis in range(3)]
    nibabel.save(stored.as_reoriented(np.array(turned)), folder / "turned.nii")
    _same_voxels(read_label(folder / "turned.nii", geometry), array)


def _read_by_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with quiet_itk() if path.suffix == ".mhd" else contextlib.nullcontext():
        image = sitk.ReadImage(str(path))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), _FLIP @ matrix


CHECKS = {
    "nibabel reads our .nii": _nibabel_reads_ours(".nii"),
    "nibabel reads our .nii.gz": _nibabel_reads_ours(".nii.gz"),
    "ITK reads our .seg.nrrd": _itk_reads_ours(".seg.nrrd"),
    "ITK reads our .nrrd": _itk_reads_ours(".nrrd"),
    "ITK reads our .mha": _itk_reads_ours(".mha"),
    "we read nibabel's .nii": _we_read_nibabels(".nii"),
    "we read nibabel's .nii.gz": _we_read_nibabels(".nii.gz"),
    "we read nibabel's .hdr and .img": _we_read_nibabels(".hdr"),
    "we read ITK's .nrrd": _we_read_itks(".nrrd"),
    "we read ITK's .nhdr": _we_read_itks(".nhdr"),
    "we read ITK's .mha": _we_read_itks(".mha"),
    "we read ITK's .mhd": _we_read_itks(".mhd"),
    "we put labels of another axis order in place": _labels_in_another_order,
}
