"""Where one patient's image lies in another's: an affine map found without a starting point.

What is compared are MIND descriptors (`mind_descriptors`), which are the same in CT and MR. Every shift of
the one image over the other is tried at several scales at once, by masked normalised cross-correlation in the
frequency domain (Padfield, IEEE TIP 2012), so that fields of view may differ; the best few are refined by
gradient descent on the same correlation.
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
from .deformable import mind_descriptors

_SCALES = (0.7, 0.8, 0.9, 1.0, 1.12, 1.25, 1.4)
"""Scales of the moving image that are tried."""
_SEARCH_VOXELS = 20_000
"""Voxels of the larger image in the search over all shifts."""
_STARTS = 4
"""Shifts that the search hands on."""
_START_DISTANCE = 3
"""Voxels that the two best shifts of one scale lie apart at least."""
_LEAST_OVERLAP = 0.25
"""Share of the smaller image that must lie on the other for a shift to count."""
_MASK_THRESHOLD = 200
"""Value of a resampled mask, of 255, above which a voxel is compared."""
_STEPS = 30
"""Steps of gradient descent for each pose."""
_REFINED_VOXELS = 40_000
"""Voxels of the smaller image in the gradient descent."""
_NEAR = 3
"""Voxels around the moving image whose points of the fixed one take part in the descent."""
_SHAPE_COST = 0.2
"""Correlation that the squared distance from a map that keeps shape costs, per unit."""
_SIZE_COST = 0.8
"""Correlation that the squared logarithm of the scale costs, per unit.

Without these two costs a crop shrinks out of shape for little correlation, and misleads the warp that
follows.
"""


@dataclass(frozen=True, eq=False)
class Pose:
    """An affine map from the fixed image to the moving one: moving_mm = matrix @ fixed_mm + shift_mm.

    matrix (3, 3); shift_mm (3,), along (k, j, i). global_ncc: normalised cross-correlation of the MIND
    descriptors of the two images there, at most 1, weighted by overlap, less what a change of size and shape
    costs.
    """

    matrix: np.ndarray
    shift_mm: np.ndarray
    global_ncc: float

    def moving(self, fixed_mm: np.ndarray) -> np.ndarray:
        """Places (3, ...) of the fixed image, in millimetres, as places of the moving one."""
        shape = (3, *[1] * (fixed_mm.ndim - 1))
        return np.tensordot(self.matrix, fixed_mm, 1) + self.shift_mm.reshape(shape)

    def fixed(self, moving_mm: np.ndarray) -> np.ndarray:
        """Places (3, ...) of the moving image, in millimetres, as places of the fixed one."""
        shape = (3, *[1] * (moving_mm.ndim - 1))
        return np.tensordot(np.linalg.inv(self.matrix), moving_mm - self.shift_mm.reshape(shape), 1)


def find_starts(
    fixed: ReducedImage, moving: ReducedImage, check: Callable[[], None] = lambda: None
) -> list[Pose]:
    """The few poses of moving in fixed, shifted and scaled only, that deserve a closer look, best first.

    check: called in between, may raise.
    """
    mask = np.ones(moving.intensity.shape, bool)
    return best_shifts(fixed, moving, mask, _SCALES, _SEARCH_VOXELS, check)[:_STARTS]


def best_shifts(
    fixed: ReducedImage,
    moving: ReducedImage,
    moving_mask: np.ndarray,
    scales: Sequence[float],
    voxels: int,
    check: Callable[[], None] = lambda: None,
) -> list[Pose]:
    """The two best shifts of moving over fixed at each of the scales, best first.

    moving_mask: bool (k, j, i), where moving is to be compared; voxels: how many stand for the larger image.
    check: called in between, may raise.
    """
    starts: list[tuple[float, float, np.ndarray]] = []
    extent = np.maximum(fixed.extent_mm, moving.extent_mm)
    spacing = even_spacing(extent, np.maximum(fixed.spacing_mm, moving.spacing_mm), voxels)
    a = _descriptors(_resampled(fixed, spacing))
    for scale in scales:
        check()
        b = _descriptors(_resampled(moving, spacing * scale))
        for score, shift in _shifts(a, b, _resampled_mask(moving, moving_mask, spacing * scale)):
            # b's first voxel lies on a's voxel `shift`.
            starts.append((score - _size_cost(scale), scale, fixed.start_mm + shift * spacing))
    starts.sort(key=lambda one: -one[0])
    return [Pose(np.eye(3) * scale, moving.start_mm - scale * place, score) for score, scale, place in starts]


def _size_cost(scale: float) -> float:
    return _SIZE_COST * float(np.log(scale)) ** 2


def _descriptors(intensity: np.ndarray) -> np.ndarray:
    """MIND descriptors (12, k, j, i) float32, zero mean in every channel."""
    found = mind_descriptors(torch.from_numpy(intensity)).numpy()
    return found - found.mean((1, 2, 3), keepdims=True)


def _resampled(image: ReducedImage, spacing: np.ndarray) -> np.ndarray:
    """float32 (k, j, i) at another spacing from the same first voxel, smoothed where that is coarser."""
    ratio = spacing / image.spacing_mm
    intensity = image.intensity.astype(np.float32)
    smooth = ndimage.gaussian_filter(intensity, antialias_sigma(ratio), mode="nearest")
    shape = np.maximum(np.floor((np.array(intensity.shape) - 1) / ratio + 1e-6).astype(int) + 1, 2)
    index = np.stack(
        np.meshgrid(*(np.arange(n) * r for n, r in zip(shape, ratio, strict=True)), indexing="ij")
    )
    index = np.minimum(index, (np.array(image.intensity.shape) - 1).reshape(3, 1, 1, 1))
    return sampled_at(smooth, index, 0.0)


def _resampled_mask(image: ReducedImage, mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """float32 (k, j, i), 1 inside a mask of the image's voxels, on the grid of `_resampled`."""
    whole = ReducedImage(mask.astype(np.uint8) * 255, image.spacing_mm, image.start_mm)
    return (_resampled(whole, spacing) > _MASK_THRESHOLD).astype(np.float32)


def _shifts(fixed: np.ndarray, moving: np.ndarray, mask: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """The two best shifts (voxels) of moving over fixed, (C, k, j, i) each, with their scores, best first.

    mask: float32 (k, j, i), 1 where moving is to be compared, 0 elsewhere; all of fixed is.

    The score is masked normalised cross-correlation (Padfield, IEEE TIP 2012) over all channels together.
    With f of fixed and m of moving zero outside their masks F and M, and x * y the cross-correlation, which
    has a value for every shift and is made by fast Fourier transforms, every channel has

        n          = F * M                                  voxels that overlap
        covariance = f * m   - (f * M)(F * m) / n
        spread_f   = f^2 * M - (f * M)^2 / n
        spread_m   = F * m^2 - (F * m)^2 / n

    and the score is sum(covariance) / sqrt(sum(spread_f) sum(spread_m)), sums over channels, times the root
    of the share of the smaller image that overlaps.
    """
    moving = moving * mask
    size, other = fixed.shape[1:], moving.shape[1:]
    padded = [fft.next_fast_len(n + m - 1, real=True) for n, m in zip(size, other, strict=True)]

    def spectrum(values: np.ndarray) -> np.ndarray:
        return fft.rfftn(values.astype(np.float32), padded)

    def conjugate(values: np.ndarray) -> np.ndarray:
        return np.conj(spectrum(values))

    def correlation(product: np.ndarray) -> np.ndarray:
        return fft.irfftn(product, padded)

    fixed_mask, moving_mask = spectrum(np.ones(size)), conjugate(mask)
    count = np.maximum(correlation(fixed_mask * moving_mask), 1e-3)
    product = np.zeros_like(fixed_mask)
    covariance, spread_fixed, spread_moving = (np.zeros_like(count) for _ in range(3))
    for f, m in zip(fixed, moving, strict=True):
        fixed_channel, moving_channel = spectrum(f), conjugate(m)
        product += fixed_channel * moving_channel
        sum_fixed = correlation(fixed_channel * moving_mask)
        sum_moving = correlation(fixed_mask * moving_channel)
        covariance -= sum_fixed * sum_moving / count
        spread_fixed -= sum_fixed**2 / count
        spread_moving -= sum_moving**2 / count
    covariance += correlation(product)
    spread_fixed += correlation(spectrum((fixed * fixed).sum(0)) * moving_mask)
    spread_moving += correlation(fixed_mask * conjugate((moving * moving).sum(0)))
    spread = np.maximum(spread_fixed, 0) * np.maximum(spread_moving, 0)
    overlap = np.minimum(count / max(1.0, min(float(np.prod(size)), float(mask.sum()))), 1.0)
    score = covariance / np.sqrt(np.maximum(spread, 1e-6 * float(spread.max()))) * np.sqrt(overlap)
    score[overlap < _LEAST_OVERLAP] = -1
    found = []
    for _ in range(2):
        best = np.unravel_index(int(score.argmax()), score.shape)
        # Behind the fixed image's size come the negative shifts.
        shift = np.array([s if s < n else s - f for s, n, f in zip(best, size, padded, strict=True)])
        found.append((float(score[best]), shift))
        near = np.ix_(
            *(
                np.arange(s - _START_DISTANCE, s + _START_DISTANCE + 1) % f
                for s, f in zip(best, padded, strict=True)
            )
        )
        score[near] = -1
    return found


def refined_poses(
    fixed: ReducedImage,
    moving: ReducedImage,
    starts: Sequence[Pose],
    check: Callable[[], None] = lambda: None,
    most_points: int = 12_000,
    moving_mask: np.ndarray | None = None,
) -> list[Pose]:
    """The poses after gradient descent over all twelve numbers of each; without those that bring nothing of
    moving into fixed.

    check: called in between, may raise; most_points: of fixed that are compared; moving_mask: bool (k, j, i),
    where moving is to be compared, everywhere when None.
    """
    spacing = even_spacing(
        np.minimum(fixed.extent_mm, moving.extent_mm),
        np.maximum(fixed.spacing_mm, moving.spacing_mm),
        _REFINED_VOXELS,
    )
    a, b = (_descriptors(_resampled(image, spacing)) for image in (fixed, moving))
    mask = np.ones(moving.intensity.shape, bool) if moving_mask is None else moving_mask
    target = torch.from_numpy(np.concatenate([b, _resampled_mask(moving, mask, spacing)[None]]))[None]
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
            descriptors = torch.from_numpy(a.reshape(len(a), -1)[:, near])
            found.append(_refined(places[:, near], descriptors, target, moving.start_mm, spacing, start))
    return found


def _refined(
    places: np.ndarray,
    descriptors: Tensor,
    target: Tensor,
    origin_mm: np.ndarray,
    spacing_mm: np.ndarray,
    start: Pose,
) -> Pose:
    """One pose after gradient descent.

    places: (3, N) millimetres in fixed, with descriptors (12, N); target: (1, 13, k, j, i), the descriptors
    of the moving image from origin_mm on, and its mask.
    """
    centre = places.mean(1)
    half_extent_mm = max(float(np.abs(places - centre[:, None]).max()), 1e-3)
    last = np.array(target.shape[2:]) - 1
    points = _tensor((places - centre[:, None]) / half_extent_mm)
    base = _tensor(start.matrix * half_extent_mm)
    place = _tensor(start.moving(centre) - origin_mm)
    to_unit = _tensor(2 / spacing_mm / np.maximum(last, 1))
    start_matrix = _tensor(start.matrix)
    change = torch.zeros(3, 4, requires_grad=True)
    descent = torch.optim.Adam([change], lr=0.01)
    best, best_change, most = -1.0, torch.zeros(3, 4), 0.0
    for _ in range(_STEPS + 1):
        descent.zero_grad()
        moved = base @ (points + change[:, :3] @ points + change[:, 3:]) + place[:, None]
        unit = moved * to_unit[:, None] - 1
        seen = functional.grid_sample(
            target, unit.T.flip(1)[None, None, None], padding_mode="border", align_corners=True
        )[0, :, 0, 0]
        seen, weight = seen[:-1], (unit.abs() <= 1).all(0) * seen[-1].detach()
        ncc = _ncc(seen, descriptors, weight)
        shape = start_matrix @ (torch.eye(3) + change[:, :3])
        size = torch.linalg.det(shape).clamp(min=1e-3) ** (1 / 3)
        cost = _SHAPE_COST * (shape / size - torch.eye(3)).square().sum()
        cost = cost + _SIZE_COST * size.log().square()
        most = most or max(float(weight.sum()), 1.0)
        overlap = min(1.0, float(weight.sum()) / most)
        reached = ncc.item() * overlap**0.5 - cost.item()
        if reached > best:
            best, best_change = reached, change.detach().clone()
        (cost - ncc).backward()
        descent.step()
    numbers = best_change.numpy().astype(float)
    matrix = start.matrix @ (np.eye(3) + numbers[:, :3])
    shift = start.moving(centre) + start.matrix @ (numbers[:, 3] * half_extent_mm) - matrix @ centre
    return Pose(matrix, shift, best)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))


def _ncc(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Normalised cross-correlation of descriptors (C, N), all channels together, with a weight (N,)."""
    total = weight.sum().clamp(min=1.0)
    a = a - (a * weight).sum(1, keepdim=True) / total
    b = b - (b * weight).sum(1, keepdim=True) / total
    spread = (a.square() * weight).sum() * (b.square() * weight).sum()
    return (a * b * weight).sum() / (spread + 1e-6).sqrt()
