from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from MedSAMSlicerLib.core.errors import PromptError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.intensity import CT_PRESETS
from MedSAMSlicerLib.core.prompts import (
    CLEANUPS,
    OVERLAPS,
    SCHEMA_VERSION,
    MaskPrompt,
    ObjectPrompts,
    PromptSet,
    Scribble,
    SliceRef,
    box_from_voxels,
    line_from_voxels,
    point_from_voxel,
)

from .strategies import prompt_sets

GEOMETRY = VolumeGeometry.from_spacing((6, 7, 8), (0.8, 0.9, 5.0), (-20.0, 10.0, 100.0))


def sample() -> PromptSet:
    slice_ = SliceRef(SliceAxis.K, 2)
    line = line_from_voxels(GEOMETRY, slice_, 1, 1, 5, 5)
    mask = np.zeros((7, 8), dtype=bool)
    mask[0, :3] = mask[4, 2:5] = True
    prompts = (
        point_from_voxel(GEOMETRY, slice_, 3, 4),
        box_from_voxels(GEOMETRY, slice_, 1, 2, 6, 7, round=1),
        line,
        Scribble(slice_, (line.start, line.end), False, 2.5),
        MaskPrompt(slice_, mask),
    )
    liver = ObjectPrompts("liver", (1.0, 0.5, 0.1), prompts, (0, 5))
    return PromptSet(
        GEOMETRY, SliceAxis.K, (liver,), CT_PRESETS["liver"], "nano", "ab" * 32, "exact", "both", "highest"
    )


@given(prompt_sets())
@settings(max_examples=200)
def test_prompts_come_back_exactly(prompts: PromptSet) -> None:
    text = prompts.to_json()
    for read in (PromptSet.from_json(text), PromptSet.from_json(text, prompts.geometry)):
        assert read == prompts
        assert hash(read) == hash(prompts)
        assert read.to_json() == text


def test_file_says_what_it_is_and_keeps_lists_of_numbers_on_one_line() -> None:
    text = sample().to_json()
    content = json.loads(text)
    assert content["schema"] == "medsamslicer-prompts"
    assert content["version"] == SCHEMA_VERSION == 1
    assert content["geometry"]["digest"] == GEOMETRY.digest
    assert '"shape": [6, 7, 8]' in text
    assert '"runs": [0, 3, 31, 3, 19]' in text
    assert [prompt["type"] for prompt in content["objects"][0]["prompts"]] == [
        "point",
        "box",
        "line",
        "scribble",
        "mask",
    ]


def test_a_file_without_cleanup_and_overlap_says_nothing_of_them() -> None:
    content = json.loads(sample().to_json())
    del content["cleanup"], content["overlap"]
    read = PromptSet.from_json(json.dumps(content))
    assert (read.cleanup, read.overlap) == (None, None)
    assert read.objects == sample().objects


def test_box_of_a_file_that_says_no_sign_is_around_the_object_and_one_around_something_else_says_it() -> None:
    slice_ref = SliceRef(SliceAxis.K, 2)
    boxes = tuple(box_from_voxels(GEOMETRY, slice_ref, 1, 1, 4, 4, positive=sign) for sign in (True, False))
    text = PromptSet(GEOMETRY, objects=(ObjectPrompts("liver", (1, 0, 0), boxes),)).to_json()
    saved = json.loads(text)["objects"][0]["prompts"]
    assert [each.get("positive") for each in saved] == [None, False]
    assert PromptSet.from_json(text).objects[0].prompts == boxes


def test_the_choices_are_those_of_the_engine() -> None:
    engine = pytest.importorskip("MedSAMSlicerLib.engine.result", reason="needs torch")
    assert (tuple(engine.CLEANUPS), tuple(engine.OVERLAPS)) == (CLEANUPS, OVERLAPS)


def test_names_that_look_like_lists_stay_as_they_are() -> None:
    name = "[\n 1,\n 2\n]"
    prompts = PromptSet(GEOMETRY, objects=(ObjectPrompts(name, (0, 0, 0)),))
    assert PromptSet.from_json(prompts.to_json()).objects[0].name == name


def test_volume_saved_with_float32_coordinates_is_the_same_volume() -> None:
    drawn = VolumeGeometry.from_spacing((6, 7, 8), (0.7031, 0.7031, 3.3), (-249.123, 10.1, 1000.123))
    resaved = VolumeGeometry(drawn.shape, drawn.ijk_to_ras.astype(np.float32).astype(np.float64))
    assert resaved.digest != drawn.digest
    box = box_from_voxels(drawn, SliceRef(SliceAxis.K, 2), 1, 2, 6, 7)
    prompts = PromptSet(drawn, objects=(ObjectPrompts("liver", (1, 0, 0), (box,)),))
    read = PromptSet.from_json(prompts.to_json(), resaved)
    assert read.geometry == resaved
    assert read.objects == prompts.objects


def test_tiny_voxels_and_far_origins_are_compared_in_voxels() -> None:
    def at(size: float, origin: float) -> VolumeGeometry:
        return VolumeGeometry.from_spacing((4, 5, 6), (size,) * 3, (origin, 0.0, 0.0))

    tiny, far = at(0.001, 0.0), at(1.0, 3e5)
    text = PromptSet(
        at(0.001, 0.0005)
    ).to_json()  # half a voxel, though less than a hundredth of a millimeter
    with pytest.raises(PromptError, match=r"0\.0005 mm \(0\.5 voxels\)"):
        PromptSet.from_json(text, tiny)
    rounded = PromptSet(at(1.0, 3e5 + 0.03)).to_json()  # as 32 bits round that far out
    assert PromptSet.from_json(rounded, far).geometry == far


def test_very_many_keys_and_names_take_no_time_that_grows_with_their_square() -> None:
    """A quadratic search would compare 400 million pairs, which takes minutes."""
    keys = ",".join(f'"k{n}": 0' for n in range(20_000))
    with pytest.raises(PromptError, match="'k19999' comes twice"):
        PromptSet.from_json('{"k19999": 0,' + keys + "}")
    objects = tuple(ObjectPrompts(f"object {n}", (0.0, 0.0, 0.0)) for n in range(20_000))
    assert len(PromptSet(VolumeGeometry((4, 5, 6), np.eye(4)), objects=objects).objects) == 20_000
    with pytest.raises(PromptError, match="Two objects have the same name, 'object 7'"):
        PromptSet(VolumeGeometry((4, 5, 6), np.eye(4)), objects=(*objects, objects[7]))


def test_prompts_of_another_volume_are_refused_with_the_difference() -> None:
    text = sample().to_json()
    with pytest.raises(
        PromptError, match=r"geometry is of another volume: \(6, 7, 8\) voxels .* here \(6, 8, 7\)"
    ):
        PromptSet.from_json(text, VolumeGeometry((6, 8, 7), GEOMETRY.ijk_to_ras))
    moved = VolumeGeometry.from_spacing((6, 7, 8), (0.8, 0.9, 5.0), (-20.0, 10.0, 103.0))
    with pytest.raises(
        PromptError,
        match=r"geometry is of another volume: its voxels lie up to 3 mm .3.8 voxels. from those here",
    ):
        PromptSet.from_json(text, moved)


def edit(*path: Any, value: Any) -> Callable[[dict], None]:
    def apply(content: dict) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return apply


def drop(*path: Any) -> Callable[[dict], None]:
    def apply(content: dict) -> None:
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    return apply


POINT, BOX, LINE, SCRIBBLE, MASK = (("objects", 0, "prompts", i) for i in range(5))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (edit("version", value=2), "version 2, but only 1 can be read"),
        (edit("version", value=True), "version True"),
        (edit("version", value="1"), "version '1'"),
        (drop("version"), "version None"),
        (edit("schema", value="something"), '"schema" is not "medsamslicer-prompts"'),
        (drop("tier"), "the file lacks 'tier'"),
        (edit("comment", value=1), "the file has the unknown key 'comment'"),
        (edit("geometry", value=None), "geometry must be an object, got None"),
        (
            edit("geometry", "digest", value="0" * 64),
            "geometry.digest does not belong to the shape and matrix",
        ),
        (edit("geometry", "shape", value=[6, 7]), r"geometry.shape must be a list of 3, got \[6, 7\]"),
        (edit("geometry", "shape", 0, value=0), r"geometry: A volume needs three positive.*\(0, 7, 8\)"),
        (edit("geometry", "shape", 0, value=2**62), r"geometry.shape\[0\] must be a whole number"),
        (
            edit("geometry", "ijk_to_ras", 0, 0, value=0),
            "geometry: The IJK-to-RAS matrix has an axis without length",
        ),
        (
            edit("geometry", "ijk_to_ras", 1, 2, value="x"),
            r"geometry.ijk_to_ras\[1\]\[2\] must be a number, got 'x'",
        ),
        (edit("axis", value="z"), "axis: The slice axis must be k, j or i, not 'z'"),
        (edit("axis", value=0), "axis must be text, got 0"),
        (edit("axis", value="j"), r"prompts\[4\].shape is \(7, 8\), but slices have \(6, 8\)"),
        (edit("window", "upper", value=-999), "window: A window must go from"),
        (edit("window", value=[0, 1]), "window must be an object"),
        (edit("checkpoint", "sha256", value="abc"), "64 hexadecimal digits, got 'abc'"),
        (edit("checkpoint", "id", value=3), "checkpoint.id must be text, got 3"),
        (edit("tier", value="turbo"), "tier must be one of .* got 'turbo'"),
        (edit("cleanup", value="dust"), r"clean-up must be one of none, islands, holes, both, got 'dust'"),
        (edit("cleanup", value=1), "cleanup must be text, got 1"),
        (edit("overlap", value="mine"), r"way with overlaps must be one of keep, highest, got 'mine'"),
        (edit("overlap", value=[]), r"overlap must be text, got \[\]"),
        (edit("objects", value={}), "objects must be a list, got {}"),
        (edit("objects", 0, "name", value=""), r"objects\[0\]: An object needs a name"),
        (
            edit("objects", 0, "color", value=[1, 2, 3]),
            r"objects\[0\]: The color of 'liver'.*\(1\.0, 2\.0, 3\.0\)",
        ),
        (
            edit("objects", 0, "slice_range", value=[0, 6]),
            r"objects\[0\]: The slice range \(0, 6\).* last slice, 5",
        ),
        (edit("objects", 0, "slice_range", value=[0]), r"objects\[0\].slice_range must be a list of 2"),
        (edit(*POINT, "type", value="circle"), r"objects\[0\].prompts\[0\] has the prompt type 'circle'"),
        (edit(*POINT, "type", value=["box"]), r"the prompt type \['box'\]"),
        (edit(*POINT, value=7), r"the prompt type None"),
        (edit(*POINT, "ras", value=[1, 2]), r"prompts\[0\].ras must be a list of 3, got \[1, 2\]"),
        (edit(*POINT, "ras", 1, value=True), r"prompts\[0\].ras\[1\] must be a number, got True"),
        (edit(*POINT, "ras", 1, value=10**400), r"prompts\[0\].ras\[1\] must be a finite number"),
        (edit(*POINT, "ras", 1, value=999.0), r"A point on slice 2 lies outside the volume"),
        (edit(*POINT, "positive", value=1), r"prompts\[0\].positive must be true or false, got 1"),
        (edit(*POINT, "slice", value=6), "Slice 6 does not exist: axis k has slices 0 to 5"),
        (edit(*POINT, "slice", value=2.0), r"prompts\[0\].slice must be a whole number from 0, got 2.0"),
        (edit(*POINT, "round", value=-1), r"prompts\[0\].round must be a whole number from 0, got -1"),
        (drop(*POINT, "ras"), r"prompts\[0\] lacks 'ras'"),
        (edit(*POINT, "corner", value=[0, 0, 0]), r"prompts\[0\] has the unknown key 'corner'"),
        (
            edit(*BOX, "corner", value=[-15.0, 15.0, 110.0]),
            r"objects\[0\]: The box on slice 2 .* is inverted",
        ),
        (edit(*SCRIBBLE, "points_ras", value=[]), r"prompts\[3\]: A scribble needs at least one point"),
        (edit(*SCRIBBLE, "radius_mm", value=-2), r"prompts\[3\]: The radius of a scribble .* got -2"),
        (edit(*LINE, "end", value=None), r"prompts\[2\].end must be a list of 3, got None"),
        (edit(*MASK, "shape", value=[8, 7]), r"prompts\[4\].shape is \(8, 7\), but slices have \(7, 8\)"),
        (edit(*MASK, "runs", value=[50]), r"prompts\[4\].runs cover 50 pixels, but the mask has 56"),
        (edit(*MASK, "runs", value=[56]), r"The mask on slice 2 is empty"),
        (
            edit(*MASK, "runs", value=[60, -4]),
            r"prompts\[4\].runs\[1\] must be a whole number from 0, got -4",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_its_value_and_the_reason(change: Callable, reason: str) -> None:
    content = json.loads(sample().to_json())
    change(content)
    with pytest.raises(PromptError, match=reason):
        PromptSet.from_json(json.dumps(content))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    text = sample().to_json().replace('"radius_mm": 2.5', f'"radius_mm": {number}')
    with pytest.raises(PromptError, match=r"is not a number that JSON knows|must be a finite number"):
        PromptSet.from_json(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not valid JSON"),
        ("[]", "holds no prompts"),
        ("null", "holds no prompts"),
        ("{}", "holds no prompts"),
        ("[" * 100_000, "not valid JSON"),
        ('{"schema": ' + "9" * 10_000 + "}", "not valid JSON"),
        ('{"schema": 1, "schema": 2}', "the key 'schema' comes twice"),
    ],
)
def test_text_that_holds_no_prompts_is_refused(text: str, reason: str) -> None:
    with pytest.raises(PromptError, match=reason):
        PromptSet.from_json(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def leaves(content: Any, path: tuple = ()) -> list[tuple]:
    found = [path] if path else []
    items = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for key, value in items:
        found += leaves(value, (*path, key))
    return found


@given(st.sampled_from(leaves(json.loads(sample().to_json()))), json_values)
@example(("geometry", "ijk_to_ras"), [[0] * 4] * 4)
@settings(max_examples=400)
def test_whatever_stands_in_any_place_is_read_or_refused_in_one_sentence(path: tuple, value: Any) -> None:
    content = json.loads(sample().to_json())
    edit(*path, value=value)(content)
    try:
        PromptSet.from_json(json.dumps(content), GEOMETRY)
    except PromptError as error:
        sentence = str(error)
    else:
        return
    assert sentence.endswith(".")
    assert "\n" not in sentence
