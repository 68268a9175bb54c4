"""Small networks and small labeled volumes for the training tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from MedSAMSlicerLib.core.geometry import VolumeGeometry
from MedSAMSlicerLib.io.nifti import write_nifti

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def same_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Inside, the system refuses to write more bytes into a file, as it does when a disk is full."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def small_disk():
    """Files of at most 100 kB."""
    return files_of_at_most(100_000)


@pytest.fixture
def few_validation_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command judges the network on 4 clips, not on 32."""
    from MedSAMSlicerLib.lab.training import settings

    monkeypatch.setattr(settings, "TrainSettings", partial(settings.TrainSettings, validation_clips=4))


@pytest.fixture(scope="session")
def tiny_network():
    """The bundled network's kind with few channels, 32 pixels."""
    from Testing.small_networks import SMALLEST

    return SMALLEST


@pytest.fixture(scope="session")
def official_network():
    """SAM 2's own kind with few channels, 64 pixels: Hiera, several masks, no dense prompts, whole slices."""
    from MedSAMSlicerLib.sam2.config import TINY, HieraConfig

    return replace(
        TINY,
        name="official",
        image_size=64,
        trunk=HieraConfig(16, 1, (1, 1, 2, 1), (3,), (8, 4, 4, 2), (4, 4)),
        hidden_dim=32,
        memory_dim=16,
        memory_attention_layers=1,
        memory_attention_feedforward=32,
        decoder_feedforward=32,
        iou_hidden_dim=32,
    )


def write_ball(
    folder: Path, name: str, seed: int, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> None:
    """A bright ball in noise, 12 x 40 x 44 voxels, and its label."""
    random = np.random.default_rng(seed)
    k, j, i = np.meshgrid(np.arange(12), np.arange(40), np.arange(44), indexing="ij")
    center = (6 + random.uniform(-1, 1), 20 + random.uniform(-6, 6), 22 + random.uniform(-6, 6))
    mask = (2 * (k - center[0])) ** 2 + (j - center[1]) ** 2 + (i - center[2]) ** 2 < 9**2
    image = 100 + 200 * mask + random.normal(0, 20, mask.shape)
    geometry = VolumeGeometry.from_spacing(mask.shape, spacing)
    folder.mkdir(parents=True, exist_ok=True)
    write_nifti(folder / f"{name}_image.nii.gz", image.astype(np.int16), geometry)
    write_nifti(folder / f"{name}_label.nii.gz", mask.astype(np.uint8), geometry)


@pytest.fixture(scope="session")
def balls(tmp_path_factory) -> Path:
    """A folder of four labeled volumes."""
    folder = tmp_path_factory.mktemp("balls")
    for number in range(4):
        write_ball(folder, f"case{number}", number)
    return folder
