"""Where one patient's image lies in another's: an affine map found without a starting point.

What is compared is how alike the neighbours of a voxel are (`self_similarity`), which is the same in CT and
MR. Every shift of the one image over the other is tried at several scales at once, by masked normalised
cross-correlation in the frequency domain (Padfield, IEEE TIP 2012), so that fields of view may differ; the
best few are refined by gradient descent on the same correlation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from scipy import fft, ndimage
from torch import Tensor

from ..working_grid.grid import antialias_sigma
from ..working_grid.reduced_image import ReducedImage, even_spacing, sampled_at
from .deformable import self_similarity

_SCALES = (0.7, 0.8, 0.9, 1.0, 1.12, 1.25, 1.4)
_SEARCH_VOXELS = 20_000
_STARTS = 4
_APART = 3
"""Voxels between starts of one scale."""
_LEAST_OVERLAP = 0.25
_KNOWN = 200
"""Of 255: how surely a voxel of a turned image must lie in it to be compared."""
_STEPS = 30
_REFINED_VOXELS = 40_000
_NEAR = 3
"""Voxels around the moving image that count as in reach of the descent."""
_SHAPE_COST = 0.2
_SIZE_COST = 0.8
"""Of correlation, for the squared distance of the map from one that keeps shape, and of its scale's logarithm
from 0: shrinking a crop out of shape gains little correlation and misleads the bending that follows.
"""


@dataclass(frozen=True, eq=False)
class Pose:
    """moving_mm = matrix @ fixed_mm + shift_mm; similarity: correlation of what is around the voxels there,
    to 1, weighted by overlap and less what the change of size and shape costs.
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
    starts = find_starts(fixed, moving, check)
    return max(refined_poses(fixed, moving, starts, check), key=lambda pose: pose.similarity)


def find_starts(
    fixed: ReducedImage, moving: ReducedImage, check: Callable[[], None] = lambda: None
) -> list[Pose]:
    """The few poses of moving in fixed, shifted and scaled only, that deserve a closer look, best first.

    check: called in between, may raise.
    """
    known = np.ones(moving.grey.shape, bool)
    return best_shifts(fixed, moving, known, _SCALES, _SEARCH_VOXELS, check)[:_STARTS]


def best_shifts(
    fixed: ReducedImage,
    moving: ReducedImage,
    known: np.ndarray,
    scales: Sequence[float],
    voxels: int,
    check: Callable[[], None] = lambda: None,
) -> list[Pose]:
    """The two best shifts of moving over fixed at each of the scales, best first.

    known: bool (k, j, i), where moving is to be compared; voxels: how many stand for the larger image.
    check: called in between, may raise.
    """
    starts: list[tuple[float, float, np.ndarray]] = []
    extent = np.maximum(fixed.extent_mm, moving.extent_mm)
    spacing = even_spacing(extent, np.maximum(fixed.spacing_mm, moving.spacing_mm), voxels)
    a = _descriptors(_resampled(fixed, spacing))
    for scale in scales:
        check()
        b = _descriptors(_resampled(moving, spacing * scale))
        for score, shift in _shifts(a, b, _known(moving, known, spacing * scale)):
            # b's first voxel lies on a's voxel `shift`.
            starts.append((score - _size_cost(scale), scale, fixed.start_mm + shift * spacing))
    starts.sort(key=lambda one: -one[0])
    return [Pose(np.eye(3) * scale, moving.start_mm - scale * place, score) for score, scale, place in starts]


def _size_cost(scale: float) -> float:
    return _SIZE_COST * float(np.log(scale)) ** 2


def _descriptors(grey: np.ndarray) -> np.ndarray:
    """(12, k, j, i) float32, zero mean in every channel."""
    found = self_similarity(torch.from_numpy(grey)).numpy()
    return found - found.mean((1, 2, 3), keepdims=True)


def _resampled(image: ReducedImage, spacing: np.ndarray) -> np.ndarray:
    """float32 (k, j, i) at another spacing from the same first voxel, smoothed where that is coarser."""
    ratio = spacing / image.spacing_mm
    smooth = ndimage.gaussian_filter(image.grey.astype(np.float32), antialias_sigma(ratio), mode="nearest")
    shape = np.maximum(np.floor((np.array(image.grey.shape) - 1) / ratio + 1e-6).astype(int) + 1, 2)
    index = np.stack(
        np.meshgrid(*(np.arange(n) * r for n, r in zip(shape, ratio, strict=True)), indexing="ij")
    )
    index = np.minimum(index, (np.array(image.grey.shape) - 1).reshape(3, 1, 1, 1))
    return sampled_at(smooth, index, 0.0)


def _known(image: ReducedImage, known: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """float32 (k, j, i), 1 where the image is known, on the grid of `_resampled`."""
    whole = ReducedImage(known.astype(np.uint8) * 255, image.spacing_mm, image.start_mm)
    return (_resampled(whole, spacing) > _KNOWN).astype(np.float32)


def _shifts(a: np.ndarray, b: np.ndarray, known: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """The best shifts (voxels) of b over a, (C, k, j, i) each, with their scores, best first; known: float32
    (k, j, i), 0 where b has no say.
    """
    b = b * known
    size, other = a.shape[1:], b.shape[1:]
    fast = [fft.next_fast_len(n + m - 1, real=True) for n, m in zip(size, other, strict=True)]

    def spectrum(values: np.ndarray) -> np.ndarray:
        return fft.rfftn(values.astype(np.float32), fast)

    def mirrored(values: np.ndarray) -> np.ndarray:
        return np.conj(spectrum(values))

    def correlated(product: np.ndarray) -> np.ndarray:
        return fft.irfftn(product, fast)

    fm, fn = spectrum(np.ones(size)), mirrored(known)
    count = np.maximum(correlated(fm * fn), 1e-3)
    both = np.zeros_like(fm)
    covariance, spread_a, spread_b = (np.zeros_like(count) for _ in range(3))
    for one, two in zip(a, b, strict=True):
        fa, fb = spectrum(one), mirrored(two)
        both += fa * fb
        sum_a, sum_b = correlated(fa * fn), correlated(fm * fb)
        covariance -= sum_a * sum_b / count
        spread_a -= sum_a**2 / count
        spread_b -= sum_b**2 / count
    covariance += correlated(both)
    spread_a += correlated(spectrum((a * a).sum(0)) * fn)
    spread_b += correlated(fm * mirrored((b * b).sum(0)))
    spread = np.maximum(spread_a, 0) * np.maximum(spread_b, 0)
    overlap = np.minimum(count / max(1.0, min(float(np.prod(size)), float(known.sum()))), 1.0)
    score = covariance / np.sqrt(np.maximum(spread, 1e-6 * float(spread.max()))) * np.sqrt(overlap)
    score[overlap < _LEAST_OVERLAP] = -1
    found = []
    for _ in range(2):
        best = np.unravel_index(int(score.argmax()), score.shape)
        shift = np.array([s if s < n else s - f for s, n, f in zip(best, size, fast, strict=True)])
        found.append((float(score[best]), shift))
        near = np.ix_(*(np.arange(s - _APART, s + _APART + 1) % f for s, f in zip(best, fast, strict=True)))
        score[near] = -1
    return found


def refined_poses(
    fixed: ReducedImage,
    moving: ReducedImage,
    starts: Sequence[Pose],
    check: Callable[[], None] = lambda: None,
    most_points: int = 12_000,
    known: np.ndarray | None = None,
) -> list[Pose]:
    """The poses after descent over all twelve numbers of each, as far as moving reaches in fixed.

    check: called in between, may raise; most_points: of fixed that are compared; known: bool (k, j, i), where
    moving is to be compared, everywhere when None.
    """
    spacing = even_spacing(
        np.minimum(fixed.extent_mm, moving.extent_mm),
        np.maximum(fixed.spacing_mm, moving.spacing_mm),
        _REFINED_VOXELS,
    )
    a, b = (_descriptors(_resampled(image, spacing)) for image in (fixed, moving))
    known = np.ones(moving.grey.shape, bool) if known is None else known
    around = torch.from_numpy(np.concatenate([b, _known(moving, known, spacing)[None]]))[None]
    axes = [
        place + step * np.arange(n)
        for place, step, n in zip(fixed.start_mm, spacing, a.shape[1:], strict=True)
    ]
    places = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    found = []
    for start in starts:
        check()
        index = (start.moving(places) - moving.start_mm[:, None]) / spacing[:, None]
        beyond = np.maximum(-index, index - (np.array(b.shape[1:]) - 1)[:, None]).max(0)
        near = np.flatnonzero(beyond < _NEAR)
        near = near[:: max(1, len(near) // most_points)]
        if len(near):
            wanted = torch.from_numpy(a.reshape(len(a), -1)[:, near])
            found.append(_refined(places[:, near], wanted, around, moving.start_mm, spacing, start))
    return found


def _refined(
    places: np.ndarray,
    wanted: Tensor,
    around: Tensor,
    origin_mm: np.ndarray,
    spacing_mm: np.ndarray,
    start: Pose,
) -> Pose:
    """One pose after descent. places: (3, N) millimetres in fixed, with descriptors wanted (12, N); around:
    (1, 13, k, j, i), the moving image's, from origin_mm on, and where it is known.
    """
    centre = places.mean(1)
    reach = max(float(np.abs(places - centre[:, None]).max()), 1e-3)
    last = np.array(around.shape[2:]) - 1
    points = _tensor((places - centre[:, None]) / reach)
    base = _tensor(start.matrix * reach)
    place = _tensor(start.moving(centre) - origin_mm)
    to_unit = _tensor(2 / spacing_mm / np.maximum(last, 1))
    start_matrix = _tensor(start.matrix)
    change = torch.zeros(3, 4, requires_grad=True)
    descent = torch.optim.Adam([change], lr=0.01)
    best, kept, most = -1.0, torch.zeros(3, 4), 0.0
    for _ in range(_STEPS + 1):
        descent.zero_grad()
        moved = base @ (points + change[:, :3] @ points + change[:, 3:]) + place[:, None]
        unit = moved * to_unit[:, None] - 1
        seen = functional.grid_sample(
            around, unit.T.flip(1)[None, None, None], padding_mode="border", align_corners=True
        )[0, :, 0, 0]
        seen, weight = seen[:-1], (unit.abs() <= 1).all(0) * seen[-1].detach()
        similarity = _correlation(seen, wanted, weight)
        shape = start_matrix @ (torch.eye(3) + change[:, :3])
        size = torch.linalg.det(shape).clamp(min=1e-3) ** (1 / 3)
        cost = _SHAPE_COST * (shape / size - torch.eye(3)).square().sum()
        cost = cost + _SIZE_COST * size.log().square()
        most = most or max(float(weight.sum()), 1.0)
        share = min(1.0, float(weight.sum()) / most)
        reached = similarity.item() * share**0.5 - cost.item()
        if reached > best:
            best, kept = reached, change.detach().clone()
        (cost - similarity).backward()
        descent.step()
    numbers = kept.numpy().astype(float)
    matrix = start.matrix @ (np.eye(3) + numbers[:, :3])
    shift = start.moving(centre) + start.matrix @ (numbers[:, 3] * reach) - matrix @ centre
    return Pose(matrix, shift, best)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))


def _correlation(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Of two sets of descriptors (C, N), all channels together, with a weight (N,)."""
    total = weight.sum().clamp(min=1.0)
    a = a - (a * weight).sum(1, keepdim=True) / total
    b = b - (b * weight).sum(1, keepdim=True) / total
    spread = (a.square() * weight).sum() * (b.square() * weight).sum()
    return (a * b * weight).sum() / (spread + 1e-6).sqrt()
