"""Nodes in: a volume node as a Volume, a painted segmentation node as a Support, both in one space.

That space is world, with linear parent transforms folded into the affines. Under a transform that bends space
it is the volume's own, and segments that reach it only through a bent transform are resampled onto its grid.
Reading changes nothing in the scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk

from ..errors import InputError
from ..imageio.volume import Geometry, Volume
from ..support.support import Annotation, Structure, Support
from .common_grid import SegmentMask, onCommonGrid
from .space import (
    BINARY_LABELMAP,
    commonSpace,
    generalTransform,
    gridImage,
    imageAffine,
    linearTransform,
    maskFromImage,
    ownAffine,
    parentAffine,
    volumeAffine,
)

# A segment with this tag was made by this module; it is not painted. Its value: the painted segment's id.
RESULT_TAG = "MedMetaSeg.Result"
_TERMINOLOGY = slicer.vtkSegment.GetTerminologyEntryTagName()


def readVolume(volumeNode: Any, itemNode: Any = None) -> Volume:
    """The volume with its affine in the common space; its array is a read-only view of the node's voxels.

    itemNode: an item of the sequence that the volume shows, outside the scene; its voxels are read instead,
    where the volume would show them. Raises InputError when a node is no scalar volume or holds no voxels.
    """
    if volumeNode is None or not volumeNode.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError("Choose a scalar volume (CT or MR) to segment.")
    source = volumeNode if itemNode is None else itemNode
    image = source.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        raise InputError(f"Volume '{volumeNode.GetName()}' holds no voxels: load it again or choose another.")
    if image.GetNumberOfScalarComponents() != 1:
        count = image.GetNumberOfScalarComponents()
        raise InputError(
            f"Volume '{volumeNode.GetName()}' has {count} values in each voxel: "
            "choose a scalar volume (Vector to Scalar Volume makes one)."
        )
    array = slicer.util.arrayFromVolume(source)
    array.setflags(write=False)
    affine = parentAffine(volumeNode, commonSpace(volumeNode)) @ ownAffine(source)
    return Volume(
        array, Geometry(array.shape, affine), name=volumeNode.GetName(), modality=_modality(volumeNode)
    )


def readSupport(
    segmentationNode: Any,
    volumeNode: Any,
    *,
    annotation: Annotation = "slices",
    segmentIds: Sequence[str] | None = None,
    backgroundIds: Sequence[str] = (),
) -> Support:
    """What was painted, on the grid it was painted on; names, colours, terminology and ids come along.

    `segmentIds` chooses segments. Without it all are read, but not those this module made unless there are no
    others. `backgroundIds`: what is the background of scribbles, besides those named or tagged so. Raises
    InputError for ids that are not there, and what Support raises for what cannot be used.
    """
    if segmentationNode is None or not segmentationNode.IsA("vtkMRMLSegmentationNode"):
        raise InputError("Choose the segmentation that holds the painted slices.")
    chosen = _chosenIds(segmentationNode, segmentIds)
    segments = [
        readSegment(segmentationNode, segmentId, label, volumeNode)
        for label, segmentId in enumerate(chosen, 1)
    ]
    grid = onCommonGrid(segments, readVolume(volumeNode).geometry, annotation)
    background = [
        one
        for one in chosen
        if one in backgroundIds or _isTaggedBackground(segmentationNode.GetSegmentation().GetSegment(one))
    ]
    support = Support.from_masks(grid.masks, grid.geometry, annotation, background_ids=background)
    return replace(support, skipped=support.skipped + grid.skipped, notes=support.notes + grid.notes)


def isBent(segmentationNode: Any, volumeNode: Any) -> bool:
    """True when the painted segments reach the volume only through a transform that is not linear."""
    return linearTransform(segmentationNode.GetParentTransformNode(), commonSpace(volumeNode)) is None


def _modality(volumeNode: Any) -> str:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volumeNode.GetScene())
    item = hierarchy.GetItemByDataNode(volumeNode) if hierarchy else 0
    if not item:
        return ""
    attribute = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    modality = hierarchy.GetItemAttribute(item, attribute)
    return {"CT": "CT", "MR": "MR", "MRI": "MR"}.get(modality, "")


def _chosenIds(segmentationNode: Any, segmentIds: Sequence[str] | None) -> list[str]:
    segmentation = segmentationNode.GetSegmentation()
    present = list(segmentation.GetSegmentIDs())
    if not present:
        raise InputError(
            f"Segmentation '{segmentationNode.GetName()}' has no segments: paint a few slices first."
        )
    if segmentIds is None:
        painted = [one for one in present if not segmentation.GetSegment(one).HasTag(RESULT_TAG)]
        return painted or present
    missing = [one for one in segmentIds if one not in present]
    if missing or not segmentIds:
        raise InputError(
            f"Segmentation '{segmentationNode.GetName()}' has no segment {', '.join(missing) or 'chosen'}: "
            f"choose from {', '.join(present)}."
        )
    return list(segmentIds)


def readStructure(segmentation: Any, segmentId: str) -> Structure:
    """A segment's name, colour and terminology; label: its label value. segment_id: of a result, the segment
    that it answers to.
    """
    segment = segmentation.GetSegment(segmentId)
    answersTo = vtk.reference("")
    return Structure(
        name=segment.GetName() or segmentId,
        label=segment.GetLabelValue(),
        color=tuple(segment.GetColor()),
        terminology=_terminology(segment),
        segment_id=str(answersTo) if segment.GetTag(RESULT_TAG, answersTo) else segmentId,
    )


def _terminology(segment: Any) -> str:
    entry = vtk.reference("")
    return str(entry.get()) if segment.GetTag(_TERMINOLOGY, entry) else ""


def _isTaggedBackground(segment: Any) -> bool:
    """A tag called background, or a terminology entry that means it."""
    meanings = _terminology(segment).casefold().replace("~", "^").split("^")
    return segment.HasTag("background") or segment.HasTag("Background") or "background" in meanings


def readSegment(segmentationNode: Any, segmentId: str, label: int, volumeNode: Any) -> SegmentMask:
    """One segment on the grid that it is stored on, in the common space. label: its value in a support."""
    structure = replace(
        readStructure(segmentationNode.GetSegmentation(), segmentId), label=label, segment_id=segmentId
    )
    space = commonSpace(volumeNode)
    image = _labelmap(segmentationNode, segmentId, volumeNode)
    toSpace = linearTransform(segmentationNode.GetParentTransformNode(), space)
    if toSpace is None:
        image = _resampled(image, segmentationNode, volumeNode)
        toSpace = np.eye(4)
    mask, offset = maskFromImage(image)
    return SegmentMask(structure, offset, mask, toSpace @ imageAffine(image))


def _labelmap(segmentationNode: Any, segmentId: str, volumeNode: Any) -> Any:
    """A copy of one segment's labelmap, alone, on the grid it is stored on; a surface is turned into one."""
    segmentation = segmentationNode.GetSegmentation()
    if not segmentation.ContainsRepresentation(BINARY_LABELMAP):
        return voxelised(segmentationNode, segmentId, volumeNode)
    image = slicer.vtkOrientedImageData()
    if not segmentationNode.GetBinaryLabelmapRepresentation(segmentId, image):
        raise InputError(
            f"Segment '{segmentation.GetSegment(segmentId).GetName()}' has no labelmap: paint it again."
        )
    return image


def voxelised(segmentationNode: Any, segmentId: str, volumeNode: Any) -> Any:
    """The labelmap, a vtkOrientedImageData, of a segment that has none but a surface.

    It is converted on the volume's grid in a segmentation of its own: the node stays as it is."""
    alone = slicer.vtkMRMLSegmentationNode()
    alone.GetSegmentation().SetSourceRepresentationName(
        segmentationNode.GetSegmentation().GetSourceRepresentationName()
    )
    alone.GetSegmentation().CopySegmentFromSegmentation(segmentationNode.GetSegmentation(), segmentId)
    toSegmentation = linearTransform(
        volumeNode.GetParentTransformNode(), segmentationNode.GetParentTransformNode()
    )
    if toSegmentation is None:
        raise InputError(
            f"Segmentation '{segmentationNode.GetName()}' holds surfaces and the way to the volume is not "
            "linear: harden its transform first."
        )
    affine = toSegmentation @ volumeAffine(volumeNode, volumeNode.GetParentTransformNode())
    shape = volumeNode.GetImageData().GetDimensions()[::-1]
    converter = slicer.vtkSegmentationConverter
    alone.GetSegmentation().SetConversionParameter(
        converter.GetReferenceImageGeometryParameterName(),
        converter.SerializeImageGeometry(gridImage(affine, shape)),
    )
    image = slicer.vtkOrientedImageData()
    if not alone.CreateBinaryLabelmapRepresentation() or not alone.GetBinaryLabelmapRepresentation(
        segmentId, image
    ):
        raise InputError(
            f"Segmentation '{segmentationNode.GetName()}' cannot be turned into a labelmap: "
            "create its binary labelmap in the Segmentations module."
        )
    return image


def _resampled(image: Any, segmentationNode: Any, volumeNode: Any) -> Any:
    """The segment on the volume's own grid, nearest neighbour, through a transform that bends space."""
    space = commonSpace(volumeNode)
    reference = gridImage(volumeAffine(volumeNode, space), volumeNode.GetImageData().GetDimensions()[::-1])
    if image.IsEmpty():
        return reference
    through = generalTransform(segmentationNode.GetParentTransformNode(), space)
    out = slicer.vtkOrientedImageData()
    if not slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, reference, out, False, False, through
    ):
        raise InputError(
            f"Segmentation '{segmentationNode.GetName()}' cannot be brought to the volume: "
            "harden its transform."
        )
    return out
