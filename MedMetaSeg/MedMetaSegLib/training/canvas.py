"""A deformed block of space on which synthetic anatomy is drawn, structure by structure.

Lengths are in in-plane voxels; the slices (axis 0) may be `aspect` of these apart. Every shape is evaluated
on coordinates that carry one smooth random displacement, so straight shapes come out organic and fit one
another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional

Rng = np.random.Generator


def smooth_noise(rng: Rng, shape: tuple[int, int, int], wavelength: float, aspect: float = 1.0) -> np.ndarray:
    """Unit-variance smooth noise float32 (k, j, i) with features about `wavelength` in-plane voxels wide."""
    coarse = [
        max(2, int(np.ceil(length * step / wavelength)) + 1)
        for length, step in zip(shape, (aspect, 1.0, 1.0), strict=True)
    ]
    knots = torch.from_numpy(rng.standard_normal((1, 1, *coarse), dtype=np.float32))
    field = functional.interpolate(knots, size=shape, mode="trilinear", align_corners=True)[0, 0].numpy()
    return field / (field.std() + 1e-6)


def random_rotation(rng: Rng) -> np.ndarray:
    """A random orthonormal 3x3 matrix."""
    return np.linalg.qr(rng.standard_normal((3, 3)))[0].astype(np.float32)


@dataclass(frozen=True)
class Shape:
    """A shape on part of the canvas: `where` are slices of it, `level` is <= 1 inside and grows outward."""

    where: tuple[slice, slice, slice]
    level: np.ndarray

    @property
    def core(self) -> np.ndarray:
        """Bool (k, j, i) over `where`: the inside of the shape."""
        return self.level <= 1


class Canvas:
    """Structure and tissue label maps that shapes are painted on; a structure may have several tissues.

    aspect: spacing of the slices in in-plane voxels. max_displacement: in-plane voxels by which hardly any
    coordinate is displaced.
    """

    def __init__(self, rng: Rng, shape: tuple[int, int, int], aspect: float) -> None:
        self.rng, self.shape, self.aspect = rng, shape, aspect
        self.extent = np.array([shape[0] * aspect, shape[1], shape[2]], np.float32)
        axes = [np.arange(n, dtype=np.float32) * step for n, step in zip(shape, (aspect, 1, 1), strict=True)]
        self.coordinates = np.stack(np.meshgrid(*axes, indexing="ij"))
        self.max_displacement = 0.0
        for wavelength, amplitude in (
            (rng.uniform(25, 60), rng.uniform(1, 6)),
            (rng.uniform(8, 20), rng.uniform(0, 1.2)),
        ):
            for axis in range(3):
                self.coordinates[axis] += amplitude * smooth_noise(rng, shape, wavelength, aspect)
            self.max_displacement += 2.5 * amplitude
        self.structures = np.zeros(shape, np.int16)
        self.tissues = np.zeros(shape, np.int16)
        self.kinds: list[str] = ["air"]
        self.number = 0

    def box(self, low: np.ndarray, high: np.ndarray) -> tuple[slice, slice, slice] | None:
        """The slices that can hold coordinates between low and high (3,); None when off the canvas."""
        steps = np.array([self.aspect, 1, 1])
        first = np.floor((low - self.max_displacement) / steps).astype(int).clip(0)
        last = np.minimum(np.ceil((high + self.max_displacement) / steps).astype(int) + 1, self.shape)
        if (last <= first).any():
            return None
        return tuple(slice(a, b) for a, b in zip(first, last, strict=True))  # type: ignore[return-value]

    def superquadric(
        self, centre: np.ndarray, radii: np.ndarray, rotation: np.ndarray, power: float = 2.0
    ) -> Shape | None:
        """An ellipsoid (power 2) or something boxier; radii along the columns of rotation."""
        half = np.abs(rotation) @ radii
        where = self.box(centre - half, centre + half)
        if where is None:
            return None
        k, j, i = where
        local = self.coordinates[:, k, j, i] - centre[:, None, None, None].astype(np.float32)
        rotated = np.tensordot(rotation.T / radii[:, None], local, 1).astype(np.float32)
        return Shape(where, (np.abs(rotated) ** power).sum(0) ** (1 / power))

    def tube(self, points: np.ndarray, radii: np.ndarray) -> Shape | None:
        """A polyline (N, 3) with a radius at each point; level is the distance in radii."""
        margin = radii.max() * 1.6
        where = self.box(points.min(0) - margin, points.max(0) + margin)
        if where is None:
            return None
        level = np.full([s.stop - s.start for s in where], 9.0, np.float32)
        for start, end, first, second in zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True):
            part = self.box(np.minimum(start, end) - margin, np.maximum(start, end) + margin)
            if part is None:
                continue
            inner = tuple(
                slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, where, strict=True)
            )
            k, j, i = part
            local = self.coordinates[:, k, j, i] - start[:, None, None, None].astype(np.float32)
            along = (end - start).astype(np.float32)
            step = np.tensordot(along, local, 1) / max(float(along @ along), 1e-6)
            step = step.clip(0, 1)
            distance = np.sqrt(((local - along[:, None, None, None] * step) ** 2).sum(0))
            level[inner] = np.minimum(level[inner], distance / (first + (second - first) * step))
        return Shape(where, level)

    def new_tissue(self, kind: str) -> int:
        """A new tissue's number; `kind` names what its intensity may be ("soft", "bone", "gas", ...)."""
        self.kinds.append(kind)
        return len(self.kinds) - 1

    def new_structure(self) -> int:
        """A new structure's number."""
        self.number += 1
        return self.number

    def paint(
        self, shape: Shape | None, kind: str, structure: int | None = None, inside: np.ndarray | None = None
    ) -> int:
        """Paint a shape as a structure of one or two tissues; only where `inside` (k, j, i) holds, if given.

        structure: its number, a new one if None. Returns the number.
        """
        structure = self.new_structure() if structure is None else structure
        if shape is None:
            return structure
        mask = shape.core if inside is None else shape.core & inside[shape.where]
        self.structures[shape.where][mask] = structure
        tissues = self.tissues[shape.where]
        tissues[mask] = self.new_tissue(kind)
        pattern = self.rng.random()
        if kind == "bone" and pattern < 0.7:
            tissues[mask & (shape.level < self.rng.uniform(0.6, 0.85))] = self.new_tissue("marrow")
        elif pattern < 0.12:
            tissues[mask & (shape.level < self.rng.uniform(0.5, 0.8))] = self.new_tissue(kind)
        elif pattern < 0.25:
            blotches = smooth_noise(self.rng, mask.shape, self.rng.uniform(5, 15), self.aspect)
            tissues[mask & (blotches > self.rng.uniform(0, 1.2))] = self.new_tissue(kind)
        return structure
