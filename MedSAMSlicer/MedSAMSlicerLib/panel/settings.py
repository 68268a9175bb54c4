"""The choices that belong to this computer and not to a study, kept in Slicer's settings under `MedSAMSlicer/`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import qt

_PREFIX = "MedSAMSlicer/"

DEVICES = ("auto", "cuda", "mps", "cpu")
"""Devices that the panel can offer; "auto" takes a GPU where there is one."""


VOLUME_STAGES = ("auto", "learned", "off")
"""What the panel offers of `core.tiers.STAGES`."""


class MachineSettings:
    """Device, folder of downloaded models and memory for features, as the user left them.

    Args:
        store: something like qt.QSettings, with value(key) and setValue(key, value); None = Slicer's own.
    """

    def __init__(self, store: Any = None) -> None:
        self._store = qt.QSettings() if store is None else store

    @property
    def device(self) -> str:
        """The device chosen last; "auto" when it is none of those that this kind of computer can have."""
        stored = str(self._read("Device") or "auto")
        return stored if stored in offered_devices() else "auto"

    @device.setter
    def device(self, device: str) -> None:
        self._store.setValue(_PREFIX + "Device", device)

    @property
    def models_folder(self) -> Path | None:
        """The folder that models are downloaded to; None = the usual place of this system."""
        stored = self._read("ModelsFolder")
        return Path(str(stored)).expanduser() if stored else None

    @models_folder.setter
    def models_folder(self, folder: Path | None) -> None:
        self._store.setValue(_PREFIX + "ModelsFolder", "" if folder is None else str(folder))

    @property
    def cache_bytes(self) -> int | None:
        """Memory for features of slices, in bytes; None = chosen by the engine."""
        stored = self._read("CacheBytes")
        try:
            return int(stored) if stored else None
        except (TypeError, ValueError):  # edited by hand
            return None

    @property
    def volume_stage(self) -> str:
        """The stage that looks at all slices together; "auto" when it is none of those offered."""
        stored = str(self._read("VolumeStage") or "auto")
        return stored if stored in VOLUME_STAGES else "auto"

    @volume_stage.setter
    def volume_stage(self, name: str) -> None:
        self._store.setValue(_PREFIX + "VolumeStage", name)

    @property
    def live(self) -> bool:
        """Return whether masks grow by themselves after each prompt, where this computer is quick enough."""
        return str(self._read("Live") or "on") == "on"

    @live.setter
    def live(self, on: bool) -> None:
        self._store.setValue(_PREFIX + "Live", "on" if on else "off")

    def _read(self, key: str) -> Any:
        return self._store.value(_PREFIX + key)


def offered_devices() -> tuple[str, ...]:
    """The devices that this kind of computer can have: Apple's GPU on macOS, NVIDIA's elsewhere."""
    other = "cuda" if sys.platform == "darwin" else "mps"
    return tuple(device for device in DEVICES if device != other)
