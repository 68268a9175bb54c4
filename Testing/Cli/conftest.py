"""Fixtures of the command-line tests: volumes as files, a program that runs, a checkpoint without training."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedSAMSlicerLib.cli import main
from MedSAMSlicerLib.core.geometry import VolumeGeometry

sys.path.insert(0, str(Path(__file__).parent.parent / "Models"))  # for the local server of its tests
PACKAGE = Path(__file__).parents[2] / "MedSAMSlicer"

Run = Callable[..., "Outcome"]


class Outcome:
    """How a run of the program ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def __repr__(self) -> str:
        return f"exit code {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test has its own folder of checkpoints and confirmed hashes."""
    folder = tmp_path_factory.mktemp("models")
    monkeypatch.setenv("MEDSAMSLICER_MODELS", str(folder))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("MEDSAMSLICER_OFFLINE", "MEDSAMSLICER_MIRROR", "MEDSAMSLICER_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the program within this process."""

    def run(*words: str | os.PathLike[str]) -> Outcome:
        capsys.readouterr()
        code = main([os.fspath(word) for word in words])
        message = capsys.readouterr()
        return Outcome(code, message.out, message.err)

    return run


@pytest.fixture
def program() -> Run:
    """Run the program as a process of its own; `prelude` is Python that runs before it."""

    def run(
        *words: str | os.PathLike[str], prelude: str = "", timeout: float = 300, **options: object
    ) -> Outcome:
        code = f"import sys\n{prelude}\nfrom MedSAMSlicerLib.cli import main\nsys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", code, *map(os.fspath, words)],
            env={**os.environ, "PYTHONPATH": str(PACKAGE), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **options,  # type: ignore[call-overload]
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


def ball(shape: tuple[int, int, int], center: tuple[float, float, float], radius: float) -> np.ndarray:
    """A ball of `radius` voxels, (K, J, I) bool."""
    grid = np.indices(shape).astype(float)
    return sum((axis - c) ** 2 for axis, c in zip(grid, center, strict=True)) < radius**2


@pytest.fixture(scope="session")
def ct_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CT-like volume of 12 x 40 x 48 voxels, 3 x 1.5 x 1.5 mm, with a bright ball around (6, 20, 24)."""
    rng = np.random.default_rng(0)
    array = rng.normal(-60, 15, (12, 40, 48))
    array[ball(array.shape, (6, 20, 24), 5)] += 160
    array[:, :2] = -1000
    image = sitk.GetImageFromArray(array.round().astype(np.int16))
    image.SetSpacing((1.5, 1.5, 3.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    path = tmp_path_factory.mktemp("ct") / "ct.nii.gz"
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture(scope="session")
def ct_geometry() -> VolumeGeometry:
    """Where the voxels of `ct_file` are."""
    return VolumeGeometry.from_spacing(
        (12, 40, 48), (1.5, 1.5, 3.0), (-10.0, 20.0, 30.0), np.diag([-1.0, -1.0, 1.0])
    )


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights that behave like trained ones: its masks mean nothing."""
    from Testing.small_networks import SMALL

    from MedSAMSlicerLib.sam2.checkpoint import save, seeded

    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save(seeded(SMALL, 3), path)
    return path


@pytest.fixture
def segment(cli: Run, ct_file: Path, random_checkpoint: Path) -> Run:
    """`medsamslicer segment` on the small CT with random weights; a box unless prompts are given."""

    def run(
        *words: str | os.PathLike[str], volume: Path = ct_file, prompt: str | None = "--box=6,19,15,29,25"
    ) -> Outcome:
        given = [prompt] if prompt else []
        return cli("segment", volume, *given, "--model", random_checkpoint, "--yes", "--threads", "1", *words)

    return run
