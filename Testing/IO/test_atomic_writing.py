"""A result file is whole or not there, and an existing one stays untouched when writing fails."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import OutputError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.io.atomic import replacing, write_bytes
from MedSAMSlicerLib.io.pictures import write_picture
from MedSAMSlicerLib.io.segmentations import write_labelmap, write_seg_nrrd

LIBRARY = Path(__file__).resolve().parents[2] / "MedSAMSlicer"
GEOMETRY = VolumeGeometry.from_spacing((24, 64, 64), (1, 1, 2))
NOISE = np.random.default_rng(0).random(GEOMETRY.shape) < 0.5  # does not compress below 12 kB

# Writes "out" + the ending into the folder, with noise that no compression makes small.
PROGRAM = """
import os, resource, signal, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from MedSAMSlicerLib.core.errors import OutputError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.io import pictures, segmentations
folder, suffix, mode = sys.argv[2:5]
geometry = VolumeGeometry.from_spacing((24, 64, 64), (1, 1, 2))
masks = {"noise": np.random.default_rng(0).random(geometry.shape) < 0.5}
path = os.path.join(folder, "out" + suffix)
if mode == "limit":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
if mode == "nobody":
    os.seteuid(65534)
try:
    if suffix == ".seg.nrrd":
        segmentations.write_seg_nrrd(path, masks, geometry)
    elif suffix == ".png":
        gray = masks["noise"].astype(np.uint8) * 255
        pictures.write_picture(path, gray, geometry, SliceAxis.K, masks)
    else:
        segmentations.write_labelmap(path, masks, geometry)
except OutputError as error:
    print(error)
    sys.exit(7)
"""
SUFFIXES = [".seg.nrrd", ".nrrd", ".nii", ".nii.gz", ".mha", ".png"]
posix = pytest.mark.skipif(os.name != "posix", reason="limits of this kind exist on POSIX systems only")


def run_writer(folder: Path, suffix: str, mode: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, str(LIBRARY), str(folder), suffix, mode]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@posix
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_file_that_may_not_grow_leaves_the_old_one(tmp_path: Path, suffix: str) -> None:
    old = tmp_path / f"out{suffix}"
    old.write_text("the result of yesterday")
    done = run_writer(tmp_path, suffix, "limit")
    assert done.returncode == 7, done.stderr
    assert done.stdout.startswith(f"Cannot write {old}: the file would be larger")
    assert [file.name for file in tmp_path.iterdir()] == [old.name]
    assert old.read_text() == "the result of yesterday"


@posix
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_full_disk_leaves_the_old_file(tmp_path: Path, suffix: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a small disk can be mounted by root only")
    try:
        old = disk / f"out{suffix}"
        old.write_text("the result of yesterday")
        done = run_writer(disk, suffix, "disk")
        assert done.returncode == 7, done.stderr
        assert done.stdout.strip() == f"Cannot write {old}: the disk is full."
        assert [file.name for file in disk.iterdir()] == [old.name]
        assert old.read_text() == "the result of yesterday"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@posix
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_read_only_folder_is_named(tmp_path: Path, suffix: str) -> None:
    tmp_path.chmod(0o555)
    mode = "plain"
    if os.geteuid() == 0:  # root writes anywhere, so the writer becomes somebody else
        mode = "nobody"
        for parent in (*tmp_path.parents, LIBRARY, *LIBRARY.parents):
            if not parent.stat().st_mode & stat.S_IXOTH and parent != tmp_path:
                if not parent.is_relative_to(tmp_path.parents[2]):
                    pytest.skip(f"{parent} is closed to other users")
                parent.chmod(parent.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    done = run_writer(tmp_path, suffix, mode)
    tmp_path.chmod(0o755)
    assert done.returncode == 7, done.stderr
    assert done.stdout.startswith(f"Cannot write {tmp_path / ('out' + suffix)}")
    assert "read-only" in done.stdout
    assert list(tmp_path.iterdir()) == []


def write(path: Path) -> None:
    if path.suffix == ".png":
        write_picture(path, NOISE.astype(np.uint8), GEOMETRY, SliceAxis.K, {"noise": NOISE})
    elif path.name.endswith(".seg.nrrd"):
        write_seg_nrrd(path, {"noise": NOISE}, GEOMETRY)
    else:
        write_labelmap(path, {"noise": NOISE}, GEOMETRY)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_folder_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "no such folder" / f"out{suffix}"
    with pytest.raises(OutputError, match=r"no such folder.*: its folder does not exist"):
        write(path)
    assert list(tmp_path.iterdir()) == []


def test_folder_of_that_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out.nrrd").mkdir()
    with pytest.raises(OutputError, match="there is a folder of that name"):
        write_bytes(tmp_path / "out.nrrd", b"x")


def test_file_as_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="its folder does not exist"):
        write_bytes(tmp_path / "file" / "out.nrrd", b"x")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, MemoryError, ValueError])
def test_interruption_half_way_leaves_nothing(tmp_path: Path, interruption: type[BaseException]) -> None:
    (tmp_path / "out.nrrd").write_text("old")

    def half() -> None:
        with replacing(tmp_path / "out.nrrd") as file:
            file.write(b"half")
            raise interruption

    with pytest.raises(interruption):
        half()
    assert [path.name for path in tmp_path.iterdir()] == ["out.nrrd"]
    assert (tmp_path / "out.nrrd").read_text() == "old"


def test_names_are_not_written_when_the_labelmap_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr("MedSAMSlicerLib.io.segmentations.encode_nifti", fail)
    with pytest.raises(OutputError, match=r"out\.nii: the disk is full"):
        write_labelmap(tmp_path / "out.nii", {"noise": NOISE}, GEOMETRY)
    assert list(tmp_path.iterdir()) == []


@posix
def test_result_has_the_permissions_of_a_new_file_and_follows_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.nrrd").symlink_to(tmp_path / "real" / "target.nrrd")
    write_bytes(tmp_path / "link.nrrd", b"x")
    assert (tmp_path / "link.nrrd").is_symlink()
    assert (tmp_path / "real" / "target.nrrd").read_bytes() == b"x"
    plain = tmp_path / "plain"
    plain.write_text("")
    assert (tmp_path / "real" / "target.nrrd").stat().st_mode == plain.stat().st_mode
