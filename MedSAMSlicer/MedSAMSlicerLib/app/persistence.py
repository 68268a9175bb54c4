"""A session as text for the scene, and back.

The text holds the prompts (a prompts file for each object), and of each slice where its mask comes from. Masks
themselves are those of the segments, so that a scene holds them once, and what was changed in them elsewhere counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from ..core.cleanups import Cleanup
from ..core.digests import EMPTY, digest_of
from ..core.errors import MedSAMError, SessionError
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.intensity import Window
from ..core.masks import MaskState, PackedMask, StoredMask
from ..core.moving import moved_prompts
from ..core.overlap import BEFORE_ALL, Claim
from ..core.prompts import PromptSet
from ..core.scores import MaskScores
from ..core.segment_object import KeyContent, SegmentObject
from ..core.session import Session
from ..core.start import Start
from ..core.translation import tr as _
from .ports import Segments
from .workspace import Network

SCHEMA, VERSION = "medsamslicer-session", 1


def write_state(
    session: Session,
    masks: Segments,
    object_ids: Mapping[str, int],
    network: Network,
    window: Window | None,
    stale: set[int],
    scores: MaskScores | None = None,
    channels: Sequence[SavedChannel] = (),
) -> str:
    """The session as JSON text, with a digest of each slice that was written into a segment."""
    segments = {object_id: segment_id for segment_id, object_id in object_ids.items()}
    objects = [
        {
            "id": obj.id,
            "segment": segments.get(obj.id),
            "axis": None if obj.axis is None else obj.axis.name.lower(),
            "locked": obj.locked,
            "cleanup": {
                "keep_prompted": obj.cleanup.keep_prompted,
                "fill_holes": obj.cleanup.fill_holes,
                "smooth": obj.cleanup.smooth,
            },
            "propagations": obj.propagations,
            "pending": None if obj.id in stale else _pending(session, obj),
            "changed": sorted(obj.changed_slices()),
            "before": _before(session, obj),
            "slices": [
                [index, stored.state.value, stored.confidence, stored.round]
                for index, stored in obj.masks.items()
            ],
            "claims": {
                index: _packed_claim(stored.claim)
                for index, stored in obj.masks.items()
                if stored.claim != BEFORE_ALL
            },
            "raw": _raw(obj),
            "barred": {
                index: _packed(stored.barred)
                for index, stored in obj.masks.items()
                if stored.barred is not None
            },
            "start": _start(obj),
            "scores": {} if scores is None else scores.saved(obj),
            "written": masks.digests(segments.get(obj.id, "")),
            "prompts": json.loads(_prompts(session, obj).to_json()),
        }
        for obj in session.objects
    ]
    content = {
        "schema": SCHEMA,
        "version": VERSION,
        "checkpoint": {"id": network.checkpoint_id, "sha256": network.sha256},
        "window": None if window is None else json.loads(window.to_json()),
        "channels": [each.to_values() for each in channels],
        "objects": objects,
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def read_state(text: str, session: Session, masks: Segments) -> dict[str, int]:
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
        known = (claim for saved in content["objects"] for claim in saved.get("claims", {}).values())
        session.claims.go_on_after(_claim(*claim) for claim in known)
        for saved in content["objects"]:
            if saved["segment"] in there:
                found[saved["segment"]] = _restore(saved, session, masks)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise SessionError(
            _("The session in the scene cannot be read: {why!r}.").format(why=error)
        ) from error
    return found


@dataclass(frozen=True)
class SavedChannel:
    """A volume beside the first one, as a saved session describes it.

    Attributes:
        name: of the volume.
        spec: the window that was asked for.
        window: what it turned out to be; None where the network had not been prepared yet.
    """

    name: str
    spec: str
    window: Window | None

    def to_values(self) -> dict[str, Any]:
        """The same as values that JSON can hold."""
        window = None if self.window is None else [self.window.lower, self.window.upper, self.window.name]
        return {"name": self.name, "spec": self.spec, "window": window}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> SavedChannel:
        """Return the object of `to_values`. Raises ValueError, KeyError or TypeError for other values."""
        window = values["window"]
        known = None if window is None else Window(float(window[0]), float(window[1]), str(window[2]))
        return cls(str(values["name"]), str(values["spec"]), known)


def saved_channels(text: str) -> tuple[SavedChannel, ...]:
    """The volumes beside the first one that a session was made with; none where it does not say."""
    try:
        return tuple(map(SavedChannel.from_values, json.loads(text).get("channels", ())))
    except (ValueError, KeyError, TypeError, AttributeError, MedSAMError):
        return ()


def read_scores(text: str, session: Session) -> MaskScores:
    """The scores that were saved with a session that `read_state` has filled; none where they cannot be read."""
    scores = MaskScores()
    try:
        there = {obj.id: obj for obj in session.objects}
        for saved in json.loads(text)["objects"]:
            obj = there.get(saved["id"])
            if obj is not None:
                scores.restore(obj, saved.get("scores", {}))  # sessions of earlier versions have none
    except (ValueError, KeyError, TypeError, AttributeError):
        return MaskScores()
    return scores


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
        for saved in content["objects"]:
            for holder in (saved, saved.get("before") or {}):
                if "prompts" in holder:
                    prompts = moved_prompts(PromptSet.from_json(json.dumps(holder["prompts"])), geometry)
                    holder["prompts"] = json.loads(prompts.to_json())
    except (ValueError, KeyError, TypeError, MedSAMError):
        return text
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def _restore(saved: Mapping[str, Any], session: Session, masks: Segments) -> int:
    prompts = PromptSet.from_json(json.dumps(saved["prompts"]), session.geometry)
    obj = prompts.objects[0]
    axis = None if saved["axis"] is None else SliceAxis.parse(saved["axis"])
    cleanup = Cleanup(**{name: bool(value) for name, value in saved["cleanup"].items()})
    stored: dict[int, StoredMask] = {}
    if axis is None and masks.read_slices(saved["segment"], SliceAxis.K):
        axis = SliceAxis.K  # painted since: nothing was there along any axis
    if axis is not None:
        stored = _stored(saved, session, masks, axis)
        masks.set_axis(saved["segment"], axis)
    return session.restore_object(
        obj,
        axis,
        stored,
        locked=bool(saved["locked"]),
        cleanup=cleanup,
        propagations=int(saved["propagations"]),
        pending=None if saved["pending"] is None else [int(index) for index in saved["pending"]],
        changed=None if "changed" not in saved else [int(index) for index in saved["changed"]],
        before=_content_before(saved.get("before"), session),
        start=_start_of(saved.get("start"), stored),
        object_id=int(saved["id"]),
    )


def _stored(
    saved: Mapping[str, Any], session: Session, masks: Segments, axis: SliceAxis
) -> dict[int, StoredMask]:
    """The masks of a segment; those that were changed since the session was written are the user's own."""
    empty = np.zeros(session.geometry.slice_shape(axis), np.bool_)
    arrays = masks.read_slices(saved["segment"], axis)
    raw = {int(index): _unpacked(packed) for index, packed in saved["raw"].items()}
    claims = {int(index): _claim(*claim) for index, claim in saved.get("claims", {}).items()}
    barred = {int(index): _unpacked(packed) for index, packed in saved.get("barred", {}).items()}
    stored: dict[int, StoredMask] = {}
    for index, state, confidence, turn in saved["slices"]:
        mask = raw.get(index) or PackedMask.from_array(arrays.get(index, empty))
        claim = claims.get(index, BEFORE_ALL)
        stored[index] = StoredMask(mask, MaskState(state), confidence, turn, claim, barred.get(index))
    if "written" in saved:  # sessions of earlier versions do not say
        written = {int(index): digest for index, digest in saved["written"].items()}
        for index in arrays.keys() | written.keys():
            array = arrays.get(index, empty)
            if digest_of(array) != written.get(index, EMPTY):
                mask = PackedMask.from_array(array)
                claim = session.claims.renewed(claims.get(index, BEFORE_ALL))
                rounds = int(saved["propagations"])
                stored[index] = StoredMask(mask, MaskState.EDITED, None, rounds, claim)
    return stored


def _packed_claim(claim: Claim) -> tuple[int, bool, list[str]]:
    return claim.turn, claim.takes, sorted(claim.spared)


def _claim(turn: int, takes: bool, spared: list[str]) -> Claim:
    return Claim(int(turn), bool(takes), frozenset(spared))


def _prompts(session: Session, obj: SegmentObject) -> PromptSet:
    axis = SliceAxis.K if obj.axis is None else obj.axis
    return PromptSet(session.geometry, axis, (obj.object_prompts,))


def _before(session: Session, obj: SegmentObject) -> dict[str, Any] | None:
    """The changed slices as they were when the last propagation began; they decide what the next one computes."""
    content = obj.content_before()
    if not content:
        return None
    prompts = tuple(prompt for key in content.values() for prompt in key[0])
    axis = SliceAxis.K if obj.axis is None else obj.axis
    given = replace(obj.object_prompts, prompts=prompts, slice_range=None)
    return {
        "prompts": json.loads(PromptSet(session.geometry, axis, (given,)).to_json()),
        "slices": [
            [index, None if mask is None else _packed(mask), turn]
            for index, (_given, mask, turn) in content.items()
        ],
    }


def _content_before(saved: Mapping[str, Any] | None, session: Session) -> dict[int, KeyContent]:
    if not saved:  # also sessions of earlier versions, which do not say
        return {}
    prompts = PromptSet.from_json(json.dumps(saved["prompts"]), session.geometry).objects[0].prompts
    return {
        int(index): (
            tuple(prompt for prompt in prompts if prompt.slice.index == index),
            None if mask is None else _unpacked(mask),
            int(turn),
        )
        for index, mask, turn in saved["slices"]
    }


def _pending(session: Session, obj: SegmentObject) -> list[int]:
    try:
        return sorted(session.pending_slices(obj.id))
    except MedSAMError:
        return []


def _start(obj: SegmentObject) -> dict[str, Any] | None:
    """The masks that a segment started from, but for those that it still has."""
    if obj.start is None:
        return None
    changed = {
        str(index): _packed(mask)
        for index, mask in obj.start.masks.items()
        if obj.masks[index].state is not MaskState.STARTED
    }
    return {"reach": obj.start.reach, "claim": _packed_claim(obj.start.claim), "changed": changed}


def _start_of(saved: Mapping[str, Any] | None, stored: Mapping[int, StoredMask]) -> Start | None:
    if not saved:  # also sessions of earlier versions, which do not say
        return None
    masks = {
        index: each.mask
        for index, each in stored.items()
        if each.state is MaskState.STARTED and not each.mask.is_empty
    }
    masks.update((int(index), _unpacked(packed)) for index, packed in saved["changed"].items())
    claim = _claim(*saved["claim"]) if "claim" in saved else BEFORE_ALL
    return Start(MappingProxyType(dict(sorted(masks.items()))), int(saved["reach"]), claim)


def _raw(obj: SegmentObject) -> dict[str, list[Any]]:
    """Raw masks where the segment shows cleaned ones."""
    if not obj.cleanup.is_on:
        return {}
    packed = {str(index): stored.mask for index, stored in obj.masks.items() if not stored.is_kept}
    return {index: _packed(mask) for index, mask in packed.items()}


def _packed(mask: PackedMask) -> list[Any]:
    return [*mask.shape, *mask.corner, *mask.extent, mask.bits.hex()]


def _unpacked(packed: list[Any]) -> PackedMask:
    rows, columns, top, left, high, wide, bits = packed
    return PackedMask((rows, columns), (top, left), (high, wide), bytes.fromhex(bits))
