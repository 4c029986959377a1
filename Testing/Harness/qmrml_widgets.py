"""The qMRML widgets that the panel's .ui file uses, on PySide6 and a real MRML scene."""

from __future__ import annotations

from typing import Any

import shiboken6
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from . import pythonqt


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that hands its scene on to the qMRML widgets in it through `mrmlSceneChanged`."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Chooses a node of the scene by name, or makes, or removes one; follows the scene as it changes."""

    currentNodeChanged = Signal(object)
    nodeAddedByUser = Signal(object)

    _CREATE, _DELETE = "create", "delete"

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._observers: list[int] = []
        self._nodeTypes = ["vtkMRMLNode"]
        self._options: dict[str, Any] = {
            "noneEnabled": False,
            "addEnabled": True,
            "removeEnabled": True,
            "showChildNodeTypes": True,
            "noneDisplay": "None",
            "baseName": "",
        }
        self._currentId: str | None = None
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._combo = QtWidgets.QComboBox(self)
        self._combo.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        layout.addWidget(self._combo)
        self._combo.activated.connect(self._onActivated)

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        for tag in self._observers:
            self._scene.RemoveObserver(tag)
        self._scene, self._observers = scene, []
        if scene is not None:
            for event in (
                scene.NodeAddedEvent,
                scene.NodeRemovedEvent,
                scene.EndCloseEvent,
                scene.EndImportEvent,
                scene.EndBatchProcessEvent,
            ):
                self._observers.append(scene.AddObserver(event, self._onSceneChanged))
        self._fill()

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._currentId) if self._scene and self._currentId else None

    def setCurrentNode(self, node: Any) -> None:
        self._select(node.GetID() if node is not None else None)

    def nodeCount(self) -> int:
        return len(self._nodes())

    def addNode(self) -> Any:
        """What "Create new" does."""
        className = self._nodeTypes[0]
        base = self._options["baseName"] or self._scene.GetTagByClassName(className)
        node = self._scene.AddNewNodeByClass(className, self._scene.GenerateUniqueName(base))
        self._select(node.GetID())
        self.nodeAddedByUser.emit(node)
        return node

    def _onSceneChanged(self, caller: Any, event: str) -> None:
        if shiboken6.isValid(self) and not self._scene.IsBatchProcessing():
            self._fill()

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        everyNode = (self._scene.GetNthNode(n) for n in range(self._scene.GetNumberOfNodes()))
        return [node for node in everyNode if not node.GetHideFromEditors() and self._accepts(node)]

    def _accepts(self, node: Any) -> bool:
        if self._options["showChildNodeTypes"]:
            return any(node.IsA(one) for one in self._nodeTypes)
        return node.GetClassName() in self._nodeTypes

    def _fill(self) -> None:
        nodes = self._nodes()
        ids = [node.GetID() for node in nodes]
        wanted = self._currentId if self._currentId in ids else None
        if wanted is None and ids and not self._options["noneEnabled"]:
            wanted = ids[0]
        self._combo.clear()
        if self._options["noneEnabled"]:
            self._combo.addItem(self._options["noneDisplay"], None)
        for node in nodes:
            self._combo.addItem(node.GetName(), node.GetID())
        if self._options["addEnabled"] and self._scene is not None:
            tag = self._scene.GetTagByClassName(self._nodeTypes[0])
            self._combo.addItem(f"Create new {tag}", self._CREATE)
        if self._options["removeEnabled"]:
            self._combo.addItem("Delete current node", self._DELETE)
        self._select(wanted)

    def _select(self, nodeId: str | None) -> None:
        row = self._combo.findData(nodeId) if nodeId else (0 if self._options["noneEnabled"] else -1)
        self._combo.setCurrentIndex(row)
        if nodeId != self._currentId:
            self._currentId = nodeId
            self.currentNodeChanged.emit(self.currentNode())

    def _onActivated(self, row: int) -> None:
        chosen = self._combo.itemData(row)
        if chosen == self._CREATE:
            self.addNode()
        elif chosen == self._DELETE:
            if self.currentNode() is not None:
                self._scene.RemoveNode(self.currentNode())
        else:
            self._select(chosen)

    def _setNodeTypes(self, types: list[str]) -> None:
        self._nodeTypes = list(types)
        self._fill()

    @staticmethod
    def _option(kind: type, name: str) -> Any:
        def write(self: qMRMLNodeComboBox, value: Any) -> None:
            self._options[name] = value
            self._fill()

        return Property(kind, lambda self: self._options[name], write)

    nodeTypes = Property("QStringList", lambda self: self._nodeTypes, _setNodeTypes)
    noneEnabled = _option(bool, "noneEnabled")
    addEnabled = _option(bool, "addEnabled")
    removeEnabled = _option(bool, "removeEnabled")
    showChildNodeTypes = _option(bool, "showChildNodeTypes")
    noneDisplay = _option(str, "noneDisplay")
    baseName = _option(str, "baseName")


class qMRMLSliderWidget(QtWidgets.QWidget):
    """By name only: Slicer's own parameterNodeWrapper asks for the class when it is imported."""


class qMRMLSpinBox(QtWidgets.QDoubleSpinBox):
    """By name only."""


class qMRMLRangeWidget(QtWidgets.QWidget):
    """By name only."""


class qMRMLSubjectHierarchyComboBox(QtWidgets.QWidget):
    """By name only."""


class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    """By name only."""


WIDGETS: dict[str, type] = {
    one.__name__: one
    for one in (
        qMRMLWidget,
        qMRMLNodeComboBox,
        qMRMLSliderWidget,
        qMRMLSpinBox,
        qMRMLRangeWidget,
        qMRMLSubjectHierarchyComboBox,
        qMRMLCheckableNodeComboBox,
    )
}
pythonqt.customWidgets.update(WIDGETS)
