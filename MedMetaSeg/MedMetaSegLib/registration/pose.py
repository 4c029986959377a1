"""Where one patient's image lies in another's: an affine map found without a starting point.

What is compared are MIND descriptors (`mind_descriptors`), which are the same in CT and MR. Every shift of
the one image over the other is tried at several scales at once, by masked normalised cross-correlation in the
frequency domain (Padfield, IEEE TIP 2012), so that fields of view may differ; the best few are refined by
gradient descent on the same correlation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy import fft
from torch import Tensor

from ..network.side_by_side import Caller, pieces_at_once, side_by_side
from ..working_grid.reduced_image import even_spacing
from .deformable import mind_descriptors
from .sampling import TensorImage, resampled

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
_MASK_THRESHOLD = 0.784
"""Value of a resampled mask above which a voxel is compared."""
SIZE_COST = 0.8
"""Correlation that the squared logarithm of the scale costs, per unit."""


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
    fixed: TensorImage, moving: TensorImage, check: Callable[[], None] = lambda: None
) -> list[Pose]:
    """The few poses of moving in fixed, shifted and scaled only, that deserve a closer look, best first.

    check: called in between, may raise.
    """
    return best_shifts(fixed, moving, None, _SCALES, _SEARCH_VOXELS, check)[:_STARTS]


@torch.no_grad()
def best_shifts(
    fixed: TensorImage,
    moving: TensorImage,
    moving_mask: Tensor | None,
    scales: Sequence[float],
    voxels: int,
    check: Callable[[], None] = lambda: None,
) -> list[Pose]:
    """The two best shifts of moving over fixed at each of the scales, best first.

    moving_mask: float32 (k, j, i), 1 where moving is to be compared, everywhere when None; voxels: how many
    stand for the larger image. check: called in between, may raise.
    """
    extent = np.maximum(fixed.extent_mm, moving.extent_mm)
    spacing = even_spacing(extent, np.maximum(fixed.spacing_mm, moving.spacing_mm), voxels)
    a = centred_descriptors(resampled(fixed, spacing))

    @torch.no_grad()
    def at_scale(scale: float, _: Caller) -> list[tuple[float, float, np.ndarray]]:
        b = centred_descriptors(resampled(moving, spacing * scale))
        mask = None if moving_mask is None else resampled_mask(moving, moving_mask, spacing * scale)
        found = _shifts(a, b, mask)
        # b's first voxel lies on a's voxel `shift`.
        return [(one - _size_cost(scale), scale, fixed.start_mm + shift * spacing) for one, shift in found]

    work = [partial(at_scale, scale) for scale in scales]
    found = side_by_side(work, pieces_at_once(a.device), check)
    starts = sorted((one for some in found for one in some), key=lambda one: -one[0])
    return [Pose(np.eye(3) * scale, moving.start_mm - scale * place, score) for score, scale, place in starts]


def _size_cost(scale: float) -> float:
    return SIZE_COST * float(np.log(scale)) ** 2


def centred_descriptors(intensity: Tensor) -> Tensor:
    """MIND descriptors (12, k, j, i), zero mean in every channel."""
    found = mind_descriptors(intensity)
    return found - found.mean((1, 2, 3), keepdim=True)


def resampled_mask(image: TensorImage, mask: Tensor, spacing_mm: np.ndarray) -> Tensor:
    """float32 (k, j, i), 1 inside a mask of the image's voxels, on the grid of `resampled`."""
    whole = TensorImage(mask, image.spacing_mm, image.start_mm)
    return (resampled(whole, spacing_mm) > _MASK_THRESHOLD).float()


def _shifts(fixed: Tensor, moving: Tensor, mask: Tensor | None) -> list[tuple[float, np.ndarray]]:
    """The two best shifts (voxels) of moving over fixed, (C, k, j, i) each, with their scores, best first.

    mask: float32 (k, j, i), 1 where moving is to be compared, 0 elsewhere, everywhere when None; all of fixed
    is.

    The score is masked normalised cross-correlation (Padfield, IEEE TIP 2012) over all channels together.
    With f of fixed and m of moving zero outside their masks F and M, and x * y the cross-correlation, which
    has a value for every shift, every channel has

        n          = F * M                                  voxels that overlap
        covariance = f * m   - (f * M)(F * m) / n
        spread_f   = f^2 * M - (f * M)^2 / n
        spread_m   = F * m^2 - (F * m)^2 / n

    and the score is sum(covariance) / sqrt(sum(spread_f) sum(spread_m)), sums over channels, times the root
    of the share of the smaller image that overlaps. Correlations are made by fast Fourier transforms; those
    with a mask that is 1 everywhere are sums over boxes, which `_box_sums` makes for less.
    """
    moving = moving if mask is None else moving * mask
    size, other = fixed.shape[1:], moving.shape[1:]
    padded = [fft.next_fast_len(n + m - 1, real=True) for n, m in zip(size, other, strict=True)]
    shifts = [_shift_of_each(n, length) for n, length in zip(size, padded, strict=True)]
    with_square = _with_square(fixed)
    sums_moving = _box_sums(_with_square(moving), size, [-one for one in shifts])
    of_fixed, of_moving = spectra(fixed, padded), spectra(moving, padded).conj()
    covariance = correlations((of_fixed * of_moving).sum(0), padded)
    if mask is None:
        sums_fixed = _box_sums(with_square, other, shifts)
        count = _box_sums(torch.ones_like(fixed[:1]), other, shifts)[0]
        compared = torch.tensor(float(np.prod(other)))
    else:
        of_mask = spectra(mask, padded).conj()
        of_all = torch.cat([of_fixed, spectra(with_square[-1:], padded)])
        sums_fixed = correlations(of_all * of_mask, padded)
        count = _box_sums(mask[None], size, [-one for one in shifts])[0]
        compared = mask.sum()
    count = count.clamp(min=1e-3)
    covariance -= (sums_fixed[:-1] * sums_moving[:-1]).sum(0) / count
    spread_fixed = sums_fixed[-1] - sums_fixed[:-1].square().sum(0) / count
    spread_moving = sums_moving[-1] - sums_moving[:-1].square().sum(0) / count
    spread = spread_fixed.clamp_(min=0) * spread_moving.clamp_(min=0)
    overlap = (count / compared.to(count).clamp(1.0, float(np.prod(size)))).clamp_(max=1.0)
    score = covariance / torch.maximum(spread, 1e-6 * spread.max()).sqrt() * overlap.sqrt()
    return _two_best(score.masked_fill_(overlap < _LEAST_OVERLAP, -1), size)


def _with_square(values: Tensor) -> Tensor:
    """Values (C, k, j, i), and the sum of their squares over channels as one channel more."""
    return torch.cat([values, values.square().sum(0, keepdim=True)])


def _shift_of_each(size: int, length: int) -> np.ndarray:
    """(length,): the shift that each place of a correlation stands for; negative ones come behind `size`."""
    places = np.arange(length)
    return np.where(places < size, places, places - length)


def _box_sums(values: Tensor, box: Sequence[int], starts: Sequence[np.ndarray]) -> Tensor:
    """(C, *lengths): sums of values (C, k, j, i) over boxes that begin at each of the starts along each axis.

    A box may lie partly or wholly outside, where there is nothing to add.
    """
    for axis, (width, start) in enumerate(zip(box, starts, strict=True), 1):
        place = np.arange(values.shape[axis])[None] - start[:, None]
        inside = torch.from_numpy((place >= 0) & (place < width)).to(values)
        values = torch.tensordot(values, inside, ([axis], [1])).movedim(-1, axis)
    return values


def spectra(values: Tensor, shape: Sequence[int]) -> Tensor:
    """Fourier transforms of real values (..., k, j, i), filled up with zeros to `shape`, half of each.

    By scipy on a CPU, where it is faster than torch.
    """
    if values.device.type == "cpu":
        return torch.from_numpy(fft.rfftn(values.numpy(), shape, axes=(-3, -2, -1)))
    return torch.fft.rfftn(values, shape, dim=(-3, -2, -1))


def correlations(products: Tensor, shape: Sequence[int]) -> Tensor:
    """The real values (..., *shape) of which `products` are the Fourier transforms; see `spectra`."""
    if products.device.type == "cpu":
        return torch.from_numpy(fft.irfftn(products.resolve_conj().numpy(), shape, axes=(-3, -2, -1)))
    return torch.fft.irfftn(products, shape, dim=(-3, -2, -1))


def _two_best(score: Tensor, size: Sequence[int]) -> list[tuple[float, np.ndarray]]:
    """The highest score and the highest that lies apart from it, each with its shift (3,).

    score: (k, j, i), written to; behind the fixed image's size come the negative shifts.
    """
    found = []
    for _ in range(2):
        value, place = score.flatten().max(0)
        best = np.unravel_index(int(place), score.shape)
        shift = np.array([s if s < n else s - f for s, n, f in zip(best, size, score.shape, strict=True)])
        found.append((float(value), shift))
        near = [
            torch.arange(s - _START_DISTANCE, s + _START_DISTANCE + 1, device=score.device) % f
            for s, f in zip(best, score.shape, strict=True)
        ]
        score[torch.meshgrid(*near, indexing="ij")] = -1
    return found
