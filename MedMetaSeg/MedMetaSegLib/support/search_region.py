"""The region of a volume outside which no structure is looked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..imageio.frames import by
from ..imageio.geometry import AxisMap, Geometry, Index3, corners, index3
from ..imageio.volume import Volume
from .label_values import SupportProblem, whole_labels
from .lost_header import lost_header
from .placement import Place, settled_place
from .reading import read_segments
from .regrid import GridResampling, mask_at_centres
from .seg_nrrd import SegmentationContent
from .structure import AnnotatedStructure, Structure, StructureMask, region, tight

_ROLE = "region"
_REGION = Structure(_ROLE, 1, (1.0, 1.0, 1.0))
_EMPTY = "The region is empty; give one with voxels inside the image."


@dataclass(frozen=True, eq=False)
class SearchRegion:
    """Where structures are looked for: nothing is found outside, but what was annotated there stays.

    offset: (k, j, i) of the mask's first voxel on the volume's grid. mask: bool (k, j, i), cropped or not.
    source: what reports call it. notes: sentences about how it was read that who uses it has to know.
    """

    offset: Index3
    mask: np.ndarray
    source: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def from_array(cls, array: np.ndarray, geometry: Geometry, source: str = "array") -> SearchRegion:
        """The voxels of an array (k, j, i) that are not 0, on the grid of a volume that has `geometry`.

        Raises InputError for an array of another shape, without a voxel, or of values that no label map has.
        """
        if array.shape != geometry.shape:
            sizes = by(array.shape[::-1]), by(geometry.shape[::-1])
            raise InputError(
                f"The region has {sizes[0]} voxels and the image {sizes[1]}; give one on the image's grid."
            )
        mask = array if array.dtype == bool else whole_labels(array, _ROLE) > 0
        return cls._cropped((0, 0, 0), mask, source, ())

    @classmethod
    def read(cls, path: str | Path, volume: Volume, source: str = "") -> SearchRegion:
        """The region in a file that may be whatever a support may: all of its structures together.

        source: what reports call it, the file's name when "". Raises InputError for a file that cannot be
        read or has no voxel, and as `placed_region`.
        """
        content = read_segments(Path(path), role=_ROLE, reference=volume)
        if not any(one.mask.any() for one in content.masks):
            raise SupportProblem(f"{path}: {_EMPTY}")
        return placed_region(content, volume, source or Path(path).name)

    @classmethod
    def _cropped(cls, offset: Index3, mask: np.ndarray, source: str, notes: tuple[str, ...]) -> SearchRegion:
        start, cropped = tight(mask, offset)
        if not cropped.size:
            raise InputError(_EMPTY)
        return cls(start, cropped, source, notes)

    @property
    def voxels(self) -> int:
        """Number of voxels in the region."""
        return int(np.count_nonzero(self.mask))

    @property
    def block(self) -> tuple[slice, slice, slice]:
        """Where the mask lies in an array of the whole grid."""
        return region(self.offset, self.mask.shape)

    @property
    def digest(self) -> bytes:
        """Equal for regions of the same voxels whose masks are cropped alike."""
        digest = hashlib.blake2b(repr((self.offset, self.mask.shape)).encode(), digest_size=16)
        digest.update(np.packbits(self.mask).tobytes())
        return digest.digest()

    def check_fits(self, geometry: Geometry) -> None:
        """Raise InputError when the mask reaches out of a volume that has `geometry`."""
        ends = np.add(self.offset, self.mask.shape)
        if min(self.offset) < 0 or np.any(ends > geometry.shape):
            raise InputError("The region reaches out of the image; give one on the image's grid.")

    def on_block(self, where: Sequence[slice]) -> np.ndarray:
        """Bool (k, j, i): which voxels of a block of the grid are in the region."""
        inside = np.zeros([along.stop - along.start for along in where], bool)
        shared = [
            slice(max(w.start, own.start), min(w.stop, own.stop))
            for w, own in zip(where, self.block, strict=True)
        ]
        if all(along.start < along.stop for along in shared):
            here = tuple(
                slice(s.start - w.start, s.stop - w.start) for s, w in zip(shared, where, strict=True)
            )
            own = tuple(slice(s.start - o, s.stop - o) for s, o in zip(shared, self.offset, strict=True))
            inside[here] = self.mask[own]
        return inside

    def on_part(self, offset: Index3, shape: Index3) -> SearchRegion:
        """The region on the part of the grid of `shape` that begins at `offset`; may be without voxels."""
        return replace(self, offset=(0, 0, 0), mask=self.on_block(region(offset, shape)))

    def reoriented(self, axis_map: AxisMap) -> SearchRegion:
        """The region on the grid that `axis_map` leads to."""
        offset = axis_map.apply_offset(self.offset, index3(self.mask.shape))
        return replace(self, offset=offset, mask=np.ascontiguousarray(axis_map.apply(self.mask)))


def region_of(within: np.ndarray | SearchRegion | None, geometry: Geometry) -> SearchRegion | None:
    """The region that was given for a volume that has `geometry`; None where none was.

    Raises InputError for one that does not fit on the volume's grid, and as `SearchRegion.from_array`.
    """
    if isinstance(within, np.ndarray):
        return SearchRegion.from_array(within, geometry)
    if within is not None:
        within.check_fits(geometry)
    return within


def placed_region(content: SegmentationContent, volume: Volume, source: str) -> SearchRegion:
    """All structures of a file together, on the grid of a volume: a voxel is in where its centre is.

    source: what reports call it. Raises InputError for one without voxels, where nothing of it lies in the
    volume, and as `settled_place`.
    """
    found = Place(content.geometry, content.forms, content.notes, _ROLE, content.frame_of_reference)
    place = settled_place(found, volume)
    there = [one for one in content.masks if one.mask.any()]
    if not there:
        raise InputError(_EMPTY)
    united = _united(there)
    inside = _on_grid(united, place.geometry, volume.geometry)
    if inside is None or not inside.mask.any():
        told = (
            "The region lies outside the image, or between its voxels; check that both show the same patient."
        )
        raise InputError(f"{told} {lost_header(place.geometry, volume.geometry, _ROLE)}".strip())
    several = (f"The region is its {len(content.masks)} structures together.",)
    notes = (*place.notes, *(several if len(content.masks) > 1 else ()))
    return SearchRegion._cropped(inside.offset, inside.mask, source, notes)


def _united(masks: Sequence[StructureMask]) -> AnnotatedStructure:
    """All voxels of masks on one grid, as one mask."""
    if len(masks) == 1:
        return AnnotatedStructure(_REGION, masks[0].offset, masks[0].mask)
    low = np.min([one.offset for one in masks], axis=0)
    high = np.max([np.add(one.offset, one.mask.shape) for one in masks], axis=0)
    united = np.zeros(high - low, bool)
    for one in masks:
        united[region(index3(np.subtract(one.offset, low)), one.mask.shape)] |= one.mask
    return AnnotatedStructure(_REGION, index3(low), united)


def _on_grid(one: AnnotatedStructure, source: Geometry, target: Geometry) -> StructureMask | None:
    """The mask on another grid, by the nearest voxel; exact where the voxels are the same."""
    if source.same_grid(target):
        return one
    if target.is_parallel(source):
        return GridResampling.between(source, target).resample(one, "complete")[0]
    low, high = _block(one, source, target)
    if (high <= low).any():
        return None
    block = target.cropped(index3(low), index3(high - low))
    return StructureMask(_REGION, index3(low), mask_at_centres(one.mask, one.offset, source, block))


def _block(one: StructureMask, source: Geometry, target: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """(3,) each: the first voxel of the target that may hold one of the mask, and the one after the last."""
    edges = corners([size + 1 for size in one.mask.shape]) + np.array(one.offset) - 0.5
    ends = target.world_to_index(source.index_to_world(edges))
    low = np.clip(np.floor(ends.min(0)), 0, target.shape).astype(int)
    high = np.clip(np.ceil(ends.max(0)) + 1, 0, target.shape).astype(int)
    return low, high
