"""Everything that is measured of a segmentation, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError
from ..imageio.geometry import AxisMap, Geometry, index3
from ..imageio.volume import Volume
from ..progress import Progress, silent
from ..support.structure import StructureMask, tight
from .diameters import as_point
from .lesions import Parts, connected_parts, measured_lesion, touches_border
from .measurements import Lesion, Measurements, MeasureOptions, StructureMeasurements
from .statistics import centroid, feret_diameter_mm, intensity_statistics, surface_area_mm2
from .surface_distance import SurfaceCorners

_DEFAULT = MeasureOptions()


def measure(
    volume: Volume,
    masks: Sequence[StructureMask],
    options: MeasureOptions = _DEFAULT,
    progress: Progress | None = None,
) -> Measurements:
    """Measure structures on the grid of a volume: size, shape, intensities and connected parts.

    masks: on the volume's grid, cropped or not; they may overlap. progress: called with the share that is
    done; what it raises ends the work. Grids that store the same voxels in another order give the same
    numbers. Raises InputError for a name in the options that no structure has, ValueError for a mask that
    reaches outside the grid.
    """
    _check(masks, options, volume.geometry)
    image, axis_map = volume.canonical()
    upright = [upright_mask(one, axis_map) for one in masks]
    surfaces = {n: SurfaceCorners(one, image.geometry) for n, one in enumerate(upright) if one.mask.size}
    tell, structures, notes = progress or silent, [], []
    for number, one in enumerate(upright):
        steps = _Steps(tell, number, len(upright), one.structure.name)
        steps.done(0.0)
        parts = connected_parts(one, image.geometry, options.connectivity, options.smallest_mm3)
        lesions: tuple[Lesion, ...] = ()
        if options.asks_for(one.structure.name):
            others = [surface for n, surface in surfaces.items() if n != number]
            lesions = _lesions(parts, others, image.geometry, options, steps)
        lesions = tuple(_on_own_slice(lesion, axis_map) for lesion in lesions)
        structures.append(_structure(one, image, parts, lesions))
        notes.extend(_nonfinite(one, image))
    tell(1.0, "measured")
    return Measurements(tuple(structures), options, tuple(notes))


@dataclass(frozen=True)
class _Steps:
    """The part of all work that one of so many structures is."""

    tell: Progress
    number: int
    count: int
    name: str

    def done(self, share: float) -> None:
        """Tell that this share of the structure is measured."""
        self.tell((self.number + share) / self.count, self.name)


def _lesions(
    parts: Parts,
    others: Sequence[SurfaceCorners],
    geometry: Geometry,
    options: MeasureOptions,
    steps: _Steps,
) -> tuple[Lesion, ...]:
    """The counted parts of a structure as lesions; others: the surfaces of the other structures."""
    lesions = []
    for number, part in enumerate(parts.counted, start=1):
        lesions.append(measured_lesion(number, part, others, geometry, options.connectivity))
        steps.done(number / len(parts.counted))
    return tuple(lesions)


def _structure(
    one: StructureMask, image: Volume, parts: Parts, lesions: tuple[Lesion, ...]
) -> StructureMeasurements:
    """One structure on the upright image."""
    grid, voxels = image.geometry, one.voxels
    local = grid.cropped(one.offset, one.mask.shape) if voxels else grid
    return StructureMeasurements(
        name=one.structure.name,
        label=one.structure.label,
        voxel_count=voxels,
        volume_cm3=voxels * grid.voxel_ml,
        surface_area_mm2=surface_area_mm2(one.mask, local) if voxels else 0.0,
        feret_diameter_mm=feret_diameter_mm(one.mask, local) if voxels else 0.0,
        centroid_ras=as_point(local.index_to_world(centroid(one.mask)[None])[0]) if voxels else None,
        intensity=intensity_statistics(image.array[one.region][one.mask]),
        touches_border=touches_border(one, grid.shape),
        part_count=len(parts.counted) + parts.small_count,
        small_count=parts.small_count,
        small_volume_cm3=parts.small_voxels * grid.voxel_ml,
        lesions=lesions,
    )


def _check(masks: Sequence[StructureMask], options: MeasureOptions, geometry: Geometry) -> None:
    """Raise InputError for lesions of no structure, ValueError for a mask outside the grid."""
    names = {one.structure.name for one in masks}
    missing = [name for name in options.lesions if name not in names]
    if missing:
        raise InputError(
            f"The segmentation has no structure {missing[0]!r} to list lesions of; it has "
            f"{', '.join(sorted(names)) or 'none'}."
        )
    for one in masks:
        ends = np.add(one.offset, one.mask.shape)
        if one.mask.size and (min(one.offset) < 0 or np.any(ends > geometry.shape)):
            raise ValueError(
                f"The mask of {one.structure.name} reaches outside the grid of {geometry.shape}."
            )


def upright_mask(one: StructureMask, axis_map: AxisMap) -> StructureMask:
    """A mask, cropped, on the grid whose axes run to superior, anterior and right."""
    offset, mask = tight(one.mask, one.offset)
    if not mask.size:
        return StructureMask(one.structure, (0, 0, 0), mask)
    there = axis_map.apply_offset(offset, index3(mask.shape))
    return StructureMask(one.structure, there, np.ascontiguousarray(axis_map.apply(mask)))


def _on_own_slice(lesion: Lesion, axis_map: AxisMap) -> Lesion:
    """The lesion with the index of its slice on the volume's own grid instead of the upright one."""
    if not axis_map.flipped[0]:
        return lesion
    return replace(lesion, slice_index=axis_map.reoriented_shape[0] - 1 - lesion.slice_index)


def _nonfinite(one: StructureMask, image: Volume) -> list[str]:
    """A sentence about voxels of a structure that are no numbers in the image; none without."""
    if image.array.dtype.kind != "f":
        return []
    count = int(np.count_nonzero(~np.isfinite(image.array[one.region][one.mask])))
    if not count:
        return []
    return [
        f"{one.structure.name}: {count} of its {one.voxels} voxels are NaN or infinite in the image; its "
        "intensities are those of the others."
    ]
