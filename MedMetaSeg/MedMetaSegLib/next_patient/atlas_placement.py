"""A query laid over the atlases of a task: where each structure is to be expected.

Every atlas is bent onto the query from several starts: where one of them goes astray, another looks more like
the query. All of them, the poses as they are, and all atlases are fused voxel by voxel, each weighted by how
much it looks like the query around that voxel (Artaechevarria, Munoz-Barrutia and
Ortiz-de-Solorzano, IEEE TMI 2009).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from ..imageio.volume import Volume
from ..registration.deformable import dense_displacement, self_similarity
from ..registration.pose import Pose, find_starts, refined_poses
from ..registration.rotations import angle_between, likely_rotations, possible_rotations, rotated
from ..task.atlas import Atlas, close_image, overview
from ..working_grid.intensity import IntensityNormalization
from ..working_grid.reduced_image import ReducedImage, sampled_at, slice_axis

_PART = 0.6
"""Of the field of view: below that, the part with the structures is looked for by itself too."""
_SAME_PLACE = 0.1
"""Of the atlas's smallest extent."""
_SAME_TURN = 20.0
"""Degrees."""
_CANDIDATES = 4
_RIVAL = 0.8
"""Of the best similarity: what deserves to be bent on trial beside it."""
_TRIAL_VOXELS = 60_000
_TRIAL_POINTS = 3_000
_FITS = 0.45
_SMOOTHNESS = 0.3
_BENDS = 6
"""Of a query in all, shared among the atlases; each has one at least."""
_TURNED, _SCALED, _SHIFTED = 10.0, 0.08, 0.06
"""Standard deviations of where they start: degrees, logarithm of size, and of the atlas's smallest extent."""
_TRUST = 4
"""Power of resemblance."""
_WINDOW = 7


@dataclass(frozen=True, eq=False)
class RegisteredAtlas:
    """An atlas laid over a query.

    there: (3, k, j, i) float32, millimetres in the atlas of every voxel of the query's close image.
    resemblance: (k, j, i) float32, local correlation of self-similarity, 0 to 1; 0 where the atlas does not
    reach. bent: False where it lies as the pose has it.
    """

    atlas: Atlas
    pose: Pose
    there: np.ndarray
    resemblance: np.ndarray
    bent: bool

    def occupancy(self, number: int) -> np.ndarray | None:
        """(k, j, i) float32, 0 to 1, of a structure on the query's close image; None if it has none."""
        return self._occupancy(number, self.there)

    def unbent_occupancy(self, number: int, places: np.ndarray) -> np.ndarray | None:
        """The same by the pose alone; places: (3, k, j, i), of the query's close image."""
        return self._occupancy(number, self.pose.moving(places))

    def _occupancy(self, number: int, there: np.ndarray) -> np.ndarray | None:
        place = self.atlas.places[number]
        if place is None:
            return None
        index = self.atlas.close.index(there) - np.array(place.offset).reshape(3, 1, 1, 1)
        return sampled_at(place.occupancy, index, 0.0) / 255


def align(
    volume: Volume,
    rule: IntensityNormalization,
    axes: np.ndarray,
    atlases: Sequence[Atlas],
    check: Callable[[], None] = lambda: None,
) -> tuple[ReducedImage | None, tuple[RegisteredAtlas, ...]]:
    """A level query's close image, where the structures can be, and every atlas laid over it.

    axes: (3, 3), where the query's k, j and i point in RAS. None and no alignment when the structures lie
    outside the query. check: called in between, may raise.
    """
    view = overview(volume, rule)
    across = slice_axis(np.array(volume.geometry.spacing_mm))
    poses = [
        _pose(volume, rule, view, atlas, possible_rotations(across, axes, atlas.axes), check)
        for atlas in atlases
    ]
    ends = [_reach(pose, atlas) for pose, atlas in zip(poses, atlases, strict=True)]
    low, high = (np.array(one) for one in zip(*ends, strict=True))
    inside = (high > 0).all(1) & (low < view.end_mm).all(1)
    if not inside.any():
        return None, ()
    close = close_image(volume, rule, *_within(view, low[inside].min(0), high[inside].max(0)))
    found = []
    for pose, atlas in zip(poses, atlases, strict=True):
        for start in _starts(pose, atlas, max(1, round(_BENDS / len(atlases)))):
            check()
            found.append(_aligned(close, start, atlas, check))
        found.append(_laid(close, pose.moving(close.places()), pose, atlas, bent=False))
    return close, tuple(found)


def _pose(
    volume: Volume,
    rule: IntensityNormalization,
    view: ReducedImage,
    atlas: Atlas,
    rotations: Sequence[np.ndarray],
    check: Callable[[], None],
) -> Pose:
    """Where the atlas lies in the query: of several places, the one that resembles it most when bent."""
    poses = _candidates(view, atlas, rotations, check)
    if len(poses) == 1:
        return poses[0]
    likeness = []
    for pose in poses:
        check()
        close = close_image(volume, rule, *_within(view, *_reach(pose, atlas)), _TRIAL_VOXELS)
        likeness.append(_likeness(_aligned(close, pose, atlas, check)))
    return poses[int(np.argmax(likeness))]


def _candidates(
    view: ReducedImage, atlas: Atlas, rotations: Sequence[np.ndarray], check: Callable[[], None]
) -> list[Pose]:
    """Poses worth a dense registration, the likeliest first: found by the whole view and by the part with the
    structures, turned or not, refined on that part, those that come to the same place once.

    A whole view that fits well has the last word where it says that the structures are out of sight.
    """
    found = find_starts(view, atlas.overview, check)
    (best,) = refined_poses(view, atlas.overview, found[:1], check)
    low, high = _reach(best, atlas)
    if best.similarity > _FITS and ((high <= 0).any() or (low >= view.end_mm).any()):
        return [best]
    images = [atlas.overview]
    if np.prod(atlas.close.extent_mm) < _PART * np.prod(atlas.overview.extent_mm):
        images.append(atlas.close)
        found += find_starts(view, atlas.close, check)
    kept = _apart(refined_poses(view, atlas.close, found, check, _TRIAL_POINTS), atlas)
    kept = refined_poses(view, atlas.close, kept, check)
    for matrix, starts in likely_rotations(view, images, rotations, check):
        one = rotated(atlas.close, matrix)
        few = refined_poses(view, one.image, starts, check, _TRIAL_POINTS, one.known)
        likeliest = sorted(few, key=lambda pose: -pose.similarity)[:1]  # none where nothing of it is in view
        kept += [one.own(pose) for pose in refined_poses(view, one.image, likeliest, check, known=one.known)]
    return _apart(kept, atlas) or [best]


def _apart(poses: Sequence[Pose], atlas: Atlas) -> list[Pose]:
    """The best of poses that bring the structures to different places or turn them otherwise, best first."""
    centre = (atlas.close.start_mm + atlas.close.end_mm) / 2
    least = _SAME_PLACE * float(np.min(atlas.close.extent_mm))
    kept: list[Pose] = []
    for pose in sorted(poses, key=lambda one: -one.similarity):
        if all(
            np.linalg.norm(pose.fixed(centre) - other.fixed(centre)) > least
            or angle_between(pose.matrix, other.matrix) > _SAME_TURN
            for other in kept
        ):
            kept.append(pose)
    return [one for one in kept[:_CANDIDATES] if one.similarity >= _RIVAL * kept[0].similarity]


def _starts(pose: Pose, atlas: Atlas, number: int) -> list[Pose]:
    """The pose, and others around it: the same ones whenever it is the same."""
    rng = np.random.default_rng(0)
    middle = (atlas.close.start_mm + atlas.close.end_mm) / 2
    found = [pose]
    while len(found) < number:
        x, y, z = np.deg2rad(_TURNED) * rng.normal(size=3)
        bent = np.eye(3) + np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        matrix = pose.matrix @ bent * np.exp(_SCALED * rng.normal())
        away = _SHIFTED * float(np.min(atlas.close.extent_mm)) * rng.normal(size=3)
        found.append(Pose(matrix, middle - matrix @ (pose.fixed(middle) + away), pose.similarity))
    return found


def _within(view: ReducedImage, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A box cut to the field of view."""
    return np.clip(low, 0, view.end_mm), np.clip(high, 0, view.end_mm)


def _likeness(alignment: RegisteredAtlas) -> float:
    """Mean resemblance in and around the structures."""
    shares = [
        share for n in range(len(alignment.atlas.places)) if (share := alignment.occupancy(n)) is not None
    ]
    place = ndimage.binary_dilation(np.max(shares, axis=0) > 0.3, iterations=3)
    if not place.any():
        return 0.0
    return float(alignment.resemblance[place].mean())


def _reach(pose: Pose, atlas: Atlas) -> tuple[np.ndarray, np.ndarray]:
    """The box of the query, (3,) millimetres each, that the atlas's structures come to lie in."""
    lows, highs = [], []
    for place in atlas.places:
        if place is not None:
            lows.append(atlas.close.start_mm + np.array(place.offset) * atlas.close.spacing_mm)
            highs.append(lows[-1] + np.array(place.occupancy.shape) * atlas.close.spacing_mm)
    low, high = np.min(lows, axis=0), np.max(highs, axis=0)
    corners = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)]).T
    there = pose.fixed(low[:, None] + corners * (high - low)[:, None])
    return there.min(1), there.max(1)


def _aligned(close: ReducedImage, pose: Pose, atlas: Atlas, check: Callable[[], None]) -> RegisteredAtlas:
    fixed = close.grey.astype(np.float32) / 64
    places = close.places()
    index = atlas.close.index(pose.moving(places)).astype(np.float32)
    size = np.array(atlas.close.grey.shape).reshape(3, 1, 1, 1)
    known = np.asarray(((index > -0.5) & (index < size - 0.5)).all(0))
    grey = atlas.close.grey.astype(np.float32) / 64
    moving = sampled_at(grey, np.clip(index, 0, size - 1), 0.0)
    displacement = dense_displacement(fixed, moving, known, smoothness=_SMOOTHNESS, check=check)
    there = pose.moving(places + displacement * close.spacing_mm.reshape(3, 1, 1, 1))
    return _laid(close, there, pose, atlas, bent=True)


def _laid(close: ReducedImage, there: np.ndarray, pose: Pose, atlas: Atlas, bent: bool) -> RegisteredAtlas:
    """The atlas laid over the close image so that its places `there` come to the image's voxels."""
    index = atlas.close.index(there)
    size = np.array(atlas.close.grey.shape).reshape(3, 1, 1, 1)
    reached = np.asarray(((index > -0.5) & (index < size - 0.5)).all(0))
    grey = atlas.close.grey.astype(np.float32) / 64
    seen = sampled_at(grey, np.clip(index, 0, size - 1), 0.0)
    resemblance = _local_resemblance(close.grey.astype(np.float32) / 64, seen) * reached
    return RegisteredAtlas(atlas, pose, there.astype(np.float32), resemblance, bent)


def _local_resemblance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(k, j, i) float32, 0 to 1: correlation of what is around each voxel of two images, in a window."""
    one, two = (self_similarity(torch.from_numpy(image)) for image in (a, b))
    one, two = one - one.mean(0), two - two.mean(0)
    both, own, other = (
        ndimage.uniform_filter((x * y).sum(0).numpy(), _WINDOW, mode="nearest")
        for x, y in ((one, two), (one, one), (two, two))
    )
    return np.clip(both / np.sqrt(np.maximum(own * other, 1e-8)), 0, 1).astype(np.float32)


def fused_occupancy(registered: Sequence[RegisteredAtlas], number: int) -> np.ndarray:
    """(k, j, i) float32, 0 to 1: a structure's share of the query's close voxels, from all atlases.

    An atlas without the structure speaks against it.
    """
    total = np.zeros(registered[0].resemblance.shape, np.float32)
    weight = np.zeros_like(total)
    for one in registered:
        trust = one.resemblance**_TRUST + 1e-6
        weight += trust
        occupancy = one.occupancy(number)
        if occupancy is not None:
            total += trust * occupancy
    return total / weight
