"""A real HTTP server on this computer that misbehaves as asked."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """Serves `content` under any path. The attributes say how the next answers go wrong."""

    content: bytes = b""
    etag: str | None = '"first"'
    last_modified: str | None = None
    ranges: bool = True
    sends_length: bool = True
    content_type: str = "application/octet-stream"
    content_encoding: str | None = None
    content_length: str | None = None  # instead of the true one
    heeds_if_range: bool = True
    cuts: list[int] = field(default_factory=list)  # bytes to send before cutting, one entry a request
    statuses: list[int] = field(default_factory=list)  # answers instead of the file, one entry a request
    redirects: dict[str, str] = field(default_factory=dict)
    stalls: list[float] = field(default_factory=list)  # seconds of silence in mid-file, one entry a request
    chunk_pause_s: float = 0.0
    chunk_bytes: int = 4096
    header_pause_s: float = 0.0  # after each byte of the headers
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    address: str = ""

    def url(self, name: str = "weights.pt") -> str:
        return f"{self.address}/{name}"

    def ranges_asked(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.requests]


class _Handler(BaseHTTPRequestHandler):
    files: FileServer

    def do_GET(self) -> None:
        server = self.files
        server.requests.append((self.path, dict(self.headers)))
        if self.path in server.redirects:
            self.send_response(302)
            self.send_header("Location", server.redirects[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if server.statuses and (status := server.statuses.pop(0)) != 200:
            self.send_error(status)
            return
        first = self._first_byte()
        if first >= len(server.content) > 0:
            self.send_error(416)
            return
        self._send_headers(first)
        self._send_body(server.content[first:])

    def _first_byte(self) -> int:
        server, asked = self.files, self.headers.get("Range")
        if not asked or not server.ranges:
            return 0
        condition = self.headers.get("If-Range")
        if server.heeds_if_range and condition and condition not in (server.etag, server.last_modified):
            return 0
        return int(asked.removeprefix("bytes=").rstrip("-"))

    def _send_headers(self, first: int) -> None:
        server = self.files
        total = len(server.content)
        self.send_response(206 if first else 200)
        self.send_header("Content-Type", server.content_type)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        if server.content_length is not None:
            self.send_header("Content-Length", server.content_length)
        elif server.sends_length:
            self.send_header("Content-Length", str(total - first))
        if server.content_encoding:
            self.send_header("Content-Encoding", server.content_encoding)
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.last_modified:
            self.send_header("Last-Modified", server.last_modified)
        if server.header_pause_s:
            self._drip_headers(server.header_pause_s)
        self.end_headers()

    def _drip_headers(self, pause_s: float) -> None:
        """Send another header that never ends, byte by byte, until the client has gone."""
        self.flush_headers()
        try:
            for _ in range(1000):
                self.wfile.write(b"X")
                time.sleep(pause_s)
        except OSError:
            self.close_connection = True

    def _send_body(self, body: bytes) -> None:
        server = self.files
        end = server.cuts.pop(0) if server.cuts else len(body)
        stall = server.stalls.pop(0) if server.stalls else 0.0
        for start in range(0, min(end, len(body)), server.chunk_bytes):
            try:
                self.wfile.write(body[start : min(start + server.chunk_bytes, end)])
                self.wfile.flush()
            except OSError:  # the client has gone
                return
            if server.chunk_pause_s:
                time.sleep(server.chunk_pause_s)
            if stall:
                time.sleep(stall)
                stall = 0.0
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        """Silence."""


@contextlib.contextmanager
def running_server() -> Iterator[FileServer]:
    """A server on a free port for the length of a `with` block."""
    files = FileServer(content=bytes(range(256)) * 400)  # 102,400 bytes
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"files": files}))
    files.address = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield files
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
