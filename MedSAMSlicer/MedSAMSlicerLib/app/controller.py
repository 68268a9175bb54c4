"""Controller: everything the panel can ask for, and everything it shows. Main thread only.

controller = Controller(slicer_scene(slicer.mrmlScene), timers=QtTimers())
remove = controller.observe(lambda topic: panel.update(topic))
controller.set_volume(node)
controller.start_placing(Tool.POINT_POSITIVE)      # the user clicks; the mask of that slice appears
controller.propagate()                             # streams into the segment
controller.close()

Every action raises MedSAMError with one sentence when it cannot be done; `reason(action)` gives the same sentence
beforehand. What fails later, on the worker, arrives as a message.
 The parts: :mod:`.inputs` (volume, network), :mod:`.editing` (prompts
and masks into session and scene), :mod:`.propagation` (propagation), :mod:`.changes`, :mod:`.review`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..core.cleanups import Cleanup
from ..core.prompts import PromptSet
from .changes import Changes
from .controller_state import ControllerState
from .editing import Editing
from .enabled import reason
from .inputs import Inputs
from .network_inputs import NetworkInputs
from .poller import Timers
from .ports import Handle, Scene, ShownSlice, Tool
from .prompt_files import PromptFiles
from .propagation import Propagation
from .review import Review
from .scene_sync import SceneSync
from .segment_facts import SegmentFact, measured
from .starting import Starting
from .state import Action, Topic
from .worker import Worker
from .workspace import Settings, Workspace


class Controller(ControllerState):
    """The only owner of the session on one scene.

    Args:
        scene: the program around; in 3D Slicer `scene.slicer_scene.slicer_scene(slicer.mrmlScene)`.
        timers: makes the timer that collects results; None = `poll` is called by hand.
        settings: this computer's choices (device, threads, memory for features, folders of checkpoints).
        worker: computes; None = the network on a thread of its own.
        clock: the time in seconds, by which small things are done later.
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
        sync = SceneSync(work)
        self._editing = Editing(work, sync)
        self._propagation = Propagation(work, sync)
        self._changes = Changes(work, sync)
        self._review = Review(work)
        self._files = PromptFiles(work, sync)
        self._starting = Starting(work, self._editing)
        self._editing.on_prompts_changed = self._propagation.prompts_changed
        self._propagation.on_finished = self._changes.finished
        self._network = NetworkInputs(work, sync)
        self._inputs = Inputs(work, sync, self._editing, self._network)
        self._inputs.on_session_end = self._session_ends
        self._inputs.restore()

    # ------------------------------------------------------------------------------------------------- observing

    def observe(self, callback: Callable[[Topic], None]) -> Callable[[], None]:
        """Call `callback(topic)` after each change; returns what ends that. Never called while an action raises."""
        return self._work.observe(callback)

    def reason(self, action: Action) -> str | None:
        """Why `action` is not possible now, one sentence for the tooltip of a disabled button; None = it is."""
        return reason(self._work, action)

    def set_in_use(self, in_use: bool) -> None:
        """Whether the user works in the module now: what other modules edit meanwhile is compared when he is back."""
        self._editing.set_in_use(in_use)

    def close(self) -> None:
        """End worker, timer and every observer; waits at most a few seconds. Safe to call twice."""
        self._work.close()

    def poll(self, wait: float = 0.0) -> bool:
        """Take in what the worker has brought, waiting up to `wait` seconds for it; True while something is under way.

        The timer calls this; tests and blocking calls do so by hand.
        """
        return self._work.poller.poll(wait)

    def note_activity(self) -> None:
        """The user moves the mouse over a view, or its slices: results are waited for in shorter turns meanwhile."""
        self._work.poller.note_activity()

    # ---------------------------------------------------------------------------------------------------- inputs

    def set_volume(self, node: Handle | None) -> None:
        """Work on this scalar volume; a session on another volume ends, its segments and prompts stay in the scene.

        Raises:
            VolumeError, GeometryError: The volume cannot be used, such as under a non-linear transform.
        """
        self._inputs.set_volume(node)

    def set_segmentation(self, node: Handle | None) -> None:
        """Write into this segmentation; None = one is made when the first segment is added."""
        self._inputs.set_segmentation(node)

    def set_window(self, spec: str) -> None:
        """Return what the network sees: "display", "auto", a CT preset, "percentile", "pet", "full" or "LOWER,UPPER".

        "display" follows the window of the views until the first prompt is given and stays as it is from then on.
        """
        self._network.set_window(spec)

    def set_checkpoint(self, name: str | Path) -> None:
        """Use another network, by its id in the registry or its file; it must be on this computer."""
        self._network.set_checkpoint(name)

    def set_device(self, device: str) -> None:
        """Compute on "auto", "cpu", "cuda", "cuda:1" or "mps"."""
        self._network.set_device(device)

    def set_volume_stage(self, name: str) -> None:
        """Look at all slices together with a second network ("auto"), without it ("learned", "fused") or not ("off").

        Masks that are there stay; what is computed from now on goes this way.
        """
        self._network.set_volume_stage(name)

    def set_tier(self, tier: str | None) -> None:
        """Use "exact", "balanced" or "fast" arithmetic; None = chosen by the device."""
        self._network.set_tier(tier)

    def set_overlap(self, policy: str) -> None:
        """What happens to other segments where a mask is written: "none" keeps them, "visible", "all" give way."""
        self._network.set_overlap(policy)

    def prepare(self) -> None:
        """Make the network ready in the background if it can be; called again after PyTorch was installed."""
        self._network.prepare()

    # -------------------------------------------------------------------------------------------------- segments

    def add_segment(self, name: str | None = None, terminology: str | None = None) -> str:
        """Add an empty segment and select it; a segmentation is made if there is none. Returns its segment id.

        `terminology` is Slicer's serialized entry that says what it is; None = it stays open.
        """
        return self._inputs.add_segment(name, terminology)

    def select_segment(self, segment_id: str) -> None:
        """Let prompts go to this segment."""
        self._inputs.select_segment(segment_id)

    def set_locked(self, segment_id: str, locked: bool) -> None:
        """Keep prompts and masks of a segment as they are, or let them change again; one step of undo."""
        self._editing.set_locked(segment_id, locked)

    def set_cleanup(self, segment_id: str, cleanup: Cleanup) -> None:
        """Clean the masks of a segment as they are shown; the raw ones come back when it is switched off.

        Segments that are added from now on begin with the same.
        """
        self._editing.set_cleanup(segment_id, cleanup)

    def cleanup(self, segment_id: str) -> Cleanup:
        """The clean-up of a segment."""
        return self._editing.cleanup(segment_id)

    def start_from_segment(self, reach: int | None = None) -> None:
        """Take the masks that the selected segment has as a start, in one step of undo; its prompts go.

        Prompts then correct these masks, and only the slices within `reach` of a prompt are computed again (None =
        by the distance of slices, or as chosen last); all other slices keep their masks bit for bit.
        """
        self._starting.start(reach)

    def set_reach(self, reach: int) -> None:
        """Let corrections of a segment that was taken as a start change `reach` slices to either side."""
        self._starting.set_reach(reach)

    def is_locked(self, segment_id: str) -> bool:
        """Return whether a segment is locked."""
        return self._work.is_locked(segment_id)

    def measure(self) -> SegmentFact | None:
        """Volume of the selected segment and its overlaps with others, counted now; None without a segment."""
        return measured(self._work)

    # --------------------------------------------------------------------------------------------------- prompts

    def start_placing(self, tool: Tool) -> None:
        """Let the user place prompts of one kind for the selected segment; one is added if there is none."""
        self._editing.start_placing(tool, self.add_segment)

    def stop_placing(self) -> None:
        """Leave place mode."""
        self._editing.stop_placing()

    def add_scribble(
        self, mask: npt.NDArray[np.bool_], positive: bool = True, shown: ShownSlice | None = None
    ) -> None:
        """Add a stroke that was painted: bool (rows, columns) of a slice, by default the one shown."""
        self._editing.add_scribble(mask, positive, shown)

    def use_current_mask(self) -> None:
        """Keep the mask that the segment has on the shown slice as it is, as a key slice."""
        self._editing.use_current_mask()

    def set_range(self, first: int, last: int) -> None:
        """Propagate the selected segment from slice `first` to `last` only, both included.

        Changes of the range that follow each other are one step of undo.
        """
        self._editing.set_range((first, last))

    def set_range_end(self, first: bool) -> None:
        """Let the range of the selected segment begin at the shown slice, or end there."""
        self._editing.set_range_end(first)

    def clear_range(self) -> None:
        """Propagate the selected segment over the whole volume."""
        self._editing.set_range(None)

    def remove_prompts(self) -> None:
        """Take away all prompts of the selected segment, in one step; its masks stay but for previews."""
        self._editing.remove_prompts()

    def export_prompts(self, path: str | Path) -> tuple[Path, ...]:
        """Write everything needed to repeat the masks as JSON, one file for each slice axis in use."""
        return self._files.export(Path(path))

    def import_prompts(self, path: str | Path) -> tuple[str, ...]:
        """Add the objects of a prompts file as new segments, in one step of undo; returns their segment ids."""
        self._inputs.ensure_segmentation()
        return self._files.read(Path(path))

    def add_prompts(self, prompts: PromptSet) -> tuple[str, ...]:
        """Add the objects of a prompt set as new segments, in one step of undo; returns their segment ids."""
        self._inputs.ensure_segmentation()
        return self._files.add(prompts)

    def prompt_sets(self) -> tuple[PromptSet, ...]:
        """Everything needed to repeat the masks, one set for each slice axis in use."""
        return self._files.prompt_sets()

    # ------------------------------------------------------------------------------------------------------ runs

    def propagate(self, all_segments: bool = False) -> None:
        """Compute what is pending of the selected segment, or of all; returns at once. One step of undo.

        Raises:
            MedSAMError: Another run is under way, nothing is pending, the network is not there, ...
        """
        self._propagation.propagate(all_segments)

    def cancel(self) -> None:
        """End the run within one slice; the segment is as before, Redo brings back what was computed."""
        self._propagation.cancel()

    def estimate(self) -> None:
        """Find out what the next propagation would take; it arrives as `run_estimate`."""
        self._propagation.ask_estimate()

    def take_offer(self) -> None:
        """Do what the last message offered, such as to run with less memory, or on a copy of the volume."""
        if not self._inputs.take_offer() and not self._starting.take_offer():
            self._propagation.take_offer()

    # ------------------------------------------------------------------------------------------------ correcting

    def accept_slice(self, index: int | None = None) -> None:
        """Keep the mask of a slice (the shown one) from ever being overwritten."""
        self._editing.accept([self._editing.index_or_shown(index)])

    def accept_all(self) -> None:
        """Keep the masks of all slices of the selected segment."""
        self._editing.accept(None)

    def release_slice(self, index: int | None = None) -> None:
        """Let propagations replace the mask of a slice (the shown one) again."""
        self._editing.release([self._editing.index_or_shown(index)])

    def next_doubtful(self) -> int:
        """Show the slice whose mask is the least certain, then the next; returns its index."""
        return self._review.next_doubtful()

    def previous_key_slice(self) -> int:
        """Show the next lower slice with prompts or a mask of the user; returns its index."""
        return self._review.key_slice(-1)

    def next_key_slice(self) -> int:
        """Show the next higher slice with prompts or a mask of the user; returns its index."""
        return self._review.key_slice(1)

    def show_slice(self, index: int) -> None:
        """Show a slice of the selected segment in all views that cut its axis."""
        self._review.show(index)

    def show_changes(self, shown: bool) -> None:
        """Show in color what the last run added and removed."""
        self._changes.show(shown)

    def keep_changes(self) -> None:
        """Agree with what the last run changed; the colors go."""
        self._changes.keep()

    def revert_changes(self) -> None:
        """Bring back the masks from before the last run, as one step of undo."""
        self._changes.revert()

    def undo(self) -> None:
        """Take back the last step, prompts and masks together; during a run, cancel it."""
        self._propagation.undo()

    def redo(self) -> None:
        """Do again what was taken back last."""
        self._propagation.redo()

    # ---------------------------------------------------------------------------------------------------- inside

    def _session_ends(self) -> None:
        self._propagation.abandon()
        self._changes.forget()
