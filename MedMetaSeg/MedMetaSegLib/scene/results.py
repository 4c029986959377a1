"""Results across presses: a new answer takes the place of the old one, unless the user changed it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import vtk

from ..imageio.geometry import Index3
from ..support.structure import Structure, StructureMask
from .answer_quality import QUALITY_TAGS, tagOf
from .reader import RESULT_TAG, readStructure
from .segment_content import SegmentContent, contentOf, masksOf
from .space import imageFromMask
from .writer import addSegmentOf, removeNode, writeSegments

CONTENT_TAG = "MedMetaSeg.Content"
"""Tag of a result: what it held when it was written, and as which segment; see `_isUntouched`."""


@dataclass(frozen=True, eq=False)
class _KeptSegment:
    """A segment that an answer replaced, packed: some kilobytes. packed: the mask's bits, deflated.

    tags: what was told of its quality.
    """

    structure: Structure
    segmentId: str
    index: int
    affine: np.ndarray
    offset: Index3
    shape: tuple[int, ...]
    packed: bytes
    tags: Mapping[str, str]

    def mask(self) -> np.ndarray:
        """bool (k, j, i)."""
        bits = np.frombuffer(zlib.decompress(self.packed), np.uint8)
        return np.unpackbits(bits, count=int(np.prod(self.shape))).reshape(self.shape).astype(bool)


@dataclass(frozen=True, eq=False)
class _Written:
    """What one `write` did to a node: segments added, segments replaced, and whether it made the node."""

    node: Any
    created: bool
    added: tuple[str, ...]
    replaced: tuple[_KeptSegment, ...]


@dataclass(frozen=True)
class TakenBack:
    """What `ResultSegments.undo` did. node: None when it held nothing but the answer and is gone.

    kept: names of segments of the answer that were edited and therefore stay.
    """

    node: Any
    kept: tuple[str, ...]


class ResultSegments:
    """Writes results into segmentations, so that pressing again does not pile up segments.

        results = ResultSegments()
        node = results.write(structures, volumeNode)            # a new node
        results.write(better, volumeNode, node)                 # the segments in it are replaced
        results.undo(node)                                      # the first answer is back

    A result whose voxels were edited stays, and the new one gets a name beside it. What a result held is kept
    in a tag of the segment: saving, and reading the scene again, do not count as an edit.
    """

    def __init__(self) -> None:
        self._history: list[_Written] = []

    def write(
        self,
        structures: Sequence[StructureMask],
        volumeNode: Any,
        outputNode: Any = None,
        *,
        withSurface: bool = False,
        tags: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Any:
        """See `writeSegments`; returns the node. When writing fails the old results are still there.

        tags: further tags of the results, by name, by the id of the painted segment.
        """
        before = [] if outputNode is None else list(outputNode.GetSegmentation().GetSegmentIDs())
        untouched = {} if outputNode is None else _untouched(outputNode.GetSegmentation())
        node = writeSegments(structures, volumeNode, outputNode, withSurface=withSurface)
        segmentation = node.GetSegmentation()
        added = [one for one in segmentation.GetSegmentIDs() if one not in before]
        replaces = {
            segmentId: [old for old, painted in untouched.items() if painted == one.structure.segment_id]
            for segmentId, one in zip(added, structures, strict=True)
        }
        replaced = _keep(segmentation, [old for olds in replaces.values() for old in olds])
        for segmentId, olds in replaces.items():
            for old in olds:
                name = segmentation.GetSegment(old).GetName()
                segmentation.RemoveSegment(old)
                segmentation.GetSegment(segmentId).SetName(name)
        _sign(segmentation, added)
        for segmentId, one in zip(added, structures, strict=True):
            _tag(segmentation, segmentId, (tags or {}).get(one.structure.segment_id, {}))
        self._history.append(_Written(node, outputNode is None, tuple(added), replaced))
        return node

    def canUndo(self, node: Any) -> bool:
        """True when the last answer in this node can be taken back."""
        return node is not None and any(one.node is node for one in self._present())

    def undo(self, node: Any) -> TakenBack:
        """Take the last answer in the node back: what it replaced returns, what it added goes.

        Segments of it that were edited since stay. Raises ValueError when `canUndo` is False.
        """
        written = next((one for one in reversed(self._present()) if one.node is node), None)
        if written is None:
            raise ValueError("Nothing was written into this node that could be taken back.")
        self._history.remove(written)
        segmentation = node.GetSegmentation()
        untouched = _untouched(segmentation)
        present = [one for one in written.added if segmentation.GetSegment(one) is not None]
        edited = [one for one in present if one not in untouched]
        for segmentId in present:
            if segmentId in untouched:
                segmentation.RemoveSegment(segmentId)
        for one in written.replaced:
            _restore(node, one)
        kept = tuple(segmentation.GetSegment(one).GetName() for one in edited)
        if written.created and segmentation.GetNumberOfSegments() == 0:
            removeNode(node)
            return TakenBack(None, kept)
        return TakenBack(node, kept)

    def forget(self) -> None:
        """The scene closes: nothing can be taken back any more."""
        self._history = []

    def _present(self) -> list[_Written]:
        self._history = [one for one in self._history if one.node.GetScene() is not None]
        return self._history


def _untouched(segmentation: Any) -> dict[str, str]:
    """Painted segment by result, of the results that hold what was written."""
    results = {}
    for segmentId in segmentation.GetSegmentIDs():
        paintedId, written = vtk.reference(""), vtk.reference("")
        segment = segmentation.GetSegment(segmentId)
        if segment.GetTag(RESULT_TAG, paintedId) and segment.GetTag(CONTENT_TAG, written):
            results[segmentId] = str(paintedId), str(written)
    now = contentOf(segmentation, results)
    return {
        segmentId: paintedId
        for segmentId, (paintedId, written) in results.items()
        if _isUntouched(segmentId, written, now[segmentId])
    }


def _isUntouched(segmentId: str, written: str, now: SegmentContent) -> bool:
    """A copy that the user made has the tag, too, but another id: it is the user's own."""
    identity, _, text = written.partition(" ")
    then = SegmentContent.from_text(text)
    return identity == _identity(segmentId) and then is not None and now.is_same_as(then)


def _sign(segmentation: Any, segmentIds: Iterable[str]) -> None:
    """Write into the tags of these results what they hold now."""
    for segmentId, content in contentOf(segmentation, segmentIds).items():
        text = f"{_identity(segmentId)} {content.as_text()}"
        segmentation.GetSegment(segmentId).SetTag(CONTENT_TAG, text)


def _identity(segmentId: str) -> str:
    """An id may hold what parts tags in a file: its checksum does not."""
    return f"{zlib.crc32(segmentId.encode()):08x}"


def _keep(segmentation: Any, segmentIds: Sequence[str]) -> tuple[_KeptSegment, ...]:
    masks = masksOf(segmentation, segmentIds)
    return tuple(
        _KeptSegment(
            readStructure(segmentation, segmentId),
            segmentId,
            segmentation.GetSegmentIndex(segmentId),
            affine,
            offset,
            mask.shape,
            zlib.compress(np.packbits(mask).tobytes()),
            _qualityTags(segmentation.GetSegment(segmentId)),
        )
        for segmentId, (mask, offset, affine) in masks.items()
    )


def _qualityTags(segment: Any) -> dict[str, str]:
    return {name: tagOf(segment, name) for name in QUALITY_TAGS if segment.HasTag(name)}


def _tag(segmentation: Any, segmentId: str, tags: Mapping[str, str]) -> None:
    for name, value in tags.items():
        segmentation.GetSegment(segmentId).SetTag(name, value)


def _restore(node: Any, one: _KeptSegment) -> None:
    image = imageFromMask(one.mask(), one.offset, one.affine) if min(one.shape) else None
    segmentId = addSegmentOf(node, one.structure, image, one.segmentId)
    segmentation = node.GetSegmentation()
    segmentation.SetSegmentIndex(segmentId, min(one.index, segmentation.GetNumberOfSegments() - 1))
    _sign(segmentation, [segmentId])
    _tag(segmentation, segmentId, one.tags)
