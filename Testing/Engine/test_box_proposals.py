"""What a network of boxes finds on a slice by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from MedSAMSlicerLib.core.errors import Canceled
from MedSAMSlicerLib.core.intensity import Window
from MedSAMSlicerLib.core.metrics import dice
from MedSAMSlicerLib.core.tiers import SECOND_NETWORK
from MedSAMSlicerLib.engine import box_proposals, second_reader
from MedSAMSlicerLib.engine.box_proposals import BoxSearch, Mask, find_in_boxes, region_boxes
from MedSAMSlicerLib.engine.crop import Bounds
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.phantom.ct import ct_phantom
from MedSAMSlicerLib.sam2.checkpoint import load_network

MODELS = Path(second_reader.__file__).parents[2] / "Resources" / "Models"


@pytest.fixture
def picture() -> tuple[np.ndarray, list[Mask]]:
    """A gray slice with a disc, an ellipse that is darker, and noise."""
    y, x = np.ogrid[:96, :128]
    disc = (y - 40) ** 2 + (x - 40) ** 2 < 18**2
    ellipse = ((y - 60) / 9) ** 2 + ((x - 95) / 20) ** 2 < 1
    image = 90.0 + 80 * disc - 50 * ellipse + np.random.default_rng(0).normal(0, 4, disc.shape)
    return image.clip(0, 255).astype(np.uint8), [disc, np.asarray(ellipse)]


def within(objects: Sequence[Mask]) -> box_proposals.Draw:
    """A network that draws the object which fills a box best, or nothing."""

    def draw(boxes: Sequence[Bounds]) -> list[Mask]:
        found = []
        for left, top, right, bottom in boxes:
            inside = np.zeros(objects[0].shape, np.bool_)
            inside[max(0, round(top)) : round(bottom + 1), max(0, round(left)) : round(right + 1)] = True
            fits = [mask for mask in objects if (mask & inside).sum() > 0.4 * inside.sum()]
            found.append(fits[0] if fits else ~inside & False)
        return found

    return draw


def test_boxes_lie_around_regions_of_a_similar_gray(picture: tuple[np.ndarray, list[Mask]]) -> None:
    gray, objects = picture
    boxes = region_boxes(gray, BoxSearch())
    for mask in objects:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        wanted = columns[0] - 0.5, rows[0] - 0.5, columns[-1] + 0.5, rows[-1] + 0.5
        assert min(max(abs(a - b) for a, b in zip(box, wanted, strict=True)) for box in boxes) <= 4


def test_objects_are_found_once_the_largest_first(picture: tuple[np.ndarray, list[Mask]]) -> None:
    gray, objects = picture
    found = find_in_boxes(gray, within(objects))
    assert [np.array_equal(each.mask, mask) for each, mask in zip(found, objects, strict=True)] == [
        True,
        True,
    ]
    left, top, width, height = found[1].bounds
    assert (left, top, width, height) == (76, 52, 38, 16)
    assert [each.iou for each in found] == [1.0, 1.0]
    assert [each.bounds for each in find_in_boxes(np.stack([gray] * 3, -1), within(objects))] == [
        each.bounds for each in found
    ]


def test_what_changes_with_the_box_or_has_no_edge_is_no_object(
    picture: tuple[np.ndarray, list[Mask]],
) -> None:
    gray, objects = picture

    def filled(boxes: Sequence[Bounds]) -> list[Mask]:
        """An ellipse in each box, whatever is there."""
        y, x = np.mgrid[:96, :128]
        return [
            ((x - (a + c) / 2) / (c - a)) ** 2 + ((y - (b + d) / 2) / (d - b)) ** 2 < 0.25
            for a, b, c, d in boxes
        ]

    strict = BoxSearch(agreement=0.95)
    assert find_in_boxes(gray, filled, strict) == []
    assert find_in_boxes(gray, within(objects), BoxSearch(edge=120)) == []
    assert find_in_boxes(np.zeros((64, 64), np.uint8), filled) == []


def test_a_search_is_canceled_between_boxes(picture: tuple[np.ndarray, list[Mask]]) -> None:
    gray, objects = picture
    with pytest.raises(Canceled):
        find_in_boxes(gray, within(objects), cancel=lambda: True)


@pytest.mark.slow
def test_organs_of_a_generated_abdomen_are_found_without_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the bundled network, which sees the square around an object, LiteMedSAM looks at whole slices."""
    monkeypatch.delenv(SECOND_NETWORK)
    image, geometry, organs = ct_phantom((12, 192, 192))
    network = load_network(MODELS / "medsamslicer_nano.safetensors")
    segmenter = VolumeSegmenter(image, geometry, network, Window(-160, 240, "soft tissue"))
    progress: list[tuple[int, int]] = []
    found = segmenter.propose(5, progress=lambda done, total: progress.append((done, total)))
    assert progress[0] == (0, progress[0][1])
    for organ in ("liver", "right_kidney", "aorta"):
        assert max(dice(each.mask[None], organs[organ][5][None]) for each in found) > 0.85, organ
    assert [each.area for each in found] == sorted((each.area for each in found), reverse=True)
