"""Dense registration of two images on one grid: which voxel of the moving one belongs to which of the fixed.

A discrete search over large displacements, made smooth by coupled convex optimisation, then gradient descent
(Siebert, Hansen and Heinrich, "ConvexAdam", IEEE TMI 2024; Heinrich et al., WBIR 2014). What is compared are
MIND descriptors (Heinrich et al., MedIA 2012), which stay the same when the intensities of tissues change.
Nothing is random: the same images give the same displacement.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

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


def mind_descriptors(image: Tensor) -> Tensor:
    """MIND-SSC descriptors (12, k, j, i), 0 to 1, of an image (k, j, i): how alike pairs of neighbours are.

    The modality independent neighbourhood descriptor (MIND: Heinrich et al., Medical Image Analysis 2012) in
    its self-similarity context (SSC: Heinrich et al., MICCAI 2013): patches of 3 x 3 x 3 voxels around the
    six neighbours of a voxel, compared in the twelve pairs of which neither is opposite the other.
    """
    padded = functional.pad(image[None, None], (1,) * 6, mode="replicate")[0, 0]
    size = image.shape
    shifted = [
        padded[tuple(slice(1 + s, 1 + s + n) for s, n in zip(step, size, strict=True))]
        for step in _NEIGHBOURS
    ]
    difference = torch.stack([_box((shifted[a] - shifted[b]).square(), 3) for a, b in _PAIRS])
    difference -= difference.amin(0)
    variance = difference.mean(0)
    typical = variance.mean()
    variance.clamp_(1e-3 * float(typical) + 1e-12, 1e3 * float(typical) + 1e-12)
    return torch.exp(-difference / variance)


def dense_displacement(
    fixed: np.ndarray,
    moving: np.ndarray,
    moving_mask: np.ndarray,
    *,
    cell: int = 4,
    search_radius: int = 3,
    steps: int = 50,
    smoothness: float = 1.0,
    check: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """The displacement (3, k, j, i) float32 in voxels, by which fixed(x) is moving(x + displacement).

    fixed, moving: float32 (k, j, i) of one shape, already roughly aligned; moving_mask: bool of that shape,
    where moving has values. cell: voxels between the points of the discrete search; search_radius: cells it
    looks in each direction. steps: of the gradient descent that follows; smoothness: weight of the squared
    differences of neighbouring displacements there. check: called between pieces of work; may raise.
    """
    with torch.no_grad():
        fixed_mind = mind_descriptors(torch.from_numpy(fixed))
        moving_mind = mind_descriptors(torch.from_numpy(moving))
        mask = torch.from_numpy(moving_mask.astype(np.float32))
        check()
        coarse = _discrete(fixed_mind, moving_mind, mask, cell, search_radius)
    check()
    return _descended(fixed_mind, moving_mind, mask, coarse, steps, smoothness, check).numpy()


def _discrete(fixed: Tensor, moving: Tensor, moving_mask: Tensor, cell: int, search_radius: int) -> Tensor:
    """(3, k, j, i) voxels on the full grid, from both directions made consistent with each other."""
    shape = moving_mask.shape
    a, b, w = (_pooled(one, cell) for one in (fixed, moving, moving_mask[None]))
    forth = _convex(_costs(a, b, torch.ones_like(w), w, search_radius), search_radius)
    back = _convex(_costs(b, a, w, torch.ones_like(w), search_radius), search_radius)
    for _ in range(5):
        forth, back = (forth - _warped(back, forth)) / 2, (back - _warped(forth, back)) / 2
    return _resized(forth * cell, shape)


def _costs(a: Tensor, b: Tensor, a_mask: Tensor, b_mask: Tensor, search_radius: int) -> Tensor:
    """(D, k, j, i): mean squared difference of a to b at each of D displacements, over the typical one.

    D is (2 search_radius + 1) ** 3.
    """
    size = a.shape[1:]
    width = 2 * search_radius + 1
    padded = functional.pad(b[None], (search_radius,) * 6, mode="replicate")[0]
    padded_mask = functional.pad(b_mask[None], (search_radius,) * 6)[0, 0]
    costs = torch.empty(width**3, *size)
    for number, (dk, dj, di) in enumerate(product(range(width), repeat=3)):
        cut = (slice(dk, dk + size[0]), slice(dj, dj + size[1]), slice(di, di + size[2]))
        costs[number] = (a - padded[:, cut[0], cut[1], cut[2]]).square().mean(0)
        costs[number] += 1e3 * (padded_mask[cut] < 0.5)
    typical = costs[costs < 1e2].mean() if bool((costs < 1e2).any()) else torch.tensor(1.0)
    costs = torch.where(costs >= 1e2, _COST_OUTSIDE * typical, costs) / typical
    return costs * (a_mask > 0.5)


def _convex(costs: Tensor, search_radius: int) -> Tensor:
    """(3, k, j, i) cells: the best displacements, tied more and more to the mean of their neighbours."""
    steps = range(-search_radius, search_radius + 1)
    offsets = torch.tensor(list(product(steps, repeat=3)), dtype=torch.float32)
    flat = costs.reshape(len(costs), -1)
    size = costs.shape[1:]
    # A cell that cannot choose stays where it is.
    flat = flat + 1e-4 * offsets.square().sum(1, keepdim=True)
    smooth = _box(offsets[flat.argmin(0)].T.reshape(3, *size), 3)
    for coupling in _COUPLING:
        place = smooth.reshape(3, -1)
        distance = (
            offsets.square().sum(1, keepdim=True) - 2 * offsets @ place + place.square().sum(0, keepdim=True)
        )
        smooth = _box(offsets[(flat + coupling * distance).argmin(0)].T.reshape(3, *size), 3)
    return smooth


def _descended(
    fixed: Tensor,
    moving: Tensor,
    moving_mask: Tensor,
    start: Tensor,
    steps: int,
    smoothness: float,
    check: Callable[[], None],
) -> Tensor:
    """The displacement after gradient descent at half resolution, (3, k, j, i) voxels."""
    factor = 2
    a, b, w = (_pooled(one, factor) for one in (fixed, moving, moving_mask[None]))
    shape = a.shape[1:]
    field = (_resized(start, shape) / factor).requires_grad_(True)
    descent = torch.optim.Adam([field], lr=1.0 / factor)
    both = torch.cat([b, w])
    scale = 12.0
    for step in range(steps):
        if step % 10 == 0:
            check()
        descent.zero_grad()
        smooth = _box(_box(field, 3), 3)
        seen = _warped(both, smooth)
        misfit = ((seen[:-1] - a).square().mean(0) * seen[-1]).mean() * scale
        roughness = sum((smooth.diff(dim=axis)).square().mean() for axis in (1, 2, 3))
        (misfit + smoothness * roughness).backward()
        descent.step()
    with torch.no_grad():
        return _resized(_box(_box(field, 3), 3) * factor, moving_mask.shape).contiguous()


def _box(values: Tensor, width: int) -> Tensor:
    """Mean of the (width)^3 neighbourhood of values (..., k, j, i), edges repeated."""
    flat = values.reshape(1, -1, *values.shape[-3:])
    padded = functional.pad(flat, (width // 2,) * 6, mode="replicate")
    return functional.avg_pool3d(padded, width, stride=1).reshape(values.shape)


def _pooled(values: Tensor, factor: int) -> Tensor:
    """(C, k, j, i) averaged over blocks; what is left over at the end makes a block of its own."""
    return functional.avg_pool3d(values[None], factor, ceil_mode=True, count_include_pad=False)[0]


def _resized(field: Tensor, shape: tuple[int, ...]) -> Tensor:
    return functional.interpolate(field[None], size=tuple(shape), mode="trilinear", align_corners=False)[0]


def _warped(values: Tensor, displacement: Tensor) -> Tensor:
    """values (C, k, j, i) at x + displacement (3, k, j, i), linear; the edge is repeated outside."""
    shape = displacement.shape[1:]
    axes = [torch.arange(n, dtype=torch.float32) for n in shape]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij")) + displacement
    unit = [2 * index[axis] / max(shape[axis] - 1, 1) - 1 for axis in (2, 1, 0)]
    return functional.grid_sample(
        values[None], torch.stack(unit, -1)[None], padding_mode="border", align_corners=True
    )[0]
