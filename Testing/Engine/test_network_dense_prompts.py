"""Prompts as a map: boxes, points and masks appear where the user put them, and follow the three rules."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from MedSAMSlicerLib.sam2.dense_prompts import BOX_EVIDENCE, LIMIT, dense_prompt

SIDE, GRID = 192, 96
coordinate = st.floats(0, SIDE - 1, width=32)
points = st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=4)


def _box(x0: float, y0: float, x1: float, y1: float) -> tuple[Tensor, Tensor]:
    """Tokens of the box over the pixels x0..x1, y0..y1."""
    return torch.tensor([[[x0, y0], [x1, y1]]]), torch.tensor([[2, 3]])


def _map(points: Tensor | None, labels: Tensor | None, mask: Tensor | None = None) -> Tensor:
    drawn = dense_prompt(points, labels, mask, SIDE, GRID)
    assert drawn is not None
    assert drawn.shape[1:] == (1, GRID, GRID)
    return drawn


def test_without_prompts_there_is_no_map():
    assert dense_prompt(None, None, None, SIDE, GRID) is None


def test_a_box_is_positive_inside_negative_outside_and_zero_on_its_edge():
    drawn = _map(*_box(20, 40, 99, 139))[0, 0]  # edges at 20, 40, 100 and 140 pixels: cells 10, 20, 50, 70
    assert (drawn[22:68, 12:48] == BOX_EVIDENCE).all()
    assert (drawn[:18] == -BOX_EVIDENCE).all()
    assert (drawn[:, 52:] == -BOX_EVIDENCE).all()
    assert drawn[40, 9] < 0 < drawn[40, 10]
    assert torch.isclose(drawn[40, 9] + drawn[40, 10], torch.tensor(0.0))


def test_a_point_is_strongest_where_it_was_set_and_unknown_far_away():
    for label, sign in ((1, 1), (0, -1)):
        drawn = sign * _map(torch.tensor([[[60.5, 100.5]]]), torch.tensor([[label]]))[0, 0]
        row, column = divmod(int(drawn.argmax()), GRID)
        assert (row, column) == (50, 30)
        assert drawn.max() > 0.9 * LIMIT
        assert drawn[0, 0].abs() < 1e-6


def test_points_outrank_the_box_and_the_mask():
    box, labels = _box(20, 40, 99, 139)
    mask = torch.full((1, 1, GRID, GRID), 8.0)
    negative = (
        torch.cat([box, torch.tensor([[[60.5, 100.5]]])], 1),
        torch.cat([labels, torch.tensor([[0]])], 1),
    )
    assert _map(*negative)[0, 0, 50, 30] < -0.9 * LIMIT
    assert _map(*negative, mask)[0, 0, 50, 30] < -0.9 * LIMIT


def test_a_mask_alone_is_only_cut_to_the_limit():
    mask = torch.linspace(-1024, 1024, GRID * GRID).view(1, 1, GRID, GRID)
    assert torch.equal(_map(None, None, mask), mask.clamp(-LIMIT, LIMIT))


def test_box_and_mask_add_up():
    mask = torch.full((1, 1, GRID, GRID), -1024.0)
    drawn = _map(*_box(20, 40, 99, 139), mask)[0, 0]
    assert drawn[45, 30] == BOX_EVIDENCE - LIMIT
    assert drawn[0, 0] == -LIMIT


def test_padding_adds_nothing():
    box, labels = _box(20, 40, 99, 139)
    padded = torch.cat([box, torch.zeros(1, 2, 2)], 1), torch.cat([labels, torch.full((1, 2), -1)], 1)
    assert torch.equal(_map(*padded), _map(box, labels))


def test_objects_of_a_batch_do_not_see_each_other():
    places = torch.tensor([[[20.0, 40.0], [99.0, 139.0]], [[60.0, 60.0], [0.0, 0.0]]])
    labels = torch.tensor([[2, 3], [1, -1]])
    together = _map(places, labels)
    for index in range(2):
        assert torch.equal(
            together[index : index + 1], _map(places[index : index + 1], labels[index : index + 1])
        )


@given(points, st.randoms(use_true_random=False))
def test_the_order_of_the_points_does_not_matter(places: list[tuple[float, float]], random):
    labels = [index % 2 for index in range(len(places))]
    order = list(range(len(places)))
    random.shuffle(order)
    first = _map(torch.tensor([places]), torch.tensor([labels]))
    second = _map(torch.tensor([[places[i] for i in order]]), torch.tensor([[labels[i] for i in order]]))
    assert torch.equal(first, second)
    assert first.abs().max() <= LIMIT
    assert first.isfinite().all()


@given(coordinate, coordinate, coordinate, coordinate)
def test_every_box_is_drawn_where_it_is(x0: float, y0: float, x1: float, y1: float):
    x0, x1 = sorted((x0, x1))
    y0, y1 = sorted((y0, y1))
    drawn = _map(*_box(x0, y0, x1, y1))[0, 0]
    rows, columns = (drawn > 0).any(1).nonzero(), (drawn > 0).any(0).nonzero()
    if len(rows):
        center = SIDE / GRID / 2
        assert 2 * columns.min() + center >= x0
        assert 2 * columns.max() + center <= x1 + 1
        assert 2 * rows.min() + center >= y0
        assert 2 * rows.max() + center <= y1 + 1
    else:
        assert min(x1 - x0, y1 - y0) < 2
