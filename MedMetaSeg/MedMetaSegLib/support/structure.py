"""A structure to segment, and voxels of it: those annotated, those found."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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


@dataclass(frozen=True, eq=False)
class StructureMask:
    """A structure, and voxels of it on a grid: painted, found or to be written.

    offset: (k, j, i) of the mask's first voxel on the grid. mask: bool (k, j, i), cropped or not.
    """

    structure: Structure
    offset: Index3
    mask: np.ndarray

    @property
    def voxels(self) -> int:
        """Number of voxels that are in the mask."""
        return int(np.count_nonzero(self.mask))

    @property
    def region(self) -> tuple[slice, slice, slice]:
        """Where the mask lies in an array of the whole grid."""
        return region(self.offset, self.mask.shape)


@dataclass(frozen=True)
class SlicePlane:
    """Slices of one plane: axis 0, 1 or 2, across them, and their indices along it, ascending."""

    axis: int
    slices: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class AnnotatedStructure(StructureMask):
    """What was annotated of a structure, on the support's grid; the mask is cropped to its voxels.

    axis: 0, 1 or 2, the drawing axis, None unless whole slices were annotated. slices: absolute indices along
    it of the slices that are complete, ascending. crossing: complete slices of other planes. Voxels of the
    mask on none of these slices are known by themselves, as scribbles are.
    """

    axis: int | None = None
    slices: tuple[int, ...] = ()
    crossing: tuple[SlicePlane, ...] = ()

    @classmethod
    def on_planes(cls, mask: StructureMask, planes: Sequence[SlicePlane]) -> AnnotatedStructure:
        """A mask with its complete slices, those along the drawing axis first; no planes for scribbles."""
        if not planes:
            return cls(mask.structure, mask.offset, mask.mask)
        return cls(
            mask.structure, mask.offset, mask.mask, planes[0].axis, planes[0].slices, tuple(planes[1:])
        )

    @property
    def planes(self) -> tuple[SlicePlane, ...]:
        """All complete slices, those along the drawing axis first."""
        return () if self.axis is None else (SlicePlane(self.axis, self.slices), *self.crossing)

    @property
    def on_slices(self) -> np.ndarray:
        """The mask (k, j, i) on the complete slices along the drawing axis; all of it without any."""
        if self.axis is None:
            return self.mask
        kept = np.zeros_like(self.mask)
        numbers = [number - self.offset[self.axis] for number in self.slices]
        np.moveaxis(kept, self.axis, 0)[numbers] = np.moveaxis(self.mask, self.axis, 0)[numbers]
        return kept

    @property
    def loose(self) -> np.ndarray:
        """The mask (k, j, i) without complete slices; empty when there are none."""
        rest = self.mask.copy() if self.planes else np.zeros_like(self.mask)
        for plane in self.planes:
            numbers = [number - self.offset[plane.axis] for number in plane.slices]
            np.moveaxis(rest, plane.axis, 0)[numbers] = False
        return rest


def region(offset: Index3, shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    """The slices that select a block of `shape` at `offset`."""
    k, j, i = (slice(start, start + size) for start, size in zip(offset, shape, strict=True))
    return k, j, i


def filled_slices(mask: np.ndarray, axis: int) -> np.ndarray:
    """Indices along an axis of the slices of a mask (k, j, i) that hold a voxel of it, ascending."""
    return np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))


def bounding_box(mask: np.ndarray) -> tuple[slice, slice, slice] | None:
    """The slices that hold all voxels of a mask (k, j, i); None when it has none."""
    box = [slice(0, size) for size in mask.shape]
    for axis in range(3):
        filled = filled_slices(mask[tuple(box)], axis)
        if filled.size == 0:
            return None
        box[axis] = slice(int(filled[0]), int(filled[-1]) + 1)
    return box[0], box[1], box[2]


def tight(mask: np.ndarray, offset: Index3) -> tuple[Index3, np.ndarray]:
    """Where a mask (k, j, i) at `offset` starts when cropped to its voxels, and that, copied.

    One without voxels keeps its offset and has an empty shape.
    """
    box = bounding_box(mask)
    if box is None:
        return offset, np.zeros((0, 0, 0), dtype=bool)
    start = (offset[0] + box[0].start, offset[1] + box[1].start, offset[2] + box[2].start)
    return start, np.array(mask[box], dtype=bool, order="C")


def default_color(label: int) -> Color:
    """A colour for a label that has none; neighbouring labels are far apart in hue."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1.0, 0.65, 0.9)
    return round(red, 4), round(green, 4), round(blue, 4)
