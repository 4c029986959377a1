"""Prototypes: several points in feature space for a structure and for what is around it.

Masked average pooling (Zhang et al., SG-One, 2018) gives one mean; a structure with parts of different
appearance needs several, as in PPNet (Liu et al., ECCV 2020) and ALPNet (Ouyang et al., ECCV 2020). They are
found by spherical k-means from a farthest-point start: no random numbers, so the same annotation gives the
same prototypes. Beside them stands a linear ridge classifier of structure and background, in closed form
(Bertinetto et al., R2-D2, ICLR 2019): differentiable, so the encoder learns features that a few slices
suffice to separate.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor

MAX_POINTS = 2048
"""Known vectors of one side that prototypes are made from, at most."""
NO_WEIGHT = 1e-3
"""Weight of a vector that stands for a side of which nothing is known."""
_SAME = 0.999
"""Cosine above which two vectors hardly differ."""
SIMILARITY_CHANNELS = 7
"""Maps that `similarity_maps` makes, by these numbers."""
BEST_FOREGROUND, BEST_BACKGROUND, MEAN, PROTOTYPE_LOGIT, RIDGE, TASK_PROTOTYPE_LOGIT, TASK_RIDGE = range(
    SIMILARITY_CHANNELS
)

KnownPoints = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Vectors (N, E) and weights (N,) of the known foreground, and of the known background."""


class Prototypes(NamedTuple):
    """What stands for one structure and what is around it, in the space of the embedding.

    foreground (P, E), background (Q, E), and mean (1, E), the single mean of the foreground: unit vectors.
    ridge (E + 1,): weights and offset of the ridge classifier, whose score is fitted to +1 for the structure
    and -1 for the background.
    """

    foreground: Tensor
    background: Tensor
    mean: Tensor
    ridge: Tensor


def spherical_clusters(points: Tensor, weights: Tensor, number: int, steps: int = 3) -> Tensor:
    """At most `number` unit vectors (P, E) standing for weighted unit vectors points (N, E), weights (N,)."""
    with torch.no_grad():
        detached = points.detach()
        centres = _farthest_points(detached, weights, number)
        for _ in range(steps):
            owner = (detached @ centres.T).argmax(1)
            membership = functional.one_hot(owner, len(centres)).to(points.dtype) * weights[:, None]
            membership = membership[:, membership.sum(0) > 0]
            centres = functional.normalize(membership.T @ detached, dim=1)
    return functional.normalize(membership.T @ points, dim=1)


def _farthest_points(points: Tensor, weights: Tensor, number: int) -> Tensor:
    """At most `number` of the points (N, E): that most like the mean, then the least like those before.

    It ends before a point that hardly differs. Only the whole answer is waited for, not every point.
    """
    start = functional.normalize((points * weights[:, None]).sum(0), dim=0)
    far = (points @ start).argmax().view(1)
    nearest = points.new_full(weights.shape, -1.0)
    chosen, differs = [far], [torch.ones_like(far, dtype=torch.bool)]
    for _ in range(min(number, len(points)) - 1):
        nearest = torch.maximum(nearest, points @ points.index_select(0, far)[0])
        far = ((1 - nearest) * weights).argmax().view(1)
        chosen.append(far)
        differs.append(nearest.index_select(0, far) <= _SAME)
    kept = torch.cat(differs).cumprod(0) > 0
    return points.index_select(0, torch.cat(chosen)[kept])


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


def ridge_classifier(
    foreground: tuple[Tensor, Tensor], background: tuple[Tensor, Tensor], penalty: Tensor
) -> Tensor:
    """Weights and offset (E + 1,) of the ridge regression of +1 and -1 on known vectors.

    foreground, background: vectors (N, E) and weights (N,); both sides weigh the same. penalty: of squared
    weights, a scalar > 0.
    """
    # Sums over thousands of points, and a solver, need float32: half precision has neither.
    with torch.autocast(penalty.device.type, enabled=False):
        vectors = torch.cat([foreground[0], background[0]]).float()
        points = functional.pad(vectors, (0, 1), value=1.0)
        sides = (foreground[1].float(), background[1].float())
        weights = torch.cat([side / side.sum() for side in sides])
        wanted = torch.cat([weights[: len(foreground[1])], -weights[len(foreground[1]) :]])
        weighted = points.T * weights
        return torch.linalg.solve(
            weighted @ points + penalty * torch.eye(points.shape[1], device=points.device), points.T @ wanted
        )


def prototypes_from_points(
    foreground: tuple[Tensor, Tensor],
    background: tuple[Tensor, Tensor],
    number_foreground: int,
    number_background: int,
    ridge_penalty: Tensor,
) -> Prototypes:
    """Prototypes from vectors (N, E) and weights (N,) of the known foreground and background.

    number_foreground, number_background: of prototypes, at most; ridge_penalty: see `ridge_classifier`.
    """
    points, weights = foreground
    return Prototypes(
        spherical_clusters(points, weights, number_foreground),
        spherical_clusters(*background, number_background),
        functional.normalize((points * weights[:, None]).sum(0, keepdim=True), dim=1),
        ridge_classifier(foreground, background, ridge_penalty),
    )


def similarity_maps(
    embedding: Tensor, prototypes: Prototypes, temperature: Tensor, task: Prototypes | None = None
) -> Tensor:
    """Maps (SIMILARITY_CHANNELS, k, j, i) of how similar an embedding (E, k, j, i) is to prototypes.

    Best foreground cosine, best background cosine, cosine to the mean, the prototype logit and the score of
    the ridge classifier; then prototype logit and score of `task`, prototypes that were learned on another
    patient (those of this image when None). Each of the last four, thresholded at 0, is a segmentation of its
    own. temperature: a scalar by which cosines are multiplied in the prototype logit.
    """
    flat = embedding.reshape(embedding.shape[0], -1)
    foreground, background = prototypes.foreground @ flat, prototypes.background @ flat
    own = [_prototype_logit(foreground, background, temperature), _ridge_score(prototypes, flat)]
    learned = own
    if task is not None:
        logit = _prototype_logit(task.foreground @ flat, task.background @ flat, temperature)
        learned = [logit, _ridge_score(task, flat)]
    maps = [foreground.amax(0), background.amax(0), (prototypes.mean @ flat)[0], *own, *learned]
    return torch.stack(maps).reshape(SIMILARITY_CHANNELS, *embedding.shape[1:])


def _prototype_logit(foreground: Tensor, background: Tensor, temperature: Tensor) -> Tensor:
    return _log_mean_exp(foreground, temperature) - _log_mean_exp(background, temperature)


def _ridge_score(prototypes: Prototypes, flat: Tensor) -> Tensor:
    return prototypes.ridge[:-1] @ flat + prototypes.ridge[-1]


def _log_mean_exp(cosines: Tensor, temperature: Tensor) -> Tensor:
    return torch.logsumexp(cosines * temperature, 0) - torch.log(torch.tensor(float(len(cosines))))
