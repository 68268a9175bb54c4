"""The kinds of prompts, one file each: frozen, hashable, checked as far as they can be without their volume.

A new kind gets a file here and an entry in `KINDS`. Where other layers have to know it, a type checker says so: each
list of kinds there ends with `no_kind`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn, Union

from .base import PromptKind
from .box import Box
from .lasso import Lasso
from .line import RecistLine
from .mask import MaskPrompt
from .point import Point
from .scribble import Scribble

__all__ = [
    "KINDS",
    "Box",
    "DrawnPrompt",
    "Lasso",
    "MaskPrompt",
    "PlacedPrompt",
    "Point",
    "Prompt",
    "RecistLine",
    "Scribble",
    "no_kind",
]

DrawnPrompt = Scribble | Lasso | MaskPrompt
"""What is drawn by hand pixel by pixel and so has no handles in the views."""

# Union, since Python 3.10 is served and isinstance needs the members: Prompt.__args__.
PlacedPrompt = Union[Point, Box, Scribble, RecistLine, Lasso]  # noqa: UP007
Prompt = Union[PlacedPrompt, MaskPrompt]  # noqa: UP007

KINDS: Mapping[str, type[Prompt]] = {
    kind.kind: kind for kind in (Point, Box, Scribble, RecistLine, Lasso, MaskPrompt)
}
"""Every kind of prompt, by what it is called."""

if TYPE_CHECKING:  # each brings all that a kind must
    _complete: tuple[type[PromptKind], ...] = tuple(KINDS.values())


def no_kind(prompt: NoReturn) -> TypeError:
    """The error at the end of every list of kinds; a type checker refuses it there while a kind is left out."""
    return TypeError(f"{type(prompt).__name__} is no kind of prompt that is known here.")
