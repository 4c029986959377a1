"""The demonstration's data as nodes of a Slicer scene, as if a user had loaded and painted them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util

from ..imageio.volume import Geometry, Volume
from ..imageio.writing import NotWritten
from ..scene.space import BINARY_LABELMAP, imageFromMask
from ..support.structure import StructureMask

_CT_WINDOW, _CT_LEVEL = 400.0, 50.0


def addVolume(scene: Any, volume: Volume) -> Any:
    """A scalar volume node; CT gets the window of soft tissue."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", volume.name or "Volume")
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(volume.array))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(volume.geometry.affine))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    if volume.modality == "CT":
        display.AutoWindowLevelOff()
        display.SetWindowLevel(_CT_WINDOW, _CT_LEVEL)
    return node


def addSegments(volumeNode: Any, name: str, painted: Sequence[StructureMask], grid: Geometry) -> Any:
    """A segmentation node with a segment for each painted structure, in the place `grid` says."""
    node = volumeNode.GetScene().AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    for one in painted:
        segment = slicer.vtkSegment()
        segment.SetName(one.structure.name)
        segment.SetColor(*one.structure.color)
        if one.structure.terminology:
            segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), one.structure.terminology)
        segment.AddRepresentation(BINARY_LABELMAP, imageFromMask(one.mask, one.offset, grid.affine))
        node.GetSegmentation().AddSegment(segment)
    return node


def segmentMasks(node: Any, volumeNode: Any) -> dict[str, np.ndarray]:
    """Mask (bool, k, j, i, on the volume's grid) of every segment, by its name."""
    segmentation = node.GetSegmentation()
    masks = {}
    for segmentId in segmentation.GetSegmentIDs():
        array = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentId, volumeNode)
        masks[segmentation.GetSegment(segmentId).GetName()] = np.asarray(array) > 0
    return masks


def writeSegmentationNode(node: Any, path: Path) -> None:
    """Write a segmentation node as Slicer does. Raises NotWritten when Slicer's writer fails."""
    node.AddDefaultStorageNode()
    storage = node.GetStorageNode()
    storage.SetFileName(str(path))
    if not storage.WriteData(node):
        raise NotWritten


def writeScene(scene: Any, path: Path) -> None:
    """Write everything in the scene as one .mrb. Raises NotWritten when Slicer's writer fails."""
    if not scene.WriteToMRB(str(path)):
        raise NotWritten
