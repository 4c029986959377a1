"""Prototypes: several points in feature space for a structure and for what is around it.

Masked average pooling (Zhang et al., SG-One, 2018) gives one mean; a structure with parts of different
appearance needs several, as in PPNet (Liu et al., ECCV 2020) and ALPNet (Ouyang et al., ECCV 2020). They are
found by spherical k-means from a farthest-point start: no random numbers, so the same painting gives the same
prototypes. Beside them stands the best linear border between structure and background, by ridge regression in
closed form (Bertinetto et al., R2-D2, ICLR 2019): differentiable, so the encoder learns features that a few
slices suffice to separate.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor

MAX_POINTS = 2048
NO_WEIGHT = 1e-3
SIMILARITY_CHANNELS = 7
(BEST_FOREGROUND, BEST_BACKGROUND, MEAN, VOTE, BORDER, TASK_VOTE, TASK_BORDER) = range(SIMILARITY_CHANNELS)


KnownPoints = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Vectors (N, E) and weights (N,) of the known foreground, and of the known background."""


class Prototypes(NamedTuple):
    """Unit vectors: foreground (P, E), background (Q, E) and the single mean of the foreground (1, E).

    border: (E + 1,), weights and offset of the linear score that is +1 for the structure, -1 for the
    background.
    """

    foreground: Tensor
    background: Tensor
    mean: Tensor
    border: Tensor


def spherical_clusters(points: Tensor, weights: Tensor, number: int, steps: int = 3) -> Tensor:
    """At most `number` unit vectors (P, E) standing for weighted unit vectors points (N, E), weights (N,)."""
    with torch.no_grad():
        detached = points.detach()
        start = functional.normalize((detached * weights[:, None]).sum(0), dim=0)
        chosen = [int((detached @ start).argmax())]
        nearest = detached @ detached[chosen[0]]
        while len(chosen) < min(number, len(points)):
            far = int(((1 - nearest) * weights).argmax())
            if nearest[far] > 0.999:
                break
            chosen.append(far)
            nearest = torch.maximum(nearest, detached @ detached[far])
        centres = detached[chosen]
        for _ in range(steps):
            owner = (detached @ centres.T).argmax(1)
            share = functional.one_hot(owner, len(centres)).to(points.dtype) * weights[:, None]
            kept = share.sum(0) > 0
            share = share[:, kept]
            centres = functional.normalize(share.T @ detached, dim=1)
    return functional.normalize(share.T @ points, dim=1)


def sampled(embedding: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The vectors (N, E) of embedding (E, k, j, i) where weight (k, j, i) > 0, and their weights (N,).

    N is at most MAX_POINTS; above that, an even stride through the voxels: deterministic, and spread over the
    whole volume.
    """
    where = (weight.reshape(-1) > 0.05).nonzero()[:, 0]
    if len(where) == 0:
        where = weight.reshape(-1).argmax()[None]
    if len(where) > MAX_POINTS:
        where = where[torch.linspace(0, len(where) - 1, MAX_POINTS, device=where.device).long()]
    points = embedding.reshape(embedding.shape[0], -1)[:, where].T
    return points, weight.reshape(-1)[where].clamp(min=NO_WEIGHT)


def linear_border(
    foreground: tuple[Tensor, Tensor], background: tuple[Tensor, Tensor], ridge: Tensor
) -> Tensor:
    """(E + 1,) of the ridge regression of +1 and -1 on known vectors; both sides weigh the same.

    ridge: scalar > 0.
    """
    # Sums over thousands of points, and a solver, need float32: half precision has neither.
    with torch.autocast(ridge.device.type, enabled=False):
        vectors = torch.cat([foreground[0], background[0]]).float()
        points = functional.pad(vectors, (0, 1), value=1.0)
        sides = (foreground[1].float(), background[1].float())
        weights = torch.cat([side / side.sum() for side in sides])
        wanted = torch.cat([weights[: len(foreground[1])], -weights[len(foreground[1]) :]])
        weighted = points.T * weights
        return torch.linalg.solve(
            weighted @ points + ridge * torch.eye(points.shape[1], device=points.device), points.T @ wanted
        )


def prototypes_from_points(
    foreground: tuple[Tensor, Tensor],
    background: tuple[Tensor, Tensor],
    number_foreground: int,
    number_background: int,
    ridge: Tensor,
) -> Prototypes:
    """Prototypes from (points, weights) of what is known to be the structure and known not to be."""
    points, weights = foreground
    return Prototypes(
        spherical_clusters(points, weights, number_foreground),
        spherical_clusters(*background, number_background),
        functional.normalize((points * weights[:, None]).sum(0, keepdim=True), dim=1),
        linear_border(foreground, background, ridge),
    )


def similarity_maps(
    embedding: Tensor, prototypes: Prototypes, temperature: Tensor, task: Prototypes | None = None
) -> Tensor:
    """(SIMILARITY_CHANNELS, k, j, i) of embedding (E, k, j, i).

    Best foreground cosine, best background cosine, cosine to the mean, the log ratio of soft votes, and the
    linear score; then log ratio and linear score of `task`, prototypes that were learned on another patient
    (those of this image when None). Each of the last four, thresholded at 0, is a segmentation of its own.
    """
    flat = embedding.reshape(embedding.shape[0], -1)
    foreground, background = prototypes.foreground @ flat, prototypes.background @ flat
    own = [_ratio(foreground, background, temperature), _linear(prototypes, flat)]
    learned = own
    if task is not None:
        votes = _ratio(task.foreground @ flat, task.background @ flat, temperature)
        learned = [votes, _linear(task, flat)]
    maps = [foreground.amax(0), background.amax(0), (prototypes.mean @ flat)[0], *own, *learned]
    return torch.stack(maps).reshape(SIMILARITY_CHANNELS, *embedding.shape[1:])


def _ratio(foreground: Tensor, background: Tensor, temperature: Tensor) -> Tensor:
    return _soft_vote(foreground, temperature) - _soft_vote(background, temperature)


def _linear(prototypes: Prototypes, flat: Tensor) -> Tensor:
    return prototypes.border[:-1] @ flat + prototypes.border[-1]


def _soft_vote(cosines: Tensor, temperature: Tensor) -> Tensor:
    return torch.logsumexp(cosines * temperature, 0) - torch.log(torch.tensor(float(len(cosines))))
