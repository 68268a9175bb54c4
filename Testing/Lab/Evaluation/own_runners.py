"""Runners as a user may bring them, `own_runners:NAME`; other processes find them by the folder on sys.path."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from MedSAMSlicerLib.core.errors import PromptError
from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.core.prompts import Point
from MedSAMSlicerLib.io.volumes import Volume
from MedSAMSlicerLib.lab.evaluation.protocol import PromptProtocol
from MedSAMSlicerLib.lab.evaluation.runners import Ask, Request, RunnerAnswer

MARKS = "OWN_RUNNERS"
"""The environment variable that names a folder in which `slow` leaves the number of its process."""


class Obedient:
    """Thresholds the bright volumes badly, and sets slices right that are clicked on."""

    def __init__(self, name: str = "obedient") -> None:
        self.name, self.asked = name, 0

    def supports(self, protocol: PromptProtocol) -> bool:
        return True

    def corrects(self, protocol: PromptProtocol) -> bool:
        return True

    def describe(self) -> dict[str, Any]:
        return {"method": "threshold"}

    def begin(self, volume: Volume, axis: SliceAxis) -> Ask:
        self.prepare(volume)
        bright = volume.array > 160

        def ask(request: Request) -> RunnerAnswer:
            self.asked += 1
            mask = bright.copy()
            clicked = {prompt.slice.index for prompt in request.prompts.prompts if isinstance(prompt, Point)}
            for index in range(len(mask)):
                if index not in clicked:
                    mask[index, :20] = False
            return RunnerAnswer(mask, 0.5, 0.1, {})

        return ask

    def prepare(self, volume: Volume) -> None:
        """What goes wrong goes wrong here."""


class Failing(Obedient):
    """Says why it cannot."""

    def prepare(self, volume: Volume) -> None:
        raise PromptError("Nothing was understood.")


class Faulty(Obedient):
    """Has a bug that shows on the first case."""

    def prepare(self, volume: Volume) -> None:
        if "first" in str(volume.path):
            raise ZeroDivisionError("division by zero")


class Hungry(Obedient):
    """Needs more memory than there is."""

    def prepare(self, volume: Volume) -> None:
        raise MemoryError


class Deadly(Obedient):
    """Is killed, as when memory runs out."""

    def prepare(self, volume: Volume) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Stopped(Obedient):
    """Ctrl-C comes on the second case."""

    def prepare(self, volume: Volume) -> None:
        if "second" in str(volume.path):
            raise KeyboardInterrupt


class Slow(Obedient):
    """Leaves the number of its process, and takes its time."""

    def prepare(self, volume: Volume) -> None:
        (Path(os.environ[MARKS]) / str(os.getpid())).touch()
        time.sleep(600)  # longer than any test waits


class Leisurely(Obedient):
    """Takes a moment."""

    def prepare(self, volume: Volume) -> None:
        time.sleep(0.3)


def obedient() -> Obedient:
    return Obedient()


def second() -> Obedient:
    return Obedient("second")


def namesake() -> Failing:
    return Failing()


def failing() -> Failing:
    return Failing("failing")


def faulty() -> Faulty:
    return Faulty("faulty")


def hungry() -> Hungry:
    return Hungry("hungry")


def deadly() -> Deadly:
    return Deadly("deadly")


def stopped() -> Stopped:
    return Stopped("patient")


def patient() -> Obedient:
    return Obedient("patient")


def slow() -> Slow:
    return Slow("slow")


def leisurely() -> Leisurely:
    return Leisurely("leisurely")
