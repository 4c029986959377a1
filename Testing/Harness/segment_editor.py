"""Slicer's Segment Editor, stood in for: the widget, the module that holds one, and the slice views.

As in Slicer every widget follows its parameter node, shown or not. An effect that is chosen there becomes
active in all of them and makes each listen to the slice views. The first to hear of a stroke keeps it from
the others and saves the state in its own history. Logic and histories are Slicer's own.
"""

from __future__ import annotations

from typing import Any

from PySide6 import QtWidgets

from .qmrml_widgets import qMRMLWidget

_TAG = "SegmentEditor"


class SliceViews:
    """Who listens to the slice views, in the order in which they began."""

    def __init__(self) -> None:
        self.listeners: list[qMRMLSegmentEditorWidget] = []
        self.shortcuts: list[qMRMLSegmentEditorWidget] = []

    def stroke(self, image: Any) -> qMRMLSegmentEditorWidget | None:
        """The user paints what is not 0 in a vtkOrientedImageData; who took it."""
        for widget in self.listeners:
            if widget.processStroke(image):
                return widget
        return None


views = SliceViews()


class _Effect:
    """An effect of one widget; common parameters live in the parameter node."""

    def __init__(self, widget: qMRMLSegmentEditorWidget, name: str) -> None:
        self._widget, self.name = widget, name

    def setCommonParameter(self, name: str, value: Any) -> None:
        self._widget.mrmlSegmentEditorNode().SetAttribute(name, str(value))


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """With one effect, Paint."""

    def __init__(self, parent: Any = None) -> None:
        import slicer

        super().__init__(parent)
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._node: Any = None
        self._tag = 0
        self._active: str | None = None
        layout = QtWidgets.QVBoxLayout(self)
        layout.addWidget(QtWidgets.QLabel("Segment Editor"))

    # ------------------------------------------------------------ nodes

    def setMRMLScene(self, scene: Any) -> None:
        super().setMRMLScene(scene)
        self._logic.SetMRMLScene(scene)
        self._logic.SetVerbose(True)
        self.updateWidgetFromMRML()

    def mrmlSegmentEditorNode(self) -> Any:
        return self._node

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        if node is self._node:
            return
        if self._node is not None:
            self._node.RemoveObserver(self._tag)
        self._node = node
        self._logic.SetSegmentEditorNode(node)
        if node is not None:
            self._tag = node.AddObserver("ModifiedEvent", lambda caller, event: self.updateWidgetFromMRML())
            self.updateWidgetFromMRML()

    def segmentationNode(self) -> Any:
        return None if self._node is None else self._node.GetSegmentationNode()

    def segmentationNodeID(self) -> str:
        return "" if self.segmentationNode() is None else self.segmentationNode().GetID()

    def setSegmentationNode(self, node: Any) -> None:
        if self.segmentationNode() is not node:
            self._logic.SetSegmentationNode(node)
            self.setActiveEffect(None)

    def currentSegmentID(self) -> str:
        return "" if self._node is None else self._node.GetSelectedSegmentID() or ""

    def setCurrentSegmentID(self, segmentId: str) -> None:
        self._node.SetSelectedSegmentID(segmentId)

    def sourceVolumeNode(self) -> Any:
        return self._logic.GetSourceVolumeNode()

    def setSourceVolumeNode(self, node: Any) -> None:
        self._logic.SetSourceVolumeNode(node)

    def updateWidgetFromMRML(self) -> None:
        if self.mrmlScene() is None or self.mrmlScene().IsClosing() or self._node is None:
            return
        node = self.segmentationNode()
        ids = [] if node is None else list(node.GetSegmentation().GetSegmentIDs())
        if ids and self._node.GetSelectedSegmentID() not in ids:
            self._node.SetSelectedSegmentID(ids[0])
        wanted = self._node.GetActiveEffectName() or None
        if wanted == self._active:
            return
        self._active = wanted
        if wanted is None:
            self.removeViewObservations()
        else:
            self.setupViewObservations()

    # ------------------------------------------------------------ effects

    def setActiveEffectByName(self, name: str) -> None:
        self.setActiveEffect(_Effect(self, name))

    def setActiveEffect(self, effect: _Effect | None) -> None:
        if self._node is None:
            if effect is not None:
                raise RuntimeError("Invalid segment editor parameter set node")
            return
        self._node.SetActiveEffectName("" if effect is None else effect.name)

    def activeEffect(self) -> _Effect | None:
        return None if self._active is None else _Effect(self, self._active)

    def setupViewObservations(self) -> None:
        self.removeViewObservations()
        views.listeners.append(self)

    def removeViewObservations(self) -> None:
        if self in views.listeners:
            views.listeners.remove(self)

    def installKeyboardShortcuts(self) -> None:
        self.uninstallKeyboardShortcuts()
        views.shortcuts.append(self)

    def uninstallKeyboardShortcuts(self) -> None:
        if self in views.shortcuts:
            views.shortcuts.remove(self)

    def processStroke(self, image: Any) -> bool:
        """What an active Paint does with it; True keeps it from the others."""
        if self._active != "Paint" or self.segmentationNode() is None:
            return False
        self._logic.SaveStateForUndo()
        self._logic.ModifySegmentByLabelmap(
            self.segmentationNode(),
            self._node.GetSelectedSegmentID(),
            image,
            self._logic.ModificationModeAdd,
            False,
            False,
        )
        return True

    # ------------------------------------------------------------ history

    def setMaximumNumberOfUndoStates(self, number: int) -> None:
        self._logic.SetMaximumNumberOfUndoStates(number)

    def saveStateForUndo(self) -> None:
        self._logic.SaveStateForUndo()

    def undo(self) -> None:
        self._logic.Undo()

    def redo(self) -> None:
        self._logic.Redo()

    # ------------------------------------------------------------ looks

    def setSegmentationNodeSelectorVisible(self, visible: bool) -> None:
        """Nothing to be seen of it here."""

    def setSourceVolumeNodeSelectorVisible(self, visible: bool) -> None:
        """Nothing to be seen of it here."""


class SegmentEditorModule:
    """Stands in for Slicer's module and its widget: holds an editor, made at the first visit."""

    def __init__(self) -> None:
        self.editor: Any = None

    def enter(self) -> None:
        import slicer

        if self.editor is None:
            self.editor = qMRMLSegmentEditorWidget()
            self.editor.setMaximumNumberOfUndoStates(10)
            slicer.modules.SegmentEditorWidget = self
        self.editor.installKeyboardShortcuts()
        self.editor.setMRMLSegmentEditorNode(self._parameterNode())
        self.editor.setMRMLScene(slicer.mrmlScene)
        self.editor.updateWidgetFromMRML()

    def exit(self) -> None:
        if self.editor is None:
            return
        self.editor.setActiveEffect(None)
        self.editor.uninstallKeyboardShortcuts()
        self.editor.removeViewObservations()

    def forget(self) -> None:
        """As if it had never been visited, for the next test."""
        import slicer

        if self.editor is not None:
            self.editor.setMRMLSegmentEditorNode(None)
            self.editor.deleteLater()
            self.editor = None
            del slicer.modules.SegmentEditorWidget

    @staticmethod
    def _parameterNode() -> Any:
        import slicer

        node = slicer.mrmlScene.GetSingletonNode(_TAG, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetSingletonTag(_TAG)
            node = slicer.mrmlScene.AddNode(node)
        return node
