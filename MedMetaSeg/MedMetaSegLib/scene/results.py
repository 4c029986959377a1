"""Results across presses: a new answer takes the place of the old one, unless the user changed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..support.structure import StructureMask
from .space import BINARY_LABELMAP
from .writer import writeSegments


@dataclass(frozen=True)
class _Written:
    """A result segment: the painted segment it answers to, and its labelmap's time when it was written."""

    paintedId: str
    time: int


class ResultSegments:
    """Writes results and remembers them, so that pressing again does not pile up segments.

        results = ResultSegments()
        node = results.write(structures, volumeNode)            # a new node
        results.write(better, volumeNode, node)                 # the segments in it are replaced

    A result that was edited since, or that a saved scene brought, stays; the new one gets a name beside it.
    """

    def __init__(self) -> None:
        self._written: dict[tuple[str, str], _Written] = {}

    def write(
        self,
        structures: Sequence[StructureMask],
        volumeNode: Any,
        outputNode: Any = None,
        *,
        withSurface: bool = False,
    ) -> Any:
        """See `writeSegments`; returns the node. When writing fails the old results are still there."""
        before = [] if outputNode is None else list(outputNode.GetSegmentation().GetSegmentIDs())
        untouched = {} if outputNode is None else self._untouched(outputNode)
        node = writeSegments(structures, volumeNode, outputNode, withSurface=withSurface)
        segmentation = node.GetSegmentation()
        added = [one for one in segmentation.GetSegmentIDs() if one not in before]
        current: dict[str, str] = {}
        for segmentId, one in zip(added, structures, strict=True):
            paintedId = one.structure.segment_id
            current[segmentId] = paintedId
            for oldId in [old for old, written in untouched.items() if written.paintedId == paintedId]:
                name = segmentation.GetSegment(oldId).GetName()
                segmentation.RemoveSegment(oldId)
                segmentation.GetSegment(segmentId).SetName(name)
                del untouched[oldId]
                self._written.pop((node.GetID(), oldId))
        current.update({segmentId: written.paintedId for segmentId, written in untouched.items()})
        # Removing a segment clears it from a labelmap it may have shared: the times are taken afterwards.
        for segmentId, paintedId in current.items():
            self._written[node.GetID(), segmentId] = _Written(paintedId, _time(segmentation, segmentId))
        return node

    def _untouched(self, node: Any) -> dict[str, _Written]:
        segmentation = node.GetSegmentation()
        return {
            segmentId: written
            for (nodeId, segmentId), written in self._written.items()
            if nodeId == node.GetID()
            and segmentation.GetSegment(segmentId) is not None
            and _time(segmentation, segmentId) == written.time
        }


def _time(segmentation: Any, segmentId: str) -> int:
    image = segmentation.GetSegment(segmentId).GetRepresentation(BINARY_LABELMAP)
    return 0 if image is None else int(image.GetMTime())
