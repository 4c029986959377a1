"""Where volumes and segments lie in the world, through the MRML transforms of the nodes themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

BINARY_LABELMAP = "Binary labelmap"


def toWorld(points: np.ndarray, node: Any) -> np.ndarray:
    """(N, 3) in a node's own space -> world, through its parent transforms."""
    return _through(points, node, "GetTransformToWorld")


def fromWorld(points: np.ndarray, node: Any) -> np.ndarray:
    return _through(points, node, "GetTransformFromWorld")


def _through(points: np.ndarray, node: Any, way: str) -> np.ndarray:
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    parent = node.GetParentTransformNode()
    if parent is None:
        return points
    transform = vtk.vtkGeneralTransform()
    getattr(parent, way)(transform)
    before, after = vtk.vtkPoints(), vtk.vtkPoints()
    before.SetDataTypeToDouble()
    after.SetDataTypeToDouble()
    before.SetData(numpy_to_vtk(np.ascontiguousarray(points, float), deep=True))
    transform.TransformPoints(before, after)
    return vtk_to_numpy(after.GetData()).copy()


def volumeIndices(worldPoints: np.ndarray, volumeNode: Any) -> np.ndarray:
    """Nearest (k, j, i) of the volume for points in the world."""
    return nearest(fromWorld(worldPoints, volumeNode), ijkToRas(volumeNode))


def ijkToRas(volumeNode: Any) -> np.ndarray:
    import slicer.util
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def voxelsInWorld(volumeNode: Any) -> np.ndarray:
    """(N, 3) world positions of the volume's voxels, in the order of its raveled array."""
    shape = volumeNode.GetImageData().GetDimensions()[::-1]
    return toWorld(positions(np.argwhere(np.ones(shape, bool)), ijkToRas(volumeNode)), volumeNode)


def segmentAt(segmentationNode: Any, segmentId: str, worldPoints: np.ndarray) -> np.ndarray:
    """(N,) bool: which points of the world lie in a segment."""
    mask, start, matrix = storedMask(segmentationNode, segmentId)
    index = nearest(fromWorld(worldPoints, segmentationNode), matrix) - start
    return look(mask, index, False)


def storedMask(segmentationNode: Any, segmentId: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A segment's voxels (k, j, i), the index of the first, and 4x4 index to the node's space; copies."""
    import slicer
    import slicer.util
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    image = segment.GetRepresentation(BINARY_LABELMAP)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    if image.IsEmpty():
        return np.zeros((1, 1, 1), bool), np.zeros(3, int), slicer.util.arrayFromVTKMatrix(matrix)
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)
    return voxels == segment.GetLabelValue(), np.array([k0, j0, i0]), slicer.util.arrayFromVTKMatrix(matrix)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * np.count_nonzero(one & other) / max(1, np.count_nonzero(one) + np.count_nonzero(other)))


def positions(indices: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return indices[:, ::-1] @ matrix[:3, :3].T + matrix[:3, 3]


def nearest(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return np.rint(np.linalg.solve(matrix[:3, :3], (points - matrix[:3, 3]).T).T[:, ::-1]).astype(int)


def look(array: np.ndarray, index: np.ndarray, outside: Any) -> np.ndarray:
    inside = np.all((index >= 0) & (index < array.shape), axis=1)
    values = np.full(len(index), outside, array.dtype)
    values[inside] = array[tuple(index[inside].T)]
    return values
