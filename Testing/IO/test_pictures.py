"""Pictures show the right slice, the right way round, square in mm, with contours where the masks are."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from MedSAMSlicerLib.core.errors import OutputError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.prompts import (
    Prompt,
    Scribble,
    SliceRef,
    box_from_voxels,
    line_from_voxels,
    point_from_voxel,
)
from MedSAMSlicerLib.io.canvas import Canvas, resampled
from MedSAMSlicerLib.io.lettering import text_strokes, text_width
from MedSAMSlicerLib.io.pictures import write_picture
from MedSAMSlicerLib.io.slice_display import SliceDisplay

GEOMETRY = VolumeGeometry.from_spacing((12, 40, 60), (1.0, 1.5, 4.0))
RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def ball(geometry: VolumeGeometry, center: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    ijk = np.stack(np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij"), axis=-1)[..., ::-1]
    ras = geometry.to_ras(ijk.reshape(-1, 3))
    inside = np.linalg.norm(ras - geometry.to_ras([center])[0], axis=1) <= radius_mm
    return inside.reshape(geometry.shape)


def read_png(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def reddish(pixels: np.ndarray) -> np.ndarray:
    return (pixels[..., 0] > 200) & (pixels[..., 1] < 60) & (pixels[..., 2] < 60)


def test_a_region_a_million_times_wider_than_the_image_is_resampled_in_little_memory() -> None:
    tracemalloc.start()
    values, inside = resampled(np.full((4, 5), 7.0), (-3e6, -2e6, 3e6, 2e6), (101, 101))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6
    assert np.allclose(values, 7.0)
    assert inside.sum() == 1


def test_contour_surrounds_the_mask_at_its_place(tmp_path: Path) -> None:
    mask = ball(GEOMETRY, (20, 15, 6), 12.0)
    write_picture(
        tmp_path / "a.png", np.full(GEOMETRY.shape, 90, np.uint8), GEOMETRY, SliceAxis.K,
        {"ball": mask}, {"ball": RED}, {"ball": [6]},
    )  # fmt: skip
    main = reddish(read_png(tmp_path / "a.png"))[62 : 62 + 768, 24 : 24 + 768]
    rows, columns = np.nonzero(main)
    pixels_per_mm = 768 / 60.0  # both sides measure 60 mm
    assert np.ptp(columns) + 1 == pytest.approx(
        np.ptp(rows) + 1, abs=2.5 * pixels_per_mm
    )  # round, not squashed
    assert np.ptp(columns) + 1 == pytest.approx(24 * pixels_per_mm, abs=2 * pixels_per_mm)
    # RAS: x grows to the patient's right, which is shown on the left; y grows to the front, shown above.
    assert columns.mean() == pytest.approx((60 - 20.5) * pixels_per_mm, abs=pixels_per_mm)
    assert rows.mean() == pytest.approx((40 - 15.5) * 1.5 * pixels_per_mm, abs=pixels_per_mm)


@pytest.mark.parametrize("axis", list(SliceAxis))
def test_every_axis_and_prompt_can_be_drawn(tmp_path: Path, axis: SliceAxis) -> None:
    random = np.random.default_rng(1)
    index = GEOMETRY.slice_count(axis) // 2
    ref = SliceRef(axis, index)
    prompts: list[Prompt] = [
        box_from_voxels(GEOMETRY, ref, 1, 2, 9, 8),
        point_from_voxel(GEOMETRY, ref, 4, 5),
        point_from_voxel(GEOMETRY, ref, 0, 0, positive=False),
        line_from_voxels(GEOMETRY, ref, 2, 3, 7, 6),
        Scribble(ref, tuple(map(tuple, GEOMETRY.slice_to_ras([(1, 1), (5, 6)], index, axis).tolist()))),
    ]
    mask = np.zeros(GEOMETRY.shape, dtype=bool)
    mask[4:8, 5:30, 10:50] = True
    gray = random.integers(0, 255, GEOMETRY.shape).astype(np.uint8)
    path = tmp_path / "a.png"
    write_picture(path, gray, GEOMETRY, axis, {"Läsion 1": mask}, prompts={"Läsion 1": prompts}, title="Kopf")
    with_prompts = read_png(path)
    assert with_prompts.shape[2] == 3
    write_picture(path, gray, GEOMETRY, axis, {"Läsion 1": mask}, None, {"Läsion 1": [index]}, title="Kopf")
    assert (read_png(path) != with_prompts).any()


def test_volume_of_one_slice_and_empty_masks_give_a_picture(tmp_path: Path) -> None:
    geometry = VolumeGeometry.from_spacing((1, 8, 9), (1, 1, 5))
    write_picture(
        tmp_path / "a.png", np.zeros(geometry.shape, np.uint8), geometry, SliceAxis.K,
        {"nothing": np.zeros(geometry.shape, bool)},
    )  # fmt: skip
    assert read_png(tmp_path / "a.png").shape[1] == 768 + 48
    write_picture(tmp_path / "b.png", np.zeros(GEOMETRY.shape, np.uint8), GEOMETRY, SliceAxis.K, {})
    assert (tmp_path / "b.png").stat().st_size > 1000


def test_many_objects_and_a_long_title_stay_inside(tmp_path: Path) -> None:
    masks = {f"lesion of the liver number {n}": ball(GEOMETRY, (3.0 * n, 20, 6), 5) for n in range(20)}
    gray = np.zeros(GEOMETRY.shape, np.uint8)
    write_picture(tmp_path / "a.png", gray, GEOMETRY, SliceAxis.K, masks, title="very long name " * 20)
    pixels = read_png(tmp_path / "a.png").astype(int)
    background = pixels[0, 0]
    assert (pixels[:62, 1608 - 20 :] == background).all()
    assert (pixels[-8:] == background).all()


def test_same_picture_twice_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        gray = np.full(GEOMETRY.shape, 90, np.uint8)
        write_picture(tmp_path / name, gray, GEOMETRY, SliceAxis.J, {"x": ball(GEOMETRY, (30, 20, 5), 9)})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"must end in \.png"):
        write_picture(tmp_path / "a.jpg", np.zeros(GEOMETRY.shape, np.uint8), GEOMETRY, SliceAxis.K, {})


def test_display_shows_patients_as_radiologists_see_them() -> None:
    swapped = np.array([[0, 1.0, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])
    sagittal = np.array([[0, 0, -1.0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    for matrix, letters in (
        (np.eye(4), ("R", "L", "A", "P")),
        (np.diag([-1.0, -1, 1, 1]), ("R", "L", "A", "P")),
        (swapped, ("R", "L", "A", "P")),
        (sagittal, ("A", "P", "S", "I")),
    ):
        display = SliceDisplay.of(VolumeGeometry((3, 4, 5), matrix), SliceAxis.K)
        assert display.letters == letters
    assert SliceDisplay.of(VolumeGeometry((3, 4, 5), np.eye(4)), SliceAxis.J).letters == ("R", "L", "S", "I")


@given(st.sampled_from(SliceAxis), st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
def test_points_land_on_the_pixels_that_show_them(
    axis: SliceAxis, order: list[int], signs: tuple[float, ...]
) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, order] * signs
    geometry = VolumeGeometry((3, 4, 5), matrix)
    display = SliceDisplay.of(geometry, axis)
    array = np.arange(np.prod(geometry.slice_shape(axis))).reshape(geometry.slice_shape(axis))
    shown = display.image(array)
    assert shown.shape == display.shape
    for row, column in np.ndindex(array.shape):
        x, y = display.points(np.array([[column, row]], dtype=float))[0]
        assert shown[int(y), int(x)] == array[row, column]
        assert (x % 1, y % 1) == (0.5, 0.5)


@given(st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_resampling_keeps_a_flat_image_flat(rows: int, columns: int, smooth: bool) -> None:
    values, inside = resampled(
        np.full((rows, columns), 7.0), (-1, -1, columns + 1, rows + 1), (30, 20), smooth
    )
    np.testing.assert_allclose(values, 7.0)
    assert inside.any()
    assert not inside[0, 0]


def test_resampling_to_the_same_size_changes_nothing() -> None:
    image = np.random.default_rng(0).random((6, 7))
    np.testing.assert_allclose(resampled(image, (0, 0, 7, 6), (6, 7))[0], image)


def test_unknown_letters_become_question_marks_and_accents_go() -> None:
    assert len(text_strokes("ü", 12)) == len(text_strokes("u", 12))
    assert text_width("日", 12) == text_width("?", 12)
    assert text_width("", 12) == 0.0


def test_shapes_beyond_the_edge_are_cut() -> None:
    canvas = Canvas(20, 10)
    canvas.polyline(np.array([[-50.0, 5.0], [70.0, 5.0]]), RED, 2.0)
    canvas.disc(-30, -30, 3, BLUE)
    canvas.rectangle(-5, -5, 3, 3, BLUE)
    assert canvas.pixels.shape == (10, 20, 3)
    assert (canvas.pixels[5, 5:] == RED).all()
    assert (canvas.pixels[0, 0] == BLUE).all()
