"""What each segment shows where masks meet, as a function of masks and claims."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.overlap import Claim, ClaimedMask, shown
from MedSAMSlicerLib.core.session import Session

NAMES = ("a", "b", "c")


def mask(*pixels: int) -> np.ndarray:
    return np.isin(np.arange(4), pixels)


@st.composite
def claimed_masks(draw: st.DrawFn) -> list[ClaimedMask]:
    masks = []
    for turn in range(draw(st.integers(0, 6))):
        spared = draw(st.frozensets(st.sampled_from(NAMES)))
        claim = Claim(turn, draw(st.booleans()), spared)
        pixels = draw(st.sets(st.integers(0, 3)))
        masks.append(ClaimedMask(draw(st.sampled_from(NAMES)), mask(*pixels), claim))
    return masks


def test_a_later_mask_that_takes_has_the_voxels_and_the_earlier_one_the_rest() -> None:
    found = shown(
        [ClaimedMask("a", mask(0, 1, 2), Claim(1, True)), ClaimedMask("b", mask(2, 3), Claim(2, True))]
    )
    assert found["a"].tolist() == mask(0, 1).tolist()
    assert found["b"].tolist() == mask(2, 3).tolist()


def test_a_mask_that_takes_nothing_shares_the_voxels_and_one_that_is_spared_keeps_them() -> None:
    first = ClaimedMask("a", mask(0, 1), Claim(1, True))
    shares = shown([first, ClaimedMask("b", mask(1, 2), Claim(2))])
    spares = shown([first, ClaimedMask("b", mask(1, 2), Claim(2, True, frozenset({"a"})))])
    for found in (shares, spares):
        assert found["a"].tolist() == mask(0, 1).tolist()
        assert found["b"].tolist() == mask(1, 2).tolist()


@given(masks=claimed_masks(), data=st.data())
def test_the_order_in_which_masks_are_listed_changes_nothing(
    masks: list[ClaimedMask], data: st.DataObject
) -> None:
    found = {name: held.tolist() for name, held in shown(masks).items()}
    again = {name: held.tolist() for name, held in shown(data.draw(st.permutations(masks))).items()}
    assert found == again


@given(masks=claimed_masks())
def test_every_voxel_of_a_mask_is_shown_by_somebody_and_by_nobody_without_a_mask(
    masks: list[ClaimedMask],
) -> None:
    found = shown(masks)
    union = np.any([each.mask for each in masks], axis=0) if masks else mask()
    assert (np.any([*found.values()], axis=0) if found else mask()).tolist() == union.tolist()
    for name, held in found.items():
        own = np.any([each.mask for each in masks if each.segment_id == name], axis=0)
        assert not (held & ~own).any()


@given(masks=claimed_masks())
def test_masks_that_all_take_and_spare_nobody_share_no_voxel(masks: list[ClaimedMask]) -> None:
    taking = [ClaimedMask(each.segment_id, each.mask, Claim(each.claim.turn, True)) for each in masks]
    found = shown(taking)
    assert not found or np.sum([*found.values()], axis=0).max() <= 1


def test_an_edited_mask_goes_on_taking_what_it_took_and_one_that_is_drawn_again_stays_as_it_is() -> None:
    session = Session(VolumeGeometry((4, 6, 5), np.eye(4)))
    drawn = np.zeros((6, 5), np.bool_)
    drawn[1:3, 1:3] = True
    number = session.adopt_object("liver", (0.5, 0.5, 0.5))
    session.adopt_masks(number, {1: drawn, 2: drawn}, SliceAxis.K, session.claims.new(True, frozenset("b")))
    session.edit_masks(number, {1: ~drawn, 2: drawn, 3: drawn})
    edited, again, new = (session.object(number).masks[index].claim for index in (1, 2, 3))
    assert (edited.takes, edited.spared) == (True, {"b"})
    assert edited.turn > again.turn == 1
    assert not new.takes
    steps = session.step_count
    session.edit_masks(number, {1: ~drawn, 2: drawn, 3: drawn})
    assert session.step_count == steps, "the same masks again are no step"
