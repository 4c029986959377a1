"""Stands in for slicer.parameterNodeWrapper: nodes, enums, texts, lists, numbers and switches, with widgets.

As in Slicer a field is kept in the wrapped node under its own name, and `connectParametersToGui` binds
widgets to fields, both ways. A panel must bear three more of its manners: a value that was read is kept until
the node is modified, an empty combo box is read as the last member of an enum, and, up to Slicer 5.10,
`disconnectGui` leaves an observer of the node behind.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import typing
import weakref
from typing import Any

import slicer
import slicer.util
import vtk

__all__ = ["WithinRange", "parameterNodeWrapper"]


@dataclasses.dataclass(frozen=True)
class WithinRange:
    """Annotation of a number: the ends of its range."""

    minimum: float
    maximum: float


class _NodeField:
    def __init__(self, name: str, nodeClass: type) -> None:
        self.name, self.nodeClass = name, nodeClass

    def read(self, node: Any) -> Any:
        return node.GetNodeReference(self.name)

    def write(self, node: Any, value: Any) -> None:
        node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)


class _EnumField:
    def __init__(self, name: str, kind: type[enum.Enum], default: enum.Enum) -> None:
        self.name, self.kind, self.default = name, kind, default

    def read(self, node: Any) -> enum.Enum:
        return self.kind[node.GetParameter(self.name)] if node.HasParameter(self.name) else self.default

    def write(self, node: Any, value: enum.Enum) -> None:
        node.SetParameter(self.name, value.name)


class _TextsField:
    def __init__(self, name: str) -> None:
        self.name = name

    def read(self, node: Any) -> list[str]:
        return json.loads(node.GetParameter(self.name)) if node.HasParameter(self.name) else []

    def write(self, node: Any, value: list[str]) -> None:
        node.SetParameter(self.name, json.dumps(list(value)))


class _TextField:
    def __init__(self, name: str, default: str) -> None:
        self.name, self.default = name, default

    def read(self, node: Any) -> str:
        return node.GetParameter(self.name) if node.HasParameter(self.name) else self.default

    def write(self, node: Any, value: str) -> None:
        node.SetParameter(self.name, value)


class _SwitchField:
    def __init__(self, name: str, default: bool) -> None:
        self.name, self.default = name, default

    def read(self, node: Any) -> bool:
        return node.GetParameter(self.name) == "True" if node.HasParameter(self.name) else self.default

    def write(self, node: Any, value: bool) -> None:
        node.SetParameter(self.name, str(bool(value)))


class _NumberField:
    def __init__(self, name: str, default: float, withinRange: WithinRange) -> None:
        self.name, self.default, self.range = name, default, withinRange

    def read(self, node: Any) -> float:
        return float(node.GetParameter(self.name)) if node.HasParameter(self.name) else self.default

    def write(self, node: Any, value: float) -> None:
        if not self.range.minimum <= value <= self.range.maximum:
            raise ValueError(f"{self.name} is {value}, not within {self.range}")
        node.SetParameter(self.name, str(float(value)))


class _NodeComboBox:
    """A field shown in a qMRMLNodeComboBox."""

    def __init__(self, widget: Any, field: _NodeField) -> None:
        self.widget, self.signal = widget, widget.currentNodeChanged
        widget.nodeTypes = [field.nodeClass.__name__]

    def read(self) -> Any:
        return self.widget.currentNode()

    def write(self, value: Any) -> None:
        self.widget.setCurrentNode(value)


class _EnumComboBox:
    """A field shown in a QComboBox: its label() for each member, as Slicer does it."""

    def __init__(self, widget: Any, field: _EnumField) -> None:
        self.widget, self.signal = widget, widget.currentIndexChanged
        self.members = list(field.kind)
        chosen = self.read()
        widget.clear()
        for one in self.members:
            widget.addItem(one.label() if hasattr(one, "label") else one.name)
        self.write(chosen)

    def read(self) -> enum.Enum:
        """The last member when the combo box is empty: its index is -1."""
        return self.members[self.widget.currentIndex]

    def write(self, value: enum.Enum) -> None:
        self.widget.setCurrentIndex(self.members.index(value))


class _LineEdit:
    """A field shown in a QLineEdit."""

    def __init__(self, widget: Any, field: _TextField) -> None:
        self.widget, self.signal = widget, widget.textChanged

    def read(self) -> str:
        return self.widget.text

    def write(self, value: str) -> None:
        if self.widget.text != value:
            self.widget.setText(value)


class _CheckBox:
    """A field shown in a QCheckBox."""

    def __init__(self, widget: Any, field: _SwitchField) -> None:
        self.widget, self.signal = widget, widget.toggled

    def read(self) -> bool:
        return self.widget.checked

    def write(self, value: bool) -> None:
        self.widget.setChecked(value)


class _DoubleSpinBox:
    """A field shown in a QDoubleSpinBox."""

    def __init__(self, widget: Any, field: _NumberField) -> None:
        self.widget, self.signal = widget, widget.valueChanged
        widget.minimum, widget.maximum = field.range.minimum, field.range.maximum

    def read(self) -> float:
        return self.widget.value

    def write(self, value: float) -> None:
        self.widget.setValue(value)


_CONNECTORS = {
    _NodeField: _NodeComboBox,
    _EnumField: _EnumComboBox,
    _TextField: _LineEdit,
    _SwitchField: _CheckBox,
    _NumberField: _DoubleSpinBox,
}


def _field(name: str, kind: Any, default: Any) -> Any:
    if kind == list[str]:
        return _TextsField(name)
    if kind is str:
        return _TextField(name, default or "")
    if kind is bool:
        return _SwitchField(name, bool(default))
    if typing.get_origin(kind) is typing.Annotated and typing.get_args(kind)[0] is float:
        return _NumberField(name, float(default), typing.get_args(kind)[1])
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _EnumField(name, kind, default or next(iter(kind)))
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return _NodeField(name, kind)
    raise TypeError(f"The harness has no parameter of type {kind}.")


class _Value:
    """The value of a field, kept until the node is modified."""

    def __init__(self, field: Any, node: Any) -> None:
        self._field, self._node = field, node
        self._kept = field.read(node)
        this = weakref.ref(self)
        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: this()._read())  # type: ignore[union-attr]
        self._writing = False

    def __del__(self) -> None:
        self._node.RemoveObserver(self._tag)

    def _read(self) -> None:
        if not self._writing:
            self._kept = self._field.read(self._node)

    def get(self) -> Any:
        return self._kept

    def set(self, value: Any) -> None:
        self._writing = True
        try:
            with slicer.util.NodeModify(self._node):
                self._field.write(self._node, value)
                self._kept = self._field.read(self._node)
        finally:
            self._writing = False


class _Wrapper:
    """What a wrapped class gains."""

    _fields: dict[str, Any]

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._bindings: dict[int, list[tuple[str, Any, Any]]] = {}
        self._showing = False
        self._values = {name: _Value(field, parameterNode) for name, field in self._fields.items()}

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        connectors = {
            name: _CONNECTORS[type(self._fields[name])](widget, self._fields[name])
            for name, widget in mapping.items()
        }
        bindings = []
        for name, connector in connectors.items():
            connector.write(getattr(self, name))
            slot = self._slot(name, connector)
            connector.signal.connect(slot)
            bindings.append((name, connector, slot))
        tag = len(self._bindings)
        self._bindings[tag] = bindings
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._show())
        return tag

    def disconnectGui(self, tag: int) -> None:
        for _name, connector, slot in self._bindings.pop(tag):
            connector.signal.disconnect(slot)

    def _slot(self, name: str, connector: Any) -> Any:
        def changed(*_: Any) -> None:
            with slicer.util.NodeModify(self):
                if not self._showing:
                    setattr(self, name, connector.read())

        return changed

    def _show(self) -> None:
        if self._showing:
            return
        self._showing = True
        try:
            with slicer.util.NodeModify(self):
                for bindings in self._bindings.values():
                    for name, connector, _slot in bindings:
                        connector.write(getattr(self, name))
        finally:
            self._showing = False

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModifying: int) -> None:
        self.parameterNode.EndModify(wasModifying)


def parameterNodeWrapper(cls: type) -> type:
    """Class decorator: annotated fields become properties that live in a MRML node."""
    fields = {
        name: _field(name, kind, vars(cls).get(name))
        for name, kind in typing.get_type_hints(cls, include_extras=True).items()
    }
    members: dict[str, Any] = {"__doc__": cls.__doc__, "_fields": fields}
    for name in fields:
        members[name] = property(
            lambda self, name=name: self._values[name].get(),
            lambda self, value, name=name: self._values[name].set(value),
        )
    return type(cls.__name__, (_Wrapper,), members)
