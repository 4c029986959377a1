"""What Slicer's subject hierarchy plugins do by themselves: an item for each data node, one for each segment.

Items of segments are a virtual branch below that of their segmentation, as in Slicer.
"""

from __future__ import annotations

from typing import Any

import vtk

_LEVEL = "Segment"
_SEGMENT_ID = "segmentID"
_CLASSES = ("vtkMRMLVolumeNode", "vtkMRMLSegmentationNode", "vtkMRMLTransformNode")


class SubjectHierarchyPlugins:
    """Keeps the items of a scene's data nodes and segments."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        scene.AddObserver(scene.NodeAddedEvent, self._onNodeAdded)
        scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._onNodeRemoved)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAdded(self, caller: Any, event: str, node: Any) -> None:
        if node.GetHideFromEditors() or not any(node.IsA(one) for one in _CLASSES):
            return
        hierarchy = self._hierarchy()
        if not self._scene.IsImporting() and not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        if node.IsA("vtkMRMLSegmentationNode"):
            segmentation = _slicer().vtkSegmentation
            for changed in (segmentation.SegmentAdded, segmentation.SegmentRemoved):
                node.AddObserver(changed, self._onSegmentsChanged)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, caller: Any, event: str, node: Any) -> None:
        hierarchy = self._hierarchy()
        item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
        if item and not self._scene.IsClosing():
            hierarchy.RemoveItem(item, False, False)

    def _onSegmentsChanged(self, node: Any, event: str) -> None:
        hierarchy = self._hierarchy()
        parent = hierarchy.GetItemByDataNode(node)
        if not parent:
            return
        segmentation = node.GetSegmentation()
        ids = list(segmentation.GetSegmentIDs())
        constants = _slicer().vtkMRMLSubjectHierarchyConstants
        hierarchy.SetItemAttribute(parent, constants.GetSubjectHierarchyVirtualBranchAttributeName(), "1")
        items = {hierarchy.GetItemAttribute(one, _SEGMENT_ID): one for one in segmentItems(hierarchy, parent)}
        for segmentId in items.keys() - set(ids):
            hierarchy.RemoveItem(items[segmentId])
        for segmentId in ids:
            if segmentId not in items:
                name = segmentation.GetSegment(segmentId).GetName()
                item = hierarchy.CreateHierarchyItem(parent, name, _LEVEL)
                hierarchy.SetItemAttribute(item, _SEGMENT_ID, segmentId)

    def _hierarchy(self) -> Any:
        return _slicer().vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)


def segmentItems(hierarchy: Any, item: int) -> list[int]:
    """Items of segments below this item, at any depth."""
    ids = vtk.vtkIdList()
    hierarchy.GetItemChildren(item, ids, True)
    children = [ids.GetId(n) for n in range(ids.GetNumberOfIds())]
    return [one for one in children if hierarchy.GetItemLevel(one) == _LEVEL]


def _slicer() -> Any:
    import slicer

    return slicer
