"""The checkpoints that there are, their files on this computer, and the check that these are what they should be."""

from __future__ import annotations

import contextlib
import enum
import functools
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.errors import CheckpointError
from ..core.folders import bundled_folders, cache_folder, without_tilde
from .contents import check_is_checkpoint
from .download import MOST_BYTES, DownloadSettings, Expected, Progress, download, sha256_of
from .partial import sweep_parts
from .recorded import RecordedFile, RecordedHashes, RecordError

logger = logging.getLogger(__name__)

BUNDLED_ID = "medsamslicer-nano"
SCHEMA_VERSION = 1
_SUFFIXES = (".pt", ".pth", ".safetensors")


class State(enum.Enum):
    """The place of a checkpoint."""

    BUNDLED = "bundled"
    ON_DISK = "on disk"
    NOT_ON_DISK = "not downloaded"


@dataclass(frozen=True)
class Checkpoint:
    """One file of weights, as the registry or the user names it.

    id: name for `--model`. file: name on disk. bytes, sha256: what the file must have, None = not known.
    bytes_between: least and most bytes that are plausible where the size is not known.
    config: name of the network's configuration and image_size: pixels of its square input, None = to be
    recognized from the file. prompts: the kinds it was trained with, of "box", "point" and "mask"; empty = not known.
    source: where the file can be had by hand when there is no url. path: set for a file of the user's outside the
    cache folder. good_for: what its authors made it for, in a few words. gigaflops: billions of multiplications and
    additions for a slice, one object carried to it included; None = not counted. dice: mean over volumes in this
    project's benchmark from one box and the range, None = not measured. recommended: to be tried first.
    """

    id: str
    title: str
    file: str
    bytes: int | None = None
    bytes_between: tuple[int, int] | None = None
    sha256: str | None = None
    license: str = "not known"
    citation: str = ""
    url: str | None = None
    config: str | None = None
    image_size: int | None = None
    bundled: bool = False
    prompts: tuple[str, ...] = ()
    source: str = ""
    path: Path | None = None
    good_for: str = ""
    gigaflops: float | None = None
    dice: float | None = None
    recommended: bool = False


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint on disk whose SHA-256 has been checked or confirmed."""

    checkpoint: Checkpoint
    path: Path
    sha256: str


@dataclass(frozen=True)
class Question:
    """The question to the user before weights with an unknown hash are used: `text` is one question."""

    checkpoint: Checkpoint
    text: str


Confirm = Callable[[Question], bool]

Loads = Callable[[Checkpoint, Path], None]
"""Reads the weights of a file into the network of a checkpoint; raises CheckpointError when they do not fit."""


def read_entries(path: Path | None = None) -> tuple[Checkpoint, ...]:
    """The checkpoints of a registry file; None = that of this package. Raises CheckpointError."""
    path = path or Path(__file__).with_name("registry.json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema version {content['schema_version']} instead of {SCHEMA_VERSION}")
        return tuple(_checkpoint(**row) for row in content["checkpoints"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"The checkpoint registry {path} cannot be read: {error}") from error


def _checkpoint(
    bytes_between: Sequence[int] | None = None, prompts: Sequence[str] = (), **known: Any
) -> Checkpoint:
    if bytes_between is not None:
        least, most = bytes_between
        known["bytes_between"] = (least, most)
    return Checkpoint(prompts=tuple(prompts), **known)


class Registry:
    """The known checkpoints together with the folders they lie in.

    cache: folder that is written to. offline: folders that are only read, for computers without a network.
    """

    def __init__(
        self,
        entries: Sequence[Checkpoint] | None = None,
        *,
        cache: Path | None = None,
        offline: Sequence[Path] = (),
        bundled: Sequence[Path] | None = None,
    ) -> None:
        self.cache = (cache or cache_folder()).absolute()
        self.offline = tuple(offline)
        self._entries = tuple(entries) if entries is not None else read_entries()
        self._bundled = tuple(bundled) if bundled is not None else bundled_folders()
        self._recorded = RecordedHashes(self.cache / "confirmed.json")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Registry:
        """The registry of this package; MEDSAMSLICER_MODELS and MEDSAMSLICER_OFFLINE name the folders."""
        offline = [
            without_tilde(part) for part in environ.get("MEDSAMSLICER_OFFLINE", "").split(os.pathsep) if part
        ]
        return cls(cache=cache_folder(environ), offline=offline)

    def __iter__(self) -> Iterator[Checkpoint]:
        """Registry checkpoints with the hashes confirmed so far, then the files the user added."""
        recorded = self._recorded.read()
        for checkpoint in self._entries:
            sha256 = checkpoint.sha256 or recorded.checkpoints.get(checkpoint.id)
            yield replace(checkpoint, sha256=sha256)
        for path, file in recorded.files.items():
            yield _own_file(Path(path), file)

    def find(self, name: str | os.PathLike[str]) -> Checkpoint:
        """The checkpoint of that id, or that file. Raises CheckpointError naming it when there is neither."""
        text = os.fspath(name)
        known = tuple(self)
        for checkpoint in known:
            if checkpoint.id == text:
                return checkpoint
        path = without_tilde(text).absolute()
        if path.is_file():
            return next((c for c in known if c.path == path), _own_file(path))
        if path.is_dir():
            raise CheckpointError(f"The checkpoint {text} is a folder; give the file in it.")
        if os.sep in text or "/" in text or text.endswith(_SUFFIXES):
            raise CheckpointError(f"The checkpoint file {text} does not exist.")
        ids = ", ".join(c.id for c in known)
        raise CheckpointError(f"There is no checkpoint {text!r}; choose one of {ids}, or give a file.")

    def path_of(self, checkpoint: Checkpoint) -> Path | None:
        """The file on this computer; None when it is not here."""
        if checkpoint.path is not None:
            return checkpoint.path if checkpoint.path.is_file() else None
        folders = self._bundled if checkpoint.bundled else (self.cache, *self.offline)
        return next((f / checkpoint.file for f in folders if (f / checkpoint.file).is_file()), None)

    def state(self, checkpoint: Checkpoint) -> State:
        """Return whether the checkpoint is bundled, on disk or still to be downloaded."""
        if self.path_of(checkpoint) is None:
            return State.NOT_ON_DISK
        return State.BUNDLED if checkpoint.bundled else State.ON_DISK

    def open(
        self,
        name: str | os.PathLike[str] | Checkpoint,
        confirm: Confirm | None = None,
        loads: Loads | None = None,
    ) -> CheckpointFile:
        """The checked file of a checkpoint given by id, file or `Checkpoint`.

        Where no hash is known, the file must be a checkpoint (and load, with `loads`); then `confirm` is asked and the
        hash recorded. No `confirm` counts as no. Raises CheckpointError when the file is not here, is not what it was,
        is no checkpoint, or was not confirmed.
        """
        checkpoint = name if isinstance(name, Checkpoint) else self.find(name)
        path = self._present(checkpoint)
        digest = self._digest(path)
        if checkpoint.path is not None and (twin := self._same_file(digest)) is not None:
            return CheckpointFile(replace(twin, path=path), path, digest)
        if checkpoint.sha256 is not None:
            self._compare(checkpoint, path, digest)
        elif not checkpoint.bundled:
            try:
                _check_content(checkpoint, path, loads)
            except CheckpointError as error:
                raise CheckpointError(f"{path} cannot be used. {error}") from error
            text = (
                f"The file {path} ({path.stat().st_size / 1e6:.1f} MB, SHA-256 {digest}) is not known. "
                "Only numbers are read from it, never code. Use it and remember the hash?"
            )
            _ask(confirm, checkpoint, text)
            try:
                checkpoint = self._record(checkpoint, path, digest)
            except RecordError as error:  # it was confirmed, so it may be used
                logger.warning("%s You will be asked about it again.", error)
        return CheckpointFile(replace(checkpoint, sha256=digest), path, digest)

    def open_saved(
        self,
        identifier: str,
        sha256: str | None,
        confirm: Confirm | None = None,
        loads: Loads | None = None,
    ) -> CheckpointFile:
        """The checked file that an earlier run used: the one with that hash, else the one of that id.

        The hash comes first, since an id of the user's own may have gone to another file since. Raises what `open`
        raises; the caller compares the hash of what was found by its id.
        """
        same = [known for known in self if known.sha256 is not None and known.sha256 == sha256]
        for checkpoint in sorted(same, key=lambda known: known.id != identifier):
            if self.path_of(checkpoint) is not None:
                with contextlib.suppress(
                    CheckpointError
                ):  # a file that was changed; another one may be right
                    return self.open(checkpoint)
        return self.open(identifier, confirm, loads)

    def _present(self, checkpoint: Checkpoint) -> Path:
        """The file of a checkpoint. Raises CheckpointError when it is not here."""
        path = self.path_of(checkpoint)
        if path is None:
            raise CheckpointError(_missing_sentence(checkpoint))
        return path

    def verify(self, checkpoint: Checkpoint) -> CheckpointFile:
        """Check the hash of a file on disk. Raises CheckpointError when it differs or is not known."""
        path = self._present(checkpoint)
        digest = self._digest(path)
        if checkpoint.sha256 is None:
            raise CheckpointError(f"The SHA-256 of {checkpoint.id} is not known; that of {path} is {digest}.")
        self._compare(checkpoint, path, digest)
        return CheckpointFile(checkpoint, path, digest)

    def download(
        self,
        checkpoint: Checkpoint,
        *,
        confirm: Confirm | None = None,
        loads: Loads | None = None,
        settings: DownloadSettings | None = None,
        progress: Progress | None = None,
        canceled: Callable[[], bool] | None = None,
    ) -> CheckpointFile:
        """Bring a checkpoint into the cache folder, unless it is on disk.

        Where no hash is known, `confirm` is asked before, and the hash is recorded only when the file is a checkpoint
        of plausible size that loads (with `loads`). Raises DownloadError, CheckpointError and Canceled.
        """
        sweep_parts(self.cache)
        if self.path_of(checkpoint) is not None:
            return self.open(checkpoint, confirm, loads)
        if checkpoint.url is None:
            raise CheckpointError(_missing_sentence(checkpoint))
        if checkpoint.sha256 is None:
            address = (settings or DownloadSettings.from_environment()).address_of(checkpoint.url)
            text = (
                f"No hash of {checkpoint.id} is published, so what {address} sends cannot be checked. "
                "Only its numbers are read, never code in it. Download it and remember its hash?"
            )
            _ask(confirm, checkpoint, text)
        path = self.cache / checkpoint.file
        expected = Expected(
            size=checkpoint.bytes,
            between=checkpoint.bytes_between or (1, MOST_BYTES),
            sha256=checkpoint.sha256,
            if_wrong=self._how_to_forget(checkpoint),
            check=None if checkpoint.sha256 else functools.partial(_check_content, checkpoint, loads=loads),
        )
        digest = download(
            checkpoint.url,
            path,
            expected,
            settings=settings,
            progress=progress,
            canceled=canceled,
        )
        if checkpoint.sha256 is None:
            self._recorded.confirm_checkpoint(checkpoint.id, digest)
        return CheckpointFile(replace(checkpoint, sha256=digest), path, digest)

    def add(self, path: str | os.PathLike[str], identifier: str | None = None) -> CheckpointFile:
        """Record a file of the user's under a name of its own, as confirmed now; it stays where it is.

        Raises CheckpointError when it is no checkpoint or the name is taken by the registry.
        """
        file = without_tilde(os.fspath(path)).absolute()
        if not file.is_file():
            raise CheckpointError(f"The checkpoint file {path} does not exist.")
        name = identifier or file.stem
        try:
            check_is_checkpoint(file)
        except CheckpointError as error:
            raise CheckpointError(f"{file} cannot be added. {error}") from error
        if any(checkpoint.id == name for checkpoint in self._entries):
            raise CheckpointError(
                f"The name {name!r} belongs to a checkpoint of the registry; choose another."
            )
        recorded = RecordedFile(name, file.stat().st_size, self._digest(file))
        self._recorded.confirm_file(file, recorded)
        return CheckpointFile(_own_file(file, recorded), file, recorded.sha256)

    def delete(self, checkpoint: Checkpoint, *, forget: bool = False) -> Path | None:
        """Delete a downloaded file, or what is left of a broken download; return the file, if there was one.

        A file the user added is only taken off the list. forget: drop the confirmed hash as well. Raises
        CheckpointError for the bundled checkpoint and for files of an offline folder.
        """
        if checkpoint.bundled:
            raise CheckpointError(f"{checkpoint.id} is bundled with MedSAMSlicer and is not deleted.")
        if checkpoint.path is not None:
            self._recorded.forget(checkpoint.id, checkpoint.path)
            return None
        path = self.cache / checkpoint.file
        present = self.path_of(checkpoint)
        if present not in (None, path):
            raise CheckpointError(
                f"{present} is in an offline folder, where nothing is deleted; delete it by hand."
            )
        try:
            for name in (path, path.with_name(path.name + ".part"), path.with_name(path.name + ".part.json")):
                name.unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be deleted: {error.strerror or error}.") from error
        if forget:
            self._recorded.forget(checkpoint.id)
        return present

    def _how_to_forget(self, checkpoint: Checkpoint) -> str:
        """The way to accept another file under an id whose hash the user has confirmed; empty for published hashes."""
        if checkpoint.path is not None or any(e.id == checkpoint.id and e.sha256 for e in self._entries):
            return ""
        return (
            "Its hash was that of the first download. To accept another file: "
            f"medsamslicer models delete {checkpoint.id} --forget, then download it again."
        )

    def _compare(self, checkpoint: Checkpoint, path: Path, digest: str) -> None:
        if digest != checkpoint.sha256:
            raise CheckpointError(
                f"{path} is not the expected file: its SHA-256 is {digest}, but that of {checkpoint.id} is "
                f"{checkpoint.sha256}. Delete and download it again, or add it again if you changed it yourself. "
                f"{self._how_to_forget(checkpoint)}".rstrip()
            )

    def _digest(self, path: Path) -> str:
        try:
            return sha256_of(path)
        except OSError as error:
            raise CheckpointError(
                f"The checkpoint {path} cannot be read: {error.strerror or error}."
            ) from error

    def _same_file(self, digest: str) -> Checkpoint | None:
        """The registry's checkpoint with that hash, wherever the file lies."""
        return next((known for known in self if known.path is None and known.sha256 == digest), None)

    def _record(self, checkpoint: Checkpoint, path: Path, digest: str) -> Checkpoint:
        """Remember the hash; returns the checkpoint under the id it is known by from now on."""
        if checkpoint.path is None:
            self._recorded.confirm_checkpoint(checkpoint.id, digest)
            return checkpoint
        taken = {known.id for known in self}
        name = checkpoint.id if checkpoint.id not in taken else f"{checkpoint.id}-{digest[:8]}"
        recorded = RecordedFile(name, path.stat().st_size, digest)
        self._recorded.confirm_file(path, recorded)
        return _own_file(path, recorded)


def _check_content(checkpoint: Checkpoint, path: Path, loads: Loads | None) -> None:
    """Raise CheckpointError unless a file of unknown hash is a checkpoint, of plausible size, that loads."""
    if checkpoint.bytes_between is not None and checkpoint.bytes is None:
        least, most = checkpoint.bytes_between
        size = path.stat().st_size
        if not least <= size <= most:
            raise CheckpointError(f"It has {size} bytes; {checkpoint.id} has {least} to {most}.")
    check_is_checkpoint(path)
    if loads is not None:
        loads(checkpoint, path)


def _own_file(path: Path, recorded: RecordedFile | None = None) -> Checkpoint:
    if recorded is None:
        return Checkpoint(id=path.stem, title=f"own file {path.name}", file=path.name, path=path)
    return Checkpoint(
        id=recorded.id,
        title=f"own file {path.name}",
        file=path.name,
        bytes=recorded.bytes,
        sha256=recorded.sha256,
        path=path,
    )


def _ask(confirm: Confirm | None, checkpoint: Checkpoint, text: str) -> None:
    if confirm is None or not confirm(Question(checkpoint, text)):
        raise CheckpointError(
            f"The checkpoint {checkpoint.path or checkpoint.id} was not confirmed, so it is not used."
        )


def _missing_sentence(checkpoint: Checkpoint) -> str:
    if checkpoint.bundled:
        return f"The bundled checkpoint {checkpoint.file} is missing; reinstall MedSAMSlicer."
    if checkpoint.path is not None:
        return f"The checkpoint file {checkpoint.path} no longer exists."
    size = f", {checkpoint.bytes / 1e6:.0f} MB" if checkpoint.bytes else ""
    if checkpoint.source:
        return (
            f"The checkpoint {checkpoint.id} has no address for programs: get {checkpoint.file} from "
            f"{checkpoint.source} and name the file itself, or put it into the folder of checkpoints."
        )
    return (
        f"The checkpoint {checkpoint.id} is not on this computer ({checkpoint.license}{size}); "
        f"download it first: medsamslicer models download {checkpoint.id}"
    )
