"""The way to the translator, for parts that show the user sentences and do not know Slicer.

Sentences are looked up by the file they stand in, as Slicer's own `slicer.i18n.tr` does; :mod:`..scene` installs that
look-up inside Slicer. Without a translator they stay English.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

Translator = Callable[[str, str], str]
"""Called as translator(file, text), returns the text in the user's language."""

_translator: Translator | None = None


def install_translator(translator: Translator | None) -> None:
    """Let `tr` ask this translator; None = sentences stay as they are."""
    global _translator  # noqa: PLW0603 - the language is one for the whole program, as in Slicer
    _translator = translator


def tr(text: str) -> str:
    """Return `text` in the user's language; imported as `_`, as in Slicer's own modules."""
    if _translator is None:
        return text
    return _translator(sys._getframe(1).f_code.co_filename, text)
