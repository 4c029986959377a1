"""Solid shapes in patient millimetres (RAS: x right, y front, z up), and a canvas that draws them as CT.

A shape is a signed distance, negative inside. It only has to be right near its surface, where the canvas
mixes neighbouring tissues in the proportion in which they share a voxel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..imageio.volume import Geometry

Array = np.ndarray
Field = Callable[[Array, Array, Array], Array]
Point = tuple[float, float, float]

_MARGIN_MM = 8.0  # soft edges and the warp of the canvas reach this far past a shape's own bounds


@dataclass(frozen=True)
class Shape:
    """A signed distance in mm and the box (low, high corner) outside which it is positive."""

    distance: Field
    low: Point
    high: Point


def ellipsoid(centre: Point, radii: Point, rotation_deg: Point = (0, 0, 0)) -> Shape:
    """An ellipsoid, turned about x, then y, then z through its centre."""
    turn = rotation(rotation_deg).T.astype(np.float32)
    reach = max(radii)

    def distance(x: Array, y: Array, z: Array) -> Array:
        local = [
            row[0] * (x - centre[0]) + row[1] * (y - centre[1]) + row[2] * (z - centre[2]) for row in turn
        ]
        scaled = np.sqrt(sum((c / r) ** 2 for c, r in zip(local, radii, strict=True)))
        slope = np.sqrt(sum((c / r**2) ** 2 for c, r in zip(local, radii, strict=True)))
        return scaled * (scaled - 1) / np.maximum(slope, 1e-6)

    low, high = ((centre[0] + s * reach, centre[1] + s * reach, centre[2] + s * reach) for s in (-1, 1))
    return Shape(distance, low, high)


def tube(points: Sequence[Point], radii: Sequence[float], flatten: float = 1.0) -> Shape:
    """Round cones along a polyline; `flatten` < 1 squeezes it front to back."""

    def distance(x: Array, y: Array, z: Array) -> Array:
        nearest = np.full(x.shape, np.inf, np.float32)
        y = y / flatten
        for (ax, ay, az), (bx, by, bz), ra, rb in zip(points, points[1:], radii, radii[1:], strict=False):
            dx, dy, dz = bx - ax, (by - ay) / flatten, bz - az
            px, py, pz = x - ax, y - ay / flatten, z - az
            along = np.clip((px * dx + py * dy + pz * dz) / (dx * dx + dy * dy + dz * dz), 0, 1)
            away = (px - along * dx) ** 2 + (py - along * dy) ** 2 + (pz - along * dz) ** 2
            np.minimum(nearest, np.sqrt(away) - (ra + along * (rb - ra)), out=nearest)
        return nearest * flatten

    reach, corners = max(radii), np.array(points)
    low, high = corners.min(0) - reach, corners.max(0) + reach
    return Shape(distance, (low[0], low[1], low[2]), (high[0], high[1], high[2]))


def union(*shapes: Shape, blend_mm: float = 0.0) -> Shape:
    """All of them; `blend_mm` rounds the crease where two meet."""

    def distance(x: Array, y: Array, z: Array) -> Array:
        total = shapes[0].distance(x, y, z)
        for shape in shapes[1:]:
            other = shape.distance(x, y, z)
            overlap = np.maximum(blend_mm - np.abs(total - other), 0)
            total = np.minimum(total, other) - overlap**2 / (4 * blend_mm or 1)
        return total

    corners_low, corners_high = np.array([s.low for s in shapes]), np.array([s.high for s in shapes])
    low, high = corners_low.min(0), corners_high.max(0)
    return Shape(distance, (low[0], low[1], low[2]), (high[0], high[1], high[2]))


def carved(shape: Shape, *holes: Shape, within: Field | None = None, gap_mm: float = 0.0) -> Shape:
    """`shape` without `holes` grown by `gap_mm`, and only where `within` is negative."""

    def distance(x: Array, y: Array, z: Array) -> Array:
        total = shape.distance(x, y, z)
        for hole in holes:
            total = np.maximum(total, gap_mm - hole.distance(x, y, z))
        return total if within is None else np.maximum(total, within(x, y, z))

    return Shape(distance, shape.low, shape.high)


def grown(shape: Shape, by_mm: float) -> Shape:
    """`shape` with its surface moved outwards (inwards when negative)."""
    reach = max(by_mm, 0.0)
    low, high = np.array(shape.low) - reach, np.array(shape.high) + reach
    return Shape(
        lambda x, y, z: shape.distance(x, y, z) - by_mm,
        (low[0], low[1], low[2]),
        (high[0], high[1], high[2]),
    )


def rotation(degrees: Point) -> Array:
    """3x3 rotation about x, then y, then z."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


class Canvas:
    """CT numbers and labels on a grid with several thin layers per slice, drawn from back to front."""

    def __init__(self, geometry: Geometry, layers: int, rng: np.random.Generator) -> None:
        self._layers = layers
        slices, rows, columns = geometry.shape
        self._shape = (slices * layers, rows, columns)
        to_layer = np.diag([1.0, 1.0, 1.0 / layers, 1.0])
        to_layer[2, 3] = 0.5 / layers - 0.5
        self._affine = geometry.affine @ to_layer
        self._softness_mm = float(min(geometry.spacing_mm[1:]))
        self.hounsfield = np.full(self._shape, -1000, np.float32)
        self.labels = np.zeros(self._shape, np.uint8)
        k, j, i = np.ogrid[: self._shape[0], : self._shape[1], : self._shape[2]]
        straight = [
            (row[0] * i + row[1] * j + row[2] * k + row[3]).astype(np.float32) for row in self._affine[:3]
        ]
        # No organ is an ellipsoid: a gentle, smooth warp of space makes them irregular together.
        x, y, z = straight
        waves = rng.uniform(0, 2 * np.pi, 6).tolist()
        self._world = (
            x + 2.5 * np.sin(y / 23 + waves[0]) + 2.0 * np.sin(z / 19 + waves[1]),
            y + 2.0 * np.sin(z / 21 + waves[2]) + 2.0 * np.sin(x / 25 + waves[3]),
            z + 2.5 * np.sin(x / 20 + waves[4]) + 2.0 * np.sin(y / 22 + waves[5]),
        )

    def fill(self, shape: Shape, hounsfield: float | Field, label: int | None = None) -> None:
        """Draw a shape over what is there; `label` None leaves the labels as they are."""
        region = self._region(shape)
        x, y, z = (axis[region] for axis in self._world)
        distance = shape.distance(x, y, z)
        share = np.clip(0.5 - distance / self._softness_mm, 0, 1)
        value = hounsfield(x, y, z) if callable(hounsfield) else hounsfield
        self.hounsfield[region] += share * (value - self.hounsfield[region])
        if label is not None:
            self.labels[region][distance < 0] = label

    def _region(self, shape: Shape) -> tuple[slice, slice, slice]:
        corners = np.stack(np.meshgrid(*zip(shape.low, shape.high, strict=True), indexing="ij"), -1).reshape(
            -1, 3
        )
        outwards = np.where(corners == np.array(shape.low), -_MARGIN_MM, _MARGIN_MM)
        inverse = np.linalg.inv(self._affine)
        index = (corners + outwards) @ inverse[:3, :3].T + inverse[:3, 3]
        low = np.maximum(np.floor(index.min(0)).astype(int), 0)
        high = np.maximum(np.ceil(index.max(0)).astype(int) + 1, low)
        return slice(low[2], high[2]), slice(low[1], high[1]), slice(low[0], high[0])

    def slices(self) -> tuple[Array, Array]:
        """(CT numbers, labels) per slice: layers averaged, and the label that most layers of a voxel have."""
        slices = self._shape[0] // self._layers
        stacked = (slices, self._layers, *self._shape[1:])
        labels = self.labels.reshape(stacked)
        middle = labels[:, self._layers // 2].copy()
        first, last = labels[:, 0], labels[:, -1]
        agree = first == last
        middle[agree] = first[agree]
        return self.hounsfield.reshape(stacked).mean(1), middle
