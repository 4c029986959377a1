"""MRML transforms and VTK images to and from the core's arrays: (k, j, i) voxels with a 4x4 affine.

A *space* is named by a transform node: the coordinates of a node whose parent it is; None is world.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ..imageio.geometry import Index3
from ..support.structure import bounding_box

BINARY_LABELMAP = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
CLOSED_SURFACE = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()

CHANGED = (
    slicer.vtkSegmentation.SegmentAdded,
    slicer.vtkSegmentation.SegmentRemoved,
    slicer.vtkSegmentation.SegmentModified,
    slicer.vtkSegmentation.SourceRepresentationModified,
)
"""Events of a vtkSegmentation after which it may hold something else."""

# A segmentation node with this attribute is a preview: it goes by itself, and is nobody's painting.
PREVIEW_ATTRIBUTE = "MedMetaSeg.Preview"


def linearTransform(source: Any, target: Any) -> np.ndarray | None:
    """4x4 from the space `source` to the space `target`, or None when the way between them is not linear."""
    linear = vtk.vtkTransform()
    if not slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(generalTransform(source, target), linear):
        return None
    return slicer.util.arrayFromVTKMatrix(linear.GetMatrix())


def generalTransform(source: Any, target: Any) -> Any:
    """vtkGeneralTransform from the space `source` to the space `target`, linear or not."""
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source, target, transform)
    return transform


def commonSpace(volumeNode: Any) -> Any:
    """Where a volume and what was painted on it meet: world, or the volume's own space if the way is bent."""
    parent = volumeNode.GetParentTransformNode()
    return None if linearTransform(parent, None) is not None else parent


def volumeAffine(volumeNode: Any, space: Any) -> np.ndarray:
    """4x4 from the volume's voxel index (i, j, k, 1) to `space`; the way between them has to be linear."""
    return parentAffine(volumeNode, space) @ ownAffine(volumeNode)


def ownAffine(volumeNode: Any) -> np.ndarray:
    """4x4 from the volume's voxel index (i, j, k, 1) to its own space, before its transforms."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def imageAffine(image: Any) -> np.ndarray:
    """4x4 from the voxel index of a vtkOrientedImageData, extent included, to the space it lies in."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def gridImage(affine: np.ndarray, shape: Index3, offset: Index3 = (0, 0, 0)) -> Any:
    """vtkOrientedImageData that is a grid without voxel values; `shape` and `offset` are (k, j, i)."""
    image = slicer.vtkOrientedImageData()
    edges = [(start, start + size - 1) for start, size in zip(offset[::-1], shape[::-1], strict=True)]
    image.SetExtent(*(edge for pair in edges for edge in pair))
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(np.asarray(affine, dtype=float)))
    return image


def imageFromMask(mask: np.ndarray, offset: Index3, affine: np.ndarray) -> Any:
    """vtkOrientedImageData holding a copy of a bool block whose first voxel has the index `offset`."""
    image = gridImage(affine, mask.shape, offset)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = mask.ravel()
    return image


def maskFromImage(image: Any) -> tuple[np.ndarray, Index3]:
    """What is not 0 in an image, cropped: bool (k, j, i) of its own memory and the index of its first voxel.

    An image without voxels or without any but 0 gives one False voxel.
    """
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    shape = (k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)
    scalars = image.GetPointData().GetScalars()
    if min(shape) < 1 or scalars is None:
        return np.zeros((1, 1, 1), dtype=bool), (0, 0, 0)
    voxels = vtk_to_numpy(scalars).reshape(shape)
    box = bounding_box(voxels)
    if box is None:
        return np.zeros((1, 1, 1), dtype=bool), (k0, j0, i0)
    return voxels[box] != 0, (k0 + box[0].start, j0 + box[1].start, i0 + box[2].start)


def parentAffine(node: Any, space: Any) -> np.ndarray:
    """4x4 from a node's own space to `space`; the way has to be linear."""
    matrix = linearTransform(node.GetParentTransformNode(), space)
    if matrix is None:
        raise ValueError(f"The transform of '{node.GetName()}' is not linear.")
    return matrix
