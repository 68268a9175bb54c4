"""The page in a real browser, driven by the mouse: from a box to a downloaded file, and when things go wrong.

Needs Playwright's client and a Chromium of the system (`apt-get install chromium`); CHROMIUM names another one.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.io.labels import read_label

from .conftest import GEOMETRY, SHAPE, body, dice
from .running_server import RunningServer, running_server

if importlib.util.find_spec("gradio") is None:  # importing it takes seconds, and the server does
    pytest.skip("Gradio is not installed: pip install '.[web]'", allow_module_level=True)
if importlib.util.find_spec("playwright") is None:
    pytest.skip("Playwright's client is not installed", allow_module_level=True)

pytestmark = pytest.mark.slow
ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SECONDS = 120_000  # milliseconds, in fact: Playwright's unit


def chromium() -> str | None:
    """The browser of the system."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = chromium()
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium, or set CHROMIUM to its path")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as client:
        started = client.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("server"), "--port", "0") as running:
        yield running


class Visitor:
    """One page in a browser of its own."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(SECONDS)
        self.hosts: set[str] = set()
        self.faults: list[str] = []
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_selector(".medsamslicer header")

    def state(self, expression: str = "state") -> Any:
        return self.page.evaluate(f"window.medsamslicer.{expression}")

    def until(self, condition: str) -> None:
        """Wait until a condition on the state holds."""
        self.page.wait_for_function(
            f"(() => {{ const s = window.medsamslicer?.state; return s && ({condition}); }})()"
        )

    def open(self, file: Path) -> None:
        self.page.set_input_files("#msl-file", str(file))
        self.until("s.volume && s.network.state === 'ready'")

    def place(self, axis: str, x: float, y: float) -> tuple[float, float]:
        """Where a voxel edge of a slice is in the window."""
        found = self.page.evaluate(
            """([name, x, y]) => {
                const view = window.medsamslicer.views.find((each) => each.name === name), s = view.shape;
                const [a, b] = s.transposed ? [y, x] : [x, y], p = view.place(), ratio = devicePixelRatio || 1;
                const u = s.flipped_x ? s.columns - a : a, v = s.flipped_y ? s.rows - b : b;
                const box = view.canvas.getBoundingClientRect();
                return [box.left + (p.x + u * p.sx) / ratio, box.top + (p.y + v * p.sy) / ratio];
            }""",
            [axis, x, y],
        )
        return found[0], found[1]

    def drag(self, axis: str, one: tuple[float, float], other: tuple[float, float]) -> None:
        self.page.mouse.move(*self.place(axis, *one))
        self.page.mouse.down()
        self.page.mouse.move(*self.place(axis, (one[0] + other[0]) / 2, (one[1] + other[1]) / 2))
        self.page.mouse.move(*self.place(axis, *other))
        self.page.mouse.up()

    def wheel_to(self, axis: str, index: int) -> None:
        self.page.mouse.move(*self.place(axis, 5, 5))
        for _ in range(60):
            now = self.state(f"views.find((each) => each.name === '{axis}').index")
            if now == index:
                return
            self.page.mouse.wheel(0, -40 if now < index else 40)
            self.page.wait_for_timeout(30)
        raise AssertionError(f"slice {index} was not reached")

    def draw_box(self) -> None:
        """Around the body, on the slice that is shown."""
        self.page.click('[data-tool="box"]')
        self.drag("k", (8.2, 14.2), (26.8, 34.8))
        self.until("s.objects.some((o) => o.milliliters > 0)")

    def propagate(self) -> None:
        self.until("s.reasons.propagate === null")
        self.page.click("[data-propagate]")
        self.until("s.run.busy || s.reasons.propagate")
        self.until("!s.run.busy && s.run.waiting === null")

    def mask(self) -> np.ndarray:
        """The mask of the first object as the page gets it, (K, J, I)."""
        volume = np.zeros(SHAPE, np.bool_)
        for index in range(SHAPE[0]):
            runs = self.page.evaluate(
                "(index) => window.medsamslicer.api.call('mask', window.medsamslicer.api.session, index, 'k', 's1')",
                index,
            )["runs"]
            volume[index] = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(SHAPE[1:])
        return volume

    def download(self, ending: str, folder: Path) -> Path:
        with self.page.expect_download() as waiting:
            self.page.click(f'[data-format="{ending}"]')
        target = folder / waiting.value.suggested_filename
        waiting.value.save_as(target)
        return target

    def message(self) -> str:
        return str(self.page.inner_text(".message span"))


@pytest.fixture
def visit(browser: Any, server: RunningServer) -> Iterator[Callable[..., Visitor]]:
    """Opens pages, each in a browser of its own."""
    visitors: list[Visitor] = []

    def opened(address: str | None = None, **options: Any) -> Visitor:
        visitors.append(Visitor(browser, address or server.address, **options))
        return visitors[-1]

    yield opened
    for visitor in visitors:
        visitor.context.close()


def test_from_a_box_to_a_corrected_mask_in_a_file(
    visit: Callable[..., Visitor], ct_file: Path, tmp_path: Path
) -> None:
    user = visit()
    user.open(ct_file)
    user.draw_box()
    [prompt] = user.state("state.objects[0].prompts")
    assert (prompt["kind"], prompt["slice"], prompt["xy"]) == ("box", 7, [[7.5, 13.5], [26.5, 34.5]])
    preview = user.mask()
    assert np.flatnonzero(preview.any(axis=(1, 2))).tolist() == [7]
    user.propagate()
    mask = user.mask()
    assert dice(mask, body()) > 0.85
    user.wheel_to("k", 11)
    row, column = np.argwhere(mask[11]).mean(axis=0).round().astype(int)
    assert mask[11, row, column]
    user.page.click('[data-tool="minus"]')
    user.page.mouse.click(*user.place("k", column + 0.5, row + 0.5))
    user.until("s.objects[0].prompts.length === 2 && s.strip[11][2] === 'prompted'")
    user.propagate()
    corrected = user.mask()
    np.testing.assert_array_equal(corrected[:8], mask[:8])
    assert not corrected[11, row, column], "what was excluded is out"
    assert corrected[11].sum() < mask[11].sum()
    file = user.download("seg.nrrd", tmp_path)
    assert file.name == "ct-segmentation.seg.nrrd"
    np.testing.assert_array_equal(read_label(file, GEOMETRY) != 0, corrected)
    user.page.click("[data-undo]")
    user.until("s.redo !== null")
    user.page.click("[data-undo]")
    user.until("s.objects[0].prompts.length === 1")
    np.testing.assert_array_equal(user.mask(), mask)
    assert user.state("surface.meshes.size") == 1, "the 3-D view has a surface"
    assert user.hosts == {user.page.url.split("/")[2]}, "nothing is fetched from elsewhere"
    assert user.faults == []


def test_two_browsers_at_once_see_only_their_own(visit: Callable[..., Visitor], ct_file: Path) -> None:
    one, other = visit(), visit()
    one.open(ct_file)
    one.draw_box()
    assert other.state("state") is None
    assert other.page.is_visible(".welcome")
    other.open(ct_file)
    assert other.state("state.objects") == []
    other.draw_box()
    other.page.fill(".objects input[type=text]", "mine")
    other.page.keyboard.press("Enter")
    other.until("s.objects[0].name === 'mine'")
    assert one.state("state.objects[0].name") == "Segment_1"
    assert one.state("api.session") != other.state("api.session")


def test_a_page_that_is_loaded_again_goes_on_with_its_session(
    visit: Callable[..., Visitor], ct_file: Path
) -> None:
    user = visit()
    user.open(ct_file)
    user.draw_box()
    session = user.state("api.session")
    user.page.reload()
    user.until("s.objects.length === 1 && s.objects[0].milliliters > 0")
    assert user.state("api.session") == session


def test_an_upload_that_is_no_image_is_explained(visit: Callable[..., Visitor], tmp_path: Path) -> None:
    letter = tmp_path / "letter.nii"
    letter.write_text("Dear colleague, here is the CT.")
    user = visit()
    user.page.set_input_files("#msl-file", str(letter))
    user.page.wait_for_function("document.querySelector('.message').dataset.level === 'error'")
    assert user.message().startswith("letter.nii is not an image")
    assert user.page.is_visible(".welcome")
    assert user.faults == []


def test_a_killed_server_is_noticed_and_its_successor_too(
    browser: Any, tmp_path: Path, ct_file: Path, visit: Callable[..., Visitor]
) -> None:
    with running_server(tmp_path, "--port", "0") as first:
        user = visit(first.address)
        user.open(ct_file)
        first.end(signal.SIGKILL)
        user.page.wait_for_selector(".medsamslicer.offline .lost", state="visible")
        with running_server(tmp_path, "--port", first.port) as second:
            user.page.wait_for_selector(".medsamslicer.has-ended .ended", state="visible")
            assert "ended" in user.page.inner_text(".ended")
            [folder] = second.private_folders()
            assert str(second.process.pid) in folder.name, "what the killed one left was removed"
            user.page.click("[data-restart]")
            user.page.wait_for_selector(".medsamslicer.welcoming .welcome", state="visible")


def test_the_page_documents_its_api(visit: Callable[..., Visitor]) -> None:
    user = visit()
    user.page.click("[data-api]")
    user.page.wait_for_selector(".api-docs")
    user.page.wait_for_function(
        "document.querySelector('.api-docs').innerText.includes('/begin_propagation')"
    )
    text = user.page.inner_text(".api-docs")
    assert "counted from 0 along the axis" in text
    assert user.hosts == {user.page.url.split("/")[2]}, "nothing is fetched from elsewhere"


@pytest.mark.parametrize("size", [(390, 844), (375, 667), (844, 390)])
def test_on_a_phone_the_first_choice_is_in_sight(
    visit: Callable[..., Visitor], size: tuple[int, int]
) -> None:
    width, height = size
    user = visit(viewport={"width": width, "height": height})
    for button in (".welcome [data-open]", ".welcome [data-sample]"):
        box = user.page.locator(button).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= height
        assert box["x"] + box["width"] <= width


def test_a_phone_shows_one_view_at_a_time_and_takes_a_box(
    visit: Callable[..., Visitor], ct_file: Path
) -> None:
    user = visit(viewport={"width": 390, "height": 844}, color_scheme="dark")
    user.open(ct_file)
    visible = "[...document.querySelectorAll('.view')].filter((view) => view.offsetHeight > 0).length"
    assert user.page.evaluate(visible) == 1
    assert user.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert user.page.evaluate("document.body.classList.contains('dark')")
    user.draw_box()
    user.page.click('[data-tab="3d"]')
    user.page.wait_for_function("window.medsamslicer.surface.meshes.size === 1")
    assert user.faults == []
