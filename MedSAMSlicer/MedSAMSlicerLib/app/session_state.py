"""A session as text for the scene, and back.

The text holds what was said (a prompts file for each slice axis), and of each slice where its mask comes from. Masks
themselves are those of the segments, so that a scene holds them once, and what was changed in them elsewhere counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.cleanups import Cleanup
from ..core.errors import MedSAMError, SessionError
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.intensity import Window
from ..core.masks import MaskState, PackedMask, StoredMask
from ..core.moving import moved_prompts
from ..core.prompts import ObjectPrompts, PromptSet
from ..core.segment_object import SegmentObject
from ..core.session import Session
from ..core.translation import tr as _
from ..scene.edits import EMPTY, digest_of
from ..scene.segments import SegmentMasks
from .workspace import Network

SCHEMA, VERSION = "medsamslicer-session", 1


def write_state(
    session: Session,
    masks: SegmentMasks,
    object_ids: Mapping[str, int],
    network: Network,
    window: Window | None,
    stale: set[int],
) -> str:
    """The session as JSON text, with a digest of each slice that was written into a segment."""
    segments = {object_id: segment_id for segment_id, object_id in object_ids.items()}
    objects = [
        {
            "id": entry.id,
            "segment": segments.get(entry.id),
            "axis": None if entry.axis is None else entry.axis.name.lower(),
            "locked": entry.locked,
            "cleanup": {
                "keep_prompted": entry.cleanup.keep_prompted,
                "fill_holes": entry.cleanup.fill_holes,
                "smooth": entry.cleanup.smooth,
            },
            "propagations": entry.propagations,
            "pending": None if entry.id in stale else _pending(session, entry),
            "changed": sorted(entry.changed_slices()),
            "slices": [
                [index, stored.state.value, stored.confidence, stored.round]
                for index, stored in entry.masks.items()
            ],
            "raw": _raw(entry),
            "written": masks.digests(segments.get(entry.id, "")),
            "prompts": json.loads(_prompts(session, entry).to_json()),
        }
        for entry in session.objects
    ]
    content = {
        "schema": SCHEMA,
        "version": VERSION,
        "checkpoint": {"id": network.checkpoint_id, "sha256": network.sha256},
        "window": None if window is None else json.loads(window.to_json()),
        "objects": objects,
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def read_state(text: str, session: Session, masks: SegmentMasks) -> dict[str, int]:
    """Fill an empty session from the text and the segments' masks; returns objects by segment.

    Objects whose segment is gone are left out.

    Raises:
        SessionError: the text is none of ours, or of a later version.
        PromptError: it belongs to another volume.
    """
    try:
        content = json.loads(text)
        if content["schema"] != SCHEMA or content["version"] != VERSION:
            text = _("The session in the scene has version {version!r}, only {known} is known.")
            raise SessionError(text.format(version=content["version"], known=VERSION))
        found: dict[str, int] = {}
        there = masks.segment_ids()
        for said in content["objects"]:
            if said["segment"] in there:
                found[said["segment"]] = _restore(said, session, masks)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise SessionError(
            _("The session in the scene cannot be read: {why!r}.").format(why=error)
        ) from error
    return found


def saved_network(text: str) -> tuple[str | None, Window | None]:
    """SHA-256 of the network and the window that a session was made with; None where it does not say."""
    try:
        content = json.loads(text)
        window = content["window"]
        return content["checkpoint"]["sha256"], None if window is None else Window.from_json(
            json.dumps(window)
        )
    except (ValueError, KeyError, TypeError, MedSAMError):
        return None, None


def moved_state(text: str, geometry: VolumeGeometry) -> str:
    """The text of a session whose volume lies in `geometry` now; as it is when nothing can be made of it."""
    try:
        content = json.loads(text)
        for said in content["objects"]:
            prompts = moved_prompts(PromptSet.from_json(json.dumps(said["prompts"])), geometry)
            said["prompts"] = json.loads(prompts.to_json())
    except (ValueError, KeyError, TypeError, MedSAMError):
        return text
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def _restore(said: Mapping[str, Any], session: Session, masks: SegmentMasks) -> int:
    prompts = PromptSet.from_json(json.dumps(said["prompts"]), session.geometry)
    entry = prompts.objects[0]
    axis = None if said["axis"] is None else SliceAxis.parse(said["axis"])
    cleanup = Cleanup(**{name: bool(value) for name, value in said["cleanup"].items()})
    stored: dict[int, StoredMask] = {}
    if axis is None and masks.read_slices(said["segment"], SliceAxis.K):
        axis = SliceAxis.K  # painted since: nothing was there along any axis
    if axis is not None:
        stored = _stored(said, session, masks, axis)
        masks.set_axis(said["segment"], axis)
    return session.restore_object(
        entry,
        axis,
        stored,
        locked=bool(said["locked"]),
        cleanup=cleanup,
        propagations=int(said["propagations"]),
        pending=None if said["pending"] is None else [int(index) for index in said["pending"]],
        changed=None if "changed" not in said else [int(index) for index in said["changed"]],
        object_id=int(said["id"]),
    )


def _stored(
    said: Mapping[str, Any], session: Session, masks: SegmentMasks, axis: SliceAxis
) -> dict[int, StoredMask]:
    """The masks of a segment; those that were changed since the session was written are the user's own."""
    empty = np.zeros(session.geometry.slice_shape(axis), np.bool_)
    arrays = masks.read_slices(said["segment"], axis)
    raw = {int(index): _unpacked(packed) for index, packed in said["raw"].items()}
    stored: dict[int, StoredMask] = {}
    for index, state, confidence, turn in said["slices"]:
        mask = raw.get(index) or PackedMask.from_array(arrays.get(index, empty))
        stored[index] = StoredMask(mask, MaskState(state), confidence, turn)
    if "written" in said:  # sessions of earlier versions do not say
        written = {int(index): digest for index, digest in said["written"].items()}
        for index in arrays.keys() | written.keys():
            array = arrays.get(index, empty)
            if digest_of(array) != written.get(index, EMPTY):
                mask = PackedMask.from_array(array)
                stored[index] = StoredMask(mask, MaskState.EDITED, None, int(said["propagations"]))
    return stored


def _prompts(session: Session, entry: SegmentObject) -> PromptSet:
    axis = SliceAxis.K if entry.axis is None else entry.axis
    said = ObjectPrompts(entry.said.name, entry.said.color, entry.said.prompts, entry.said.slice_range)
    return PromptSet(session.geometry, axis, (said,))


def _pending(session: Session, entry: SegmentObject) -> list[int]:
    try:
        return sorted(session.pending_slices(entry.id))
    except MedSAMError:
        return []


def _raw(entry: SegmentObject) -> dict[str, list[Any]]:
    """Raw masks where the segment shows cleaned ones."""
    if not entry.cleanup.is_on:
        return {}
    packed = {str(index): stored.mask for index, stored in entry.masks.items() if not stored.is_kept}
    return {
        index: [*mask.shape, *mask.corner, *mask.extent, mask.bits.hex()] for index, mask in packed.items()
    }


def _unpacked(said: list[Any]) -> PackedMask:
    rows, columns, top, left, high, wide, bits = said
    return PackedMask((rows, columns), (top, left), (high, wide), bytes.fromhex(bits))
