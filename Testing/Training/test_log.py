"""What a run tells: a log that becomes a picture, and TensorBoard where it is installed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("torch")

from MedSAMSlicerLib.cli import main
from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.training.curves import draw_curves, read_log
from MedSAMSlicerLib.training.log import Board
from MedSAMSlicerLib.training.settings import TrainSettings

HEADER = "minutes,step,stage,size,box,point,neighbour,clip,clip_last,training\n"
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
def test_what_is_no_log_is_told(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "log.csv").write_text(content)
    assert main(["train", "--curves", str(tmp_path / "curves.png"), "--out", str(tmp_path)]) == 1
    assert "log.csv" in capsys.readouterr().err


def test_without_tensorboard_the_user_is_told_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MedSAMError, match=r"medsamslicer\[training\]"):
        Board(TrainSettings(out=tmp_path, minutes=1.0, tensorboard=True))


def test_tensorboard_gets_the_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    board = Board(TrainSettings(out=tmp_path, minutes=1.0, tensorboard=True))
    board.add("validation", {"clip": 0.5}, 10)
    board.close()
    assert list((tmp_path / "tensorboard").iterdir())
