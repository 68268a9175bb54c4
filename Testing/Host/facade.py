"""The modules `qt` and `ctk` as PythonQt offers them inside 3D Slicer, over PySide6.

What PythonQt does (src/PythonQtInstanceWrapper.cpp, PythonQtSignal.cpp of commontk/PythonQt) and PySide6 does not:

- a Qt property is an attribute: `button.text = "OK"`, `slider.value`; the getter is not callable;
- `sender.connect("clicked(bool)", function)` and `disconnect`; a Python function gets as many arguments as it takes;
- a new attribute on a C++ object is an error; on a Python class derived from one it is allowed;
- a child is an attribute by its object name; `className()`, `delete()`, `exec_()`.

Stricter than PythonQt: an unknown signal raises, where PythonQt only returns False.
"""

from __future__ import annotations

import ctypes
import re
import sys
import types
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from shiboken6 import isValid

if sys.version_info < (3, 12):
    # PySide6 6.12 gives back one reference to True, False or None too many whenever a signal carries a bool, a slot
    # returns or disconnect() succeeds; before Python 3.12, where they are not immortal, that ends the process.
    for _constant in (True, False, None):
        ctypes.c_ssize_t.from_address(id(_constant)).value += 1 << 40

_ALIASES = {"name": "objectName"}
_OWN_ATTRIBUTES = "_pq_"
_FACADE = "__pythonqt_class__"


def is_cpp_class(kind: type) -> bool:
    """True for the classes that PythonQt would take for C++: facades of Qt classes, and stand-ins."""
    return _FACADE in vars(kind)


def arguments_taken(function: Callable[..., Any]) -> int | None:
    """How many positional arguments PythonQt passes to a callable; None is as many as the signal has."""
    plain = function.__func__ if isinstance(function, types.MethodType) else function
    if not isinstance(plain, types.FunctionType) or plain.__code__.co_flags & 0x04:
        return None
    return plain.__code__.co_argcount - isinstance(function, types.MethodType)


def _properties(owner: QtCore.QObject) -> dict[str, QtCore.QMetaProperty]:
    """The Qt properties of an object's class, by name."""
    kind = type(owner)
    found = kind.__dict__.get("_pq_properties")
    if found is None:
        meta = QtCore.QObject.metaObject(owner)
        found = {meta.property(n).name(): meta.property(n) for n in range(meta.propertyCount())}
        type.__setattr__(kind, "_pq_properties", found)
    return found


class BoundSignal:
    """A signal of one object: connect, disconnect, and emit by calling it."""

    def __init__(self, owner: PythonQtObject, name: str, signal: Any) -> None:
        self._owner, self._name, self._signal = owner, name, signal

    def connect(self, function: Callable[..., Any]) -> bool:
        """Call a function whenever the signal is emitted."""
        return connect_signal(self._owner, self._name, self._signal, function, None)

    def disconnect(self, function: Callable[..., Any] | None = None) -> bool:
        """Forget one function, or all that were connected here; False where it was not connected."""
        return disconnect_signal(self._owner, self._name, function)

    def emit(self, *arguments: Any) -> None:
        """Emit the signal."""
        self._signal.emit(*arguments)

    __call__ = emit


# PySide6 looks at the number of parameters of a slot to choose among the forms of a signal.
_SLOTS: tuple[Callable[[Callable[..., Any], int | None], Callable[..., None]], ...] = (
    lambda f, n: lambda: f(),  # noqa: PLW0108 -- Qt must see a function without parameters
    lambda f, n: lambda a: f(*(a,)[:n]),
    lambda f, n: lambda a, b: f(*(a, b)[:n]),
    lambda f, n: lambda a, b, c: f(*(a, b, c)[:n]),
    lambda f, n: lambda a, b, c, d: f(*(a, b, c, d)[:n]),
)


def _parameters_of_signal(owner: QtCore.QObject, name: str) -> int:
    """The most arguments that any form of a signal has."""
    meta = QtCore.QObject.metaObject(owner)
    methods = (meta.method(n) for n in range(meta.methodCount()))
    signal = QtCore.QMetaMethod.MethodType.Signal
    return max(m.parameterCount() for m in methods if m.methodType() == signal and m.name() == name)


def connect_signal(
    owner: Any, name: str, signal: Any, function: Callable[..., Any], sent: int | None
) -> bool:
    """Connect, with the number of arguments cut to what the signature and the function allow."""
    if not callable(function):
        raise TypeError(f"{type(owner).__name__}.connect: {function!r} is not callable")
    taken = arguments_taken(function)
    limit = min((count for count in (sent, taken) if count is not None), default=None)

    slot = _SLOTS[_parameters_of_signal(owner, name)](function, limit)
    owner.__dict__.setdefault("_pq_connections", []).append((name, function, signal, slot))
    signal.connect(slot)
    return True


def disconnect_signal(owner: Any, name: str, function: Callable[..., Any] | None) -> bool:
    connections = owner.__dict__.get("_pq_connections", [])
    gone = [c for c in connections if c[0] == name and (function is None or c[1] == function)]
    for connection in gone:
        connection[2].disconnect(connection[3])
        connections.remove(connection)
    return bool(gone)


def _find_signal(owner: Any, signature: str) -> tuple[str, Any, int]:
    """Name, PySide signal and number of arguments of "name(types)"; AttributeError where the class has none."""
    match = re.fullmatch(r"(\w+)\((.*)\)", signature.strip())
    if match is None:
        raise AttributeError(
            f"{type(owner).__name__}.connect: {signature!r} is not a signature like 'clicked(bool)'"
        )
    wanted = bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()
    name = wanted.partition("(")[0]
    arguments = [part for part in wanted.partition("(")[2][:-1].split(",") if part]
    for kind in type(owner).__mro__:
        signals = kind.__dict__.get("SIGNALS")
        if signals is not None and wanted in signals:
            return name, super(PythonQtObject, owner).__getattribute__(signals[wanted]), len(arguments)
    declared = any(name in kind.__dict__.get("SIGNALS", {}).values() for kind in type(owner).__mro__)
    if declared or QtCore.QObject.metaObject(owner).indexOfSignal(wanted) < 0:
        raise AttributeError(f"{type(owner).__name__} has no signal {signature!r}")
    return name, super(PythonQtObject, owner).__getattribute__(name), len(arguments)


def _connect(self: Any, signal: str, *target: Any) -> bool:
    """`connect(signal, function)` or `connect(signal, receiver, slot)`."""
    if len(target) == 2:
        receiver, slot = target
        function = getattr(receiver, slot.partition("(")[0])
    else:
        (function,) = target
    name, found, count = _find_signal(self, signal)
    return connect_signal(self, name, found, function, count)


def _disconnect(self: Any, signal: str, *target: Any) -> bool:
    name, _, _ = _find_signal(self, signal)
    if len(target) == 2:
        target = (getattr(target[0], target[1].partition("(")[0]),)
    return disconnect_signal(self, name, *target)


def _class_name(self: Any) -> str:
    """The C++ class; of a class derived in Python, the one that it derives from."""
    return next(kind for kind in type(self).__mro__ if is_cpp_class(kind)).__name__


def _delete(self: Any) -> None:
    import shiboken6

    shiboken6.delete(self)


def _children(self: Any) -> list[Any]:
    return list(QtCore.QObject.children(self))


run_modal: Callable[[Any], Any] | None = None
"""What shows a modal dialog; set while a SlicerHost is open."""


def _exec(self: Any, *arguments: Any) -> Any:
    """`exec_` of anything that has it; a dialog goes to `run_modal`."""
    if not isinstance(self, QtWidgets.QDialog):
        return super(PythonQtObject, self).__getattribute__("exec")(*arguments)
    if run_modal is None:
        raise RuntimeError(f"No SlicerHost is there to show {_class_name(self)} '{self.windowTitle}'")
    return run_modal(self)


# Shiboken treats connect and disconnect apart, so they are bound by hand.
_METHODS: dict[str, Callable[..., Any]] = {
    "connect": _connect,
    "disconnect": _disconnect,
    "className": _class_name,
    "delete": _delete,
    "children": _children,
    "exec_": _exec,
    "exec": _exec,
}


class PythonQtObject:
    """Mixin of every facade class: how PythonQt reads, writes and connects."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattribute__(name)
        if name in _METHODS:
            return types.MethodType(_METHODS[name], self)
        if not isValid(self):
            raise ValueError(f"Trying to access '{name}' of a destroyed {type(self).__name__} object")
        python_side = _python_side(self, name)
        if python_side is not _MISSING:
            return python_side
        name = _ALIASES.get(name, name)
        if name in _properties(self):
            return _read_property(self, name)
        try:
            value = super().__getattribute__(name)
        except AttributeError:
            return _child_or_dynamic_property(self, name)
        if isinstance(value, QtCore.SignalInstance):
            return BoundSignal(self, name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_pq_") or (name.startswith("_") and not _is_plain_qt(type(self))):
            super().__setattr__(name, value)
            return
        if not isValid(self):
            raise AttributeError(f"Trying to set '{name}' on a destroyed {type(self).__name__} object")
        name = _ALIASES.get(name, name)
        found = _properties(self).get(name)
        if found is not None:
            _write_property(self, name, found, value)
        elif is_cpp_class(type(self)):
            if name.encode() in [bytes(known.data()) for known in self.dynamicPropertyNames()]:
                self.setProperty(name, value)
                return
            if isinstance(value, QtCore.QObject) and QtCore.QObject.objectName(value) == name:
                return  # PySide's QUiLoader names every child on its window; children are attributes here anyway
            raise AttributeError(
                f"'{name}' does not exist on {type(self).__name__} "
                "and creating new attributes on C++ objects is not allowed"
            )
        else:
            super().__setattr__(name, value)


_MISSING = object()


def _is_plain_qt(kind: type) -> bool:
    """A facade of a Qt class: neither a stand-in nor a class derived in Python."""
    return kind.__dict__.get(_FACADE) == "qt"


def _python_side(owner: Any, name: str) -> Any:
    """What Python put on the object or on a class derived in Python; PythonQt looks there first."""
    own = super(PythonQtObject, owner).__getattribute__("__dict__")
    if name in own and not isinstance(own[name], QtCore.SignalInstance):  # PySide6 keeps bound signals there
        return own[name]
    for kind in type(owner).__mro__:
        if is_cpp_class(kind) or kind is PythonQtObject:
            return _MISSING
        if name in kind.__dict__:
            return super(PythonQtObject, owner).__getattribute__(name)
    return _MISSING


def _read_property(owner: Any, name: str) -> Any:
    for kind in type(owner).__mro__:
        if isinstance(kind.__dict__.get(name), QtCore.Property):
            return super(PythonQtObject, owner).__getattribute__(name)
    for getter in (name, f"is{name[0].upper()}{name[1:]}"):
        method = getattr(super(PythonQtObject, owner), getter, None)
        if callable(method):
            return method()
    return QtCore.QObject.property(owner, name)


def _write_property(owner: Any, name: str, found: QtCore.QMetaProperty, value: Any) -> None:
    kind = type(owner).__name__
    if not found.isWritable():
        raise AttributeError(f"Property '{name}' of {kind} object is not writable")
    wanted, got = found.typeName(), type(value).__name__
    refusal = f"Property '{name}' of type '{wanted}' does not accept an object of type {got} ({value!r})"
    if value is None and found.typeName() not in ("PyObject", "QVariant"):
        raise AttributeError(refusal)
    if isinstance(value, tuple) and found.typeName() == "QStringList":
        value = list(value)
    setter = getattr(super(PythonQtObject, owner), f"set{name[0].upper()}{name[1:]}", None)
    try:
        if QtCore.QObject.setProperty(owner, name, value):
            return
        if not callable(setter):
            raise TypeError
        setter(value)
    except (RuntimeError, TypeError) as error:
        raise AttributeError(refusal) from error


def _child_or_dynamic_property(owner: Any, name: str) -> Any:
    if name.encode() in [bytes(known.data()) for known in QtCore.QObject.dynamicPropertyNames(owner)]:
        return QtCore.QObject.property(owner, name)
    for child in QtCore.QObject.children(owner):
        if child.objectName() == name if not isinstance(child, PythonQtObject) else child.name == name:
            return child
    raise AttributeError(f"{_class_name(owner)} has no attribute named '{name}'")


_facades: dict[type, type] = {}


def facade_of(base: type) -> type:
    """The class that module `qt` offers for a PySide6 class."""
    if not issubclass(base, QtCore.QObject):
        return base
    if base not in _facades:
        body: dict[str, Any] = {"__module__": "qt", _FACADE: "qt"}
        _facades[base] = _FacadeMeta(base.__name__, (PythonQtObject, base), body)
    return _facades[base]


class _FacadeMeta(type(QtCore.QObject)):  # type: ignore[misc]
    """isinstance and issubclass among facades follow the Qt classes behind them."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return super().__instancecheck__(instance) or (
            _is_plain_qt(cls) and isinstance(instance, cls.__mro__[2])
        )

    def __subclasscheck__(cls, kind: type) -> bool:
        return super().__subclasscheck__(kind) or (_is_plain_qt(cls) and issubclass(kind, cls.__mro__[2]))


def _qt_attribute(name: str) -> Any:
    """What `qt.name` is; the first use of a class makes its facade."""
    for module in (QtCore, QtGui, QtWidgets):
        if hasattr(module, name) and name[0] == "Q":
            value = getattr(module, name)
            value = facade_of(value) if isinstance(value, type) else value
            setattr(qt, name, value)
            return value
    raise AttributeError(f"module 'qt' has no attribute '{name}'")


qt = types.ModuleType("qt", "PythonQt's name for Qt.")
qt.__getattr__ = _qt_attribute  # type: ignore[method-assign]
