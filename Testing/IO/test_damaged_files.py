"""Files that are damaged, crafted or endless are refused in one sentence, at once, and never read as another image."""

from __future__ import annotations

import bz2
import gzip
import os
import socket
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedSAMSlicerLib.core.errors import MedSAMError, OutputError, PromptError, VolumeError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.input_files import read_prompts
from MedSAMSlicerLib.io.atomic import write_bytes
from MedSAMSlicerLib.io.labels import read_label, read_slice_mask
from MedSAMSlicerLib.io.segmentations import write_labelmap, write_seg_nrrd
from MedSAMSlicerLib.io.volumes import read_volume

from .image_files import ramp, write_nifti_2, write_raw_nifti, write_with_itk

SHAPE = (8, 20, 24)
NOISE = np.random.default_rng(1).integers(-1000, 1000, SHAPE).astype(np.int16)
GEOMETRY = VolumeGeometry(SHAPE, np.diag([-1.0, -1.0, 1.0, 1.0]))
REGULAR = r"but a regular file is needed|link that leads to itself"
ONLY_POSIX = pytest.mark.skipif(sys.platform == "win32", reason="pipes with names are of POSIX")


def refused(path: Path, *reasons: str) -> str:
    with pytest.raises(VolumeError) as error:
        read_volume(path)
    sentence = str(error.value)
    assert path.name.split(".")[0] in sentence
    assert "\n" not in sentence
    assert any(reason in sentence for reason in reasons), sentence
    return sentence


def mha(
    path: Path,
    fields: str = "",
    data: bytes = NOISE.tobytes(),
    end: str = "ElementDataFile = LOCAL\n",
    size: str = "24 20 8",
) -> Path:
    head = f"ObjectType = Image\nNDims = 3\n{fields}DimSize = {size}\nElementType = MET_SHORT\n{end}"
    path.write_bytes(head.encode() + data)
    return path


def nrrd(
    path: Path, encoding: str = "raw", data: bytes = NOISE.tobytes(), fields: str = "", size: str = "24 20 8"
) -> Path:
    head = (
        f"NRRD0005\ntype: int16\ndimension: 3\nspace: LPS\nsizes: {size}\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
        f"endian: little\nencoding: {encoding}\n{fields}\n"
    )
    path.write_bytes(head.encode() + data)
    return path


# ----------------------------------------------------------------------------------------------------------- checksums


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_no_flipped_bit_of_a_compressed_volume_is_read_as_another_volume(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"flipped{suffix}"
    write_with_itk(path, NOISE, compress=True)
    data = path if suffix != ".mhd" else next(file for file in tmp_path.iterdir() if file.suffix != ".mhd")
    good = data.read_bytes()
    start = len(good) - len(good) // 2  # within the voxels
    for place in range(start, len(good), len(good) // 40):
        bad = bytearray(good)
        bad[place] ^= 0x10
        data.write_bytes(bad)
        refused(path, "damaged", "truncated")


def test_bzip2_voxels_are_read_and_their_checksum_is_verified(tmp_path: Path) -> None:
    packed = bz2.compress(NOISE.tobytes())
    np.testing.assert_array_equal(read_volume(nrrd(tmp_path / "good.nrrd", "bzip2", packed)).array, NOISE)
    bad = bytearray(packed)
    bad[len(bad) // 2] ^= 1
    refused(nrrd(tmp_path / "bad.nrrd", "bzip2", bytes(bad)), "damaged")


def test_an_unknown_encoding_is_named(tmp_path: Path) -> None:
    refused(nrrd(tmp_path / "odd.nrrd", "zrl"), "encoding 'zrl'")


def test_a_gzip_file_of_several_members_is_read_whole(tmp_path: Path) -> None:
    content = NOISE.tobytes()
    members = gzip.compress(content[:1001]) + gzip.compress(b"") + gzip.compress(content[1001:]) + bytes(512)
    volume = read_volume(nrrd(tmp_path / "members.nrrd", "gzip", members))
    np.testing.assert_array_equal(volume.array, NOISE)
    assert volume.warnings == ()


@pytest.mark.parametrize("size", ["", f"CompressedDataSize = {len(zlib.compress(NOISE.tobytes()))}\n"])
def test_a_compressed_metaimage_is_read_with_and_without_its_size(tmp_path: Path, size: str) -> None:
    path = mha(tmp_path / "packed.mha", f"CompressedData = True\n{size}", zlib.compress(NOISE.tobytes()))
    np.testing.assert_array_equal(read_volume(path).array, NOISE)


@pytest.mark.parametrize("kind", ["raw", "gzip"])
def test_bytes_beyond_the_voxels_are_reported(tmp_path: Path, kind: str) -> None:
    content = NOISE.tobytes() + bytes(96)
    data = content if kind == "raw" else gzip.compress(content)
    volume = read_volume(nrrd(tmp_path / "more.nrrd", kind, data))
    np.testing.assert_array_equal(volume.array, NOISE)
    assert "96 bytes more" in volume.warnings[0]


def test_png_masks_with_a_flipped_bit_or_cut_off_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mask.png"
    write_with_itk(path, (NOISE[0] > 0).astype(np.uint8) * np.uint8(255))
    good = path.read_bytes()
    assert read_slice_mask(path, GEOMETRY, SliceAxis.K, 0).sum() == (NOISE[0] > 0).sum()
    for place in range(9, len(good), 7):
        bad = bytearray(good)
        bad[place] ^= 0x40
        for content in (bytes(bad), good[:place]):
            path.write_bytes(content)
            with pytest.raises(MedSAMError, match=r"mask\.png"):
                read_slice_mask(path, GEOMETRY, SliceAxis.K, 0)
    assert capfd.readouterr() == ("", "")


# ----------------------------------------------------------------------------------------------------- crafted headers


@pytest.mark.parametrize(
    ("fields", "size", "end"),
    [
        ("NDims = 1000\n", "24 20 8", ""),
        ("", "24 20 8", "ElementDataFile = /etc/%s.x\n"),
        ("", "24 20 8", "ElementDataFile = %n%n%n 1 8 1\n"),
        ("", "24 20 8", "ElementDataFile = /etc/passwd\n"),
        ("", "24 20 8", "ElementDataFile = ../other.raw\n"),
        ("", "24 20 8", "ElementDataFile = a%03d.raw 0 999999999 1\n"),
        ("", "1e20 20 8", "ElementDataFile = LOCAL\n"),
        ("", "100000000000000000000 20 8", "ElementDataFile = LOCAL\n"),
        ("", "-24 -20 8", "ElementDataFile = LOCAL\n"),
        ("", "24 20", "ElementDataFile = LOCAL\n"),
        ("ElementSpacing = 1 1\n", "24 20 8", "ElementDataFile = LOCAL\n"),
        ("ElementSpacing = 0 1 1\n", "24 20 8", "ElementDataFile = LOCAL\n"),
        ("Offset = 1 2 nan\n", "24 20 8", "ElementDataFile = LOCAL\n"),
        ("Offset = 1 2 3\nOrigin = 1 2 4\n", "24 20 8", "ElementDataFile = LOCAL\n"),
        ("TransformMatrix = 1 0 0\n", "24 20 8", "ElementDataFile = LOCAL\n"),
        ("ElementType = MET_STRING\n", "24 20 8", "ElementDataFile = LOCAL\n"),
        ("ElementNumberOfChannels = -1\n", "24 20 8", "ElementDataFile = LOCAL\n"),
        ("HeaderSize = 1e9\n", "24 20 8", "ElementDataFile = LOCAL\n"),
        ("CompressedData = True\nCompressedDataSize = 99999999999\n", "24 20 8", "ElementDataFile = LOCAL\n"),
        (f"{'A' * 70000} = 1\n", "24 20 8", "ElementDataFile = LOCAL\n"),
    ],
)
def test_a_metaimage_header_is_checked_before_anything_is_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], fields: str, size: str, end: str
) -> None:
    path = mha(tmp_path / "crafted.mha", fields, end=end or "ElementDataFile = LOCAL\n", size=size)
    refused(path, "damaged", "keeps its voxels in", "not an image", "truncated")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("axes", ["1000", "-3", "0", "1000000000", "three"])
def test_a_number_of_axes_that_cannot_be_is_named(tmp_path: Path, axes: str) -> None:
    path = mha(tmp_path / "axes.mha")
    path.write_bytes(path.read_bytes().replace(b"NDims = 3", f"NDims = {axes}".encode()))
    refused(path, f"NDims is '{axes}'")
    path = nrrd(tmp_path / "axes.nrrd")
    path.write_bytes(path.read_bytes().replace(b"dimension: 3", f"dimension: {axes}".encode()))
    refused(path, f"dimension is '{axes}'")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("encoding: raw", "encoding: raw\ndata file: /etc/passwd"),
        ("encoding: raw", "encoding: raw\ndata file: %s%s%n 0 9 1"),
        ("encoding: raw", "encoding: raw\ndata file: LIST 99"),
        ("sizes: 24 20 8", "sizes: 24 20 99999999999999999999"),
        ("sizes: 24 20 8", "sizes: 24 20 -8"),
        ("sizes: 24 20 8", "sizes: 24 20"),
        ("type: int16", "type: block"),
        ("type: int16", "type: int16\ntype: int16"),
        ("endian: little", "endian: middle"),
        ("space: LPS", "space: LPST"),
        ("(1,0,0) (0,1,0)", "(1,0,0) (0,1)"),
        ("(1,0,0) (0,1,0)", "(1,0,0) (0,1e999,0)"),
        ("(1,0,0) (0,1,0)", "none none"),
        ("encoding: raw", "encoding: raw\nbyte skip: -7"),
        ("encoding: raw", "encoding: raw\nline skip: 9999"),
    ],
)
def test_an_nrrd_header_is_checked_before_anything_is_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], old: str, new: str
) -> None:
    path = nrrd(tmp_path / "crafted.nrrd")
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode(), 1))
    refused(path, "damaged", "truncated", "keeps its voxels in", "cannot be read", "4-D", "unknown")
    assert capfd.readouterr() == ("", "")


def test_an_nrrd_header_without_end_or_with_very_many_keys_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "endless.nrrd"
    path.write_bytes(b"NRRD0005\ntype: int16\n# " + b"x" * (9 << 20))
    refused(path, "its header has no end")
    many = "".join(f"key{n}:=value\n" for n in range(60_000))
    refused(nrrd(tmp_path / "many.nrrd", fields=many), "more than 50000 lines")
    few = "".join(f"key{n}:=value\n" for n in range(40_000))
    np.testing.assert_array_equal(read_volume(nrrd(tmp_path / "few.nrrd", fields=few)).array, NOISE)


@pytest.mark.parametrize("files", ["LIST\na.raw\n", "LIST 2\na.raw\nb.raw\n", "slice%02d.raw 1 3 1\n"])
def test_a_list_that_names_too_few_files_is_refused(tmp_path: Path, files: str) -> None:
    for name in ("a.raw", "b.raw", "slice01.raw", "slice02.raw", "slice03.raw"):
        (tmp_path / name).write_bytes(NOISE[0].tobytes())
    refused(mha(tmp_path / "few.mhd", data=b"", end=f"ElementDataFile = {files}"), "names")
    (tmp_path / "few.nhdr").write_bytes(
        nrrd(tmp_path / "x.nrrd", data=b"").read_bytes().rstrip() + f"\ndata file: {files}".encode()
    )
    refused(tmp_path / "few.nhdr", "names")


def test_slices_in_files_of_their_own_are_read_in_order(tmp_path: Path) -> None:
    for number, plane in enumerate(NOISE):
        (tmp_path / f"s{number:02d}.raw").write_bytes(plane.tobytes())
    names = "".join(f"s{n:02d}.raw\n" for n in range(len(NOISE)))
    head = nrrd(tmp_path / "x.nrrd", data=b"").read_bytes().decode().rstrip()
    for path, text in (
        (tmp_path / "list.nhdr", f"{head}\ndata file: LIST\n{names}"),
        (tmp_path / "pattern.nhdr", f"{head}\ndata file: s%02d.raw 0 7 1\n"),
    ):
        path.write_text(text)
        np.testing.assert_array_equal(read_volume(path).array, NOISE)
    for end in (f"LIST\n{names}", "s%02d.raw 0 7 1\n"):
        path = mha(tmp_path / "slices.mhd", data=b"", end=f"ElementDataFile = {end}")
        np.testing.assert_array_equal(read_volume(path).array, NOISE)
    (tmp_path / "s05.raw").write_bytes(b"")
    with pytest.raises(VolumeError, match=r"s05\.raw is truncated"):
        read_volume(tmp_path / "list.nhdr")


# --------------------------------------------------------------------------------------------------------- sizes first


def test_sizes_are_compared_with_the_bytes_before_anything_is_allocated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the size that a header claims is asked for."""

    def no_memory(*_: object, **__: object) -> None:
        raise AssertionError("memory was asked for")

    write_raw_nifti(tmp_path / "huge.nii", NOISE, np.eye(4), dim=(3, 30000, 30000, 30000))
    write_raw_nifti(tmp_path / "packed.nii.gz", NOISE, np.eye(4), dim=(3, 4000, 4000, 400))
    write_nifti_2(tmp_path / "new.nii", NOISE, np.eye(4))
    content = bytearray((tmp_path / "new.nii").read_bytes())
    struct.pack_into("<3q", content, 24, 10**9, 10**9, 10**9)
    (tmp_path / "new.nii").write_bytes(content)
    nrrd(tmp_path / "raw.nrrd", size="4000 4000 400")
    nrrd(tmp_path / "gzip.nrrd", "gzip", gzip.compress(NOISE.tobytes()), size="4000 4000 400")
    nrrd(tmp_path / "bzip.nrrd", "bzip2", bz2.compress(NOISE.tobytes()), size="999999999 999999999 999999999")
    nrrd(tmp_path / "text.nrrd", "text", b"1 2 3", size="4000 4000 400")
    mha(tmp_path / "local.mha", size="4000 4000 400")
    mha(tmp_path / "zip.mha", "CompressedData = True\n", zlib.compress(NOISE.tobytes()), size="4000 4000 400")
    monkeypatch.setattr(np, "empty", no_memory)
    for path in sorted(tmp_path.iterdir()):
        refused(path, "truncated")


def test_a_stream_that_goes_on_for_very_long_is_not_read_to_its_end(tmp_path: Path) -> None:
    bomb = b"".join(gzip.compress(bytes(1 << 24)) for _ in range(12))
    refused(
        nrrd(tmp_path / "bomb.nrrd", "gzip", gzip.compress(NOISE.tobytes()) + bomb), "continues for more than"
    )


def test_a_volume_that_is_compressed_as_no_scan_is_is_refused(tmp_path: Path) -> None:
    zeros = gzip.compress(bytes(1 << 24)) * 70
    refused(nrrd(tmp_path / "bomb.nrrd", "gzip", zeros, size="1024 1024 560"), "is not a plausible image")


def test_labels_of_another_size_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = nrrd(tmp_path / "large.nrrd", "gzip", gzip.compress(bytes(1 << 24)), size="512 512 32")
    monkeypatch.setattr(np, "empty", None)
    with pytest.raises(MedSAMError, match="it has 32 x 512 x 512 voxels"):
        read_label(path, GEOMETRY)


# ------------------------------------------------------------------------------------------------- regular files only


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


@ONLY_POSIX
@pytest.mark.parametrize("make", [pipe, unix_socket, device, loop])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".png", ".dcm", ""])
def test_only_regular_files_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    path = Path(f"odd{suffix}")
    make(path)
    for read in (
        lambda: read_volume(path),
        lambda: read_label(path, GEOMETRY),
        lambda: read_slice_mask(path, GEOMETRY, SliceAxis.K, 0),
    ):
        with pytest.raises(VolumeError, match=REGULAR):
            read()
    with pytest.raises(PromptError, match=REGULAR):
        read_prompts(path, GEOMETRY)


@ONLY_POSIX
@pytest.mark.parametrize("make", [pipe, unix_socket, device])
@pytest.mark.parametrize("linked", [False, True])
def test_nothing_but_a_regular_file_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], linked: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, write in {
        "out.seg.nrrd": lambda path: write_seg_nrrd(path, {"a": NOISE > 0}, GEOMETRY),
        "out.nii.gz": lambda path: write_labelmap(path, {"a": NOISE > 0}, GEOMETRY),
        "out.json": lambda path: write_bytes(path, b"{}"),
    }.items():
        target = Path(name)
        make(target)
        kind = target.stat().st_mode
        output = Path(f"link.{name}") if linked else target
        if linked:
            output.symlink_to(target)
        with pytest.raises(OutputError, match="not a regular file"):
            write(output)
        assert target.stat().st_mode == kind
        assert len(list(tmp_path.glob(".*"))) == 0


# --------------------------------------------------------------------------------------- places: what the header means


def test_a_sform_of_zeros_gives_way_to_the_qform(tmp_path: Path) -> None:
    path = tmp_path / "zeros.nii"
    write_raw_nifti(path, ramp(), np.zeros((4, 4)), qform_offset=(10, -20, 30), spacing=(1, 1.25, 2.5))
    matrix = read_volume(path).geometry.ijk_to_ras
    np.testing.assert_allclose(matrix, [[1, 0, 0, 10], [0, 1.25, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1]])


@pytest.mark.parametrize("number", [np.nan, np.inf, 3e38])
def test_a_qform_of_no_numbers_gives_way_to_the_sform_and_is_refused_without_one(
    tmp_path: Path, number: float
) -> None:
    for sform in (np.diag([-1.0, 1.0, 1.0, 1.0]), None):
        path = tmp_path / "odd.nii"
        write_raw_nifti(path, ramp(), sform, qform_offset=(number, 0, 0))
        content = bytearray(path.read_bytes())
        struct.pack_into("<3f", content, 256, number, -number, 1.0)  # the quaternion
        path.write_bytes(content)
        if sform is None:
            refused(path, "no usable geometry")
        else:
            np.testing.assert_array_equal(read_volume(path).geometry.ijk_to_ras, sform)


def test_bmp_and_jpeg_masks_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    for name in ("mask.bmp", "mask.jpg"):
        path = tmp_path / name
        write_with_itk(path, (NOISE[0] > 0).astype(np.uint8) * np.uint8(255))
        good = path.read_bytes()
        assert read_slice_mask(path, GEOMETRY, SliceAxis.K, 0).shape == (20, 24)
        for length in (len(good) - 2, len(good) // 2, 20):
            path.write_bytes(good[:length])
            with pytest.raises(VolumeError, match=r"is truncated|is damaged"):
                read_slice_mask(path, GEOMETRY, SliceAxis.K, 0)


@pytest.mark.parametrize("dim", [(4, 6, 5, 4, 0), (5, 6, 5, 4, 0, 0), (4, 6, 5, 4, 1)])
def test_a_fourth_axis_of_no_voxels_counts_as_one(tmp_path: Path, dim: tuple[int, ...]) -> None:
    write_raw_nifti(tmp_path / "four.nii", ramp(), np.eye(4), dim=dim)
    np.testing.assert_array_equal(read_volume(tmp_path / "four.nii").array, ramp())


def test_a_nifti_pair_is_read_by_either_name_and_refused_when_cut_off(tmp_path: Path) -> None:
    write_with_itk(tmp_path / "pair.hdr", ramp(), spacing=(1, 2, 3), origin=(4, 5, 6))
    for name in ("pair.hdr", "pair.img"):
        volume = read_volume(tmp_path / name)
        np.testing.assert_array_equal(volume.array, ramp())
        np.testing.assert_allclose(volume.geometry.ijk_to_ras[:3, 3], (-4, -5, 6))
    data = tmp_path / "pair.img"
    data.write_bytes(data.read_bytes()[:-8])
    refused(tmp_path / "pair.hdr", "pair.img is truncated")
    data.unlink()
    refused(tmp_path / "pair.hdr", "pair.img, which is missing")


@pytest.mark.parametrize(("voxels_off", "warns"), [(0.11, True), (0.02, False)])
def test_forms_that_differ_by_a_tenth_of_a_tiny_voxel_are_reported(
    tmp_path: Path, voxels_off: float, warns: bool
) -> None:
    """Voxels of 20 micrometers, whose last one lies elsewhere by less than a hundredth of a millimeter."""
    size = 0.02
    sform = np.diag([size, size, size, 1.0])
    spacing = (size * (1 + voxels_off / 5), size, size)
    write_raw_nifti(tmp_path / "spacing.nii", ramp(), sform, spacing=spacing)
    offset = (voxels_off * size, 0, 0)
    write_raw_nifti(tmp_path / "qform.nii", ramp(), sform, qform_offset=offset, spacing=(size, size, size))
    for name in ("spacing.nii", "qform.nii"):
        warnings = read_volume(tmp_path / name).warnings
        assert ["0.11 voxels" in sentence for sentence in warnings] == [True] * warns


@pytest.mark.parametrize(("off", "fits"), [(0.02, True), (0.09, True), (0.2, False)])
def test_labels_a_little_off_fit_and_others_are_refused_with_the_distance(
    tmp_path: Path, off: float, fits: bool
) -> None:
    size = 0.002
    geometry = VolumeGeometry(SHAPE, np.diag([size, size, size, 1.0]))
    moved = np.diag([size, size, size, 1.0])
    moved[0, 3] = off * size
    path = tmp_path / "label.nii"
    write_raw_nifti(path, (NOISE > 0).astype(np.uint8), moved, spacing=(size, size, size))
    if fits:
        np.testing.assert_array_equal(read_label(path, geometry), NOISE > 0)
    else:
        with pytest.raises(MedSAMError, match=r"0\.0004 mm \(0\.2 voxels\) away"):
            read_label(path, geometry)


def test_a_nifti_that_rounds_a_far_origin_by_a_tenth_of_a_voxel_says_so_and_fits_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    matrix = np.diag([0.008, 0.008, 0.008, 1.0])
    matrix[0, 3] = 30000.00088  # the nearest number of 32 bits is 30000, 0.11 voxels away
    far = VolumeGeometry(SHAPE, matrix)
    write_labelmap(tmp_path / "far.nii.gz", {"a": NOISE > 0}, far)
    assert "0.11 voxels" in caplog.text
    caplog.clear()
    matrix[0, 3] = 30000.0
    near = VolumeGeometry(SHAPE, matrix)
    write_labelmap(tmp_path / "near.nii.gz", {"a": NOISE > 0}, near)
    write_labelmap(tmp_path / "far.nrrd", {"a": NOISE > 0}, far)
    assert caplog.text == ""
    np.testing.assert_array_equal(read_label(tmp_path / "near.nii.gz", near), NOISE > 0)


def test_a_mask_of_a_larger_segmentation_counts_within_the_volume(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    larger = np.zeros((12, 26, 28), bool)
    larger[2:10, 3:23, 2:26] = NOISE > 500
    larger[11, 3:5, 3:5] = True
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0])
    matrix[:3, 3] = (2, 3, -2)
    write_seg_nrrd(tmp_path / "larger.seg.nrrd", {"a": larger}, VolumeGeometry(larger.shape, matrix))
    mask = read_slice_mask(tmp_path / "larger.seg.nrrd", GEOMETRY, SliceAxis.K, 5)
    np.testing.assert_array_equal(mask, NOISE[5] > 500)
    assert "4 labeled voxels" in caplog.text
    with pytest.raises(MedSAMError, match="some of its labels lie outside"):
        read_label(tmp_path / "larger.seg.nrrd", GEOMETRY)


def test_what_native_libraries_print_does_not_reach_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A PNG with a wrong color profile, of which libpng warns."""
    path = tmp_path / "mask.png"
    write_with_itk(path, (NOISE[0] > 0).astype(np.uint8))
    content = path.read_bytes()
    profile = b"icc\0\0" + zlib.compress(bytes(128))
    chunk = struct.pack(">I", len(profile)) + b"iCCP" + profile
    chunk += struct.pack(">I", zlib.crc32(chunk[4:]))
    path.write_bytes(content[:33] + chunk + content[33:])
    sitk.ReadImage(str(path))
    assert "libpng warning" in "".join(capfd.readouterr())
    assert read_slice_mask(path, GEOMETRY, SliceAxis.K, 0).any()
    assert capfd.readouterr() == ("", "")
