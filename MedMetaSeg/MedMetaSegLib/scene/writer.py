"""Segments out: a result becomes segments of a node, where the volume lies, or the scene stays as it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import slicer
import slicer.util
import vtk

from ..errors import InputError
from ..support.structure import Structure, StructureMask
from .dicom_tags import tagAlgorithm
from .reader import RESULT_TAG
from .space import (
    BINARY_LABELMAP,
    CLOSED_SURFACE,
    generalTransform,
    imageFromMask,
    linearTransform,
    volumeAffine,
)

if TYPE_CHECKING:
    from ..support.dicom_seg_writing import AlgorithmType


def writeSegments(
    segmented: Sequence[StructureMask],
    volumeNode: Any,
    outputNode: Any = None,
    *,
    withSurface: bool = False,
    algorithmType: AlgorithmType = "SEMIAUTOMATIC",
) -> Any:
    """Add a segment for each structure to `outputNode`, or to a new node beside the volume; returns the node.

    algorithmType: "AUTOMATIC" where nothing was painted on this volume, for DICOM files that Slicer writes.

    Segments already in the node are not touched, their shared labelmaps included: each new one brings its own
    labelmap. When anything fails a new node is removed and a given one is as before.
    Raises InputError when the given node cannot take labelmaps.
    """
    created = outputNode is None
    if outputNode is not None:
        checkOutput(outputNode)
    node = _newNode(volumeNode) if outputNode is None else outputNode
    segmentation = node.GetSegmentation()
    hadSurface = segmentation.ContainsRepresentation(CLOSED_SURFACE)
    added: list[str] = []
    try:
        with slicer.util.NodeModify(node):
            if created:
                placeBeside(node, volumeNode)
            for one in segmented:
                added.append(_addSegment(node, volumeNode, one, algorithmType))
            if created:
                segmentation.CollapseBinaryLabelmaps(False)
            if withSurface and not hadSurface and not node.CreateClosedSurfaceRepresentation():
                raise RuntimeError(f"The closed surface of '{node.GetName()}' could not be made.")
    except BaseException:
        if created:
            removeNode(node)
        else:
            _takeBack(node, added, hadSurface)
        raise
    return node


def checkOutput(node: Any) -> None:
    """Raise InputError when segments cannot be added to the node."""
    if not node.IsA("vtkMRMLSegmentationNode"):
        raise InputError(f"'{node.GetName()}' is no segmentation: choose one for the result.")
    segmentation = node.GetSegmentation()
    if segmentation.GetNumberOfSegments() and segmentation.GetSourceRepresentationName() != BINARY_LABELMAP:
        source = segmentation.GetSourceRepresentationName().lower()
        raise InputError(
            f"Segmentation '{node.GetName()}' is kept as {source}: "
            "choose another for the result, or make binary labelmap its source representation."
        )


def _newNode(volumeNode: Any) -> Any:
    scene = volumeNode.GetScene()
    name = scene.GenerateUniqueName(f"{volumeNode.GetName()} segmentation")
    return scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)


def placeBeside(node: Any, volumeNode: Any) -> None:
    """Same parent transform, same grid, same study as the volume."""
    node.CreateDefaultDisplayNodes()
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    node.SetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole(), volumeNode.GetID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volumeNode.GetScene())
    volumeItem = hierarchy.GetItemByDataNode(volumeNode)
    parent = hierarchy.GetItemParent(volumeItem) if volumeItem else hierarchy.GetSceneItemID()
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)


def _addSegment(node: Any, volumeNode: Any, one: StructureMask, algorithmType: AlgorithmType) -> str:
    """One new segment with a labelmap of its own; returns its id.

    `slicer.util.updateSegmentBinaryLabelmapFromArray` is not used: it applies the parent transforms twice
    where those of volume and segmentation differ.
    """
    image = _imageFor(node, volumeNode, one) if one.mask.any() else None
    return addSegmentOf(node, one.structure, image, algorithmType=algorithmType)


def addSegmentOf(
    node: Any,
    structure: Structure,
    image: Any,
    wantedId: str = "",
    algorithmType: AlgorithmType = "SEMIAUTOMATIC",
) -> str:
    """One new segment with the structure's name, colour and terminology; returns its id.

    image: its labelmap in the node's space, None without voxels. wantedId: its id unless that is taken.
    algorithmType: see `writeSegments`.
    """
    segmentation = node.GetSegmentation()
    segment = slicer.vtkSegment()
    segment.SetName(_uniqueName(structure.name, _names(segmentation)))
    segment.SetColor(*structure.color)
    segment.SetNameAutoGenerated(False)
    segment.SetColorAutoGenerated(False)
    if structure.terminology:
        segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), structure.terminology)
    segment.SetTag(RESULT_TAG, structure.segment_id or "1")
    tagAlgorithm(segment, algorithmType)
    if image is not None:
        segment.AddRepresentation(BINARY_LABELMAP, image)
    segmentId = segmentation.GenerateUniqueSegmentID(wantedId or structure.segment_id)
    if not segmentation.AddSegment(segment, segmentId):
        raise RuntimeError(f"Segment '{structure.name}' could not be added to '{node.GetName()}'.")
    return str(segmentId)


def _imageFor(node: Any, volumeNode: Any, one: StructureMask) -> Any:
    """The mask as an image in the node's space: moved with its grid, or resampled on a bent way there."""
    volumeSpace, nodeSpace = volumeNode.GetParentTransformNode(), node.GetParentTransformNode()
    image = imageFromMask(one.mask, one.offset, volumeAffine(volumeNode, volumeSpace))
    if volumeSpace is nodeSpace:
        return image
    matrix = linearTransform(volumeSpace, nodeSpace)
    if matrix is None:
        way = generalTransform(volumeSpace, nodeSpace)
    else:
        # Slicer takes a general transform made of several linear ones for a bent one and would resample.
        way = vtk.vtkTransform()
        way.SetMatrix(slicer.util.vtkMatrixFromArray(matrix))
    slicer.vtkOrientedImageDataResample.TransformOrientedImage(image, way)
    return image


def _names(segmentation: Any) -> set[str]:
    return {segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())}


def _uniqueName(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    number = 2
    while f"{name} {number}" in taken:
        number += 1
    return f"{name} {number}"


def _takeBack(node: Any, segmentIds: Iterable[str], hadSurface: bool) -> None:
    with slicer.util.NodeModify(node):
        for segmentId in segmentIds:
            node.GetSegmentation().RemoveSegment(segmentId)
        if not hadSurface and node.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE):
            node.RemoveClosedSurfaceRepresentation()


def removeNode(node: Any) -> None:
    """The node, its display node and its item in the subject hierarchy."""
    scene = node.GetScene()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.RemoveItem(item, False, False)
    for index in reversed(range(node.GetNumberOfDisplayNodes())):
        scene.RemoveNode(node.GetNthDisplayNode(index))
    scene.RemoveNode(node)
