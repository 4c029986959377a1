"""Real MRML for the scene tests: a phantom volume, segments painted on it, and where things lie in the world.

Nothing here uses MedMetaSegLib.scene: positions go through the MRML transforms of the nodes themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from scene_positions import BINARY_LABELMAP, look, positions, storedMask, toWorld, volumeIndices

SHAPE = (20, 36, 32)
LIVER, KIDNEY = 100, 200
TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
)


# ---------------------------------------------------------------- the phantom


def phantom() -> np.ndarray:
    """int16 (k, j, i): two unlike ellipsoids that no flip or turn maps onto themselves."""
    k, j, i = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]].astype(float)
    voxels = np.zeros(SHAPE, np.int16)
    voxels[((k - 9) / 7) ** 2 + ((j - 14) / 9) ** 2 + ((i - 10) / 7) ** 2 < 1] = LIVER
    voxels[((k - 12) / 5) ** 2 + ((j - 26) / 6) ** 2 + ((i - 23) / 6) ** 2 < 1] = KIDNEY
    return voxels


def rotation(degrees: float, axis: Sequence[float]) -> np.ndarray:
    """4x4 rotation about an axis through the origin."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    angle = np.deg2rad(degrees)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.eye(4)
    matrix[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return matrix


def moved(x: float, y: float, z: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


SCALED = np.diag([1.5, 1.25, 3.0, 1.0])
STRAIGHT = moved(-20, 15, -30) @ SCALED
OBLIQUE = moved(5, -8, 11) @ rotation(33, (1, 2, 3)) @ SCALED
LEFT_HANDED = moved(20, 15, -30) @ np.diag([-1.5, 1.25, 3.0, 1.0])
SAGITTAL = moved(-9, 4, 2) @ np.array([[0, 0, 3.0, 0], [1.5, 0, 0, 0], [0, -1.25, 0, 0], [0, 0, 0, 1.0]])


def addVolume(
    scene: Any, ijkToRas: np.ndarray = STRAIGHT, voxels: np.ndarray | None = None, name: str = "CT"
) -> Any:
    import slicer
    import slicer.util

    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, phantom() if voxels is None else voxels)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijkToRas))
    node.CreateDefaultDisplayNodes()
    return node


# ---------------------------------------------------------------- transforms


def linear(scene: Any, matrix: np.ndarray) -> Any:
    import slicer.util

    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def thinPlate(scene: Any) -> Any:
    """Bends space by a few millimetres about the phantom."""
    import vtk

    corners = np.array([[x, y, z] for x in (-40, 40) for y in (-20, 70) for z in (-50, 50)], float)
    middle = np.array([[0, 25, 0], [10, 35, 10], [-10, 20, -10]], float)
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in np.vstack([corners, middle]):
        source.InsertNextPoint(point)
    for point in np.vstack([corners, middle + [[3, -2, 2], [-2, 3, 1], [2, 2, -3]]]):
        target.InsertNextPoint(point)
    transform = vtk.vtkThinPlateSplineTransform()
    transform.SetBasisToR()
    transform.SetSourceLandmarks(source)
    transform.SetTargetLandmarks(target)
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    node.SetAndObserveTransformToParent(transform)
    return node


def grid(scene: Any) -> Any:
    """A displacement field: a smooth bump of 3 mm."""
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    field_mm = vtk.vtkImageData()
    field_mm.SetDimensions(20, 20, 20)
    field_mm.SetOrigin(-60, -40, -70)
    field_mm.SetSpacing(8, 8, 8)
    field_mm.AllocateScalars(vtk.VTK_DOUBLE, 3)
    k, j, i = np.mgrid[:20, :20, :20]
    bump = 3 * np.exp(-((i - 8) ** 2 + (j - 8) ** 2 + (k - 9) ** 2) / 18.0)
    vtk_to_numpy(field_mm.GetPointData().GetScalars())[:] = np.stack([bump, -bump, 0.5 * bump], -1).reshape(
        -1, 3
    )
    transform = slicer.vtkOrientedGridTransform()
    transform.SetInterpolationModeToCubic()
    transform.SetDisplacementGridData(field_mm)
    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode")
    node.SetAndObserveTransformToParent(transform)
    return node


@dataclass(frozen=True)
class Placement:
    """How volume and segmentation are stored and which transforms they are under.

    bent: the way from the one to the other is not linear, so that Slicer resamples a mask that goes it.
    """

    name: str
    ijkToRas: np.ndarray = field(default_factory=lambda: STRAIGHT)
    volumeTransform: Callable[[Any], Any] | None = None
    segmentationTransform: Callable[[Any], Any] | None = None
    shareTransform: bool = False
    bent: bool = False

    @property
    def leastDiceElsewhere(self) -> float:
        """What a mask brought to the segmentation node keeps of its shape."""
        return 0.97 if self.bent else 0.99

    def build(self, scene: Any) -> tuple[Any, Any]:
        """Volume node and segmentation node with the drawn slices of the two structures."""
        volumeNode = addVolume(scene, self.ijkToRas)
        segmentationNode = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Painted")
        segmentationNode.CreateDefaultDisplayNodes()
        if self.volumeTransform is not None:
            volumeNode.SetAndObserveTransformNodeID(self.volumeTransform(scene).GetID())
        if self.shareTransform:
            segmentationNode.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        elif self.segmentationTransform is not None:
            segmentationNode.SetAndObserveTransformNodeID(self.segmentationTransform(scene).GetID())
        segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        paint(segmentationNode, volumeNode)
        return volumeNode, segmentationNode


def _turned(scene: Any) -> Any:
    return linear(scene, moved(12, -30, 7) @ rotation(25, (0, 1, 2)))


def _stretched(scene: Any) -> Any:
    return linear(scene, moved(-7, 3, 40) @ rotation(-70, (1, 0, 1)) @ np.diag([1.2, 0.9, 1.1, 1]))


def _nudged(scene: Any) -> Any:
    return linear(scene, moved(3, -4, 5) @ rotation(6, (1, 0, 2)))


PLACEMENTS = (
    Placement("no transforms"),
    Placement("volume under a linear transform", volumeTransform=_turned),
    Placement("segmentation under a linear transform", segmentationTransform=_turned),
    Placement("both under one linear transform", volumeTransform=_turned, shareTransform=True),
    Placement("each under its own rigid transform", OBLIQUE, _turned, _nudged),
    Placement("each under its own linear transform", OBLIQUE, _turned, _stretched),
    Placement("oblique", OBLIQUE),
    Placement("left-handed", LEFT_HANDED),
    Placement("left-handed under a linear transform", LEFT_HANDED, segmentationTransform=_turned),
    Placement("stored sagittal", SAGITTAL),
    Placement("segmentation under a thin plate spline", segmentationTransform=thinPlate, bent=True),
    Placement("volume under a displacement field", volumeTransform=grid, bent=True),
    Placement("both under one displacement field", volumeTransform=grid, shareTransform=True),
    Placement("volume moved, segmentation bent", STRAIGHT, _nudged, thinPlate, bent=True),
)
everyPlacement = pytest.mark.parametrize("placement", PLACEMENTS, ids=[one.name for one in PLACEMENTS])


# ---------------------------------------------------------------- painting


def addSegment(
    segmentationNode: Any,
    name: str,
    mask: np.ndarray | None,
    matrix: np.ndarray,
    start: Sequence[int] = (0, 0, 0),
    color: Sequence[float] = (0.8, 0.3, 0.2),
) -> str:
    """A segment with its own labelmap: `mask` (k, j, i) from index `start`, `matrix` to the node's space."""
    import slicer
    import slicer.util
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.SetColor(*color)
    if mask is not None:
        image = slicer.vtkOrientedImageData()
        edges = [(low, low + size - 1) for low, size in zip(start[::-1], mask.shape[::-1], strict=True)]
        image.SetExtent(*(int(edge) for pair in edges for edge in pair))
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        vtk_to_numpy(image.GetPointData().GetScalars())[:] = mask.ravel()
        image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(np.asarray(matrix, float)))
        segment.AddRepresentation(BINARY_LABELMAP, image)
    segmentation = segmentationNode.GetSegmentation()
    segmentId = segmentation.GenerateUniqueSegmentID(f"Segment_{segmentation.GetNumberOfSegments() + 1}")
    assert segmentation.AddSegment(segment, segmentId)
    return segmentId


def paint(segmentationNode: Any, volumeNode: Any) -> None:
    """The structures on every fourth slice of the grid Slicer chose for the segmentation, in one layer."""
    import slicer

    reference = slicer.vtkOrientedImageData()
    converter = slicer.vtkSegmentationConverter
    parameter = converter.GetReferenceImageGeometryParameterName()
    geometry = segmentationNode.GetSegmentation().GetConversionParameter(parameter)
    assert converter.DeserializeImageGeometry(geometry, reference, False)
    i0, i1, j0, j1, k0, k1 = reference.GetExtent()
    shape = (k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)
    matrix = _matrixOf(reference)
    start = np.array([k0, j0, i0])
    seen = lookedUp(segmentationNode, volumeNode, shape, start, matrix)
    drawn = np.zeros(shape, bool)
    drawn[2::4] = True
    for name, value, color in (("liver", LIVER, (0.8, 0.4, 0.3)), ("kidney", KIDNEY, (0.7, 0.6, 0.2))):
        segmentId = addSegment(segmentationNode, name, (seen == value) & drawn, matrix, start, color)
        segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
        segment.SetTag(
            slicer.vtkSegment.GetTerminologyEntryTagName(), TERMINOLOGY.replace("Liver", name.title())
        )
    segmentationNode.GetSegmentation().CollapseBinaryLabelmaps(False)


def lookedUp(
    segmentationNode: Any, volumeNode: Any, shape: Sequence[int], start: Sequence[int], matrix: np.ndarray
) -> np.ndarray:
    """The phantom's values at the voxels of a grid in the segmentation's space, through the world."""
    indices = np.argwhere(np.ones(shape, bool)) + np.asarray(start)
    world = toWorld(positions(indices, matrix), segmentationNode)
    return look(phantom(), volumeIndices(world, volumeNode), 0).reshape(shape)


def _matrixOf(image: Any) -> np.ndarray:
    import slicer.util
    import vtk

    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def snapshot(segmentationNode: Any) -> dict[str, Any]:
    """Everything of a segmentation that must not change: bytes, grids, sharing, metadata, representations."""
    import slicer
    import vtk

    segmentation = segmentationNode.GetSegmentation()
    content: dict[str, Any] = {}
    for segmentId in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segmentId)
        image = segment.GetRepresentation(BINARY_LABELMAP)
        names: list[str] = []
        segment.GetContainedRepresentationNames(names)
        tag = vtk.reference("")
        segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), tag)
        stored = None if image is None else storedMask(segmentationNode, segmentId)
        content[segmentId] = (
            segment.GetName(),
            segment.GetColor(),
            str(tag),
            segment.GetLabelValue(),
            tuple(names),
            None
            if image is None
            else (image.GetExtent(), image.GetMTime(), stored[0].tobytes(), stored[2].tobytes()),
        )
    return content
