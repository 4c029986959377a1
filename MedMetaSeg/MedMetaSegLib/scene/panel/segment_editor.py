"""Slicer's Segment Editor: opened on a volume, embedded in the panel, and asked for its Undo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer
import slicer.util

if TYPE_CHECKING:
    from ..accept import EditorInUse

_BRUSH_SLICES = 30.0
_OWN_TAG = "MedMetaSeg"


def openSegmentEditor(segmentationNode: Any, volumeNode: Any) -> None:
    """Go to the module Segment Editor with these nodes and a brush that suits the volume."""
    slicer.util.selectModule("SegmentEditor")
    _point(slicer.modules.SegmentEditorWidget.editor, segmentationNode, volumeNode)


def brushDiameterMm(volumeNode: Any) -> float:
    """A thirtieth of the longer side of the field of view, at least two voxels."""
    spacing, size = volumeNode.GetSpacing(), volumeNode.GetImageData().GetDimensions()
    extent = max(s * n for s, n in zip(spacing, size, strict=True))
    return max(2 * min(spacing), extent / _BRUSH_SLICES)


def _point(editor: Any, segmentationNode: Any, volumeNode: Any) -> None:
    editor.setSegmentationNode(segmentationNode)
    editor.setSourceVolumeNode(volumeNode)
    editor.setActiveEffectByName("Paint")
    effect = editor.activeEffect()
    if effect is not None and volumeNode.GetImageData() is not None:
        effect.setCommonParameter("BrushDiameterIsRelative", 0)
        effect.setCommonParameter("BrushAbsoluteDiameter", brushDiameterMm(volumeNode))


class EmbeddedEditor:
    """A qMRMLSegmentEditorWidget in a place of the panel, made when it is first shown.

    Its parameter node is its own. Two editors with one node are both active, and the first to hear of a
    stroke in a slice view keeps it from the other: strokes and Undo would go to the one that is not seen.
    It hears of strokes and keys only while it is shown.
    """

    def __init__(self, place: Any) -> None:
        self._place = place
        self._editor: Any = None
        self._shown = False
        place.setVisible(False)

    @staticmethod
    def isThere() -> bool:
        """False where Slicer's widget is missing."""
        return hasattr(slicer, "qMRMLSegmentEditorWidget")

    def show(self, segmentationNode: Any, volumeNode: Any) -> None:
        """Show it on these nodes."""
        if self._editor is None:
            import qt

            self._editor = slicer.qMRMLSegmentEditorWidget()
            self._editor.setMaximumNumberOfUndoStates(10)
            self._editor.setSegmentationNodeSelectorVisible(False)
            self._editor.setSourceVolumeNodeSelectorVisible(False)
            layout = qt.QVBoxLayout(self._place)
            layout.setContentsMargins(0, 0, 0, 0)
            layout.addWidget(self._editor)
        # The parameter node first: what the widget selects by itself goes into it.
        self._editor.setMRMLSegmentEditorNode(_ownNode())
        self._editor.setMRMLScene(slicer.mrmlScene)
        self._place.setVisible(True)
        self._shown = True
        # Activating an effect makes it listen to the slice views.
        _point(self._editor, segmentationNode, volumeNode)
        self._editor.installKeyboardShortcuts()

    def chooseSegment(self, segmentId: str) -> None:
        """Choose the segment that is painted, while it is shown."""
        if self._shown:
            self._editor.setCurrentSegmentID(segmentId)

    def hide(self) -> None:
        """Hide it and stop listening to slice views and keys."""
        if self._editor is not None and self._shown:
            self._editor.setActiveEffect(None)
            self._editor.uninstallKeyboardShortcuts()
            self._editor.removeViewObservations()
        self._shown = False
        self._place.setVisible(False)

    def forget(self) -> None:
        """Let go of the scene, when it closes or the panel goes away."""
        self.hide()
        if self._editor is not None and self._editor.mrmlSegmentEditorNode() is not None:
            self._editor.setSegmentationNode(None)
            self._editor.setMRMLSegmentEditorNode(None)

    def inUse(self, segmentationNode: Any) -> EditorInUse:
        """Whose masking and Undo hold for this node: this editor's while it is shown, else the module's."""
        from ..accept import EditorInUse, moduleSettings

        if self._shown:
            return EditorInUse(self._editor.mrmlSegmentEditorNode(), self._editor)
        module = getattr(slicer.modules, "SegmentEditorWidget", None)
        editor = getattr(module, "editor", None)
        edits = editor is not None and editor.segmentationNode() is segmentationNode
        return EditorInUse(moduleSettings(slicer.mrmlScene), editor if edits else None)


def _ownNode() -> Any:
    """The parameter node of the embedded editor; a singleton, so that it comes back with a saved scene."""
    node = slicer.mrmlScene.GetSingletonNode(_OWN_TAG, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.vtkMRMLSegmentEditorNode()
        node.SetSingletonTag(_OWN_TAG)
        node.SetName("MedMetaSeg Segment Editor")
        node = slicer.mrmlScene.AddNode(node)
    return node
