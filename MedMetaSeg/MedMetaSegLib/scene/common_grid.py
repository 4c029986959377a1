"""Segments of one node may lie on different voxel lattices; a Support has one grid. Here they come together.

A *lattice* is a grid without ends: a 4x4 affine from voxel index (i, j, k, 1) to the common space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import slicer

from ..imageio.geometry import Geometry
from ..support.drawing_plane import drawing_axes
from ..support.regrid import GridChange
from ..support.structure import PaintedStructure, Structure
from .space import Index3, gridImage, imageFromMask, maskFromImage

_SAME_LATTICE_VOXELS = 1e-3


@dataclass(frozen=True, eq=False)
class Drawn:
    """A segment where it was drawn: `mask`, bool (k, j, i), starts at `offset` of the lattice `affine`."""

    structure: Structure
    mask: np.ndarray
    offset: Index3
    affine: np.ndarray

    @property
    def isEmpty(self) -> bool:
        return not self.mask.any()


@dataclass(frozen=True, eq=False)
class OneGrid:
    """Segments on one grid, and (name, reason) of those that could not be brought to it."""

    geometry: Geometry
    drawn: tuple[Drawn, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def onOneGrid(drawn: Sequence[Drawn], volume: Geometry, annotation: str) -> OneGrid:
    """The volume's grid if all were drawn on it, else the lattice they share, else the volume's by sampling.

    The grid always covers the volume, so that how much of it is annotated can be told.
    """
    onVolume = _allOn(drawn, volume.affine)
    if onVolume is not None and all(_fits(one, volume.shape) for one in onVolume):
        return OneGrid(volume, onVolume)
    shared = _allOn(drawn, next((one for one in drawn if not one.isEmpty), drawn[0]).affine)
    if shared is not None:
        return _around(shared, volume)
    return _mixed(drawn, volume, annotation)


def _allOn(drawn: Sequence[Drawn], affine: np.ndarray) -> tuple[Drawn, ...] | None:
    placed = [_onLattice(one, affine) for one in drawn]
    found = tuple(one for one in placed if one is not None)
    return found if len(found) == len(drawn) else None


def _onLattice(one: Drawn, affine: np.ndarray) -> Drawn | None:
    """The same voxels counted on the lattice `affine`; None where the two are not one lattice."""
    if one.isEmpty:
        return replace(one, offset=(0, 0, 0), affine=affine)
    ends = _ends(one.offset, one.mask.shape)
    there = _lattice(affine).world_to_index(_lattice(one.affine).index_to_world(ends))
    shift = np.round(there[0] - ends[0])
    if np.abs(there - ends - shift).max() > _SAME_LATTICE_VOXELS:
        return None
    return replace(one, offset=_index3(np.add(one.offset, shift)), affine=affine)


def _around(placed: Sequence[Drawn], volume: Geometry) -> OneGrid:
    """The part of the lattice of all of `placed` that holds them and the volume."""
    lattice = _lattice(placed[0].affine)
    corners = lattice.world_to_index(volume.index_to_world(_ends((0, 0, 0), volume.shape)))
    low = np.floor(corners.min(axis=0) + _SAME_LATTICE_VOXELS).astype(int)
    high = np.ceil(corners.max(axis=0) - _SAME_LATTICE_VOXELS).astype(int) + 1
    for one in placed:
        if not one.isEmpty:
            low = np.minimum(low, one.offset)
            high = np.maximum(high, np.add(one.offset, one.mask.shape))
    grid = lattice.cropped(_index3(low), _index3(high - low))
    moved = tuple(
        replace(
            one,
            offset=(0, 0, 0) if one.isEmpty else _index3(np.subtract(one.offset, low)),
            affine=grid.affine,
        )
        for one in placed
    )
    return OneGrid(grid, moved)


def _mixed(drawn: Sequence[Drawn], volume: Geometry, annotation: str) -> OneGrid:
    """Every segment on the volume's grid: along parallel axes as Support.on does it, else nearest voxels."""
    carried: list[Drawn] = []
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
        moved, lost = GridChange.between(alone.geometry, volume).carry(painted, annotation)
        if moved is None:
            skipped.append((one.structure.name, lost))
            continue
        if lost:
            notes.append(f"{one.structure.name}: {lost}.")
        carried.append(Drawn(one.structure, moved.mask, moved.offset, volume.affine))
    return OneGrid(volume, tuple(carried), tuple(skipped), tuple(notes))


def _painted(one: Drawn, grid: Geometry, annotation: str) -> PaintedStructure:
    if annotation != "slices":
        return PaintedStructure(one.structure, one.offset, one.mask)
    axis = drawing_axes([one.mask], grid)[0]
    filled = one.mask.any(axis=tuple(other for other in range(3) if other != axis))
    slices = tuple(int(number) + one.offset[axis] for number in np.flatnonzero(filled))
    return PaintedStructure(one.structure, one.offset, one.mask, axis, slices)


def _nearest(one: Drawn, volume: Geometry) -> Drawn:
    out = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        imageFromMask(one.mask, one.offset, one.affine), gridImage(volume.affine, volume.shape), out
    )
    mask, offset = maskFromImage(out)
    return Drawn(one.structure, mask, offset, volume.affine)


def _fits(one: Drawn, shape: Index3) -> bool:
    return bool(min(one.offset) >= 0 and np.all(np.add(one.offset, one.mask.shape) <= shape))


def _lattice(affine: np.ndarray) -> Geometry:
    return Geometry((1, 1, 1), affine)


def _ends(offset: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """(8, 3) indices of the corner voxels of a block."""
    return np.array(
        list(product(*((start, start + size - 1) for start, size in zip(offset, shape, strict=True))))
    )


def _index3(values: np.ndarray) -> Index3:
    k, j, i = (int(value) for value in values)
    return k, j, i
