"""The network as the worker keeps it: one model, one volume, and what is known of each object. On the worker only.

Torch and the engine are imported when the first job needs them, never before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..core.errors import MedSAMError
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.intensity import Window
from ..models.registry import CheckpointFile, Registry

if TYPE_CHECKING:
    from ..engine.estimate import Probe
    from ..engine.live import LiveSegmentation
    from ..engine.segmenter import VolumeSegmenter
    from ..sam2.networks import Network

FEW_FEATURES_BYTES = 128 << 20


@dataclass(frozen=True)
class NetworkChoice:
    """The network that computes, its device and its arithmetic.

    Attributes:
        checkpoint: an id of the registry, or a file.
        sha256: of the file that a saved scene used; None = whatever the id names now.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        tier: "exact", "balanced", "fast"; None = chosen by the device.
        threads, cache_bytes: None = the engine's own choice.
        models: the folder of downloaded checkpoints; None = the usual one.
        volume_stage: what looks at all slices together, one of `core.tiers.STAGES`.
    """

    checkpoint: str
    sha256: str | None = None
    device: str = "auto"
    tier: str | None = None
    threads: int | None = None
    cache_bytes: int | None = None
    models: Path | None = None
    volume_stage: str = "auto"


@dataclass(frozen=True, eq=False)
class ChannelVoxels:
    """A volume that the network sees beside the first one.

    Attributes:
        array: (K, J, I).
        geometry: where it lies in the RAS of the first volume.
        name: for messages.
        wanted: its window, or what `core.intensity.choose_window` takes.
        modality: "CT", "MR", ...; None = not known.
    """

    array: npt.NDArray[np.generic]
    geometry: VolumeGeometry
    name: str
    wanted: Window | str
    modality: str | None = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """The network as prepared: checkpoint, device and arithmetic in use; `note` is a sentence for the user or empty.

    `prompts` are the kinds that the network was trained with: "box", "point", "mask". `channel_windows` are those of
    the further volumes, and `fused` is what the network sees of all of them, (K, J, I, 3) uint8; None without any.
    """

    checkpoint_id: str
    sha256: str
    device: str
    tier: str
    note: str
    window: Window
    prompts: tuple[str, ...] = ("box", "point", "mask")
    channel_windows: tuple[Window, ...] = ()
    fused: npt.NDArray[np.uint8] | None = None


class Engine:
    """Model, volume and objects; made, used and closed on the worker's thread.

    Args:
        load: makes a network of its file; None = each engine loads its own. Several engines of one process may share
            a network, which computes without changing.
    """

    def __init__(self, load: Callable[[CheckpointFile], Network] | None = None) -> None:
        self._load = load or load_network_of
        self.segmenter: VolumeSegmenter | None = None
        self._model: tuple[CheckpointFile, Network] | None = None
        self._lives: dict[str, tuple[SliceAxis, LiveSegmentation]] = {}
        self._probes: dict[SliceAxis, Probe] = {}

    @property
    def filling(self) -> bool:
        """Return whether features are computed in the background."""
        segmenter = self.segmenter
        return segmenter is not None and any(store.filling for store in segmenter.stores)

    def prepare(
        self,
        array: npt.NDArray[np.generic],
        geometry: VolumeGeometry,
        window: Window,
        choice: NetworkChoice,
        further: Sequence[ChannelVoxels] = (),
    ) -> Prepared:
        """Load the network unless it is there, and show it the volume; what was known of objects is forgotten.

        Raises:
            MedSAMError: a further volume lies beside the first one, or its window cannot be found, ...
        """
        from ..engine.devices import chosen_device, device_name
        from ..engine.segmenter import DEFAULT_CACHE_BYTES, DEFAULT_PATIENCE, VolumeSegmenter
        from ..engine.video_segmenter import video_crop_margin

        self.forget_volume()
        file = _checkpoint_file(choice)
        if self._model is None or self._model[0].sha256 != file.sha256:
            self._model = None
            self._model = (file, self._load(file))
        device = chosen_device(choice.device)
        color = array.ndim == 4  # frames of a video
        notes: list[str] = []
        fused, windows = _fused(array, geometry, window, further, notes.append) if further else (None, ())
        self.segmenter = VolumeSegmenter(
            array if fused is None else fused,
            geometry,
            self._model[1],
            window,
            crop_margin=video_crop_margin(self._model[1]) if color else None,
            patience=0 if color else DEFAULT_PATIENCE,
            tier=choice.tier,
            device=device,
            threads=choice.threads,
            cache_bytes=DEFAULT_CACHE_BYTES if choice.cache_bytes is None else choice.cache_bytes,
            volume_stage=choice.volume_stage,
        )
        precision = self.segmenter.precision
        note = " ".join(filter(None, (_device_note(choice.device, device), precision.note, *notes)))
        named, used = file.checkpoint.id, device_name(device)
        prompts = self._model[1].config.prompts
        tier = precision.tier.value
        return Prepared(named, file.sha256, used, tier, note, window, prompts, windows, fused)

    def ready(self) -> VolumeSegmenter:
        """The segmenter; MedSAMError when nothing was prepared."""
        if self.segmenter is None:
            raise MedSAMError("The network is not ready: choose a volume and a model first.")
        return self.segmenter

    def live(self, name: str, axis: SliceAxis) -> LiveSegmentation:
        """Return what is known of one object along its axis."""
        known = self._lives.get(name)
        if known is None or known[0] != axis:
            known = self._lives[name] = (axis, self.ready().live(axis))
        return known[1]

    def probe(self, axis: SliceAxis) -> Probe:
        """Return what a slice takes along an axis, measured once."""
        from ..engine.estimate import measure

        if axis not in self._probes:
            self._probes[axis] = measure(self.ready(), axis)
        return self._probes[axis]

    def free_bytes(self) -> int | None:
        """Memory that can still be had where the network runs; None = not known."""
        from ..engine.devices import free_bytes

        return free_bytes(self.ready().precision.device)

    def limit_features(self) -> None:
        """Keep only few features from now on."""
        segmenter = self.ready()
        segmenter.cache_bytes = min(segmenter.cache_bytes, FEW_FEATURES_BYTES)
        for store in segmenter.stores:
            store.clear()
            store.limit_bytes = min(store.limit_bytes, segmenter.cache_bytes)

    def stop_filling(self) -> None:
        """Pause the background."""
        if self.segmenter is not None:
            for store in self.segmenter.stores:
                store.stop()

    def forget_objects(self, names: Iterable[str]) -> None:
        """Forget what is known of objects."""
        for name in names:
            self._lives.pop(name, None)

    def forget_volume(self) -> None:
        """Forget volume, features and objects; the model stays."""
        segmenter, self.segmenter = self.segmenter, None
        if segmenter is not None:
            for store in segmenter.stores:
                store.clear()
        self._lives.clear()
        self._probes.clear()

    def close(self) -> None:
        """Release everything."""
        self.forget_volume()
        self._model = None


def _fused(
    array: npt.NDArray[np.generic],
    geometry: VolumeGeometry,
    window: Window,
    further: Sequence[ChannelVoxels],
    notify: Callable[[str], None],
) -> tuple[npt.NDArray[np.uint8], tuple[Window, ...]]:
    """All volumes as frames in color, (K, J, I, 3), on the voxels of the first one; and the windows of the others."""
    from ..core.intensity import choose_window
    from ..io.fusion import Channel, fused
    from ..io.volumes import Volume

    channels = [Channel(Volume(array, geometry, "", Path()), window)]
    for each in further:
        chosen = each.wanted
        if not isinstance(chosen, Window):
            chosen = choose_window(each.array, chosen, each.modality, notify)
        channels.append(Channel(Volume(each.array, each.geometry, each.name, Path(each.name)), chosen))
    frames = fused(channels)
    frames.setflags(write=False)
    return frames, tuple(channel.window for channel in channels[1:])


def _checkpoint_file(choice: NetworkChoice) -> CheckpointFile:
    environment = Registry.from_environment()
    registry = (
        environment if choice.models is None else Registry(cache=choice.models, offline=environment.offline)
    )
    if choice.sha256 is not None:
        return registry.open_saved(choice.checkpoint, choice.sha256)
    return registry.open(choice.checkpoint)


def load_network_of(file: CheckpointFile) -> Network:
    """The network of a checkpoint, in float32 on the processor."""
    from ..sam2.checkpoint import load_named

    return load_named(file.path, file.checkpoint.config)


def _device_note(asked: str, used: str) -> str:
    if asked == "auto" and used == "cpu":
        return "PyTorch found no GPU that it can use: the network runs on the CPU."
    return ""
