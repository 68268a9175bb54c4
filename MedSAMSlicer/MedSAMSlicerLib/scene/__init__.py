"""Between 3D Slicer's scene and the core: volumes, segments, prompts, views. No Qt."""

from __future__ import annotations

from slicer.i18n import getContext, translate

from ..core.translation import install_translator


def _translated(file: str, text: str) -> str:
    return str(translate(getContext(file), text))


install_translator(_translated)
