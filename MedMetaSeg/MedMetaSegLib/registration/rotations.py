"""In-plane rotations, by which oblique scans (short-axis hearts) differ.

They differ by any angle about the axis across their slices, and a gradient descent on correlation does not
come round that far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..network.side_by_side import Caller, pieces_at_once, side_by_side
from .pose import Pose, best_shifts
from .sampling import TensorImage, inside, places_of, sampled

_DEGREES = tuple(degrees for degrees in range(-150, 181, 30) if degrees)
"""Degrees tried about the axis across the slices; between two of them a gradient descent finds the way."""
_OBLIQUE_DEGREES = 10.0
"""Degrees between the directions of two scans from which on a gradient descent is not enough."""
_SCALES = (0.8, 1.25)
"""Scales of the rotated images that are tried beside their own size."""
_WORTH_SCALING = 0.65
"""Share of the best score at its own size that a rotation must reach to be tried at other scales."""
_VOXELS = 8_000
"""Voxels of the larger image in the search over all shifts."""
_MOST = 3
"""Rotations that are handed on at most."""
_LEAST_SCORE = 0.8
"""Share of the best score that a rotation must reach to be handed on."""
_COST = 0.02
"""Correlation that 1 minus the cosine of a rotation costs: without a reason a patient is not rotated."""


@dataclass(frozen=True, eq=False)
class RotatedImage:
    """An image on a grid rotated about the origin of its places: own_mm = matrix @ rotated_mm.

    mask: float32 (k, j, i), 1 where the grid lies in the image, 0 elsewhere. matrix: (3, 3).
    """

    image: TensorImage
    mask: Tensor
    matrix: np.ndarray

    def own(self, pose: Pose) -> Pose:
        """A pose of the rotated image as one of the image itself, less what the rotation costs."""
        return Pose(
            self.matrix @ pose.matrix, self.matrix @ pose.shift_mm, pose.global_ncc - _cost(self.matrix)
        )


def in_plane_rotation(axis: int, degrees: float) -> np.ndarray:
    """The rotation (3, 3) about an axis, 0 to 2."""
    angle = np.deg2rad(degrees)
    plane = [one for one in range(3) if one != axis]
    matrix = np.eye(3)
    matrix[np.ix_(plane, plane)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


def possible_rotations(axis: int, axes: np.ndarray, own: np.ndarray | None) -> list[np.ndarray]:
    """Rotations (3, 3) that may bring a patient's image onto a query, the first of them none at all.

    Any about the axis across the query's slices; and the one between the directions of the two scans, where
    that is more than little. axes, own: (3, 3), whose columns say where k, j and i of the query and of the
    patient point in RAS; own is None where that is not known.
    """
    found = [np.eye(3), *(in_plane_rotation(axis, degrees) for degrees in _DEGREES)]
    if own is not None:
        u, _, v = np.linalg.svd(own.T @ axes)
        between = u @ v
        if np.linalg.det(between) > 0 and angle_between(np.eye(3), between) > _OBLIQUE_DEGREES:
            found += [between @ in_plane_rotation(axis, degrees) for degrees in (-30, 0, 30)]
    return found


def angle_between(one: np.ndarray, other: np.ndarray) -> float:
    """Degrees between the rotations that two affine maps (3, 3) hold."""
    u, _, v = np.linalg.svd(np.linalg.solve(one, other))
    return float(np.degrees(np.arccos(np.clip((np.trace(u @ v) - 1) / 2, -1, 1))))


@torch.no_grad()
def rotated(image: TensorImage, matrix: np.ndarray) -> RotatedImage:
    """`image` rotated by matrix (3, 3); edges are repeated outside it."""
    ends = np.stack([image.start_mm, image.end_mm])
    corners = np.stack([ends[[a, b, c], range(3)] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    there = corners @ matrix
    spacing = np.sqrt(np.square(matrix.T) @ np.square(image.spacing_mm))
    start = there.min(0)
    shape = np.floor((there.max(0) - start) / spacing + 1e-6).astype(int) + 1
    intensity = image.intensity
    places = places_of(start, spacing, shape.tolist(), intensity.device)
    turn = torch.from_numpy(matrix).to(intensity)
    index = image.index(torch.tensordot(turn, places, 1))
    mask = inside(index, intensity.shape, margin=0.5).float()
    values = sampled(intensity[None, None], index[None])[0, 0].round()
    return RotatedImage(TensorImage(values, spacing, start), mask, matrix)


def likely_rotations(
    fixed: TensorImage,
    images: Sequence[TensorImage],
    matrices: Sequence[np.ndarray],
    check: Callable[[], None] = lambda: None,
) -> list[tuple[np.ndarray, list[Pose]]]:
    """The rotations by which a patient's images lie best over fixed, best first, with rough poses.

    The poses are those of the rotated images. The first of matrices, (3, 3) each, is what to compare with,
    and not among them; where it is best by far, none is. check: called in between, may raise.
    """

    def best_poses(matrix: np.ndarray, scales: Sequence[float], caller: Caller) -> list[Pose]:
        turned = [rotated(image, matrix) for image in images]
        return [best_shifts(fixed, one.image, one.mask, scales, _VOXELS, caller.check)[0] for one in turned]

    def all_poses(numbers: Sequence[int], scales: Sequence[float]) -> list[list[Pose]]:
        work = [partial(best_poses, matrices[n], scales) for n in numbers]
        return list(side_by_side(work, pieces_at_once(fixed.intensity.device), check))

    def score(number: int) -> float:
        mean = np.mean([pose.global_ncc for pose in starts[number]])
        return float(mean) - _cost(matrices[number])

    starts = all_poses(range(len(matrices)), (1.0,))
    scores = [score(number) for number in range(len(matrices))]
    least = _WORTH_SCALING * max(scores)
    scaled = [number for number, one in enumerate(scores) if number == 0 or one >= least]
    for number, poses in zip(scaled, all_poses(scaled, _SCALES), strict=True):
        pairs = zip(starts[number], poses, strict=True)
        starts[number] = [max(pair, key=lambda pose: pose.global_ncc) for pair in pairs]
        scores[number] = score(number)
    order = np.argsort(scores)[::-1]
    worth = [n for n in order if scores[n] >= _LEAST_SCORE * scores[order[0]]]
    return [(matrices[n], starts[n]) for n in worth if n > 0][:_MOST]


def _cost(matrix: np.ndarray) -> float:
    """What a rotation costs; its trace is 1 + 2 cos(angle)."""
    return _COST * (3 - float(np.trace(matrix))) / 2
