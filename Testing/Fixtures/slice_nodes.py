"""Slice views of a layout: the nodes that Slicer's layout manager would make."""

from __future__ import annotations

from typing import Any

import numpy as np

_AXES = {
    "axial": ((-1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "coronal": ((-1, 0, 0), (0, 0, 1), (0, 1, 0)),
    "sagittal": ((0, -1, 0), (0, 0, 1), (1, 0, 0)),
}
"""Right, up and normal of each view in the world, as in Slicer."""


def add_slice_view(scene: Any, plane: str, turn: np.ndarray | None = None) -> Any:
    """A slice node that the layout shows, through the origin. turn: 4x4, of the view in the world."""
    import slicer
    import slicer.util

    node = slicer.vtkMRMLSliceNode()
    node.SetName(plane)
    node.SetLayoutName(plane)
    node = scene.AddNode(node)
    matrix = np.eye(4)
    matrix[:3, :3] = np.transpose(_AXES[plane])
    node.GetSliceToRAS().DeepCopy(slicer.util.vtkMatrixFromArray(matrix if turn is None else turn @ matrix))
    node.UpdateMatrices()
    node.SetMappedInLayout(1)
    return node


def add_composite(scene: Any, layoutName: str) -> Any:
    """The node that says which volumes a slice view shows."""
    import slicer

    node = slicer.vtkMRMLSliceCompositeNode()
    node.SetLayoutName(layoutName)
    return scene.AddNode(node)


def shown_volumes(composite: Any) -> tuple[str | None, str | None, float]:
    """Ids of background and foreground, and the opacity of the latter."""
    return (
        composite.GetBackgroundVolumeID(),
        composite.GetForegroundVolumeID(),
        composite.GetForegroundOpacity(),
    )


def place_of(node: Any) -> np.ndarray:
    """The middle of the view in the world, (r, a, s) in mm."""
    import slicer.util

    return np.asarray(slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, 3])
