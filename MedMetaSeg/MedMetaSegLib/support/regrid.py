"""What was annotated on another grid: nearest voxel, nearest slice where the axes run parallel.

All of that happens on axes reoriented to anatomy, and ties go towards S, A, R, so that the way a file stores
its axes cannot change which voxel is nearest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..imageio.geometry import AxisMap, Geometry, Index3, corners, index3
from .structure import AnnotatedStructure, StructureMask, filled_slices, region, tight

_TIE_VOXELS = 1e-3
"""Voxels: a place no further than this from half-way between two counts as half-way, for headers round."""


@dataclass(frozen=True, eq=False)
class GridResampling:
    """From a support's grid to a parallel one: along each axis, target = scale * source + shift (voxels)."""

    source_map: AxisMap
    target_map: AxisMap
    target_shape: Index3
    scale: tuple[float, ...]
    shift: tuple[float, ...]

    @classmethod
    def between(cls, source: Geometry, target: Geometry) -> GridResampling:
        """Raises ValueError when the axes are not parallel."""
        if not target.is_parallel(source):
            raise ValueError("The support's axes are not parallel to those of the image.")
        canonical_target, target_map = target.canonical()
        aligned_source, source_map = source.aligned_to(canonical_target.directions)
        ends = np.array([[0.0, 0.0, 0.0], np.array(aligned_source.shape) - 1.0])
        centre = ends.mean(axis=0)
        steps = np.concatenate([[centre], centre + np.eye(3)])
        mapped = canonical_target.world_to_index(aligned_source.index_to_world(steps))
        scale = np.diag(mapped[1:] - mapped[0])
        shift = mapped[0] - scale * centre
        return cls(source_map, target_map, canonical_target.shape, tuple(scale), tuple(shift))

    def resample(
        self, annotated: AnnotatedStructure, annotation: str
    ) -> tuple[AnnotatedStructure | None, str]:
        """The structure on the target grid, None when nothing lands there, and what was lost, if any."""
        if not annotated.crossing and not annotated.loose.any():
            return self._resample(annotated, annotation)
        moved, lost = [], []
        for part in _slices_of_each_plane(annotated):
            one, note = self._resample(part, annotation)
            if one is not None:
                moved.append(one)
            if note:
                lost.append(note)
        if not moved:
            return None, "; ".join(lost)
        scribbled = None
        if annotated.loose.any():
            loose = tight(annotated.loose, annotated.offset)
            scribbled, _ = self._resample(AnnotatedStructure(annotated.structure, *loose), "scribbles")
        return _together(annotated, moved, scribbled), "; ".join(lost)

    def _resample(
        self, annotated: AnnotatedStructure, annotation: str
    ) -> tuple[AnnotatedStructure | None, str]:
        """As `resample`, of a structure whose complete slices are of one plane and hold all its voxels."""
        mask = self.source_map.apply(annotated.mask)
        offset = self.source_map.apply_offset(annotated.offset, index3(annotated.mask.shape))
        axis = None if annotated.axis is None else self.source_map.order.index(annotated.axis)
        note = ""
        start = [0, 0, 0]
        if any(self._misses(offset[along], mask.shape[along], along) for along in range(3)):
            return None, "it lies outside the image"
        for along in range(3):
            if along == axis:
                slices = [self._aligned_slice(number, along) - offset[along] for number in annotated.slices]
                mask, start[along], note = self._place_slices(mask, offset[along], along, slices)
            elif annotation == "scribbles" and self.scale[along] < 1.0:
                mask, start[along] = self._gather(mask, offset[along], along)
            else:
                mask, start[along] = self._nearest(mask, offset[along], along)
            if mask.size == 0:
                return None, "it falls between the voxels of the image"
        first, mask = tight(mask, index3(start))
        if mask.size == 0:
            return None, "it falls between the voxels of the image"
        return self._on_target(annotated, mask, first, axis), note

    def _on_target(
        self, annotated: AnnotatedStructure, mask: np.ndarray, offset: Index3, axis: int | None
    ) -> AnnotatedStructure:
        on_target = np.ascontiguousarray(self.target_map.undo(mask))
        target_offset = self.target_map.undo_offset(offset, index3(mask.shape))
        placed = replace(annotated, offset=target_offset, mask=on_target)
        if axis is None:
            return placed
        return with_slices_along(placed, self.target_map.order[axis])

    def _misses(self, offset: int, size: int, axis: int) -> bool:
        """True when the voxels from `offset` on have their centres before or behind the target grid."""
        ends = np.array([offset, offset + size - 1]) * self.scale[axis] + self.shift[axis]
        half = max(0.5, 0.5 * self.scale[axis])
        return bool(ends[1] + half <= 0 or ends[0] - half >= self.target_shape[axis] - 1)

    def _aligned_slice(self, number: int, axis: int) -> int:
        if not self.source_map.flipped[axis]:
            return number
        return self.source_map.reoriented_shape[axis] - 1 - number

    def _nearest(self, mask: np.ndarray, offset: int, axis: int) -> tuple[np.ndarray, int]:
        """Each target voxel takes the source voxel nearest to its centre."""
        targets = np.arange(self.target_shape[axis])
        sources = _nearest_index((targets - self.shift[axis]) / self.scale[axis]) - offset
        inside = np.flatnonzero((sources >= 0) & (sources < mask.shape[axis]))
        if inside.size == 0:
            return mask[:0], 0
        return np.take(mask, sources[inside], axis=axis), int(inside[0])

    def _gather(self, mask: np.ndarray, offset: int, axis: int) -> tuple[np.ndarray, int]:
        """Each source voxel goes to the target voxel nearest to it, so that no thin stroke is lost."""
        targets = _nearest_index((np.arange(mask.shape[axis]) + offset) * self.scale[axis] + self.shift[axis])
        inside = (targets >= 0) & (targets < self.target_shape[axis])
        if not inside.any():
            return mask[:0], 0
        numbers, starts = np.unique(targets[inside], return_index=True)
        kept = np.compress(inside, mask, axis=axis)
        return np.logical_or.reduceat(kept, starts, axis=axis), int(numbers[0])

    def _place_slices(
        self, mask: np.ndarray, offset: int, axis: int, slices: list[int]
    ) -> tuple[np.ndarray, int, str]:
        """Each annotated slice goes to the nearest target slice; of several for one the closest stays."""
        chosen: dict[int, tuple[float, int]] = {}
        outside = crowded = 0
        for number in sorted(slices, reverse=True):
            position = (number + offset) * self.scale[axis] + self.shift[axis]
            target = int(_nearest_index(np.array(position)))
            distance = round(abs(position - target), 3)
            if not 0 <= target < self.target_shape[axis]:
                outside += 1
                continue
            crowded += target in chosen
            if target not in chosen or distance < chosen[target][0]:
                chosen[target] = (distance, number)
        if not chosen:
            return mask[:0], 0, ""
        first, last = min(chosen), max(chosen)
        shape = list(mask.shape)
        shape[axis] = last - first + 1
        placed = np.zeros(shape, dtype=bool)
        for target, (_, number) in chosen.items():
            np.moveaxis(placed, axis, 0)[target - first] = np.moveaxis(mask, axis, 0)[number]
        return placed, first, _lost(crowded, outside)


def with_slices_along(annotated: AnnotatedStructure, axis: int) -> AnnotatedStructure:
    """The structure with `axis` as its drawing axis: every slice along it that holds a voxel is complete."""
    slices = tuple(int(number) + annotated.offset[axis] for number in filled_slices(annotated.mask, axis))
    return replace(annotated, axis=axis, slices=slices)


def without_slices_on(
    annotated: AnnotatedStructure, source: Geometry, target: Geometry
) -> AnnotatedStructure:
    """The structure on any other grid: each of its voxels holds what was annotated at its centre.

    No slice of the result is complete. A structure that misses the grid has no voxel in its mask.
    """
    size = np.array(annotated.mask.shape)
    inside = target.world_to_index(source.index_to_world(corners(annotated.mask.shape, annotated.offset)))
    last = np.array(target.shape) - 1
    low = np.clip(np.floor(inside.min(0)) - 1, 0, last).astype(int)
    high = np.clip(np.ceil(inside.max(0)) + 1, 0, last).astype(int)
    mask = np.zeros(high - low + 1, bool)
    plane = np.indices((1, *mask.shape[1:])).reshape(3, -1).T + low
    for k in range(len(mask)):
        at = np.rint(source.world_to_index(target.index_to_world(plane + [k, 0, 0]))).astype(int)
        at -= annotated.offset
        valid = ((at >= 0) & (at < size)).all(1)
        mask[k].flat[valid] = annotated.mask[tuple(at[valid].T)]
    return AnnotatedStructure(annotated.structure, index3(low), mask)


def mask_at_centres(mask: np.ndarray, offset: Index3, source: Geometry, target: Geometry) -> np.ndarray:
    """Bool (k, j, i): the voxels of any grid whose centres lie in a voxel of a mask.

    mask: bool (k, j, i) whose first voxel is at `offset` on the grid `source`. target: the other grid.
    """
    to_source = np.linalg.solve(source.affine, target.affine)[2::-1, [2, 1, 0, 3]]
    rows, columns = np.arange(target.shape[1])[:, None], np.arange(target.shape[2])
    first = [j * rows + i * columns + start for _, j, i, start in to_source]
    found = np.zeros(target.shape, bool)
    for number in range(target.shape[0]):
        valid = np.ones(target.shape[1:], bool)
        index = []
        for plane, step, start, size in zip(first, to_source[:, 0], offset, mask.shape, strict=True):
            along = np.rint(plane + step * number).astype(np.intp) - start
            valid &= (along >= 0) & (along < size)
            index.append(along)
        found[number][valid] = mask[tuple(along[valid] for along in index)]
    return found


def _slices_of_each_plane(annotated: AnnotatedStructure) -> Iterator[AnnotatedStructure]:
    """The structure on its complete slices of one plane after the other."""
    for plane in annotated.planes:
        on_plane = replace(annotated, axis=plane.axis, slices=plane.slices, crossing=())
        part = StructureMask(annotated.structure, *tight(on_plane.on_slices, annotated.offset))
        yield AnnotatedStructure.on_planes(part, [plane])


def _together(
    annotated: AnnotatedStructure,
    parts: Sequence[AnnotatedStructure],
    scribbled: AnnotatedStructure | None,
) -> AnnotatedStructure:
    """One structure of all voxels and complete slices of its parts, on the grid of these.

    scribbled: voxels known by themselves, which change no complete slice.
    """
    every = [*parts, *([scribbled] if scribbled is not None else [])]
    low = np.min([one.offset for one in every], axis=0)
    high = np.max([np.add(one.offset, one.mask.shape) for one in every], axis=0)
    planes = [plane for one in parts for plane in one.planes]

    def placed(masks: Sequence[AnnotatedStructure]) -> AnnotatedStructure:
        mask = np.zeros(high - low, bool)
        for one in masks:
            mask[region(index3(one.offset - low), one.mask.shape)] |= one.mask
        return AnnotatedStructure.on_planes(StructureMask(annotated.structure, index3(low), mask), planes)

    on_slices = placed(parts)
    return replace(on_slices, mask=on_slices.mask | placed(every).loose)


def _lost(crowded: int, outside: int) -> str:
    reasons = []
    if crowded:
        reasons.append(f"{_count(crowded)} not used, a closer one lies in the same slice of the image")
    if outside:
        reasons.append(f"{_count(outside)} not used, outside the image")
    return "; ".join(reasons)


def _count(number: int) -> str:
    return "1 drawn slice is" if number == 1 else f"{number} drawn slices are"


def _nearest_index(positions: np.ndarray) -> np.ndarray:
    return np.floor(np.asarray(positions) + 0.5 + _TIE_VOXELS).astype(np.int64)
