"""The state that the parts of the controller share: scene, volume, session and worker; and its observers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.cleanups import Cleanup
from ..core.errors import MedSAMError, ObjectError, SessionError
from ..core.geometry import VolumeGeometry
from ..core.intensity import Window
from ..core.scores import MaskScores
from ..core.segment_object import SegmentObject
from ..core.session import Session
from ..core.translation import tr as _
from ..models.registry import BUNDLED_ID
from .engine_state import Engine
from .installed import torch_is_usable
from .jobs import engine_name
from .poller import Poller, Timers
from .ports import Handle, PromptEdit, Scene, Segments, ShownSlice, Tool
from .signals import Signal
from .state import Level, Message, NetworkState, Topic
from .time_series import TimePoint
from .worker import Worker

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """This computer's choices; None = the engine's or the system's own.

    Attributes:
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        threads: of the network on the processor.
        cache_bytes: memory for features of slices.
        models: folder of downloaded checkpoints.
        volume_stage: what looks at all slices together, one of `core.tiers.STAGES`.
        cleanup: what new segments begin with.
    """

    device: str = "auto"
    threads: int | None = None
    cache_bytes: int | None = None
    models: Path | None = None
    volume_stage: str = "auto"
    cleanup: Cleanup = field(default_factory=Cleanup)


@dataclass
class Network:
    """The state of the network, and its properties once it is ready."""

    state: NetworkState = NetworkState.WAITING
    device: str | None = None
    tier: str | None = None
    note: str = ""
    checkpoint_id: str | None = None
    sha256: str | None = None
    failure: str = ""
    prompts: tuple[str, ...] = ("box", "point", "mask")  # kinds that the network in use was trained with


@dataclass(frozen=True, eq=False)
class FurtherVolume:
    """A volume beside the first one.

    Attributes:
        node: the volume.
        spec: the window that was asked for, as `NetworkInputs.set_window` takes it.
        window: what it turned out to be; None until the network has been prepared with it.
    """

    node: Handle
    spec: str = "display"
    window: Window | None = None


class Workspace:
    """Shared by the parts of one controller; each attribute is changed by the part that its comment names.

    Signals:
        closing: everything ends.
        prompt_edited: the user changed a prompt where it is shown.
        tool_left: the user put the tool down; with the tool whose two clicks were at one place, else None.
        time_left: another time point of a sequence is about to be shown.
        time_reached: the session of another time point is there; with the tool that was active in the last one.
    """

    def __init__(
        self,
        scene: Scene,
        timers: Timers | None,
        settings: Settings,
        worker: Worker | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.scene = scene
        self.settings = settings  # inputs
        self.cleanup = settings.cleanup  # of new segments: that chosen last; editing
        self.parameter = scene.choices
        self.clock = clock
        self.worker = worker or Worker(Engine)
        self.poller = Poller(self.worker, timers, clock, self.show_error)
        self.closing: Signal[[]] = Signal()
        self.prompt_edited: Signal[[PromptEdit]] = Signal()
        self.tool_left: Signal[[Tool | None]] = Signal()
        self.time_left: Signal[[]] = Signal()
        self.time_reached: Signal[[Tool | None]] = Signal()
        schedule = self.poller.soon if timers else None
        self.prompt_nodes, self.placing = scene.prompts(
            self.prompt_edited.emit, self.tool_left.emit, schedule
        )
        self.network = Network()  # inputs
        self.volume_node: Handle | None = None  # inputs
        self.time_point: TimePoint | None = None  # of that volume, if it is one of a sequence; inputs
        self.passing: Handle | None = None  # the volume whose time points go by, without a session; inputs
        self.geometry: VolumeGeometry | None = None  # inputs
        self.array: npt.NDArray[Any] | None = None  # inputs
        self.session: Session | None = None  # inputs
        self.masks: Segments | None = None  # inputs
        self.segment_id: str | None = None  # inputs
        self.window_spec = "display"  # inputs
        self.window: Window | None = None  # inputs
        self.checkpoint: str = BUNDLED_ID  # inputs
        self.checkpoint_sha256: str | None = None  # inputs
        self.tier: str | None = None  # inputs
        self.channels: tuple[FurtherVolume, ...] = ()  # volumes beside the first one; channels
        self.fused: npt.NDArray[np.uint8] | None = (
            None  # what the network sees of all of them; network_inputs
        )
        self.overlap = "stop"  # inputs
        self.object_ids: dict[str, int] = {}  # by segment; editing
        self.removed_ids: dict[
            int, str
        ] = {}  # by object, the segment it had when that was removed; projector
        self.stale: set[int] = set()  # objects that were computed with another network or window
        self.message: Message | None = None
        self.closed = False
        self.offered_volume_id: str | None = None  # that a message offers to turn to; inputs, editing
        self.offered_start_id: str | None = (
            None  # segment to start from that a message offers; editing, starting
        )
        self.running: frozenset[int] | None = None  # the objects of the propagation under way; propagation
        self.carrying = False  # whether masks are being carried through time; carrying
        self.view_held = False  # whether the views show another time point meanwhile; carrying
        self.before_runs: dict[int, tuple[int, SegmentObject]] = {}  # by object, run and how it was; changes
        self.scores = MaskScores()  # of masks made elsewhere; scoring, inputs
        self.scorings = 0  # how many times scores were asked for; scoring
        self.scoring: int | None = None  # the object whose slices are scored now; scoring
        self.searching = False  # whether a slice is searched for objects; proposing
        self._changed: Signal[[Topic]] = Signal()

    # -- notifying

    def observe(self, callback: Callable[[Topic], object]) -> Callable[[], None]:
        """See :meth:`.controller.Controller.observe`."""
        return self._changed.connect(callback)

    def notify(self, *topics: Topic) -> None:
        """Something has changed."""
        for topic in topics:
            self._changed.emit(topic)

    def show_message(self, text: str, level: Level = Level.INFO, offer: str | None = None) -> None:
        """Show the user one sentence."""
        self.message = Message(text, level, offer)
        (logger.info if level is Level.INFO else logger.warning)("%s", text)
        self.notify(Topic.MESSAGE)

    def show_error(self, error: MedSAMError) -> None:
        """Show the user what went wrong, objects by their names."""
        if isinstance(error, ObjectError):
            names = {engine_name(obj.id): obj.name for obj in self.objects}
            error = error.named(names.get(error.object_name, error.object_name))
        self.show_message(str(error), Level.ERROR, error.offer)

    # -- looking

    @property
    def segmentation_node(self) -> Handle | None:
        """The segmentation that masks are written to."""
        return None if self.masks is None else self.masks.segmentation_node

    @property
    def segment_ids(self) -> tuple[str, ...]:
        """All segments."""
        return () if self.masks is None else self.masks.segment_ids()

    def free_name(self, pattern: str) -> str:
        """The first name of a pattern with {number}, counted from 1, that no segment has."""
        taken = set() if self.masks is None else {self.masks.name(each) for each in self.segment_ids}
        numbered = (pattern.format(number=number) for number in range(1, len(taken) + 2))
        return next(name for name in numbered if name not in taken)

    @property
    def objects(self) -> tuple[SegmentObject, ...]:
        """All objects of the session."""
        return () if self.session is None else self.session.objects

    def object(self, object_id: int | None) -> SegmentObject | None:
        """The object of the session with this identifier; None when there is none."""
        return next((obj for obj in self.objects if obj.id == object_id), None)

    @property
    def is_one_slice(self) -> bool:
        """Return whether there is one slice alone along the axis of the selected segment: nothing to propagate to."""
        if self.geometry is None:
            return False
        obj = self.selected_object
        axis = None if obj is None else obj.axis
        return min(self.geometry.shape) == 1 if axis is None else self.geometry.slice_count(axis) == 1

    @property
    def selected_object(self) -> SegmentObject | None:
        """The object of the selected segment; None before its first prompt or mask."""
        return None if self.segment_id is None else self.object(self.object_ids.get(self.segment_id))

    @property
    def object_id(self) -> int | None:
        """The identifier of that object."""
        obj = self.selected_object
        return None if obj is None else obj.id

    def segment_of(self, object_id: int) -> str | None:
        """The segment of an object."""
        return next((segment for segment, known in self.object_ids.items() if known == object_id), None)

    def is_locked(self, segment_id: str) -> bool:
        """Return whether a segment is locked."""
        return self.masks is not None and segment_id in self.segment_ids and self.masks.locked(segment_id)

    def due_objects(self, among: Iterable[int] | None = None) -> tuple[SegmentObject, ...]:
        """Return the objects that a propagation would compute; `among` = only those with one of these identifiers.

        They have a key slice, are not locked, and a slice of theirs has no mask yet or an outdated one.
        """
        session = self.session
        if session is None:
            return ()
        chosen = None if among is None else {*among}
        return tuple(
            obj
            for obj in session.objects
            if (chosen is None or obj.id in chosen) and obj.key_slices and not obj.locked
            if obj.id in self.stale or session.pending_slices(obj.id)
        )

    @property
    def last_run(self) -> tuple[SegmentObject, SegmentObject] | None:
        """The selected object before its last run, and now; None when the run was undone or there was none."""
        now = self.selected_object
        known = None if now is None else self.before_runs.get(now.id)
        if now is None or known is None or self.session is None or not self.session.has_run(known[0]):
            return None
        return known[1], now

    @property
    def placing_tool(self) -> Tool | None:
        """The active tool."""
        return self.placing.tool

    @property
    def torch_is_there(self) -> bool:
        """Return whether PyTorch can be used; it is not imported to find out."""
        return torch_is_usable()

    @property
    def no_session(self) -> str:
        """The reason why there is no session, in one sentence."""
        if self.passing is None:
            return _("Choose a volume first.")
        return _("The sequence is playing: stop it at the time point to work on.")

    @property
    def time(self) -> str:
        """By what sessions of the time point are kept; "" for a volume that belongs to no sequence."""
        return "" if self.time_point is None else self.time_point.value

    def usable_volume(self) -> tuple[Handle, Session]:
        """The volume and its session, checked now; a sentence when there is none or it cannot be used any more."""
        if self.volume_node is None or self.session is None:
            raise SessionError(self.no_session)
        self.scene.volumes.check_usable(self.volume_node)
        return self.volume_node, self.session

    def shown(self) -> ShownSlice | None:
        """Return what the views show: of the selected object's axis if it has one, else of the view under the mouse."""
        if self.volume_node is None or self.geometry is None:
            return None
        axis = self.selected_object.axis if self.selected_object else None
        return self.scene.views.shown(self.volume_node, axis)

    # -- ending

    def close(self) -> None:
        """End everything; safe to call twice."""
        if self.closed:
            return
        self.closing.emit()
        self.closed = True
        self._changed.clear()
        self.poller.close()
        self.worker.close()
        self.placing.close()
        self.prompt_nodes.close()
        if self.masks is not None:
            self.masks.close()
        self.parameter.close()
        for signal in (self.closing, self.prompt_edited, self.tool_left, self.time_left, self.time_reached):
            signal.clear()
        self.masks = self.session = self.volume_node = self.array = self.geometry = None
        self.object_ids.clear()
        self.removed_ids.clear()
