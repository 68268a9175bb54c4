"""Values read from JSON, with their place in the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from .errors import MedSAMError, PromptError

T = TypeVar("T")


@dataclass(frozen=True)
class Field:
    """A value of the file with its place, so that every error names where and what."""

    path: str
    value: Any

    def refuse(self, reason: str) -> NoReturn:
        """Raise PromptError: the field, and why it cannot be."""
        raise PromptError(f"The prompts do not fit: {self.path or 'the file'} {reason}.")

    def members(self, keys: str, optional: str = "") -> dict[str, Field]:
        """The fields of an object with exactly these keys (parted by spaces); optional ones that lack are None."""
        if not isinstance(self.value, dict):
            self.refuse(f"must be an object, got {shown(self.value)}")
        for key in keys.split():
            if key not in self.value:
                self.refuse(f"lacks {key!r}")
        for key in self.value:
            if key not in keys.split() + optional.split():
                self.refuse(f"has the unknown key {key!r}")
        prefix = f"{self.path}." if self.path else ""
        content = dict.fromkeys(optional.split()) | self.value
        return {key: Field(f"{prefix}{key}", value) for key, value in content.items()}

    def items(self, length: int | None = None) -> Sequence[Field]:
        """The fields of a list, of `length` if that is given."""
        if not isinstance(self.value, list) or (length is not None and len(self.value) != length):
            wanted = "a list" if length is None else f"a list of {length}"
            self.refuse(f"must be {wanted}, got {shown(self.value)}")
        return [Field(f"{self.path}[{i}]", value) for i, value in enumerate(self.value)]

    def number(self) -> float:
        """A finite float."""
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            self.refuse(f"must be a number, got {shown(self.value)}")
        if not abs(self.value) < 1e308:
            self.refuse(f"must be a finite number, got {shown(self.value)}")
        return float(self.value)

    def whole(self) -> int:
        """A whole number from 0."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not 0 <= self.value < 1 << 53:
            self.refuse(f"must be a whole number from 0, got {shown(self.value)}")
        return self.value

    def text(self) -> str:
        """A text."""
        if not isinstance(self.value, str):
            self.refuse(f"must be text, got {shown(self.value)}")
        return self.value

    def flag(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            self.refuse(f"must be true or false, got {shown(self.value)}")
        return self.value

    def optional(self, read: Callable[[Field], T]) -> T | None:
        """`read(field)`; None where the file has null, or no such key."""
        return None if self.value is None else read(self)

    def checked(self, make: Callable[..., T], *arguments: Any) -> T:
        """`make(*arguments)`, its error extended by the place."""
        try:
            return make(*arguments)
        except MedSAMError as error:
            raise PromptError(f"The prompts do not fit: {self.path or 'the file'}: {error}") from None


def shown(value: object) -> str:
    """A value as an error names it."""
    return repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
