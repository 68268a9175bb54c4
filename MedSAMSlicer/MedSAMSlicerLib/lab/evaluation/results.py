"""The folder of an accuracy benchmark: what it is made with, what was measured, and the masks.

`run.json` says what the folder was made with. `results.jsonl` has one line of JSON for each case (what is measured on
it) and for each measurement, written as soon as it is known, so that a killed run continues where it was; a line
that was being written then is dropped. `masks` holds masks. One run at a time may write into a folder: the operating
system holds the lock on the file `.lock`, and lets go of it when the run is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.errors import Canceled, DownloadError, MedSAMError, OutputError
from ...core.masks import bounding_box, pack_bits, unpack_bits
from ...io.atomic import output_error, write_bytes
from ...models.file_lock import exclusive
from .measurement import Measurement, trial_key

logger = logging.getLogger(__name__)

RESULTS, HEADER, MASKS, LOCK = "results.jsonl", "run.json", "masks", ".lock"
FORMAT = 2
_SAME = ("format", "version", "data", "seed", "most")
_MACHINE = ("processor", "gpu", "threads", "processes", "torch")
_NOT_IDENTITY = ("threads",)  # of a runner: changes seconds, not what it is

BoolVolume = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class CasePlan:
    """The measurements that are planned on a case.

    Args:
        case: its name.
        size: bytes of image and label, which show when the files were exchanged.
        protocols, runners: names of those that were asked for.
        trials: (target, protocol, runner) of those that fit, in the order of a report.
    """

    case: str
    size: tuple[int, int]
    protocols: tuple[str, ...]
    runners: tuple[str, ...]
    trials: tuple[tuple[str, str, str], ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Those of the measurements."""
        return tuple(trial_key(self.case, *trial) for trial in self.trials)

    def narrowed(self, protocols: Sequence[str], runners: Sequence[str]) -> CasePlan | None:
        """The plan for these protocols and runners, in their order; None when this one does not cover them."""
        if not set(protocols) <= set(self.protocols) or not set(runners) <= set(self.runners):
            return None
        targets = dict.fromkeys(target for target, _, _ in self.trials)
        planned = set(self.trials)
        trials = tuple(trial for trial in itertools.product(targets, protocols, runners) if trial in planned)
        return CasePlan(self.case, self.size, tuple(protocols), tuple(runners), trials)


@dataclass(frozen=True, eq=False)
class PackedMasks:
    """The masks of a first and a last answer, as small as can be: bits within the bounding box.

    Args:
        shape: (K, J, I).
        corners: of both, the first voxel of the bounding box along each axis.
        extents: of both, voxels along each axis.
        bits: of both.
    """

    shape: tuple[int, ...]
    corners: tuple[tuple[int, ...], tuple[int, ...]]
    extents: tuple[tuple[int, ...], tuple[int, ...]]
    bits: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]

    @classmethod
    def of(cls, first: BoolVolume, last: BoolVolume) -> PackedMasks:
        """Pack two masks of one shape."""
        boxes = [bounding_box(mask) or (slice(0, 0),) * mask.ndim for mask in (first, last)]
        corners = tuple(tuple(part.start for part in box) for box in boxes)
        extents = tuple(tuple(part.stop - part.start for part in box) for box in boxes)
        bits = tuple(pack_bits(mask[box]) for mask, box in zip((first, last), boxes, strict=True))
        return cls(first.shape, corners, extents, bits)  # type: ignore[arg-type]

    def masks(self) -> tuple[BoolVolume, BoolVolume]:
        """First and last, (K, J, I) bool."""
        return self._mask(0), self._mask(1)

    def _mask(self, which: int) -> BoolVolume:
        mask = np.zeros(self.shape, np.bool_)
        corner, extent = self.corners[which], self.extents[which]
        inside = tuple(slice(start, start + count) for start, count in zip(corner, extent, strict=True))
        mask[inside] = unpack_bits(self.bits[which], extent)
        return mask


class ResultsFile:
    """The results of a folder: those that are there, and those that are added. A context manager that holds the lock.

    Args:
        folder: made when it is not there.
        header: what the folder is made with; runners may be added later.

    Attributes:
        header: as `header`, with the runners of earlier runs; "earlier" lists other machines that measured before.
        measurements: by key.
        plans: by name of the case.

    Raises:
        OutputError: the folder cannot be written, or another run writes into it.
        MedSAMError: it holds results of other data, another seed, version or checkpoint.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any]) -> None:
        self._folder = folder
        self.measurements: dict[str, Measurement] = {}
        self.plans: dict[str, CasePlan] = {}
        self._held = contextlib.ExitStack()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock()
            self.header = self._checked(dict(header))
            self._read()
            write_bytes(folder / HEADER, json.dumps(self.header, indent=1).encode() + b"\n")
        except OSError as error:
            self._held.close()
            raise OutputError(f"Cannot write results into {folder}: {error.strerror or error}.") from error
        except BaseException:
            self._held.close()
            raise

    def __enter__(self) -> ResultsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def add(self, measurement: Measurement) -> None:
        """Write a measurement to the disk at once. Raises OutputError; what was there before stays readable."""
        self._append({"key": measurement.key, **measurement.to_json()})
        self.measurements[measurement.key] = measurement

    def plan(self, plan: CasePlan) -> None:
        """Remember what is measured on a case.

        Raises:
            MedSAMError: results of other files of that name are there.
            OutputError: it cannot be written.
        """
        self.check_files(plan.case, plan.size)
        before = self.plans.get(plan.case)
        if before is None or before.narrowed(plan.protocols, plan.runners) != plan:
            self._append({"planned": plan.case, **{k: v for k, v in asdict(plan).items() if k != "case"}})
            self.plans[plan.case] = plan

    def check_files(self, case: str, size: tuple[int, int]) -> None:
        """Raise MedSAMError when the results of a case are those of other files."""
        before = self.plans.get(case)
        if before is not None and before.size != size:
            raise MedSAMError(
                f"{self._folder} holds results of other files of the case {case}: choose another folder, or remove it."
            )

    def keep_masks(self, key: str, packed: PackedMasks) -> None:
        """Keep the masks of a measurement; see :func:`load_masks`. Raises OutputError."""
        path = mask_path(self._folder, key)
        content = io.BytesIO()
        np.savez_compressed(
            content,
            shape=np.array(packed.shape),
            corners=np.array(packed.corners),
            extents=np.array(packed.extents),
            first=packed.bits[0],
            last=packed.bits[1],
        )
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise output_error(path.parent, error) from error
        write_bytes(path, content.getvalue())

    def _append(self, values: Mapping[str, Any]) -> None:
        path = self._folder / RESULTS
        line = json.dumps(values).encode() + b"\n"
        before: int | None = None
        try:
            with path.open("ab", buffering=0) as file:
                before = file.tell()
                rest = line
                while rest:  # a disk that fills takes a part, and refuses the next
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
        except OSError as error:
            if before is not None:
                with contextlib.suppress(OSError):
                    os.truncate(path, before)
            raise output_error(path, error) from error

    def _lock(self) -> None:
        path = self._folder / LOCK
        try:
            self._held.enter_context(exclusive(path, canceled=lambda: True))
        except Canceled as error:
            holder = ""
            with contextlib.suppress(OSError, ValueError):
                holder = f" (process {int(path.read_text(encoding='ascii'))})"
            raise OutputError(
                f"Another run{holder} is writing into {self._folder}: wait for it, or choose another folder."
            ) from error
        except DownloadError as error:
            raise OutputError(f"Cannot write results into {self._folder}: {error}") from error
        with contextlib.suppress(OSError):  # the lock itself is the system's; the number is for people
            path.write_text(f"{os.getpid()}\n", encoding="ascii")

    def _checked(self, header: dict[str, Any]) -> dict[str, Any]:
        path = self._folder / HEADER
        header = {"format": FORMAT, **header}
        if not path.is_file():
            return header
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            runners = dict(before["runners"])
        except (ValueError, KeyError, TypeError) as error:
            raise MedSAMError(f"{path} cannot be read: choose another folder, or remove this one.") from error
        if before.get("format") != FORMAT:
            raise MedSAMError(
                f"{self._folder} holds results of an older benchmark: choose another folder, or remove it."
            )
        for name in _SAME:
            if before.get(name) != header[name]:
                raise MedSAMError(
                    f"{self._folder} holds results with {name} {before.get(name)!r}, not {header[name]!r}: "
                    "choose another folder, or remove it."
                )
        for name, about in runners.items():
            now, then = _identity(header["runners"].get(name, about)), _identity(about)
            other = [field for field in {**then, **now} if then.get(field) != now.get(field)]
            if other:
                raise MedSAMError(
                    f"{self._folder} holds results of another {name}, which differs in {' and '.join(other)}: "
                    "choose another folder."
                )
        earlier = list(before.get("earlier", ()))
        machine = {name: before.get(name) for name in _MACHINE}
        if machine != {name: header.get(name) for name in _MACHINE} and machine not in earlier:
            earlier.append(machine)
        more = {"earlier": earlier} if earlier else {}
        return {**header, "runners": {**runners, **header["runners"]}, **more}

    def _read(self) -> None:
        path = self._folder / RESULTS
        if not path.is_file():
            return
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):  # the last line was being written when the run was killed
            os.truncate(path, len(whole))
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                logger.warning("line %d of %s cannot be read; it is measured again", number, path)

    def _take(self, values: Mapping[str, Any]) -> None:
        if "planned" in values:
            trials = tuple((target, protocol, runner) for target, protocol, runner in values["trials"])
            image, label = values["size"]
            self.plans[values["planned"]] = CasePlan(
                values["planned"],
                (image, label),
                tuple(values["protocols"]),
                tuple(values["runners"]),
                trials,
            )
        else:
            measurement = Measurement.from_json(values)
            self.measurements[measurement.key] = measurement


def mask_path(folder: Path, key: str) -> Path:
    """The file in a folder of results that keeps the masks of a measurement."""
    name = "".join(letter if letter.isalnum() or letter in "+-_." else "_" for letter in key)
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]  # two keys may have the same letters and digits
    return folder / MASKS / f"{name[:150]}_{digest}.npz"


def load_masks(folder: Path, key: str) -> tuple[BoolVolume, BoolVolume] | None:
    """The first and the last mask of a measurement, (K, J, I) bool; None when they were not kept.

    Args:
        folder: of the results.
        key: of the measurement.

    Raises:
        OutputError: the file is damaged.
    """
    path = mask_path(folder, key)
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as content:
            corners, extents = (
                tuple(tuple(int(value) for value in row) for row in content[name])
                for name in ("corners", "extents")
            )
            shape = tuple(int(value) for value in content["shape"])
            bits = (content["first"], content["last"])
            return PackedMasks(shape, corners, extents, bits).masks()  # type: ignore[arg-type]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise OutputError(f"The masks {path} cannot be read.") from error


def _identity(about: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in about.items() if name not in _NOT_IDENTITY}
