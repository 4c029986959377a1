"""A segmentation brought to the grid of the image that it belongs to, voxel by voxel, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..imageio.frames import by
from ..imageio.geometry import AxisMap, Geometry, Index3, corners, index3
from ..imageio.volume import Volume
from ..support.lost_header import grid_difference, lost_header
from ..support.placement import ON_GRID_VOXELS, Place, settled_place
from ..support.reading import read_segments
from ..support.seg_nrrd import SegmentationContent
from ..support.structure import StructureMask, tight

_ROLE = "segmentation"


@dataclass(frozen=True, eq=False)
class Segmented:
    """The segments of a file on the grid of an image.

    masks: cropped, one for each segment or label, in the file's order, those without voxels too. notes:
    sentences about where they lie that a reader must see. is_label_map: see `SegmentationContent`.
    """

    masks: tuple[StructureMask, ...]
    notes: tuple[str, ...] = ()
    is_label_map: bool = False


def read_segmented(
    path: str | Path,
    volume: Volume,
    names: Mapping[int, str] | None = None,
    may_be_empty: bool = False,
) -> Segmented:
    """Read every segment of a .seg.nrrd, a DICOM SEG or an RTSTRUCT, or every label of a label map, on a
    volume's grid.

    names: structure names by label value, over those in the file. may_be_empty: a label map without labels
    is one in which nothing was found, and gives no mask. Nothing is resampled: the file's voxels
    must be voxels of the volume, in any order of axes, in either direction, all of them or a part. Raises
    InputError for a file that cannot be read or holds no segment, for voxels beside those of the volume or
    outside it, and as `support.placement.settled_place`.
    """
    path = Path(path)
    content = read_segments(path, names, _ROLE, volume)
    if not content.masks and not may_be_empty:
        raise InputError(f"{path} holds no segment and no label; there is nothing to measure.")
    place = settled_place(_place_of(content), volume)
    voxel_map = _VoxelMap.between(place.geometry, volume.geometry)
    masks = tuple(voxel_map.moved(one) for one in content.masks)
    notes = place.notes + (_another_size(voxel_map, volume) if content.is_label_map else ())
    return Segmented(masks, notes, content.is_label_map)


def _place_of(content: SegmentationContent) -> Place:
    return Place(content.geometry, content.forms, content.notes, _ROLE, content.frame_of_reference)


@dataclass(frozen=True)
class _VoxelMap:
    """From the voxels of one grid to the same ones of another: axes reoriented, then shifted.

    shape: of the other grid.
    """

    axis_map: AxisMap
    shift: Index3
    shape: Index3

    @classmethod
    def between(cls, source: Geometry, target: Geometry) -> _VoxelMap:
        """Raises InputError when the voxels of the one are none of the other."""
        aligned, axis_map = source.aligned_to(target.directions)
        ends = corners(aligned.shape)
        shifts = target.world_to_index(aligned.index_to_world(ends)) - ends
        shift = np.rint(shifts[0])
        if np.abs(shifts - shift).max() > ON_GRID_VOXELS:
            raise InputError(_other_grid(source, aligned, target))
        return cls(axis_map, index3(shift), target.shape)

    def moved(self, one: StructureMask) -> StructureMask:
        """The mask on the other grid; raises InputError when a voxel of it lies outside."""
        offset, mask = tight(one.mask, one.offset)
        if not mask.size:
            return StructureMask(one.structure, (0, 0, 0), mask)
        start = np.add(self.axis_map.apply_offset(offset, index3(mask.shape)), self.shift)
        there = np.ascontiguousarray(self.axis_map.apply(mask))
        if np.any(start < 0) or np.any(start + there.shape > self.shape):
            raise InputError(
                f"{one.structure.name} reaches outside the image; give the image that was segmented, or crop "
                "the segmentation to it."
            )
        return StructureMask(one.structure, index3(start), there)


def _another_size(voxel_map: _VoxelMap, volume: Volume) -> tuple[str, ...]:
    """A sentence about a label map that is not as large as its image; segments are cropped by habit."""
    own = voxel_map.axis_map.reoriented_shape
    if own == volume.geometry.shape:
        return ()
    sizes = by(own[::-1]), by(volume.geometry.shape[::-1])
    return (
        f"The {_ROLE} has {sizes[0]} voxels, and the image {sizes[1]}: it is taken for a part of it; check "
        "that both are of one patient.",
    )


def _other_grid(source: Geometry, aligned: Geometry, target: Geometry) -> str:
    """What is wrong with a segmentation whose voxels are none of the image's, and what to do."""
    lost = lost_header(source, target, _ROLE)
    if lost:
        return f"{lost} Give the image that was segmented, or repair the header."
    difference = grid_difference(aligned, target)
    if difference.startswith("another position"):
        difference = "voxels beside those of the image, by a part of a voxel"
    return (
        f"The segmentation has {difference}; give the image that was segmented, or export the segmentation "
        "with the image as its reference."
    )
