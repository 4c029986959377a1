"""Affine poses refined by gradient descent on the correlation of MIND descriptors, several at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..network.side_by_side import Caller, pieces_at_once, side_by_side
from ..working_grid.reduced_image import even_spacing
from .pose import SIZE_COST, Pose, centred_descriptors, resampled_mask
from .sampling import TensorImage, places_of, resampled, sampled

_STEPS = 30
"""Steps of gradient descent for each pose."""
_REFINED_VOXELS = 40_000
"""Voxels of the smaller image in the gradient descent."""
_NEAR = 3
"""Voxels around the moving image whose points of the fixed one take part in the descent."""
_SHAPE_COST = 0.2
"""Correlation that the squared distance from a map that keeps shape costs, per unit.

Without this and the cost of size a crop shrinks out of shape for little correlation, and misleads the warp
that follows.
"""


@dataclass(frozen=True, eq=False)
class _Points:
    """The points of the fixed image at which P poses are compared, N at most, in float32 on the device.

    places: (P, 3, N) from the mean of each pose's points, in half_extent_mm; descriptors: (P, 12, N); known:
    (P, N), 0 for what only fills up a pose with fewer points. centre: (P, 3) millimetres and half_extent_mm:
    (P,), float64 for the way back.
    """

    places: Tensor
    descriptors: Tensor
    known: Tensor
    centre: np.ndarray
    half_extent_mm: np.ndarray


def refined_poses(
    fixed: TensorImage,
    moving: TensorImage,
    starts: Sequence[Pose],
    check: Callable[[], None] = lambda: None,
    most_points: int = 6_000,
    moving_mask: Tensor | None = None,
) -> list[Pose]:
    """The poses after gradient descent over all twelve numbers of each; without those that bring nothing of
    moving into fixed.

    check: called in between, may raise; most_points: of fixed that are compared; moving_mask: float32
    (k, j, i), 1 where moving is to be compared, everywhere when None.
    """
    if not starts:
        return []
    spacing = even_spacing(
        np.minimum(fixed.extent_mm, moving.extent_mm),
        np.maximum(fixed.spacing_mm, moving.spacing_mm),
        _REFINED_VOXELS,
    )
    a, b = (centred_descriptors(resampled(image, spacing)) for image in (fixed, moving))
    mask = torch.ones_like(moving.intensity) if moving_mask is None else moving_mask
    target = torch.cat([b, resampled_mask(moving, mask, spacing)[None]])
    places = places_of(fixed.start_mm, spacing, a.shape[1:], a.device).flatten(1)
    near = [_near(start, places, moving.start_mm, spacing, b.shape[1:], most_points) for start in starts]
    kept = [number for number, one in enumerate(near) if len(one)]
    if not kept:
        return []
    image = target[None].contiguous(memory_format=torch.channels_last_3d)

    def refine(numbers: Sequence[int], caller: Caller) -> list[Pose]:
        points = _points(places, a.flatten(1), [near[number] for number in numbers])
        some = [starts[number] for number in numbers]
        return _refined(points, image, moving.start_mm, spacing, some, caller.check)

    at_once = pieces_at_once(a.device)
    shares = [kept[first::at_once] for first in range(min(at_once, len(kept)))]
    work = [partial(refine, share) for share in shares]
    found: dict[int, Pose] = {}
    for share, poses in zip(shares, side_by_side(work, at_once, check), strict=True):
        found.update(zip(share, poses, strict=True))
    return [found[number] for number in kept]


def _near(
    start: Pose,
    places: Tensor,
    origin_mm: np.ndarray,
    spacing_mm: np.ndarray,
    shape: Sequence[int],
    most_points: int,
) -> Tensor:
    """Numbers of the places (3, N), millimetres in fixed, that a pose brings to the moving image or near it.

    The moving image has `shape` from origin_mm on. At most about `most_points`, evenly chosen.
    """
    matrix = start.matrix / spacing_mm[:, None]
    offset = (start.shift_mm - origin_mm) / spacing_mm
    index = _on(matrix, places) @ places + _on(offset, places)[:, None]
    last = _on(np.array(shape) - 1, places)[:, None]
    near = (torch.maximum(-index, index - last).amax(0) < _NEAR).nonzero()[:, 0]
    return near[:: max(1, len(near) // most_points)]


def _points(places: Tensor, descriptors: Tensor, near: Sequence[Tensor]) -> _Points:
    """The points of every pose; places (3, N) and descriptors (12, N) are of all points."""
    parts = [places[:, one] for one in near]
    centre = torch.stack([one.mean(1) for one in parts])
    relative = [one - middle[:, None] for one, middle in zip(parts, centre, strict=True)]
    half_extent = torch.stack([one.abs().max() for one in relative]).clamp(min=1e-3)
    known = pad_sequence([torch.ones_like(one[0]) for one in parts], batch_first=True)
    values = pad_sequence([descriptors[:, one].T for one in near], batch_first=True).transpose(1, 2)
    padded = pad_sequence([one.T for one in relative], batch_first=True).transpose(1, 2)
    numbers = torch.cat([centre, half_extent[:, None]], 1).cpu().numpy().astype(float)
    return _Points(padded / half_extent[:, None, None], values, known, numbers[:, :3], numbers[:, 3])


def _refined(
    points: _Points,
    image: Tensor,
    origin_mm: np.ndarray,
    spacing_mm: np.ndarray,
    starts: Sequence[Pose],
    check: Callable[[], None],
) -> list[Pose]:
    """The poses after gradient descent.

    image: (1, 13, k, j, i), the descriptors of the moving image from origin_mm on, and its mask.
    """
    matrices = np.stack([start.matrix for start in starts])
    shifts = np.stack([start.shift_mm for start in starts])
    centre, half_extent = points.centre, points.half_extent_mm
    place = np.einsum("pab,pb->pa", matrices, centre) + shifts
    to_index = _on(1 / spacing_mm, image)[:, None]
    base = _on(matrices * half_extent[:, None, None], image)
    origin = _on(place - origin_mm, image)[:, :, None]
    start_matrix = _on(matrices, image)
    last = _on(np.array(image.shape[2:]) - 1, image)[:, None]
    change = torch.zeros(len(starts), 3, 4, device=image.device, requires_grad=True)
    descent = torch.optim.Adam([change], lr=0.01)
    best = torch.full((len(starts),), -1.0, device=image.device)
    best_change = torch.zeros_like(change, requires_grad=False)
    most = None
    for _ in range(_STEPS + 1):
        check()
        descent.zero_grad()
        moved = base @ (points.places + change[:, :, :3] @ points.places + change[:, :, 3:]) + origin
        index = moved * to_index
        seen = sampled(image, index.transpose(0, 1)[None, :, :, None])[0, :, :, 0].transpose(0, 1)
        within = ((index >= 0) & (index <= last)).all(1)
        weight = within * seen[:, -1].detach() * points.known
        ncc = _ncc(seen[:, :-1], points.descriptors, weight)
        cost = _cost(start_matrix @ (torch.eye(3, device=image.device) + change[:, :, :3]))
        with torch.no_grad():
            total = weight.sum(1)
            most = total.clamp(min=1.0) if most is None else most
            reached = ncc * (total / most).clamp(max=1.0).sqrt() - cost
            better = reached > best
            best = torch.where(better, reached, best)
            best_change = torch.where(better[:, None, None], change, best_change)
        (cost - ncc).sum().backward()
        descent.step()
    numbers = torch.cat([best_change.flatten(1), best[:, None]], 1).cpu().numpy().astype(float)
    changes = numbers[:, :12].reshape(-1, 3, 4)
    found = matrices @ (np.eye(3) + changes[:, :, :3])
    moves = np.einsum("pab,pb->pa", matrices, changes[:, :, 3] * half_extent[:, None])
    away = place + moves - np.einsum("pab,pb->pa", found, centre)
    return [Pose(*one) for one in zip(found, away, numbers[:, 12].tolist(), strict=True)]


def _on(values: np.ndarray, like: Tensor) -> Tensor:
    """Numbers as float32 where another tensor is."""
    return torch.from_numpy(np.asarray(values, np.float32)).to(like.device)


def _cost(matrices: Tensor) -> Tensor:
    """(P,): correlation that maps (P, 3, 3) cost for the shape and the size they change."""
    size = torch.linalg.det(matrices).clamp(min=1e-3) ** (1 / 3)
    shape = matrices / size[:, None, None] - torch.eye(3, device=matrices.device)
    return _SHAPE_COST * shape.square().sum((1, 2)) + SIZE_COST * size.log().square()


def _ncc(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """(P,): normalised cross-correlation of descriptors (P, C, N), all channels of a pose together.

    weight: (P, N), of every point.
    """
    weight = weight[:, None]
    total = weight.sum(2, keepdim=True).clamp(min=1.0)
    a = a - (a * weight).sum(2, keepdim=True) / total
    b = b - (b * weight).sum(2, keepdim=True) / total
    spread = (a.square() * weight).sum((1, 2)) * (b.square() * weight).sum((1, 2))
    return (a * b * weight).sum((1, 2)) / (spread + 1e-6).sqrt()
