"""Segments of a scene, measured: every one of them, on the volume's own voxels, in the world.

Linear parent transforms are folded in: what they stretch is longer. Nothing in the scene is changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..imageio.geometry import Index3
from ..imageio.volume import Volume
from ..measurements.measure import measure
from ..measurements.measurements import Measurements, MeasureOptions, Point, StructureMeasurements
from ..progress import Progress
from ..support.structure import StructureMask
from .common_grid import SegmentMask, onVolumeGrid
from .reader import readStructure, readVolume, voxelised
from .segment_content import SegmentContent, contentOf, masksOf
from .space import (
    BINARY_LABELMAP,
    CLOSED_SURFACE,
    imageAffine,
    linearTransform,
    maskFromImage,
    ownAffine,
    parentAffine,
)


@dataclass(frozen=True, eq=False)
class SceneContent:
    """What was measured, comparable between two moments.

    segments: (id, name, content) in order. voxelsTime, surfaceTimes: VTK's modification times of the volume's
    voxels and of segments that are surfaces. volumeToWorld, segmentationToWorld: 4x4, the parent transforms.
    ijkToVolume: 4x4, from voxel index to the volume's own space.
    """

    segments: tuple[tuple[str, str, SegmentContent], ...]
    voxelsTime: int
    surfaceTimes: tuple[int, ...]
    volumeToWorld: np.ndarray
    segmentationToWorld: np.ndarray
    ijkToVolume: np.ndarray

    def isSameAs(self, other: SceneContent) -> bool:
        """True when measuring would give the same again."""
        mine, theirs = self._comparable(), other._comparable()
        return (
            mine == theirs
            and all(np.allclose(one, two) for one, two in zip(self._affines(), other._affines(), strict=True))
            and all(
                one.is_same_as(two)
                for (*_, one), (*_, two) in zip(self.segments, other.segments, strict=True)
            )
        )

    def _comparable(self) -> tuple[Any, ...]:
        return self.voxelsTime, self.surfaceTimes, [one[:2] for one in self.segments]

    def _affines(self) -> tuple[np.ndarray, ...]:
        return self.volumeToWorld, self.segmentationToWorld, self.ijkToVolume


@dataclass(frozen=True, eq=False)
class MeasuredScene:
    """Measurements, and what in the scene they are of.

    isWhole: every segment was measured. content: as it was.
    """

    volumeNode: Any
    segmentationNode: Any
    measurements: Measurements
    isWhole: bool
    content: SceneContent

    @property
    def bySegment(self) -> dict[str, StructureMeasurements]:
        """What was measured of each segment, by its id."""
        pairs = zip(self.content.segments, self.measurements.structures, strict=True)
        return {segmentId: structure for (segmentId, _, _), structure in pairs}

    def isUpToDate(self) -> bool:
        """False when segments, voxels or transforms have changed since, or a node left the scene."""
        nodes = (self.volumeNode, self.segmentationNode)
        if any(node.GetScene() is None for node in nodes) or self.volumeNode.GetImageData() is None:
            return False
        ids = [segmentId for segmentId, _, _ in self.content.segments]
        if self.isWhole:
            ids = list(self.segmentationNode.GetSegmentation().GetSegmentIDs())
        if not all(_isLinear(node) for node in nodes):
            return False
        found = contentOf(self.segmentationNode.GetSegmentation(), ids)
        return _content(*nodes, found).isSameAs(self.content)

    def inVolume(self, point: Point) -> Point:
        """A measured place, (r, a, s) in mm, in the volume's own space, where it stays when that is moved."""
        r, a, s, _ = np.linalg.solve(self.content.volumeToWorld, (*point, 1.0)).tolist()
        return r, a, s


def measureScene(
    volumeNode: Any,
    segmentationNode: Any,
    options: MeasureOptions | None = None,
    *,
    segmentIds: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> MeasuredScene:
    """Measure segments, all of them unless ids are given; `progress` may raise Cancelled.

    Raises InputError for nodes that cannot be measured: without segments or voxels, two segments of one name,
    a transform that is not linear, another grid than the volume's.
    """
    volume = readVolume(volumeNode)
    ids = _idsToMeasure(segmentationNode, segmentIds)
    for node in (volumeNode, segmentationNode):
        if not _isLinear(node):
            raise InputError(
                f"'{node.GetName()}' is under a transform that is not linear: harden it first, so that its "
                "millimetres are the same everywhere."
            )
    stored = _stored(segmentationNode, ids, volumeNode)
    placed = _placed(segmentationNode, stored, volume)
    content = _content(
        volumeNode, segmentationNode, {one: SegmentContent.of_mask(*stored[one]) for one in ids}
    )
    measured = measure(volume, placed, options or MeasureOptions(), progress)
    if not segmentationNode.GetSegmentation().ContainsRepresentation(BINARY_LABELMAP):
        note = "The segments are surfaces: they were turned into the voxels of the volume to be measured."
        measured = replace(measured, notes=(*measured.notes, note))
    return MeasuredScene(volumeNode, segmentationNode, measured, segmentIds is None, content)


def _isLinear(node: Any) -> bool:
    """True when the way from a node to the world is linear."""
    return linearTransform(node.GetParentTransformNode(), None) is not None


def _content(volumeNode: Any, segmentationNode: Any, contents: Mapping[str, SegmentContent]) -> SceneContent:
    """contents: of the labelmaps of these segments, by id; surfaces are told apart by time alone."""
    segmentation = segmentationNode.GetSegmentation()
    segments = {segmentId: segmentation.GetSegment(segmentId) for segmentId in contents}
    surfaceTimes: tuple[int, ...] = ()
    if not segmentation.ContainsRepresentation(BINARY_LABELMAP):
        surfaces = (one.GetRepresentation(CLOSED_SURFACE) for one in segments.values())
        surfaceTimes = tuple(one.GetMTime() for one in surfaces if one is not None)
        contents = dict.fromkeys(contents, SegmentContent())
    return SceneContent(
        tuple((one, segments[one].GetName(), content) for one, content in contents.items()),
        volumeNode.GetImageData().GetMTime(),
        surfaceTimes,
        parentAffine(volumeNode, None),
        parentAffine(segmentationNode, None),
        ownAffine(volumeNode),
    )


def _idsToMeasure(segmentationNode: Any, segmentIds: Sequence[str] | None) -> list[str]:
    if segmentationNode is None or not segmentationNode.IsA("vtkMRMLSegmentationNode"):
        raise InputError("Choose the segmentation to measure.")
    segmentation, name = segmentationNode.GetSegmentation(), segmentationNode.GetName()
    present = list(segmentation.GetSegmentIDs())
    ids = present if segmentIds is None else list(segmentIds)
    missing = [one for one in ids if one not in present]
    if missing:
        raise InputError(
            f"Segmentation '{name}' has no segment {', '.join(missing)}: choose from {', '.join(present)}."
        )
    if not ids:
        raise InputError(f"Segmentation '{name}' has no segments to measure.")
    called = Counter(segmentation.GetSegment(one).GetName() for one in ids)
    twice = [one for one, count in called.items() if count > 1]
    if twice:
        raise InputError(f"Several segments of '{name}' are called '{twice[0]}': give each its own name.")
    return ids


def _stored(
    segmentationNode: Any, segmentIds: Sequence[str], volumeNode: Any
) -> dict[str, tuple[np.ndarray, Index3, np.ndarray]]:
    """(mask, offset, affine) of these segments, by id, as `masksOf` gives them; surfaces become voxels."""
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.ContainsRepresentation(BINARY_LABELMAP):
        return masksOf(segmentation, segmentIds)
    images = {one: voxelised(segmentationNode, one, volumeNode) for one in segmentIds}
    return {one: (*maskFromImage(image), imageAffine(image)) for one, image in images.items()}


def _placed(
    segmentationNode: Any, stored: Mapping[str, tuple[np.ndarray, Index3, np.ndarray]], volume: Volume
) -> tuple[StructureMask, ...]:
    """Segments on the volume's grid, in the world; those without voxels, too."""
    segmentation, masks = segmentationNode.GetSegmentation(), []
    toWorld = parentAffine(segmentationNode, None)
    for label, (segmentId, (mask, offset, affine)) in enumerate(stored.items(), 1):
        structure = replace(readStructure(segmentation, segmentId), label=label, segment_id=segmentId)
        masks.append(SegmentMask(structure, offset, mask, toWorld @ affine))
    return onVolumeGrid(masks, volume.geometry)
