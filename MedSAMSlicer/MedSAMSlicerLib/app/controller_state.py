"""Everything the controller shows: what the panel reads after each event."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.intensity import Window
from .changes import Changes
from .editing import Editing
from .ports import Handle, Tool
from .propagation import Propagation
from .review import Review
from .starting import Starting
from .state import ChangedVoxels, Message, NetworkState, RunEstimate, RunProgress, SliceState
from .workspace import Workspace


class ControllerState:
    """The readable half of :class:`~.controller.Controller`."""

    _work: Workspace
    _editing: Editing
    _propagation: Propagation
    _changes: Changes
    _review: Review
    _starting: Starting

    @property
    def volume_node(self) -> Handle | None:
        """The volume; None when there is none or it was deleted."""
        return self._work.volume_node

    @property
    def geometry(self) -> VolumeGeometry | None:
        """Shape and place of the volume's voxels."""
        return self._work.geometry

    @property
    def segmentation_node(self) -> Handle | None:
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
        obj = self._work.selected_object
        return obj.axis if obj else None

    @property
    def window_spec(self) -> str:
        """Return what `set_window` was told last."""
        return self._work.window_spec

    @property
    def window(self) -> Window | None:
        """The gray values the network sees as black and white; None until they are known."""
        return self._work.window

    @property
    def window_is_fixed(self) -> bool:
        """Return whether the window follows the views no longer, since a prompt was given."""
        session = self._work.session
        return session is not None and any(obj.prompts for obj in session.objects)

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
    def volume_stage(self) -> str:
        """What looks at all slices together, one of `engine.volume.stage.STAGES`."""
        return self._work.settings.volume_stage

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
    def network_failure(self) -> str:
        """Why the network cannot be used; empty while it can."""
        return self._work.network.failure if self.network_state is NetworkState.FAILED else ""

    @property
    def placing(self) -> Tool | None:
        """The tool in the user's hand."""
        return self._work.placing_tool

    @property
    def busy(self) -> bool:
        """Return whether a propagation is under way."""
        return self._propagation.busy

    @property
    def progress(self) -> RunProgress | None:
        """How far the propagation under way is."""
        return self._propagation.progress

    @property
    def run_estimate(self) -> RunEstimate | None:
        """Return what the next propagation would take, once `estimate` has found out."""
        return self._propagation.run_estimate

    @property
    def undo_label(self) -> str | None:
        """Return what `undo` would take back."""
        return self._work.session.undo_label if self._work.session else None

    @property
    def redo_label(self) -> str | None:
        """Return what `redo` would do again."""
        return self._work.session.redo_label if self._work.session else None

    @property
    def steps(self) -> tuple[int, str | None]:
        """Changes with every step of the history: how many can be undone, and what could be redone."""
        session = self._work.session
        return (session.step_count if session else 0, self.redo_label)

    @property
    def slices(self) -> tuple[SliceState, ...]:
        """Every slice of the selected segment along its axis; empty before its first prompt."""
        return self._review.slices

    @property
    def shown_index(self) -> int | None:
        """The slice along `axis` that the views show; None before the first prompt."""
        return self._review.shown_index

    @property
    def slice_range(self) -> tuple[int, int] | None:
        """First and last slice to propagate over; None = all."""
        obj = self._work.selected_object
        return obj.slice_range if obj else None

    @property
    def reach(self) -> int | None:
        """Slices to either side that a correction changes; None when the segment was not taken as a start."""
        return self._starting.reach

    @property
    def changes_shown(self) -> bool:
        """Return whether `show_changes` is on."""
        return self._changes.shown

    @property
    def changes(self) -> ChangedVoxels | None:
        """Return what the last run changed; None when there is nothing to keep or revert."""
        return self._changes.last

    @property
    def message(self) -> Message | None:
        """The last message."""
        return self._work.message

    @property
    def segment_states(self) -> Mapping[str, str]:
        """By segment id, one short text for the table: "3 prompts", "120 slices, 2 accepted", ..."""
        return self._editing.segment_states()
