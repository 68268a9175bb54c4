"""Checkpoints over HTTP: temporary file beside the target, resumed after a cut, hashed, then moved.

Only the standard library. The order (temporary file, hash, move; a wrong hash deletes) is that of pooch.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import logging
import os
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..core.errors import Cancelled, DownloadError
from .file_lock import exclusive
from .partial import PartialFile

logger = logging.getLogger(__name__)

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes on disk so far and the bytes in all (None while the server has not said)."""

_CHUNK = 1 << 18
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_DISK_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


@dataclass(frozen=True)
class DownloadSettings:
    """How to reach the server.

    mirror: address of a folder with the same files; it takes the place of everything before the file name.
    proxy: address of an HTTP proxy; None leaves it to HTTPS_PROXY, NO_PROXY or the system's setting.
    timeout_s: seconds without a byte after which the connection counts as cut.
    attempts: how often in a row a connection may be cut without bringing anything new.
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

        Raises DownloadError when it is neither http nor https.
        """
        address = url
        if self.mirror:
            name = urllib.parse.urlsplit(url).path.rsplit("/", 1)[-1]
            address = f"{self.mirror.rstrip('/')}/{name}"
        if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
            raise DownloadError(f"{address} is not an http or https address.")
        return address

    def pause(self, failures: int) -> float:
        """Seconds to wait after that many failures in a row."""
        return float(min(self.pause_s * 2 ** (failures - 1), 30.0))


class _Cut(Exception):
    """The connection ended early; what has arrived is kept and the rest can be asked for."""


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to something weaker."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.type == "https" and urllib.parse.urlsplit(newurl).scheme != "https":
            raise DownloadError(
                f"{req.full_url} redirects to the unprotected address {newurl}; not followed."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def sha256_of(path: Path, cancelled: Callable[[], bool] | None = None) -> str:
    """SHA-256 of a file in hexadecimal. Raises OSError, and Cancelled when `cancelled()` turns true."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            _check(cancelled)
            digest.update(block)
    return digest.hexdigest()


def download(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    settings: DownloadSettings | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> str:
    """Bring `url` to `target` and return its SHA-256.

    size, sha256: what the file must have, in bytes and hexadecimal; None = not known.
    A file already there and right is kept. A download that was cut or cancelled goes on where it stopped the
    next time, unless the server's file has changed. Of two programs that ask for one file the second waits.

    Raises DownloadError (server, connection, space, folder, wrong size or hash) and Cancelled.
    """
    settings = settings or DownloadSettings.from_environment()
    address = settings.address_of(url)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f"The folder {target.parent} cannot be made: {error.strerror or error}."
        ) from error
    with exclusive(target.with_name(f".{target.name}.lock"), cancelled):
        if (present := _present(target, size, sha256, cancelled)) is not None:
            return present
        part = PartialFile.beside(target, address)
        try:
            _fetch(address, part, size, sha256 is not None, settings, progress, cancelled)
            return _finish(address, part, target, size, sha256, cancelled)
        except OSError as error:
            raise _disk_error(error, part, size) from error


def _present(
    target: Path, size: int | None, sha256: str | None, cancelled: Callable[[], bool] | None
) -> str | None:
    """SHA-256 of a target that is already there and right, else None."""
    if not target.is_file() or (size is not None and target.stat().st_size != size):
        return None
    digest = sha256_of(target, cancelled)
    return digest if sha256 in (None, digest) else None


def _fetch(
    address: str,
    part: PartialFile,
    size: int | None,
    hash_known: bool,
    settings: DownloadSettings,
    progress: Progress | None,
    cancelled: Callable[[], bool] | None,
) -> None:
    """Fill the partial file, asking again after each cut until nothing new comes."""
    failures, furthest = 0, part.received
    while size is None or part.received != size:
        _check(cancelled)
        try:
            _transfer(address, part, size, hash_known, settings, progress, cancelled)
            return
        except _Cut as cut:
            failures = 1 if part.received > furthest else failures + 1
            furthest = max(furthest, part.received)
            if failures >= settings.attempts:
                raise DownloadError(
                    f"The download from {address} failed {failures} times in a row: {cut}. "
                    f"{part.received} bytes are kept; the next attempt goes on from there."
                ) from cut
            logger.info("%s: %s; trying again", address, cut)
            _sleep(settings.pause(failures), cancelled)


def _transfer(
    address: str,
    part: PartialFile,
    size: int | None,
    hash_known: bool,
    settings: DownloadSettings,
    progress: Progress | None,
    cancelled: Callable[[], bool] | None,
) -> None:
    """One connection: ask for what is missing and append it. Raises _Cut when it ended early."""
    headers = {"User-Agent": "MedSAMSlicer", "Accept-Encoding": "identity", **part.range_headers(hash_known)}
    with _open(urllib.request.Request(address, headers=headers), part, settings) as response:
        total = _begin(address, response, part, size)
        _check_space(part, total)
        with part.append() as file:
            received = part.received
            if progress is not None:
                progress(received, total)
            while block := _read(response):
                file.write(block)
                received += len(block)
                if total is not None and received > total:
                    break
                if progress is not None:
                    progress(received, total)
                _check(cancelled)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and received < total:
        raise _Cut(f"the connection was cut after {received} of {total} bytes")


def _begin(
    address: str, response: http.client.HTTPResponse, part: PartialFile, size: int | None
) -> int | None:
    """Read the answer's headers, empty the partial file unless it goes on; return the bytes in all."""
    if response.headers.get_content_type() == "text/html":
        raise DownloadError(
            f"{address} answered with a web page instead of a file (a proxy's or a login page?)."
        )
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdigit() else None
    if response.status == 206:
        first, total = _content_range(response.headers.get("Content-Range", ""))
        if first != part.received:
            part.delete()
            raise _Cut(f"the server sent another part of the file than byte {part.received} onward")
    else:
        part.start(response.headers)
    if size is not None and total is not None and total != size:
        part.delete()
        raise DownloadError(
            f"{address} offers {total} bytes, but this checkpoint has {size}: not the same file."
        )
    return total if total is not None else size


def _content_range(value: str) -> tuple[int, int | None]:
    """First byte and length in all of a Content-Range header such as `bytes 100-199/200`."""
    unit, _, rest = value.partition(" ")
    span, _, total = rest.partition("/")
    first = span.partition("-")[0]
    if unit != "bytes" or not first.isdigit():
        return -1, None
    return int(first), int(total) if total.isdigit() else None


def _open(
    request: urllib.request.Request, part: PartialFile, settings: DownloadSettings
) -> http.client.HTTPResponse:
    handlers: list[urllib.request.BaseHandler] = [_SafeRedirects()]
    if settings.proxy:
        handlers.append(urllib.request.ProxyHandler({"http": settings.proxy, "https": settings.proxy}))
    opener = urllib.request.build_opener(*handlers)
    address = request.full_url
    try:
        response: http.client.HTTPResponse = opener.open(request, timeout=settings.timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:
                part.delete()
            if error.code == 416 or error.code in _TRY_AGAIN:
                raise _Cut(f"the server answered {error.code} {error.reason}") from error
            raise DownloadError(f"{address}: the server answered {error.code} {error.reason}.") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise DownloadError(
                f"{address}: the server's certificate is not trusted ({error.reason})."
            ) from error
        if isinstance(error.reason, socket.gaierror):
            host = urllib.parse.urlsplit(address).hostname
            raise DownloadError(
                f"{address}: no such server as {host!r} is known (no network? a proxy to set?). "
                "Without a network, put the file into the offline folder."
            ) from error
        raise _Cut(str(error.reason)) from error
    except (http.client.HTTPException, OSError) as error:
        raise _Cut(str(error) or type(error).__name__) from error
    return response


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK)
    except (http.client.HTTPException, OSError) as error:
        raise _Cut(str(error) or type(error).__name__) from error


def _finish(
    address: str,
    part: PartialFile,
    target: Path,
    size: int | None,
    sha256: str | None,
    cancelled: Callable[[], bool] | None,
) -> str:
    """Check size and hash, then move. A wrong file is deleted."""
    if size is not None and part.received != size:
        received = part.received
        part.delete()
        raise DownloadError(f"{address} gave {received} bytes instead of {size}; the file was deleted.")
    digest = sha256_of(part.path, cancelled)
    if sha256 is not None and digest != sha256.lower():
        part.delete()
        raise DownloadError(
            f"{address} gave a file with the wrong SHA-256, {digest} instead of {sha256}; it was deleted."
        )
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
            f"The folder {folder} has {_megabytes(free)} free, but {_megabytes(missing)} more are needed."
        )


def _disk_error(error: OSError, part: PartialFile, size: int | None) -> DownloadError:
    """What to say about a failed write. A full disk is not left full."""
    if error.errno in _DISK_FULL:
        part.delete()
        need = f"{_megabytes(size)} are needed" if size is not None else "more is needed"
        return DownloadError(f"The folder {part.path.parent} is full; {need}. The partial file was deleted.")
    return DownloadError(f"The folder {part.path.parent} cannot be written: {error.strerror or error}.")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _sleep(seconds: float, cancelled: Callable[[], bool] | None) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        _check(cancelled)
        time.sleep(min(left, 0.1))


def _check(cancelled: Callable[[], bool] | None) -> None:
    if cancelled is not None and cancelled():
        raise Cancelled("The download was cancelled; what has arrived is kept for the next attempt.")
