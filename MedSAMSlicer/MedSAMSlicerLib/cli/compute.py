"""From a volume, prompts and a checkpoint to masks: the engine with a progress bar. Imports torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.intensity import choose_window
from ..core.prompts import PromptSet
from ..engine.devices import chosen_device, free_bytes
from ..engine.estimate import check_memory, estimate
from ..engine.heads import finer_geometry, finer_volume, part_shared
from ..engine.result import ObjectResult
from ..engine.segmenter import DEFAULT_CACHE_BYTES, VolumeSegmenter
from ..io.fusion import Channel, fused
from ..io.segmentations import Mask
from ..io.volumes import Volume
from ..models.registry import CheckpointFile
from ..sam2.adapters import load_adapters
from ..sam2.checkpoint import load_named
from ..sam2.heads import ImplicitHead, load_head
from ..sam2.networks import Network
from .terminal import ProgressBar, duration, show_message, warn


@dataclass(frozen=True)
class ComputeSettings:
    """The settings of a computation: the options of the same names. None = the engine's own choice.

    `channels` are volumes that the network sees beside the one that is segmented; `finer` is an implicit head and how
    many times finer it draws the outlines on every slice.
    """

    device: str = "auto"
    tier: str | None = None
    threads: int | None = None
    cache_mb: int | None = None
    volume_stage: str = "auto"
    memory: str = "all"
    runtime: str = "auto"
    adapters: Path | None = None
    channels: tuple[Channel, ...] = ()
    finer: tuple[Path, int] | None = None

    def of_engine(self) -> dict[str, Any]:
        """The arguments of the same meaning for an engine: those that every segmenter has."""
        return {
            "tier": None if self.tier in (None, "auto") else self.tier,
            "device": chosen_device(self.device),
            "cache_bytes": DEFAULT_CACHE_BYTES if self.cache_mb is None else self.cache_mb << 20,
            "threads": self.threads,
            "memory": self.memory,
        }


@dataclass(frozen=True, eq=False)
class SegmentedVolume:
    """A finished segmentation.

    Attributes:
        prompts: as given, with the tier that was used: what a file must hold to repeat the run.
        masks: segment name -> (K, J, I) boolean.
        geometry: of the masks.
        objects: one description for each object, ready for JSON.
        seconds: by step: load, segment.
        device: where the network ran.
        notes: sentences for the user, such as that an arithmetic was not to be had.
    """

    prompts: PromptSet
    masks: Mapping[str, Mask]
    geometry: VolumeGeometry
    objects: list[dict[str, Any]]
    seconds: dict[str, float]
    device: str
    notes: tuple[str, ...]


def segment_volume(
    volume: Volume,
    prompts: PromptSet,
    file: CheckpointFile,
    settings: ComputeSettings,
    quiet: bool = False,
) -> SegmentedVolume:
    """Load the checkpoint, propagate, describe; `quiet` without messages. Raises what engine and loader raise."""
    start = time.perf_counter()
    model = loaded_network(file, settings)
    loaded = time.perf_counter()
    shown = volume.array
    if settings.channels:
        window = prompts.window or choose_window(volume.array, "auto", volume.modality)
        shown = fused((Channel(volume, window), *settings.channels))
        prompts = replace(prompts, window=window)
    segmenter = VolumeSegmenter(
        shown,
        volume.geometry,
        model,
        prompts.window,
        volume_stage=settings.volume_stage,
        runtime=settings.runtime,
        **settings.of_engine(),
    )
    head = None if settings.finer is None else load_head(settings.finer[0], segmenter.model, "implicit")
    check_estimate(segmenter, prompts, quiet=quiet)
    with ProgressBar("segmenting") as bar:
        result = segmenter.segment(
            prompts,
            progress=None if quiet else lambda done, total, index: bar.update(done, total, f"slice {index}"),
            cleanup=prompts.cleanup or "none",
            overlap=prompts.overlap or "keep",
        )
    precision = segmenter.precision
    geometry, masks = volume.geometry, result.masks
    if settings.finer is not None:
        assert isinstance(head, ImplicitHead)
        plain = VolumeSegmenter(
            shown, geometry, model, prompts.window, volume_stage="off", **settings.of_engine()
        )
        disjoint = prompts.overlap == "highest"
        geometry, masks = _finer(plain, masks, prompts.axis, head, settings.finer[1], disjoint)
    return SegmentedVolume(
        prompts=replace(
            prompts,
            tier=precision.tier.value,
            window=prompts.window if settings.channels else segmenter.window,
        ),
        masks=masks,
        geometry=geometry,
        objects=[_described(obj, masks[obj.name], geometry) for obj in result.objects],
        seconds={"load": loaded - start, "segment": time.perf_counter() - loaded},
        device=str(precision.device),
        notes=(precision.note,) if precision.note else (),
    )


def _finer(
    segmenter: VolumeSegmenter,
    masks: Mapping[str, Mask],
    axis: SliceAxis,
    head: ImplicitHead,
    factor: int,
    disjoint: bool,
) -> tuple[VolumeGeometry, dict[str, Mask]]:
    """Masks on a finer grid, their outlines drawn by an implicit head; and the grid."""
    drawn = {}
    for name, mask in masks.items():
        with ProgressBar(f"outline of {name}") as bar:
            show = partial(_show_slice, bar)
            drawn[name] = finer_volume(segmenter, head, mask, axis, factor, show)
    if disjoint:
        part_shared(drawn, masks, axis, factor)
    return finer_geometry(segmenter.geometry, axis, factor), drawn


def _show_slice(bar: ProgressBar, done: int, total: int, index: int) -> None:
    bar.update(done, total, f"slice {index}")


def loaded_network(file: CheckpointFile, settings: ComputeSettings) -> Network:
    """The network of a checkpoint with the adapters of the settings on top. Raises what the loaders raise."""
    model = load_named(file.path, file.checkpoint.config)
    if settings.adapters is not None:
        load_adapters(model, settings.adapters)
    return model


def slice_segmenter(
    volume: Volume, window: str, file: CheckpointFile, settings: ComputeSettings
) -> VolumeSegmenter:
    """The network on a volume, for commands that look at single slices. Raises what engine and loader raise."""
    chosen = choose_window(volume.array, window, volume.modality, warn)
    model = loaded_network(file, settings)
    return VolumeSegmenter(
        volume.array, volume.geometry, model, chosen, volume_stage="off", **settings.of_engine()
    )


def check_estimate(
    segmenter: VolumeSegmenter, prompts: PromptSet, *, as_volumes: bool = True, quiet: bool = False
) -> None:
    """Show how long a run takes and how much memory.

    Raises:
        PromptError: If the first prompts cannot be asked.
        InsufficientMemoryError: If more memory is needed than is free.
    """
    segmenter.check_first_prompts(prompts)
    expected = estimate(segmenter, prompts, as_volumes=as_volumes)
    place = segmenter.precision.device
    check_memory(expected.further_bytes, free_bytes(place), expected.parts["features"])
    if not quiet:
        show_message(
            f"About {duration(expected.seconds)} and {expected.peak_bytes / 1e9:.1f} GB of memory on {place}."
        )


def described_mask(mask: Mask, geometry: VolumeGeometry, axis: SliceAxis) -> dict[str, Any]:
    """The size of a mask (K, J, I), and the slices across an axis that show it, ready for JSON."""
    voxels = int(np.count_nonzero(mask))
    others = tuple(each for each in range(3) if each != axis)
    filled = np.flatnonzero(mask.any(axis=others))
    return {
        "voxels": voxels,
        "milliliters": voxels * geometry.voxel_milliliters,
        "slices": len(filled),
        "first_slice": int(filled[0]) if filled.size else None,
        "last_slice": int(filled[-1]) if filled.size else None,
    }


def _described(obj: ObjectResult, mask: Mask, geometry: VolumeGeometry) -> dict[str, Any]:
    return {
        "name": obj.name,
        "color": list(obj.color),
        **described_mask(mask, geometry, obj.axis),
        "key_slices": list(obj.key_slices),
        "ended": [{"direction": event.step, "last_seen": event.last_seen} for event in obj.ended],
        "iou": {str(index): round(value, 4) for index, value in obj.iou.items()},
    }
