"""Unusual but sound NRRD and MetaImage headers give the voxels and the place that SimpleITK reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedSAMSlicerLib.core.errors import VolumeError
from MedSAMSlicerLib.io.conventions import affine_from_lps
from MedSAMSlicerLib.io.volumes import read_volume

VOXELS = np.arange(24).reshape(2, 3, 4)
LITTLE, BIG = VOXELS.astype("<i2").tobytes(), VOXELS.astype(">i2").tobytes()
AS_TEXT = " ".join(str(n) for n in VOXELS.ravel()).encode() + b"\n"
SPACE = "space directions: (0,1.5,0) (1,0,0) (0,0.25,-2)\nspace origin: (1, -2, 3.5)\n"


def nrrd(
    fields: str, data: bytes = LITTLE, kind: str = "int16", axes: int = 3, sizes: str = "4 3 2"
) -> bytes:
    return f"NRRD0005\ntype: {kind}\ndimension: {axes}\nsizes: {sizes}\n{fields}\n".encode() + data


def mha(fields: str, data: bytes = LITTLE, kind: str = "MET_SHORT", end: str = "\n") -> bytes:
    head = f"NDims = 3\nDimSize = 4 3 2\n{fields}ElementType = {kind}\nElementDataFile = LOCAL\n"
    return head.replace("\n", end).encode() + data


RAW = "encoding: raw\nendian: little\n"
HEADERS = {
    "space RAS": nrrd(f"space: RAS\n{SPACE}{RAW}"),
    "space LAS": nrrd(f"space: left-anterior-superior\n{SPACE}{RAW}"),
    "space LPS": nrrd(f"space: LPS\n{SPACE}{RAW}"),
    "space of the scanner": nrrd(f"space: scanner-xyz\n{SPACE}{RAW}"),
    "space without a name": nrrd(f"space dimension: 3\n{SPACE}{RAW}"),
    "space without origin": nrrd(f"space: RAS\nspace directions: (2,0,0)(0,2,0) (0,0,2)\n{RAW}"),
    "no space": nrrd(RAW),
    "spacings alone": nrrd(f"spacings: 2 3 nan\n{RAW}"),
    "spacings and cells": nrrd(f"spacings: 2 3 4\naxis mins: 5 6 7\ncenters: cell cell cell\n{RAW}"),
    "spacings and nodes": nrrd(f"spacings: 2 3 4\naxis mins: 5 6 7\ncenters: node node node\n{RAW}"),
    "names in other cases": nrrd(f"SPACE: RAS\nSpaceDirections: (0,1,0) (1,0,0) (0,0,2)\n{RAW}"),
    "kinds": nrrd(f"space: LPS\n{SPACE}kinds: domain space ???\n{RAW}"),
    "a list of one": nrrd(
        f"space: LPS\nspace directions: none (1,0,0) (0,2,0) (0,0,3)\nkinds: list domain domain domain\n{RAW}",
        axes=4,
        sizes="1 4 3 2",
    ),
    "comments and keys": nrrd(f"# a comment\nkey:=value: of a key\n{RAW}thicknesses: nan nan 3\n"),
    "big endian": nrrd("encoding: raw\nendian: big\n", BIG),
    "text": nrrd("encoding: ascii\n", AS_TEXT),
    "hex": nrrd("encoding: hex\nendian: little\n", LITTLE.hex().encode()),
    "skipped lines": nrrd(f"{RAW}line skip: 2\n", b"one\ntwo\n" + LITTLE),
    "skipped bytes": nrrd(f"{RAW}byte skip: 5\n", b"12345" + LITTLE),
    "the last bytes": nrrd(f"{RAW}byte skip: -1\n", b"12345" + LITTLE),
    "signed char": nrrd("encoding: raw\n", VOXELS.astype("i1").tobytes(), "signed char"),
    "unsigned long long": nrrd(RAW, VOXELS.astype("<u8").tobytes(), "unsigned long long int"),
    "double": nrrd(RAW, VOXELS.astype("<f8").tobytes(), "double"),
    "MetaImage": mha("ObjectType = Image\n"),
    "MetaImage with line ends of Windows": mha("ObjectType = Image\n", end="\r\n"),
    "TransformMatrix": mha("Offset = 1 -2 3\nTransformMatrix = 0 1 0 .5 0 -1 1 0 0\nElementSpacing = 1 2 3\n"),
    "Position and Orientation": mha("Position = 1 2 3\nOrientation = 0 1 0 0 0 1 1 0 0\n"),
    "Origin and Rotation": mha("Origin = 1e1 .5 -3\nRotation = 0 1 0 0 0 1 1 0 0\nCenterOfRotation = 9 9 9\n"),
    "ElementSize": mha("ElementSize = 2 3 4\n"),
    "ElementSize beside ElementSpacing": mha("ElementSize = 2 3 4\nElementSpacing = 1 2 3\n"),
    "BinaryDataByteOrderMSB": mha("BinaryData = True\nBinaryDataByteOrderMSB = True\n", BIG),
    "ElementByteOrderMSB": mha("BinaryData = T\nElementByteOrderMSB = true\n", BIG),
    "HeaderSize": mha("HeaderSize = -1\n", b"1234567" + LITTLE),
    "MET_LONG": mha("", VOXELS.astype("<i4").tobytes(), "MET_LONG"),
    "MET_ULONG_LONG": mha("", VOXELS.astype("<u8").tobytes(), "MET_ULONG_LONG"),
    "MET_FLOAT": mha("", VOXELS.astype("<f4").tobytes(), "MET_FLOAT"),
    "fields of others": mha("Comment = a b = c\nComment = again\nModality = MET_MOD_CT\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_unusual_headers_are_read_as_simpleitk_reads_them(tmp_path: Path, name: str) -> None:
    content = HEADERS[name]
    path = tmp_path / ("odd.nrrd" if content.startswith(b"NRRD") else "odd.mha")
    path.write_bytes(content)
    image, volume = sitk.ReadImage(str(path)), read_volume(path)
    np.testing.assert_array_equal(volume.array, VOXELS)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).reshape(VOXELS.shape), VOXELS)
    matrix = affine_from_lps(image.GetOrigin(), image.GetSpacing(), image.GetDirection())
    np.testing.assert_allclose(volume.geometry.ijk_to_ras, matrix, atol=1e-12)
    assert bool(volume.warnings) is (name in ("space of the scanner", "space without a name"))


def test_text_of_a_metaimage_is_read(tmp_path: Path) -> None:
    (tmp_path / "text.mha").write_bytes(mha("BinaryData = False\n", AS_TEXT))
    np.testing.assert_array_equal(read_volume(tmp_path / "text.mha").array, VOXELS)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"1 2 3", "truncated"),
        (AS_TEXT.replace(b"7", b"x", 1), "not numbers"),
        (AS_TEXT.replace(b"7", b"70000", 1), "range"),
    ],
)
def test_text_that_is_no_such_voxels_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "text.nrrd").write_bytes(nrrd("encoding: ascii\n", data))
    with pytest.raises(VolumeError, match=reason):
        read_volume(tmp_path / "text.nrrd")


def test_a_spacing_that_is_not_positive_is_refused(tmp_path: Path) -> None:
    for number, content in enumerate((nrrd(f"spacings: -1 2 3\n{RAW}"), mha("ElementSpacing = -1 2 3\n"))):
        path = tmp_path / f"negative{number}.mha"
        path.write_bytes(content)
        with pytest.raises(VolumeError, match="-1"):
            read_volume(path)
