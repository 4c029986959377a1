"""Slicer's `qt` module on PySide6, with the manners of PythonQt.

PySide6's classes are changed in place, once, when this module is imported:
- every Qt property reads and writes as an attribute (`label.text`, `button.enabled = False`); setText stays
- object.connect("signal(type)", callable) and object.disconnect("signal(type)", callable)
- object.name is the object name, object.className() the class's
"""

from __future__ import annotations

import ctypes
import inspect
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

_MODULES = (QtCore, QtGui, QtWidgets, QtUiTools)
# Qt calls these on subclasses written in Python: a property in their place would be called as a function.
_VIRTUAL = {"sizeHint", "minimumSizeHint"}

customWidgets: dict[str, type] = {}
"""Classes that a .ui file names and Qt does not have; filled by the modules that define them."""


def __getattr__(name: str) -> Any:
    for module in _MODULES:
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(f"qt has no {name}")


def _makePropertiesAttributes(cls: type[QtCore.QObject]) -> None:
    meta = cls.staticMetaObject
    for index in range(meta.propertyCount()):
        name = meta.property(index).name()
        inherited = index < meta.propertyOffset() and name not in cls.__dict__
        if name in _VIRTUAL or inherited:
            continue
        setattr(
            cls,
            name,
            property(
                lambda self, name=name: self.property(name),
                lambda self, value, name=name: self.setProperty(name, value),
            ),
        )


def _signal(sender: QtCore.QObject, signature: str) -> tuple[Any, int]:
    """The bound signal of PySide6 for "name(types)", the overload meant, and how many arguments it has."""
    name, _, rest = signature.partition("(")
    types = [one for one in rest.rstrip(")").split(",") if one.strip()]
    signal = getattr(sender, name.strip(), None)
    if signal is None or not hasattr(signal, "emit"):
        raise ValueError(f"{sender.className()} has no signal {signature}")
    meta = sender.metaObject()
    overloads = [
        meta.method(index).methodSignature().data().decode()
        for index in range(meta.methodCount())
        if meta.method(index).name().data().decode() == name.strip()
        and meta.method(index).methodType() == QtCore.QMetaMethod.Signal
    ]
    normal = QtCore.QMetaObject.normalizedSignature(signature).data().decode()
    if len(overloads) > 1 and types and normal in overloads:
        signal = signal[normal.partition("(")[2].rstrip(")")]
    return signal, len(types)


def _takes(receiver: Callable[..., Any]) -> int | None:
    """How many positional arguments a callable takes; None for any number."""
    try:
        parameters = inspect.signature(receiver).parameters.values()
    except ValueError:
        return None
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return None
    return sum(one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in parameters)


_connections: dict[tuple[int, str, Any], Any] = {}


def _connect(sender: QtCore.QObject, signature: str, receiver: Callable[..., Any]) -> bool:
    signal, sends = _signal(sender, signature)
    wanted = _takes(receiver)
    passed = sends if wanted is None else min(sends, wanted)

    def slot(*arguments: Any) -> None:
        receiver(*arguments[:passed])

    signal.connect(slot)
    _connections[id(sender), signature, receiver] = slot
    return True


def _disconnect(sender: QtCore.QObject, signature: str, receiver: Callable[..., Any]) -> bool:
    slot = _connections.pop((id(sender), signature, receiver), None)
    if slot is None:
        return False
    _signal(sender, signature)[0].disconnect(slot)
    return True


_inherited = QtCore.QObject.__getattribute__


def _getattribute(self: QtCore.QObject, name: str) -> Any:
    # PySide6 answers these two in C++ before it looks at Python attributes of the class.
    if name == "connect":
        return lambda signature, receiver: _connect(self, signature, receiver)
    if name == "disconnect":
        return lambda signature, receiver: _disconnect(self, signature, receiver)
    return _inherited(self, name)


def _behaveLikePythonQt() -> None:
    for module in _MODULES:
        for name in dir(module):
            value = getattr(module, name)
            if isinstance(value, type) and issubclass(value, QtCore.QObject):
                _makePropertiesAttributes(value)
    QtCore.QObject.name = property(
        lambda self: self.objectName, lambda self, value: self.setObjectName(value)
    )
    QtCore.QObject.className = lambda self: self.metaObject().className()
    QtCore.QObject.__getattribute__ = _getattribute


_behaveLikePythonQt()


def _letConstantsLive() -> None:
    """Make None, True and False immortal, as they are from Python 3.12 on.

    PySide6 6.12 is built for that: with calls that return one of them it gives away a reference it does not
    have, and on an older Python the process dies after some hundred thousand calls, or when it ends.
    """
    if sys.version_info < (3, 12):
        for one in (None, True, False):
            ctypes.c_ssize_t.from_address(id(one)).value += 1 << 40


_letConstantsLive()


class QFileDialog(QtWidgets.QFileDialog):
    """Its static functions give the path or paths alone, as PythonQt's do."""

    @staticmethod
    def getSaveFileName(*arguments: Any) -> str:
        return QtWidgets.QFileDialog.getSaveFileName(*arguments)[0]

    @staticmethod
    def getOpenFileName(*arguments: Any) -> str:
        return QtWidgets.QFileDialog.getOpenFileName(*arguments)[0]

    @staticmethod
    def getOpenFileNames(*arguments: Any) -> list[str]:
        return QtWidgets.QFileDialog.getOpenFileNames(*arguments)[0]


class QUiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file whose custom widgets are Python classes, and makes its connections."""

    def createWidget(self, className: str, parent: Any = None, name: str = "") -> Any:
        if className in customWidgets:
            widget = customWidgets[className](parent)
            widget.setObjectName(name)
            return widget
        if not className.startswith(("Q", "Line")):
            raise RuntimeError(f"The harness has no {className}.")
        return super().createWidget(className, parent, name)

    def load(self, file: Any, parent: Any = None) -> Any:
        root = ElementTree.fromstring(file.readAll().data())
        connections = root.find("connections")
        wires = []
        if connections is not None:
            # Qt would look for their signals among C++ types, which the stand-ins do not have.
            wires = [
                [one.findtext(tag) for tag in ("sender", "signal", "receiver", "slot")] for one in connections
            ]
            root.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        widget = super().load(buffer, parent)
        for sender, signal, receiver, slot in wires:
            _connect(
                _named(widget, sender), signal, getattr(_named(widget, receiver), slot.partition("(")[0])
            )
        return widget


def _named(root: Any, name: str) -> Any:
    return root if root.objectName == name else root.findChild(QtCore.QObject, name)
