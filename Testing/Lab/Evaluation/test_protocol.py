"""Protocols: which slices are prompted, what is corrected with, and where they make sense."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.prompts import Box, MaskPrompt, Point, RecistLine, in_slice
from MedSAMSlicerLib.lab.evaluation.protocol import (
    DEFAULT_SUITE,
    PROTOCOLS,
    REFERENCE,
    SUITES,
    PromptProtocol,
)
from MedSAMSlicerLib.lab.evaluation.simulated_user import box_on
from MedSAMSlicerLib.lab.evaluation.study_protocol import PROMPTS_2D, STUDY, TOKENS_2D

from .labeled_volumes import GEOMETRY, brick, ellipsoid, target_of


def slices_of(protocol: PromptProtocol, mask: np.ndarray, axis: SliceAxis = SliceAxis.K) -> tuple[int, ...]:
    target = target_of(mask, axis)
    prompts = protocol.first(target, GEOMETRY, [0])
    assert {prompt.round for prompt in prompts} == {0}
    found = tuple(prompt.slice.index for prompt in prompts)
    assert found == protocol.prompted_slices(target)
    return found


def skewed() -> np.ndarray:
    """Slices 3 to 11, the largest of which is the last."""
    mask = brick()
    mask[3:11, :12] = False
    return mask


@pytest.mark.parametrize(("start", "index"), [("largest", 11), ("middle", 7), ("first", 3)])
def test_the_start_is_the_largest_the_middle_or_the_first_slice(start: str, index: int) -> None:
    assert slices_of(PromptProtocol("way", start=start), skewed()) == (index,)


def test_the_middle_is_the_middle_one_of_the_slices_that_hold_the_object() -> None:
    mask = brick()
    mask[4:8] = False  # 3, 8, 9, 10, 11 are left
    assert slices_of(PromptProtocol("way", start="middle"), mask) == (9,)
    mask[3] = False
    assert slices_of(PromptProtocol("way", start="middle"), mask) == (9,)


@pytest.mark.parametrize("axis", list(SliceAxis))
def test_single_frame_prompts_every_slice_that_holds_the_object(axis: SliceAxis) -> None:
    mask = ellipsoid()
    gap = [slice(None)] * 3
    gap[axis] = slice(16, 18) if axis else slice(5, 6)
    mask[tuple(gap)] = False
    held = np.flatnonzero(mask.any(axis=(axis.row_axis, axis.column_axis)))
    assert slices_of(PromptProtocol("single", slices=None), mask, axis) == tuple(held.tolist())


def test_three_slices_lie_evenly_over_the_object_and_one_of_them_is_the_start() -> None:
    assert slices_of(PromptProtocol("three", slices=3, start="middle"), brick()) == (4, 7, 10)
    assert slices_of(PromptProtocol("three", slices=3), skewed()) == (4, 7, 11)
    assert slices_of(PromptProtocol("three", slices=3, start="first"), brick()) == (3, 7, 10)
    assert slices_of(PromptProtocol("nine", slices=9), brick()) == tuple(range(3, 12))


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [("box", Box), ("loose box", Box), ("click", Point), ("line", RecistLine), ("mask", MaskPrompt)],
)
def test_each_prompted_slice_gets_the_prompt(prompt: str, kind: type) -> None:
    prompts = PromptProtocol("three", prompt, slices=3).first(target_of(brick()), GEOMETRY, [0])
    assert [type(message) for message in prompts] == [kind] * 3


def test_loose_boxes_repeat_with_their_seed_and_differ_from_slice_to_slice() -> None:
    protocol, target = PromptProtocol("loose", "loose box", slices=3), target_of(brick())
    first, again, other = (protocol.first(target, GEOMETRY, [seed]) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    low = [tuple(in_slice(prompt, GEOMETRY).ravel()) for prompt in first]
    assert len(set(low)) == 3


def test_corrections_are_clicks_or_boxes() -> None:
    target, shown = target_of(brick()), np.zeros_like(brick())
    first = box_on(target, GEOMETRY, 7)
    click = PROTOCOLS["box+range"].correction(target, shown, GEOMETRY, [first], 1)
    assert isinstance(click, Point)
    assert (click.positive, click.round) == (True, 1)
    box = PROTOCOLS["box+range, 5 boxes"].correction(target, shown, GEOMETRY, [first], 1)
    assert isinstance(box, Box)
    assert box.slice.index != 7
    assert PROTOCOLS["box+range"].correction(target, brick(), GEOMETRY, [first], 1) is None


def test_corrections_are_looked_for_where_the_range_was_given() -> None:
    target, shown = target_of(brick()), brick()
    shown[14] = True
    assert PROTOCOLS["box+range"].correction(target, shown, GEOMETRY, [], 1) is None
    click = PROTOCOLS["10 clicks"].correction(target, shown, GEOMETRY, [], 1)
    assert click is not None
    assert click.slice.index == 14


def test_on_a_picture_only_ways_that_differ_there_are_tried() -> None:
    target = target_of(brick()[7:8])
    fitting = {name for name, protocol in PROTOCOLS.items() if protocol.fits(target)}
    study = {f"{STUDY}, 2-D: {given}, {token} mask" for given in PROMPTS_2D for token in TOKENS_2D}
    assert fitting == study | {
        "box+range", "click+range", "loose box+range", "line+range", "mask+range", "box+range, 10 clicks", "10 clicks",
    }  # fmt: skip
    geometry = VolumeGeometry.from_spacing(target.mask.shape, (1, 1, 1))
    for name in fitting:
        assert len(PROTOCOLS[name].first(target, geometry, [0])) == 1


def test_three_slices_need_an_object_on_three() -> None:
    mask = brick()
    mask[5:] = False
    assert not PROTOCOLS["three slices+range"].fits(target_of(mask))
    assert all(protocol.fits(target_of(brick())) for protocol in PROTOCOLS.values())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prompt": "shout"}, "first prompt is one of box, .* not 'shout'"),
        ({"start": "last"}, "start is one of .* not 'last'"),
        ({"direction": "up"}, "direction is one of .* not 'up'"),
        ({"correct_with": "luck"}, "correction is one of .* not 'luck'"),
        ({"slices": 0}, "at least one prompted slice"),
        ({"corrections": -1}, "no less than 0 corrections"),
        ({"slices": None, "ranged": False}, "its range is known"),
        ({"slices": 3, "direction": "forward"}, "prompts one slice"),
        ({"slices": None, "direction": "backward"}, "prompts one slice"),
        ({"slices": None, "corrections": 1}, "takes no corrections"),
        ({"direction": "forward", "corrections": 1}, "takes no corrections"),
    ],
)
def test_a_way_that_contradicts_itself_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(MedSAMError, match=message):
        PromptProtocol("wrong", **wrong)


def test_suites_name_known_ways_once() -> None:
    assert DEFAULT_SUITE in SUITES
    for names in SUITES.values():
        assert len(set(names)) == len(names)
        assert set(names) <= set(PROTOCOLS)
    assert set(SUITES["pipelines"]) - set(SUITES["standard"]) == {"every slice, click"}
    assert REFERENCE in SUITES["standard"]
    assert {name for suite in SUITES.values() for name in suite} == set(PROTOCOLS)
