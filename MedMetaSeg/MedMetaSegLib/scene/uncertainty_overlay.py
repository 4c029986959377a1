"""Where an answer is unsure, as colours over the volume in the slice views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk

_OPACITY = 0.5
_LOWEST, _HIGHEST = 51, 255
"""Of a map, what is drawn: from one in ten against the answer, to undecided."""
_LEVELS = 256
_RAMP = np.array([[255, 237, 160], [254, 178, 76], [240, 59, 32]]) / 255
"""Red, green, blue from the lowest to the highest: YlOrRd of ColorBrewer, whose lightness falls all along."""


@dataclass(frozen=True)
class _Foreground:
    """What a slice view showed over its background before."""

    volumeId: str | None
    opacity: float


class UncertaintyOverlay(slicer.util.VTKObservationMixin):
    """Shows one map at a time in the foreground of the views that show its volume.

        overlay = UncertaintyOverlay()
        overlay.show(uncertainty, volumeNode)   # replaces the last one
        overlay.remove()                        # the views are as before

    The volume node of the map is hidden and not saved with the scene. It goes by itself when the scene is
    closed, and when the volume leaves the scene or gets other voxels. A view in which somebody chose another
    foreground meanwhile keeps that. `node` is the map's and `volumeNode` its volume's; None while there is no
    map.
    """

    def __init__(self) -> None:
        super().__init__()
        self.node: Any = None
        self.volumeNode: Any = None
        self._added: tuple[Any, ...] = ()
        self._before: dict[Any, _Foreground] = {}

    def show(self, uncertainty: np.ndarray, volumeNode: Any) -> None:
        """Show a map, uint8 (k, j, i), on the grid of the volume; raises ValueError for another grid."""
        self.remove()
        i, j, k = volumeNode.GetImageData().GetDimensions()
        if uncertainty.shape != (k, j, i):
            raise ValueError(f"The map has the shape {uncertainty.shape}, the volume {(k, j, i)}.")
        scene = volumeNode.GetScene()
        self.volumeNode = volumeNode
        colors = _add(scene, _colors(), "Uncertainty")
        self.node = _add(scene, _mapNode(uncertainty, volumeNode), f"{volumeNode.GetName()} (uncertainty)")
        self._added = (self.node, _display(self.node, colors), colors)
        self._cover()
        self.addObserver(scene, scene.StartCloseEvent, self._onEnd)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved)
        self.addObserver(volumeNode, volumeNode.ImageDataModifiedEvent, self._onEnd)

    def remove(self) -> None:
        """Put back what the views showed before, and take the map out of the scene."""
        self._remove()

    def _remove(self, leaving: Any = None) -> None:
        """leaving: a node that somebody else takes out of the scene just now."""
        self.removeObservers()
        self._uncover()
        added, self._added = self._added, ()
        self.node = self.volumeNode = None
        for node in added:
            if node is not leaving and node.GetScene() is not None:
                node.GetScene().RemoveNode(node)

    def _cover(self) -> None:
        scene, mapId = self.node.GetScene(), self.node.GetID()
        for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
            view = scene.GetNthNodeByClass(number, "vtkMRMLSliceCompositeNode")
            foreground = _Foreground(view.GetForegroundVolumeID(), view.GetForegroundOpacity())
            if self.volumeNode.GetID() in (view.GetBackgroundVolumeID(), foreground.volumeId):
                self._before[view] = foreground
                view.SetForegroundVolumeID(mapId)
                view.SetForegroundOpacity(_OPACITY)

    def _uncover(self) -> None:
        before, self._before = self._before, {}
        for view, foreground in before.items():
            if view.GetScene() is not None and view.GetForegroundVolumeID() == self.node.GetID():
                there = view.GetScene().GetNodeByID(foreground.volumeId or "") is not None
                view.SetForegroundVolumeID(foreground.volumeId if there else None)
                view.SetForegroundOpacity(foreground.opacity)

    def _onEnd(self, caller: Any, event: str) -> None:
        self.remove()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAboutToBeRemoved(self, caller: Any, event: str, node: Any) -> None:
        if node in (self.volumeNode, self.node):
            self._remove(leaving=node)


def _add(scene: Any, node: Any, name: str) -> Any:
    """Add a node that is in no list and in no file."""
    node.SetName(name)
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    return scene.AddNode(node)


def _mapNode(uncertainty: np.ndarray, volumeNode: Any) -> Any:
    """A volume node with the map's voxels where those of the volume lie."""
    node = slicer.vtkMRMLScalarVolumeNode()
    slicer.util.updateVolumeFromArray(node, uncertainty)
    node.CopyOrientation(volumeNode)
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    return node


def _colors() -> Any:
    """A colour table from pale yellow to red."""
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetNumberOfColors(_LEVELS)
    steps = np.linspace(0, len(_RAMP) - 1, _LEVELS)
    channels = [np.interp(steps, range(len(_RAMP)), channel) for channel in _RAMP.T]
    for level, rgb in enumerate(np.transpose(channels)):
        node.SetColor(level, str(level), *rgb)
    return node


def _display(node: Any, colors: Any) -> Any:
    """The display node of a map, which draws it in the colours of a table."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetAndObserveColorNodeID(colors.GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(_LOWEST, _HIGHEST)
    # Slice views know no transparency of single colours: what is nearly sure is left out.
    display.SetThreshold(_LOWEST, _HIGHEST)
    display.SetApplyThreshold(True)
    return display
