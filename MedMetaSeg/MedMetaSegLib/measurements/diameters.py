"""The longest diameter of a lesion in an axial slice, and the longest at right angles to it.

A slice is one of the grid, across its axis nearest to superior. A diameter ends in the middle of an outer
edge of a voxel, so that a single voxel is as wide as it is. The outline of a lesion joins these middles
(marching squares).

Longest: between two points of the outline of one connected piece in one slice. Perpendicular: along a line at
right angles, from the first to the last point where it meets the outline of that piece. Both may leave a
concave lesion in between, and neither joins pieces that are apart in the slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import ndimage

from ..imageio.geometry import Geometry
from .measurements import Connectivity, Diameter, Point
from .statistics import TIE, extreme_points, farthest_pair

_EDGE_MIDDLES = np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, -0.5], [0.0, 0.5]])
_CHUNK = 2_000_000
"""Crossings of lines and edges that are looked at at a time."""


@dataclass(frozen=True)
class AxialDiameters:
    """Two diameters in one slice, whose index counts along the first axis of the mask."""

    slice_index: int
    longest: Diameter
    perpendicular: Diameter


@dataclass(frozen=True, eq=False)
class _Piece:
    """A connected piece of one slice: its mask (j, i), and where its first voxel is on the mask's grid."""

    offset: tuple[int, int, int]
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class _Plane:
    """Lengths within slices: to_mm takes (j, i) to perpendicular axes in mm, to_index takes them back."""

    to_mm: np.ndarray
    to_index: np.ndarray

    @classmethod
    def of(cls, geometry: Geometry) -> _Plane:
        along_i, along_j = geometry.affine[:3, 0], geometry.affine[:3, 1]
        unit = along_i / np.linalg.norm(along_i)
        shared = float(along_j @ unit)
        across = float(np.linalg.norm(along_j - shared * unit))
        to_mm = np.array([[shared, across], [float(along_i @ unit), 0.0]])
        return cls(to_mm, np.linalg.inv(to_mm))

    def longest_possible(self, shape: tuple[int, ...]) -> float:
        """The longer diagonal of a block of so many voxels (j, i)."""
        j, i = shape
        return float(np.linalg.norm(np.array([[j, i], [j, -i]]) @ self.to_mm, axis=1).max())


def axial_diameters(mask: np.ndarray, geometry: Geometry, connectivity: Connectivity = 26) -> AxialDiameters:
    """The longest axial diameter of a mask (k, j, i) and the longest one perpendicular to it in its slice.

    geometry: the mask's grid, whose slices k are axial. The mask has at least one voxel. Of several that are
    as long, the one in the piece with more voxels is taken, then the lower one.
    """
    plane = _Plane.of(geometry)
    best, ends, found = 0.0, np.zeros((2, 2)), None
    for piece in _pieces(mask, connectivity):
        if plane.longest_possible(piece.mask.shape) <= best * (1 + TIE):
            continue
        candidates = _outer_edge_middles(piece.mask)
        places = candidates @ plane.to_mm
        if 2 * _radius(places) <= best * (1 + TIE):
            continue
        kept = extreme_points(places)
        one, other, length = farthest_pair(places[kept])
        if length > best * (1 + TIE):
            best, ends, found = length, candidates[kept[[one, other]]], piece
    if found is None:
        raise ValueError("A mask without voxels has no diameters.")
    across = _perpendicular(found.mask, ends, plane)
    return AxialDiameters(
        found.offset[0], _diameter(ends, found, geometry), _diameter(across, found, geometry)
    )


def _pieces(mask: np.ndarray, connectivity: Connectivity) -> Iterator[_Piece]:
    """The connected pieces of each slice, those with more voxels first."""
    in_slice = np.zeros((3, 3, 3), bool)
    in_slice[1] = ndimage.generate_binary_structure(2, 1 if connectivity == 6 else 2)
    labels, _ = ndimage.label(mask, in_slice)
    boxes = ndimage.find_objects(labels)
    order = np.argsort(-np.bincount(labels.ravel())[1:], kind="stable")
    for number in order:
        k, j, i = boxes[number]
        yield _Piece((k.start, j.start, i.start), labels[k.start, j, i] == number + 1)


def _outer_edge_middles(mask: np.ndarray) -> np.ndarray:
    """(N, 2) middles (j, i) of the edges of the first and last voxel of each row; some come twice."""
    rows = np.arange(len(mask))
    first, last = mask.argmax(axis=1), mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    centres = np.concatenate([np.column_stack([rows, first]), np.column_stack([rows, last])])
    return (centres[:, None] + _EDGE_MIDDLES).reshape(-1, 2)


def _radius(places: np.ndarray) -> float:
    """Of a circle that holds all of (N, 2) places."""
    middle = (places.min(axis=0) + places.max(axis=0)) / 2
    return float(np.sqrt(np.square(places - middle).sum(axis=1).max()))


def _perpendicular(mask: np.ndarray, ends: np.ndarray, plane: _Plane) -> np.ndarray:
    """(2, 2) ends (j, i) of the longest line at right angles to the line between `ends`.

    The place of the outline's first and last point on such a line is, between two corners of the outline, a
    convex and a concave function of where the line is: the longest one goes through a corner.
    """
    x, y = np.diff(ends @ plane.to_mm, axis=0)[0] / np.linalg.norm(np.diff(ends @ plane.to_mm, axis=0))
    edges_mm = _outline(mask) @ plane.to_mm
    along = edges_mm[..., 0] * x + edges_mm[..., 1] * y
    across = edges_mm[..., 1] * x - edges_mm[..., 0] * y
    levels = np.unique(along)
    best, chord = -1.0, np.zeros((2, 2))
    step = max(1, _CHUNK // len(edges_mm))
    for start in range(0, len(levels), step):
        chosen = levels[start : start + step]
        low, high = _crossed(along, across, chosen)
        longest = float((high - low).max())
        if longest > best * (1 + TIE):
            n = int(np.argmax(high - low >= longest * (1 - TIE)))
            best = float(high[n] - low[n])
            chord = np.array([[chosen[n], low[n]], [chosen[n], high[n]]])
    return chord @ np.array([[x, y], [-y, x]]) @ plane.to_index


def _crossed(along: np.ndarray, across: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest place across, (L,), where lines at `levels` meet edges, (E, 2) each.

    A line along an edge meets the edges next to it in its ends.
    """
    rounding = TIE * max(1.0, float(np.abs(along).max()))
    length = along[:, 1] - along[:, 0]
    share = (levels[:, None] - along[:, 0]) / np.where(np.abs(length) > rounding, length, np.inf)
    place = across[:, 0] + np.clip(share, 0, 1) * (across[:, 1] - across[:, 0])
    met = (levels[:, None] >= along.min(axis=1) - rounding) & (
        levels[:, None] <= along.max(axis=1) + rounding
    )
    return np.where(met, place, np.inf).min(axis=1), np.where(met, place, -np.inf).max(axis=1)


def _outline(mask: np.ndarray) -> np.ndarray:
    """(E, 2, 2): the edges of the outline of a mask (j, i), each from one middle (j, i) to another.

    In a square of four voxel centres the sides between a voxel inside and one outside are joined; where two
    voxels meet in a corner, all four sides are.
    """
    padded = np.pad(mask, 1)
    down, right = padded[1:] != padded[:-1], padded[:, 1:] != padded[:, :-1]
    sides = (right[:-1], right[1:], down[:, :-1], down[:, 1:])
    middles = np.array([[0.0, 0.5], [1.0, 0.5], [0.5, 0.0], [0.5, 1.0]])
    edges = []
    for one, other in combinations(range(4), 2):
        squares = np.argwhere(sides[one] & sides[other]) - 1.0
        edges.append(squares[:, None] + middles[[one, other]])
    return np.concatenate(edges)


def _diameter(ends: np.ndarray, piece: _Piece, geometry: Geometry) -> Diameter:
    """The line between two places (j, i) of a piece, in the world of its grid."""
    index = np.column_stack([np.zeros(2), ends]) + piece.offset
    first, last = geometry.index_to_world(index)
    return Diameter(float(np.linalg.norm(last - first)), (as_point(first), as_point(last)))


def as_point(place: np.ndarray) -> Point:
    """Three numbers as a tuple."""
    right, anterior, superior = place.tolist()
    return right, anterior, superior
