"""`make animation`: the moving picture of README, taken while the module is used as people do.

python -m Testing.Host.animation [FILE]

A box on one slice of the generated abdomen, the mask that grows through the volume, and a correction, with the
bundled networks.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .photographer import Photographer, as_pillow
from .screenshots import FOLDER, REPOSITORY, STORY

if TYPE_CHECKING:
    from PIL import Image

WIDTH = 760
"""Pixels across."""
LARGEST = 2_000_000
"""Bytes that the file may have."""
COLORS = (96, 64, 48, 32)
SECONDS = {"look": 1.2, "step": 0.7, "grow": 0.18, "end": 2.5}
"""How long pictures stay."""
logger = logging.getLogger("animation")


class Film:
    """Pictures of the host's window, one after the other.

    Args:
        camera: whose window it is.
    """

    def __init__(self, camera: Photographer) -> None:
        self._camera = camera
        self._frames: list[tuple[Image.Image, int]] = []

    def shoot(self, stays: str) -> None:
        """Take one picture; `stays` is one of `SECONDS`."""
        from PIL import Image

        whole = as_pillow(self._camera.host.picture())
        size = (WIDTH, round(whole.height * WIDTH / whole.width))
        self._frames.append((whole.resize(size, Image.Resampling.LANCZOS), round(1000 * SECONDS[stays])))

    def write(self, path: Path) -> int:
        """Write a GIF with as many colors as fit into `LARGEST` bytes; returns its size in bytes."""
        from PIL import Image

        pictures, durations = zip(*self._frames, strict=True)
        strip = Image.new("RGB", (WIDTH, sum(picture.height for picture in pictures[::4])))
        top = 0
        for picture in pictures[::4]:
            strip.paste(picture, (0, top))
            top += picture.height
        for colors in COLORS:
            palette = strip.quantize(colors, method=Image.Quantize.MEDIANCUT, kmeans=1)
            frames = [each.quantize(palette=palette, dither=Image.Dither.NONE) for each in pictures]
            written = io.BytesIO()
            frames[0].save(
                written,
                "GIF",
                save_all=True,
                append_images=frames[1:],
                duration=[*durations],
                loop=0,
                optimize=True,
            )
            if written.tell() <= LARGEST:
                break
        path.write_bytes(written.getvalue())
        return written.tell()


def play(camera: Photographer, film: Film) -> None:
    """Box, propagation, correction."""
    user, host = camera.user, camera.host
    camera.unfold("promptsSection", "propagateSection", "correctSection")
    truth = camera.truth[STORY]
    key = int(truth.sum(axis=(1, 2)).argmax())
    camera.aim(camera.on(STORY, key), 190.0)
    film.shoot("look")
    box(camera, film, key)
    camera.name_it(STORY)
    film.shoot("look")
    camera.choose_range(STORY)
    film.shoot("step")
    user.press("propagateButton")
    grow(camera, film)
    film.shoot("look")
    correct(camera, film)
    camera.unfold("segmentsSection")
    user.press("surfaceButton")
    user.settled()
    camera.aim_3d()
    film.shoot("end")
    logger.info("%s: Dice %.3f", STORY, user.dice(STORY))
    host.process_events(0.05)


def box(camera: Photographer, film: Film, key: int) -> None:
    """The two corners, and the mask of the slice."""
    user, host = camera.user, camera.host
    rows, columns = camera.truth[STORY][key].nonzero()
    corners = (
        user.world(float(columns.min() - 1), float(rows.min() - 1), float(key)),
        user.world(float(columns.max() + 1), float(rows.max() + 1), float(key)),
    )
    user.press("boxButton")
    host.click("Red", corners[0], jump=False)
    middle = [(a + b) / 2 for a, b in zip(*corners, strict=True)]
    for place in (middle, corners[1]):
        host.move("Red", place)
        host.process_events(0.05)
        film.shoot("step")
    host.click("Red", corners[1], jump=False)
    user.settled()


def grow(camera: Photographer, film: Film) -> None:
    """While slices come in, a picture now and then."""
    user, taken = camera.user, 0
    while camera.controller.runs.busy:
        camera.host.process_events(0.02)
        progress = camera.controller.runs.progress
        if progress is not None and progress.done >= 4 * (taken + 1):
            taken = progress.done // 4
            film.shoot("grow")
    user.settled()


def correct(camera: Photographer, film: Film) -> None:
    """A point where the mask is wrong most, and what follows from it."""
    from Testing.EndToEnd.user import middle_of

    user, truth = camera.user, camera.truth[STORY]
    index = int(camera.wrong(STORY).sum(axis=(1, 2)).argmax())
    camera.aim(camera.on(STORY, index), 190.0)
    film.shoot("look")
    for _ in range(2):
        wrong = np.zeros_like(truth)
        wrong[index] = user.mask()[index] ^ truth[index]
        user.point(*middle_of(wrong, truth))
        film.shoot("look")
    user.press("propagateButton")
    grow(camera, film)
    film.shoot("look")


def main(arguments: list[str] | None = None) -> int:
    """Take the moving picture."""
    parser = argparse.ArgumentParser(prog="make animation", description="The moving picture of README.")
    parser.add_argument("file", nargs="?", type=Path, default=FOLDER / "box-to-organ.gif")
    options: Any = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    sys.path.insert(0, str(REPOSITORY / "MedSAMSlicer"))
    with tempfile.TemporaryDirectory() as models_folder:  # only what every user has
        os.environ["MEDSAMSLICER_MODELS"] = models_folder
        camera = Photographer(options.file.parent)
        with closing(camera):
            film = Film(camera)
            play(camera, film)
            logger.info("%s: %d kB", options.file.name, film.write(options.file) // 1000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
