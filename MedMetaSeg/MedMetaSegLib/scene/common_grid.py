"""Segments of one node may lie on different voxel lattices; a Support has one grid. Here they come together.

A *lattice* is a grid without ends: a 4x4 affine from voxel index (i, j, k, 1) to the common space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import slicer

from ..imageio.geometry import Geometry, corners, index3
from ..support.drawing_plane import drawing_axes
from ..support.regrid import GridResampling, with_slices_along
from ..support.structure import AnnotatedStructure, StructureMask
from .space import Index3, gridImage, imageFromMask, maskFromImage

_SAME_LATTICE_VOXELS = 1e-3


@dataclass(frozen=True, eq=False)
class SegmentMask(StructureMask):
    """A segment where it was drawn: its offset is on the lattice `affine`."""

    affine: np.ndarray

    @property
    def isEmpty(self) -> bool:
        return not self.mask.any()


@dataclass(frozen=True, eq=False)
class CommonGrid:
    """Segments on one grid, and (name, reason) of those that could not be brought to it."""

    geometry: Geometry
    drawn: tuple[SegmentMask, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def onCommonGrid(drawn: Sequence[SegmentMask], volume: Geometry, annotation: str) -> CommonGrid:
    """The volume's grid if all were drawn on it, else the lattice they share, else the volume's by sampling.

    The grid always covers the volume, so that how much of it is annotated can be told.
    """
    onVolume = _allOn(drawn, volume.affine)
    if onVolume is not None and all(_fits(one, volume.shape) for one in onVolume):
        return CommonGrid(volume, onVolume)
    shared = _allOn(drawn, next((one for one in drawn if not one.isEmpty), drawn[0]).affine)
    if shared is not None:
        return _around(shared, volume)
    return _mixed(drawn, volume, annotation)


def _allOn(drawn: Sequence[SegmentMask], affine: np.ndarray) -> tuple[SegmentMask, ...] | None:
    placed = [_onGrid(one, affine) for one in drawn]
    found = tuple(one for one in placed if one is not None)
    return found if len(found) == len(drawn) else None


def _onGrid(one: SegmentMask, affine: np.ndarray) -> SegmentMask | None:
    """The same voxels counted on the lattice `affine`; None where the two are not one lattice."""
    if one.isEmpty:
        return replace(one, offset=(0, 0, 0), affine=affine)
    ends = corners(one.mask.shape, one.offset)
    there = _commonGrid(affine).world_to_index(_commonGrid(one.affine).index_to_world(ends))
    shift = np.round(there[0] - ends[0])
    if np.abs(there - ends - shift).max() > _SAME_LATTICE_VOXELS:
        return None
    return replace(one, offset=index3(np.add(one.offset, shift)), affine=affine)


def _around(placed: Sequence[SegmentMask], volume: Geometry) -> CommonGrid:
    """The part of the lattice of all of `placed` that holds them and the volume."""
    common = _commonGrid(placed[0].affine)
    ends = common.world_to_index(volume.index_to_world(corners(volume.shape)))
    low = np.floor(ends.min(axis=0) + _SAME_LATTICE_VOXELS).astype(int)
    high = np.ceil(ends.max(axis=0) - _SAME_LATTICE_VOXELS).astype(int) + 1
    for one in placed:
        if not one.isEmpty:
            low = np.minimum(low, one.offset)
            high = np.maximum(high, np.add(one.offset, one.mask.shape))
    grid = common.cropped(index3(low), index3(high - low))
    moved = tuple(
        replace(
            one,
            offset=(0, 0, 0) if one.isEmpty else index3(np.subtract(one.offset, low)),
            affine=grid.affine,
        )
        for one in placed
    )
    return CommonGrid(grid, moved)


def _mixed(drawn: Sequence[SegmentMask], volume: Geometry, annotation: str) -> CommonGrid:
    """Every segment on the volume's grid: along parallel axes as Support.on does it, else nearest voxels."""
    carried: list[SegmentMask] = []
    skipped: list[tuple[str, str]] = []
    notes: list[str] = []
    for one in drawn:
        if one.isEmpty:
            carried.append(replace(one, offset=(0, 0, 0), affine=volume.affine))
            continue
        alone = _around([one], volume)
        if not volume.is_parallel(alone.geometry):
            carried.append(_nearest(one, volume))
            continue
        painted = _painted(alone.drawn[0], alone.geometry, annotation)
        moved, lost = GridResampling.between(alone.geometry, volume).resample(painted, annotation)
        if moved is None:
            skipped.append((one.structure.name, lost))
            continue
        if lost:
            notes.append(f"{one.structure.name}: {lost}.")
        carried.append(SegmentMask(one.structure, moved.offset, moved.mask, volume.affine))
    return CommonGrid(volume, tuple(carried), tuple(skipped), tuple(notes))


def _painted(one: SegmentMask, grid: Geometry, annotation: str) -> AnnotatedStructure:
    annotated = AnnotatedStructure(one.structure, one.offset, one.mask)
    if annotation != "slices":
        return annotated
    return with_slices_along(annotated, drawing_axes([one.mask], grid)[0])


def _nearest(one: SegmentMask, volume: Geometry) -> SegmentMask:
    out = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        imageFromMask(one.mask, one.offset, one.affine), gridImage(volume.affine, volume.shape), out
    )
    mask, offset = maskFromImage(out)
    return SegmentMask(one.structure, offset, mask, volume.affine)


def _fits(one: SegmentMask, shape: Index3) -> bool:
    return bool(min(one.offset) >= 0 and np.all(np.add(one.offset, one.mask.shape) <= shape))


def _commonGrid(affine: np.ndarray) -> Geometry:
    return Geometry((1, 1, 1), affine)
