"""Two images of one patient with lesions of which is known what became of them: made, not measured.

The earlier image is the present one seen through a smooth deformation, on another grid (other spacing, other
order of axes, tilted), with noise of its own and a lesion wherever one was then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from ..imageio.geometry import LPS_RAS, Geometry, index3
from ..imageio.volume import Volume, to_sitk
from ..support.structure import Structure, StructureMask, tight

LESIONS = {"matched": 26, "new": 5, "gone": 5, "merged": 2, "split": 2}
"""How many of 40 lesions, or groups of them, became what."""
_RADII_MM = (3.0, 9.0)
_GROWTH = (0.4, 2.5)
"""Volume now over volume before, from and to."""
_PAIR_MM = 14.0
"""Millimetres between the centres of two lesions that merge or have split."""
_PAIR_RADII_MM = (4.0, 8.6)
"""Of such two: apart, and grown together."""
_GAP_MM = 6.0
"""Millimetres of other tissue around each lesion or group, at both times."""
_AMPLITUDE_MM = 1.5
"""Amplitude of each of the waves that deform, millimetres; there are two along each axis."""
_WAVELENGTHS_MM = (70.0, 160.0)
_CONTRAST = 0.15
"""Share of the image's range (5th to 95th percentile) by which a lesion is darker."""
_STEPS = 10
"""Steps in which a deformation is inverted."""

STRUCTURE = Structure("lesions", 1, (0.9, 0.3, 0.3))


@dataclass(frozen=True)
class Ball:
    """One lesion, an ellipsoid in the present world: centre and half axes along R, A, S, millimetres."""

    centre: tuple[float, float, float]
    half_axes: tuple[float, float, float]


@dataclass(frozen=True)
class Event:
    """What became of one lesion or group: the ellipsoids before, in the present world, and now."""

    status: str
    before: tuple[Ball, ...]
    now: tuple[Ball, ...]


@dataclass(frozen=True, eq=False)
class Deformation:
    """Points x of the present world are T(x) = rotation @ (x + waves(x)) + shift in the earlier one, RAS mm.

    amplitudes, phases: (W, 3) and (W,), directions: (W, 3) wave vectors in radians per millimetre.
    """

    matrix: np.ndarray
    shift: np.ndarray
    amplitudes: np.ndarray
    directions: np.ndarray
    phases: np.ndarray

    @classmethod
    def drawn(cls, rng: np.random.Generator, centre: np.ndarray) -> Deformation:
        """A patient who lies a little otherwise, and is deformed by a few millimetres."""
        matrix = _rotation(rng, 6.0)
        shift = centre - matrix @ centre + rng.uniform(-12, 12, 3)
        waves = 6
        directions = rng.normal(size=(waves, 3))
        directions *= (
            2 * np.pi / (np.linalg.norm(directions, axis=1) * rng.uniform(*_WAVELENGTHS_MM, waves))[:, None]
        )
        amplitudes = _AMPLITUDE_MM * rng.choice([-1, 1], waves)[:, None] * np.tile(np.eye(3), (2, 1))
        return cls(matrix, shift, amplitudes, directions, rng.uniform(0, 2 * np.pi, waves))

    def to_before(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) RAS mm now -> before."""
        return (points + self._waves(points)) @ self.matrix.T + self.shift

    def to_now(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) RAS mm before -> now, by fixed-point iteration."""
        target = (points - self.shift) @ self.matrix
        places = target
        for _ in range(_STEPS):
            places = target - self._waves(places)
        return places

    def transform(self, grid: Geometry) -> sitk.Transform:
        """The same as ITK's transform, LPS mm, over a grid of the present world."""
        places = _places(grid)
        field = sitk.GetImageFromArray(self._waves(places) @ LPS_RAS[:3, :3], isVector=True)
        field.CopyInformation(to_sitk(np.zeros(grid.shape, np.uint8), grid))
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = self.matrix, self.shift
        lps = LPS_RAS @ affine @ LPS_RAS
        return sitk.CompositeTransform(
            [
                sitk.AffineTransform(lps[:3, :3].ravel().tolist(), lps[:3, 3].tolist()),
                sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64)),
            ]
        )

    def _waves(self, points: np.ndarray) -> np.ndarray:
        return np.sin(points @ self.directions.T + self.phases) @ self.amplitudes


@dataclass(frozen=True, eq=False)
class Time:
    """One of the two images, its lesions as one structure, and which ellipsoid each voxel belongs to.

    owner: int32 (k, j, i), 0 for none, else a number of `balls` from 1.
    """

    volume: Volume
    mask: StructureMask
    owner: np.ndarray
    balls: tuple[Ball, ...]


@dataclass(frozen=True, eq=False)
class FollowUpCase:
    """A patient at two times, what became of the lesions, and how the two worlds lie."""

    now: Time
    before: Time
    events: tuple[Event, ...]
    transform: sitk.Transform


def make_follow_up(
    anatomy: Volume, where: np.ndarray, seed: int, lesions: dict[str, int] | None = None
) -> FollowUpCase:
    """A patient at two times, the same for the same seed.

    anatomy: an image without lesions; where: bool (k, j, i), where their centres may lie. lesions: how many
    of each kind, LESIONS when None. Raises ValueError when they do not find room.
    """
    rng = np.random.default_rng(seed)
    grid = anatomy.geometry
    events = _events(rng, grid, where, lesions or LESIONS)
    centre = grid.index_to_world((np.array([grid.shape]) - 1) / 2)[0]
    deformation = Deformation.drawn(rng, centre)
    other = _other_grid(grid, deformation, rng)
    values = anatomy.array.astype(np.float32)
    contrast = _CONTRAST * float(np.subtract(*np.percentile(values, [95, 5])))
    noise = _noise(values)
    back = deformation.to_now(_places(other))
    index = np.moveaxis(grid.world_to_index(back.reshape(-1, 3)).reshape(*other.shape, 3), -1, 0)
    seen = ndimage.map_coordinates(values, index, order=1, mode="constant", cval=float(values.min()))
    seen += noise * rng.standard_normal(seen.shape, np.float32)
    now = _time(values.copy(), grid, _places(grid), [ball for one in events for ball in one.now], contrast)
    before = _time(seen, other, back, [ball for one in events for ball in one.before], contrast)
    return FollowUpCase(now, before, tuple(events), deformation.transform(grid))


def _events(
    rng: np.random.Generator, grid: Geometry, where: np.ndarray, lesions: dict[str, int]
) -> list[Event]:
    """Lesions apart from one another, the pairs first, since they need most room."""
    candidates = np.argwhere(where)
    placed: list[tuple[np.ndarray, float]] = []
    events: list[Event] = []
    for status in sorted(lesions, key=lambda one: one not in ("merged", "split")):
        for _ in range(lesions[status]):
            for _attempt in range(2000):
                centre = grid.index_to_world(candidates[rng.integers(len(candidates))][None])[0]
                event, reach = _event(rng, status, centre)
                if all(np.linalg.norm(centre - c) > reach + r + _GAP_MM for c, r in placed):
                    placed.append((centre, reach))
                    events.append(event)
                    break
            else:
                raise ValueError(f"There is no room for {sum(lesions.values())} lesions.")
    return events


def _event(rng: np.random.Generator, status: str, centre: np.ndarray) -> tuple[Event, float]:
    """An event around a place, and how far from that it reaches, millimetres."""
    if status in ("merged", "split"):
        along = np.array([1.0, 0.0, 0.0]) if rng.random() < 0.5 else np.array([0.0, 1.0, 0.0])
        ends = [centre - along * _PAIR_MM / 2, centre + along * _PAIR_MM / 2]
        apart, together = (tuple(_ball(end, np.full(3, radius)) for end in ends) for radius in _PAIR_RADII_MM)
        event = Event(status, apart, together) if status == "merged" else Event(status, together, apart)
        return event, _PAIR_MM / 2 + _PAIR_RADII_MM[1]
    half = np.exp(rng.uniform(*np.log(_RADII_MM))) * rng.uniform(0.8, 1.25, 3)
    grown = half * np.cbrt(np.exp(rng.uniform(*np.log(_GROWTH))))
    before = (_ball(centre, half),) if status != "new" else ()
    now = (_ball(centre, grown),) if status != "gone" else ()
    return Event(status, before, now), float(max(half.max(), grown.max()))


def _rotation(rng: np.random.Generator, degrees: float) -> np.ndarray:
    """A rotation (3, 3) by up to so many degrees about each axis."""
    return np.asarray(Rotation.from_euler("xyz", rng.uniform(-degrees, degrees, 3), degrees=True).as_matrix())


def _ball(centre: np.ndarray, half_axes: np.ndarray) -> Ball:
    r, a, s = centre.tolist()
    x, y, z = half_axes.tolist()
    return Ball((r, a, s), (x, y, z))


def _other_grid(grid: Geometry, deformation: Deformation, rng: np.random.Generator) -> Geometry:
    """A grid over the same field of view, moved along: sagittal slices, tilted, of another spacing."""
    extent = np.array(grid.shape) * grid.spacing_mm
    centre = deformation.to_before(grid.index_to_world((np.array([grid.shape]) - 1) / 2))[0]
    tilt = _rotation(rng, 8.0)
    # The slices k of the new grid lie along the old i, its rows along k, its columns along j.
    order = (2, 0, 1)
    directions = np.column_stack([grid.axes[:, axis] for axis in order[::-1]])
    spacing = np.array([1.3, 0.8, 1.1]) * np.cbrt(np.prod(grid.spacing_mm)) * rng.uniform(0.9, 1.1, 3)
    shape = np.maximum(np.rint(extent[list(order)] / spacing), 4).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = deformation.matrix @ tilt @ directions * spacing[::-1]
    affine[:3, 3] = centre - affine[:3, :3] @ ((shape[::-1] - 1) / 2)
    return Geometry(index3(shape), affine)


def _time(
    values: np.ndarray, grid: Geometry, places: np.ndarray, balls: Sequence[Ball], contrast: float
) -> Time:
    """An image (k, j, i), written to, with ellipsoids around whose centres it is darker.

    places: (k, j, i, 3), where its voxels lie in the present world.
    """
    owner = np.zeros(grid.shape, np.int32)
    flat = places.reshape(-1, 3)
    tree = cKDTree(flat)
    for number, ball in enumerate(balls, 1):
        near = np.array(tree.query_ball_point(ball.centre, max(ball.half_axes)), int)
        relative = (flat[near] - np.array(ball.centre)) / np.array(ball.half_axes)
        owner.flat[near[np.square(relative).sum(1) < 1]] = number
    values[owner > 0] -= contrast
    mask = StructureMask(STRUCTURE, *tight(owner > 0, (0, 0, 0)))
    return Time(Volume(values, grid, "follow-up"), mask, owner, tuple(balls))


def _noise(values: np.ndarray) -> float:
    """Standard deviation of the noise of an image, by the median of differences of neighbours along i."""
    return float(np.median(np.abs(np.diff(values, axis=2)))) * 1.4826 / np.sqrt(2)


def _places(grid: Geometry) -> np.ndarray:
    """(k, j, i, 3) RAS mm of every voxel."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    return grid.index_to_world(index.reshape(-1, 3)).reshape(*grid.shape, 3)
