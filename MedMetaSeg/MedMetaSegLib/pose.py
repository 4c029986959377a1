"""Where one patient's image lies in another's: an affine map found without a starting point.

Every shift of the one image over the other is tried at several scales at once, by masked normalised
cross-correlation in the frequency domain (Padfield, IEEE TIP 2012), so that fields of view may differ; the
best few are refined by gradient descent on the correlation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from scipy import fft, ndimage

from .reduced_image import ReducedImage, even_spacing, sampled_at

_SCALES = (0.7, 0.8, 0.9, 1.0, 1.12, 1.25, 1.4)
_SEARCH_VOXELS = 20_000
_STARTS = 3
_APART = 3
"""Voxels between starts of one scale."""
_LEAST_OVERLAP = 0.25
_STEPS = 60
_REFINED_POINTS = 25_000
_SHAPE_COST = 0.2
_SIZE_COST = 0.24
"""Of correlation, for the squared distance of the map from one that keeps shape, and of its scale's logarithm
from 0: shrinking a crop out of shape gains little correlation and misleads the bending that follows.
"""


@dataclass(frozen=True, eq=False)
class Pose:
    """moving_mm = matrix @ fixed_mm + shift_mm; similarity: correlation there, to 1, weighted by overlap and
    less what the change of shape costs.
    """

    matrix: np.ndarray
    shift_mm: np.ndarray
    similarity: float

    def moving(self, fixed_mm: np.ndarray) -> np.ndarray:
        """Places (3, ...) in the fixed image as places in the moving one."""
        shape = (3, *[1] * (fixed_mm.ndim - 1))
        return np.tensordot(self.matrix, fixed_mm, 1) + self.shift_mm.reshape(shape)

    def fixed(self, moving_mm: np.ndarray) -> np.ndarray:
        """The other way."""
        shape = (3, *[1] * (moving_mm.ndim - 1))
        return np.tensordot(np.linalg.inv(self.matrix), moving_mm - self.shift_mm.reshape(shape), 1)


def find_pose(fixed: ReducedImage, moving: ReducedImage, check: Callable[[], None] = lambda: None) -> Pose:
    """The pose of moving in fixed with the largest correlation; check: called in between, may raise."""
    return max(find_poses(fixed, moving, check), key=lambda pose: pose.similarity)


def find_poses(
    fixed: ReducedImage, moving: ReducedImage, check: Callable[[], None] = lambda: None
) -> list[Pose]:
    """The few poses of moving in fixed that deserve a closer look; check: called in between, may raise."""
    starts: list[tuple[float, float, np.ndarray]] = []
    extent = np.maximum(fixed.extent_mm, moving.extent_mm)
    spacing = even_spacing(extent, np.maximum(fixed.spacing_mm, moving.spacing_mm), _SEARCH_VOXELS)
    a = _resampled(fixed, spacing)
    for scale in _SCALES:
        check()
        b = _resampled(moving, spacing * scale)
        for score, shift in _shifts(a, b):
            # b's first voxel lies on a's voxel `shift`.
            starts.append((score, scale, fixed.start_mm + shift * spacing))
    starts.sort(key=lambda one: -one[0])
    poses = []
    for score, scale, place in starts[:_STARTS]:
        check()
        begun = Pose(np.eye(3) * scale, moving.start_mm - scale * place, score)
        poses.append(refined_pose(fixed, moving, begun))
    return poses


def _resampled(image: ReducedImage, spacing: np.ndarray) -> np.ndarray:
    """float32 (k, j, i) at another spacing from the same first voxel, smoothed where that is coarser."""
    ratio = spacing / image.spacing_mm
    sigma = np.where(ratio > 1.05, 0.45 * np.sqrt(np.maximum(ratio**2 - 1, 0)), 0)
    smooth = ndimage.gaussian_filter(image.grey.astype(np.float32), sigma, mode="nearest")
    shape = np.maximum(np.floor((np.array(image.grey.shape) - 1) / ratio + 1e-6).astype(int) + 1, 2)
    index = np.stack(
        np.meshgrid(*(np.arange(n) * r for n, r in zip(shape, ratio, strict=True)), indexing="ij")
    )
    index = np.minimum(index, (np.array(image.grey.shape) - 1).reshape(3, 1, 1, 1))
    return sampled_at(smooth, index, 0.0)


def _shifts(a: np.ndarray, b: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """The best shifts (voxels) of b over a with their scores, best first."""
    a, b = a - a.mean(), b - b.mean()
    shape = [n + m - 1 for n, m in zip(a.shape, b.shape, strict=True)]
    fast = [fft.next_fast_len(n, real=True) for n in shape]

    def spectrum(values: np.ndarray, conjugate: bool) -> np.ndarray:
        result = fft.rfftn(values, fast)
        return np.conj(result) if conjugate else result

    def correlated(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return fft.irfftn(one * other, fast)

    ones_a, ones_b = np.ones_like(a), np.ones_like(b)
    fa, fa2, fm = spectrum(a, False), spectrum(a * a, False), spectrum(ones_a, False)
    fb, fb2, fn = spectrum(b, True), spectrum(b * b, True), spectrum(ones_b, True)
    count = np.maximum(correlated(fm, fn), 1e-3)
    sum_a, sum_b = correlated(fa, fn), correlated(fm, fb)
    covariance = correlated(fa, fb) - sum_a * sum_b / count
    spread = np.maximum(correlated(fa2, fn) - sum_a**2 / count, 0)
    spread = spread * np.maximum(correlated(fm, fb2) - sum_b**2 / count, 0)
    overlap = count / min(a.size, b.size)
    score = covariance / np.sqrt(np.maximum(spread, 1e-6 * float(spread.max()))) * np.sqrt(overlap)
    score[overlap < _LEAST_OVERLAP] = -1
    found = []
    for _ in range(2):
        best = np.unravel_index(int(score.argmax()), score.shape)
        shift = np.array([s if s < n else s - f for s, n, f in zip(best, a.shape, fast, strict=True)])
        found.append((float(score[best]), shift))
        near = np.ix_(*(np.arange(s - _APART, s + _APART + 1) % f for s, f in zip(best, fast, strict=True)))
        score[near] = -1
    return found


def refined_pose(fixed: ReducedImage, moving: ReducedImage, start: Pose) -> Pose:
    """The pose after descent over all twelve numbers, as far as moving reaches in fixed."""
    places = fixed.places()
    step = max(1, round((places[0].size / _REFINED_POINTS) ** (1 / 3)))
    places = places[:, ::step, ::step, ::step].reshape(3, -1)
    grey = fixed.grey[::step, ::step, ::step].reshape(-1).astype(np.float32)
    voxels = np.array(moving.grey.shape)
    index = moving.index(start.moving(places))
    inside = ((index >= 0) & (index <= (voxels - 1)[:, None])).all(0)
    centre = places[:, inside].mean(1) if inside.any() else places.mean(1)
    reach = float(np.linalg.norm(fixed.extent_mm)) / 2

    points = torch.from_numpy(((places - centre[:, None]) / reach).astype(np.float32))
    wanted = torch.from_numpy(grey)
    ratio = np.maximum(1.0, fixed.spacing_mm * step / moving.spacing_mm)
    smooth = ndimage.gaussian_filter(moving.grey.astype(np.float32), 0.4 * ratio, mode="nearest")
    image = torch.from_numpy(smooth)[None, None]
    base = torch.from_numpy((start.matrix * reach).astype(np.float32))
    place = torch.from_numpy(start.moving(centre).astype(np.float32))
    spacing = torch.from_numpy(moving.spacing_mm.astype(np.float32))[:, None]
    origin = torch.from_numpy(moving.start_mm.astype(np.float32))[:, None]
    last = torch.from_numpy((voxels - 1).astype(np.float32))[:, None]
    start_matrix = torch.from_numpy(start.matrix.astype(np.float32))
    change = torch.zeros(3, 4, requires_grad=True)
    descent = torch.optim.Adam([change], lr=0.01)
    best, kept = -1.0, torch.zeros(3, 4)
    for _ in range(_STEPS + 1):
        descent.zero_grad()
        seen_at = base @ (points + change[:, :3] @ points + change[:, 3:]) + place[:, None]
        unit = 2 * (seen_at - origin) / spacing / last - 1
        weight = ((unit.abs() <= 1).all(0)).float()
        seen = functional.grid_sample(
            image, unit.T.flip(1)[None, None, None], padding_mode="border", align_corners=True
        )[0, 0, 0, 0]
        similarity = _correlation(seen, wanted, weight)
        shape = start_matrix @ (torch.eye(3) + change[:, :3])
        size = torch.linalg.det(shape).clamp(min=1e-3) ** (1 / 3)
        cost = _SHAPE_COST * (shape / size - torch.eye(3)).square().sum()
        cost = cost + _SIZE_COST * size.log().square()
        share = min(1.0, float(weight.sum()) / min(len(grey), _visible(fixed, moving, step)))
        reached = similarity.item() * share**0.5 - cost.item()
        if reached > best:
            best, kept = reached, change.detach().clone()
        (cost - similarity).backward()
        descent.step()
    numbers = kept.numpy().astype(float)
    matrix = start.matrix @ (np.eye(3) + numbers[:, :3])
    shift = start.moving(centre) + start.matrix @ (numbers[:, 3] * reach) - matrix @ centre
    return Pose(matrix, shift, best)


def _visible(fixed: ReducedImage, moving: ReducedImage, step: int) -> float:
    """How many of fixed's points the moving image fills."""
    return float(np.prod(moving.extent_mm) / np.prod(fixed.spacing_mm * step))


def _correlation(a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    total = weight.sum().clamp(min=1.0)
    a = a - (a * weight).sum() / total
    b = b - (b * weight).sum() / total
    spread = (a.square() * weight).sum() * (b.square() * weight).sum()
    return (a * b * weight).sum() / (spread + 1e-3).sqrt()
