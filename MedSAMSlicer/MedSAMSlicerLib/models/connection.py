"""One HTTP answer that can be canceled at any moment and that ends when the server becomes too slow.

The sockets belong to a thread of their own; the caller only waits for what that thread delivers, a tenth of a second at
a time. So neither a slow name server nor a server that sends one byte a second, in headers or in the body, keeps a
canceled download alive.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import queue
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator
from email.message import Message
from typing import IO, Any

from ..core.errors import DownloadError

_CHUNK = 1 << 18
_POLL_S = 0.1
_BLOCKS_AHEAD = 8
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
SLOWEST_BYTES_PER_S = 1000

Check = Callable[[], None]
"""Called often; raises Canceled to end the download."""


class Interrupted(Exception):
    """The connection ended early or was too slow; what has arrived is kept and the rest can be asked for.

    status: the HTTP status of an answer that is worth another attempt, else None.
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class Answer:
    """A successful answer: status, headers, and the blocks of its body."""

    def __init__(self, link: _Link, status: int, headers: Message) -> None:
        self._link = link
        self.status, self.headers = status, headers

    def blocks(self, check: Check, timeout_s: float) -> Iterator[bytes]:
        """The body in blocks of at most 256 KiB.

        Raises what `check` raises, and Interrupted when the connection breaks or when fewer than
        SLOWEST_BYTES_PER_S arrive on the average of `timeout_s` seconds.
        """
        pace = _Pace(timeout_s)
        while True:
            item = self._link.next_item(check, pace.deadline())
            if item is None:
                raise Interrupted(f"the server sent only {pace.recent} bytes in {timeout_s:g} s")
            if isinstance(item, Exception):
                raise _interrupted(item) from item
            assert isinstance(item, bytes)
            if not item:
                return
            pace.count(len(item))
            yield item


@contextlib.contextmanager
def answer_to(
    request: urllib.request.Request, proxy: str | None, timeout_s: float, check: Check
) -> Iterator[Answer]:
    """Ask a server and yield its answer once the headers have arrived.

    Args:
        request: what to ask for.
        proxy: address of an HTTP proxy; None leaves it to the environment.
        timeout_s: seconds for the connection and the headers together.
        check: called ten times a second while waiting.

    Raises:
        DownloadError: for an answer or an address that another attempt would not change.
        Interrupted: for everything that is worth another attempt.
    """
    link = _Link(request, proxy, timeout_s)
    try:
        first = link.next_item(check, time.monotonic() + timeout_s)
        if first is None:
            raise Interrupted(f"the server sent no complete answer within {timeout_s:g} s")
        if isinstance(first, Exception):
            raise _failure(request.full_url, first) from first
        assert isinstance(first, tuple)
        status, headers = first
        yield Answer(link, status, headers)
    finally:
        link.abort()


class _Link:
    """The thread that owns the connection, and the queue of what it has received.

    Items: first (status, headers), then blocks of bytes, at last b"" or the exception that ended it.
    """

    def __init__(self, request: urllib.request.Request, proxy: str | None, timeout_s: float) -> None:
        self._items: queue.Queue[tuple[int, Message] | bytes | Exception] = queue.Queue(_BLOCKS_AHEAD)
        self._ended = threading.Event()
        self._connections: list[_Connection] = []
        arguments = (request, proxy, timeout_s)
        threading.Thread(target=self._run, args=arguments, name="HTTP answer", daemon=True).start()

    def next_item(self, check: Check, deadline: float) -> tuple[int, Message] | bytes | Exception | None:
        """Return what came next; None when nothing came until `deadline` of the monotonic clock."""
        while True:
            check()
            try:
                return self._items.get(timeout=min(_POLL_S, max(deadline - time.monotonic(), 0.01)))
            except queue.Empty:
                if time.monotonic() >= deadline:
                    return None

    def keep(self, connection: _Connection) -> None:
        """Remember a connection, so that it can be shut down from another thread."""
        self._connections.append(connection)

    def abort(self) -> None:
        """Wake the thread wherever it waits; it then ends by itself."""
        self._ended.set()
        for connection in self._connections:
            for one in (connection.kept, connection.sock):
                if one is not None:
                    with contextlib.suppress(OSError):
                        socket.socket.shutdown(one, socket.SHUT_RDWR)

    def _run(self, request: urllib.request.Request, proxy: str | None, timeout_s: float) -> None:
        try:
            handlers: list[urllib.request.BaseHandler] = [_Redirects(), _Http(self), _Https(self)]
            if proxy:
                handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
            opener = urllib.request.build_opener(*handlers)
            with opener.open(request, timeout=timeout_s) as response:
                self._put((response.status, response.headers))
                while not self._ended.is_set():
                    block = response.read1(_CHUNK)
                    self._put(block)
                    if not block:
                        return
        # ValueError: addresses that Python cannot read; all others are of the network.
        except (OSError, http.client.HTTPException, ValueError, DownloadError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            self._put(error)

    def _put(self, item: tuple[int, Message] | bytes | Exception) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(queue.Full):
                self._items.put(item, timeout=_POLL_S)
                return


class _Connection(http.client.HTTPConnection):
    """A connection whose socket stays reachable while its answer is read."""

    def __init__(self, host: str, *, link: _Link, **options: Any) -> None:
        super().__init__(host, **options)
        self.kept: socket.socket | None = None
        link.keep(self)

    def connect(self) -> None:
        """Connect and remember the socket."""
        super().connect()
        self.kept = self.sock


class _SecureConnection(_Connection, http.client.HTTPSConnection):
    """The same over TLS."""


class _Http(urllib.request.HTTPHandler):
    def __init__(self, link: _Link) -> None:
        super().__init__()
        self._link = link

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_Connection, link=self._link), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, link: _Link) -> None:
        super().__init__()
        self._link = link

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_SecureConnection, link=self._link), req)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects within one scheme only: never from https to http, never to ftp."""

    def http_error_302(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
    ) -> Any:
        """Follow a redirect; the answer that brought it is closed when it cannot be followed."""
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except BaseException:
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme != req.type:
            raise DownloadError(
                f"{req.full_url} redirects to {newurl}, from {req.type} to {scheme or 'no scheme'}; not followed."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Pace:
    """Bytes within the last `window_s` seconds, and until when more must come."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._least = SLOWEST_BYTES_PER_S * window_s
        self._start = time.monotonic()
        self._arrived: deque[tuple[float, int]] = deque()
        self.recent = 0

    def count(self, size: int) -> None:
        self._arrived.append((time.monotonic(), size))
        self.recent += size

    def deadline(self) -> float:
        """The moment at which, without another byte, fewer than the least were received within the window."""
        now = time.monotonic()
        self._forget_before(now - self._window_s)
        left, moment = self.recent, now - self._window_s
        for when, size in self._arrived:
            if left < self._least:
                break
            left, moment = left - size, when
        return max(moment, self._start) + self._window_s

    def _forget_before(self, moment: float) -> None:
        while self._arrived and self._arrived[0][0] < moment:
            self.recent -= self._arrived.popleft()[1]


def _interrupted(error: Exception) -> Exception:
    """Return what a failure while the body is read means to the caller."""
    return Interrupted(str(error) or type(error).__name__)


def _failure(address: str, error: Exception) -> Exception:
    """Return what a failure before the body means to the caller."""
    if isinstance(error, DownloadError):
        return error
    if isinstance(error, urllib.error.HTTPError):
        answered = f"the server answered {error.code} {error.reason}"
        if error.code == 416 or error.code in _TRY_AGAIN:
            return Interrupted(answered, error.code)
        if error.code in _REDIRECTS:
            return DownloadError(
                f"{address}: the server redirects without end, or to an address that is not http or https."
            )
        return DownloadError(f"{address}: {answered}.")
    if isinstance(error, http.client.InvalidURL | ValueError):
        return DownloadError(f"{address}: the address, or one that it leads to, cannot be read ({error}).")
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return DownloadError(f"{address}: the server's certificate is not trusted ({reason}).")
    if isinstance(reason, socket.gaierror):
        host = urllib.parse.urlsplit(address).hostname
        return DownloadError(
            f"{address}: the server {host!r} was not found (no network, or a proxy that is not set?). "
            "Without a network, put the file into the offline folder."
        )
    return Interrupted(str(reason) or type(reason).__name__)
