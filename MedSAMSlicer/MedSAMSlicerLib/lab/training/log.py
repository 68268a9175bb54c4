"""The reports of a run while it runs: a line on the terminal, `log.csv`, and TensorBoard where it is asked for."""

from __future__ import annotations

import csv
import io
import shutil
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...core.errors import MedSAMError
from ...io.atomic import output_error, write_bytes
from .settings import TrainSettings
from .trainer import Trainer
from .validation import Scores

LOG = "log.csv"
_TERMINAL_MINUTES, _FILE_MINUTES = 0.03, 1.0


class Board:
    """TensorBoard's files in `out/tensorboard`, or nothing.

    Raises MedSAMError when it is asked for and not installed.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self._writer: Any = None
        self._make: Callable[[str], Any] | None = None
        self._folder = settings.out / "tensorboard"
        if not settings.tensorboard:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MedSAMError(
                "TensorBoard is not installed: pip install 'medsamslicer[lab]', or leave --tensorboard out."
            ) from error
        self._make = SummaryWriter

    def add(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Curves `group/name`."""
        if self._writer is None and self._make is not None:  # a run that cannot begin leaves no file
            self._writer = self._make(str(self._folder))
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()


class Report:
    """The log of one leg; silent on all processes but the first."""

    def __init__(self, settings: TrainSettings, speaks: bool) -> None:
        self._settings, self._speaks = settings, speaks
        self._board = Board(settings) if speaks else None
        self._terminal = sys.stderr.isatty()
        self._next_line = 0.0
        self._line_open = False
        self._losses: deque[float] = deque(maxlen=200)

    def begin(self, what: str) -> None:
        """Before something that takes its time and shows nothing."""
        if self._speaks:
            sys.stderr.write(f"{what}\n")
            sys.stderr.flush()

    def step(self, trainer: Trainer, loss: float, leg_minutes: float, waited: float) -> None:
        """After every step; `waited` is the share of the time in which there was no batch."""
        self._losses.append(loss)
        if not self._speaks or leg_minutes < self._next_line:
            return
        self._next_line = leg_minutes + (_TERMINAL_MINUTES if self._terminal else _FILE_MINUTES)
        dices = _means(trainer)
        scores = " ".join(f"{name} {value:.3f}" for name, value in dices.items())
        best = f"best {trainer.best:.4f}" if trainer.best >= 0 else "not judged yet"
        line = (
            f"{trainer.minutes:7.1f} min  step {trainer.step_count}  loss {self._loss():.3f}  {best}"
            f"  waited {100 * waited:.0f} %  {scores}"
        )
        sys.stderr.write(f"\r{_fitted(line)}" if self._terminal else f"\n{line}")
        sys.stderr.flush()
        self._line_open = True
        if self._board is not None:
            rate = max(group["lr"] for group in trainer.optimizer.param_groups)
            self._board.add("training", {"loss": self._loss(), "rate": rate, **dices}, trainer.step_count)

    def validated(self, trainer: Trainer, scores: Scores) -> None:
        """After every validation."""
        training = {name: round(value, 4) for name, value in _means(trainer).items()}
        if self._losses:
            training["loss"] = round(self._loss(), 4)
        row: dict[str, float | int | str] = {
            "minutes": round(trainer.minutes, 2),
            "step": trainer.step_count,
            "stage": self._settings.stage,
            "size": self._settings.size,
            **{name: round(number, 4) for name, number in asdict(scores).items()},
            "training": repr(training),
        }
        _append(self._settings.out / LOG, row)
        if self._board is not None:
            self._board.add("validation", asdict(scores), trainer.step_count)

    def close(self) -> None:
        """End the line and the files."""
        if self._line_open:
            sys.stderr.write("\n")
            self._line_open = False
        if self._board is not None:
            self._board.close()

    def _loss(self) -> float:
        return sum(self._losses) / max(1, len(self._losses))


def _means(trainer: Trainer) -> dict[str, float]:
    return {name: sum(values) / len(values) for name, values in sorted(trainer.dices.items())}


def _fitted(line: str) -> str:
    """A line exactly as wide as the terminal less one, so that the next one covers it."""
    width = max(20, shutil.get_terminal_size().columns - 1)
    return f"{line[:width]:<{width}}"


def _append(path: Path, row: dict[str, float | int | str]) -> None:
    """Add a row to the log, all of it or nothing: a killed run leaves no half of a line."""
    try:
        before = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise output_error(path, error) from error
    before = before[: before.rfind(b"\n") + 1]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(row))
    if not before:
        writer.writeheader()
    writer.writerow(row)
    write_bytes(path, before + text.getvalue().encode())
