"""Between 3D Slicer's scene and the core: volumes, segments, prompts, views. No Qt."""

from __future__ import annotations

from slicer import i18n

from ..core.translation import install_translator


def _translated(file: str, text: str) -> str:
    return str(i18n.translate(i18n.getContext(file), text))


install_translator(_translated)
