"""What the parts of the controller share: scene, volume, session, worker, and who is told of changes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ..core.cleanups import Cleanup
from ..core.errors import MedSAMError, ObjectError, SessionError
from ..core.geometry import VolumeGeometry
from ..core.intensity import Window
from ..core.segment_object import SegmentObject
from ..core.session import Session
from ..core.translation import tr as _
from ..models.registry import BUNDLED_ID
from .engine_state import Engine
from .installed import torch_is_usable
from .jobs import engine_name
from .poller import Poller, Timers
from .ports import Handle, PromptEdit, Scene, Segments, ShownSlice, Tool
from .state import Level, Message, NetworkState, Topic
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
        volume_stage: what looks at all slices together, one of `engine.volume.stage.STAGES`.
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
    """How far the network is, and what it turned out to be."""

    state: NetworkState = NetworkState.WAITING
    device: str | None = None
    tier: str | None = None
    note: str = ""
    checkpoint_id: str | None = None
    sha256: str | None = None
    failure: str = ""
    prompts: tuple[str, ...] = ("box", "point", "mask")  # kinds that the network in use was trained with


class Workspace:
    """Shared by the parts of one controller; each attribute is changed by the part that its comment names."""

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
        self.poller = Poller(self.worker, timers, clock)
        self.poller.on_error = self.show_error
        later = self._soon if timers else None
        self.prompt_nodes, self.placing = scene.prompts(self._prompt_edited, self._left_placing, later)
        self.network = Network()  # inputs
        self.volume_node: Handle | None = None  # inputs
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
        self.overlap = "none"  # inputs
        self.object_ids: dict[str, int] = {}  # by segment; editing
        self.removed_ids: dict[
            int, str
        ] = {}  # by object, the segment that it had when that was removed; scene_sync
        self.stale: set[int] = set()  # objects that were computed with another network or window
        self.message: Message | None = None
        self.closed = False
        self.offered_volume_id: str | None = None  # that a message offers to turn to; inputs, editing
        self.offered_start_id: str | None = (
            None  # segment that a message offers to start from; editing, starting
        )
        self.in_use = True  # whether the user works in the module; editing
        self.on_prompt_edit: Callable[[PromptEdit], None] = lambda edit: None
        self.on_too_small: Callable[[Tool], None] = lambda tool: None  # two clicks at one place; editing
        self.on_close: list[Callable[[], None]] = []
        self.run_is_on: Callable[[], bool] = lambda: False
        self.take_edits: Callable[[], None] = lambda: None  # before anything is written over them
        self.changes_exist: Callable[[], bool] = lambda: False
        self._sooner = 0
        self._observers: list[Callable[[Topic], None]] = []

    # -- telling

    def observe(self, callback: Callable[[Topic], None]) -> Callable[[], None]:
        """See :meth:`.controller.Controller.observe`."""
        self._observers.append(callback)

        def remove() -> None:
            if callback in self._observers:
                self._observers.remove(callback)

        return remove

    def notify(self, *topics: Topic) -> None:
        """Something has changed."""
        for topic in topics:
            for callback in [*self._observers]:
                if not self.closed:
                    callback(topic)

    def show_message(self, text: str, level: Level = Level.INFO, offer: str | None = None) -> None:
        """Tell the user one sentence."""
        self.message = Message(text, level, offer)
        (logger.info if level is Level.INFO else logger.warning)("%s", text)
        self.notify(Topic.MESSAGE)

    def show_error(self, error: MedSAMError) -> None:
        """Tell the user what went wrong, objects by their names."""
        if isinstance(error, ObjectError):
            names = {engine_name(obj.id): obj.name for obj in (self.session.objects if self.session else ())}
            error = error.named(names.get(error.object_name, error.object_name))
        self.show_message(str(error), Level.ERROR, error.offer)

    # -- looking

    @property
    def segmentation_node(self) -> Handle | None:
        """Where masks go."""
        return None if self.masks is None else self.masks.segmentation_node

    @property
    def segment_ids(self) -> tuple[str, ...]:
        """All segments."""
        return () if self.masks is None else self.masks.segment_ids()

    @property
    def object_id(self) -> int | None:
        """The object of the selected segment; None before its first prompt or mask."""
        found = None if self.segment_id is None else self.object_ids.get(self.segment_id)
        if found is None or self.session is None:
            return None
        return found if any(obj.id == found for obj in self.session.objects) else None

    @property
    def selected_object(self) -> SegmentObject | None:
        """The object of the selected segment."""
        object_id = self.object_id
        return None if object_id is None or self.session is None else self.session.object(object_id)

    def segment_of(self, object_id: int) -> str | None:
        """The segment of an object."""
        return next((segment for segment, known in self.object_ids.items() if known == object_id), None)

    def is_locked(self, segment_id: str) -> bool:
        """Return whether a segment is locked."""
        return self.masks is not None and segment_id in self.segment_ids and self.masks.locked(segment_id)

    @property
    def placing_tool(self) -> Tool | None:
        """The tool in the user's hand."""
        return self.placing.tool

    @property
    def torch_is_there(self) -> bool:
        """Return whether PyTorch can be used; it is not imported to find out."""
        return torch_is_usable()

    def usable_volume(self) -> tuple[Handle, Session]:
        """The volume and its session, checked now; a sentence when there is none or it cannot be used any more."""
        if self.volume_node is None or self.session is None:
            raise SessionError(_("Choose a volume first."))
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
        for action in [*self.on_close]:
            action()
        self.closed = True
        self._observers.clear()
        self.poller.close()
        self.worker.close()
        self.placing.close()
        self.prompt_nodes.close()
        if self.masks is not None:
            self.masks.close()
        self.parameter.close()
        self.on_close.clear()
        self.on_prompt_edit = lambda edit: None
        self.on_too_small = lambda tool: None
        self.masks = self.session = self.volume_node = self.array = self.geometry = None
        self.object_ids.clear()
        self.removed_ids.clear()

    # -- inside

    def _prompt_edited(self, edit: PromptEdit) -> None:
        if not self.closed:
            self.on_prompt_edit(edit)

    def _soon(self, action: Callable[[], None]) -> None:
        """Do something once Slicer has finished with the event under way."""
        self._sooner += 1
        self.poller.schedule(f"event {self._sooner}", 0.0, action)

    def _left_placing(self, too_small: Tool | None) -> None:
        self.notify(Topic.TOOL)
        if too_small is not None:
            self._soon(lambda: self.on_too_small(too_small))  # Slicer leaves place mode only after this
