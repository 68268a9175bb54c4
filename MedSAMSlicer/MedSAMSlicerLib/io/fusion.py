"""Up to three volumes of one patient, such as CT, PET and MR, as the three channels that a network sees.

Each volume is shown through a window of its own and lies on the voxels of the first one: what has another grid is
interpolated linearly, and what lies beyond a volume is black in its channel. Volumes must be registered already: they
are put where their headers say they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..core.errors import GeometryError, VolumeError
from ..core.geometry import SAME_PLACE_VOXELS, VolumeGeometry
from ..core.intensity import Window, choose_window
from .volumes import Volume, read_volume

logger = logging.getLogger(__name__)

MOST_CHANNELS = 3


@dataclass(frozen=True, eq=False)
class Channel:
    """One volume and the window through which it is shown."""

    volume: Volume
    window: Window


def read_channel(
    path: str | Path, window: str = "auto", notify: Callable[[str], None] | None = None
) -> Channel:
    """Read a further volume.

    Args:
        path: of a file or a folder with a DICOM series.
        window: as :func:`~..core.intensity.choose_window` takes it.
        notify: takes warnings, one sentence each; None = they are logged.

    Raises:
        VolumeError: one sentence that names what cannot be read.
    """
    volume, warn = read_volume(path), notify or logger.warning
    for sentence in volume.warnings:
        warn(sentence)
    return Channel(volume, choose_window(volume.array, window, volume.modality, warn))


def fused(channels: Sequence[Channel]) -> npt.NDArray[np.uint8]:
    """The channels as frames in color, (K, J, I, 3) uint8, on the voxels of the first one.

    Args:
        channels: two or three, which become red, green and blue; of two, the first is shown in blue once more.

    Raises:
        VolumeError: If there are not two or three.
        GeometryError: If one of them does not meet the first anywhere.
    """
    if not 2 <= len(channels) <= MOST_CHANNELS:
        raise VolumeError(f"Two or three volumes can be shown as channels, got {len(channels)}.")
    first = channels[0].volume
    result = np.empty((*first.geometry.shape, MOST_CHANNELS), np.uint8)
    for number, channel in enumerate(channels):
        array = channel.volume.array if number == 0 else on_grid(channel.volume, first.geometry)
        result[..., number] = channel.window.apply(array)
    if len(channels) < MOST_CHANNELS:
        result[..., MOST_CHANNELS - 1] = result[..., 0]
    return result


def on_grid(volume: Volume, geometry: VolumeGeometry) -> npt.NDArray[Any]:
    """The voxels of a volume on another grid, (K, J, I).

    On the same grid, to a tenth of a voxel, they stay as they are; else they are float32, interpolated linearly, and
    NaN beyond the volume.

    Raises:
        GeometryError: If the volume lies beyond the grid altogether.
    """
    if volume.geometry.distance_to(geometry) <= SAME_PLACE_VOXELS * min(geometry.spacing):
        return volume.array
    image = sitk.GetImageFromArray(volume.array.astype(np.float32))  # its places are voxel indices
    matrix = volume.geometry.ras_to_ijk @ geometry.ijk_to_ras
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    grid = sitk.Image([int(n) for n in reversed(geometry.shape)], sitk.sitkUInt8)
    moved = sitk.GetArrayFromImage(sitk.Resample(image, grid, transform, sitk.sitkLinear, float("nan")))
    if np.isnan(moved).all():
        raise GeometryError(f"{volume.path} does not overlap the first volume in space.")
    return np.asarray(moved)
