"""Read a .ui file as Slicer's QUiLoader does, with the facades and stand-ins; what is not known is an error.

The file is checked before it is loaded: each class, each property, each signal and slot of a connection.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import slicer
from PySide6 import QtCore, QtUiTools

from .ctk_widgets import ctk
from .facade import _properties, qt


class UiError(Exception):
    """A .ui file uses what the C++ class does not have, or what has no stand-in."""


class UiLoader(QtUiTools.QUiLoader):
    """Module `qt`'s QUiLoader."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._made: list[Any] = []
        self._path = ""

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        """Called back by Qt for every widget."""
        widget = class_named(class_name)() if parent is None else class_named(class_name)(parent)
        widget.setObjectName(name)
        self._made.append(widget)
        return widget

    def createLayout(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        """Called back by Qt for every layout."""
        layout = getattr(qt, class_name)(parent) if _takes_layout(parent) else getattr(qt, class_name)()
        layout.setObjectName(name)
        self._made.append(layout)
        return layout

    def load(self, file: Any, parent: Any = None) -> Any:
        """The widget of an opened file; UiError where something in it is not known."""
        self._path = file.fileName()
        root = ElementTree.fromstring(Path(self._path).read_text(encoding="utf-8"))
        for element in root.iter("widget"):
            self._check(element)
        connections = [] if root.find("connections") is None else list(root.find("connections"))
        if connections:
            root.remove(root.find("connections"))
        buffer = QtCore.QBuffer()
        buffer.setData(QtCore.QByteArray(ElementTree.tostring(root)))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        self._made.clear()
        widget = super().load(buffer, parent)
        if widget is None:
            raise UiError(f"{self._path}: {self.errorString()}")
        self._connect(connections, {made.objectName: made for made in self._made})
        widget._pq_kept = list(self._made)
        return widget

    def _check(self, element: ElementTree.Element) -> None:
        name = element.get("class", "")
        try:
            known = _properties(_sample(name))
        except (AttributeError, NotImplementedError) as error:
            raise UiError(f"{self._path}: widget {element.get('name')}: {error}") from error
        for found in element.findall("property"):
            dynamic = found.get("stdset") == "0"
            if found.get("name") not in known and not dynamic:
                raise UiError(
                    f"{self._path}: {name} {element.get('name')} has no property {found.get('name')!r}"
                )

    def _connect(self, connections: list[ElementTree.Element], made: dict[str, Any]) -> None:
        for connection in connections:
            sender, signal, receiver, slot = (
                connection.findtext(part, "") for part in ("sender", "signal", "receiver", "slot")
            )
            for name in (sender, receiver):
                if name not in made:
                    raise UiError(
                        f"{self._path}: a connection names {name!r}, which is no widget of the file"
                    )
            try:
                made[sender].connect(signal, getattr(made[receiver], slot.partition("(")[0]))
            except AttributeError as error:
                raise UiError(
                    f"{self._path}: connection {sender}.{signal} -> {receiver}.{slot}: {error}"
                ) from error


def class_named(name: str) -> type:
    """The facade or stand-in of a class that a .ui file names; AttributeError where there is none."""
    if name.startswith("ctk"):
        return getattr(ctk, name)
    if name.startswith(("qMRML", "qSlicer")):
        return getattr(slicer, name)
    if name == "Line":
        return qt.QFrame
    return getattr(qt, name)


_samples: dict[str, Any] = {}


def _sample(class_name: str) -> Any:
    """One object of each class, to ask it for its properties."""
    from shiboken6 import isValid

    if class_name not in _samples or not isValid(_samples[class_name]):
        _samples[class_name] = class_named(class_name)()
    return _samples[class_name]


def _takes_layout(parent: Any) -> bool:
    return parent is not None and parent.isWidgetType() and parent.layout() is None


qt.QUiLoader = UiLoader
