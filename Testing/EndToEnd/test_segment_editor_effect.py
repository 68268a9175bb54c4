"""The effect "MedSAM" in Segment Editor, and the way there from the module: mouse clicks, the editor's real logic."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from .user import Mask, User, dice, largest, same

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
KIDNEY = "left_kidney"


class Editor:
    """The user in Segment Editor with an empty segment of his, and the effect in hand."""

    def __init__(self, user: User, masked_by: Mask | None = None) -> None:
        import slicer

        self.user, self.host = user, user.host
        node = self.node = self.host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "of the user")
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(user.volume)
        for name in ("kidney", "other"):
            node.GetSegmentation().AddEmptySegment(name, name)
        if masked_by is not None:
            self.write("other", masked_by)
        slicer.util.selectModule("SegmentEditor")
        self.widget = slicer.util.getModuleWidget("SegmentEditor")
        self.editor = self.widget.editor
        self.editor.setSegmentationNode(node)
        self.editor.setSourceVolumeNode(user.volume)
        self.editor.setCurrentSegmentID("kidney")
        self.take_effect()

    @classmethod
    def of_the_module(cls, user: User) -> Editor:
        """As the button of the module opens it, on the module's own segment."""
        import slicer

        new = cls.__new__(cls)
        new.user, new.host, new.node = user, user.host, user.segmentation
        user.press("editorButton")
        new.widget = slicer.util.getModuleWidget("SegmentEditor")
        new.editor = new.widget.editor
        new.take_effect()
        return new

    def take_effect(self) -> None:
        self.editor.setActiveEffectByName("MedSAM")
        self.host.process_events(0.05)
        self.effect = self.editor.activeEffect()
        self.panel = self.effect.self().panel
        assert self.panel.controller is not None, self.panel.ui.messageLabel.text
        self.user.ready()

    def write(self, segment_id: str, mask: Mask) -> None:
        import slicer

        slicer.util.updateSegmentBinaryLabelmapFromArray(
            mask.astype(np.uint8), self.node, segment_id, self.user.volume
        )

    def mask(self, segment_id: str = "kidney") -> Mask:
        import slicer

        array = slicer.util.arrayFromSegmentBinaryLabelmap(self.node, segment_id, self.user.volume)
        return np.zeros_like(self.user.truth[KIDNEY]) if array is None else np.array(array, dtype=np.bool_)

    def press(self, name: str) -> None:
        widget = getattr(self.panel.ui, name)
        assert widget.isEnabled(), f"{name} is disabled: {widget.toolTip}"
        self.host.press(widget)
        self.settle()

    def settle(self) -> None:
        self.host.process_events(0.05)
        self.user.settled()
        self.host.process_events(0.05)

    def box(self) -> int:
        """Draw a box around the kidney where it is largest; returns the slice."""
        index, low, high = largest(self.user.truth[KIDNEY])
        self.press("boxButton")
        self.host.click("Red", self.user.world(*low))
        self.host.click("Red", self.user.world(*high), jump=False)
        self.settle()
        assert self.editor.activeEffect() is self.effect, "place mode has put the effect down"
        return index

    def preview(self) -> Mask:
        import slicer

        node = slicer.mrmlScene.GetFirstNodeByName("MedSAM preview")
        ids = node.GetSegmentation().GetSegmentIDs()
        return np.array(
            slicer.util.arrayFromSegmentBinaryLabelmap(node, ids[0], self.user.volume), dtype=np.bool_
        )

    def leave(self) -> None:
        import slicer

        slicer.util.selectModule("MedSAMSlicer")
        self.host.process_events(0.05)


@pytest.fixture
def back(user: User) -> Iterator[User]:
    """The user, whom the test brings back into the module."""
    yield user
    import slicer

    slicer.util.selectModule("MedSAMSlicer")
    user.host.process_events(0.05)


def previews(user: User) -> list[Any]:
    import slicer

    return list(slicer.util.getNodes("MedSAM preview*", useLists=True).values())


def test_box_preview_accept_and_the_editors_own_undo(back: User) -> None:
    editor = Editor(back)
    index = editor.box()
    assert not editor.mask().any(), "the preview is none of the user's segment"
    found = editor.preview()
    assert dice(found[index], back.truth[KIDNEY][index]) > 0.8
    back.picture("effect-preview")
    editor.press("applyButton")
    assert same(editor.mask(), found)
    back.host.press(editor.widget.undoButton)
    editor.settle()
    assert not editor.mask().any()
    assert not editor.preview().any()
    assert not editor.panel.ui.applyButton.enabled
    back.host.press(editor.widget.redoButton)
    editor.settle()
    assert same(editor.mask(), found)
    assert same(editor.preview(), found)


def test_effect_is_a_scripted_effect_of_slicer(back: User) -> None:
    """With a clone of Slicer at hand its base class is Slicer's own; how Slicer's C++ calls it is the host's."""
    from Testing.Host.editor_effects import own_base_class

    editor = Editor(back)
    effect = editor.effect.self()
    base = type(effect).__mro__[1]
    assert base.__name__.endswith("AbstractScriptedSegmentEditorEffect")
    if own_base_class() is not None:
        assert sys.modules[base.__module__].__file__ == str(own_base_class())
    assert editor.effect.name == "MedSAM"
    assert "one step" in effect.helpText()
    assert not effect.icon().isNull()
    assert effect.clone().self() is not effect


def test_propagation_of_a_range_that_is_chosen_in_the_view(back: User) -> None:
    editor = Editor(back)
    index = editor.box()
    for name, at in (("rangeFirstButton", index - 2), ("rangeLastButton", index + 2)):
        back.host.show_slice("Red", back.world(60, 60, at))
        editor.press(name)
    assert editor.panel.ui.rangeLabel.text == f"{index - 2} to {index + 2}"
    editor.press("propagateButton")
    back.until(lambda: not back.controller.runs.busy)
    editor.settle()
    editor.press("applyButton")
    filled = np.flatnonzero(editor.mask().any(axis=(1, 2)))
    assert filled.tolist() == list(range(index - 2, index + 3))
    truth = back.truth[KIDNEY][index - 2 : index + 3]
    assert dice(editor.mask()[index - 2 : index + 3], truth) > 0.75


def test_masking_of_the_editor_holds(back: User) -> None:
    half = back.truth[KIDNEY].copy()
    half[:, : int(np.argwhere(half)[:, 1].mean())] = False
    editor = Editor(back, masked_by=half)
    node = editor.editor.mrmlSegmentEditorNode()
    node.SetMaskMode(node.GetSegmentationNode().EditAllowedInsideSingleSegment)
    node.SetMaskSegmentID("other")
    editor.box()
    found = editor.preview()
    editor.press("applyButton")
    assert (found & ~half).any()
    assert same(editor.mask(), found & half)


def test_overwriting_other_segments_is_the_editors_choice(back: User) -> None:
    other = np.zeros_like(back.truth[KIDNEY])
    other[:, :, :] = back.truth[KIDNEY]
    editor = Editor(back, masked_by=other)
    node = editor.editor.mrmlSegmentEditorNode()
    node.SetOverwriteMode(node.OverwriteNone)
    editor.box()
    editor.press("applyButton")
    assert same(editor.mask("other"), other)
    editor.press("startOverButton")
    node.SetOverwriteMode(node.OverwriteAllSegments)
    editor.press("positiveButton")
    index, low, high = largest(back.truth[KIDNEY])
    back.host.click("Red", back.world((low[0] + high[0]) / 2 + 6, (low[1] + high[1]) / 2, index))
    editor.settle()
    editor.press("applyButton")
    assert not (editor.mask("other") & editor.mask()).any()


def test_segment_that_holds_something_is_corrected(back: User) -> None:
    editor = Editor(back)
    editor.box()
    editor.press("applyButton")
    before = editor.mask()
    index = int(before.sum(axis=(1, 2)).argmax())
    assert same(editor.preview(), before)
    j, i = np.argwhere(before[index])[0]
    editor.press("negativeButton")
    back.host.click("Red", back.world(float(i), float(j), index))
    editor.settle()
    assert same(editor.mask(), before)
    editor.press("applyButton")
    assert not same(editor.mask()[index], before[index])


def test_module_has_again_what_it_had_and_nothing_is_left_behind(back: User) -> None:
    back.box_around(KIDNEY)
    segmentation, mask, prompts = back.segmentation, back.mask(), back.prompts()
    editor = Editor(back)
    assert back.segmentation is not segmentation
    editor.box()
    assert len(previews(back)) == 1
    editor.leave()
    assert back.segmentation is segmentation
    assert same(back.mask(), mask)
    assert back.prompts() == prompts
    assert previews(back) == []
    assert not editor.mask().any()


def test_undo_of_the_module_goes_on_after_the_effect_was_looked_at(back: User) -> None:
    back.box_around(KIDNEY)
    mask, prompts = back.mask(), back.prompts()
    editor = Editor.of_the_module(back)
    editor.box()
    editor.leave()
    back.settled()
    assert back.controller.history.undo_label == "Add box"
    back.press("undoButton")
    back.settled()
    assert back.prompts() == ()
    assert not back.mask().any()
    back.press("redoButton")
    back.settled()
    assert back.prompts() == prompts
    assert same(back.mask(), mask)


def corrected_in_the_effect(back: User) -> tuple[Editor, str, Mask, Mask]:
    """A box of the module, corrected by a point in the effect: editor, segment, and the masks before and after."""
    index = back.box_around(KIDNEY)
    segment_id, before = back.controller.inputs.segment_id, back.mask()
    editor = Editor.of_the_module(back)
    j, i = np.argwhere(before[index])[0]
    editor.press("negativeButton")
    back.host.click("Red", back.world(float(i), float(j), index))
    editor.settle()
    editor.press("negativeButton")
    editor.press("applyButton")
    after = editor.mask(segment_id)
    assert not same(after, before)
    return editor, segment_id, before, after


def kinds(back: User) -> list[str]:
    """The prompts of the module's segment, without the masks that are the user's own."""
    return [prompt.kind for prompt in back.prompts() if prompt.kind != "mask"]


def test_prompts_and_masks_accepted_in_the_effect_are_one_step_of_the_modules_undo(back: User) -> None:
    editor, segment_id, before, after = corrected_in_the_effect(back)
    editor.leave()
    back.settled()
    assert back.controller.inputs.segment_id == segment_id
    assert same(back.mask(), after)
    assert kinds(back) == ["box", "point"]
    assert back.controller.history.undo_label == "Accept in Segment Editor"
    back.press("undoButton")
    back.settled()
    assert same(back.mask(), before)
    assert kinds(back) == ["box"]
    back.press("redoButton")
    back.settled()
    assert same(back.mask(), after)
    assert kinds(back) == ["box", "point"]
    for _ in range(2):
        back.press("undoButton")
        back.settled()
    assert not back.mask().any()
    assert back.prompts() == ()


def test_undo_of_segment_editor_takes_the_step_of_the_module_back_too(back: User) -> None:
    editor, segment_id, before, after = corrected_in_the_effect(back)
    back.host.press(editor.widget.undoButton)
    editor.settle()
    assert same(editor.mask(segment_id), before)
    editor.leave()
    back.settled()
    assert kinds(back) == ["box"]
    assert back.controller.history.undo_label == "Add box"
    assert back.controller.history.redo_label == "Accept in Segment Editor"
    back.press("redoButton")
    back.settled()
    assert same(back.mask(), after)


def test_scene_is_closed_while_the_effect_is_in_hand(back: User) -> None:
    editor = Editor(back)
    editor.box()
    back.host.close_scene()
    editor.settle()
    assert previews(back) == []
    editor.leave()
    assert back.controller.inputs.volume_node is None


def test_another_segment_of_the_editor_begins_another_preview(back: User) -> None:
    editor = Editor(back)
    editor.box()
    editor.editor.setCurrentSegmentID("other")
    editor.settle()
    assert len(previews(back)) == 1
    assert not editor.panel.ui.applyButton.enabled
    editor.box()
    editor.press("applyButton")
    assert editor.mask("other").any()
    assert not editor.mask("kidney").any()


def test_button_of_the_module_continues_in_segment_editor(back: User) -> None:
    import slicer

    back.box_around(KIDNEY)
    segmentation, segment_id = back.segmentation, back.controller.inputs.segment_id
    back.press("editorButton")
    assert slicer.util.selectedModule() == "SegmentEditor"
    editor = slicer.util.getModuleWidget("SegmentEditor").editor
    assert editor.segmentationNode() is segmentation
    assert editor.sourceVolumeNode() is back.volume
    assert editor.currentSegmentID() == segment_id
