"""The nodes of a MRML scene as the rows of a Qt model: what qMRMLNodeComboBox shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import shiboken6
import vtk
from PySide6 import QtCore, QtGui

ID_ROLE = QtCore.Qt.UserRole + 1
"""The ID of the node in a row; None in the rows that are no nodes."""

ACTION_ROLE = QtCore.Qt.UserRole + 2
"""What a row below the nodes does when the user chooses it; None in the other rows."""

_BEFORE_OTHERS, _AFTER_OTHERS = 10.0, -10.0


class SceneModel(QtGui.QStandardItemModel):
    """Stands in for qMRMLSceneModel: a row per node, between a row for no node and rows for actions.

    As in Slicer a row is inserted before other observers hear of a node that was added, and is removed after
    they have heard of one that is about to be removed, while it is still in the scene. Rows are made anew
    when the scene was closed and when something was imported; in between they stay as they are.
    """

    def __init__(self, parent: QtCore.QObject) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._tags: list[int] = []
        self._nodeTags: dict[str, tuple[Any, int]] = {}
        self._before, self._after = 0, 0

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        """Show another scene, or none."""
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._tags.clear()
        self._scene = scene
        if scene is not None:
            for event, method, priority in (
                (scene.NodeAddedEvent, self._onNodeAdded, _BEFORE_OTHERS),
                (scene.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved, _AFTER_OTHERS),
                (scene.EndCloseEvent, self._onSceneReplaced, 0.0),
                (scene.EndImportEvent, self._onSceneReplaced, 0.0),
            ):
                self._tags.append(scene.AddObserver(event, method, priority))
        self._fill()

    def setExtraRows(self, before: Sequence[str], after: Sequence[tuple[str, str]]) -> None:
        """before: texts of the rows above the nodes. after: (text, action) of those below."""
        # The new ones first, so that the rows of nodes do not become the only ones.
        oldBefore, oldAfter = self._before, self._after
        self._before, self._after = len(before), len(after)
        for row, text in enumerate(before):
            self.insertRow(row, [QtGui.QStandardItem(text)])
        self.removeRows(len(before), oldBefore)
        self.removeRows(self.rowCount() - oldAfter, oldAfter)
        for text, action in after:
            item = QtGui.QStandardItem(text)
            item.setData(action, ACTION_ROLE)
            self.appendRow([item])

    def _fill(self) -> None:
        for node, tag in self._nodeTags.values():
            node.RemoveObserver(tag)
        self._nodeTags.clear()
        self.removeRows(self._before, self.rowCount() - self._before - self._after)
        if self._scene is not None:
            for n in range(self._scene.GetNumberOfNodes()):
                self._insert(self._scene.GetNthNode(n))

    def _insert(self, node: Any) -> None:
        item = QtGui.QStandardItem(node.GetName())
        item.setData(node.GetID(), ID_ROLE)
        self.insertRow(self.rowCount() - self._after, [item])
        tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onNodeModified)
        self._nodeTags[node.GetID()] = node, tag

    def _item(self, node: Any) -> Any:
        rows = (self.item(row) for row in range(self.rowCount()))
        return next((one for one in rows if one.data(ID_ROLE) == node.GetID()), None)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAdded(self, caller: Any, event: str, node: Any) -> None:
        if shiboken6.isValid(self) and not self._scene.IsImporting():
            self._insert(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAboutToBeRemoved(self, caller: Any, event: str, node: Any) -> None:
        if not shiboken6.isValid(self) or self._scene.IsClosing() or node.GetID() not in self._nodeTags:
            return
        node.RemoveObserver(self._nodeTags.pop(node.GetID())[1])
        self.removeRow(self._item(node).row())

    def _onNodeModified(self, node: Any, event: str) -> None:
        if shiboken6.isValid(self) and node.GetScene() is self._scene and node.GetID() in self._nodeTags:
            self._item(node).setText(node.GetName())

    def _onSceneReplaced(self, caller: Any, event: str) -> None:
        if shiboken6.isValid(self):
            self._fill()


class NodeFilter(QtCore.QSortFilterProxyModel):
    """Stands in for qMRMLSortFilterProxyModel: the rows of nodes of some classes, and all other rows."""

    def __init__(self, model: SceneModel, parent: QtCore.QObject) -> None:
        super().__init__(parent)
        self.nodeTypes = ["vtkMRMLNode"]
        self.showChildNodeTypes = True
        self._model = model
        self.setSourceModel(model)

    def filterAcceptsRow(self, row: int, parent: QtCore.QModelIndex) -> bool:
        nodeId = self._model.index(row, 0, parent).data(ID_ROLE)
        node = self._model.mrmlScene().GetNodeByID(nodeId) if nodeId else None
        if node is None:
            return True
        if node.GetHideFromEditors():
            return False
        if self.showChildNodeTypes:
            return any(node.IsA(one) for one in self.nodeTypes)
        return node.GetClassName() in self.nodeTypes
