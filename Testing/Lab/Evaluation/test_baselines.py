"""Baselines are exact where they must be, and know no more than boxes, range and clicks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import PromptError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.metrics import dice
from MedSAMSlicerLib.core.prompts import ObjectPrompts, Prompt
from MedSAMSlicerLib.lab.evaluation.baselines import Baseline, box_baseline, ellipsoid_baseline
from MedSAMSlicerLib.lab.evaluation.growcut import growcut_baseline
from MedSAMSlicerLib.lab.evaluation.interpolation import interpolation_baseline
from MedSAMSlicerLib.lab.evaluation.protocol import PROTOCOLS
from MedSAMSlicerLib.lab.evaluation.random_walker import random_walker_baseline
from MedSAMSlicerLib.lab.evaluation.runners import Request
from MedSAMSlicerLib.lab.evaluation.simulated_user import box_on, click_on

from .baseline_requests import answer, ask_about
from .labeled_volumes import GEOMETRY, SHAPE, brick, bright, ellipsoid, target_of, volume_of

NEEDED = {growcut_baseline: "slicer", interpolation_baseline: "itk", random_walker_baseline: "skimage"}
ALL = [box_baseline, ellipsoid_baseline, *NEEDED]


def made(baseline: Callable[[], Baseline]) -> Baseline:
    """The baseline; the test is skipped where its package is not installed."""
    package = NEEDED.get(baseline)
    if package is not None and find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return baseline()


@pytest.mark.parametrize("axis", list(SliceAxis))
def test_the_box_is_exact_on_a_brick(axis: SliceAxis) -> None:
    assert np.array_equal(answer(box_baseline(), brick(), axis), brick())


def test_the_ellipsoid_is_exact_on_an_ellipsoid() -> None:
    # Its box reaches half a voxel beyond the outermost centers, its ends one slice beyond the range.
    truth = ellipsoid(radii=(5, 9.5, 12.5))
    assert (truth.any((1, 2)).sum(), truth.any((0, 2)).sum(), truth.any((0, 1)).sum()) == (11, 19, 25)
    assert (
        dice(answer(ellipsoid_baseline(), truth), ellipsoid(radii=(6, 9.5, 12.5))) > 0.999
    )  # rounding at its skin


def test_the_ellipsoid_fills_its_share_of_the_box() -> None:
    filled, box = answer(ellipsoid_baseline(), brick()), brick()
    assert not (filled & ~box).any()
    assert filled.any(axis=(1, 2)).sum() == 9
    assert np.count_nonzero(filled[3]) / np.count_nonzero(box[3]) == pytest.approx(np.pi / 4, abs=0.03)


def test_the_figures_from_one_box_stay_what_they_are() -> None:
    truth = np.roll(ellipsoid((6, 17, 21), (5, 8, 13)), 1, axis=0) | ellipsoid((9, 20, 20), (4, 10, 6))
    assert dice(answer(box_baseline(), truth), truth) == pytest.approx(0.546268, abs=1e-6)
    assert dice(answer(ellipsoid_baseline(), truth), truth) == pytest.approx(0.789087, abs=1e-6)


def test_between_two_boxes_the_edges_change_linearly() -> None:
    mask = np.zeros(SHAPE, bool)
    for step in range(9):
        mask[3 + step, 10 : 14 + step, 20 - step : 24] = True
    assert np.array_equal(answer(box_baseline(), mask, boxed=(3, 11)), mask)


def test_the_ellipsoid_is_closer_with_three_boxes_than_with_one() -> None:
    mask = np.zeros(SHAPE, bool)
    for step in range(9):
        mask[3 + step] = ellipsoid((3 + step, 10 + 2 * step, 22), (5, 5, 9))[3 + step]
    one, three = (dice(answer(ellipsoid_baseline(), mask, boxed=boxed), mask) for boxed in ((7,), (3, 7, 11)))
    assert one < 0.75
    assert three > 0.9


@pytest.mark.parametrize("baseline", ALL)
@pytest.mark.parametrize("axis", list(SliceAxis))
def test_every_slice_boxed_gives_an_ellipsoid_on_any_axis(
    baseline: Callable[[], Baseline], axis: SliceAxis
) -> None:
    truth = ellipsoid()
    boxed = tuple(np.flatnonzero(target_of(truth, axis).areas).tolist())
    least = 0.7 if baseline is box_baseline else 0.93
    assert dice(answer(made(baseline), truth, axis, boxed), truth) > least


@pytest.mark.parametrize("baseline", ALL)
def test_a_volume_of_one_slice_works(baseline: Callable[[], Baseline]) -> None:
    truth = ellipsoid()[7:8]
    found = ask_about(made(baseline), bright(truth), target_of(truth))
    assert dice(found, truth) > (0.7 if baseline is box_baseline else 0.92)


@pytest.mark.parametrize("baseline", ALL)
def test_color_works(baseline: Callable[[], Baseline]) -> None:
    truth = ellipsoid(radii=(5, 9, 12))
    gray = np.where(truth, 200, 90)
    color = np.stack([gray, gray // 2, 255 - gray], axis=-1).astype(np.uint8)
    found = ask_about(made(baseline), color, target_of(truth))
    assert found.shape == truth.shape
    assert dice(found, truth) > (0.55 if baseline is box_baseline else 0.75)


@pytest.mark.parametrize("baseline", ALL)
def test_the_same_question_has_the_same_answer(baseline: Callable[[], Baseline]) -> None:
    assert np.array_equal(answer(made(baseline), ellipsoid()), answer(made(baseline), ellipsoid()))


@pytest.mark.parametrize("baseline", ALL)
def test_one_voxel_can_be_boxed(baseline: Callable[[], Baseline]) -> None:
    truth = np.zeros(SHAPE, bool)
    truth[5, 9, 9] = truth[6, 9, 9] = True
    assert np.array_equal(answer(made(baseline), truth), truth)


@pytest.mark.slicer
@pytest.mark.parametrize("axis", list(SliceAxis))
def test_growcut_finds_a_bright_ellipsoid(axis: SliceAxis) -> None:
    pytest.importorskip("slicer")
    assert dice(answer(growcut_baseline(), ellipsoid(), axis), ellipsoid()) > 0.95


@pytest.mark.slicer
def test_growcut_finds_an_object_that_fills_the_volume_up_to_its_ends() -> None:
    pytest.importorskip("slicer")
    mask = np.zeros(SHAPE, bool)
    mask[:, 8:25, 10:31] = True
    assert dice(answer(growcut_baseline(), mask), mask) > 0.95


def test_baselines_need_a_box_and_a_range() -> None:
    target, protocol = target_of(brick()), PROTOCOLS["box+range"]
    ask = box_baseline().begin(volume_of(brick()), SliceAxis.K)
    click, box = click_on(target, GEOMETRY, 7), box_on(target, GEOMETRY, 7)

    def request(*prompts: Prompt, slice_range: tuple[int, int] | None = (3, 11)) -> Request:
        return Request(ObjectPrompts("object", (1, 0, 0), prompts, slice_range), protocol)

    with pytest.raises(PromptError, match="a box and the slice range"):
        ask(request(click))
    with pytest.raises(PromptError, match="a box and the slice range"):
        ask(request(box, slice_range=None))
    with pytest.raises(PromptError, match="Clicks do not correct the baseline 'box', got 1"):
        ask(request(box, click))


@pytest.mark.parametrize("baseline", ALL)
def test_baselines_work_from_boxes_with_a_range_only(baseline: Callable[[], Baseline]) -> None:
    supported = {name for name, protocol in PROTOCOLS.items() if made(baseline).supports(protocol)}
    assert {"box+range", "loose box+range", "every slice", "three slices+range", "middle+range"} <= supported
    assert {"box+range, 5 boxes", "first, forward+range"} <= supported
    unusable = {"box", "click", "click+range", "line+range", "mask+range", "10 clicks", "forward+range"}
    assert not supported & {*unusable, "every slice, click", "backward+range"}


@pytest.mark.parametrize("baseline", ALL)
def test_clicks_correct_those_that_grow_from_seeds_and_boxes_all(baseline: Callable[[], Baseline]) -> None:
    runner = made(baseline)
    assert runner.corrects(PROTOCOLS["box+range"]) == (runner.name in ("GrowCut", "random walker"))
    assert runner.corrects(PROTOCOLS["box+range, 5 boxes"])


@pytest.mark.parametrize(
    ("module", "factory", "package", "extra"),
    [
        ("growcut", "growcut_baseline", "slicer", "slicer"),
        ("interpolation", "interpolation_baseline", "itk", "lab"),
        ("random_walker", "random_walker_baseline", "skimage", "lab"),
    ],
)
def test_a_missing_package_is_one_sentence_that_names_the_extra(
    module: str, factory: str, package: str, extra: str
) -> None:
    script = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"from MedSAMSlicerLib.lab.evaluation.{module} import {factory} as made\n"
        "from MedSAMSlicerLib.core.errors import MedSAMError\n"
        "try:\n    made()\nexcept MedSAMError as error:\n    print(error)\n"
    )
    folder = Path(__file__).parents[3] / "MedSAMSlicer"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip().endswith(f"install it with pip install 'medsamslicer[{extra}]'."), done.stderr


def test_a_stack_of_thick_slices_keeps_its_spacing() -> None:
    from MedSAMSlicerLib.lab.evaluation.baselines import Stack

    volume = volume_of(brick())
    assert volume.geometry == VolumeGeometry.from_spacing(SHAPE, (1.0, 1.0, 2.0), (3.0, -4.0, 5.0))
    assert Stack.of(volume, SliceAxis.K).spacing == pytest.approx((2.0, 1.0, 1.0))
    assert Stack.of(volume, SliceAxis.I).spacing == pytest.approx((1.0, 2.0, 1.0))
