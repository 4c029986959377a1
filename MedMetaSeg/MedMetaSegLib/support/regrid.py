"""Carrying painted voxels to another grid whose axes run parallel: nearest voxel, nearest slice.

All of it happens on axes turned to anatomy, and ties go towards S, A, R, so that the way a file stores its
axes cannot change which voxel is nearest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..imageio.geometry import AxisMap, Geometry, Index3
from .structure import AnnotatedStructure, tight

# Closer than this to half-way between two voxels counts as half-way: headers round.
_TIE_VOXELS = 1e-3


@dataclass(frozen=True, eq=False)
class GridResampling:
    """From a support's grid to a parallel one: per turned axis, target = scale * source + shift (voxels)."""

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
        turned_target, target_map = target.canonical()
        turned_source, source_map = source.aligned_to(turned_target.directions)
        ends = np.array([[0.0, 0.0, 0.0], np.array(turned_source.shape) - 1.0])
        centre = ends.mean(axis=0)
        steps = np.concatenate([[centre], centre + np.eye(3)])
        mapped = turned_target.world_to_index(turned_source.index_to_world(steps))
        scale = np.diag(mapped[1:] - mapped[0])
        shift = mapped[0] - scale * centre
        return cls(source_map, target_map, turned_target.shape, tuple(scale), tuple(shift))

    def carry(self, painted: AnnotatedStructure, annotation: str) -> tuple[AnnotatedStructure | None, str]:
        """The structure on the target grid, None when nothing lands there, and what was lost, if any."""
        mask = self.source_map.apply(painted.mask)
        offset = self.source_map.apply_offset(painted.offset, _shape3(painted.mask))
        axis = None if painted.axis is None else self.source_map.order.index(painted.axis)
        note = ""
        start = [0, 0, 0]
        if any(self._misses(offset[turned], mask.shape[turned], turned) for turned in range(3)):
            return None, "it lies outside the image"
        for turned in range(3):
            if turned == axis:
                slices = [self._turned_slice(number, turned) - offset[turned] for number in painted.slices]
                mask, start[turned], note = self._place_slices(mask, offset[turned], turned, slices)
            elif annotation == "scribbles" and self.scale[turned] < 1.0:
                mask, start[turned] = self._gather(mask, offset[turned], turned)
            else:
                mask, start[turned] = self._nearest(mask, offset[turned], turned)
            if mask.size == 0:
                return None, "it falls between the voxels of the image"
        mask, turned_offset = tight(mask, (start[0], start[1], start[2]))
        if mask.size == 0:
            return None, "it falls between the voxels of the image"
        return self._on_target(painted, mask, turned_offset, axis), note

    def _on_target(
        self, painted: AnnotatedStructure, mask: np.ndarray, offset: Index3, axis: int | None
    ) -> AnnotatedStructure:
        on_target = np.ascontiguousarray(self.target_map.undo(mask))
        target_offset = self.target_map.undo_offset(offset, _shape3(mask))
        if axis is None:
            return replace(painted, offset=target_offset, mask=on_target)
        target_axis = self.target_map.order[axis]
        filled = on_target.any(axis=tuple(other for other in range(3) if other != target_axis))
        slices = tuple(int(number) + target_offset[target_axis] for number in np.flatnonzero(filled))
        return replace(painted, offset=target_offset, mask=on_target, axis=target_axis, slices=slices)

    def _misses(self, offset: int, size: int, axis: int) -> bool:
        """True when the voxels from `offset` on have their centres before or behind the target grid."""
        ends = np.array([offset, offset + size - 1]) * self.scale[axis] + self.shift[axis]
        reach = max(0.5, 0.5 * self.scale[axis])
        return bool(ends[1] + reach <= 0 or ends[0] - reach >= self.target_shape[axis] - 1)

    def _turned_slice(self, number: int, turned: int) -> int:
        if not self.source_map.flipped[turned]:
            return number
        return self.source_map.turned_shape[turned] - 1 - number

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
        """Each drawn slice goes to the target slice nearest to it; of several for one the closest stays."""
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


def _shape3(mask: np.ndarray) -> Index3:
    k, j, i = mask.shape
    return k, j, i
