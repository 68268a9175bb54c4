"""Checkpoints over HTTP: temporary file beside the target, resumed after a cut, hashed, then moved.

Only the standard library. The order (temporary file, hash, move; a wrong hash deletes) is that of pooch.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import logging
import os
import shutil
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import Canceled, DownloadError, MedSAMError
from .connection import SLOWEST_BYTES_PER_S, Answer, Interrupted, answer_to
from .file_lock import exclusive
from .partial import PartialFile

logger = logging.getLogger(__name__)

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes on disk so far and the bytes in all (None where the server sends no length)."""

MOST_BYTES = 4_000_000_000
"""The largest checkpoint that is downloaded when its size is not known."""

_DISK_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


@dataclass(frozen=True)
class DownloadSettings:
    """The settings by which the server is reached.

    mirror: address of a folder with the same files; it takes the place of everything before the file name.
    proxy: address of an HTTP proxy; None leaves it to HTTPS_PROXY, NO_PROXY or the system's setting.
    timeout_s: seconds for the connection and the headers; also the time over which fewer than 1,000 bytes a second
        count as a connection that broke.
    attempts: how many connections in a row may break without bringing as much as the slowest accepted one would.
    pause_s: seconds before the second attempt, doubled each time, at most 30.
    """

    mirror: str | None = None
    proxy: str | None = None
    timeout_s: float = 20.0
    attempts: int = 5
    pause_s: float = 1.0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> DownloadSettings:
        """Settings from MEDSAMSLICER_MIRROR and MEDSAMSLICER_PROXY."""
        return cls(mirror=environ.get("MEDSAMSLICER_MIRROR"), proxy=environ.get("MEDSAMSLICER_PROXY"))

    def address_of(self, url: str) -> str:
        """The address to ask for `url`: itself, or the file of that name on the mirror.

        Raises DownloadError when it cannot be read or is neither http nor https.
        """
        address = url
        try:
            if self.mirror:
                name = urllib.parse.urlsplit(url).path.rsplit("/", 1)[-1]
                address = f"{self.mirror.rstrip('/')}/{name}"
            parts = urllib.parse.urlsplit(address)
            known, server = parts.scheme in ("http", "https"), parts.hostname
            _ = parts.port  # reading it checks it
        except ValueError as error:
            raise DownloadError(f"{address} is not a valid address: {error}.") from error
        if not known:
            raise DownloadError(f"{address} is not an http or https address.")
        if not server or any(letter.isspace() or not letter.isprintable() for letter in address):
            raise DownloadError(f"{address!r} is not a valid address: it names no server or contains spaces.")
        return address

    def pause(self, failures: int) -> float:
        """Seconds to wait after that many failures in a row."""
        return float(min(self.pause_s * 2 ** (failures - 1), 30.0))


@dataclass(frozen=True)
class Expected:
    """The properties that a file must have.

    size: bytes; None = not known. between: least and most bytes when the size is not known.
    sha256: in hexadecimal, None = not known.
    if_wrong: a sentence for a file of another hash, such as how to accept it.
    check: called with the complete file before it takes its place; raises MedSAMError when it is not what it
        should be. It is deleted then.
    """

    size: int | None = None
    between: tuple[int, int] = (1, MOST_BYTES)
    sha256: str | None = None
    if_wrong: str = ""
    check: Callable[[Path], None] | None = None

    @property
    def most(self) -> int:
        """More bytes are not received."""
        return self.between[1] if self.size is None else self.size

    def refusal(self, size: int) -> str:
        """The reason why a file of `size` bytes is not the right one; empty when it may be."""
        if self.size is not None:
            return "" if size == self.size else f"this checkpoint has {self.size}"
        least, most = self.between
        return "" if least <= size <= most else f"this checkpoint has {least} to {most}"


def sha256_of(path: Path, canceled: Callable[[], bool] | None = None) -> str:
    """SHA-256 of a file in hexadecimal. Raises OSError, and Canceled when `canceled()` turns true."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            _check(canceled)
            digest.update(block)
    return digest.hexdigest()


def download(
    url: str,
    target: Path,
    expected: Expected | None = None,
    *,
    settings: DownloadSettings | None = None,
    progress: Progress | None = None,
    canceled: Callable[[], bool] | None = None,
) -> str:
    """Bring `url` to `target` and return its SHA-256.

    A file already there and right is kept. A download that was cut or canceled goes on where it stopped the
    next time, unless the server's file has changed. Of two programs that ask for one file the second waits.

    Raises DownloadError (server, connection, space, folder, wrong size, hash or content), Canceled, and what
    the check of `expected` raises.
    """
    settings = settings or DownloadSettings.from_environment()
    expected = expected or Expected()
    address = settings.address_of(url)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f"The folder {target.parent} cannot be created: {error.strerror or error}."
        ) from error
    with exclusive(target.with_name(f".{target.name}.lock"), canceled):
        if (present := _present(target, expected, canceled)) is not None:
            return present
        part = PartialFile.beside(target, address)
        transfer = _Transfer(address, part, expected, settings, progress, canceled)
        try:
            transfer.fetch()
            return _finish(address, part, target, expected, canceled)
        except OSError as error:
            raise _disk_error(error, part, expected.size) from error


def _present(target: Path, expected: Expected, canceled: Callable[[], bool] | None) -> str | None:
    """SHA-256 of a target that is already there and right, else None."""
    if not target.is_file() or expected.refusal(target.stat().st_size):
        return None
    digest = sha256_of(target, canceled)
    return digest if expected.sha256 in (None, digest) else None


@dataclass(frozen=True)
class _Transfer:
    """Fills the partial file."""

    address: str
    part: PartialFile
    expected: Expected
    settings: DownloadSettings
    progress: Progress | None
    canceled: Callable[[], bool] | None

    def fetch(self) -> None:
        """Ask again after each broken connection, until too many in a row have brought next to nothing."""
        part, settings = self.part, self.settings
        failures, furthest = 0, part.received
        worth_it = SLOWEST_BYTES_PER_S * settings.timeout_s
        while self.expected.size is None or part.received != self.expected.size:
            _check(self.canceled)
            try:
                self._transfer()
                return
            except Interrupted as broken:
                if broken.status == 416:
                    part.delete()
                failures = 1 if part.received >= furthest + worth_it else failures + 1
                furthest = max(furthest, part.received)
                if failures >= settings.attempts:
                    raise DownloadError(
                        f"The download from {self.address} failed {failures} times in a row: {broken}. "
                        f"{part.received} bytes are kept; the next attempt continues from there."
                    ) from broken
                logger.info("%s: %s; trying again", self.address, broken)
                _sleep(settings.pause(failures), self.canceled)

    def _transfer(self) -> None:
        """One connection: ask for what is missing and append it. Raises Interrupted when it ended early."""
        part, settings = self.part, self.settings
        ranges = part.range_headers(self.expected.sha256 is not None)
        headers = {"User-Agent": "MedSAMSlicer", "Accept-Encoding": "identity", **ranges}
        request = urllib.request.Request(self.address, headers=headers)
        check = functools.partial(_check, self.canceled)
        with answer_to(request, settings.proxy, settings.timeout_s, check) as answer:
            total = self._begin(answer, bool(ranges))
            _check_space(part, total)
            with part.append() as file:
                try:
                    received = self._report(part.received, total)
                    for block in answer.blocks(check, settings.timeout_s):
                        file.write(block)
                        received = self._report(received + len(block), total)
                        if received > (self.expected.most if total is None else total):
                            break
                        check()
                finally:
                    file.flush()
                    os.fsync(file.fileno())
        if total is not None and received < total:
            raise Interrupted(f"the connection was cut after {received} of {total} bytes")
        if total is not None and received > total and self.expected.size is None:
            part.delete()
            raise Interrupted(f"the server sent more than the {total} bytes that it had announced")

    def _report(self, received: int, total: int | None) -> int:
        if self.progress is not None:
            self.progress(received, total)
        return received

    def _begin(self, answer: Answer, asked_for_rest: bool) -> int | None:
        """Read the answer's headers, empty the partial file unless it goes on; return the bytes in all."""
        part, headers = self.part, answer.headers
        if headers.get_content_type() == "text/html":
            raise DownloadError(
                f"{self.address} answered with a web page instead of a file (from a proxy or a login?)."
            )
        if (coding := headers.get("Content-Encoding", "identity").strip().lower()) not in ("", "identity"):
            raise DownloadError(
                f"{self.address} sends the file compressed ({coding}), which was not requested (by a proxy?)."
            )
        if answer.status not in (200, 206):
            raise DownloadError(f"{self.address} answered {answer.status} instead of sending a file.")
        if answer.status == 206:
            first, total = _content_range(headers.get("Content-Range", ""))
            if first != part.received or not asked_for_rest:
                part.delete()
                raise Interrupted(f"the server did not continue the file from byte {part.received}")
            if part.is_of_another_file(headers, total):
                part.delete()
                raise Interrupted("the file on the server has changed; starting again")
        else:
            total = _number(headers.get("Content-Length", ""))
            part.start(headers, total)
        if total is not None and (refusal := self.expected.refusal(total)):
            part.delete()
            raise DownloadError(f"{self.address} offers {total} bytes, but {refusal}: not the same file.")
        return total if total is not None else self.expected.size


def _content_range(value: str) -> tuple[int, int | None]:
    """First byte and length in all of a Content-Range header such as `bytes 100-199/200`."""
    unit, _, rest = value.partition(" ")
    span, _, total = rest.partition("/")
    first = _number(span.partition("-")[0])
    return (-1, None) if unit != "bytes" or first is None else (first, _number(total))


def _number(text: str) -> int | None:
    """A header's number; None for anything else, such as `²` or a thousand digits."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def _finish(
    address: str,
    part: PartialFile,
    target: Path,
    expected: Expected,
    canceled: Callable[[], bool] | None,
) -> str:
    """Check size, hash and content, then move. A wrong file is deleted."""
    if refusal := expected.refusal(part.received):
        received = part.received
        part.delete()
        raise DownloadError(f"{address} sent {received} bytes, but {refusal}; the file was deleted.")
    digest = sha256_of(part.path, canceled)
    if expected.sha256 is not None and digest != expected.sha256.lower():
        part.delete()
        raise DownloadError(
            f"{address} sent a file with the wrong SHA-256, {digest} instead of {expected.sha256}; it was deleted."
            f" {expected.if_wrong}".rstrip()
        )
    if expected.check is not None:
        try:
            expected.check(part.path)
        except MedSAMError as error:
            part.delete()
            raise DownloadError(f"{address} sent no usable checkpoint: {error} It was deleted.") from error
    os.replace(part.path, target)
    part.delete()
    return digest


def _check_space(part: PartialFile, total: int | None) -> None:
    if total is None:
        return
    free, missing = shutil.disk_usage(part.path.parent).free, total - part.received
    if free < missing:
        folder = part.path.parent
        raise DownloadError(
            f"The folder {folder} has only {_megabytes(free)} free, but {_megabytes(missing)} more are needed."
        )


def _disk_error(error: OSError, part: PartialFile, size: int | None) -> DownloadError:
    """Return what to say about a failed write. A full disk is not left full."""
    if error.errno in _DISK_FULL:
        part.delete()
        need = f"{_megabytes(size)} are needed" if size is not None else "more is needed"
        return DownloadError(f"The folder {part.path.parent} is full; {need}. The partial file was deleted.")
    return DownloadError(f"The folder {part.path.parent} cannot be written: {error.strerror or error}.")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _sleep(seconds: float, canceled: Callable[[], bool] | None) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        _check(canceled)
        time.sleep(min(left, 0.1))


def _check(canceled: Callable[[], bool] | None) -> None:
    if canceled is not None and canceled():
        raise Canceled("The download was canceled; what was received is kept for the next attempt.")
