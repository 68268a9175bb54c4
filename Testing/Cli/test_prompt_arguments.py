"""What is typed after --box, --point, --line and --mask becomes the prompt that was meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from MedSAMSlicerLib.cli.exit_codes import UsageError
from MedSAMSlicerLib.cli.prompt_arguments import (
    check_range,
    objects_from_arguments,
    parse_range,
    parse_spacing,
)
from MedSAMSlicerLib.cli.prompt_text import PromptText
from MedSAMSlicerLib.core.errors import GeometryError, PromptError, VolumeError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.prompts import Box, MaskPrompt, ObjectPrompts, Point, RecistLine, in_slice
from MedSAMSlicerLib.io.segmentations import write_labelmap, write_seg_nrrd

GEOMETRY = VolumeGeometry.from_spacing(
    (12, 40, 48), (1.5, 1.5, 3.0), (-10.0, 20.0, 30.0), np.diag([-1.0, -1.0, 1.0])
)


def objects(
    *arguments: tuple[str, str],
    axis: SliceAxis = SliceAxis.K,
    ras: bool = False,
    slice_range: tuple[int, int] | None = None,
    given: tuple[ObjectPrompts, ...] = (),
) -> tuple[ObjectPrompts, ...]:
    texts = [PromptText.parse(kind, text) for kind, text in arguments]
    return objects_from_arguments(texts, GEOMETRY, axis, ras, slice_range, given)


# --- names ---


@pytest.mark.parametrize(
    ("text", "name", "body"),
    [
        ("spleen=1,2,3", "spleen", "1,2,3"),
        ("1,2,3", None, "1,2,3"),
        ("left kidney, upper pole=1,2,3", "left kidney, upper pole", "1,2,3"),
        (" liver =1,2,3", "liver", "1,2,3"),
        ("=1,2,3", None, "1,2,3"),
        ("5,folder=x/mask.nii", None, "5,folder=x/mask.nii"),
        ("a=5,folder=x/mask.nii", "a", "5,folder=x/mask.nii"),
        ("2nd=1,2,3", "2nd", "1,2,3"),
        ("-1.5,2,3", None, "-1.5,2,3"),
    ],
)
def test_a_name_is_what_stands_before_the_first_equals_sign(text: str, name: str | None, body: str) -> None:
    assert PromptText.parse("box", text) == PromptText("box", name, body)


def test_prompts_without_a_name_are_one_object() -> None:
    (obj,) = objects(("box", "3,1,2,11,12"), ("point", "4,5,6"))
    assert obj.name == "Segment_1"
    assert len(obj.prompts) == 2


def test_the_same_name_twice_is_one_object_with_two_prompts_in_order() -> None:
    first, second = objects(("point", "a=3,5,6"), ("box", "b=3,1,2,11,12"), ("box", "a=4,1,2,11,12"))
    assert (first.name, second.name) == ("a", "b")
    assert [type(prompt) for prompt in first.prompts] == [Point, Box]


def test_objects_get_different_colors() -> None:
    assert len({obj.color for obj in objects(*[("point", f"{n}=3,5,6") for n in "abcdefg"])}) == 7


# --- places in voxels ---


def test_a_box_encloses_its_first_and_not_its_far_voxels() -> None:
    (obj,) = objects(("box", "3,10,20,30,25"))
    (box,) = obj.prompts
    assert isinstance(box, Box)
    assert box.slice.index == 3
    np.testing.assert_allclose(in_slice(box, GEOMETRY), [[9.5, 19.5], [29.5, 24.5]])


@pytest.mark.parametrize(("ending", "positive"), [("", True), (",+", True), (",-", False), (" , -", False)])
def test_the_sign_of_a_point_comes_last(ending: str, positive: bool) -> None:
    (obj,) = objects(("point", f"a=3,10,20{ending}"))
    (point,) = obj.prompts
    assert isinstance(point, Point)
    assert point.positive is positive
    np.testing.assert_allclose(in_slice(point, GEOMETRY), [[10, 20]])


def test_the_sign_of_a_box_comes_last_and_a_negative_one_limits_no_range() -> None:
    (obj,) = objects(("box", "a=3,10,20,30,25"), ("box", "a=3,12,21,14,23,-"), ("box", "a=4,1,1,9,9,+"))
    assert [prompt.positive for prompt in obj.prompts] == [True, False, True]
    np.testing.assert_allclose(in_slice(obj.prompts[1], GEOMETRY), [[11.5, 20.5], [13.5, 22.5]])
    low, high = (
        GEOMETRY.slice_to_ras([(2, 2)], 1, SliceAxis.K)[0],
        GEOMETRY.slice_to_ras([(8, 8)], 7, SliceAxis.K)[0],
    )
    text = ",".join(f"{value:.6f}" for value in (*low, *high))
    for sign, limits in (("", (1, 7)), (",-", None)):
        (obj,) = objects(("box", f"a={text}{sign}"), ras=True)
        assert obj.slice_range == limits
        assert obj.prompts[0].positive is (sign == "")


def test_a_line_joins_two_voxel_centers() -> None:
    (obj,) = objects(("line", "3,10,20,30,25"))
    (line,) = obj.prompts
    assert isinstance(line, RecistLine)
    np.testing.assert_allclose(in_slice(line, GEOMETRY), [[10, 20], [30, 25]])


@given(
    axis=st.sampled_from(SliceAxis),
    index=st.integers(0, 11),
    x=st.integers(0, 11),
    y=st.integers(0, 11),
)
def test_slice_x_and_y_are_array_indices_with_x_the_faster_one(
    axis: SliceAxis, index: int, x: int, y: int
) -> None:
    (obj,) = objects(("point", f"{index},{x},{y}"), axis=axis)
    kji = [0, 0, 0]
    kji[axis], kji[axis.column_axis], kji[axis.row_axis] = index, x, y
    ras = GEOMETRY.to_ras([kji[::-1]])[0]
    np.testing.assert_allclose(obj.prompts[0].ras, ras, atol=1e-9)  # type: ignore[union-attr]


# --- places in mm ---


def test_with_ras_a_point_is_in_mm() -> None:
    ras = GEOMETRY.to_ras([[10, 20, 3]])[0]
    (obj,) = objects(("point", ",".join(map(repr, ras.tolist())) + ",-"), ras=True)
    (point,) = obj.prompts
    assert isinstance(point, Point)
    assert (point.slice.index, point.positive) == (3, False)
    np.testing.assert_allclose(in_slice(point, GEOMETRY), [[10, 20]], atol=1e-9)


def text_in_mm(*ijk: tuple[float, float, float]) -> str:
    return ",".join(repr(value) for value in GEOMETRY.to_ras(ijk).ravel().tolist())


def test_with_ras_a_flat_box_lies_on_its_slice_and_limits_nothing() -> None:
    (obj,) = objects(("box", text_in_mm((29.5, 19.5, 3), (9.5, 24.5, 3))), ras=True)
    (box,) = obj.prompts
    assert (box.slice.index, obj.slice_range) == (3, None)
    np.testing.assert_allclose(in_slice(box, GEOMETRY), [[9.5, 19.5], [29.5, 24.5]], atol=1e-9)  # type: ignore[arg-type]


def test_with_ras_a_deep_box_lies_on_its_middle_slice_and_limits_the_range() -> None:
    (obj,) = objects(("box", text_in_mm((9.5, 19.5, 1.6), (29.5, 24.5, 8.4))), ras=True)
    assert (obj.prompts[0].slice.index, obj.slice_range) == (5, (2, 8))


@pytest.mark.parametrize("step", [0.6, -0.7, 1.2, 2.4, -3.0])
@pytest.mark.parametrize("origin", [-1023.4, -325.5, 0.3, 12.7])
def test_with_ras_slices_on_which_a_box_begins_and_ends_are_in_its_range(step: float, origin: float) -> None:
    geometry = VolumeGeometry.from_spacing(
        (60, 50, 50), (0.8, 0.8, abs(step)), (20.5, 18.3, origin), np.diag([-1, -1, np.sign(step)])
    )
    places = geometry.to_ras([(9.5, 9.5, 5), (29.5, 24.5, 33)])
    text = ",".join(f"{value:.2f}" for value in places.ravel().tolist())
    (obj,) = objects_from_arguments([PromptText.parse("box", text)], geometry, SliceAxis.K, True, None, ())
    assert obj.slice_range == (5, 33)


def test_with_ras_a_line_lies_on_the_slice_of_its_middle() -> None:
    (obj,) = objects(("line", text_in_mm((10, 20, 3), (30, 25, 3))), ras=True)
    assert obj.prompts[0].slice.index == 3


# --- masks ---


def label_file(path: Path, array: np.ndarray, spacing: tuple[float, ...] = (1.5, 1.5, 3.0)) -> Path:
    image = sitk.GetImageFromArray(array.astype(np.uint8))
    image.SetSpacing(spacing[: array.ndim])
    image.SetOrigin((10.0, -20.0, 30.0)[: array.ndim])
    sitk.WriteImage(image, str(path))
    return path


def test_a_mask_is_one_slice_of_a_label_volume(tmp_path: Path) -> None:
    labels = np.zeros(GEOMETRY.shape)
    labels[4, 10:15, 20:30] = 7
    path = label_file(tmp_path / "of, one=slice.nii.gz", labels)
    (obj,) = objects(("mask", f"liver=4,{path}"))
    (prompt,) = obj.prompts
    assert isinstance(prompt, MaskPrompt)
    np.testing.assert_array_equal(prompt.mask, labels[4] > 0)


def test_a_mask_can_be_a_picture_of_its_slice(tmp_path: Path) -> None:
    plane = np.zeros((40, 48))
    plane[3:9, 5:20] = 255
    (obj,) = objects(("mask", f"4,{label_file(tmp_path / 'plane.png', plane)}"))
    assert isinstance(obj.prompts[0], MaskPrompt)
    assert obj.prompts[0].mask.sum() == 90


def test_a_mask_of_another_geometry_is_refused_with_the_difference(tmp_path: Path) -> None:
    path = label_file(tmp_path / "other.nii.gz", np.ones(GEOMETRY.shape), spacing=(1.5, 1.5, 5.0))
    with pytest.raises(GeometryError, match=rf"{path} does not fit the volume: its voxels measure"):
        objects(("mask", f"4,{path}"))


def test_a_mask_with_nothing_on_its_slice_is_refused(tmp_path: Path) -> None:
    path = label_file(tmp_path / "empty.nii.gz", np.zeros(GEOMETRY.shape))
    with pytest.raises(PromptError, match=rf"{path} has nothing marked on slice 4"):
        objects(("mask", f"4,{path}"))


def two_organs() -> np.ndarray:
    """Labels 1 and 2 on slice 4, and only 2 on slice 5."""
    labels = np.zeros(GEOMETRY.shape)
    labels[4, 10:15, 20:30] = 1
    labels[4:6, 20:25, 20:30] = 2
    return labels


@pytest.mark.parametrize("index", [4, 5])
def test_a_label_volume_of_several_organs_needs_to_know_which_is_meant(tmp_path: Path, index: int) -> None:
    labels = two_organs()
    path = label_file(tmp_path / "organs.nii.gz", labels)
    with pytest.raises(VolumeError, match=r"several labels \(1, 2\).*FILE,LABEL"):
        objects(("mask", f"liver={index},{path}"))
    (obj,) = objects(("mask", f"liver={index},{path},2"))
    (prompt,) = obj.prompts
    assert isinstance(prompt, MaskPrompt)
    np.testing.assert_array_equal(prompt.mask, labels[index] == 2)
    with pytest.raises(PromptError, match="nothing marked"):
        objects(("mask", f"liver={index},{path},3"))
    with pytest.raises(VolumeError, match="no label 'liver'"):
        objects(("mask", f"liver={index},{path},liver"))


@pytest.mark.parametrize("ending", [".seg.nrrd", ".nrrd", ".nii.gz"])
def test_the_segment_that_is_named_like_the_object_is_its_mask(tmp_path: Path, ending: str) -> None:
    labels = two_organs()
    path = tmp_path / f"old{ending}"
    masks = {"spleen": labels == 1, "liver": labels == 2}
    (write_seg_nrrd if ending == ".seg.nrrd" else write_labelmap)(path, masks, GEOMETRY)
    for text in (f"liver=4,{path}", f"a=4,{path},liver", f"spleen=4,{path},2"):
        (obj,) = objects(("mask", text))
        (prompt,) = obj.prompts
        assert isinstance(prompt, MaskPrompt)
        np.testing.assert_array_equal(prompt.mask, labels[4] == 2)
    with pytest.raises(VolumeError, match=r"its segments are spleen \(1\), liver \(2\)"):
        objects(("mask", f"kidney=4,{path}"))


@pytest.mark.parametrize("text", ["1", "1,2,3,4", "0,1", "-1,1", "a,b", "1,inf", ""])
def test_a_spacing_is_two_or_three_lengths(text: str) -> None:
    with pytest.raises(UsageError, match="--spacing needs X,Y or X,Y,Z in mm"):
        parse_spacing(text)
    assert parse_spacing("0.5,0.75") == (0.5, 0.75)
    assert parse_spacing("0.5, 0.75, 3") == (0.5, 0.75, 3.0)


# --- ranges and given objects ---


def test_the_range_holds_for_every_object() -> None:
    assert [
        obj.slice_range for obj in objects(("point", "a=3,5,6"), ("point", "b=3,5,6"), slice_range=(2, 5))
    ] == [
        (2, 5),
        (2, 5),
    ]


def test_prompts_are_added_to_objects_of_a_file_that_keep_color_and_range() -> None:
    before = ObjectPrompts("a", (0.1, 0.2, 0.3), objects(("point", "3,5,6"))[0].prompts, (1, 9))
    old, new = objects(("point", "a=4,5,6"), ("point", "b=4,5,6"), given=(before,))
    assert (old.color, old.slice_range, len(old.prompts)) == ((0.1, 0.2, 0.3), (1, 9), 2)
    assert new.name == "b"


def test_a_prompt_outside_the_range_is_refused() -> None:
    with pytest.raises(PromptError, match=r"'Segment_1' is on slice 7, outside the range 2,5"):
        check_range(objects(("point", "7,5,6"), slice_range=(2, 5)))


@pytest.mark.parametrize("text", ["", "3", "5,3", "a,b", "1,2,3", "-1,3", "1.5,3"])
def test_a_range_that_is_none_is_quoted(text: str) -> None:
    with pytest.raises(UsageError, match="FIRST,LAST"):
        parse_range(text)


# --- text that is no prompt, prompts outside ---


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("box", "3,1,2,11", "SLICE,X0,Y0,X1,Y1, optionally followed by ,+ or ,-, not '3,1,2,11'"),
        ("box", "3,1,2,11,12,13", "SLICE,X0,Y0,X1,Y1"),
        ("box", "a=3,1,x,11,12", "not '3,1,x,11,12'"),
        ("box", "3,1,nan,11,12", "nan"),
        ("box", "1.5,1,2,11,12", "whole number as SLICE, not '1.5'"),
        ("box", "-1,1,2,11,12", "SLICE of 0 or more, not -1"),
        ("point", "3,5", "SLICE,X,Y"),
        ("point", "3,5,6,?", "SLICE,X,Y"),
        ("point", "", "whole number as SLICE, not ''"),
        ("line", "3,5,6", "SLICE,X0,Y0,X1,Y1"),
        ("mask", "3", "SLICE,FILE, not '3'"),
        ("mask", "x,file.nii", "whole number as SLICE, not 'x'"),
    ],
)
def test_text_that_is_no_prompt_is_quoted_with_the_right_form(kind: str, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        objects((kind, text))
    assert message in str(caught.value)
    assert f"--{kind}" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("box", "12,1,2,11,12", "Slice 12 does not exist: axis k has slices 0 to 11"),
        ("box", "3,1,2,49,12", "outside the volume"),
        ("box", "3,11,2,1,12", "is inverted"),
        ("box", "3,5,2,5,12", "has no size"),
        ("point", "3,48,6", "outside the volume"),
        ("point", "99,4,6", "Slice 99 does not exist"),
        ("line", "3,5,6,5,6", "has no length"),
        ("mask", "12,any.nii", "Slice 12 does not exist"),
    ],
)
def test_prompts_that_do_not_fit_are_refused_with_their_values(kind: str, text: str, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        objects((kind, text))


def test_a_point_in_mm_outside_the_volume_is_refused() -> None:
    with pytest.raises((PromptError, GeometryError), match="outside the volume"):
        objects(("point", "1000,0,0"), ras=True)
