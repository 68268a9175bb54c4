"""`medsamslicer web`: the page and the API on this computer."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import sys
import webbrowser
from typing import Any

from ..cli.argument_types import positive, threads
from ..cli.exit_codes import OK, UsageError
from ..cli.models import loads, whole_name
from ..cli.terminal import UNTRIED_DEVICES, confirmation
from ..core.errors import MedSAMError
from ..models.registry import BUNDLED_ID, Registry
from .limits import Limits

_AUTH_VARIABLE = "MEDSAMSLICER_WEB_AUTH"
_EPILOG = """examples:
  medsamslicer web                       # open http://127.0.0.1:7860 in the browser
  medsamslicer web --sample              # begin with a generated CT
  medsamslicer web --host 0.0.0.0 --auth lab:SECRET
  medsamslicer web --mcp                 # the same API for assistants"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the command."""
    limits = Limits()
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "web",
        help="a web page and an API on this computer",
        description="Serve a page on which volumes are opened, prompted, propagated and downloaded, and an API with\n"
        "the same actions. Needs pip install 'medsamslicer[web]'. Ctrl-C ends it and removes all uploaded files.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="where to listen (default: 127.0.0.1, this computer only)"
    )
    parser.add_argument("--port", type=int, default=7860, help="0 = any free one (default: 7860)")
    parser.add_argument(
        "--auth",
        metavar="USER:PASSWORD",
        help=f"asked of every visitor; needed with another host than this computer (or {_AUTH_VARIABLE})",
    )
    parser.add_argument("--sample", action="store_true", help="begin with a generated CT of an abdomen")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument(
        "--mcp", action="store_true", help="offer the API to assistants, too (needs gradio[mcp])"
    )
    network = parser.add_argument_group("network")
    network.add_argument("--model", default=BUNDLED_ID, metavar="NAME|FILE", help=f"default: {BUNDLED_ID}")
    network.add_argument(
        "--yes", action="store_true", help="use a checkpoint file whose hash is not known yet"
    )
    network.add_argument(
        "--device", default="auto", help=f"auto, cpu, cuda or mps (default: auto); {UNTRIED_DEVICES}"
    )
    network.add_argument("--threads", type=threads, metavar="N", help="CPU threads of each computation")
    network.add_argument(
        "--cache-mb", type=positive, metavar="MB", help="memory for encoded slices of each session"
    )
    more = parser.add_argument_group("limits")
    more.add_argument(
        "--upload-mb",
        type=positive,
        default=limits.upload_bytes >> 20,
        help="of one file (default: %(default)s)",
    )
    more.add_argument(
        "--voxels", type=positive, default=limits.voxels, help="of one volume (default: %(default)s)"
    )
    more.add_argument(
        "--objects", type=positive, default=limits.objects, help="of one session (default: %(default)s)"
    )
    more.add_argument(
        "--sessions", type=positive, default=limits.sessions, help="open at once (default: %(default)s)"
    )
    more.add_argument(
        "--runs", type=positive, default=limits.runs, help="propagations at once (default: %(default)s)"
    )
    more.add_argument(
        "--stored-gb",
        type=positive,
        default=limits.stored_bytes >> 30,
        help="of all files of the server (default: %(default)s)",
    )
    more.add_argument(
        "--idle-minutes",
        type=positive,
        default=round(limits.idle_seconds / 60),
        help="after which an unused session ends (default: %(default)s)",
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    if not 0 <= arguments.port <= 65535:
        raise UsageError(f"a port is a number from 0 to 65535, not {arguments.port}")
    if importlib.util.find_spec("gradio") is None:
        raise MedSAMError("medsamslicer web needs Gradio: install it with pip install 'medsamslicer[web]'.")
    if arguments.mcp and importlib.util.find_spec("mcp") is None:
        raise MedSAMError("--mcp needs the package mcp: install it with pip install 'gradio[mcp]'.")
    from ..app.workspace import Settings
    from .server import ServerSettings, serve
    from .store import SessionStore, private_root

    given = arguments.auth or os.environ.get(_AUTH_VARIABLE)
    settings = ServerSettings(arguments.host, arguments.port, _user(given), arguments.mcp, arguments.sample)
    Registry.from_environment().open(arguments.model, confirmation(arguments.yes), loads)
    if not arguments.debug:  # sentences about the data are for the page only
        logging.getLogger(__package__.partition(".")[0]).setLevel(logging.ERROR)
    limits = Limits(
        upload_bytes=arguments.upload_mb << 20,
        voxels=arguments.voxels,
        objects=arguments.objects,
        sessions=arguments.sessions,
        runs=arguments.runs,
        stored_bytes=arguments.stored_gb << 30,
        idle_seconds=60.0 * arguments.idle_minutes,
    )
    cache = None if arguments.cache_mb is None else arguments.cache_mb << 20
    store = SessionStore(
        private_root(),
        Settings(device=arguments.device, threads=arguments.threads, cache_bytes=cache),
        limits,
        whole_name(arguments.model),
    )

    def started(address: str) -> None:
        sys.stdout.write(f"MedSAMSlicer is at {address} (Ctrl-C ends it)\n")
        sys.stdout.flush()
        if arguments.open:
            webbrowser.open(address)

    try:
        serve(store, settings, started)
    finally:
        store.close()
    return OK


def _user(text: str | None) -> tuple[str, str] | None:
    if not text:
        return None
    user, colon, password = text.partition(":")
    if not colon or not user or not password:
        raise UsageError("--auth needs USER:PASSWORD")
    return user, password
