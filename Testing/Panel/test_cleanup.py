"""Clean-up of masks in the panel: on from the start, inherited, and undone by one tick."""

from __future__ import annotations

import numpy as np


def two_spots(host):
    """A bright ball of 30 mm and a far smaller one, in a CT of 24 axial slices; its node."""
    k, j, i = np.mgrid[:24, :64, :64]
    matrix = np.diag([-1.5, -1.5, 2.0, 1.0])
    matrix[:3, 3] = [47.25, 47.25, -23.0]
    place = np.stack([i, j, k], axis=-1) @ matrix[:3, :3].T + matrix[:3, 3]
    array = np.where((place**2).sum(axis=-1) < 15**2, 120, -80).astype(np.int16)
    return host.add_volume(array, matrix, name="Ball")


def test_new_segments_are_cleaned_until_one_tick_says_otherwise_and_the_next_ones_follow(host):
    import slicer

    two_spots(host)
    widget = host.open_module()
    ui, controller = widget.ui, widget.controller
    assert host.wait_until(lambda: controller.network.state.name == "READY", 300)
    host.press(ui.addSegmentButton)
    host.process_events(0.05)
    assert ui.cleanupBox.checked
    assert ui.keepPromptedBox.checked
    assert ui.fillHolesBox.checked
    assert not ui.smoothBox.checked
    segment_id, node = controller.inputs.segment_id, controller.inputs.segmentation_node
    raw = np.zeros((64, 64), bool)
    raw[20:40, 20:40] = True
    raw[30, 29:32] = False  # a small hole
    session = controller._work.session
    object_id = controller.editing.object_of(segment_id)
    from MedSAMSlicerLib.core.geometry import SliceAxis
    from MedSAMSlicerLib.core.prompts import SliceRef, point_from_voxel

    point = point_from_voxel(controller.inputs.geometry, SliceRef(SliceAxis.K, 12), 30.0, 22.0, True)
    controller.editing.change(object_id, lambda s: s.add_prompt(object_id, point))
    assert host.wait_until(lambda: not controller._work.poller.active, 300)
    prompts = session.object(object_id).prompts_on(12)
    run = session.begin_propagation(object_id)
    island = np.zeros((64, 64), bool)
    island[2:5, 2:5] = True
    session.apply_predictions(run, object_id, {12: raw, 13: raw | island, 20: island})
    session.end_propagation(run, object_id)
    controller._projector.after_change([object_id])
    assert prompts
    host.wait_until(lambda: not controller._work.poller.active, 300)

    def shown():
        return slicer.util.arrayFromSegmentBinaryLabelmap(
            node, segment_id, controller.inputs.volume_node
        ).astype(bool)

    cleaned = shown()
    assert cleaned[12, 30, 30], "the hole is filled"
    assert not cleaned[20].any(), "the island is gone"
    assert ", 2 slices" in ui.segmentStateLabel.text, "a slice that the clean-up empties does not count"
    host.press(ui.cleanupBox)
    host.wait_until(lambda: not controller._work.poller.active, 300)
    uncleaned = shown()
    assert not uncleaned[12, 30, 30]
    assert uncleaned[20].any()
    assert ", 3 slices" in ui.segmentStateLabel.text
    host.press(ui.addSegmentButton)
    host.process_events(0.05)
    assert controller.inputs.segment_id != segment_id
    assert not ui.cleanupBox.checked, "the new segment begins as the last one"
    host.key("Ctrl+Z")
    host.wait_until(lambda: not controller._work.poller.active, 300)
    assert (shown() == cleaned).all()
