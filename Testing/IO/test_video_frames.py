"""Videos are read frame by frame, in any order; what cannot be read is one sentence."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from Testing.clips import moving_shapes, write_pictures, write_video

from MedSAMSlicerLib.core.errors import MedSAMError, VolumeError
from MedSAMSlicerLib.io.video import VideoFile, open_frames

Frames = npt.NDArray[np.uint8]
COUNT = 23


@pytest.fixture(scope="module")
def shades() -> Frames:
    """Frames of one gray each, so that a frame can be recognized even from a lossy file."""
    values = np.arange(COUNT) * 10 + 10
    return np.broadcast_to(values[:, None, None, None], (COUNT, 32, 48, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("b.avi", "mjpeg"), ("c.mkv", "mpeg4"), ("d.mp4", "mpeg4")]
)
def test_frames_come_in_any_order_as_they_come_one_after_the_other(
    shades: Frames, tmp_path: Path, name: str, codec: str
) -> None:
    path = write_video(tmp_path / name, shades, codec)
    with open_frames(path) as frames:
        assert frames.shape == (COUNT, 32, 48, 3)
        assert frames.rate == pytest.approx(10)
        in_turn = [frames.frame(index) for index in range(COUNT)]
    assert [round((float(frame.mean()) - 10) / 10) for frame in in_turn] == list(range(COUNT))
    with VideoFile(path, kept_bytes=4 * 32 * 48 * 3) as few:
        for index in (0, 22, 3, 21, 20, 19, 18, 17, 2, 9, 10, 11, 1):
            assert np.array_equal(few.frame(index), in_turn[index])
        assert len(few._kept) <= 4


def test_a_folder_is_a_video_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    video, _, _ = moving_shapes(12, 20, 30)
    with open_frames(write_pictures(tmp_path / "frames", video)) as frames:
        assert frames.names[9:] == ("9.png", "10.png", "11.png")
        assert np.array_equal(np.stack([frames.frame(index) for index in range(12)]), video)
        with pytest.raises(VolumeError, match="has frames 0 to 11, but frame 12"):
            frames.frame(12)


def test_a_zip_of_frames_is_read_like_their_folder_and_leaves_nothing_behind(tmp_path: Path) -> None:
    video, _, _ = moving_shapes(3, 20, 30)
    folder = write_pictures(tmp_path / "frames", video)
    with zipfile.ZipFile(tmp_path / "frames.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"clip/{path.name}")
        archive.writestr("clip/readme.txt", "no frame")
        archive.writestr("__MACOSX/clip/._0.png", b"no frame either")
    with open_frames(tmp_path / "frames.zip") as frames:
        unpacked = frames._folder  # type: ignore[attr-defined]
        assert frames.names == ("clip/0.png", "clip/1.png", "clip/2.png")
        assert np.array_equal(frames.frame(2), video[2])
    assert not unpacked.exists()


def test_gray_and_deep_and_transparent_pictures_are_frames_in_color(tmp_path: Path) -> None:
    gray = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    color = np.stack([gray, gray[::-1], gray[:, ::-1]], axis=-1)
    with_alpha = np.concatenate([color, np.full((6, 8, 1), 255, np.uint8)], axis=-1)
    for name, array, vector in (
        ("0.png", gray, False),
        ("1.png", gray.astype(np.uint16) << 8, False),
        ("2.png", with_alpha, True),
        ("3.bmp", color, True),
    ):
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=vector), str(tmp_path / name))
    with open_frames(tmp_path) as frames:
        found = [frames.frame(index) for index in range(4)]
    for frame, expected in zip(
        found, (np.stack([gray] * 3, -1), np.stack([gray] * 3, -1), color, color), strict=True
    ):
        assert np.array_equal(frame, expected)


def test_what_is_no_video_is_one_sentence(tmp_path: Path) -> None:
    video, _, _ = moving_shapes(2, 20, 30)
    folder = write_pictures(tmp_path / "frames", video)
    write_pictures(tmp_path / "mixed", video)
    write_pictures(tmp_path / "mixed" / "x", video[:1, :10])
    (tmp_path / "mixed" / "x" / "0.png").rename(tmp_path / "mixed" / "7.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("this is no video, however it is called" * 10)
    (tmp_path / "nothing.mp4").write_bytes(b"")
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("a.txt", "")
    for name, sentence in {
        "missing.mp4": "does not exist",
        "empty": "holds no frames",
        "mixed": r"7.png in .*mixed has 30 x 10 and 0.png 30 x 20",
        "frames/0.png": "is a single picture; give the folder",
        "text.mp4": "is not a video that can be read",
        "nothing.mp4": "is empty",
        "bad.zip": "cannot be unpacked",
        "none.zip": "holds no frames",
    }.items():
        with pytest.raises(VolumeError, match=sentence):
            open_frames(tmp_path / name)
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:-40])
    with open_frames(folder) as frames, pytest.raises(VolumeError, match=r"1.png is (truncated|damaged)"):
        frames.frame(1)


def test_a_video_that_was_cut_off_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    video, _, _ = moving_shapes(12, 64, 64)
    whole = write_video(tmp_path / "a.mkv", video).read_bytes()
    (tmp_path / "half.mkv").write_bytes(whole[: len(whole) // 2])
    with open_frames(
        tmp_path / "half.mkv"
    ) as frames:  # this format knows no number of frames: what is there counts
        assert 0 < len(frames) < 12
        assert frames.frame(len(frames) - 1).shape == (64, 64, 3)
    cut = write_video(tmp_path / "b.mp4", video).read_bytes()
    (tmp_path / "half.mp4").write_bytes(cut[: len(cut) // 2])
    with pytest.raises(VolumeError, match=r"half\.mp4 is "):
        open_frames(tmp_path / "half.mp4")


def test_without_the_package_av_a_video_file_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, _, _ = moving_shapes(2, 32, 32)
    path = write_video(tmp_path / "a.mp4", video)
    folder = write_pictures(tmp_path / "frames", video)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MedSAMError, match=r"a.mp4 is a video file, which needs the package av: pip install"):
        open_frames(path)
    with open_frames(folder) as frames:
        assert len(frames) == 2
