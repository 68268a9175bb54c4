"""What the server refuses before Gradio sees it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="Gradio is not installed: pip install '.[web]'")

from MedSAMSlicerLib.web.doorkeeper import Doorkeeper
from MedSAMSlicerLib.web.limits import Limits
from MedSAMSlicerLib.web.store import SessionStore, private_root


class Answered:
    """What a request is answered: the status, 200 where the server itself got it."""

    def __init__(self, store: SessionStore, path: str, **headers: str) -> None:
        self.status, self.text = 0, b""
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "path": path, "method": "POST", "headers": named}
        asyncio.run(Doorkeeper(self._server, store)(scope, self._receive, self._send))  # type: ignore[arg-type]

    async def _server(self, scope: Any, receive: Any, send: Any) -> None:
        self.status = 200

    async def _receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: dict[str, Any]) -> None:
        self.status = message.get("status", self.status)
        self.text += message.get("body", b"")


def test_a_server_that_is_full_takes_no_more_files(tmp_path: Path) -> None:
    store = SessionStore(private_root(tmp_path), limits=Limits(stored_bytes=10_000))
    assert Answered(store, "/gradio_api/upload").status == 200
    much = store.root / "much"
    much.write_bytes(bytes(20_000))
    refused = Answered(store, "/gradio_api/upload")
    assert (refused.status, refused.text) == (507, b"This server holds as much as it takes: try again later.")
    assert Answered(store, "/gradio_api/run/export").status == 200
    much.unlink()
    assert Answered(store, "/gradio_api/upload").status == 200
    store.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "lab:7860"}, 200),
        ({"host": "lab:7860", "origin": "http://lab:7860"}, 200),
        ({"host": "upstream", "x_forwarded_host": "lab.example", "origin": "https://lab.example"}, 200),
        ({"host": "lab:7860", "origin": "http://elsewhere"}, 403),
        ({"host": "lab:7860", "origin": "null"}, 403),
        ({"host": "lab:7860", "origin": ""}, 403),
    ],
)
def test_a_page_from_elsewhere_is_refused(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    store = SessionStore(private_root(tmp_path))
    assert Answered(store, "/gradio_api/upload", **headers).status == status
    store.close()
