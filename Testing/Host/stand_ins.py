"""What the stand-ins of ctk and qMRML widgets are made of.

A stand-in has the properties, signals and methods of the C++ class that its docstring names, and no others: what the
module asks for beyond them raises. Names that begin with an underscore are its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6 import QtCore

from .facade import _FACADE


def stand_in(kind: type) -> type:
    """Mark a class as C++, as PythonQt sees it; its docstring must name the header that it follows."""
    assert ".h" in (kind.__doc__ or ""), f"the docstring of {kind.__name__} must name its C++ header"
    type.__setattr__(kind, _FACADE, "stand-in")
    return kind


def stored(kind: Any, name: str, default: Any, changed: Callable[[Any], None] | None = None) -> Any:
    """A Qt property that is kept on the object; `changed` is called with the object after a new value."""
    key = f"_stored_{name}"

    def read(self: Any) -> Any:
        return self.__dict__.get(key, list(default) if isinstance(default, list) else default)

    def write(self: Any, value: Any) -> None:
        if value != read(self):
            self.__dict__[key] = value
            if changed is not None:
                changed(self)

    return QtCore.Property(kind, read, write)


class Watched:
    """What a stand-in observes in the scene, until `forget`; a widget that is destroyed observes nothing any more."""

    def __init__(self, widget: Any) -> None:
        self._tags: list[tuple[Any, int]] = []
        widget.destroyed.connect(lambda *_: self.forget())

    def add(self, observed: Any, event: Any, act: Callable[..., None]) -> None:
        """Call `act` when something happens to a node or scene."""
        self._tags.append((observed, observed.AddObserver(event, act)))

    def forget(self) -> None:
        """Observe nothing of it any longer."""
        for observed, tag in self._tags:
            observed.RemoveObserver(tag)
        self._tags.clear()
