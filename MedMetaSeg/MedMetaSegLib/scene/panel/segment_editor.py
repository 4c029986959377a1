"""Slicer's Segment Editor: opened on a volume, embedded in the panel, and asked for its Undo."""

from __future__ import annotations

from typing import Any

import slicer
import slicer.util

_BRUSH_SLICES = 30.0
_EDITOR_TAG = "SegmentEditor"


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

    It shares the parameter node of the module Segment Editor, and so its masking and overwrite settings.
    """

    def __init__(self, place: Any) -> None:
        self._place = place
        self._editor: Any = None
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
            layout = qt.QVBoxLayout(self._place)
            layout.setContentsMargins(0, 0, 0, 0)
            layout.addWidget(self._editor)
        # The parameter node first: the scene's defaults go into it.
        self._editor.setMRMLSegmentEditorNode(_editorNode())
        self._editor.setMRMLScene(slicer.mrmlScene)
        self._editor.setSegmentationNodeSelectorVisible(False)
        self._editor.setSourceVolumeNodeSelectorVisible(False)
        self._place.setVisible(True)
        self._editor.setupViewObservations()
        _point(self._editor, segmentationNode, volumeNode)

    def hide(self) -> None:
        """Hide it and stop listening to the slice views."""
        if self._editor is not None:
            self._editor.setActiveEffect(None)
            self._editor.removeViewObservations()
        self._place.setVisible(False)

    def forget(self) -> None:
        """Let go of the scene, when it closes or the panel goes away."""
        self.hide()
        if self._editor is not None:
            self._editor.setMRMLSegmentEditorNode(None)

    def editorOf(self, segmentationNode: Any) -> Any:
        """The editor that edits this node, the embedded one or that of the module; None without one."""
        module = getattr(slicer.modules, "SegmentEditorWidget", None)
        for editor in (self._editor, getattr(module, "editor", None)):
            if editor is not None and editor.segmentationNode() is segmentationNode:
                return editor
        return None


def _editorNode() -> Any:
    node = slicer.mrmlScene.GetSingletonNode(_EDITOR_TAG, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.vtkMRMLSegmentEditorNode()
        node.SetSingletonTag(_EDITOR_TAG)
        node = slicer.mrmlScene.AddNode(node)
    return node
