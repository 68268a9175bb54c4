"""Registered volumes as channels: what one of them shows is segmented on the voxels of the first."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.clips import dice

from MedSAMSlicerLib.core.errors import GeometryError, VolumeError
from MedSAMSlicerLib.core.geometry import VolumeGeometry
from MedSAMSlicerLib.core.intensity import Window
from MedSAMSlicerLib.io.fusion import Channel, fused, on_grid
from MedSAMSlicerLib.io.volumes import Volume, read_volume

from .conftest import ball

LESION = ball((12, 40, 48), (6, 20, 24), 5)
GRAY = Window(0, 255)


def volume(array: np.ndarray, geometry: VolumeGeometry, name: str = "v") -> Volume:
    return Volume(array, geometry, name, Path(name))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A CT of noise without the lesion, and a PET with coarser voxels, at another place, that shows it."""
    folder, rng = tmp_path_factory.mktemp("channels"), np.random.default_rng(1)
    ct = sitk.GetImageFromArray(rng.normal(40, 20, LESION.shape).astype(np.float32))
    ct.SetSpacing((1.5, 1.5, 3.0))
    pet = sitk.GetImageFromArray(LESION.astype(np.float32) * 5 + rng.random(LESION.shape).astype(np.float32))
    pet.SetSpacing((1.5, 1.5, 3.0))
    coarse = sitk.Image(30, 26, 14, sitk.sitkFloat32)
    coarse.SetSpacing((3.0, 3.0, 3.0))
    coarse.SetOrigin((-6.0, -6.0, -3.0))
    sitk.WriteImage(ct, str(folder / "ct.nii.gz"))
    sitk.WriteImage(sitk.Resample(pet, coarse), str(folder / "pet.nii.gz"))
    return folder / "ct.nii.gz", folder / "pet.nii.gz"


def test_a_lesion_that_only_pet_shows_is_found_on_the_voxels_of_the_ct(
    cli: Any, files: tuple[Path, Path], tmp_path: Path
) -> None:
    ct, pet = files
    found = {}
    for name, words in (("alone", ()), ("both", ("--channel", f"{pet},0,6"))):
        done = cli(
            *("segment", ct, "--box=6,19,15,30,26", "--window", "soft-tissue", "--json"),
            *("--volume-stage", "off", "--threads", "1", "-o", tmp_path / f"{name}.nii.gz", *words),
        )
        assert done.code == 0, done
        assert json.loads(done.out)["channels"] == list(words[1:])
        found[name] = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{name}.nii.gz"))) > 0
    assert dice(found["both"], LESION) > 0.75
    assert dice(found["both"], LESION) > dice(found["alone"], LESION) + 0.1


def test_the_same_volume_three_times_is_the_volume_alone_bit_for_bit(
    segment: Any, ct_file: Path, tmp_path: Path
) -> None:
    window = ("--window", "soft-tissue", "--volume-stage", "off")
    again = ("--channel", f"{ct_file},soft-tissue")
    assert segment(*window, "-o", tmp_path / "plain.nii.gz").code == 0
    assert segment(*window, *again, *again, "-o", tmp_path / "fused.nii.gz").code == 0
    one, three = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / name)))
        for name in ("plain.nii.gz", "fused.nii.gz")
    )
    assert np.array_equal(one, three)


def test_a_volume_on_another_grid_lies_where_its_header_says_and_is_black_beyond() -> None:
    rng = np.random.default_rng(2)
    array = rng.random((6, 8, 10)).astype(np.float32) * 200
    first = VolumeGeometry.from_spacing((6, 8, 10), (2.0, 2.0, 4.0), (5.0, 6.0, 7.0))
    turned = np.eye(4)
    turned[:3, :3] = np.array([[0, 2.0, 0], [-2.0, 0, 0], [0, 0, 4.0]])  # i runs to posterior, j to the right
    turned[:3, 3] = first.to_ras([[0, 7, 0]])[0]
    other = VolumeGeometry((6, 10, 8), turned)
    same = np.swapaxes(array[:, ::-1], 1, 2)  # the same voxels as that grid stores them
    assert np.allclose(on_grid(volume(same, other), first), array, atol=1e-3)
    shifted = VolumeGeometry.from_spacing((6, 8, 10), (2.0, 2.0, 4.0), (5.0 + 2.0, 6.0, 7.0))
    moved = on_grid(volume(array, shifted), first)
    assert np.isnan(moved[..., 0]).all()
    assert np.allclose(moved[..., 1:], array[..., :-1], atol=1e-3)
    colors = fused([Channel(volume(array, first), GRAY), Channel(volume(array, shifted), GRAY)])
    assert not colors[..., 0, 1].any()
    assert np.array_equal(colors[..., 2], colors[..., 0])


def test_volumes_that_do_not_meet_and_too_many_are_refused(files: tuple[Path, Path]) -> None:
    ct = read_volume(files[0])
    far = np.array(ct.geometry.ijk_to_ras)
    far[:3, 3] += 1e4
    away = replace(ct, geometry=VolumeGeometry(ct.geometry.shape, far), path=Path("pet.nii.gz"))
    with pytest.raises(GeometryError, match=r"pet\.nii\.gz does not overlap the first volume"):
        fused([Channel(ct, GRAY), Channel(away, GRAY)])
    with pytest.raises(VolumeError, match=r"Two or three volumes .* got 4"):
        fused([Channel(ct, GRAY)] * 4)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--channel", "none.nii.gz"), 1, "none.nii.gz does not exist"),
        (
            ("--channel", "a", "--channel", "b", "--channel", "c"),
            2,
            "--channel can be given twice, not 3 times",
        ),
        (("--channel", "CT,purple"), 1, "LOWER,UPPER, got 'purple'"),
        (("--channel", "CT", "-o", "CT"), 1, "that is the volume"),
    ],
)
def test_channels_that_cannot_be_used_are_one_sentence(
    segment: Any, ct_file: Path, tmp_path: Path, words: tuple[str, ...], code: int, sentence: str
) -> None:
    given = [word.replace("CT", str(ct_file)) for word in words]
    done = segment(*(() if "-o" in words else ("-o", tmp_path / "a.nii.gz")), *given)
    assert done.code == code, done
    assert sentence in done.err
    assert list(tmp_path.iterdir()) == []
