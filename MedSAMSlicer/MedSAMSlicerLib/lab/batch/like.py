"""A batch without prompts: cases that are segmented already serve as the memory for those that are not.

See :mod:`.case_memory` for what is remembered and how a slice recalls it. Every label value, or segment, of
the labeled cases is an object with a memory of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...core.errors import MedSAMError, VolumeError
from ...core.geometry import SliceAxis
from ...core.intensity import choose_window
from ...engine.devices import chosen_device
from ...engine.segmenter import VolumeSegmenter
from ...io.labels import read_label, segment_names
from ...io.segmentations import Mask
from ...io.volumes import Volume, open_image, read_volume
from ...models.registry import BUNDLED_ID, CheckpointFile, Registry
from ...sam2.checkpoint import load_named
from ...sam2.model import SAM2
from ...sam2.networks import Network
from ..training.labeled import TrainingCase, find_cases
from .case import BatchOptions, LabeledFiles, file_stamps
from .case_memory import CaseMemory, entries_of, segment_from_memory


def labeled_files(folder: Path) -> tuple[LabeledFiles, ...]:
    """The labeled cases of a folder, found as those to train on.

    Raises:
        VolumeError: If there are none, or they are pictures with a mask for each object.
    """
    cases = find_cases(folder)
    if any(case.masks or case.channels for case in cases):
        raise VolumeError(
            f"{folder} holds pictures or channels; segmented volumes with label files are needed."
        )
    return tuple(_files_of(case) for case in cases)


def _files_of(case: TrainingCase) -> LabeledFiles:
    return LabeledFiles(case.image.resolve(), case.label.resolve(), case.window, case.modality)


def check_remembers(file: CheckpointFile) -> None:
    """Raise MedSAMError when a checkpoint's network has no memory, which no case can be segmented like others with."""
    network = load_named(file.path, file.checkpoint.config)
    if not isinstance(network, SAM2):
        raise MedSAMError(
            f"{file.checkpoint.id} draws every slice by itself and remembers no segmented case: choose a network with "
            f"memory, such as {BUNDLED_ID}."
        )


def segment_like(volume: Volume, options: BatchOptions) -> dict[str, Mask]:
    """The objects of the remembered cases in another volume: name -> (K, J, I) bool, without a prompt.

    Raises:
        MedSAMError: If the network has no memory, or a labeled case cannot be read.
    """
    axis = SliceAxis.parse(options.axis)
    network, memories = remember(options)
    segmenter = _segmenter(volume, network, options, options.window)
    return {name: segment_from_memory(segmenter, memory, axis) for name, memory in memories.items()}


def remember(options: BatchOptions) -> tuple[Network, dict[str, CaseMemory]]:
    """The network, and a memory for each object of the labeled cases; read once as long as nothing changes.

    Raises:
        MedSAMError: If the network has no memory, or a labeled case cannot be read or holds no object.
    """
    try:
        stamps = tuple(stamp for each in options.like for stamp in file_stamps(each.label))
    except OSError as error:
        raise MedSAMError(f"A labeled case cannot be read: {error}.") from error
    return _remembered(options, stamps)


@lru_cache(maxsize=1)
def _remembered(
    options: BatchOptions, stamps: tuple[tuple[str, int, int], ...]
) -> tuple[Network, dict[str, CaseMemory]]:
    """The network, and a memory for each object of the labeled cases; kept until an option or a label changes."""
    file = Registry.from_environment().open_saved(options.model, options.sha256)
    network = load_named(file.path, file.checkpoint.config)
    memories: dict[str, CaseMemory] = {}
    for files in options.like:
        volume = read_volume(files.image)
        segmenter = _segmenter(volume, network, options, files.window or options.window, files.modality)
        for name, mask in _objects(files.label, volume):
            memory = memories.setdefault(name, CaseMemory())
            for entry in entries_of(segmenter, mask, SliceAxis.parse(options.axis)):
                memory.offer(entry)
    if not memories:
        raise MedSAMError("The labeled cases hold no object.")
    return network, memories


def _objects(label: Path, volume: Volume) -> Sequence[tuple[str, Mask]]:
    """Each segment of a label file by its name, or by its value where the file names none."""
    labels = read_label(label, volume.geometry)
    names = {value: name for name, value in segment_names(open_image(label)).items()}
    values = [int(value) for value in np.unique(labels) if value > 0]
    return [(names.get(value, str(value)), np.asarray(labels == value)) for value in values]


def _segmenter(
    volume: Volume, network: Network, options: BatchOptions, window: str, modality: str | None = None
) -> VolumeSegmenter:
    return VolumeSegmenter(
        volume.array,
        volume.geometry,
        network,
        choose_window(volume.array, window, modality or volume.modality, lambda _: None),
        tier=options.tier,
        device=chosen_device(options.device),
        threads=options.threads,
        volume_stage="off",
    )
