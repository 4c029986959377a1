"""A structure to segment, and the voxels of it that somebody painted."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import ndimage

from ..imageio.geometry import Index3

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Structure:
    """One thing to segment: a label of a label map or a segment.

    color: red, green, blue, 0 to 1. terminology: Slicer's terminology entry as text. segment_id: identity of
    the segment it came from, "" for a label map.
    """

    name: str
    label: int
    color: Color
    terminology: str = ""
    segment_id: str = ""


class PlacedMask(Protocol):
    """A structure in a volume: `mask`, bool (k, j, i), starts at `offset` of the volume's grid."""

    @property
    def structure(self) -> Structure: ...
    @property
    def offset(self) -> Index3: ...
    @property
    def mask(self) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class AnnotatedStructure:
    """What was painted of a structure.

    offset: (k, j, i) of the mask on the support's grid. mask: bool (k, j, i), cropped to the painted voxels.
    axis: 0, 1 or 2, the drawing axis, None unless whole slices were drawn. slices: absolute indices along it
    of the slices that are complete, ascending.
    """

    structure: Structure
    offset: Index3
    mask: np.ndarray
    axis: int | None = None
    slices: tuple[int, ...] = ()

    @property
    def voxels(self) -> int:
        """Number of painted voxels."""
        return int(np.count_nonzero(self.mask))

    @property
    def region(self) -> tuple[slice, slice, slice]:
        """Where the mask lies in an array of the support's grid."""
        return region(self.offset, self.mask.shape)


def region(offset: Index3, shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    """The slices that select a block of `shape` at `offset`."""
    k, j, i = (slice(start, start + size) for start, size in zip(offset, shape, strict=True))
    return k, j, i


def tight(mask: np.ndarray, offset: Index3) -> tuple[np.ndarray, Index3]:
    """A mask cropped to its voxels, copied, and where it starts then; an empty one has an empty shape."""
    for axis in range(3):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if filled.size == 0:
            return np.zeros((0, 0, 0), dtype=bool), offset
        mask = np.take(mask, range(int(filled[0]), int(filled[-1]) + 1), axis=axis)
        start = list(offset)
        start[axis] += int(filled[0])
        offset = (start[0], start[1], start[2])
    return np.ascontiguousarray(mask, dtype=bool), offset


def default_color(label: int) -> Color:
    """A colour for a label that has none; neighbouring labels are far apart in hue."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1.0, 0.65, 0.9)
    return round(red, 4), round(green, 4), round(blue, 4)


def drawn_in_parts(drawn: np.ndarray) -> bool:
    """Whether a drawing, bool (k, j, i), is of many parts: more than two on the average slice that holds any.

    The slices are those of the axis along which the fewest hold something: the drawing axis.
    """
    filled = [np.flatnonzero(drawn.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    axis = int(np.argmin([len(one) for one in filled]))
    planes = np.moveaxis(drawn, axis, 0)[filled[axis]]
    parts = sum(ndimage.label(plane, np.ones((3, 3)))[1] for plane in planes)
    return len(planes) > 0 and parts / len(planes) > 2
