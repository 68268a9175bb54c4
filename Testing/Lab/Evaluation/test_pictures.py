"""Pictures are taken as they are looked at, masks as they were drawn, whatever file holds them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from MedSAMSlicerLib.core.errors import MedSAMError, VolumeError
from MedSAMSlicerLib.lab.evaluation.pictures import SOFT_VALUES, labels_of, read_mask, read_picture

from .labeled_volumes import colored, spot, write_picture

COLORS = colored(spot())
DAVIS = [0, 0, 0, 128, 0, 0, 0, 128, 0, *[128] * 3, *[7] * 756]
"""A palette with a color in it, and grays such as label 3."""


def labels_from(path: Path) -> np.ndarray:
    return labels_of(read_mask(path), path)


def palette_picture(indices: np.ndarray, palette: list[int]) -> Image.Image:
    picture = Image.fromarray(indices.astype(np.uint8), "L").copy()
    picture.putpalette(palette)
    return picture


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "tiff", "PNG"])
def test_a_color_picture_keeps_its_colors(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"pólipo 息肉.{ending}"
    Image.fromarray(COLORS).save(path)
    assert np.array_equal(read_picture(path).array, COLORS[np.newaxis])
    assert read_picture(path).ijk_to_ras is None


def test_a_jpeg_is_read_as_its_encoder_left_it(tmp_path: Path) -> None:
    Image.fromarray(COLORS).save(tmp_path / "x.jpg", quality=95)
    read = read_picture(tmp_path / "x.jpg").array[0]
    assert read.shape == COLORS.shape
    assert np.abs(read.astype(int) - COLORS).mean() < 6


def test_a_picture_lies_as_exif_says(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held on its side
    Image.fromarray(COLORS).save(tmp_path / "x.png", exif=turned)
    assert np.array_equal(read_picture(tmp_path / "x.png").array[0], np.rot90(COLORS, -1))


def test_transparency_and_cmyk_do_not_matter_and_a_palette_is_looked_up(tmp_path: Path) -> None:
    covered = np.concatenate([COLORS, np.full((*spot().shape, 1), 9, np.uint8)], axis=-1)
    Image.fromarray(covered).save(tmp_path / "alpha.png")
    assert np.array_equal(read_picture(tmp_path / "alpha.png").array[0], COLORS)
    palette_picture(spot(), DAVIS).save(tmp_path / "palette.png")
    assert np.unique(read_picture(tmp_path / "palette.png").array.reshape(-1, 3), axis=0).tolist() == [
        [0, 0, 0],
        [128, 0, 0],
    ]
    Image.fromarray(COLORS).convert("CMYK").save(tmp_path / "cmyk.tif")
    assert np.array_equal(read_picture(tmp_path / "cmyk.tif").array[0], COLORS)


def test_gray_keeps_its_numbers_and_needless_color_goes(tmp_path: Path) -> None:
    gray = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 20
    write_picture(tmp_path / "deep.png", gray)
    write_picture(tmp_path / "deep.tif", gray)
    for name in ("deep.png", "deep.tif"):
        read = read_picture(tmp_path / name).array
        assert read.dtype == np.uint16
        assert np.array_equal(read[0], gray)
    low = (gray // 256).astype(np.uint8)
    Image.fromarray(np.stack([low] * 3, axis=-1)).save(tmp_path / "three.png")
    Image.fromarray(low).convert("LA").save(tmp_path / "alpha.png")
    for name in ("three.png", "alpha.png"):
        assert np.array_equal(read_picture(tmp_path / name).array, low[np.newaxis])


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_color_of_sixteen_bits_becomes_eight(tmp_path: Path, ending: str) -> None:
    write_picture(tmp_path / f"x.{ending}", COLORS.astype(np.uint16) * 257)
    assert np.array_equal(read_picture(tmp_path / f"x.{ending}").array[0], COLORS)


@pytest.mark.parametrize("ending", ["nii.gz", "nrrd", "mha"])
def test_a_flat_medical_image_keeps_its_spacing(tmp_path: Path, ending: str) -> None:
    image = sitk.GetImageFromArray(np.arange(48 * 64, dtype=np.int16).reshape(48, 64))
    image.SetSpacing((0.5, 0.25))
    sitk.WriteImage(image, str(tmp_path / f"x.{ending}"))
    pixels = read_picture(tmp_path / f"x.{ending}")
    assert pixels.array.shape == (1, 48, 64)
    assert pixels.ijk_to_ras is not None
    assert np.linalg.norm(pixels.ijk_to_ras[:3, :2], axis=0) == pytest.approx((0.5, 0.25))


def test_labels_in_a_palette_are_its_indices_also_where_a_color_is_gray(tmp_path: Path) -> None:
    indices = np.where(spot(), 3, 0).astype(np.uint8)
    indices[:5] = 1
    palette_picture(indices, DAVIS).save(tmp_path / "x.png")
    assert np.array_equal(labels_from(tmp_path / "x.png"), indices)
    alone = np.where(spot(), 3, 0).astype(np.uint8)
    palette_picture(alone, DAVIS).save(tmp_path / "y.png")
    assert np.array_equal(labels_from(tmp_path / "y.png"), alone)


def test_a_palette_of_grays_gives_the_grays(tmp_path: Path) -> None:
    palette_picture(~spot(), [255, 255, 255, 0, 0, 0]).save(tmp_path / "x.png")
    assert np.array_equal(labels_from(tmp_path / "x.png"), spot())


@pytest.mark.parametrize("highest", [1, 255, 65535])
def test_a_binary_mask_is_label_one(tmp_path: Path, highest: int) -> None:
    write_picture(tmp_path / "x.png", spot().astype(np.uint16 if highest > 255 else np.uint8) * highest)
    assert np.array_equal(labels_from(tmp_path / "x.png"), spot())


def test_a_mask_of_one_bit_or_with_transparency_or_in_one_color_is_binary(tmp_path: Path) -> None:
    Image.fromarray(spot()).save(tmp_path / "bit.png")
    white = np.full((*spot().shape, 4), 255, np.uint8)
    white[..., 3] *= spot()
    Image.fromarray(white).save(tmp_path / "transparent.png")
    red = np.zeros((*spot().shape, 3), np.uint8)
    red[spot(), 0] = 200
    Image.fromarray(red).save(tmp_path / "red.png")
    for name in ("bit.png", "transparent.png", "red.png"):
        assert np.array_equal(labels_from(tmp_path / name), spot()), name


def test_a_jpeg_mask_is_cut_at_half(tmp_path: Path) -> None:
    Image.fromarray(spot().astype(np.uint8) * 255).convert("RGB").save(tmp_path / "x.jpg", quality=60)
    stored = np.asarray(Image.open(tmp_path / "x.jpg"))
    assert len(np.unique(stored)) > 2
    assert np.array_equal(labels_from(tmp_path / "x.jpg"), spot())


def test_soft_edges_are_cut_at_half(tmp_path: Path) -> None:
    rows, columns = np.indices((48, 64))
    depth = 10.5 - np.hypot(rows - 22, columns - 30)
    soft = (depth / 10 * 255 + 128).clip(0, 255).astype(np.uint8)
    assert len(np.unique(soft)) > SOFT_VALUES
    write_picture(tmp_path / "x.png", soft)
    assert np.array_equal(labels_from(tmp_path / "x.png"), soft >= 128)


def test_what_nobody_judged_is_background(tmp_path: Path) -> None:
    values = np.where(spot(), 2, 0).astype(np.uint8)
    values[spot(radius=12) & ~spot()] = 255
    values[:4] = 1
    write_picture(tmp_path / "x.png", values)
    assert np.array_equal(labels_from(tmp_path / "x.png"), np.where(values == 255, 0, values))


def test_a_mask_of_several_colors_is_refused(tmp_path: Path) -> None:
    Image.fromarray(COLORS).save(tmp_path / "x.png")
    with pytest.raises(VolumeError, match=r"x\.png has several colors"):
        read_mask(tmp_path / "x.png")


def test_what_is_no_label_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.where(spot(), 0.5, 0).astype(np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(VolumeError, match=r"x\.tif is not a mask"):
        labels_from(tmp_path / "x.tif")


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.tif", "x.bmp", "x.nrrd"])
@pytest.mark.parametrize("read", [read_picture, read_mask])
def test_a_damaged_or_missing_file_is_reported_in_one_sentence(tmp_path: Path, name: str, read) -> None:
    with pytest.raises(VolumeError, match=rf"{name} does not exist\.$"):
        read(tmp_path / name)
    (tmp_path / name).write_bytes(b"not a picture")
    with pytest.raises(VolumeError, match=rf"{name} is not .*damaged\.$"):
        read(tmp_path / name)


def test_a_missing_package_is_reported_with_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_picture(tmp_path / "x.png", COLORS)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MedSAMError, match=r"pillow.*medsamslicer\[lab\]"):
        read_picture(tmp_path / "x.png")


def test_a_picture_that_breaks_off_is_reported(tmp_path: Path) -> None:
    write_picture(tmp_path / "x.png", COLORS)
    whole = (tmp_path / "x.png").read_bytes()
    (tmp_path / "x.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VolumeError, match=r"x\.png is not a picture, or it is damaged"):
        read_picture(tmp_path / "x.png")


def test_numbers_that_are_neither_gray_nor_color_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "x.mha", np.zeros((8, 8, 2), np.uint8))
    with pytest.raises(VolumeError, match="2 values per pixel of type uint8"):
        read_picture(tmp_path / "x.mha")
