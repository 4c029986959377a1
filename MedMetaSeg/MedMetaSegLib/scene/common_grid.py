"""Segments of one node may lie on different voxel grids; a Support has one. Here they come to a common grid.

A grid is told from others by its *affine* alone, a 4x4 from voxel index (i, j, k, 1) to the common space;
where it ends is decided last, so offsets may be negative until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import slicer

from ..errors import InputError
from ..imageio.geometry import Geometry, corners, index3
from ..support.annotated_planes import with_complete_slices
from ..support.drawing_plane import drawing_axes
from ..support.regrid import GridResampling
from ..support.structure import AnnotatedStructure, StructureMask
from .space import Index3, gridImage, imageFromMask, maskFromImage

_SAME_GRID_VOXELS = 1e-3
"""Voxels by which the corners of two grids may differ for the two to be one."""


@dataclass(frozen=True, eq=False)
class SegmentMask(StructureMask):
    """A segment where it was painted: its offset is on the grid `affine`."""

    affine: np.ndarray

    @property
    def isEmpty(self) -> bool:
        return not self.mask.any()


@dataclass(frozen=True, eq=False)
class CommonGrid:
    """Segments on one grid, and (name, reason) of those that could not be brought to it."""

    geometry: Geometry
    masks: tuple[SegmentMask, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def onCommonGrid(masks: Sequence[SegmentMask], volume: Geometry, annotation: str) -> CommonGrid:
    """The volume's grid if all were painted on it, else the one they share, else the volume's by sampling.

    The grid always covers the volume, so that how much of it is annotated is known.
    """
    onVolume = _allOn(masks, volume.affine)
    if onVolume is not None and all(_fits(one, volume.shape) for one in onVolume):
        return CommonGrid(volume, onVolume)
    shared = _allOn(masks, next((one for one in masks if not one.isEmpty), masks[0]).affine)
    if shared is not None:
        return _around(shared, volume)
    return _mixed(masks, volume, annotation)


def onVolumeGrid(masks: Sequence[SegmentMask], volume: Geometry) -> tuple[SegmentMask, ...]:
    """The same voxels counted on the volume's grid, nothing resampled.

    Raises InputError for the first segment that lies on another grid or reaches out of the volume.
    """
    found = []
    for one in masks:
        placed = _onGrid(one, volume.affine)
        if placed is None:
            raise InputError(
                f"Segment '{one.structure.name}' does not lie on the voxels of the volume "
                f"({_difference(one.affine, volume)}): choose the volume that it was painted on, or give the "
                "segmentation the geometry of this one in the Segment Editor."
            )
        if not placed.isEmpty and not _fits(placed, volume.shape):
            raise InputError(
                f"Segment '{one.structure.name}' has voxels outside the volume: choose the volume that it "
                "was painted on."
            )
        found.append(placed)
    return tuple(found)


def _difference(affine: np.ndarray, volume: Geometry) -> str:
    """What tells two grids apart, for the user."""
    here, there = (
        " x ".join(f"{length:.4g}" for length in one.spacing_mm[::-1]) for one in (_oneVoxel(affine), volume)
    )
    if here != there:
        return f"its voxels have {here} mm, those of the volume {there} mm"
    return "its voxels are turned or shifted against those of the volume"


def _allOn(masks: Sequence[SegmentMask], affine: np.ndarray) -> tuple[SegmentMask, ...] | None:
    placed = [_onGrid(one, affine) for one in masks]
    found = tuple(one for one in placed if one is not None)
    return found if len(found) == len(masks) else None


def _onGrid(one: SegmentMask, affine: np.ndarray) -> SegmentMask | None:
    """The same voxels counted on the grid `affine`; None where the two are not one grid."""
    if one.isEmpty:
        return replace(one, offset=(0, 0, 0), affine=affine)
    ends = corners(one.mask.shape, one.offset)
    there = _oneVoxel(affine).world_to_index(_oneVoxel(one.affine).index_to_world(ends))
    shift = np.round(there[0] - ends[0])
    if np.abs(there - ends - shift).max() > _SAME_GRID_VOXELS:
        return None
    return replace(one, offset=index3(np.add(one.offset, shift)), affine=affine)


def _around(placed: Sequence[SegmentMask], volume: Geometry) -> CommonGrid:
    """The part of the grid that all of `placed` are on that holds them and the volume."""
    grid = _oneVoxel(placed[0].affine)
    ends = grid.world_to_index(volume.index_to_world(corners(volume.shape)))
    low = np.floor(ends.min(axis=0) + _SAME_GRID_VOXELS).astype(int)
    high = np.ceil(ends.max(axis=0) - _SAME_GRID_VOXELS).astype(int) + 1
    for one in placed:
        if not one.isEmpty:
            low = np.minimum(low, one.offset)
            high = np.maximum(high, np.add(one.offset, one.mask.shape))
    covering = grid.cropped(index3(low), index3(high - low))
    moved = tuple(
        replace(
            one,
            offset=(0, 0, 0) if one.isEmpty else index3(np.subtract(one.offset, low)),
            affine=covering.affine,
        )
        for one in placed
    )
    return CommonGrid(covering, moved)


def _mixed(masks: Sequence[SegmentMask], volume: Geometry, annotation: str) -> CommonGrid:
    """Every segment on the volume's grid: along parallel axes as Support.on does it, else nearest voxels."""
    resampled: list[SegmentMask] = []
    skipped: list[tuple[str, str]] = []
    notes: list[str] = []
    for one in masks:
        if one.isEmpty:
            resampled.append(replace(one, offset=(0, 0, 0), affine=volume.affine))
            continue
        alone = _around([one], volume)
        if not volume.is_parallel(alone.geometry):
            resampled.append(_nearest(one, volume))
            continue
        painted = _painted(alone.masks[0], alone.geometry, annotation)
        moved, lost = GridResampling.between(alone.geometry, volume).resample(painted, annotation)
        if moved is None:
            skipped.append((one.structure.name, lost))
            continue
        if lost:
            notes.append(f"{one.structure.name}: {lost}.")
        resampled.append(SegmentMask(one.structure, moved.offset, moved.mask, volume.affine))
    return CommonGrid(volume, tuple(resampled), tuple(skipped), tuple(notes))


def _painted(one: SegmentMask, grid: Geometry, annotation: str) -> AnnotatedStructure:
    annotated = AnnotatedStructure(one.structure, one.offset, one.mask)
    if annotation != "slices":
        return annotated
    return with_complete_slices(annotated, drawing_axes([one.mask], grid)[0], grid.spacing_mm)


def _nearest(one: SegmentMask, volume: Geometry) -> SegmentMask:
    out = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        imageFromMask(one.mask, one.offset, one.affine), gridImage(volume.affine, volume.shape), out
    )
    mask, offset = maskFromImage(out)
    return SegmentMask(one.structure, offset, mask, volume.affine)


def _fits(one: SegmentMask, shape: Index3) -> bool:
    return bool(min(one.offset) >= 0 and np.all(np.add(one.offset, one.mask.shape) <= shape))


def _oneVoxel(affine: np.ndarray) -> Geometry:
    """The voxel (0, 0, 0) of a grid: enough to go from index to position and back."""
    return Geometry((1, 1, 1), affine)
