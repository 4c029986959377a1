"""The qMRML widgets that the panel's .ui file uses, on PySide6 and a real MRML scene."""

from __future__ import annotations

from typing import Any

from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from . import pythonqt
from .scene_model import ACTION_ROLE, ID_ROLE, NodeFilter, SceneModel


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
    """Chooses a node of the scene by name, or makes, or removes one; follows the scene as it changes.

    As in Slicer what is chosen is the row of the combo box inside, and nothing else: when Qt moves to another
    row because that of the chosen node went, the node there is the chosen one, and is signalled.
    """

    currentNodeChanged = Signal(object)
    nodeAddedByUser = Signal(object)

    _CREATE, _DELETE, _SEPARATOR = "create", "delete", "separator"

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._options: dict[str, Any] = {
            "noneEnabled": False,
            "addEnabled": True,
            "removeEnabled": True,
            "noneDisplay": "None",
            "baseName": "",
        }
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._combo = QtWidgets.QComboBox(self)
        self._combo.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        layout.addWidget(self._combo)
        self._model = SceneModel(self)
        self._filter = NodeFilter(self._model, self)
        self._combo.setModel(self._filter)
        self._combo.currentTextChanged.connect(self._onCurrentTextChanged)
        self._combo.activated.connect(self._onActivated)
        self._filter.rowsRemoved.connect(self._onRowsRemoved)
        self._showExtraRows()

    def mrmlScene(self) -> Any:
        return self._model.mrmlScene()

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self.mrmlScene():
            chosen = self.currentNode()
            wasBlocked = self.blockSignals(True)
            self._model.setMRMLScene(scene)
            self._showExtraRows()
            self.blockSignals(wasBlocked)
            self.setCurrentNode(chosen)

    def currentNode(self) -> Any:
        nodeId = self._combo.itemData(self._combo.currentIndex, ID_ROLE)
        return self.mrmlScene().GetNodeByID(nodeId) if nodeId else None

    def setCurrentNode(self, node: Any) -> None:
        row = self._combo.findData(node.GetID(), ID_ROLE) if node is not None else -1
        self._combo.setCurrentIndex(row if row >= 0 else self._noneRow())

    def nodeCount(self) -> int:
        return len(self._nodeRows())

    def addNode(self) -> Any:
        """What "Create new" does."""
        scene, className = self.mrmlScene(), self._filter.nodeTypes[0]
        base = self._options["baseName"] or scene.GetTagByClassName(className)
        node = scene.AddNewNodeByClass(className, scene.GenerateUniqueName(base))
        self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def _noneRow(self) -> int:
        return 0 if self._options["noneEnabled"] else -1

    def _nodeRows(self) -> list[int]:
        return [row for row in range(self._combo.count) if self._combo.itemData(row, ID_ROLE)]

    def _onCurrentTextChanged(self, text: str) -> None:
        rows = self._nodeRows()
        if self.currentNode() is None and self._combo.currentIndex != self._noneRow():
            # An action cannot be current.
            if rows:
                self._combo.setCurrentIndex(rows[-1])
        else:
            self.currentNodeChanged.emit(self.currentNode())

    def _onRowsRemoved(self, parent: Any, first: int, last: int) -> None:
        if self.currentNode() is None:
            self.setCurrentNode(None)

    def _onActivated(self, row: int) -> None:
        action = self._combo.itemData(row, ACTION_ROLE)
        if action == self._CREATE:
            self.addNode()
        elif action == self._DELETE and self.currentNode() is not None:
            self.mrmlScene().RemoveNode(self.currentNode())

    def _showExtraRows(self) -> None:
        after = []
        if self.mrmlScene() is not None:
            tag = self.mrmlScene().GetTagByClassName(self._filter.nodeTypes[0]) or "node"
            if self._options["addEnabled"]:
                after.append((f"Create new {tag}", self._CREATE))
            if self._options["removeEnabled"]:
                after.append((f"Delete current {tag}", self._DELETE))
        if after:
            after.insert(0, ("", self._SEPARATOR))
        none = [self._options["noneDisplay"]] if self._options["noneEnabled"] else []
        chosen = self.currentNode()
        wasBlocked = self._combo.blockSignals(True)
        self._model.setExtraRows(none, after)
        self.setCurrentNode(chosen)
        self._combo.blockSignals(wasBlocked)

    def _setNodeTypes(self, types: list[str]) -> None:
        if list(types) != self._filter.nodeTypes:
            self._filter.nodeTypes = list(types)
            self._filter.invalidate()
            self._showExtraRows()

    def _setShowChildNodeTypes(self, show: bool) -> None:
        self._filter.showChildNodeTypes = show
        self._filter.invalidate()

    @staticmethod
    def _option(kind: type, name: str) -> Any:
        def write(self: qMRMLNodeComboBox, value: Any) -> None:
            self._options[name] = value
            self._showExtraRows()

        return Property(kind, lambda self: self._options[name], write)

    nodeTypes = Property("QStringList", lambda self: self._filter.nodeTypes, _setNodeTypes)
    showChildNodeTypes = Property(bool, lambda self: self._filter.showChildNodeTypes, _setShowChildNodeTypes)
    noneEnabled = _option(bool, "noneEnabled")
    addEnabled = _option(bool, "addEnabled")
    removeEnabled = _option(bool, "removeEnabled")
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
