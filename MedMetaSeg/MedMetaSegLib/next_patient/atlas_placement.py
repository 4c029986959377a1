"""The atlases of a task placed on a query: where each structure is to be expected.

Every atlas is warped onto the query from several starts: where one of them goes astray, another looks more
like the query. All of them, the poses without a warp, and all atlases are fused voxel by voxel, each weighted
by how much it looks like the query around that voxel (Artaechevarria, Munoz-Barrutia and Ortiz-de-Solorzano,
IEEE TMI 2009).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from ..errors import Cancelled
from ..imageio.geometry import AxisMap, Index3
from ..imageio.volume import Volume, check_volume
from ..registration.deformable import dense_displacement, mind_descriptors
from ..registration.pose import Pose, find_starts, refined_poses
from ..registration.rotations import angle_between, likely_rotations, possible_rotations, rotated
from ..task.atlas import Atlas, close_image, overview
from ..task.task_file import Task
from ..working_grid.black_margins import without_margins
from ..working_grid.intensity import IntensityNormalization, intensity_normalization
from ..working_grid.reduced_image import ReducedImage, sampled_at, slice_axis, without_world_position

_PART = 0.6
"""Share of its field of view below which an atlas's part with the structures is looked for by itself too."""
_SAME_PLACE = 0.1
"""Distance below which two poses are the same, as a share of the atlas's smallest extent."""
_SAME_ROTATION_DEGREES = 20.0
"""Degrees below which two poses are the same."""
_CANDIDATES = 4
"""Poses that are warped on trial, at most."""
_RIVAL = 0.8
"""Share of the best correlation that a pose must reach to be warped on trial beside the best."""
_TRIAL_VOXELS = 60_000
"""Voxels of the query's close image on which a warp is tried."""
_TRIAL_POINTS = 3_000
"""Points compared in the first, rough refinement of a pose."""
_FITS = 0.45
"""Correlation from which on the pose of the whole field of view is believed to leave structures out of it."""
_SMOOTHNESS = 0.3
"""Weight of smoothness in the warp, see `dense_displacement`."""
_WARPS = 6
"""Warps for a query in all, shared among the atlases; each has one at least."""
_ROTATION_DEGREES, _LOG_SCALE, _SHIFT = 10.0, 0.08, 0.06
"""Spread of the starts of the warps, standard deviations: degrees, logarithm of the scale, and share of the
atlas's smallest extent.
"""
_TRUST = 4
"""Power of the local correlation by which atlases are weighted in fusion."""
_WINDOW = 7
"""Voxels along each axis of the window of local correlation."""


@dataclass(frozen=True, eq=False)
class RegisteredAtlas:
    """An atlas in one of its placements on a query.

    atlas_mm: (3, k, j, i) float32, of every voxel of the query's close image its place in the atlas, in
    millimetres along (k, j, i). local_ncc: (k, j, i) float32, 0 to 1, correlation of the MIND descriptors of
    query and atlas around every voxel, 0 outside the atlas. warped: False where the pose alone places it.
    """

    atlas: Atlas
    pose: Pose
    atlas_mm: np.ndarray
    local_ncc: np.ndarray
    warped: bool

    def occupancy(self, number: int) -> np.ndarray | None:
        """(k, j, i) float32, 0 to 1, of a structure on the query's close image; None if it has none."""
        return self._occupancy(number, self.atlas_mm)

    def affine_occupancy(self, number: int, places: np.ndarray) -> np.ndarray | None:
        """The same by the pose alone; places: (3, k, j, i), of the query's close image."""
        return self._occupancy(number, self.pose.moving(places))

    def _occupancy(self, number: int, atlas_mm: np.ndarray) -> np.ndarray | None:
        place = self.atlas.places[number]
        if place is None:
            return None
        index = self.atlas.close.index(atlas_mm) - np.array(place.offset).reshape(3, 1, 1, 1)
        return sampled_at(place.occupancy, index, 0.0) / 255


@dataclass(frozen=True, eq=False)
class AtlasPlacement:
    """The atlases of a task placed on a query.

    volume: the query, without margins of one value, canonical and without world position; axis_map: how it
    was made canonical. offset: (k, j, i) of its first voxel in the query as it was given. close: its part
    where the structures can be, None when that lies outside. registered: the atlases there, every one in
    several placements.
    """

    volume: Volume
    axis_map: AxisMap
    offset: Index3
    normalization: IntensityNormalization
    close: ReducedImage | None
    registered: tuple[RegisteredAtlas, ...]

    @property
    def global_ncc(self) -> list[float]:
        """Of every atlas, how much it looks like the query where it lies best; see `Pose`."""
        found = {id(one.atlas): round(one.pose.global_ncc, 3) for one in self.registered}
        return list(found.values())


def register_atlases(task: Task, volume: Volume, cancelled: Callable[[], bool]) -> AtlasPlacement:
    """Place a task's atlases on a query. Raises InputError (see `check_volume`) and Cancelled."""

    def check() -> None:
        if cancelled():
            raise Cancelled("Cancelled: nothing was written.")

    check()
    inner, offset = without_margins(check_volume(volume))
    canonical, axis_map = inner.canonical()
    query = without_world_position(canonical)
    normalization = intensity_normalization(query)
    close, registered = _registered(query, normalization, canonical.geometry.axes, task.atlases, check)
    return AtlasPlacement(query, axis_map, offset, normalization, close, registered)


def _registered(
    volume: Volume,
    normalization: IntensityNormalization,
    axes: np.ndarray,
    atlases: Sequence[Atlas],
    check: Callable[[], None],
) -> tuple[ReducedImage | None, tuple[RegisteredAtlas, ...]]:
    """A query's close image, where the structures can be, and every atlas in its placements there.

    volume: without world position; axes: (3, 3), where its k, j and i point in RAS. None and no placement
    when the structures lie outside the query.
    """
    view = overview(volume, normalization)
    across = slice_axis(np.array(volume.geometry.spacing_mm))
    poses = [
        _pose(volume, normalization, view, atlas, possible_rotations(across, axes, atlas.axes), check)
        for atlas in atlases
    ]
    boxes = [_structures_box(pose, atlas) for pose, atlas in zip(poses, atlases, strict=True)]
    low, high = (np.array(one) for one in zip(*boxes, strict=True))
    inside = (high > 0).all(1) & (low < view.end_mm).all(1)
    if not inside.any():
        return None, ()
    close = close_image(volume, normalization, *_within(view, low[inside].min(0), high[inside].max(0)))
    found = []
    for pose, atlas in zip(poses, atlases, strict=True):
        for start in _starts(pose, atlas, max(1, round(_WARPS / len(atlases)))):
            check()
            found.append(_warped(close, start, atlas, check))
        found.append(_placed(close, pose.moving(close.places()), pose, atlas, warped=False))
    return close, tuple(found)


def _pose(
    volume: Volume,
    normalization: IntensityNormalization,
    view: ReducedImage,
    atlas: Atlas,
    rotations: Sequence[np.ndarray],
    check: Callable[[], None],
) -> Pose:
    """Where the atlas lies in the query: of several poses, the one that looks most like it when warped."""
    poses = _candidates(view, atlas, rotations, check)
    if len(poses) == 1:
        return poses[0]
    scores = []
    for pose in poses:
        check()
        box = _within(view, *_structures_box(pose, atlas))
        close = close_image(volume, normalization, *box, _TRIAL_VOXELS)
        scores.append(_ncc_around_structures(_warped(close, pose, atlas, check)))
    return poses[int(np.argmax(scores))]


def _candidates(
    view: ReducedImage, atlas: Atlas, rotations: Sequence[np.ndarray], check: Callable[[], None]
) -> list[Pose]:
    """Poses worth a dense registration, the likeliest first.

    They are found by the whole view and by the part with the structures, rotated or not, and refined on that
    part; those that come to the same place count once. A whole view that fits well has the last word where it
    says that the structures are out of sight.
    """
    starts = find_starts(view, atlas.overview, check)
    (best,) = refined_poses(view, atlas.overview, starts[:1], check)
    low, high = _structures_box(best, atlas)
    if best.global_ncc > _FITS and ((high <= 0).any() or (low >= view.end_mm).any()):
        return [best]
    images = [atlas.overview]
    if np.prod(atlas.close.extent_mm) < _PART * np.prod(atlas.overview.extent_mm):
        images.append(atlas.close)
        starts += find_starts(view, atlas.close, check)
    poses = _apart(refined_poses(view, atlas.close, starts, check, _TRIAL_POINTS), atlas)
    poses = refined_poses(view, atlas.close, poses, check)
    for matrix, rotated_starts in likely_rotations(view, images, rotations, check):
        one = rotated(atlas.close, matrix)
        few = refined_poses(view, one.image, rotated_starts, check, _TRIAL_POINTS, one.mask)
        likeliest = sorted(few, key=lambda pose: -pose.global_ncc)[:1]  # none where nothing of it is in view
        refined = refined_poses(view, one.image, likeliest, check, moving_mask=one.mask)
        poses += [one.own(pose) for pose in refined]
    return _apart(poses, atlas) or [best]


def _apart(poses: Sequence[Pose], atlas: Atlas) -> list[Pose]:
    """The best of poses that place the structures otherwise or rotate them otherwise, best first."""
    centre = (atlas.close.start_mm + atlas.close.end_mm) / 2
    least_mm = _SAME_PLACE * float(np.min(atlas.close.extent_mm))
    chosen: list[Pose] = []
    for pose in sorted(poses, key=lambda one: -one.global_ncc):
        if all(
            np.linalg.norm(pose.fixed(centre) - other.fixed(centre)) > least_mm
            or angle_between(pose.matrix, other.matrix) > _SAME_ROTATION_DEGREES
            for other in chosen
        ):
            chosen.append(pose)
    return [one for one in chosen[:_CANDIDATES] if one.global_ncc >= _RIVAL * chosen[0].global_ncc]


def _starts(pose: Pose, atlas: Atlas, number: int) -> list[Pose]:
    """The pose, and others around it: the same ones whenever it is the same."""
    rng = np.random.default_rng(0)
    middle = (atlas.close.start_mm + atlas.close.end_mm) / 2
    found = [pose]
    while len(found) < number:
        rotation = Rotation.from_rotvec(np.deg2rad(_ROTATION_DEGREES) * rng.normal(size=3)).as_matrix()
        matrix = pose.matrix @ rotation * np.exp(_LOG_SCALE * rng.normal())
        away = _SHIFT * float(np.min(atlas.close.extent_mm)) * rng.normal(size=3)
        found.append(Pose(matrix, middle - matrix @ (pose.fixed(middle) + away), pose.global_ncc))
    return found


def _within(view: ReducedImage, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A box cut to the field of view."""
    return np.clip(low, 0, view.end_mm), np.clip(high, 0, view.end_mm)


def _structures_box(pose: Pose, atlas: Atlas) -> tuple[np.ndarray, np.ndarray]:
    """The box of the query, (3,) millimetres each, that the atlas's structures come to lie in."""
    lows, highs = [], []
    for place in atlas.places:
        if place is not None:
            lows.append(atlas.close.start_mm + np.array(place.offset) * atlas.close.spacing_mm)
            highs.append(lows[-1] + np.array(place.occupancy.shape) * atlas.close.spacing_mm)
    low, high = np.min(lows, axis=0), np.max(highs, axis=0)
    corners = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)]).T
    query_mm = pose.fixed(low[:, None] + corners * (high - low)[:, None])
    return query_mm.min(1), query_mm.max(1)


def _warped(close: ReducedImage, pose: Pose, atlas: Atlas, check: Callable[[], None]) -> RegisteredAtlas:
    """The atlas warped onto the close image, from a pose on."""
    places = close.places()
    moving, mask = _seen(atlas, atlas.close.index(pose.moving(places)).astype(np.float32))
    displacement = dense_displacement(_as_float(close), moving, mask, smoothness=_SMOOTHNESS, check=check)
    atlas_mm = pose.moving(places + displacement * close.spacing_mm.reshape(3, 1, 1, 1))
    return _placed(close, atlas_mm, pose, atlas, warped=True)


def _placed(
    close: ReducedImage, atlas_mm: np.ndarray, pose: Pose, atlas: Atlas, warped: bool
) -> RegisteredAtlas:
    """The atlas so placed that `atlas_mm`, (3, k, j, i), comes to the voxels of the close image."""
    moving, mask = _seen(atlas, atlas.close.index(atlas_mm))
    local_ncc = _local_ncc(_as_float(close), moving) * mask
    return RegisteredAtlas(atlas, pose, atlas_mm.astype(np.float32), local_ncc, warped)


def _as_float(image: ReducedImage) -> np.ndarray:
    """Intensities float32 of the order of one."""
    return image.intensity.astype(np.float32) / 64


def _seen(atlas: Atlas, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The atlas's close image at indices (3, k, j, i), edges repeated, and where they lie in it (bool)."""
    size = np.array(atlas.close.intensity.shape).reshape(3, 1, 1, 1)
    mask = np.asarray(((index > -0.5) & (index < size - 0.5)).all(0))
    return sampled_at(_as_float(atlas.close), np.clip(index, 0, size - 1), 0.0), mask


def _local_ncc(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation of the MIND descriptors of two images in a window around each voxel, float32, 0 to 1."""
    one, two = (mind_descriptors(torch.from_numpy(image)) for image in (a, b))
    one, two = one - one.mean(0), two - two.mean(0)
    both, own, other = (
        ndimage.uniform_filter((x * y).sum(0).numpy(), _WINDOW, mode="nearest")
        for x, y in ((one, two), (one, one), (two, two))
    )
    return np.clip(both / np.sqrt(np.maximum(own * other, 1e-8)), 0, 1).astype(np.float32)


def _ncc_around_structures(registered: RegisteredAtlas) -> float:
    """Mean local correlation in and around the structures."""
    numbers = range(len(registered.atlas.places))
    filled = [one for n in numbers if (one := registered.occupancy(n)) is not None]
    near = ndimage.binary_dilation(np.max(filled, axis=0) > 0.3, iterations=3)
    if not near.any():
        return 0.0
    return float(registered.local_ncc[near].mean())


def fused_occupancy(registered: Sequence[RegisteredAtlas], number: int) -> np.ndarray:
    """(k, j, i) float32, 0 to 1: how far a structure fills the query's close voxels, by all atlases.

    An atlas without the structure speaks against it.
    """
    total = np.zeros(registered[0].local_ncc.shape, np.float32)
    weight = np.zeros_like(total)
    for one in registered:
        trust = one.local_ncc**_TRUST + 1e-6
        weight += trust
        occupancy = one.occupancy(number)
        if occupancy is not None:
            total += trust * occupancy
    return total / weight
