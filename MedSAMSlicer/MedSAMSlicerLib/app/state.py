"""The reports of the controller to its observers, and the names of the user's actions. No Slicer, no Qt."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass


class Topic(enum.Enum):
    """The part of the controller's state that has changed; each event names exactly one."""

    INPUTS = "inputs"  # volume, segmentation, overlap
    SEGMENTS = "segments"  # which segments there are, their names, colors, locks, clean-up; the selected one
    PROMPTS = "prompts"  # prompts, range, axis of the selected segment
    MASKS = "masks"  # masks and states of slices: `slices`, `changes`
    HISTORY = "history"  # `undo_label`, `redo_label`
    RUN = "run"  # `busy`, `progress`, `estimate`, `offer`
    TOOL = "tool"  # `placing`
    VIEW = "view"  # `shown_index`
    NETWORK = "network"  # window, checkpoint, device, tier and whether the network is ready
    MESSAGE = "message"  # `message`


class Level(str, enum.Enum):
    """The urgency of a message."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Action(enum.Enum):
    """The actions of the user; `Controller.reason(action)` says why it is not possible now."""

    ADD_SEGMENT = "add segment"
    PLACE = "place"
    PLACE_POINT = "place point"
    SCRIBBLE = "scribble"
    USE_CURRENT_MASK = "use current mask"
    SET_RANGE = "set range"
    CLEAR_RANGE = "clear range"
    REMOVE_PROMPTS = "remove prompts"
    PROPAGATE = "propagate"
    PROPAGATE_ALL = "propagate all"
    CARRY_NEXT = "carry to the next time point"
    CARRY_ALL = "carry to all time points"
    CANCEL = "cancel"
    ACCEPT_SLICE = "accept slice"
    ACCEPT_ALL = "accept all"
    RELEASE_SLICE = "release slice"
    LOCK = "lock"
    START_FROM_SEGMENT = "start from segment"
    SET_REACH = "set reach"
    REVIEW = "review"
    SUGGEST = "suggest"
    CLEANUP = "cleanup"
    NEXT_DOUBTFUL = "next doubtful"
    PREVIOUS_KEY_SLICE = "previous key slice"
    NEXT_KEY_SLICE = "next key slice"
    SHOW_CHANGES = "show changes"
    KEEP_CHANGES = "keep changes"
    REVERT_CHANGES = "revert changes"
    UNDO = "undo"
    REDO = "redo"
    EXPORT_PROMPTS = "export prompts"
    IMPORT_PROMPTS = "import prompts"
    ESTIMATE = "estimate"


class NetworkState(enum.Enum):
    """The state of the network on its way to answering a click."""

    NOT_INSTALLED = "PyTorch is not installed"
    WAITING = "no volume yet"
    PREPARING = "being prepared"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class Message:
    """One sentence for the user; `offer` is the text of a button that calls `Controller.take_offer`, if any."""

    text: str
    level: Level = Level.INFO
    offer: str | None = None


@dataclass(frozen=True)
class RunProgress:
    """The progress of a run: slices done and in all, and seconds left (None until that is known)."""

    done: int
    total: int
    seconds_left: float | None
    text: str

    @classmethod
    def since(cls, began: float, done: int, total: int, text: str) -> RunProgress:
        """The progress, with the time left by the speed since `began`, of `time.perf_counter()`."""
        spent = time.perf_counter() - began
        return cls(done, total, spent / done * (total - done) if done else None, text)


class SliceMark(str, enum.Enum):
    """The prompts and mask on a slice of the selected segment."""

    NONE = "none"  # nothing, and nothing to compute
    PENDING = "pending"  # the next propagation computes it (again)
    PROMPTED = "prompted"  # has prompts of the user
    PREDICTED = "predicted"
    ACCEPTED = "accepted"
    EDITED = "edited"
    STARTED = "started"  # as it was when the segment was taken as a start


@dataclass(frozen=True)
class SliceState:
    """One slice of the selected segment for the strip; `confidence` is 0..1, None where nothing was computed."""

    index: int
    confidence: float | None
    state: SliceMark


@dataclass(frozen=True)
class RunEstimate:
    """The time and memory that the next propagation would take.

    Attributes:
        seconds: from the first slice to the last.
        peak_bytes: of memory on top of what is used now.
        free_bytes: what the computer could give; None where it does not report it.
        slices: how many are computed.
        spared_bytes: what it would need less with few features kept.
    """

    seconds: float
    peak_bytes: int
    free_bytes: int | None
    slices: int
    spared_bytes: int = 0


@dataclass(frozen=True)
class ChangedVoxels:
    """The numbers of voxels of the selected segment that the last run added and removed, and their slices."""

    added: int
    removed: int
    slices: tuple[int, ...]
