"""Where a structure can be, given where it was painted: boxes of voxels on a working grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STRIDE = 8
"""Every axis that the network sees is a multiple of this."""

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Box:
    """A box of voxels: offset and shape along (k, j, i); the offset may be negative."""

    offset: Triple
    shape: Triple

    @classmethod
    def around(cls, plane: np.ndarray, slices: Sequence[int]) -> Box:
        """The box of a mask (j, i) over the slices from the first to the last given."""
        rows, columns = np.flatnonzero(plane.any(1)), np.flatnonzero(plane.any(0))
        offset = (min(slices), int(rows[0]), int(columns[0]))
        stop = (max(slices) + 1, int(rows[-1]) + 1, int(columns[-1]) + 1)
        return cls(offset, _triple(np.subtract(stop, offset)))

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """To index an array of the whole grid; the box must lie inside it."""
        return tuple(slice(o, o + n) for o, n in zip(self.offset, self.shape, strict=True))  # type: ignore[return-value]

    def grown(self, low: np.ndarray, high: np.ndarray) -> Box:
        """The box with margins (3,) in voxels added before and after."""
        low, high = np.ceil(low).astype(int), np.ceil(high).astype(int)
        return Box(_triple(np.array(self.offset) - low), _triple(np.array(self.shape) + low + high))

    def clipped(self, shape: Triple) -> Box:
        """The part of the box inside a grid of this shape."""
        first = np.maximum(self.offset, 0)
        last = np.minimum(np.add(self.offset, self.shape), shape)
        return Box(_triple(first), _triple(np.maximum(last - first, 1)))


def margins(shape: Triple, slices: Sequence[int | float], aspect: float) -> tuple[np.ndarray, np.ndarray]:
    """How far beyond the painted box of this shape to look, (3,) before and after, in working voxels.

    In the plane a third of the drawing; along the slices most of the widest gap between two of them, or, with
    one slice only, as much as it is wide. The prediction touching the border makes the region grow, so a miss
    is mended.
    """
    in_plane = max(8.0, 0.33 * max(shape[1], shape[2]))
    if len(slices) > 1:
        along = max(5.0 / aspect, 0.6 * float(np.diff(np.sort(slices)).max()), 2.0)
    else:
        along = max(8.0, 0.6 * max(shape[1], shape[2])) / aspect
    margin = np.array([along, in_plane, in_plane])
    return margin, margin


def padding_to_stride(shape: Triple, stride: int = STRIDE) -> list[tuple[int, int]]:
    """numpy.pad's widths that make every axis a multiple of `stride`, at least 16, half on each side."""
    missing = [max(-(-n // stride) * stride, 16) - n for n in shape]
    return [(m // 2, m - m // 2) for m in missing]


def _triple(values: np.ndarray) -> Triple:
    return int(values[0]), int(values[1]), int(values[2])
