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
from .lesions import connected_parts, measured_lesion, touches_border
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
    upright = [_upright(one, axis_map) for one in masks]
    surfaces = {n: SurfaceCorners(one, image.geometry) for n, one in enumerate(upright) if one.mask.size}
    tell, structures, notes = progress or silent, [], []
    for number, one in enumerate(upright):
        name = one.structure.name
        tell(number / len(upright), name)
        others = [surface for n, surface in surfaces.items() if n != number]
        listed = not options.lesions or name in options.lesions
        steps = _Steps(tell, number / len(upright), 1 / len(upright), name)
        structures.append(_structure(one, image, options, others if listed else None, axis_map, steps))
        notes.extend(_nonfinite(one, image))
    tell(1.0, "measured")
    return Measurements(tuple(structures), options, tuple(notes))


@dataclass(frozen=True)
class _Steps:
    """The share of all work that one structure is, told lesion by lesion."""

    tell: Progress
    start: float
    share: float
    name: str

    def done(self, number: int, of: int) -> None:
        """Tell that so many lesions of the structure are measured."""
        self.tell(self.start + self.share * number / of, self.name)


def _structure(
    one: StructureMask,
    image: Volume,
    options: MeasureOptions,
    others: Sequence[SurfaceCorners] | None,
    axis_map: AxisMap,
    steps: _Steps,
) -> StructureMeasurements:
    """One structure on the upright image; others: None where its lesions are not told one by one."""
    grid, voxels = image.geometry, one.voxels
    parts = connected_parts(one, grid, options.connectivity, options.smallest_mm3)
    lesions: list[Lesion] = []
    if others is not None:
        for number, part in enumerate(parts.counted, start=1):
            lesion = measured_lesion(number, part, others, grid, options.connectivity)
            lesions.append(replace(lesion, slice_index=_own_slice(lesion.slice_index, axis_map)))
            steps.done(number, len(parts.counted))
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
        lesions=tuple(lesions),
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


def _upright(one: StructureMask, axis_map: AxisMap) -> StructureMask:
    """A mask, cropped, on the grid whose axes run to superior, anterior and right."""
    offset, mask = tight(one.mask, one.offset)
    if not mask.size:
        return StructureMask(one.structure, (0, 0, 0), mask)
    there = axis_map.apply_offset(offset, index3(mask.shape))
    return StructureMask(one.structure, there, np.ascontiguousarray(axis_map.apply(mask)))


def _own_slice(upright: int, axis_map: AxisMap) -> int:
    """The index on the volume's own grid of a slice of the upright one."""
    return axis_map.reoriented_shape[0] - 1 - upright if axis_map.flipped[0] else upright


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
