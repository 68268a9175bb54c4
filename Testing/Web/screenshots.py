"""Takes the pictures of docs/web.md again, with the mouse: python -m Testing.Web.screenshots [FOLDER]

Five organs of the generated CT, a box and the range of slices each, are propagated by the bundled networks. Where to
draw follows from the true masks, so nothing has to be changed for a better checkpoint.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

from MedSAMSlicerLib.phantom.ct import ct_phantom

from .running_server import running_server
from .test_browser import Visitor, chromium

ORGANS = ("liver", "spleen", "left_kidney", "right_kidney", "aorta")
GRAPHICS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PICTURES = Path(__file__).parents[2] / "docs"


def draw(user: Visitor, name: str, mask: np.ndarray, number: int) -> None:
    """A named object with a box on its largest slice and the range of its slices."""
    if number:
        user.page.click("[data-add]")
        user.until(f"s.objects.length === {number + 1}")
    index = int(mask.sum(axis=(1, 2)).argmax())
    user.page.evaluate(f"window.medsamslicer.moved(0, {index})")
    rows, columns = mask[index].nonzero()
    low = float(columns.min()) - 0.8, float(rows.min()) - 0.8
    user.drag("k", low, (float(columns.max()) + 1.8, float(rows.max()) + 1.8))
    user.until(f"s.objects.filter((o) => o.milliliters > 0).length > {number}")
    field = user.page.locator(".objects li.selected input[type=text]")
    field.fill(name.replace("_", " ").capitalize())
    field.press("Enter")
    filled = np.flatnonzero(mask.any(axis=(1, 2))).tolist()
    for side, value in (("first", filled[0] + 1), ("last", filled[-1] + 1)):
        user.page.fill(f"#msl-{side}", str(value))
        user.page.press(f"#msl-{side}", "Tab")
        user.page.wait_for_timeout(500)


def picture(user: Visitor, path: Path) -> None:
    """What the window shows, once nothing changes any more."""
    user.page.mouse.move(3, 3)
    user.page.wait_for_timeout(2500)
    user.page.screenshot(path=str(path))


def take(browser: Any, address: str, folder: Path) -> None:
    """All pictures, from one session."""
    truth = ct_phantom()[2]
    user = Visitor(browser, address, viewport={"width": 1280, "height": 800}, color_scheme="dark")
    user.page.set_default_timeout(900_000)
    user.until("s.volume && s.network.state === 'ready'")
    for number, name in enumerate(ORGANS):
        draw(user, name, truth[name], number)
    user.page.click("[data-propagate-all]")
    user.until("s.run.busy")
    user.until("!s.run.busy && s.run.waiting === null")
    user.page.evaluate("window.medsamslicer.act('select_object', window.medsamslicer.state.objects[0].id)")
    user.page.evaluate("window.medsamslicer.moved(0, 33)")
    picture(user, folder / "web-dark.png")
    user.page.click("[data-theme-toggle]")
    picture(user, folder / "web-light.png")
    user.page.set_viewport_size({"width": 390, "height": 844})
    picture(user, folder / "web-phone.png")
    user.context.close()


def main() -> int:
    """Take the pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as private,
        running_server(Path(private), "--port", "0", "--sample") as server,
        sync_playwright() as client,
    ):
        browser = client.chromium.launch(executable_path=chromium(), args=GRAPHICS)
        take(browser, server.address, folder)
        browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
