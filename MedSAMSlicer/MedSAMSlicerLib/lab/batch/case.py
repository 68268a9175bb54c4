"""One case of a batch, a value that can be sent to another process or machine, and what comes of it."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import __version__
from ...core.errors import MedSAMError
from ...core.foreign_errors import first_line
from ...core.tiers import second_network_is_off
from .table import PromptRow, prompts_of

if TYPE_CHECKING:
    from ...io.volumes import Volume

_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class LabeledFiles:
    """A case that is segmented already; `window` and `modality` where a manifest gives them."""

    image: Path
    label: Path
    window: str | None = None
    modality: str | None = None


@dataclass(frozen=True)
class BatchOptions:
    """The settings by which every case is computed; those of `medsamslicer segment` of the same names.

    Attributes:
        model: id or file of the checkpoint.
        sha256: of its file, which every machine must have.
        like: segmented cases that serve as memory in place of prompts.
        axis: across which their slices lie.
    """

    model: str
    sha256: str
    device: str = "auto"
    tier: str | None = None
    threads: int | None = None
    window: str = "auto"
    cleanup: str = "none"
    overlap: str = "keep"
    like: tuple[LabeledFiles, ...] = ()
    axis: str = "k"


@dataclass(frozen=True)
class BatchCase:
    """A volume to segment, and the file of its result; without rows of prompts it is segmented like `options.like`."""

    name: str
    volume: Path
    output: Path
    rows: tuple[PromptRow, ...]
    options: BatchOptions
    version: str = __version__

    @property
    def fingerprint(self) -> str:
        """Changes with everything that the result depends on; OSError when the volume cannot be read."""
        content = [asdict(replace(row, line=0)) for row in self.rows]
        parts = [
            content,
            asdict(self.options),
            str(self.volume),
            file_stamps(self.volume),
            [file_stamps(path) for each in self.options.like for path in (each.image, each.label)],
            self.version,
            second_network_is_off(),
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode("utf-8")).hexdigest()


def file_stamps(volume: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of the file, or of each file of a folder."""
    files = sorted(path for path in volume.rglob("*") if path.is_file()) if volume.is_dir() else [volume]
    found = [(path, path.stat()) for path in files]
    return [(path.name, status.st_size, status.st_mtime_ns) for path, status in found]


@dataclass(frozen=True)
class CaseResult:
    """The result of a case.

    Attributes:
        name: of the case.
        output: the file with its masks; None when it failed.
        objects: one description each, see `cli.compute.SegmentedVolume`.
        error: why it failed, one sentence; empty when it did not.
        seconds: from its volume to its file.
        host: where it was computed.
    """

    name: str
    output: str | None
    objects: tuple[dict[str, Any], ...] = ()
    error: str = ""
    seconds: float = 0.0
    host: str = ""


def segment_case(case: BatchCase) -> CaseResult:
    """Segment a case and write its masks; what goes wrong is in the result. One at a time in each process."""
    began = time.perf_counter()
    with _ONE_AT_A_TIME:
        try:
            objects = _segment(case)
        except MedSAMError as error:
            return _failed(case, str(error), began)
        except Exception as error:  # noqa: BLE001 - one case must not end the others
            first = first_line(error)
            return _failed(case, f"a fault of the program ({type(error).__name__}: {first}).", began)
    return CaseResult(
        case.name, str(case.output), tuple(objects), "", time.perf_counter() - began, socket.gethostname()
    )


def lost_case(case: BatchCase, error: BaseException | None) -> CaseResult:
    """The result of a case that a cluster could not compute."""
    if type(error).__name__ == "KilledWorker":
        text = "it was killed on several workers of the cluster, perhaps for lack of memory."
    elif isinstance(error, ImportError):
        text = f"a worker of the cluster lacks this program or a package of it ({error})."
    else:
        text = f"a fault of the cluster ({type(error).__name__}: {error})."
    return CaseResult(case.name, None, error=text)


def _failed(case: BatchCase, text: str, began: float) -> CaseResult:
    return CaseResult(case.name, None, (), text, time.perf_counter() - began, socket.gethostname())


def _segment(case: BatchCase) -> Sequence[dict[str, Any]]:
    from ...io.volumes import read_volume

    host = socket.gethostname()
    if case.version != __version__:
        raise MedSAMError(f"The worker on {host} has version {__version__}, not {case.version}.")
    if not case.volume.exists():
        raise MedSAMError(
            f"The worker on {host} does not see {case.volume}: data must lie at the same path on every machine."
        )
    volume = read_volume(case.volume)
    return _segment_like(case, volume) if case.options.like else _segment_prompted(case, volume)


def _segment_prompted(case: BatchCase, volume: Volume) -> Sequence[dict[str, Any]]:
    from ...cli.compute import ComputeSettings, segment_volume
    from ...cli.outputs import write_masks
    from ...core.intensity import choose_window
    from ...models.registry import Registry

    options = case.options
    prompts = replace(
        prompts_of(case.rows, volume.geometry),
        window=choose_window(volume.array, options.window, volume.modality, lambda _: None),
        cleanup=options.cleanup,
        overlap=options.overlap,
    )
    file = Registry.from_environment().open_saved(options.model, options.sha256)
    result = segment_volume(
        volume, prompts, file, ComputeSettings(options.device, options.tier, options.threads), quiet=True
    )
    write_masks(case.output, result.masks, volume, result.prompts.objects)
    return result.objects


def _segment_like(case: BatchCase, volume: Volume) -> Sequence[dict[str, Any]]:
    from ...cli.compute import described_mask
    from ...cli.outputs import write_masks
    from ...core.geometry import SliceAxis
    from ...core.prompts import ObjectPrompts
    from ...io.segmentations import color_of
    from .like import segment_like

    masks = segment_like(volume, case.options)
    objects = [ObjectPrompts(name, color_of(number)) for number, name in enumerate(masks)]
    write_masks(case.output, masks, volume, objects)
    axis = SliceAxis.parse(case.options.axis)
    return [{"name": name, **described_mask(mask, volume.geometry, axis)} for name, mask in masks.items()]
