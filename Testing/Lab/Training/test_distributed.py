"""Two processes with half of the clips each make the step that one process makes with all of them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from Testing.small_networks import SMALLEST  # noqa: E402

from MedSAMSlicerLib.lab.training.labeled import DataSettings  # noqa: E402
from MedSAMSlicerLib.lab.training.loop import train  # noqa: E402
from MedSAMSlicerLib.lab.training.settings import TrainSettings  # noqa: E402
from MedSAMSlicerLib.sam2.checkpoint import seeded  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
RUN = """
    import sys
    from pathlib import Path
    from Testing.Lab.Training.test_distributed import train_on
    train_on(Path(sys.argv[1]), Path(sys.argv[2]), 6)
"""
AVERAGE = """
    import torch
    from MedSAMSlicerLib.lab.training import distributed
    with distributed.process_group("cpu") as device:
        rank = distributed.rank()
        a, b, c = (torch.nn.Parameter(torch.zeros(3)) for _ in range(3))
        a.grad = torch.full((3,), 1.0 + 2 * rank)
        if rank == 1:
            b.grad = torch.ones(3)
        distributed.average_gradients([a, b, c])
        assert a.grad.tolist() == [2.0] * 3 and b.grad.tolist() == [0.5] * 3 and c.grad is None
        assert distributed.from_first([float(rank), 7.5], device) == [0.0, 7.5]
        assert distributed.everywhere(True, device) and not distributed.everywhere(rank == 0, device)
        assert distributed.world() == 2 and float(distributed.mean(torch.tensor(float(rank)))) == 0.5
    assert distributed.world() == 1
"""


def train_on(out: Path, data: Path, frames: int) -> dict[str, torch.Tensor]:
    """Four steps with `frames` slices a process; what was learned."""
    settings = TrainSettings(
        out=out, minutes=5.0, steps=4, stage=2, size=32, frames=frames, threads=1, workers=0,
        warmup_steps=1, validation_clips=2, shortest=3, longest=3, single_share=0.0, seed=2,
        second_key=0.7, corrections=0.7, bfloat16=False, data=DataSettings(data),
    )  # fmt: skip
    train(settings, SMALLEST, resume=False, start=seeded(SMALLEST, 1))
    return torch.load(out / "state.pt", weights_only=True)


def in_two_processes(script: Path, code: str, *arguments: Path) -> None:
    script.write_text(textwrap.dedent(code))
    paths = os.pathsep.join((str(ROOT), str(ROOT / "MedSAMSlicer")))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ran = subprocess.run(
        [*command, str(script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Euclidean, without key biases: attention does not depend on them, and Adam turns their rounding into steps."""
    names = [name for name in a if not name.endswith("k_proj.bias")]
    return sum(float((a[name] - b[name]).square().sum()) for name in names) ** 0.5


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_batch(tmp_path: Path, balls: Path) -> None:
    in_two_processes(tmp_path / "run.py", RUN, tmp_path / "together", balls)
    together = torch.load(tmp_path / "together" / "state.pt", weights_only=True)
    alone, half = (train_on(tmp_path / str(frames), balls, frames) for frames in (12, 6))
    assert together["counts"] == alone["counts"]
    assert distance(alone["model"], together["model"]) < 1e-4
    assert distance(alone["model"], half["model"]) > 1e-2  # half of the clips make another step


def test_gradients_are_averaged_over_two_processes(tmp_path: Path) -> None:
    in_two_processes(tmp_path / "average.py", AVERAGE)
