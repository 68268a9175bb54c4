"""The server: the page, the API of `endpoints.py`, and slices, masks and surfaces as bytes for the page.

Everything goes over one port. Nothing of the data is logged, nothing is fetched from elsewhere, nothing is shared.
"""

from __future__ import annotations

import asyncio
import inspect
import ipaddress
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..core.errors import MedSAMError
from ..core.geometry import SliceAxis
from ..io.volumes import Volume
from .doorkeeper import DemandPassword, Doorkeeper
from .limits import SessionEndedError
from .store import SessionStore
from .view import object_surface, slice_masks, slice_values, state_of

# Before Gradio is imported: it asks for both at that time.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gradio as gr
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from .endpoints import Endpoints

PAGE = Path(__file__).parent / "page"
logger = logging.getLogger(__name__)

_WAIT_SECONDS, _LOOK_SECONDS = 20.0, 0.015
_GRACE_SECONDS = 2  # how long the end of the server waits for pages that are connected
_GONE, _UNPROCESSABLE = 410, 422
_FAULT = "This cannot be done: an argument is of the wrong kind, or the program has a fault."


@dataclass(frozen=True)
class ServerSettings:
    """The address of the server, and the access to it.

    Attributes:
        host, port: where it listens; port 0 = any free one.
        auth: user and password, demanded of every request; None = nobody is asked, which needs a loopback host.
        mcp: whether the API is offered to assistants as an MCP server, too.
        sample: whether a page without a volume begins with the generated one.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    auth: tuple[str, str] | None = None
    mcp: bool = False
    sample: bool = False

    def __post_init__(self) -> None:
        if self.auth is None and not is_loopback(self.host):
            raise MedSAMError(
                f"On the host {self.host} others can reach this server: give --auth USER:PASSWORD, or listen on "
                "127.0.0.1."
            )


def is_loopback(host: str) -> bool:
    """Return whether only this computer reaches a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class SampleVolume:
    """The generated abdomen, made once for all sessions."""

    def __init__(self, shape: tuple[int, int, int] = (60, 256, 256), seed: int = 0) -> None:
        self._shape, self._seed = shape, seed
        self._lock = threading.Lock()
        self._made: Volume | None = None

    def __call__(self) -> Volume:
        """The volume; its array is shared and read-only."""
        from ..phantom.ct import ct_phantom

        with self._lock:
            if self._made is None:
                array, geometry, _truth = ct_phantom(self._shape, self._seed)
                array.setflags(write=False)
                self._made = Volume(array, geometry, "generated abdomen", Path("sample"), modality="CT")
            return self._made


def make_app(store: SessionStore, settings: ServerSettings, sample: Callable[[], Volume]) -> FastAPI:
    """The application.

    Args:
        store: of the sessions; its folder takes what is uploaded, too.
        settings: how it is reached.
        sample: makes the generated volume.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(store.root)  # so that files of sessions are served without a copy
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _add_data_routes(app, store)
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    app.add_middleware(Doorkeeper, store)
    if settings.auth is not None:
        app.add_middleware(DemandPassword, *settings.auth)
    elif is_loopback(settings.host):  # a page elsewhere must not reach it under a name of its own
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]", "::1"])
    if not is_loopback(settings.host):
        app.add_middleware(GZipMiddleware, minimum_size=4096, compresslevel=1)
    blocks = _blocks(Endpoints(store, sample), settings)
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        blocks,
        path="",
        server_name=settings.host,
        server_port=settings.port,
        footer_links=["api"],
        show_error=True,
        max_file_size=store.limits.upload_bytes,
        enable_monitoring=False,
        mcp_server=settings.mcp,
        ssr_mode=False,
        theme=_theme(),
        head='<meta name="viewport" content="width=device-width, initial-scale=1">',
        css_paths=[PAGE / "gradio.css"],
    )
    # Gradio refuses files that nobody has uploaded only after `launch()`, which a mounted page never calls.
    blocks.has_launched = True
    return mounted


def serve(
    store: SessionStore,
    settings: ServerSettings,
    started: Callable[[str], None],
    sample: Callable[[], Volume] | None = None,
) -> None:
    """Serve until the process is asked to end; then every session ends and their files are removed.

    Args:
        store: of the sessions; closed at the end.
        settings: how the server is reached.
        started: called with the address once the server answers.
        sample: makes the generated volume.

    Raises:
        MedSAMError: the port is taken, or the host is not one of this computer's.
    """
    tempfile.tempdir = str(store.incoming)  # where Gradio puts what is being uploaded; it is swept there
    app = make_app(store, settings, sample or SampleVolume())
    config = uvicorn.Config(
        app,
        settings.host,
        settings.port,
        log_level="error",
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    try:
        socket = config.bind_socket()
    except SystemExit:  # uvicorn has logged why
        raise MedSAMError(
            f"The server cannot listen on {settings.host}, port {settings.port}: is another program there?"
        ) from None
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    address = f"http://{f'[{host}]' if ':' in host else host}:{socket.getsockname()[1]}"
    server = uvicorn.Server(config)

    async def serve_and_announce() -> None:
        serving = asyncio.create_task(server.serve(sockets=[socket]))
        while not server.started and not serving.done():
            await asyncio.sleep(_LOOK_SECONDS)
        if server.started:
            started(address)
        await serving

    try:
        asyncio.run(serve_and_announce())
    finally:
        socket.close()
        store.close()


def _theme() -> gr.Theme:
    """Fonts of the system only: none is fetched."""
    sans = (
        "ui-sans-serif",
        "system-ui",
        "-apple-system",
        "Segoe UI",
        "Roboto",
        "Helvetica Neue",
        "sans-serif",
    )
    mono = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
    return gr.themes.Base(primary_hue="teal", neutral_hue="slate", font=sans, font_mono=mono)


def _blocks(endpoints: Endpoints, settings: ServerSettings) -> gr.Blocks:
    begins = "true" if settings.sample else "false"
    load = (
        f"const page = new URL('page/viewer.js?v={__version__}', document.baseURI);"
        f"import(page.href).then((m) => m.start(element, {{ sample: {begins} }}));"
    )
    with _Blocks(title="MedSAMSlicer", fill_width=True, analytics_enabled=False) as blocks:
        gr.HTML(
            html_template='<div class="medsamslicer"></div>',
            js_on_load=load,
            apply_default_css=False,
            elem_id="medsamslicer",
        )
        for function in endpoints.functions():
            gr.api(
                function,
                api_name=function.__name__,
                api_description=_documented(function),
                concurrency_limit=None,
            )
    return blocks


def _documented(function: Callable[..., Any]) -> str:
    """The description of an endpoint on the page: its docstring, the arguments included, which Gradio leaves out."""
    lines = [line.strip() for line in inspect.cleandoc(function.__doc__ or "").splitlines()]
    if "Args:" not in lines:
        return " ".join(filter(None, lines))
    place = lines.index("Args:")
    arguments = "; ".join(line.rstrip(".") for line in lines[place + 1 :] if line)
    return f"{' '.join(filter(None, lines[:place]))} Arguments: {arguments}."


def _add_data_routes(app: FastAPI, store: SessionStore) -> None:
    """Add the routes of frequent data and of bytes. The unguessable identifier of a session opens its data."""

    @app.exception_handler(MedSAMError)
    async def sentence(request: Request, error: Exception) -> JSONResponse:
        code = _GONE if isinstance(error, SessionEndedError) else _UNPROCESSABLE
        return JSONResponse({"error": str(error)}, status_code=code, headers=_PRIVATE)

    @app.get("/data/{session_id}/state")
    async def state(session_id: str, after: int = -1) -> JSONResponse:
        """The state once it is another than revision `after`, or as it is after a while."""
        session = store.get(session_id)
        for _ in range(int(_WAIT_SECONDS / _LOOK_SECONDS)):
            if session.revision != after or session.is_closed:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        return JSONResponse(await run_in_threadpool(state_of, session), headers=_PRIVATE)

    @app.get("/data/{session_id}/slice/{axis}/{index}")
    def values(session_id: str, axis: str, index: int) -> Response:
        session, along = store.get(session_id), SliceAxis.parse(axis)
        session.check_slice(along, index)
        session.touch()
        return _bytes(slice_values(session.volume, session.value_range, along, index))

    @app.get("/data/{session_id}/masks/{axis}/{index}")
    def masks(session_id: str, axis: str, index: int) -> Response:
        """The masks one after the other; the header X-Objects names them in this order."""
        session, along = store.get(session_id), SliceAxis.parse(axis)
        session.look_at(along, index)
        found = slice_masks(session, along, index)
        response = _bytes(b"".join(found.values()))
        response.headers["X-Objects"] = ",".join(found)
        return response

    @app.get("/data/{session_id}/surface/{object_id}")
    def surface(session_id: str, object_id: str) -> Response:
        return _bytes(object_surface(store.get(session_id), object_id).to_bytes())


_PRIVATE = {"Cache-Control": "no-store"}


def _bytes(content: bytes) -> Response:
    return Response(content, media_type="application/octet-stream", headers=_PRIVATE)


class _Blocks(gr.Blocks):
    """The page: all that a stranger sends ends in one sentence.

    Of faults, and of what Gradio itself refuses, only the kind is logged: their texts may hold names and places.
    """

    async def process_api(self, *args: Any, **kwargs: Any) -> Any:
        """Called by Gradio for each request of an endpoint."""
        try:
            return await super().process_api(*args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:  # noqa: BLE001 - see above
            logger.error("A call of the API failed: %s.", type(error).__name__)
            raise gr.Error(_FAULT, print_exception=False) from None
