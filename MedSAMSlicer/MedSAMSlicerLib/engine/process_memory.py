"""The memory that this process holds, and that the computer could still give; None where the system reports none.

Linux reports everything, macOS and Windows most of it; this was run on neither macOS nor Windows.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident_bytes() -> int | None:
    """Memory this process holds now."""
    if sys.platform == "win32":
        return _windows_counters()[0]
    return _field(_STATUS, "VmRSS") or highest_bytes()


def highest_bytes() -> int | None:
    """The most this process has held since it began or since :func:`forget_highest`."""
    if sys.platform == "win32":
        return _windows_counters()[1]
    with contextlib.suppress(OSError, ImportError):
        import resource

        lifetime = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
            1 if sys.platform == "darwin" else 1024
        )
        return _field(_STATUS, "VmHWM") or lifetime
    return None


def forget_highest() -> bool:
    """Let :func:`highest_bytes` count from now on; False where the system cannot."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")
        return True
    return False


def available_bytes() -> int | None:
    """Memory the computer could give to programs without swapping."""
    if sys.platform == "win32":
        return _windows_available()
    free = _field(Path("/proc/meminfo"), "MemAvailable")
    if free is not None:
        return free
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return (
            os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        )  # macOS: half of what is built in
    return None


def _field(path: Path, name: str) -> int | None:
    """A field of a Linux status file, given there in kB."""
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    return None


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    class _Counters(ctypes.Structure):
        """PROCESS_MEMORY_COUNTERS of psapi.h."""

        _fields_ = [
            ("cb", wintypes.DWORD),
            ("PageFaultCount", wintypes.DWORD),
            ("PeakWorkingSetSize", ctypes.c_size_t),
            ("WorkingSetSize", ctypes.c_size_t),
            ("QuotaPeakPagedPoolUsage", ctypes.c_size_t),
            ("QuotaPagedPoolUsage", ctypes.c_size_t),
            ("QuotaPeakNonPagedPoolUsage", ctypes.c_size_t),
            ("QuotaNonPagedPoolUsage", ctypes.c_size_t),
            ("PagefileUsage", ctypes.c_size_t),
            ("PeakPagefileUsage", ctypes.c_size_t),
        ]

    class _Status(ctypes.Structure):
        """MEMORYSTATUSEX of sysinfoapi.h."""

        _fields_ = [
            ("dwLength", wintypes.DWORD),
            ("dwMemoryLoad", wintypes.DWORD),
            ("ullTotalPhys", ctypes.c_ulonglong),
            ("ullAvailPhys", ctypes.c_ulonglong),
            ("ullTotalPageFile", ctypes.c_ulonglong),
            ("ullAvailPageFile", ctypes.c_ulonglong),
            ("ullTotalVirtual", ctypes.c_ulonglong),
            ("ullAvailVirtual", ctypes.c_ulonglong),
            ("ullAvailExtendedVirtual", ctypes.c_ulonglong),
        ]

    def _windows_counters() -> tuple[int | None, int | None]:
        counters = _Counters()
        counters.cb = ctypes.sizeof(counters)
        process = ctypes.windll.kernel32.GetCurrentProcess()
        if not ctypes.windll.psapi.GetProcessMemoryInfo(
            wintypes.HANDLE(process), ctypes.byref(counters), counters.cb
        ):
            return None, None
        return counters.WorkingSetSize, counters.PeakWorkingSetSize

    def _windows_available() -> int | None:
        status = _Status()
        status.dwLength = ctypes.sizeof(status)
        return (
            status.ullAvailPhys if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else None
        )
