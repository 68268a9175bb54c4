"""What a run reports: a log that becomes a picture, and TensorBoard where it is installed."""

from __future__ import annotations

import io
import sys
from collections import deque
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("torch")

from MedSAMSlicerLib.cli import main
from MedSAMSlicerLib.core.errors import MedSAMError, OutputError
from MedSAMSlicerLib.lab.training.curves import draw_curves, read_log
from MedSAMSlicerLib.lab.training.log import Board, Report
from MedSAMSlicerLib.lab.training.settings import TrainSettings
from MedSAMSlicerLib.lab.training.trainer import Trainer
from MedSAMSlicerLib.lab.training.validation import Scores
from MedSAMSlicerLib.sam2.config import Config

HEADER = "minutes,step,stage,size,box,point,neighbor,clip,clip_last,training\n"
ROWS = (
    "5.0,100,1,128,0.5,0.4,0.6,0.3,0.2,\"{'box': 0.52, 'loss': 1.5}\"\n"
    "10.0,200,1,128,0.6,0.5,0.7,0.4,0.3,\"{'box': 0.61, 'loss': 1.2}\"\n"
    "15.0,290,2,128,0.7,0.6,0.8,0.5,0.4,\"{'box': 0.7, 'clip-box': 0.5}\"\n"
)


def test_the_log_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(HEADER + ROWS)
    assert main(["train", "--curves", str(tmp_path / "curves.png"), "--out", str(tmp_path)]) == 0
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "curves.png")))
    assert picture.shape[1] > picture.shape[0] > 400
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_curves_hold_the_values_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(HEADER + ROWS)
    validated, trained, begun = read_log(tmp_path)
    curves = {
        curve.name: curve.points.tolist() for curve in validated + trained if curve.name in ("clip", "loss")
    }
    assert curves == {"clip": [[100, 0.3], [200, 0.4], [290, 0.5]], "loss": [[100, 1.5], [200, 1.2]]}
    assert begun == [290]


def test_one_row_is_enough(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(HEADER + ROWS.splitlines()[0] + "\n")
    draw_curves(tmp_path / "curves.png", tmp_path)
    assert (tmp_path / "curves.png").stat().st_size > 1000


@pytest.mark.parametrize("content", [None, "", HEADER, "a,b\n1,2\n", HEADER + "x,y,z\n"])
def test_what_is_no_log_is_reported(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "log.csv").write_text(content)
    assert main(["train", "--curves", str(tmp_path / "curves.png"), "--out", str(tmp_path)]) == 1
    assert "log.csv" in capsys.readouterr().err


def test_without_tensorboard_the_user_is_reported_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MedSAMError, match=r"medsamslicer\[lab\]"):
        Board(TrainSettings(out=tmp_path, minutes=1.0, tensorboard=True))


def test_tensorboard_gets_the_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    board = Board(TrainSettings(out=tmp_path, minutes=1.0, tensorboard=True))
    board.add("validation", {"clip": 0.5}, 10)
    board.close()
    assert list((tmp_path / "tensorboard").iterdir())


class Terminal(io.StringIO):
    """What a person sees."""

    def isatty(self) -> bool:
        return True


def test_the_progress_line_stays_on_one_line_of_the_terminal(
    tmp_path: Path, tiny_network: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "70")
    settings = TrainSettings(out=tmp_path, minutes=1.0, size=32)
    trainer, report = Trainer(settings, tiny_network), Report(settings, True)
    report.step(trainer, 1.0, 0.1, 0.0)
    trainer.dices = {
        f"clip-{name}": deque([0.5]) for name in ("box", "point", "mask", "scribble", "corrected")
    }
    trainer.best = 0.5
    report.step(trainer, 1.0, 0.2, 0.0)
    _, first, second = screen.getvalue().split("\r")
    assert len(first) == len(second) == 69
    assert "not judged yet" in first
    assert "best 0.5000" in second


def test_weights_for_which_there_is_no_room_are_reported(
    tmp_path: Path, tiny_network: Config, small_disk: AbstractContextManager[None]
) -> None:
    trainer = Trainer(TrainSettings(out=tmp_path, minutes=1.0, size=32), tiny_network)
    with small_disk, pytest.raises(OutputError, match=r"best\.safetensors: the file would be larger"):
        trainer.export(tmp_path / "best.safetensors", Scores(0, 0, 0, 0, 0))
    assert list(tmp_path.iterdir()) == []


def test_others_may_read_the_weights_as_any_new_file(tmp_path: Path, tiny_network: Config) -> None:
    (tmp_path / "plain").touch()
    trainer = Trainer(TrainSettings(out=tmp_path, minutes=1.0, size=32), tiny_network)
    trainer.export(tmp_path / "best.safetensors", None)
    assert (tmp_path / "best.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
