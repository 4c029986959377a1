"""Sequences of volumes: their items in, a sequence of segmentations in the same browser out.

Items are read where they are kept, outside the scene; the browser's selected item stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import slicer

from ..errors import InputError
from ..imageio.volume import Volume
from ..support.structure import Structure, StructureMask
from .reader import readVolume
from .space import imageFromMask, ownAffine
from .writer import addSegmentOf, placeBeside, removeNode


@dataclass(frozen=True)
class VolumeSequence:
    """The volume of the scene that shows one item, the sequence of them, and the browser that chooses.

    indexValues: as they were when the sequence was found.
    """

    volumeNode: Any
    sequenceNode: Any
    browserNode: Any
    indexValues: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.indexValues)

    @property
    def nodes(self) -> tuple[Any, Any, Any]:
        """What has to stay in the scene until the result is written."""
        return self.volumeNode, self.sequenceNode, self.browserNode

    def item(self, number: int) -> Any:
        """The node of one item; it lies outside the scene."""
        node = self.sequenceNode.GetDataNodeAtValue(self.indexValues[number])
        if node is None:
            raise InputError(f"Sequence '{self.sequenceNode.GetName()}' was changed: nothing was written.")
        return node

    def read(self, number: int) -> Volume:
        """One item, where the volume shows it. Raises what `readVolume` raises."""
        return readVolume(self.volumeNode, self.item(number))


def sequenceOf(volumeNode: Any) -> VolumeSequence | None:
    """The sequence of scalar volumes that a volume shows an item of; None when it shows none."""
    scene = None if volumeNode is None else volumeNode.GetScene()
    if scene is None:
        return None
    className = "vtkMRMLSequenceBrowserNode"
    for number in range(scene.GetNumberOfNodesByClass(className)):
        browserNode = scene.GetNthNodeByClass(number, className)
        sequenceNode = browserNode.GetSequenceNode(volumeNode)
        if sequenceNode is None:
            continue
        count = sequenceNode.GetNumberOfDataNodes()
        items = [sequenceNode.GetNthDataNode(n) for n in range(count)]
        if items and all(one is not None and one.IsA("vtkMRMLScalarVolumeNode") for one in items):
            values = tuple(str(sequenceNode.GetNthIndexValue(n)) for n in range(count))
            return VolumeSequence(volumeNode, sequenceNode, browserNode, values)
    return None


def writeSequence(sequence: VolumeSequence, results: Sequence[Sequence[StructureMask]]) -> Any:
    """A sequence of segmentations, one for each item; returns the node that shows the selected one.

    results: what was found in each item. A structure that was found in some has an empty segment in the
    others, with the same id. None when nothing was found in any. When anything fails the scene is as before.
    """
    for node in sequence.nodes:
        if node.GetScene() is None:
            raise InputError(f"'{node.GetName()}' was removed from the scene: nothing was written.")
    structures = _structures(results)
    if not structures:
        return None
    volumeNode, browserNode, scene = sequence.volumeNode, sequence.browserNode, sequence.volumeNode.GetScene()
    written = _sequenceNode(sequence, results, structures)
    name = scene.GenerateUniqueName(f"{volumeNode.GetName()} segmentation")
    written.SetName(scene.GenerateUniqueName(f"{name} sequence"))
    node = None
    scene.AddNode(written)
    try:
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        shown = written.GetNthDataNode(0)
        selected = browserNode.GetSelectedItemNumber()
        if 0 <= selected < browserNode.GetNumberOfItems():
            master = browserNode.GetMasterSequenceNode()
            shown = written.GetDataNodeAtValue(master.GetNthIndexValue(selected), False) or shown
        node.GetSegmentation().DeepCopy(shown.GetSegmentation())
        placeBeside(node, volumeNode)
        _addQuietly(browserNode, written, node)
    except BaseException:
        if browserNode.IsSynchronizedSequenceNode(written):
            browserNode.RemoveSynchronizedSequenceNode(written.GetID())
        if node is not None and node.GetScene() is not None:
            removeNode(node)
        scene.RemoveNode(written)
        raise
    return node


def _addQuietly(browserNode: Any, sequenceNode: Any, shownBy: Any) -> None:
    """Add a sequence to a browser, and the node that shows it, without telling Slicer's sequences logic.

    Told, it would make a node of its own to show the sequence, and put the items of the others back over
    what the user changed in the nodes that show them. It sees the sequence when another item is selected.
    """
    before = browserNode.GetDisableModifiedEvent()
    browserNode.SetDisableModifiedEvent(1)
    try:
        browserNode.AddSynchronizedSequenceNode(sequenceNode)
        browserNode.AddProxyNode(shownBy, sequenceNode, False)
    finally:
        browserNode.SetDisableModifiedEvent(before)


def _structures(results: Sequence[Sequence[StructureMask]]) -> dict[str, Structure]:
    """What was found in any item, by name."""
    found: dict[str, Structure] = {}
    for masks in results:
        for one in masks:
            if one.mask.any():
                found.setdefault(one.structure.name, one.structure)
    return found


def _sequenceNode(
    sequence: VolumeSequence, results: Sequence[Sequence[StructureMask]], structures: dict[str, Structure]
) -> Any:
    """The sequence, not yet in the scene, with the index of the volumes' sequence."""
    source = sequence.sequenceNode
    written = slicer.vtkMRMLSequenceNode()
    written.SetIndexName(source.GetIndexName())
    written.SetIndexUnit(source.GetIndexUnit())
    written.SetIndexType(source.GetIndexType())
    written.SetNumericIndexValueTolerance(source.GetNumericIndexValueTolerance())
    ids: dict[str, str] = {}
    for number, (value, masks) in enumerate(zip(sequence.indexValues, results, strict=True)):
        itemNode = sequence.item(number)
        node = slicer.vtkMRMLSegmentationNode()
        node.SetName(f"{sequence.volumeNode.GetName()} segmentation")
        node.SetReferenceImageGeometryParameterFromVolumeNode(itemNode)
        byName = {one.structure.name: one for one in masks if one.mask.any()}
        for name, structure in structures.items():
            one = byName.get(name)
            image = None if one is None else imageFromMask(one.mask, one.offset, ownAffine(itemNode))
            ids[name] = addSegmentOf(node, structure, image, ids.get(name, ""), "AUTOMATIC")
        node.GetSegmentation().CollapseBinaryLabelmaps(False)
        written.SetDataNodeAtValue(node, value)
    return written
