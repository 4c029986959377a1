"""The earlier image registered to the present one: a transform of points, without a starting point.

The affine pose is looked for from the world coordinates that the two images share and from every shift of the
one over the other; each is refined and warped, and that which looks most like the present image is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch

from ..imageio.geometry import LPS_RAS, Geometry, index3
from ..imageio.volume import Volume, to_sitk
from ..registration.pose import Pose, best_shifts
from ..registration.refinement import refined_poses
from ..registration.rotations import RotatedImage, rotated
from ..registration.sampling import TensorImage, inside
from ..registration.warping import FixedImage
from ..working_grid.black_margins import without_margins
from ..working_grid.intensity import IntensityNormalization, intensity_normalization
from ..working_grid.reduced_image import ReducedImage, even_spacing, reduced, without_world_position
from .changes import Fit

OVERVIEW_VOXELS = 120_000
"""Voxels of each image in the search for the pose, at most."""
CLOSE_VOXELS = 600_000
"""Voxels of the part of the present image that the earlier one is warped onto, at most."""
_TRIAL_VOXELS = 60_000
"""Voxels of that part where several poses are warped on trial."""
_SEARCH_VOXELS = 20_000
"""Voxels of the larger image in the search over all shifts."""
_SHIFTS = 2
"""Shifts of the earlier image that are tried beside the world coordinates."""
MARGIN_MM = 30.0
"""Margin around what was segmented, millimetres."""
_FIT_VOXELS = 200_000
"""Voxels of that part where it is judged how well the two fit."""
_FLAT = 1e-4
"""Variance of the descriptors around a voxel below which the image shows nothing there."""
_SAME_PLACE_MM = 5.0
"""Distance of the ends of two refined poses below which they are the same."""


@dataclass(frozen=True, eq=False)
class Frame:
    """An image without margins and without world position, and the way to the world.

    Places are millimetres along (k, j, i) of the canonical image; RAS = to_ras @ place + origin_ras.
    """

    volume: Volume
    normalization: IntensityNormalization
    to_ras: np.ndarray
    origin_ras: np.ndarray

    @classmethod
    def of(cls, volume: Volume) -> Frame:
        """The frame of an image."""
        canonical, _ = without_margins(volume)[0].canonical()
        query = without_world_position(canonical)
        affine = canonical.geometry.affine
        to_ras = affine[:3, 2::-1] / np.array(query.geometry.spacing_mm)
        return cls(query, intensity_normalization(query), to_ras, affine[:3, 3])

    def places(self, ras: np.ndarray) -> np.ndarray:
        """(N, 3) RAS mm as (N, 3) places."""
        return np.linalg.solve(self.to_ras, (ras - self.origin_ras).T).T

    @property
    def last_mm(self) -> np.ndarray:
        """The place of the last voxel."""
        return np.array(self.volume.geometry.spacing_mm) * (np.array(self.volume.geometry.shape) - 1)

    def around(self, places: np.ndarray, voxels: int) -> ReducedImage:
        """The image around places (N, 3), with a margin, in few voxels; all of it around none."""
        if not len(places):
            return self.whole(voxels)
        low, high = places.min(0) - MARGIN_MM, places.max(0) + MARGIN_MM
        return self._between(np.clip(low, 0, self.last_mm), np.clip(high, 0, self.last_mm), voxels)

    def whole(self, voxels: int) -> ReducedImage:
        """The whole image in few voxels."""
        return self._between(np.zeros(3), self.last_mm, voxels)

    def _between(self, low: np.ndarray, high: np.ndarray, voxels: int) -> ReducedImage:
        native = np.array(self.volume.geometry.spacing_mm)
        return reduced(
            self.volume, self.normalization, even_spacing(high - low + native, native, voxels), low, high
        )

    def geometry(self, image: TensorImage) -> Geometry:
        """The grid of a reduced image in the world."""
        affine = np.eye(4)
        affine[:3, 2::-1] = self.to_ras * image.spacing_mm
        affine[:3, 3] = self.to_ras @ image.start_mm + self.origin_ras
        return Geometry(index3(tuple(image.intensity.shape)), affine)


def registered(
    now: Frame,
    before: Frame,
    corners_ras: tuple[np.ndarray, np.ndarray],
    check: Callable[[], None] = lambda: None,
    device: torch.device | None = None,
) -> sitk.Transform | None:
    """Where points of the present image lie in the earlier one, as ITK's transform in LPS mm.

    None where nothing of the earlier image comes to lie in the present one.
    corners_ras: (N, 3) each, of the boxes of what was segmented now and before, in each image's own world;
    the box around them is what is warped, everything when there are none. check: called between pieces of
    work, may raise. device: where it is computed, the CPU when None.
    """
    search = _Search(now, before, corners_ras, device or torch.device("cpu"), check)
    poses = search.poses()
    if not poses:
        return None
    return search.warped(search.best(poses))


@dataclass(frozen=True, eq=False)
class _Search:
    """Looks for the place of the earlier image in the present one."""

    now: Frame
    before: Frame
    corners_ras: tuple[np.ndarray, np.ndarray]
    device: torch.device
    check: Callable[[], None]

    def poses(self) -> list[Pose]:
        """Poses worth a warp, that of the highest correlation first; no two the same.

        The earlier image is rotated to the directions of the present one first, so that another angulation
        of the scan is no obstacle.
        """
        views = [TensorImage.of(one.whole(OVERVIEW_VOXELS), self.device) for one in (self.now, self.before)]
        world = _world_pose(self.now, self.before)
        turned = rotated(views[1], _rotation(world.matrix))
        starts = [_in_rotated(world, turned)]
        starts += best_shifts(views[0], turned.image, turned.mask, (1.0,), _SEARCH_VOXELS, self.check)[
            :_SHIFTS
        ]
        found = refined_poses(views[0], turned.image, starts, self.check, moving_mask=turned.mask)
        found.sort(key=lambda pose: -pose.global_ncc)
        ends = np.stack([np.zeros(3), self.now.last_mm], 1)
        apart: list[Pose] = []
        for pose in found:
            if all(np.abs(pose.moving(ends) - one.moving(ends)).max() > _SAME_PLACE_MM for one in apart):
                apart.append(pose)
        return [turned.own(pose) for pose in apart]

    def best(self, poses: Sequence[Pose]) -> Pose:
        """The pose by which the two images look most alike once they are warped."""
        if len(poses) == 1:
            return poses[0]
        scores = []
        for pose in poses:
            fixed, moving = self._close(pose, _TRIAL_VOXELS)
            places = fixed.warped(moving, [pose], self.check)
            scores.append(float(fixed.local_ncc(moving, places).mean()))
        return poses[int(np.argmax(scores))]

    def warped(self, pose: Pose) -> sitk.Transform:
        """The warp from a pose on, as ITK's transform: a displacement, then the pose."""
        fixed, moving = self._close(pose, CLOSE_VOXELS)
        (places,) = fixed.warped(moving, [pose], self.check)
        start = fixed.places.cpu().numpy().astype(float)
        bend = pose.fixed(places.cpu().numpy().astype(float)) - start
        field = np.moveaxis(np.tensordot(self.now.to_ras, bend, 1), 0, -1)
        displacement = _displacement(field, self.now.geometry(fixed.image))
        return sitk.CompositeTransform([_affine(self.now, self.before, pose), displacement])

    def _close(self, pose: Pose, voxels: int) -> tuple[FixedImage, TensorImage]:
        """The part of the present image around what was segmented, and that of the earlier one on it."""
        own, other = self.corners_ras
        places = np.concatenate([self.now.places(own), pose.fixed(self.before.places(other).T).T])
        fixed = FixedImage.of(self.now.around(places, voxels), self.device)
        image = fixed.image
        ends = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
        there = pose.moving((image.start_mm + ends * (image.end_mm - image.start_mm)).T).T
        return fixed, TensorImage.of(self.before.around(there, voxels), self.device)


@torch.no_grad()
def fit_of(
    now: Frame,
    before: Frame,
    corners_ras: np.ndarray,
    transform: sitk.Transform,
    device: torch.device | None = None,
) -> Fit | None:
    """How well two images fit under a transform from the present to the earlier one, LPS mm.

    corners_ras: (N, 3), of the boxes of what was segmented now; looked at is what lies around it. None where
    the two do not overlap there. device: where it is computed, the CPU when None.
    """
    device = device or torch.device("cpu")
    fixed = FixedImage.of(now.around(now.places(corners_ras), _FIT_VOXELS), device)
    places = before.places(_mapped(transform, now.geometry(fixed.image)).reshape(-1, 3))
    moving = TensorImage.of(before.around(places, _FIT_VOXELS), device)
    moving_mm = torch.from_numpy(places.T.reshape(1, 3, *fixed.places.shape[1:])).to(device, torch.float32)
    local = fixed.local_ncc(moving, moving_mm)[0]
    shown = fixed.variance > _FLAT
    both = shown & inside(moving.index(moving_mm[0]), moving.intensity.shape)
    if not both.any():
        return None
    gradient = torch.stack(
        [
            one
            for axis in range(3)
            for one in torch.gradient(moving_mm[0, axis], spacing=fixed.image.spacing_mm.tolist())
        ]
    )[:, both]
    strain = (gradient - gradient.mean(1, keepdim=True)).square().sum(0).sqrt().median()
    return Fit(float(local[both].mean()), float(strain), float(both.sum() / shown.sum()))


def _mapped(transform: sitk.Transform, grid: Geometry) -> np.ndarray:
    """(k, j, i, 3) RAS mm: where a transform (LPS mm) brings the voxels of a grid."""
    like = to_sitk(np.zeros((1, 1, 1), np.uint8), Geometry((1, 1, 1), grid.affine))
    field = sitk.TransformToDisplacementField(
        transform,
        sitk.sitkVectorFloat64,
        grid.shape[::-1],
        like.GetOrigin(),
        like.GetSpacing(),
        like.GetDirection(),
    )
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    start = grid.index_to_world(index.reshape(-1, 3)).reshape(index.shape)
    return start + sitk.GetArrayViewFromImage(field) @ LPS_RAS[:3, :3]


def _world_pose(now: Frame, before: Frame) -> Pose:
    """The pose by which the same world coordinates are the same place."""
    matrix = np.linalg.solve(before.to_ras, now.to_ras)
    return Pose(matrix, np.linalg.solve(before.to_ras, now.origin_ras - before.origin_ras), 0.0)


def _rotation(matrix: np.ndarray) -> np.ndarray:
    """The rotation nearest to a matrix (3, 3)."""
    u, _, v = np.linalg.svd(matrix)
    return np.asarray(u @ v)


def _in_rotated(pose: Pose, image: RotatedImage) -> Pose:
    """A pose of an image as one of the same image rotated; see `RotatedImage`."""
    return Pose(image.matrix.T @ pose.matrix, image.matrix.T @ pose.shift_mm, pose.global_ncc)


def _affine(now: Frame, before: Frame, pose: Pose) -> sitk.AffineTransform:
    """A pose between the frames of two images as ITK's transform, in LPS mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = before.to_ras @ pose.matrix @ np.linalg.inv(now.to_ras)
    matrix[:3, 3] = before.to_ras @ pose.shift_mm + before.origin_ras - matrix[:3, :3] @ now.origin_ras
    lps = LPS_RAS @ matrix @ LPS_RAS
    return sitk.AffineTransform(lps[:3, :3].ravel().tolist(), lps[:3, 3].tolist())


def _displacement(field_ras: np.ndarray, grid: Geometry) -> sitk.DisplacementFieldTransform:
    """Displacements (k, j, i, 3), RAS mm, of the voxels of a grid as ITK's transform; none around it."""
    image = sitk.GetImageFromArray(field_ras @ LPS_RAS[:3, :3], isVector=True)
    image.CopyInformation(to_sitk(np.zeros(grid.shape, np.uint8), grid))
    return sitk.DisplacementFieldTransform(image)
