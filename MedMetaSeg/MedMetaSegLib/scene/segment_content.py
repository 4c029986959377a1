"""What a segment holds: its voxels and where they lie, comparable between two moments.

Modification times do not tell it. Saving a scene collapses labelmaps into new images, and segments that share
one labelmap are all as new as the last of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage
from vtk.util.numpy_support import vtk_to_numpy

from ..imageio.geometry import Index3
from ..support.structure import tight
from .space import BINARY_LABELMAP, imageAffine

_TOLERANCE_VOXELS = 1e-3
"""Of place: what is lost when a position is written as text, and less than anybody can move a segment by."""


@dataclass(frozen=True)
class SegmentContent:
    """voxels: a digest of shape and voxels of the tight box around the segment; "" when it holds none.
    affine: 4x4, row by row, from the index in that box to the space of the segmentation node, in mm.
    """

    voxels: str = ""
    affine: tuple[float, ...] = ()

    @classmethod
    def of_mask(cls, mask: np.ndarray, offset: Index3, affine: np.ndarray) -> SegmentContent:
        """Of a bool block (k, j, i) whose first voxel has the index `offset` in a grid with this affine."""
        (k, j, i), mask = tight(mask, offset)
        if not mask.size:
            return cls()
        digest = hashlib.blake2b(repr(mask.shape).encode(), digest_size=16)
        digest.update(np.packbits(mask).tobytes())
        place = np.array(affine, dtype=float)
        place[:3, 3] = (place @ (i, j, k, 1))[:3]
        return cls(digest.hexdigest(), tuple(place.ravel().tolist()))

    def is_same_as(self, other: SegmentContent) -> bool:
        """True when the voxels are equal and lie within a thousandth of a voxel."""
        if self.voxels != other.voxels:
            return False
        if not self.voxels:
            return True
        mine, theirs = (np.reshape(one.affine, (4, 4)) for one in (self, other))
        return bool(
            np.abs(mine - theirs).max() <= _TOLERANCE_VOXELS * np.linalg.norm(mine[:3, :3], axis=0).min()
        )

    def as_text(self) -> str:
        """For a segment's tag: words between spaces, without the ":" and "|" that part tags in a file."""
        return " ".join([self.voxels or "-", *(repr(number) for number in self.affine)])

    @classmethod
    def from_text(cls, text: str) -> SegmentContent | None:
        """None for what `as_text` did not write."""
        words = text.split(" ")
        try:
            affine = tuple(float(word) for word in words[1:])
        except ValueError:
            return None
        if words[0] == "-":
            return cls() if not affine else None
        return cls(words[0], affine) if len(affine) == 16 else None


def contentOf(segmentation: Any, segmentIds: Iterable[str]) -> dict[str, SegmentContent]:
    """What these segments of a vtkSegmentation hold, by id; those that are not there are left out."""
    return {
        segmentId: SegmentContent.of_mask(mask, offset, affine)
        for segmentId, (mask, offset, affine) in masksOf(segmentation, segmentIds).items()
    }


def masksOf(segmentation: Any, segmentIds: Iterable[str]) -> dict[str, tuple[np.ndarray, Index3, np.ndarray]]:
    """(mask, offset, affine) of these segments, by id: bool (k, j, i), cropped; the index of its first voxel;
    4x4 from index to the node's space. A shared labelmap is gone through once.
    """
    labelmaps: dict[str, tuple[np.ndarray, Index3, list[Any]]] = {}
    masks = {}
    for segmentId in segmentIds:
        segment = segmentation.GetSegment(segmentId)
        if segment is None:
            continue
        image, label = segment.GetRepresentation(BINARY_LABELMAP), segment.GetLabelValue()
        key = "" if image is None else image.GetAddressAsString("")
        if key not in labelmaps:
            voxels, start = _voxels(image)
            labelmaps[key] = voxels, start, ndimage.find_objects(voxels) if voxels.size else []
        voxels, (k, j, i), boxes = labelmaps[key]
        box = boxes[label - 1] if 0 < label <= len(boxes) else None
        if box is None:
            masks[segmentId] = np.zeros((0, 0, 0), bool), (0, 0, 0), np.eye(4)
        else:
            offset = (k + box[0].start, j + box[1].start, i + box[2].start)
            masks[segmentId] = voxels[box] == label, offset, imageAffine(image)
    return masks


def _voxels(image: Any) -> tuple[np.ndarray, Index3]:
    """Labels (k, j, i) of a vtkOrientedImageData, a view, and the index of the first; no voxel of none."""
    if image is None or image.GetPointData().GetScalars() is None:
        return np.zeros((0, 0, 0), np.uint8), (0, 0, 0)
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    voxels = vtk_to_numpy(image.GetPointData().GetScalars())
    return voxels.reshape(k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1), (k0, j0, i0)
