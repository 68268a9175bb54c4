"""SlicerHost: the module's real panel beside Slicer's real views, on the slicer-core and PySide6 wheels.

    from Testing.Host import SlicerHost

    with SlicerHost() as host:
        volume = host.add_volume(array_kji, ijk_to_ras)        # or host.load_volume(path)
        widget = host.open_module()
        host.press(widget.ui.positiveButton)
        host.click("Red", (10.0, -20.0, 35.0))

What is real: the MRML scene with its logics, the displayable managers, the interaction of the views, slicer.util. What
stands in: the widgets of ctk and qMRML, PythonQt, slicer.app, each after the C++ header that its docstring names. What
has no stand-in raises. See docs/slicer-host.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .host import HostErrors, SlicerHost

__all__ = ["HostErrors", "SlicerHost"]


def __getattr__(name: str) -> Any:
    """SlicerHost is imported when it is asked for: it needs the wheels, which a test may have to skip without."""
    if name in __all__:
        from . import host

        return getattr(host, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
