"""The slice views that are shown, and moving them."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer.util

_NORMALS = ("sagittal", "coronal", "axial")
"""The plane whose normal is the axis R, A, S of the world."""


def shownViews(scene: Any) -> list[Any]:
    """The slice nodes in the layout."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")
    nodes = [scene.GetNthNodeByClass(number, "vtkMRMLSliceNode") for number in range(count)]
    return [node for node in nodes if node.IsMappedInLayout()]


def viewsOfPlane(scene: Any, plane: str) -> list[Any]:
    """The slice nodes in the layout that show a plane, "axial", "coronal" or "sagittal", or come closest."""
    return [node for node in shownViews(scene) if shownPlane(node) == plane]


def shownPlane(sliceNode: Any) -> str:
    """The plane whose normal comes closest to that of the view, which may be turned."""
    normal = slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS())[:3, 2]
    return _NORMALS[int(np.abs(normal).argmax())]


def jumpTo(sliceNodes: list[Any], worldMm: tuple[float, float, float]) -> None:
    """Move views to the slice through a point of the world (r, a, s), with that in their middle."""
    for node in sliceNodes:
        node.JumpSliceByCentering(*worldMm)
