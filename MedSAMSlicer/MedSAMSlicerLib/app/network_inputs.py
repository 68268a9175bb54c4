"""The network that sees the volume, its window, device and arithmetic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..core.errors import Canceled, MedSAMError, SessionError
from ..core.geometry import SliceAxis
from ..core.intensity import COLOR_WINDOW, WINDOWS, Window, custom_window
from ..core.overlap import GIVE_WAY
from ..core.translation import tr as _
from ..models.registry import Registry
from .channel_places import channel_voxels
from .engine_state import ChannelVoxels, NetworkChoice, Prepared
from .jobs import FillJob, ForgetJob, PrepareJob, SpeedJob, WindowJob
from .signals import Signal
from .state import Level, NetworkState, Topic
from .workspace import Workspace


class NetworkInputs:
    """The choices about the network; it is prepared in the background whenever one of them changes.

    Signals:
        ready: the network is ready, maybe another than before.
        channels_prepared: the windows of the volumes beside the first one, as the network sees them.
    """

    def __init__(self, work: Workspace) -> None:
        self._work = work
        self.ready: Signal[[]] = Signal()
        self.channels_prepared: Signal[[tuple[Window, ...]]] = Signal()
        self._submitted: tuple[ChannelVoxels, ...] = ()  # the further volumes that are being prepared
        self._saved_sha256: str | None = None
        self.flops_per_second: float | None = None  # of this computer; None until `measure_speed` found out

    # -- what is chosen, and what it turned out to be

    @property
    def window_spec(self) -> str:
        """The window that was asked for last."""
        return self._work.window_spec

    @property
    def window(self) -> Window | None:
        """The gray values the network sees as black and white; None until they are known."""
        return self._work.window

    @property
    def window_is_fixed(self) -> bool:
        """Return whether the window follows the views no longer, since a prompt was given."""
        return any(obj.prompts for obj in self._work.objects)

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
        """The device on which the network runs, such as "cpu" or "cuda:0 (NVIDIA ...)"; None until it is ready."""
        return self._work.network.device

    @property
    def volume_stage(self) -> str:
        """The stage that looks at all slices together, one of `core.tiers.STAGES`."""
        return self._work.settings.volume_stage

    def measure_speed(self) -> None:
        """Find out how fast this computer computes, unless that is known; it arrives as `flops_per_second`."""
        settings = self._work.settings
        if self.flops_per_second is not None or not self._work.torch_is_there:
            return

        def show(found: float) -> None:
            self.flops_per_second = found
            self._work.notify(Topic.NETWORK)

        self._work.worker.submit(SpeedJob(settings.device, settings.threads), show, lambda error: None)
        self._work.poller.start()

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
    def state(self) -> NetworkState:
        """The state of the network."""
        return self._work.network.state

    @property
    def note(self) -> str:
        """One sentence about the network for the panel, such as that it computes without a GPU; may be empty."""
        return self._work.network.note

    @property
    def failure(self) -> str:
        """The reason why the network cannot be used; empty while it can."""
        return self._work.network.failure if self.state is NetworkState.FAILED else ""

    # -- choosing

    def set_window(self, spec: str) -> None:
        """Choose the window: "display", "auto", a CT preset, "percentile", "pet", "full" or "LOWER,UPPER".

        "display" is "auto" until somebody chooses a window in the views, follows that one until the first prompt is
        given, and stays as it is from then on.
        """
        self.check_idle()
        chosen = spec.strip().lower()
        if chosen not in ("display", *WINDOWS) and custom_window(chosen) is None:
            text = _("The window must be one of {names} or LOWER,UPPER, got {window!r}.")
            raise MedSAMError(text.format(window=spec, names=", ".join(("display", *WINDOWS))))
        self._work.window_spec = self._work.parameter.window_spec = chosen
        self.choose_window()
        self._work.notify(Topic.NETWORK)

    def restore(self, sha256: str | None, window: Window | None) -> None:
        """Restore the window of a saved session, and warn if its network is not here any more."""
        self._saved_sha256 = sha256
        if window is None:
            self.choose_window()
        else:
            self._use_window(window)
            self._work.stale.clear()

    def choose_window(self) -> None:
        """Find the window that was asked for: at once for the display's, on the worker for all others."""
        work = self._work
        if work.volume_node is None or work.array is None:
            return
        if work.array.ndim == 4:
            self._use_window(COLOR_WINDOW)
            return
        by_display = work.window_spec == "display"
        displayed = work.scene.volumes.display_window(work.volume_node) if by_display else None
        if displayed is not None:
            self._use_window(displayed)  # at once; the job below looks whether it shows anything
        wanted = displayed or ("auto" if by_display else work.window_spec)
        session = work.session

        def use(window: Window) -> None:
            if session is work.session and window != displayed:
                self._use_window(window)
                for sentence in job.notes:
                    work.show_message(sentence, Level.WARNING)

        job = WindowJob(work.array, wanted, work.scene.volumes.modality(work.volume_node))
        work.worker.submit(job, use, self._failed)
        work.poller.start()

    def _use_window(self, window: Window) -> None:
        work = self._work
        if window != work.window:
            self.mark_stale()
        work.window = window
        work.notify(Topic.NETWORK)
        self.prepare()

    def display_changed(self) -> None:
        """The user turned the display window: the network follows until the first prompt is given."""
        work = self._work
        untouched = work.session is not None and not self.window_is_fixed
        gray = work.array is not None and work.array.ndim == 3
        if gray and work.window_spec == "display" and untouched and work.running is None:
            window = work.scene.volumes.display_window(work.volume_node)
            followed = work.window is not None and work.window.name == "display"
            if window is None and followed:
                self.choose_window()
            elif window is not None and window != work.window:
                self._use_window(window)

    def set_checkpoint(self, name: str | Path) -> None:
        """Use another network, by its id in the registry or its file; it must be on this computer."""
        self.check_idle()
        work = self._work
        registry = Registry.from_environment()
        if work.settings.models is not None:
            registry = Registry(cache=work.settings.models, offline=registry.offline)
        registry.find(name)
        if str(name) != work.checkpoint:
            self.mark_stale()
        work.checkpoint = work.parameter.checkpoint = str(name)
        work.checkpoint_sha256 = None
        self.prepare()

    def set_device(self, device: str) -> None:
        """Compute on "auto", "cpu", "cuda", "cuda:1" or "mps"."""
        self.check_idle()
        self._work.settings = replace(self._work.settings, device=device)
        self.prepare()

    def set_volume_stage(self, name: str) -> None:
        """Look at all slices together with a second network ("auto"), without it ("learned", "fused") or not ("off").

        Masks that are there stay; what is computed from now on goes this way.
        """
        self.check_idle()
        self._work.settings = replace(self._work.settings, volume_stage=name)
        self.prepare()

    def set_tier(self, tier: str | None) -> None:
        """Use "exact", "balanced" or "fast" arithmetic; None = chosen by the device."""
        self.check_idle()
        if tier != self._work.tier:
            self.mark_stale()
        self._work.tier = self._work.parameter.tier = tier
        self.prepare()

    def set_overlap(self, policy: str) -> None:
        """Set the rule for where a new mask meets other segments, one of `core.overlap.GIVE_WAY`."""
        if policy not in GIVE_WAY:
            text = _("The overlap must be one of {known}, got {policy!r}.")
            raise MedSAMError(text.format(known=", ".join(GIVE_WAY), policy=policy))
        self._work.overlap = self._work.parameter.overlap = policy
        self._work.notify(Topic.INPUTS)

    def prepare(self) -> None:
        """Make the network ready in the background if it can be; called again after PyTorch was installed."""
        work = self._work
        if work.array is None or work.geometry is None or work.window is None:
            self._network_is(NetworkState.WAITING)
            return
        if not work.torch_is_there:
            self._network_is(NetworkState.NOT_INSTALLED)
            return
        self._network_is(NetworkState.PREPARING)
        settings = work.settings
        choice = NetworkChoice(
            work.checkpoint,
            work.checkpoint_sha256,
            settings.device,
            work.tier,
            settings.threads,
            settings.cache_bytes,
            settings.models,
            settings.volume_stage,
        )
        further, array = channel_voxels(work), work.array
        self._submitted = further

        def prepared(found: Prepared) -> None:
            if array is work.array:  # else it is of another volume, or of another time point
                self._prepared(found, further)

        work.worker.submit(
            PrepareJob(array, work.geometry, work.window, choice, further), prepared, self._failed
        )
        work.poller.start()

    def prepare_slice(self, axis: SliceAxis, index: int, reach: int = 1) -> None:
        """Prepare a slice that is shown, and some beside it, in the background: a click there is then answered at once.

        Nothing is done while the network is not ready or a propagation is under way.
        """
        work = self._work
        if work.network.state is NetworkState.READY and work.running is None:
            work.worker.submit(FillJob(axis, index, reach), lambda value: None, lambda error: None)
            work.poller.start()

    def forget_volume(self) -> None:
        """Let the worker forget the volume."""
        if self._work.worker.started:
            self._work.worker.submit(ForgetJob(None), lambda value: None, lambda error: None)
            self._work.poller.start()

    def _prepared(self, found: Prepared, further: tuple[ChannelVoxels, ...]) -> None:
        work, network = self._work, self._work.network
        if found.window != work.window or further is not self._submitted:
            return
        work.fused = found.fused
        self.channels_prepared.emit(found.channel_windows)
        network.device, network.tier, network.note = found.device, found.tier, found.note
        network.checkpoint_id, network.sha256 = found.checkpoint_id, found.sha256
        network.prompts = found.prompts
        if self._saved_sha256 not in (None, found.sha256):
            self.mark_stale()
            text = _("The session was made with another network: new results will differ.")
            work.show_message(text, Level.WARNING)
        self._saved_sha256 = None
        self._network_is(NetworkState.READY)
        self.ready.emit()

    def _failed(self, error: MedSAMError | None) -> None:
        if error is None or isinstance(error, Canceled):
            return
        self._work.network.failure = str(error)
        self._network_is(NetworkState.FAILED)
        self._work.show_error(error)

    def _network_is(self, state: NetworkState) -> None:
        self._work.network.state = state
        self._work.notify(Topic.NETWORK)

    def mark_stale(self) -> None:
        """Masks that are there were computed otherwise than masks would be now."""
        session = self._work.session
        if session is not None:
            self._work.stale.update(obj.id for obj in session.objects if obj.masks)
            session.outdate_previews()  # they come again once the network is ready

    def check_idle(self) -> None:
        """Refuse what would change the network while a propagation is under way."""
        if self._work.running is not None:
            raise SessionError(_("A propagation is running: cancel it or wait until it ends."))
