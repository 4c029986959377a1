"""Dense registration of images on one grid: which voxel of a moving one belongs to which of the fixed.

A discrete search over large displacements, made smooth by coupled convex optimisation, then gradient descent
(Siebert, Hansen and Heinrich, "ConvexAdam", IEEE TMI 2024; Heinrich et al., WBIR 2014). What is compared are
MIND descriptors (Heinrich et al., MedIA 2012), which stay the same when the intensities of tissues change.
Nothing is random: the same images give the same displacement, alone or beside others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
import torch.nn.functional as functional
from torch import Tensor

from .sampling import box, sampled

_NEIGHBOURS = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))
_PAIRS = tuple(
    (a, b)
    for a in range(6)
    for b in range(a)
    if sum((p - q) ** 2 for p, q in zip(_NEIGHBOURS[a], _NEIGHBOURS[b], strict=True)) == 2
)
_COUPLING = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Weights of the smoothness term in the rounds of the convex optimisation: the larger, the smoother."""
_COST_OUTSIDE = 0.5
"""Share of the typical difference that a displacement costs which leads outside the moving image."""
_FACTOR = 2
"""Voxels of the images along each axis of one cell of the grid on which gradient descent runs."""
_MISFIT = 12.0
"""Weight of the misfit beside that of smoothness."""
_TURNS = 4
"""Steps of gradient descent in which every plane of that grid has its turn in the misfit."""


@torch.no_grad()
def mind_descriptors(images: Tensor) -> Tensor:
    """MIND-SSC descriptors (..., 12, k, j, i), 0 to 1, of images (..., k, j, i): how alike neighbours are.

    The modality independent neighbourhood descriptor (MIND: Heinrich et al., Medical Image Analysis 2012) in
    its self-similarity context (SSC: Heinrich et al., MICCAI 2013): patches of 3 x 3 x 3 voxels around the
    six neighbours of a voxel, compared in the twelve pairs of which neither is opposite the other.
    """
    size = images.shape[-3:]
    padded = functional.pad(images.reshape(1, -1, *size), (1,) * 6, mode="replicate")[0]
    shifted = [
        padded[:, 1 + dk : 1 + dk + size[0], 1 + dj : 1 + dj + size[1], 1 + di : 1 + di + size[2]]
        for dk, dj, di in _NEIGHBOURS
    ]
    difference = torch.stack([box((shifted[a] - shifted[b]).square_(), 3) for a, b in _PAIRS], 1)
    difference -= difference.amin(1, keepdim=True)
    variance = difference.mean(1, keepdim=True)
    typical = variance.mean((1, 2, 3, 4), keepdim=True)
    variance = torch.clamp(variance, 1e-3 * typical + 1e-12, 1e3 * typical + 1e-12)
    return difference.div_(variance).neg_().exp_().reshape(*images.shape[:-3], len(_PAIRS), *size)


def dense_displacements(
    fixed: Tensor,
    moving: Tensor,
    moving_masks: Tensor,
    *,
    cell: int = 4,
    search_radius: int = 3,
    steps: int = 50,
    smoothness: float = 1.0,
    check: Callable[[], None] = lambda: None,
) -> Tensor:
    """The displacements (N, 3, k, j, i) float32, voxels, by which fixed(x) is moving(x + displacement).

    fixed: descriptors (12, k, j, i) of one image; moving: float32 (N, k, j, i), images of that shape on the
    same device, each already roughly aligned; moving_masks: bool (N, k, j, i), where they have values. cell:
    voxels between the points of the discrete search; search_radius: cells it looks in each direction. steps:
    of the gradient descent that follows; smoothness: weight of the squared differences of neighbouring
    displacements there. check: called between pieces of work; may raise.
    """
    with torch.no_grad():
        descriptors, masks = mind_descriptors(moving), moving_masks.float()[:, None]
        check()
        coarse = _discrete(fixed, descriptors, masks, cell, search_radius)
        check()
        return _descended(fixed, descriptors, masks, coarse, steps, smoothness, check)


def _discrete(fixed: Tensor, moving: Tensor, masks: Tensor, cell: int, search_radius: int) -> Tensor:
    """(N, 3, k, j, i) voxels on the full grid, from both directions made consistent with each other.

    fixed: (12, k, j, i); moving: (N, 12, k, j, i); masks: (N, 1, k, j, i).
    """
    pooled = _pooled(moving, cell), _pooled(masks, cell)[:, 0]
    forth, back = (_convex(one) for one in _costs(_pooled(fixed[None], cell)[0], *pooled, search_radius))
    for _ in range(5):
        forth, back = (forth - warped(back, forth)) / 2, (back - warped(forth, back)) / 2
    return _resized(forth * cell, masks.shape[2:])


def _costs(fixed: Tensor, moving: Tensor, masks: Tensor, search_radius: int) -> tuple[Tensor, Tensor]:
    """Mean squared difference of fixed to moving at each displacement, and of moving to fixed, over the
    typical one: (N, k, j, i, d, d, d) each, with d = 2 search_radius + 1 displacements along each axis.

    fixed: (12, k, j, i); moving: (N, 12, k, j, i); masks: (N, k, j, i), below 0.5 outside moving.
    """
    width, around = 2 * search_radius + 1, (search_radius,) * 6
    windows = _windows(functional.pad(moving, around, mode="replicate"), width)
    costs = moving.new_empty(*masks.shape, width, width, width)
    for dk, dj in product(range(width), repeat=2):
        costs[..., dk, dj, :] = (windows[..., dk, dj, :] - fixed[..., None]).square_().mean(1)
    outside = _windows(functional.pad(masks, around), width) < 0.5
    # To look back from x by d is to look forth from x + d by -d.
    back = functional.pad(costs.flip(4, 5, 6), (0, 0) * 3 + around, value=torch.inf)
    for axis in (1, 2, 3):
        back = back.unfold(axis, width, 1).diagonal(dim1=4, dim2=-1)
    known = (masks > 0.5)[..., None, None, None]
    forth = _over_typical(costs.masked_fill_(outside, torch.inf))
    return forth, _over_typical(back.contiguous()) * known


def _windows(values: Tensor, width: int) -> Tensor:
    """Views (..., k, j, i, d, d, d) of the `width` values from each voxel on, along the last three axes."""
    return values.unfold(-3, width, 1).unfold(-3, width, 1).unfold(-3, width, 1)


def _over_typical(costs: Tensor) -> Tensor:
    """Costs over their mean in each item; infinite ones stand for displacements that lead outside."""
    known = costs < torch.inf
    axes = tuple(range(1, costs.ndim))
    total = torch.where(known, costs, 0.0).sum(axes, keepdim=True)
    typical = total / known.sum(axes, keepdim=True).clamp(min=1)
    return torch.where(known, costs / typical, _COST_OUTSIDE)


def _convex(costs: Tensor) -> Tensor:
    """(N, 3, k, j, i) cells: the best displacements, tied more and more to the mean of their neighbours.

    costs: (N, k, j, i, d, d, d).
    """
    size, width = costs.shape[1:4], costs.shape[-1]
    steps = torch.arange(width, dtype=torch.float32, device=costs.device) - width // 2
    offsets = torch.cartesian_prod(steps, steps, steps)
    length = offsets.square().sum(1)
    flat = costs.reshape(len(costs), -1, width**3)

    def smoothed(best: Tensor) -> Tensor:
        return box(offsets[best].transpose(1, 2).reshape(-1, 3, *size), 3)

    # A cell that cannot choose stays where it is.
    flat = flat + 1e-4 * length
    smooth = smoothed(flat.argmin(-1))
    for coupling in _COUPLING:
        # |offset - place|^2 without |place|^2, which is the same for all offsets.
        place = smooth.flatten(2).transpose(1, 2)
        tied = torch.baddbmm(
            flat + coupling * length, place, offsets.T.expand(len(flat), -1, -1), alpha=-2 * coupling
        )
        smooth = smoothed(tied.argmin(-1))
    return smooth


def _descended(
    fixed: Tensor,
    moving: Tensor,
    masks: Tensor,
    start: Tensor,
    steps: int,
    smoothness: float,
    check: Callable[[], None],
) -> Tensor:
    """The displacements after gradient descent on a coarser grid, (N, 3, k, j, i) voxels.

    The field is smoothed by two box filters. A filter of width 3 that repeats edges is its own adjoint, so
    that the gradient is smoothed by the same two. They and the smoothness term are linear along each axis: a
    product with one small matrix each, which on small images takes far fewer steps than sums of neighbours.
    """
    target = _pooled(fixed[None], _FACTOR)
    values = _pooled(torch.cat([moving, masks], 1), _FACTOR).contiguous(memory_format=torch.channels_last_3d)
    field = _resized(start, target.shape[2:]) / _FACTOR
    turns = min(_TURNS, field.shape[2])
    smoothing, roughness = _smoothing_matrices(field), _roughness_matrices(field)
    descent = torch.optim.Adam([field], lr=1.0 / _FACTOR)
    for step in range(steps):
        if step % 10 == 0:
            check()
        smooth = _along_axes(field, smoothing)
        gradient = smoothness * _roughness_gradient(smooth, roughness)
        planes = slice(step % turns, None, turns)
        gradient[:, :, planes] += _misfit_gradient(target, values, smooth, planes)
        field.grad = _along_axes(gradient, smoothing)
        descent.step()
    return _resized(_along_axes(field, smoothing) * _FACTOR, masks.shape[2:]).contiguous()


def _misfit_gradient(fixed: Tensor, moving: Tensor, displacement: Tensor, planes: slice) -> Tensor:
    """(N, 3, planes, j, i): gradient of the mean squared difference of fixed to moving at a displacement.

    The mean is over some planes along k. fixed: descriptors (1, 12, k, j, i); moving: (N, 13, k, j, i), with
    a mask, by which each voxel's difference is weighted; displacement: (N, 3, k, j, i).
    """
    index = (voxel_indices(displacement) + displacement)[:, :, planes].requires_grad_(True)
    with torch.enable_grad():
        seen = sampled(moving, index)
    scale = _MISFIT / index[0, 0].numel()
    difference = seen.detach()[:, :-1] - fixed[:, :, planes]
    weight = seen.detach()[:, -1:] * (2 * scale / fixed.shape[1])
    by_mask = difference.square().mean(1, keepdim=True) * scale
    (found,) = torch.autograd.grad(seen, index, torch.cat([difference * weight, by_mask], 1))
    return found


def _roughness_gradient(displacement: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """(N, 3, k, j, i): gradient of the mean squared differences of neighbours, summed over the axes."""
    parts = [_along(displacement, matrix, axis) for axis, matrix in enumerate(matrices)]
    return parts[0].add_(parts[1]).add_(parts[2])


def _smoothing_matrices(field: Tensor) -> list[Tensor]:
    """For each axis of a field (N, 3, k, j, i), the matrix of two box filters of width 3, edges repeated."""
    matrices = []
    for length in field.shape[2:]:
        line = torch.eye(length, device=field.device)
        padded = torch.cat([line[:1], line, line[-1:]])
        once = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
        matrices.append(once @ once)
    return matrices


def _roughness_matrices(field: Tensor) -> list[Tensor]:
    """For each axis of a field (N, 3, k, j, i), the matrix of the gradient of mean squared differences."""
    matrices = []
    for length in field.shape[2:]:
        difference = torch.eye(length, device=field.device).diff(dim=0)
        number = field[0].numel() // length * (length - 1)
        matrices.append(difference.T @ difference * (2 / max(number, 1)))
    return matrices


def _along_axes(values: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Values (N, C, k, j, i) times a matrix along each of the last three axes."""
    for axis, matrix in enumerate(matrices):
        values = _along(values, matrix, axis)
    return values


def _along(values: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """Values (N, C, k, j, i) times a matrix along axis 0, 1 or 2 of (k, j, i)."""
    if axis == 2:
        return values @ matrix.T
    if axis == 1:
        return matrix @ values
    return (matrix @ values.flatten(3)).view(values.shape)


def _pooled(values: Tensor, factor: int) -> Tensor:
    """(N, C, k, j, i) averaged over blocks; what is left over at the end makes a block of its own."""
    return functional.avg_pool3d(values, factor, ceil_mode=True, count_include_pad=False)


def _resized(field: Tensor, shape: tuple[int, ...]) -> Tensor:
    return functional.interpolate(field, size=tuple(shape), mode="trilinear", align_corners=False)


def warped(values: Tensor, displacement: Tensor) -> Tensor:
    """Values (N, C, k, j, i) at x + displacement (N, 3, k, j, i), linear; the edge is repeated outside."""
    return sampled(values, voxel_indices(displacement) + displacement)


def voxel_indices(field: Tensor) -> Tensor:
    """(3, k, j, i): the indices of every voxel of a field (N, C, k, j, i)."""
    axes = [torch.arange(n, dtype=field.dtype, device=field.device) for n in field.shape[2:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))
