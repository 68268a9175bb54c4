"""How long one user waits for previews, with the default networks: python -m Testing.Web.latency

On the generated abdomen: first until the server has answered a call of the API with the mask, then in a browser from
the release of the mouse until the page has it, all on one computer, where the browser draws on the same processors.
Needs Playwright's client and a Chromium, as `test_browser.py`.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import httpx
from playwright.sync_api import sync_playwright

from .load import called
from .running_server import RunningServer, running_server
from .test_browser import ARGUMENTS, Visitor, chromium

LOOKED_MS = 4000  # at a slice, before something is drawn there


class Watch:
    """Draws, waits until the mask of the last object is another, and prints how long that took."""

    def __init__(self, user: Visitor) -> None:
        self._user = user

    def _until(self, what: str, condition: str) -> None:
        began = time.perf_counter()
        last = "const o = window.medsamslicer.state.objects.at(-1)"
        self._user.page.wait_for_function(f"(() => {{ {last}; return o && {condition}; }})()", polling=10)
        sys.stdout.write(f"{what:50s} {time.perf_counter() - began:5.2f} s\n")

    def box(self, what: str, one: tuple[float, float], other: tuple[float, float]) -> None:
        """Draw a box around a new object on the axial slice."""
        self._user.page.click("[data-add]")
        self._user.page.click('[data-tool="box"]')
        self._user.drag("k", one, other)
        self._until(what, "o.milliliters > 0")

    def click(self, what: str, place: tuple[float, float]) -> None:
        """Click on what does not belong to the object."""
        self._user.page.click('[data-tool="minus"]')
        now = self._user.state("state.objects.at(-1)")
        self._user.page.mouse.click(*self._user.place("k", *place))
        given = len(now["prompts"]) + 1
        self._until(what, f"o.prompts.length === {given} && o.milliliters !== {now['milliliters']}")


def ask(server: RunningServer) -> None:
    """Print how long calls of the API take."""
    with httpx.Client(base_url=server.address, timeout=100) as client:
        call = partial(called, client)
        session = call("open_sample", "")["session"]
        while call("state", session)["network"]["state"] != "ready":
            time.sleep(0.1)
        time.sleep(LOOKED_MS / 1000)
        for what, *prompt in (
            ("API: the first box of the server", "box", 30, [[100, 115], [150, 160]], True),
            ("API: a click right after it", "point", 30, [[103, 118]], False),
            ("API: a box on a slice that was not shown before", "box", 36, [[160, 100], [220, 160]], True),
            ("API: a click right after it", "point", 36, [[165, 105]], False),
        ):
            kind, index, places, positive = prompt
            began = time.perf_counter()
            call("prompt", session, kind, index, places, "k", "", positive, 20)
            sys.stdout.write(f"{what:50s} {time.perf_counter() - began:5.2f} s\n")
        call("end", session)


def main() -> int:
    """Open the page and draw."""
    os.environ.pop("MEDSAMSLICER_SECOND_NETWORK", None)
    with (
        tempfile.TemporaryDirectory() as name,
        running_server(Path(name), "--port", "0") as server,
        sync_playwright() as client,
    ):
        ask(server)
        browser = client.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        user = Visitor(browser, server.address)
        user.page.click("[data-sample]:visible")
        user.until("s.volume && s.network.state === 'ready'")
        user.page.wait_for_timeout(LOOKED_MS)
        watch = Watch(user)
        watch.box("a first box", (100, 115), (150, 160))
        watch.click("a click right after it", (103, 118))
        user.page.wait_for_timeout(LOOKED_MS)
        watch.click("a click later", (147, 157))
        user.wheel_to("k", 33)
        user.page.wait_for_timeout(LOOKED_MS)
        watch.box("a box on another slice", (160, 100), (220, 160))
        watch.click("a click right after it", (165, 105))
        user.wheel_to("k", 38)
        watch.box("a box on a slice that was not shown before", (30, 90), (90, 150))
        browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
