"""How much memory this process takes, in bytes; peaks can be measured from a chosen moment on."""

from __future__ import annotations

import resource
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def resident_bytes() -> int:
    """Memory held now; 0 where the system does not tell (only Linux does)."""
    return _status("VmRSS")


def restart_peak() -> bool:
    """Let `peak_bytes` count from now on; False where the system cannot, so that it counts from the start."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


def peak_bytes() -> int:
    """The most memory this process has held since `restart_peak`, or since its start."""
    if _STATUS.exists():
        return _status("VmHWM")
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _status(name: str) -> int:
    if not _STATUS.exists():
        return 0
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0
