"""A video in a session: frames in color, an object that begins later, and masks, annotations and overlay as files."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedSAMSlicerLib.core.errors import SessionError
from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.web.exports import export
from MedSAMSlicerLib.web.session import WebSession
from MedSAMSlicerLib.web.view import mask_volume, slice_values, state_of

from .conftest import MakeStore, dice

FRAMES, ROWS, COLUMNS = 12, 48, 64
K = SliceAxis.K


def disc(index: int) -> np.ndarray:
    """Where the disc is in a frame: it moves to the right."""
    row, column = np.indices((ROWS, COLUMNS))
    return np.asarray((row - 24) ** 2 + (column - 16 - 2 * index) ** 2 <= 81)


def frame(index: int) -> np.ndarray:
    """A red disc on a brown ground, (rows, columns, 3)."""
    picture = np.full((ROWS, COLUMNS, 3), (90, 70, 60), np.uint8)
    picture[disc(index)] = (220, 40, 50)
    return picture


def zip_of_frames(session: WebSession, folder: Path) -> Path:
    """Frames whose names are only in order when they are read as numbers."""
    archive = session.new_path("operation.zip")
    with zipfile.ZipFile(archive, "w") as file:
        for index in sorted(range(FRAMES), key=str):
            picture = folder / f"frame{index}.png"
            sitk.WriteImage(sitk.GetImageFromArray(frame(index), isVector=True), str(picture))
            file.write(picture, f"clip/{picture.name}")
    return archive


def test_an_object_is_followed_both_ways_through_a_zip_of_frames(
    make_store: MakeStore, tmp_path: Path
) -> None:
    session = make_store().new()
    session.open(zip_of_frames(session, tmp_path))
    volume = state_of(session)["volume"]
    assert (volume["name"], volume["is_video"], volume["shape_kji"]) == (
        "operation",
        True,
        [FRAMES, ROWS, COLUMNS],
    )
    shown = np.frombuffer(slice_values(session.volume, session.value_range, K, 2), np.uint8)
    np.testing.assert_array_equal(shown.reshape(ROWS, COLUMNS, 3), frame(2))
    with pytest.raises(SessionError, match="frames along axis k only"):
        session.prompt("", "point", SliceAxis.J, 3, [[4, 4]])
    session.prompt("", "box", K, 5, [[17, 15], [36, 34]])
    session.set_range("", 3, FRAMES - 1)
    assert session.wait(60)
    session.propagate()
    assert session.wait(120)
    mask = mask_volume(session, "")
    assert not mask[:3].any(), "it begins with frame 3"
    assert dice(mask[3:], np.stack([disc(index) for index in range(3, FRAMES)])) > 0.8
    with zipfile.ZipFile(export(session, "zip")) as archive:
        names = archive.namelist()
        annotations = json.loads(archive.read("annotations.json"))
    assert len([name for name in names if name.endswith(".png")]) == FRAMES
    assert any(name.endswith("/frame10.png") for name in names)
    [track] = annotations["annotations"]
    assert [segmentation is not None for segmentation in track["segmentations"]] == [False] * 3 + [True] * 9
    assert ("overlay.mp4" in names) == (importlib.util.find_spec("av") is not None)


def test_a_video_file_is_opened(make_store: MakeStore, tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")
    session = make_store().new()
    path = session.new_path("clip.mp4")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = COLUMNS, ROWS, "yuv420p"
        for index in range(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame(index), format="rgb24")))
        container.mux(stream.encode())
    session.open(path)
    state = state_of(session)["volume"]
    assert (state["is_video"], state["shape_kji"]) == (True, [FRAMES, ROWS, COLUMNS])
    with pytest.raises(SessionError, match="needs a DICOM series"):
        export(session, "dcm")
