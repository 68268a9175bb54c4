"""A small CT-like volume as a file, and sessions with the bundled network without its second stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from MedSAMSlicerLib.app.workspace import Settings
from MedSAMSlicerLib.core.geometry import VolumeGeometry
from MedSAMSlicerLib.io.nifti import write_nifti
from MedSAMSlicerLib.web.limits import Limits
from MedSAMSlicerLib.web.store import SessionStore, private_root

SHAPE = (14, 48, 56)
GEOMETRY = VolumeGeometry(
    SHAPE, np.array([[-0.8, 0, 0, 20], [0, -0.8, 0, 18], [0, 0, 3.0, -40], [0, 0, 0, 1]], dtype=float)
)
BOX = [[8, 14], [27, 35]]  # around the body on slice 7
SETTINGS = Settings(device="cpu", threads=1, volume_stage="off")

MakeStore = Callable[..., SessionStore]


def body() -> npt.NDArray[np.bool_]:
    """A bright ellipsoid, (K, J, I)."""
    k, j, i = np.indices(SHAPE)
    return np.asarray(((k - 7) / 5.5) ** 2 + ((j - 24) / 10) ** 2 + ((i - 17) / 9) ** 2 <= 1.0)


def dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """The overlap of two masks."""
    return float(2 * (one & other).sum() / max(1, one.sum() + other.sum()))


@pytest.fixture(scope="session")
def ct_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ellipsoid in noise, as NIfTI."""
    noise = np.random.default_rng(0).normal(0, 12, SHAPE)
    path = tmp_path_factory.mktemp("volumes") / "ct.nii.gz"
    write_nifti(path, np.rint(noise - 80 + 180 * body()).astype(np.int16), GEOMETRY)
    return path


@pytest.fixture
def make_store(tmp_path: Path) -> Iterator[MakeStore]:
    """Makes stores with limits, which end with the test."""
    made: list[SessionStore] = []

    def make(limits: Limits | None = None, **options: object) -> SessionStore:
        made.append(SessionStore(private_root(tmp_path), SETTINGS, limits, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for store in made:
        store.close()
