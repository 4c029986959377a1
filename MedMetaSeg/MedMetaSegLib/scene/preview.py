"""A preview: first masks in a segmentation node of their own, there only while the work goes on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ..worker.exchange import SentMask, read_in_pieces
from .space import PREVIEW_ATTRIBUTE, gridImage, volumeAffine
from .writer import addSegmentOf, placeBeside, removeNode

_DONE = object()
_TURN_S = 0.02
"""How long one call of `work` goes on; the last piece may take a few milliseconds more."""


class ScenePreview:
    """Shows the first masks of a volume's structures, a moment of work at a time.

        preview = ScenePreview(volumeNode, "CT (preview)")
        preview.add(sentMask)           # as they come
        preview.work()                  # from a timer
        preview.remove()                # in the end, whatever it is

    The node appears with the first mask and is not saved with the scene. When the user removes it, or the
    volume leaves the scene, nothing more is shown.
    """

    def __init__(self, volumeNode: Any, name: str) -> None:
        self._volumeNode, self._name = volumeNode, name
        self.node: Any = None
        self._work: deque[Iterator[None]] = deque()

    def add(self, mask: SentMask) -> None:
        """Show this mask when there is time."""
        self._work.append(self._shown(mask))

    def work(self) -> None:
        """Go on for some milliseconds."""
        until = time.monotonic() + _TURN_S
        while self._work and time.monotonic() < until:
            if self._isUnwanted():
                self._work.clear()
            elif next(self._work[0], _DONE) is _DONE:
                self._work.popleft()

    def remove(self) -> None:
        """Take the node, its display node and its item in the subject hierarchy out of the scene."""
        self._work.clear()
        node, self.node = self.node, None
        if node is not None and node.GetScene() is not None:
            removeNode(node)

    def _isUnwanted(self) -> bool:
        return self._volumeNode.GetScene() is None or (self.node is not None and self.node.GetScene() is None)

    def _shown(self, mask: SentMask) -> Iterator[None]:
        space = self._volumeNode.GetParentTransformNode()
        image = gridImage(volumeAffine(self._volumeNode, space), mask.shape, mask.offset)
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(mask.shape)
        yield from read_in_pieces(mask.path, voxels)
        if self.node is None:
            self.node = self._newNode()
        with slicer.util.NodeModify(self.node):
            addSegmentOf(self.node, mask.structure, image)

    def _newNode(self) -> Any:
        scene = self._volumeNode.GetScene()
        node = slicer.vtkMRMLSegmentationNode()
        node.SetName(scene.GenerateUniqueName(self._name))
        # Before it is added: who hears of a new node sees what it is.
        node.SetAttribute(PREVIEW_ATTRIBUTE, "1")
        node.SetSaveWithScene(False)
        scene.AddNode(node)
        placeBeside(node, self._volumeNode)
        node.GetDisplayNode().SetSaveWithScene(False)
        return node
