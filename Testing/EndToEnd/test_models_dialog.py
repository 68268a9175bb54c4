"""The dialog of models, opened with the button: which one to take, and what it would take here."""

from __future__ import annotations

import pytest

from .user import User

pytestmark = pytest.mark.slicer


def test_dialog_says_what_each_model_is_good_for_and_how_fast_it_is_here(user: User) -> None:
    user.ui.inputsSection.collapsed = False
    user.host.process_events(0.05)
    user.press("modelsButton")
    dialog = user.widget.panel._models
    table = dialog.table
    assert dialog.selected.id == user.controller.network.checkpoint
    headers = [table.headerItem().text(column) for column in range(table.columnCount)]
    assert headers == ["Model", "Good for", "Prompts", "Dice", "Time per slice", "Size", "License", "State"]
    rows = [[table.topLevelItem(row).text(n) for n in range(8)] for row in range(table.topLevelItemCount)]
    assert [row[0] for row in rows if "recommended" in row[0]] == ["MedSAMSlicer nano, bundled (recommended)"]
    assert rows[0][3] == "0.86"
    assert all(row[1] for row in rows)
    boxes = [row[0] for row in rows if row[2] == "box"]
    assert boxes == ["LiteMedSAM, bundled", "MedSAM ViT-B"]
    user.until(lambda: table.topLevelItem(0).text(4) != "", 60)
    seconds = {row: float(table.topLevelItem(row).text(4).removesuffix(" s")) for row in range(len(rows))}
    names = [row[0] for row in rows]
    assert seconds[0] < seconds[names.index("SAM 2.1 tiny")] < seconds[names.index("SAM 2.1 large")]
    assert seconds[0] == min(seconds.values())
    user.host.press(dialog.use_button)
    assert user.controller.network.checkpoint == "medsamslicer-nano"
    assert not dialog.dialog.visible
