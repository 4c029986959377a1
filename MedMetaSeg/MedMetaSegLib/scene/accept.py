"""Results copied over what was painted, as one step that the Segment Editor can undo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import slicer
import slicer.util
import vtk

from ..errors import InputError
from .dicom_tags import tagAlgorithm
from .reader import RESULT_TAG, readStructure
from .segment_content import SegmentContent, contentOf
from .space import (
    BINARY_LABELMAP,
    CHANGED,
    generalTransform,
    imageAffine,
    imageFromMask,
    linearTransform,
    maskFromImage,
)

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


class EditHistory(Protocol):
    """Where a step is kept for Undo: a qMRMLSegmentEditorWidget is one."""

    def saveStateForUndo(self) -> Any: ...
    def undo(self) -> Any: ...
    def redo(self) -> Any: ...


@dataclass(frozen=True)
class EditorInUse:
    """The Segment Editor that the user works with.

    settings: its vtkMRMLSegmentEditorNode, whose masking and overwriting hold; None for Slicer's defaults.
    history: whose Undo the user can press; None when no editor edits the painted node.
    """

    settings: Any = None
    history: EditHistory | None = None


def moduleSettings(scene: Any) -> Any:
    """The parameter node of Slicer's module Segment Editor; None when that was never opened."""
    return scene.GetSingletonNode(_EDITOR_TAG, "vtkMRMLSegmentEditorNode")


@dataclass(frozen=True)
class _SegmentState:
    """All of a segment that Undo brings back."""

    about: Any
    content: SegmentContent

    def isSameAs(self, other: _SegmentState) -> bool:
        return self.about == other.about and self.content.is_same_as(other.content)


@dataclass(frozen=True, eq=False)
class _Accepted:
    """The last step. before, after: the states of all segments of the node, by id."""

    node: Any
    history: EditHistory
    before: dict[str, _SegmentState]
    after: dict[str, _SegmentState]


class Acceptance(slicer.util.VTKObservationMixin):
    """Puts results in the place of painted segments through Slicer's Segment Editor logic.

        acceptance = Acceptance()
        acceptance.accept(resultNode, paintedNode, volumeNode, resultsFor(resultNode, paintedIds))
        acceptance.undo()

    Masking (editable area, intensity range) and overwriting of other segments are as chosen in the Segment
    Editor that `findEditor(paintedNode)` gives. The step goes into its history, and its Undo takes it back;
    without one it goes into a history of this object's. Here it can be taken back until the painted node is
    changed by something else.
    """

    def __init__(self, findEditor: Callable[[Any], EditorInUse] | None = None) -> None:
        super().__init__()
        self._findEditor = findEditor or (lambda node: EditorInUse(moduleSettings(node.GetScene())))
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._editorNode: Any = None
        self._last: _Accepted | None = None
        self._mayBeChanged = False

    def accept(
        self, resultNode: Any, paintedNode: Any, volumeNode: Any, pairs: Sequence[tuple[str, str]]
    ) -> list[str]:
        """Replace painted segments by results, (result id, painted id) each; one step to undo.

        Returns the names of painted segments that are as they were, since masking let nothing of their
        results through. Raises InputError when there is nothing to accept, the painted node cannot be edited,
        or nothing would change, with the reason; nothing is changed then.
        """
        if not pairs:
            raise InputError("There is no result for the ticked segments: press Segment first.")
        segmentation = paintedNode.GetSegmentation()
        if segmentation.GetSourceRepresentationName() != BINARY_LABELMAP:
            raise InputError(
                f"Segmentation '{paintedNode.GetName()}' is not kept as binary labelmap: "
                "make that its source representation in the Segmentations module."
            )
        editor = self._findEditor(paintedNode)
        self._prepare(paintedNode, volumeNode, editor.settings)
        images = [(self._modifier(resultNode, one, paintedNode, painted), painted) for one, painted in pairs]
        before = _states(segmentation)
        differing = [painted for image, painted in images if not _holds(before[painted], image)]
        if not differing:
            raise InputError("Nothing was changed: your segments are the same as the results already.")
        history = editor.history or _OwnHistory(self._logic, paintedNode)
        self._drop()
        history.saveStateForUndo()
        with slicer.util.NodeModify(paintedNode):
            for image, segmentId in images:
                self._logic.ModifySegmentByLabelmap(
                    paintedNode, segmentId, image, self._logic.ModificationModeSet, False, False
                )
        after = _states(segmentation)
        unchanged = [one for one in differing if after[one].isSameAs(before[one])]
        if unchanged == differing:
            raise InputError(f"Nothing was changed: {masking(self._editorNode)}.")
        for segmentId in (one for one in differing if one not in unchanged):
            tagAlgorithm(segmentation.GetSegment(segmentId), "SEMIAUTOMATIC")
        self._remember(_Accepted(paintedNode, history, before, after))
        return [segmentation.GetSegment(one).GetName() for one in unchanged]

    @property
    def maskingInWords(self) -> str:
        """What the masking of the last `accept` is, and what to do about it."""
        return masking(self._editorNode)

    @property
    def canUndo(self) -> bool:
        """True when the last `accept` can be taken back here: the painted node is as it left it."""
        if self._last is not None and self._mayBeChanged:
            self._mayBeChanged = False
            if not _areSame(_states(self._last.node.GetSegmentation()), self._last.after):
                self._drop()
        return self._last is not None

    def undo(self) -> None:
        """Take the last `accept` back, through the history it went into.

        Raises InputError, and leaves the painted node as it is, when it was changed since.
        """
        if not self.canUndo or self._last is None:
            raise InputError("There is no Accept to take back: use Undo of the Segment Editor.")
        last = self._last
        self._drop()
        last.history.undo()
        if not _areSame(_states(last.node.GetSegmentation()), last.before):
            last.history.redo()
            raise InputError(
                "The Accept cannot be taken back here, since segments were changed after it: use Undo of the "
                "Segment Editor."
            )

    def forget(self) -> None:
        """Let go of all nodes, when the scene closes or the painted node leaves it."""
        self._drop()
        self._logic.ClearUndoState()
        self._logic.SetSegmentationNode(None)
        self._logic.SetSourceVolumeNode(None)
        self._logic.SetSegmentEditorNode(None)
        if self._editorNode is not None and self._editorNode.GetScene() is not None:
            self._editorNode.GetScene().RemoveNode(self._editorNode)
        self._editorNode = None

    def _prepare(self, paintedNode: Any, volumeNode: Any, settings: Any) -> None:
        """Point the logic at the nodes, with the user's masking and overwrite settings."""
        scene = paintedNode.GetScene()
        if self._editorNode is None or self._editorNode.GetScene() is not scene:
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetName("MedMetaSeg Accept")
            node.SetHideFromEditors(True)
            node.SetSaveWithScene(False)
            self._editorNode = scene.AddNode(node)
            self._logic.SetMRMLScene(scene)
            self._logic.SetSegmentEditorNode(self._editorNode)
        _copySettings(settings or slicer.vtkMRMLSegmentEditorNode(), self._editorNode)
        self._logic.SetSegmentationNode(paintedNode)
        self._logic.SetSourceVolumeNode(volumeNode)
        self._logic.UpdateReferenceGeometryImage()
        self._logic.UpdateMaskLabelmap()
        if self._editorNode.GetSourceVolumeIntensityMask():
            self._logic.UpdateAlignedSourceVolume()

    def _modifier(self, resultNode: Any, resultId: str, paintedNode: Any, paintedId: str) -> Any:
        """The result on the grid of the painted segment: elsewhere Slicer's logic misplaces what it erases,
        and with an intensity range it returns without a word.
        """
        image = _imageFor(resultNode, resultId, paintedNode)
        segment = paintedNode.GetSegmentation().GetSegment(paintedId)
        grid = segment.GetRepresentation(BINARY_LABELMAP)
        reference = self._logic.GetReferenceGeometryImage()
        if grid is None or grid.IsEmpty():
            grid = reference
        if self._editorNode.GetSourceVolumeIntensityMask() and not _sameGrid(grid, reference):
            raise InputError(
                f"Segment '{segment.GetName()}' is painted on another grid than that of its segmentation, "
                "where Slicer cannot apply the editable intensity range: switch that off in the Segment "
                "Editor, then press Accept again."
            )
        return image if grid.IsEmpty() or _sameGrid(image, grid) else _resampled(image, grid)

    def _remember(self, step: _Accepted) -> None:
        self._last, self._mayBeChanged = step, False
        for event in CHANGED:
            self.addObserver(step.node.GetSegmentation(), event, self._onChanged)

    def _drop(self) -> None:
        self.removeObservers(self._onChanged)
        self._last, self._mayBeChanged = None, False

    def _onChanged(self, caller: Any, event: str) -> None:
        self._mayBeChanged = True


class _OwnHistory:
    """The history of the logic itself, where no editor has one."""

    def __init__(self, logic: Any, node: Any) -> None:
        self._logic, self._node = logic, node

    def saveStateForUndo(self) -> None:
        if not self._logic.SaveStateForUndo():
            raise InputError(f"The state of '{self._node.GetName()}' could not be kept for Undo.")

    def undo(self) -> None:
        self._logic.Undo()

    def redo(self) -> None:
        self._logic.Redo()


def masking(settings: Any) -> str:
    """What a vtkMRMLSegmentEditorNode lets be edited, and what to do when that is too little."""
    limits = []
    if settings.GetMaskMode() != slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere:
        limits.append("editable area")
    if settings.GetSourceVolumeIntensityMask():
        low, high = settings.GetSourceVolumeIntensityMaskRange()
        limits.append(f"editable intensity range ({low:g} to {high:g})")
    if not limits:
        return "Slicer refused the results without saying why; its log may tell more"
    return (
        f"the {' and the '.join(limits)} of the Segment Editor let nothing through; "
        "change them under Masking there, then press Accept again"
    )


def _states(segmentation: Any) -> dict[str, _SegmentState]:
    ids = list(segmentation.GetSegmentIDs())
    contents = contentOf(segmentation, ids)
    # The label value tells nothing: saving the scene gives out new ones.
    return {
        one: _SegmentState(replace(readStructure(segmentation, one), label=0), contents[one]) for one in ids
    }


def _areSame(one: dict[str, _SegmentState], other: dict[str, _SegmentState]) -> bool:
    return one.keys() == other.keys() and all(one[key].isSameAs(other[key]) for key in one)


def _holds(state: _SegmentState, image: Any) -> bool:
    """True when the segment has the voxels of this image already."""
    mask, offset = maskFromImage(image)
    return state.content.is_same_as(SegmentContent.of_mask(mask, offset, imageAffine(image)))


def _sameGrid(one: Any, other: Any) -> bool:
    return bool(slicer.vtkOrientedImageDataResample.DoGeometriesMatch(one, other))


def _resampled(image: Any, grid: Any) -> Any:
    """A mask on the voxels of `grid`, nearest neighbour, also where it reaches beyond its edges; cropped."""
    out = slicer.vtkOrientedImageData()
    if not slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, grid, out, False, True
    ):
        raise InputError("The result could not be brought to the grid of the painted segments.")
    mask, offset = maskFromImage(out)
    return imageFromMask(mask, offset, imageAffine(out))


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
