"""The further volumes of a patient that a row of a manifest names, which make its volume one in color."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.intensity import choose_window
from ..io.fusion import Channel, fused, read_channel
from ..io.volumes import Volume


def channels_of(row: Mapping[str, Any], folder: Path) -> tuple[tuple[Path, str], ...]:
    """The further volumes that a row of a manifest names, each with its window.

    Each is "FILE" or {"image": FILE, "window": ...}.

    Raises:
        KeyError, TypeError: If the row says something else.
    """
    given = [{"image": each} if isinstance(each, str) else each for each in row.get("channels") or ()]
    return tuple((folder / each["image"], str(each.get("window") or "auto")) for each in given)


def with_channels(volume: Volume, channels: Sequence[tuple[Path, str]], window: str = "auto") -> Volume:
    """The volume in color where further ones are named, else as it is; `window` is that of the volume itself."""
    if not channels:
        return volume
    first = Channel(volume, choose_window(volume.array, window, volume.modality))
    array = fused((first, *(read_channel(path, chosen) for path, chosen in channels)))
    array.setflags(write=False)
    return replace(volume, array=array, dicom_files=None)
