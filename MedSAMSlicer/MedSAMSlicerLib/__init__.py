"""From one box to a 3-D mask: SAM 2 on medical volumes, inside 3D Slicer and outside it."""

from __future__ import annotations

__version__ = "0.1.0"
