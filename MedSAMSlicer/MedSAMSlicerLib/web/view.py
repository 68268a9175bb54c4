"""The content of a page on a session: its state as plain values, and slices, masks and surfaces as bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..app.controller import Controller
from ..app.state import Action
from ..core.errors import SessionError
from ..core.geometry import SliceAxis, VolumeGeometry, volume_text
from ..core.intensity import CT_PRESETS
from ..core.masks import pack_bits
from ..core.prompts import MaskPrompt, Prompt, in_slice
from ..core.translation import tr as _
from ..io.segmentations import Color
from ..io.slice_display import SliceDisplay
from ..io.volumes import Volume
from .memory_scene import orientation_of
from .session import WebSession
from .surface import Surface, surface_of

_ACTIONS = {
    "point": Action.PLACE_POINT,
    "propagate": Action.PROPAGATE,
    "propagate_all": Action.PROPAGATE_ALL,
    "undo": Action.UNDO,
    "redo": Action.REDO,
    "next_doubtful": Action.NEXT_DOUBTFUL,
    "set_range": Action.SET_RANGE,
}
_MOST_LEVELS = 65535


def state_of(session: WebSession) -> dict[str, Any]:
    """Everything but voxels, as values that JSON can hold. Slices and places are counted as in `session`."""
    with session.looking() as controller:
        volume = session.volume if controller.inputs.volume_node is not None else None
        progress, message = controller.runs.progress, controller.message
        window = controller.network.window
        return {
            "session": session.id,
            "revision": session.revision,
            "masks_revision": session.masks_revision,
            "volume": None if volume is None else _volume(volume, session.value_range),
            "series": [{"uid": uid, "text": text} for uid, text in session.series],
            "window": None
            if window is None
            else {"lower": window.lower, "upper": window.upper, "name": window.name},
            "network": {
                "state": controller.network.state.name.lower(),
                "checkpoint": str(controller.network.checkpoint),
                "device": controller.network.device_used,
                "note": controller.network.note,
                "failure": without_folder(controller.network.failure, session.folder),
            },
            "objects": [] if volume is None else _objects(session, controller, volume.geometry),
            "selected": controller.inputs.segment_id,
            "run": {
                "busy": controller.runs.busy,
                "waiting": session.queue_position,
                "done": 0 if progress is None else progress.done,
                "total": 0 if progress is None else progress.total,
                "seconds_left": None if progress is None else progress.seconds_left,
                "text": "" if progress is None else progress.text,
            },
            "undo": controller.history.undo_label,
            "redo": controller.history.redo_label,
            "message": {
                "number": session.messages,
                "text": "" if message is None else without_folder(message.text, session.folder),
                "level": "info" if message is None else message.level.value,
                "offer": None if message is None else message.offer,
            },
            "note": without_folder(session.note, session.folder),
            "reasons": {name: controller.reason(action) for name, action in _ACTIONS.items()},
            "strip": [
                [each.index, None if each.confidence is None else round(each.confidence, 4), each.state.value]
                for each in controller.review.slices
            ],
        }


def _volume(volume: Volume, span: tuple[float, float]) -> dict[str, Any]:
    geometry = volume.geometry
    return {
        "name": volume.name,
        "shape_kji": list(geometry.shape),
        "spacing_ijk_mm": [round(each, 6) for each in geometry.spacing],
        "modality": volume.modality,
        "is_dicom": bool(volume.dicom_files),
        "is_video": is_color(volume),
        "warnings": [without_folder(each, volume.path.parent) for each in volume.warnings],
        "lowest": span[0],
        "highest": span[1],
        "presets": {name: [window.lower, window.upper] for name, window in CT_PRESETS.items()},
        "axes": {axis.name.lower(): _axis(volume, axis) for axis in SliceAxis},
    }


def is_color(volume: Volume) -> bool:
    """Return whether a volume is a video, in color."""
    return bool(volume.array.ndim == 4)


def display_of(volume: Volume, axis: SliceAxis) -> SliceDisplay:
    """The display of slices, turned as usual; frames of a video are not turned."""
    geometry = volume.geometry
    if not is_color(volume):
        return SliceDisplay.of(geometry, axis)
    nothing = ("", "", "", "")
    return SliceDisplay(
        False, False, False, geometry.slice_shape(axis), geometry.in_plane_spacing(axis), nothing
    )


def _axis(volume: Volume, axis: SliceAxis) -> dict[str, Any]:
    """The look of the slices across an axis: `rows`, `columns` and mm of the slice as shown, not as stored."""
    geometry, display = volume.geometry, display_of(volume, axis)
    return {
        "orientation": "frame" if is_color(volume) else orientation_of(geometry, axis),
        "count": geometry.slice_count(axis),
        "rows": display.shape[0],
        "columns": display.shape[1],
        "mm_per_row": display.spacing[0],
        "mm_per_column": display.spacing[1],
        "transposed": display.transposed,
        "flipped_x": display.flipped_x,
        "flipped_y": display.flipped_y,
        "letters": list(display.letters),
    }


def _objects(session: WebSession, controller: Controller, geometry: VolumeGeometry) -> list[dict[str, Any]]:
    masks, editing = controller.inputs.masks, controller.editing
    if masks is None:
        return []
    known = {each.segment_id: each for each in session.shown_prompts}
    found = []
    for segment_id in masks.segment_ids():
        shown = known.get(segment_id)
        prompts = () if shown is None else shown.prompts
        milliliters = session.voxel_count(segment_id) * geometry.voxel_milliliters
        axis = None if shown is None else shown.axis or (prompts[0].slice.axis if prompts else None)
        found.append(
            {
                "id": segment_id,
                "name": masks.name(segment_id),
                "color": hex_color(masks.color(segment_id)),
                "text": editing.segment_states.get(segment_id, ""),
                "milliliters": milliliters,
                "volume": volume_text(milliliters),
                "axis": None if axis is None else axis.name.lower(),
                "range": None if shown is None or shown.slice_range is None else list(shown.slice_range),
                "prompts": [_prompt(prompt, geometry) for prompt in prompts],
            }
        )
    return found


def _prompt(prompt: Prompt, geometry: VolumeGeometry) -> dict[str, Any]:
    """A prompt where it lies on its slice, voxel centers at whole numbers; a mask has no places."""
    xy = [] if isinstance(prompt, MaskPrompt) else np.round(in_slice(prompt, geometry), 3).tolist()
    return {
        "kind": prompt.kind,
        "axis": prompt.slice.axis.name.lower(),
        "slice": prompt.slice.index,
        "xy": xy,
        "positive": bool(getattr(prompt, "positive", True)),
    }


def hex_color(color: Color) -> str:
    """Red, green and blue in 0..1 as #rrggbb."""
    return "#" + "".join(f"{round(255 * min(max(value, 0.0), 1.0)):02x}" for value in color)


def color_from_hex(text: str) -> Color:
    """The color of #rrggbb; SessionError for anything else."""
    digits = text.strip().lstrip("#")
    try:
        if len(digits) != 6:
            raise ValueError
        red, green, blue = (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    except ValueError:
        raise SessionError(_("A color is written #rrggbb, not {text!r}.").format(text=text)) from None
    return red, green, blue


def without_folder(text: str, folder: Path) -> str:
    """A sentence for the user with file names in place of paths into a private folder."""
    return re.sub(re.escape(str(folder)) + r"(?:[/\\][^/\\\s:;,]*)*[/\\]", "", text)


def slice_values(volume: Volume, span: tuple[float, float], axis: SliceAxis, index: int) -> bytes:
    """The values of a slice as shown, uint16 little endian in row order: 0 is `span[0]`, 65535 is `span[1]`.

    Of a video red, green and blue of each pixel, uint8.
    """
    lowest, highest = span
    taken = np.take(volume.array, index, axis=int(axis))
    if is_color(volume):
        return np.ascontiguousarray(taken).tobytes()
    plane = display_of(volume, axis).image(taken)
    values = np.nan_to_num(plane.astype(np.float64), nan=lowest, posinf=highest, neginf=lowest)
    levels = np.rint((values - lowest) * (_MOST_LEVELS / max(highest - lowest, 1e-300)))
    return np.ascontiguousarray(levels.astype("<u2")).tobytes()


def slice_masks(session: WebSession, axis: SliceAxis, index: int) -> Mapping[str, bytes]:
    """The masks of a slice as shown that are not empty, by object: one bit a pixel, in row order, high bits first."""
    with session.looking() as controller:
        display = display_of(session.volume, axis)
        masks = controller.inputs.masks
        if masks is None:
            return {}
        found: dict[str, bytes] = {}
        for segment_id in masks.segment_ids():
            mask = masks.read_slices(segment_id, axis, [index])[index]
            if mask.any():
                found[segment_id] = pack_bits(display.image(mask)).tobytes()
        return found


def object_surface(session: WebSession, wanted: str) -> Surface:
    """The surface of an object in RAS mm."""
    return surface_of(mask_volume(session, wanted), session.geometry)


def mask_volume(session: WebSession, wanted: str) -> npt.NDArray[np.bool_]:
    """The mask of an object, a new bool array (K, J, I)."""
    with session.looking() as controller:
        masks = controller.inputs.masks
        shape = session.geometry.shape
        volume = np.zeros(shape, np.bool_)
        if masks is not None:
            for index, mask in masks.read_slices(session.object_id(wanted), SliceAxis.K).items():
                volume[index] = mask
        return volume
