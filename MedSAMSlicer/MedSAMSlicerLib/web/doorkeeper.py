"""The requests that the server refuses: pages from elsewhere, requests without the password, files beyond the limits.

ASGI middleware, which knows nothing of Gradio.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from .store import SessionStore

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]


class Doorkeeper:
    """Takes nothing that a page from elsewhere sends, and no file beyond what the server may hold.

    A browser names the host of a page in the header Origin. Who breaks an upload off is no fault to log.
    """

    def __init__(self, app: App, store: SessionStore) -> None:
        self._app, self._store = app, store

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Let a request through, or answer it."""
        refusal = await self._refusal(scope) if scope["type"] == "http" else None
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        with contextlib.suppress(ClientDisconnect):
            await self._app(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Response | None:
        if self._is_from_elsewhere(Headers(scope=scope)):
            text = "This server takes nothing from pages of others; behind a proxy, hand the header Host on."
            return Response(text, status_code=403)
        if scope["path"].endswith("/upload"):
            stored = await run_in_threadpool(lambda: self._store.stored_bytes)
            if stored > self._store.limits.stored_bytes:
                return Response("This server holds as much as it takes: try again later.", status_code=507)
        return None

    @staticmethod
    def _is_from_elsewhere(headers: Headers) -> bool:
        """Return whether a page sent it under another host than the one that was asked; a proxy names that host."""
        origin = headers.get("origin")
        return origin is not None and urlsplit(origin).netloc not in (
            headers.get("host"),
            headers.get("x-forwarded-host"),
        )


class DemandPassword:
    """Lets nobody in without user and password (HTTP Basic), whatever is asked for."""

    def __init__(self, app: App, user: str, password: str) -> None:
        self._app = app
        self._wanted = b"Basic " + base64.b64encode(f"{user}:{password}".encode())

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Let a request through, or ask for the password."""
        if scope["type"] == "lifespan" or self._is_known(scope):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {"WWW-Authenticate": 'Basic realm="MedSAMSlicer", charset="UTF-8"'}
        response = Response("A user name and a password are needed.", status_code=401, headers=headers)
        await response(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(given, self._wanted)
