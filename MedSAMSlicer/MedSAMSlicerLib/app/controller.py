"""Controller: the parts that the user works with, made and connected. Main thread only.

controller = Controller(slicer_scene(slicer.mrmlScene), timers=QtTimers())
controller.inputs.set_volume(node)
controller.editing.start_placing(Tool.POINT_POSITIVE)      # the user clicks; the mask of that slice appears
controller.runs.propagate()                                # streams into the segment

Every action raises MedSAMError with one sentence when it cannot be done; `reason(action)` gives the same sentence
beforehand. What fails later, on the worker, arrives as a message.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from . import enabled
from .carrying import Carrying
from .changes import Changes
from .editing import Editing
from .growing import Growing
from .history import UndoRedo
from .inputs import Inputs
from .lesions import LesionWorkflow
from .network_inputs import NetworkInputs
from .poller import Timers
from .ports import Scene
from .previews import Previews
from .projector import Projector
from .prompt_files import PromptFiles
from .propagation import Propagation
from .proposing import Proposing
from .review import Review
from .scoring import Scoring
from .starting import Starting
from .state import Action, Message, Topic
from .worker import Worker
from .workspace import Settings, Workspace


class Controller:
    """The only owner of the session on one scene.

    Args:
        scene: the program around; in 3D Slicer `scene.slicer_scene.slicer_scene(slicer.mrmlScene)`.
        timers: makes the timer that collects results; None = `poll` is called by hand.
        settings: this computer's choices (device, threads, memory for features, folders of checkpoints).
        worker: computes; None = the network on a thread of its own.
        clock: the time in seconds, by which small things are done later.

    Attributes:
        inputs: volume, segmentation, segments.
        network: window, checkpoint, device, arithmetic, what happens where masks meet.
        editing: prompts, locks, clean-up, masks of the user.
        runs, growing, carrying: propagation, when it is asked for, by itself after each prompt, and through time.
        changes, review: what the last run changed; the slices of the selected segment.
        starting, scoring: corrections of a segment that was made elsewhere, and which of its slices are doubtful.
        history, files, lesions, proposing: undo and redo; prompts as files; a segment for each lesion; suggestions.
    """

    def __init__(
        self,
        scene: Scene,
        timers: Timers | None = None,
        settings: Settings | None = None,
        worker: Worker | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        work = self._work = Workspace(scene, timers, settings or Settings(), worker, clock)
        projector = self._projector = Projector(work)
        previews = Previews(work, projector)
        self.network = NetworkInputs(work)
        self.changes = Changes(work, projector)
        self.inputs = Inputs(work, projector, self.network)
        self.editing = Editing(work, projector, self.inputs.add_segment)
        self.runs = Propagation(work, projector)
        self.history = UndoRedo(work, projector, self.runs)
        self.growing = Growing(work, projector, self.runs, self.editing, self.history)
        self.carrying = Carrying(work, projector, self.inputs.times, self.editing, self.runs)
        self.review = Review(work, projector)
        self.starting = Starting(work, self.editing)
        self.scoring = Scoring(work, self.starting, self.inputs, self.network, self.runs)
        self.lesions = LesionWorkflow(work, projector, self.editing, self.inputs, self.runs, self.review)
        self.proposing = Proposing(work, self.editing, self.inputs)
        self.files = PromptFiles(work, projector, self.inputs.ensure_segmentation)
        self.network.ready.connect(previews.request_again)
        self.inputs.segment_selected.connect(self.editing.segment_selected)
        for changed in (self.inputs.object_removed, self.editing.prompts_changed, self.editing.range_changed):
            changed.connect(self.runs.prompts_changed)
        for forget in (self.editing.forget, self.runs.abandon, self.changes.forget, previews.forget):
            self.inputs.session_ends.connect(forget)
        self.runs.finished.connect(self.changes.run_finished)
        self.inputs.restore()

    @property
    def message(self) -> Message | None:
        """The last message."""
        return self._work.message

    def observe(self, callback: Callable[[Topic], object]) -> Callable[[], None]:
        """Call `callback(topic)` after each change; returns what ends that. Never called while an action raises."""
        return self._work.observe(callback)

    def reason(self, action: Action) -> str | None:
        """The reason why `action` is not possible, a sentence for the tooltip of a disabled button; None = it is."""
        return enabled.reason(self._work, action)

    def take_offer(self) -> None:
        """Do what the last message offered, such as to run with less memory, or on a copy of the volume."""
        if not self.inputs.take_offer() and not self.starting.take_offer():
            self.runs.take_offer()

    def set_in_use(self, in_use: bool) -> None:
        """Set whether the user works in the module: edits of other modules are compared when he is back."""
        self._projector.set_in_use(in_use)

    def note_activity(self) -> None:
        """The user moves the mouse over a view, or its slices: results are waited for in shorter turns meanwhile."""
        self._work.poller.note_activity()

    def poll(self, wait: float = 0.0) -> bool:
        """Take in what the worker has brought, waiting up to `wait` seconds for it; True while something is under way.

        The timer calls this; tests and blocking calls do so by hand.
        """
        return self._work.poller.poll(wait)

    def close(self) -> None:
        """End worker, timer and every observer; waits at most a few seconds. Safe to call twice."""
        self._work.close()
