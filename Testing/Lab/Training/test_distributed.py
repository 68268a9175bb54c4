"""Two processes with half of the clips each make the step that one process makes with all of them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[3]
RUN = """
    import sys
    from dataclasses import replace
    from pathlib import Path
    from MedSAMSlicerLib.sam2.checkpoint import seeded
    from MedSAMSlicerLib.sam2.config import NANO, ConvTrunkConfig
    from MedSAMSlicerLib.lab.training.labeled import DataSettings
    from MedSAMSlicerLib.lab.training.loop import train
    from MedSAMSlicerLib.lab.training.settings import TrainSettings

    out, data, frames = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    config = replace(NANO, name="test", image_size=32, trunk=ConvTrunkConfig((8, 16, 16, 16), (1, 1, 1, 1)),
                     hidden_dim=32, memory_dim=16, memory_attention_layers=1, memory_attention_feedforward=32,
                     decoder_feedforward=32, iou_hidden_dim=32)
    settings = TrainSettings(out=out, minutes=5.0, steps=4, stage=2, size=32, frames=frames, threads=1, workers=0,
                             warmup_steps=1, validation_clips=2, shortest=3, longest=3, single_share=0.0, seed=2,
                             second_key=0.7, corrections=0.7, bfloat16=False, data=DataSettings(data))
    train(settings, config, resume=False, start=seeded(config, 1))
"""


def run(tmp_path: Path, name: str, data: Path, frames: int, processes: int) -> dict[str, torch.Tensor]:
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(RUN))
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "MedSAMSlicer"), "OMP_NUM_THREADS": "1"}
    arguments = [str(script), str(tmp_path / name), str(data), str(frames)]
    ran = subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return torch.load(tmp_path / name / "state.pt", weights_only=True)


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Euclidean, without key biases: attention does not depend on them, and Adam turns their rounding into steps."""
    names = [name for name in a if not name.endswith("k_proj.bias")]
    return sum(float((a[name] - b[name]).square().sum()) for name in names) ** 0.5


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_batch(tmp_path: Path, balls: Path) -> None:
    alone = run(tmp_path, "alone", balls, frames=12, processes=1)
    together = run(tmp_path, "together", balls, frames=6, processes=2)
    half = run(tmp_path, "half", balls, frames=6, processes=1)
    assert together["counts"] == alone["counts"]
    assert distance(alone["model"], together["model"]) < 1e-4
    assert distance(alone["model"], half["model"]) > 1e-2  # half of the clips make another step


def test_gradients_are_averaged_over_two_processes(tmp_path: Path) -> None:
    script = tmp_path / "average.py"
    script.write_text(
        textwrap.dedent("""
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
        """)
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "MedSAMSlicer"), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(script),
    ]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
