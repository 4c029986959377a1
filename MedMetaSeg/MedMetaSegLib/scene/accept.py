"""Results copied over what was painted, as one step that the Segment Editor can undo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer
import slicer.util
import vtk

from ..errors import InputError
from .reader import RESULT_TAG
from .space import BINARY_LABELMAP, generalTransform, linearTransform, maskFromImage

_EDITOR_TAG = "SegmentEditor"
"""Singleton tag of the parameter node of Slicer's module Segment Editor."""


def resultsFor(resultNode: Any, paintedIds: Sequence[str]) -> list[tuple[str, str]]:
    """(id of the result, id of the painted segment) of every result in the node for one of these."""
    if resultNode is None:
        return []
    segmentation, pairs = resultNode.GetSegmentation(), []
    for segmentId in segmentation.GetSegmentIDs():
        answersTo = vtk.reference("")
        if segmentation.GetSegment(segmentId).GetTag(RESULT_TAG, answersTo) and str(answersTo) in paintedIds:
            pairs.append((segmentId, str(answersTo)))
    return pairs


class Acceptance:
    """Puts results in the place of painted segments through Slicer's Segment Editor logic.

        acceptance = Acceptance()
        acceptance.accept(resultNode, paintedNode, volumeNode, resultsFor(resultNode, paintedIds))
        acceptance.undo()

    Masking (editable area, intensity range) and overwriting of other segments are as chosen in the Segment
    Editor. findEditor gives the qMRMLSegmentEditorWidget that edits the painted node, if there is one: the
    step then goes into its history, and its Undo takes it back; otherwise into a history of this object's.
    """

    def __init__(self, findEditor: Callable[[Any], Any] = lambda segmentationNode: None) -> None:
        self._findEditor = findEditor
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._editorNode: Any = None
        self._last: Any = None

    def accept(
        self, resultNode: Any, paintedNode: Any, volumeNode: Any, pairs: Sequence[tuple[str, str]]
    ) -> None:
        """Replace painted segments by results, (result id, painted id) each; one step to undo.

        Raises InputError when there is nothing to accept or the painted node cannot be edited; nothing is
        changed then.
        """
        if not pairs:
            raise InputError("There is no result for the ticked segments: press Segment first.")
        segmentation = paintedNode.GetSegmentation()
        if segmentation.GetSourceRepresentationName() != BINARY_LABELMAP:
            raise InputError(
                f"Segmentation '{paintedNode.GetName()}' is not kept as binary labelmap: "
                "make that its source representation in the Segmentations module."
            )
        images = [(_imageFor(resultNode, one, paintedNode), painted) for one, painted in pairs]
        self._prepare(paintedNode, volumeNode)
        editor = self._findEditor(paintedNode)
        if editor is not None:
            editor.saveStateForUndo()
        elif not self._logic.SaveStateForUndo():
            raise InputError(f"The state of '{paintedNode.GetName()}' could not be kept for Undo.")
        self._last = editor if editor is not None else self._logic
        with slicer.util.NodeModify(paintedNode):
            for image, segmentId in images:
                self._logic.ModifySegmentByLabelmap(
                    paintedNode, segmentId, image, self._logic.ModificationModeSet, False, False
                )

    @property
    def canUndo(self) -> bool:
        """True when the last `accept` can be taken back here."""
        return self._last is not None

    def undo(self) -> None:
        """Take the last `accept` back, through the history it went into."""
        last, self._last = self._last, None
        if last is self._logic:
            last.Undo()
        elif last is not None:
            last.undo()

    def forget(self) -> None:
        """Let go of all nodes, when the scene closes or the painted node leaves it."""
        self._last = None
        self._logic.ClearUndoState()
        self._logic.SetSegmentationNode(None)
        self._logic.SetSourceVolumeNode(None)
        self._logic.SetSegmentEditorNode(None)
        if self._editorNode is not None and self._editorNode.GetScene() is not None:
            self._editorNode.GetScene().RemoveNode(self._editorNode)
        self._editorNode = None

    def _prepare(self, paintedNode: Any, volumeNode: Any) -> None:
        """Point the logic at the nodes, with the user's masking and overwrite settings."""
        scene = paintedNode.GetScene()
        if self._editorNode is None or self._editorNode.GetScene() is not scene:
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetName("MedMetaSeg Segment Editor")
            node.SetSaveWithScene(False)
            self._editorNode = scene.AddNode(node)
            self._logic.SetMRMLScene(scene)
            self._logic.SetSegmentEditorNode(self._editorNode)
        user = scene.GetSingletonNode(_EDITOR_TAG, "vtkMRMLSegmentEditorNode")
        if user is not None:
            _copySettings(user, self._editorNode)
        self._logic.SetSegmentationNode(paintedNode)
        self._logic.SetSourceVolumeNode(volumeNode)
        self._logic.UpdateReferenceGeometryImage()
        self._logic.UpdateMaskLabelmap()


def _copySettings(source: Any, target: Any) -> None:
    target.SetOverwriteMode(source.GetOverwriteMode())
    target.SetMaskMode(source.GetMaskMode())
    target.SetMaskSegmentID(source.GetMaskSegmentID() or "")
    target.SetSourceVolumeIntensityMask(source.GetSourceVolumeIntensityMask())
    target.SetSourceVolumeIntensityMaskRange(*source.GetSourceVolumeIntensityMaskRange())


def _imageFor(resultNode: Any, segmentId: str, paintedNode: Any) -> Any:
    """A copy of a result's labelmap in the space of the painted node."""
    image = slicer.vtkOrientedImageData()
    found = resultNode.GetBinaryLabelmapRepresentation(segmentId, image)
    if not found or not maskFromImage(image)[0].any():
        name = resultNode.GetSegmentation().GetSegment(segmentId).GetName()
        raise InputError(f"The result '{name}' is empty: there is nothing to accept.")
    source, target = resultNode.GetParentTransformNode(), paintedNode.GetParentTransformNode()
    if source is target:
        return image
    matrix = linearTransform(source, target)
    way = generalTransform(source, target)
    if matrix is not None:
        way = vtk.vtkTransform()
        way.SetMatrix(slicer.util.vtkMatrixFromArray(matrix))
    slicer.vtkOrientedImageDataResample.TransformOrientedImage(image, way)
    return image
