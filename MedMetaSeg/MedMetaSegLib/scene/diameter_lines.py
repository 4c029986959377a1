"""Diameters of lesions as line markups, which go again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import slicer
import vtk

from ..measurements.measurements import Diameter, Lesion, StructureMeasurements

if TYPE_CHECKING:
    from .measure import MeasuredScene

MOST_LESIONS = 50
"""Lesions whose diameters are shown at most: markups by the hundred make the views slow."""


class DiameterLines:
    """Shows two line markups for each lesion, the longest diameter and the perpendicular one.

        lines = DiameterLines()
        lines.show(measured, rows)      # replaces those shown before
        lines.remove()

    They lie in a folder of the subject hierarchy, are locked, and move with the volume.
    """

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._hierarchy: Any = None
        self._folder = 0

    @property
    def areShown(self) -> bool:
        """False before `show`, after `remove`, and when all were deleted."""
        return any(node.GetScene() is not None for node in self._nodes)

    def show(
        self, measured: MeasuredScene, rows: Sequence[tuple[StructureMeasurements, Lesion]]
    ) -> list[tuple[StructureMeasurements, Lesion]]:
        """Show the lesions of (structure, lesion) pairs, the largest if they are too many; returns those."""
        self.remove()
        shown = sorted(rows, key=lambda row: -row[1].volume_cm3)[:MOST_LESIONS]
        scene, name = measured.volumeNode.GetScene(), measured.segmentationNode.GetName()
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        self._hierarchy = hierarchy
        self._folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), f"{name} diameters")
        for structure, lesion in shown:
            called = f"{structure.name} {lesion.number}"
            for diameter, what in ((lesion.longest, "longest"), (lesion.perpendicular, "perpendicular")):
                node = _line(measured, diameter, f"{called} {what}")
                hierarchy.CreateItem(self._folder, node)
                self._nodes.append(node)
        return shown

    def remove(self) -> None:
        """Take the lines out of the scene; a folder into which somebody put something else stays."""
        for node in self._nodes:
            if node.GetScene() is not None:
                self._hierarchy.RemoveItem(self._hierarchy.GetItemByDataNode(node), False)
                node.GetScene().RemoveNode(node)
        if self._hierarchy is not None and self._hierarchy.GetNumberOfItemChildren(self._folder) == 0:
            self._hierarchy.RemoveItem(self._folder)
        self.forget()

    def forget(self) -> None:
        """The scene closes, and takes them away."""
        self._nodes, self._hierarchy, self._folder = [], None, 0


def _line(measured: MeasuredScene, diameter: Diameter, name: str) -> Any:
    """A locked line node with the ends of a diameter, under the volume's transform."""
    scene = measured.volumeNode.GetScene()
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", name)
    node.SetAndObserveTransformNodeID(measured.volumeNode.GetTransformNodeID())
    for end in diameter.ends_ras:
        node.AddControlPoint(vtk.vtkVector3d(*measured.inVolume(end)))
    node.SetLocked(True)
    return node
