"""The atlases of a task placed on a query: where each structure is to be expected.

Every atlas is warped onto the query from several starts: where one of them goes astray, another looks more
like the query. All of them and the pose without a warp are fused later, see `fused_occupancies`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ..errors import Cancelled
from ..imageio.geometry import AxisMap, Index3
from ..imageio.volume import Volume, check_volume
from ..network.side_by_side import Caller, pieces_at_once, side_by_side
from ..registration.pose import Pose, find_starts
from ..registration.refinement import refined_poses
from ..registration.rotations import angle_between, likely_rotations, possible_rotations, rotated
from ..registration.sampling import TensorImage
from ..registration.warping import FixedImage, moved
from ..stages import stage
from ..task.atlas import CLOSE_VOXELS, Atlas, close_image, overview
from ..task.task_file import Task
from ..working_grid.black_margins import without_margins
from ..working_grid.intensity import IntensityNormalization, intensity_normalization
from ..working_grid.reduced_image import ReducedImage, slice_axis, without_world_position
from .fusion import FusedOccupancies, RegisteredAtlas, fused_occupancies, ncc_around_structures

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
_WARPS = 8
"""Warps for a query in all, shared among the atlases; each has one at least."""
_VOXELS_AT_ONCE = 250_000
"""Voxels of close images that are warped together in one thread of a CPU, about."""
_ROTATION_DEGREES, _LOG_SCALE, _SHIFT = 10.0, 0.08, 0.06
"""Spread of the starts of the warps, standard deviations: degrees, logarithm of the scale, and share of the
atlas's smallest extent.
"""


@dataclass(frozen=True, eq=False)
class AtlasPlacement:
    """The atlases of a task placed on a query.

    volume: the query, without margins of one value, canonical and without world position; axis_map: how it
    was made canonical. offset: (k, j, i) of its first voxel in the query as it was given. close: its part
    where the structures can be, None when that lies outside. registered: the atlases there, every one in
    several placements; fused: how far, by all of them, the structures fill the close image, None without it.
    """

    volume: Volume
    axis_map: AxisMap
    offset: Index3
    normalization: IntensityNormalization
    close: ReducedImage | None
    registered: tuple[RegisteredAtlas, ...]
    fused: FusedOccupancies | None

    @property
    def global_ncc(self) -> list[float]:
        """Of every atlas, how much it looks like the query where it lies best; see `Pose`."""
        found = {id(one.atlas): round(one.pose.global_ncc, 3) for one in self.registered}
        return list(found.values())


def register_atlases(
    task: Task, volume: Volume, cancelled: Callable[[], bool], device: torch.device | None = None
) -> AtlasPlacement:
    """Place a task's atlases on a query. Raises InputError (see `check_volume`) and Cancelled.

    device: where it is computed and the registered atlases stay, the CPU when None.
    """

    def check() -> None:
        if cancelled():
            raise Cancelled("Cancelled: nothing was written.")

    check()
    inner, offset = without_margins(check_volume(volume))
    canonical, axis_map = inner.canonical()
    query = without_world_position(canonical)
    normalization = intensity_normalization(query)
    search = _PlaceSearch(query, normalization, canonical.geometry.axes, device or torch.device("cpu"), check)
    close, registered = search.registered(task.atlases)
    fused = None
    if close is not None:
        with stage("fuse"):
            places = TensorImage.of(close, search.device).places()
            fused = fused_occupancies(registered, places)
    return AtlasPlacement(query, axis_map, offset, normalization, close, registered, fused)


@dataclass(frozen=True, eq=False)
class _PlaceSearch:
    """Looks in one query for the places of atlases.

    volume: without world position; axes: (3, 3), where its k, j and i point in RAS. check: called between
    pieces of work, may raise.
    """

    volume: Volume
    normalization: IntensityNormalization
    axes: np.ndarray
    device: torch.device
    check: Callable[[], None]

    def registered(self, atlases: Sequence[Atlas]) -> tuple[ReducedImage | None, tuple[RegisteredAtlas, ...]]:
        """The query's close image, where the structures can be, and every atlas in its placements there.

        None and no placement when the structures lie outside the query.
        """
        view = TensorImage.of(overview(self.volume, self.normalization), self.device)
        with stage("pose"):
            poses = [self._pose(view, atlas) for atlas in atlases]
        boxes = [_structures_box(pose, atlas) for pose, atlas in zip(poses, atlases, strict=True)]
        low, high = (np.array(one) for one in zip(*boxes, strict=True))
        in_view = (high > 0).all(1) & (low < view.end_mm).all(1)
        if not in_view.any():
            return None, ()
        image = self._close(view, low[in_view].min(0), high[in_view].max(0))
        close = FixedImage.of(image, self.device)
        found: list[RegisteredAtlas] = []
        for pose, atlas in zip(poses, atlases, strict=True):
            starts = _starts(pose, atlas, max(1, round(_WARPS / len(atlases))))
            found += _warped(close, starts, atlas, self.check)
            found.append(_placed(close, pose, atlas))
        return image, tuple(found)

    def _close(
        self, view: TensorImage, low_mm: np.ndarray, high_mm: np.ndarray, voxels: int = CLOSE_VOXELS
    ) -> ReducedImage:
        """The box between two places, cut to the field of view."""
        low, high = (np.clip(one, 0, view.end_mm) for one in (low_mm, high_mm))
        return close_image(self.volume, self.normalization, low, high, voxels)

    def _pose(self, view: TensorImage, atlas: Atlas) -> Pose:
        """Where the atlas lies in the query: of several poses, that which looks most like it when warped."""
        poses = self._candidates(view, atlas)
        if len(poses) == 1:
            return poses[0]

        def score(pose: Pose, caller: Caller) -> float:
            image = self._close(view, *_structures_box(pose, atlas), _TRIAL_VOXELS)
            (warped,) = _warped(FixedImage.of(image, self.device), [pose], atlas, caller.check)
            return ncc_around_structures(warped)

        trials = [partial(score, pose) for pose in poses]
        scores = list(side_by_side(trials, pieces_at_once(self.device), self.check))
        return poses[int(np.argmax(scores))]

    def _candidates(self, view: TensorImage, atlas: Atlas) -> list[Pose]:
        """Poses worth a dense registration, the likeliest first.

        They are found by the whole view and by the part with the structures, rotated or not, and refined on
        that part; those that come to the same place count once. A whole view that fits well has the last word
        where it says that the structures are out of sight.
        """
        whole, part = (TensorImage.of(one, self.device) for one in (atlas.overview, atlas.close))
        starts = find_starts(view, whole, self.check)
        (best,) = refined_poses(view, whole, starts[:1], self.check)
        low, high = _structures_box(best, atlas)
        if best.global_ncc > _FITS and ((high <= 0).any() or (low >= view.end_mm).any()):
            return [best]
        images = [whole]
        if np.prod(part.extent_mm) < _PART * np.prod(whole.extent_mm):
            images.append(part)
            starts += find_starts(view, part, self.check)
        poses = _apart(refined_poses(view, part, starts, self.check, _TRIAL_POINTS), atlas)
        poses = refined_poses(view, part, poses, self.check)
        across = slice_axis(np.array(self.volume.geometry.spacing_mm))
        rotations = possible_rotations(across, self.axes, atlas.axes)
        for matrix, rotated_starts in likely_rotations(view, images, rotations, self.check):
            one = rotated(part, matrix)
            few = refined_poses(view, one.image, rotated_starts, self.check, _TRIAL_POINTS, one.mask)
            likeliest = sorted(few, key=lambda pose: -pose.global_ncc)[:1]  # none where nothing is in view
            refined = refined_poses(view, one.image, likeliest, self.check, moving_mask=one.mask)
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


def _warped(
    close: FixedImage, poses: Sequence[Pose], atlas: Atlas, check: Callable[[], None]
) -> list[RegisteredAtlas]:
    """The atlas warped onto a close image, from each pose on.

    On CUDA from all of them at once; on a CPU in each thread from one, whose caches hold more of it then, or
    from several of small images, whose many small steps take as long for one.
    """
    device = close.places.device
    moving = TensorImage.of(atlas.close, device)
    at_once = len(poses)
    if device.type == "cpu":
        fair = -(-len(poses) // pieces_at_once(device))
        at_once = max(1, min(fair, _VOXELS_AT_ONCE // close.variance.numel()))
    some = [poses[first : first + at_once] for first in range(0, len(poses), at_once)]

    def warp(some: Sequence[Pose], caller: Caller) -> list[RegisteredAtlas]:
        atlas_mm = close.warped(moving, some, caller.check)
        found = zip(some, atlas_mm, close.local_ncc(moving, atlas_mm), strict=True)
        return [RegisteredAtlas(atlas, *one, warped=True) for one in found]

    work = [partial(warp, one) for one in some]
    return [one for found in side_by_side(work, pieces_at_once(device), check) for one in found]


def _placed(close: FixedImage, pose: Pose, atlas: Atlas) -> RegisteredAtlas:
    """The atlas where the pose alone places it on a close image."""
    atlas_mm = moved(pose, close.places)
    (local_ncc,) = close.local_ncc(TensorImage.of(atlas.close, close.places.device), atlas_mm[None])
    return RegisteredAtlas(atlas, pose, atlas_mm, local_ncc, warped=False)
