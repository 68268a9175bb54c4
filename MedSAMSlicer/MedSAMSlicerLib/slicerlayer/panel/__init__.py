"""The panel: one section a file, in the order in which the user meets them. See :class:`.panel.Panel`."""

from __future__ import annotations

from .panel import Panel

__all__ = ["Panel"]
