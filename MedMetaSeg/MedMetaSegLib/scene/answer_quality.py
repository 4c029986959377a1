"""How good an answer is expected to be and what to paint next, in tags of its segment: so in the scene."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import vtk

from ..confidence.calibration import PredictedDice
from ..support.drawing_plane import PLANES
from .reader import RESULT_TAG
from .segment_content import SegmentContent
from .space import commonSpace, generalTransform, linearTransform

DICE_TAG = "MedMetaSeg.PredictedDice"
"""Tag of a result: the Dice to expect, and the ends of its interval; "none" where nothing was found."""
SLICE_TAG = "MedMetaSeg.NextSlice"
"""Tag of a result: plane, index, a point of the slice in the volume's own space in mm, and the reason."""
PAINTED_TAG = "MedMetaSeg.PaintedContent"
"""Tag of a result: what was painted when it was made."""
QUALITY_TAGS = (DICE_TAG, SLICE_TAG, PAINTED_TAG)

_PAINTED_ROLE = "MedMetaSeg.Painted"
"""Role of the reference from a node with results to the node that was painted."""
_NOTHING = "none"
# A tag's value may hold neither ":" nor "|", which part tags in a file.
_READABLE = " ,;()'"


@dataclass(frozen=True)
class NextSlice:
    """The slice that is most worth painting next.

    plane: "axial", "coronal" or "sagittal". index: of the slice, counted from 0. point: (r, a, s) in mm, in
    the slice, in the volume's own space. reason: why, the end of a sentence.
    """

    plane: str
    index: int
    point: tuple[float, float, float]
    reason: str

    def as_text(self) -> str:
        """For a segment's tag."""
        numbers = " ".join(repr(number) for number in self.point)
        return f"{self.plane} {self.index} {numbers} {quote(self.reason, safe=_READABLE)}"

    @classmethod
    def from_text(cls, text: str) -> NextSlice | None:
        """None for what `as_text` did not write."""
        try:
            plane, index, r, a, s, reason = text.split(" ", 5)
            point = float(r), float(a), float(s)
            return cls(plane, int(index), point, unquote(reason)) if plane in PLANES else None
        except ValueError:
            return None


@dataclass(frozen=True)
class AnswerQuality:
    """What is told of an answer. predicted: None where nothing was found. painted: what it was made from."""

    predicted: PredictedDice | None
    nextSlice: NextSlice | None
    painted: SegmentContent


def qualityTags(entry: Mapping[str, Any], volumeNode: Any, painted: SegmentContent) -> dict[str, str]:
    """Tags for the result that an entry of a report is about; none when it tells no quality.

    painted: what was painted of the structure when it was sent to be segmented.
    """
    if "predicted_dice" not in entry:
        return {}
    dice = [entry[name] for name in ("predicted_dice", "predicted_dice_low", "predicted_dice_high")]
    words = _NOTHING if None in dice else " ".join(repr(float(number)) for number in dice)
    tags = {DICE_TAG: words, PAINTED_TAG: painted.as_text()}
    place = entry.get("next_slice")
    if place is not None:
        point = _inVolume(volumeNode, place["ras_mm"])
        found = NextSlice(place["plane"], place["index"], point, place["reason"])
        tags[SLICE_TAG] = found.as_text()
    return tags


def readQuality(segment: Any) -> AnswerQuality | None:
    """What the tags of a result tell; None when it has none that can be read."""
    predicted, painted = _predicted(tagOf(segment, DICE_TAG)), _content(tagOf(segment, PAINTED_TAG))
    if painted is None or (predicted is None and tagOf(segment, DICE_TAG) != _NOTHING):
        return None
    return AnswerQuality(predicted, NextSlice.from_text(tagOf(segment, SLICE_TAG)), painted)


def qualities(resultNode: Any, paintedNode: Any) -> dict[str, AnswerQuality]:
    """By id of the painted segment: the quality of the latest answer to it in `resultNode`."""
    if resultNode is None or _paintedNode(resultNode) is not paintedNode:
        return {}
    segmentation, found = resultNode.GetSegmentation(), {}
    for segmentId in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segmentId)
        quality = readQuality(segment)
        if quality is not None:
            found[tagOf(segment, RESULT_TAG)] = quality
    return found


def referToPainted(resultNode: Any, paintedNode: Any) -> None:
    """Remember, in the scene, which segmentation the results in a node were made from."""
    if resultNode is not paintedNode:
        resultNode.SetNodeReferenceID(_PAINTED_ROLE, paintedNode.GetID())


def pointInWorld(volumeNode: Any, point: tuple[float, float, float]) -> tuple[float, float, float]:
    """A point of the volume's own space in the world, by its transforms as they are now; mm."""
    r, a, s = generalTransform(volumeNode.GetParentTransformNode(), None).TransformPoint(point)
    return r, a, s


def tagOf(segment: Any, name: str) -> str:
    """The value of a segment's tag, "" when it does not have it."""
    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else ""


def _paintedNode(resultNode: Any) -> Any:
    """A node without the reference holds results beside what they were made from."""
    return resultNode.GetNodeReference(_PAINTED_ROLE) or resultNode


def _inVolume(volumeNode: Any, rasMm: tuple[float, float, float]) -> tuple[float, float, float]:
    """A point of the space in which the volume was sent, in the volume's own space."""
    matrix = linearTransform(commonSpace(volumeNode), volumeNode.GetParentTransformNode())
    assert matrix is not None
    r, a, s = (float(number) for number in (matrix @ np.append(rasMm, 1.0))[:3])
    return r, a, s


def _predicted(text: str) -> PredictedDice | None:
    try:
        dice, low, high = (float(word) for word in text.split(" "))
    except ValueError:
        return None
    return PredictedDice(dice, low, high) if math.isfinite(dice + low + high) else None


def _content(text: str) -> SegmentContent | None:
    return SegmentContent.from_text(text) if text else None
