"""Reloading the module and leaving the application while the worker runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest

from .test_segment_editor_effect import Editor
from .user import User, network_threads, observers, running

pytestmark = [pytest.mark.slicer, pytest.mark.slow]


@pytest.fixture(autouse=True)
def own_library() -> Iterator[None]:
    """Reloading makes every class of the library again; the tests after these go on with the old ones."""

    def loaded() -> dict[str, object]:
        return {
            name: module for name, module in sys.modules.items() if name.split(".")[0] == "MedSAMSlicerLib"
        }

    before = loaded()
    yield
    for name in loaded():
        del sys.modules[name]
    sys.modules.update(before)  # type: ignore[arg-type]


def watched(user: User) -> int:
    """Observers on everything that outlives the panel."""
    import slicer

    kinds = ("Interaction", "Selection", "Crosshair", "Slice")
    nodes = [slicer.util.getNodesByClass(f"vtkMRML{kind}Node") for kind in kinds]
    return observers(user.host.scene, user.volume, *(node for group in nodes for node in group))


def test_reload_and_exit_during_the_run_leave_no_observer_and_no_thread(
    open_user: Callable[..., User],
) -> None:
    import slicer

    user = open_user()
    running(user)
    user.widget.onReload()
    user.widget = slicer.modules.MedSAMSlicerWidget
    user.host.process_events(0.1)
    user.ready()
    panels = [child for child in user.widget.parent.children() if child.objectName == "MedSAMSlicer"]
    assert len(panels) == 1  # the old one is freed, not only hidden
    assert user.widget.panel._strips._strips  # the module was open, so that it is entered by itself
    user.host.key("P", view="Red")
    assert user.controller.editing.placing is not None
    user.host.key("P", view="Red")
    after_one = watched(user)
    running(user)
    user.widget.onReload()
    user.widget = slicer.modules.MedSAMSlicerWidget
    user.host.process_events(0.1)
    user.ready()
    assert watched(user) == after_one
    assert len(network_threads()) <= 2
    running(user)
    user.host.close()
    assert network_threads() == []


def test_effect_in_segment_editor_works_on_after_the_module_was_reloaded(
    open_user: Callable[..., User],
) -> None:
    import slicer

    user = open_user()
    user.host.process_events(0.1)
    editor = Editor(user)
    editor.box()
    assert editor.preview().any()
    before, name, frame = editor.panel, editor.panel.widget.objectName, editor.panel.widget.parent()
    user.widget.onReload()
    user.widget = slicer.modules.MedSAMSlicerWidget
    assert slicer.mrmlScene.GetFirstNodeByName("MedSAM preview") is None, "the preview of before is gone"
    user.host.process_events(0.1)
    editor.editor.setCurrentSegmentID("other")  # which the editor reports to the effect
    user.host.process_events(0.1)
    editor.panel = editor.effect.self().panel
    assert editor.panel is not before
    assert editor.panel.controller is user.widget.controller
    assert [child.objectName for child in frame.children()].count(name) == 1, "the widgets of before are gone"
    user.ready()
    editor.box()
    editor.press("applyButton")
    assert editor.mask("other").any()


def test_cleaning_up_twice_leaves_nothing(open_user: Callable[..., User]) -> None:
    user = open_user()
    user.widget.cleanup()
    assert network_threads() == []
    user.widget.cleanup()
