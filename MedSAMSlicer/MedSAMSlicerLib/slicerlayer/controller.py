"""Controller: everything the panel can ask for, and everything it shows. Main thread only.

controller = Controller(slicer.mrmlScene, timers=QtTimers())
remove = controller.observe(lambda topic: panel.update(topic))
controller.set_volume(node)
controller.start_placing(Tool.POINT_POSITIVE)      # the user clicks; the mask of that slice appears
controller.propagate()                             # streams into the segment
controller.close()

Every verb raises MedSAMError with one sentence when it cannot be done; `reason(verb)` says the same beforehand. What
fails later, on the worker, arrives as a message. The parts: :mod:`.inputs` (volume, network), :mod:`.editing` (prompts
and masks into session and scene), :mod:`.running` (propagation), :mod:`.changes`, :mod:`.doubtful`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.cleanups import Cleanup
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.intensity import Window
from .changes import Changes
from .doubtful import Doubtful
from .editing import Editing
from .inputs import Inputs
from .placing import Tool
from .pump import Timers
from .reasons import reason
from .running import Running
from .slice_views import ShownSlice
from .verbs import ChangedVoxels, Message, NetworkState, Progress, RunEstimate, SliceState, Topic, Verb
from .workspace import Settings, Workspace


class Controller:
    """The only owner of the session on one scene.

    Args:
        scene: the vtkMRMLScene.
        timers: makes the timer that collects results; None = `pump` is called by hand.
        settings: this computer's choices (device, threads, memory for features, folders of checkpoints).
    """

    def __init__(
        self, scene: Any, timers: Timers | None = None, settings: Settings | None = None
    ) -> None:
        self._work = Workspace(scene, timers, settings or Settings())
        self._inputs = Inputs(self._work)
        self._editing = Editing(self._work)
        self._running = Running(self._work, self._editing)
        self._changes = Changes(self._work, self._editing)
        self._doubtful = Doubtful(self._work, self._editing)
        self._work.start(self._inputs, self._editing, self._running, self._changes)

    # ------------------------------------------------------------------------------------------------- observing

    def observe(self, callback: Callable[[Topic], None]) -> Callable[[], None]:
        """Call `callback(topic)` after each change; returns what ends that. Never called from within a verb's raise."""
        return self._work.observe(callback)

    def reason(self, verb: Verb) -> str | None:
        """Why `verb` is not possible now, one sentence for the tooltip of a disabled button; None = it is."""
        return reason(self._work, verb)

    def close(self) -> None:
        """End worker, timer and every observer; waits at most a few seconds. Safe to call twice."""
        self._work.close()

    def pump(self, wait: float = 0.0) -> bool:
        """Take in what the worker has brought, waiting up to `wait` seconds for it; True while something is under way.

        The timer calls this; tests and blocking calls do so by hand.
        """
        return self._work.pump.turn(wait)

    # ---------------------------------------------------------------------------------------------------- inputs

    def set_volume(self, node: Any | None) -> None:
        """Work on this scalar volume; a session on another volume ends, its segments and prompts stay in the scene.

        Raises:
            VolumeError, GeometryError: The volume cannot be used, such as under a non-linear transform.
        """
        self._inputs.set_volume(node)

    def set_segmentation(self, node: Any | None) -> None:
        """Write into this segmentation; None = one is made when the first segment is added."""
        self._inputs.set_segmentation(node)

    def set_window(self, spec: str) -> None:
        """What the network sees: "display", "auto", a CT preset, "percentile", "pet", "full" or "LOWER,UPPER".

        "display" follows the window of the views until the first prompt is given and stays as it is from then on.
        """
        self._inputs.set_window(spec)

    def set_checkpoint(self, name: str | Path) -> None:
        """Use another network, by its id in the registry or its file; it must be on this computer."""
        self._inputs.set_checkpoint(name)

    def set_device(self, device: str) -> None:
        """Compute on "auto", "cpu", "cuda", "cuda:1" or "mps"."""
        self._inputs.set_device(device)

    def set_tier(self, tier: str | None) -> None:
        """Use "exact", "balanced" or "fast" arithmetic; None = chosen by the device."""
        self._inputs.set_tier(tier)

    def set_overlap(self, policy: str) -> None:
        """What happens to other segments where a mask is written: "none" keeps them, "visible", "all" give way."""
        self._inputs.set_overlap(policy)

    def prepare(self) -> None:
        """Make the network ready in the background if it can be; called again after PyTorch was installed."""
        self._inputs.prepare()

    # -------------------------------------------------------------------------------------------------- segments

    def add_segment(self, name: str | None = None) -> str:
        """Add an empty segment and select it; a segmentation is made if there is none. Returns its segment id."""
        return self._inputs.add_segment(name)

    def select_segment(self, segment_id: str) -> None:
        """Let prompts go to this segment."""
        self._inputs.select_segment(segment_id)

    def set_locked(self, segment_id: str, locked: bool) -> None:
        """Keep prompts and masks of a segment as they are, or let them change again; one step of undo."""
        self._editing.set_locked(segment_id, locked)

    def set_cleanup(self, segment_id: str, cleanup: Cleanup) -> None:
        """Clean the masks of a segment as they are shown; the raw ones come back when it is switched off."""
        self._editing.set_cleanup(segment_id, cleanup)

    def cleanup(self, segment_id: str) -> Cleanup:
        """The clean-up of a segment."""
        return self._editing.cleanup(segment_id)

    def is_locked(self, segment_id: str) -> bool:
        """Whether a segment is locked."""
        return self._work.is_locked(segment_id)

    # --------------------------------------------------------------------------------------------------- prompts

    def start_placing(self, tool: Tool) -> None:
        """Let the user place prompts of one kind for the selected segment; one is added if there is none."""
        self._editing.start_placing(tool)

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
        """Propagate the selected segment from slice `first` to `last` only, both included."""
        self._editing.set_range((first, last))

    def clear_range(self) -> None:
        """Propagate the selected segment over the whole volume."""
        self._editing.set_range(None)

    def remove_prompts(self) -> None:
        """Take away all prompts of the selected segment, in one step; its masks stay but for previews."""
        self._editing.remove_prompts()

    def export_prompts(self, path: str | Path) -> tuple[Path, ...]:
        """Write everything needed to repeat the masks as JSON, one file for each slice axis in use."""
        return self._editing.export_prompts(Path(path))

    def import_prompts(self, path: str | Path) -> tuple[str, ...]:
        """Add the objects of a prompts file as new segments, in one step of undo; returns their segment ids."""
        return self._editing.import_prompts(Path(path))

    # ------------------------------------------------------------------------------------------------------ runs

    def propagate(self, all_segments: bool = False) -> None:
        """Compute what is pending of the selected segment, or of all; returns at once. One step of undo.

        Raises:
            MedSAMError: Another run is under way, nothing is pending, the network is not there, ...
        """
        self._running.propagate(all_segments)

    def cancel(self) -> None:
        """End the run within one slice; the segment is as before, Redo brings back what was computed."""
        self._running.cancel()

    def estimate(self) -> None:
        """Find out what the next propagation would take; it arrives as `run_estimate`."""
        self._running.ask_estimate()

    def take_offer(self) -> None:
        """Do what the last message offered, such as to run with less memory."""
        self._running.take_offer()

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
        return self._doubtful.next_doubtful()

    def previous_key_slice(self) -> int:
        """Show the next lower slice with prompts or a mask of the user; returns its index."""
        return self._doubtful.key_slice(-1)

    def next_key_slice(self) -> int:
        """Show the next higher slice with prompts or a mask of the user; returns its index."""
        return self._doubtful.key_slice(1)

    def show_slice(self, index: int) -> None:
        """Show a slice of the selected segment in all views that cut its axis."""
        self._doubtful.show(index)

    def show_changes(self, shown: bool) -> None:
        """Show in colour what the last run added and removed."""
        self._changes.show(shown)

    def keep_changes(self) -> None:
        """Agree with what the last run changed; the colours go."""
        self._changes.keep()

    def revert_changes(self) -> None:
        """Bring back the masks from before the last run, as one step of undo."""
        self._changes.revert()

    def undo(self) -> None:
        """Take back the last step, prompts and masks together; during a run, cancel it."""
        self._running.undo()

    def redo(self) -> None:
        """Do again what was taken back last."""
        self._running.redo()

    # ----------------------------------------------------------------------------------------------------- state

    @property
    def volume_node(self) -> Any | None:
        """The volume; None when there is none or it was deleted."""
        return self._work.volume_node

    @property
    def geometry(self) -> VolumeGeometry | None:
        """Shape and place of the volume's voxels."""
        return self._work.geometry

    @property
    def segmentation_node(self) -> Any | None:
        """Where masks go; None until the first segment is added."""
        return self._work.segmentation_node

    @property
    def segment_id(self) -> str | None:
        """The selected segment."""
        return self._work.segment_id

    @property
    def segment_ids(self) -> tuple[str, ...]:
        """All segments of the segmentation, in the order of its table."""
        return self._work.segment_ids

    @property
    def axis(self) -> SliceAxis | None:
        """The slice axis of the selected segment, None before its first prompt."""
        entry = self._work.entry
        return entry.axis if entry else None

    @property
    def window_spec(self) -> str:
        """What `set_window` was told last."""
        return self._work.window_spec

    @property
    def window(self) -> Window | None:
        """The grey values the network sees as black and white; None until they are known."""
        return self._work.window

    @property
    def checkpoint(self) -> str:
        """The id or file of the network."""
        return self._work.checkpoint

    @property
    def device(self) -> str:
        """The device asked for; `device_used` is the one found."""
        return self._work.settings.device

    @property
    def device_used(self) -> str | None:
        """Where the network runs, such as "cpu" or "cuda:0 (NVIDIA ...)"; None until it is ready."""
        return self._work.network.device

    @property
    def tier(self) -> str | None:
        """The arithmetic asked for; None = chosen by the device."""
        return self._work.tier

    @property
    def tier_used(self) -> str | None:
        """The arithmetic in use; None until the network is ready."""
        return self._work.network.tier

    @property
    def overlap(self) -> str:
        """See `set_overlap`."""
        return self._work.overlap

    @property
    def network_state(self) -> NetworkState:
        """How far the network is."""
        return self._work.network.state

    @property
    def network_note(self) -> str:
        """One sentence about the network for the panel, such as that it computes without a GPU; may be empty."""
        return self._work.network.note

    @property
    def placing(self) -> Tool | None:
        """The tool in the user's hand."""
        return self._work.placing_tool

    @property
    def busy(self) -> bool:
        """Whether a propagation is under way."""
        return self._running.busy

    @property
    def progress(self) -> Progress | None:
        """How far the propagation under way is."""
        return self._running.progress

    @property
    def run_estimate(self) -> RunEstimate | None:
        """What the next propagation would take, once `estimate` has found out."""
        return self._running.run_estimate

    @property
    def undo_label(self) -> str | None:
        """What `undo` would take back."""
        return self._work.session.undo_label if self._work.session else None

    @property
    def redo_label(self) -> str | None:
        """What `redo` would do again."""
        return self._work.session.redo_label if self._work.session else None

    @property
    def slices(self) -> tuple[SliceState, ...]:
        """Every slice of the selected segment along its axis; empty before its first prompt."""
        return self._doubtful.slices

    @property
    def shown_index(self) -> int | None:
        """The slice along `axis` that the views show; None before the first prompt."""
        return self._doubtful.shown_index

    @property
    def slice_range(self) -> tuple[int, int] | None:
        """First and last slice to propagate over; None = all."""
        entry = self._work.entry
        return entry.said.slice_range if entry else None

    @property
    def changes_shown(self) -> bool:
        """Whether `show_changes` is on."""
        return self._changes.shown

    @property
    def changes(self) -> ChangedVoxels | None:
        """What the last run changed; None when there is nothing to keep or revert."""
        return self._changes.last

    @property
    def message(self) -> Message | None:
        """The last message."""
        return self._work.message

    @property
    def segment_states(self) -> Mapping[str, str]:
        """By segment id, one short text for the table: "3 prompts", "120 slices, 2 accepted", ..."""
        return self._editing.segment_states()
