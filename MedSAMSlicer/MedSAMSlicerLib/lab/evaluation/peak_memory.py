"""By how much memory grew while something ran: that of the process, or that of a GPU."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys

import torch

from ...engine.process_memory import forget_highest, highest_bytes, resident_bytes

_MIB = float(1 << 20)


class ProcessMemory:
    """The memory of this process, from now on.

    Only Linux counts from zero again within one process. What libraries keep from one run to the next, such as weights
    in the order they compute with, counts in the first run alone.
    """

    def __init__(self) -> None:
        _give_back()
        self._before = resident_bytes()
        self._most: float | None = None

    def begin(self) -> None:
        """Count from here."""
        self._counts = forget_highest()

    def end(self) -> None:
        """Count until here; the largest growth of all such stretches counts."""
        highest = highest_bytes()
        if self._counts and highest is not None and self._before is not None:
            self._most = max(self._most or 0.0, (highest - self._before) / _MIB)

    def growth_mb(self) -> float | None:
        """MiB above what was held before, None where it is unknown."""
        return self._most


class DeviceMemory:
    """The memory that torch holds on a GPU, from now on.

    Args:
        device: "cpu", "cuda", "cuda:1", "mps"; only CUDA counts.
    """

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._before = 0
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)

    def growth_mb(self) -> float | None:
        """MiB above what was held before, None on a device that does not count."""
        if self._device.type != "cuda":
            return None
        return (torch.cuda.max_memory_allocated(self._device) - self._before) / _MIB


def _give_back() -> None:
    """Hand freed memory back to the system, so that using it again counts."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library has no such function
            ctypes.CDLL(None).malloc_trim(0)
