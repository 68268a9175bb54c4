"""The network looks for objects by itself; the user accepts one candidate and rejects the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.core.metrics import dice
from MedSAMSlicerLib.core.tiers import SECOND_NETWORK

from .user import User, same

pytestmark = pytest.mark.slicer


@pytest.fixture
def searching(user: User) -> User:
    """The section unfolded, and a coarse search that the bundled network passes."""
    from MedSAMSlicerLib.app.jobs import Search

    user.ui.suggestionsSection.collapsed = False
    user.host.process_events(0.05)
    user.controller.proposing.search = Search(points_per_side=4, least_iou=0.0, least_stability=0.0, most=4)
    return user


def choose_row(user: User, row: int) -> None:
    """Click a line of the list."""
    table = user.ui.suggestionsTable
    user.host.window._panel.ensureWidgetVisible(table)
    place = table.visualItemRect(table.topLevelItem(row)).center()
    user.host._mouse.click(table.viewport(), place, "left", "")
    user.settled()


def test_one_suggestion_is_accepted_and_the_others_rejected(searching: User) -> None:
    user = searching
    user.host.show_slice("Red", user.world(60, 60, 8))
    user.press("suggestButton")
    assert user.controller.proposing.busy
    user.until(lambda: not user.controller.proposing.busy)
    user.settled()
    candidates = user.controller.proposing.candidates
    assert 2 <= len(candidates) <= 4
    assert "on slice 8: accept those that you want" in user.message
    assert all(0 <= each.certainty <= 1 and each.area_mm2 > 0 for each in candidates)
    found = [user.mask(each.segment_id) for each in candidates]
    assert np.flatnonzero(np.any(found, axis=(0, 2, 3))).tolist() == [8]
    assert np.sum(found, axis=0).max() == 1, "no voxel is suggested twice"
    choose_row(user, 1)
    assert user.controller.inputs.segment_id == candidates[1].segment_id
    kept = user.mask()
    user.press("suggestionAcceptButton")
    user.settled()
    user.press("rejectRestButton")
    user.settled()
    assert user.names() == [candidates[1].name]
    assert same(user.mask(), kept)
    assert user.controller.proposing.candidates == ()
    user.press("undoButton")
    user.settled()
    assert len(user.names()) == 2, "a rejected one comes back"


def test_suggestion_grows_by_itself_once_it_is_accepted(searching: User) -> None:
    user = searching
    user.press("liveBox")
    user.host.show_slice("Red", user.world(60, 60, 8))
    user.press("suggestButton")
    user.until(lambda: not user.controller.proposing.busy)
    user.settled()
    first = user.controller.proposing.candidates[0]
    choose_row(user, 0)
    user.host.process_events(0.3)
    assert not user.controller.runs.busy
    masks = [user.mask(each.segment_id) for each in user.controller.proposing.candidates]
    assert np.flatnonzero(np.any(masks, axis=(0, 2, 3))).tolist() == [8]
    user.press("suggestionAcceptButton")
    user.until(lambda: (user.controller.history.undo_label or "").startswith("Propagate"))
    user.until(lambda: not user.controller.runs.busy)
    user.settled()
    assert len(np.flatnonzero(user.mask(first.segment_id).any(axis=(1, 2)))) > 1


def test_search_is_canceled_with_the_button(searching: User) -> None:
    user = searching
    from MedSAMSlicerLib.app.jobs import Search

    user.controller.proposing.search = Search(points_per_side=32)
    user.press("suggestButton")
    user.until(lambda: user.ui.cancelButton.enabled)
    user.press("cancelButton")
    user.settled()
    assert not user.controller.proposing.busy
    assert user.controller.proposing.candidates == ()
    assert user.message == "The search was canceled; nothing was suggested."


def test_organs_are_suggested_in_boxes_that_nobody_drew(
    searching: User, abdomen: tuple[Any, Any, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiteMedSAM looks at the whole slice, as the bundled network does not."""
    monkeypatch.delenv(SECOND_NETWORK)
    user, truth = searching, abdomen[2]
    middle = abdomen[0].shape[0] // 2
    user.host.show_slice("Red", user.world(60, 60, middle))
    user.press("suggestButton")
    user.until(lambda: not user.controller.proposing.busy)
    user.settled()
    found = [user.mask(each.segment_id)[middle] for each in user.controller.proposing.candidates]
    assert found
    best = [max(float(dice(mask[None], organ[middle][None])) for organ in truth.values()) for mask in found]
    assert max(best) > 0.8
    assert "accept those that you want" in user.message


def test_network_of_boxes_alone_looks_for_objects_itself(searching: User) -> None:
    user = searching
    user.controller.network.set_checkpoint("litemedsam")
    user.until(lambda: user.controller.network.state.name == "READY")
    user.settled()
    assert user.ui.suggestButton.enabled
    user.controller.network.set_checkpoint("medsamslicer-nano")
    user.until(lambda: user.controller.network.state.name == "READY")
    user.settled()
