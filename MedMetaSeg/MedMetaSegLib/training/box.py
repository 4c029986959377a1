"""Boxes of voxels: the part of an anatomy that an episode shows, padded for the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..imageio.geometry import Index3
from ..network import STRIDE


@dataclass(frozen=True)
class Box:
    """A box of voxels: offset and shape along (k, j, i); the offset may be negative."""

    offset: Index3
    shape: Index3

    @classmethod
    def around(cls, plane: np.ndarray, slices: Sequence[int]) -> Box:
        """The box of a mask (j, i) over the slices from the first to the last given."""
        rows, columns = np.flatnonzero(plane.any(1)), np.flatnonzero(plane.any(0))
        offset = (min(slices), int(rows[0]), int(columns[0]))
        stop = (max(slices) + 1, int(rows[-1]) + 1, int(columns[-1]) + 1)
        return cls(offset, _index3(np.subtract(stop, offset)))

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """To index an array of the whole grid; the box must lie inside it."""
        return tuple(slice(o, o + n) for o, n in zip(self.offset, self.shape, strict=True))  # type: ignore[return-value]

    def grown(self, low: np.ndarray, high: np.ndarray) -> Box:
        """The box with margins (3,) in voxels added before and after."""
        low, high = np.ceil(low).astype(int), np.ceil(high).astype(int)
        return Box(_index3(np.array(self.offset) - low), _index3(np.array(self.shape) + low + high))

    def clipped(self, shape: Index3) -> Box:
        """The part of the box inside a grid of this shape."""
        first = np.maximum(self.offset, 0)
        last = np.minimum(np.add(self.offset, self.shape), shape)
        return Box(_index3(first), _index3(np.maximum(last - first, 1)))

    def within_slices(self, known: range) -> Box:
        """The part of the box on the slices of a range; one slice of it at least."""
        start = min(max(self.offset[0], known.start), known.stop - 1)
        stop = max(start + 1, min(self.offset[0] + self.shape[0], known.stop))
        return Box((start, *self.offset[1:]), (stop - start, *self.shape[1:]))


def padding_to_stride(shape: Index3, stride: int = STRIDE) -> list[tuple[int, int]]:
    """numpy.pad's widths that make every axis a multiple of `stride`, at least 16, half on each side."""
    missing = [max(-(-n // stride) * stride, 16) - n for n in shape]
    return [(m // 2, m - m // 2) for m in missing]


def _index3(values: np.ndarray) -> Index3:
    return int(values[0]), int(values[1]), int(values[2])
