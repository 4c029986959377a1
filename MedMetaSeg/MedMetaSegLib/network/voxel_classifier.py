"""A small voxel classifier fitted in closed form to what is known of one structure: evidence for the network.

Random-feature least squares (Rahimi and Recht, "Weighted sums of random kitchen sinks", NeurIPS 2008) on
intensities at several scales, edges, texture and position. The scores are turned into log odds by a logistic
fit (Platt, 1999) on slices held out in turn, so that a classifier that does not carry from slice to slice
says little. The random features are always the same ones: the same annotation gives the same evidence.
Everything runs on the device that the features are on.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .box_filter import box_mean

FEATURES = 10
_HIDDEN = 128
_MAX_POINTS = 2000
_FOLDS = 4
_RIDGE = 1e-2
_SLOPE_ALONE = 2.5
"""Of the log odds where a single slice leaves nothing to hold out."""
_LIMIT = 5.0
_AT_ONCE = {"cpu": 1 << 12, "cuda": 1 << 19}
"""Voxels classified at a time: what fits a processor's cache, or a small part of a GPU's memory."""
_WIDTHS = (3, 5, 9)


@torch.no_grad()
def voxel_features(image: Tensor, aspect: float) -> Tensor:
    """(FEATURES - 3, k, j, i) float32 of an image (IMAGE_CHANNELS, k, j, i): what no painting changes.

    Both contrasts, three smoothed scales, edge strength and local deviation. aspect: slice spacing over
    in-plane spacing; smoothing reaches as far along the slices as in them.
    """
    standard, equalised = image
    fine, middle, coarse = (smoothed(equalised, width, aspect) for width in _WIDTHS)
    edge = (_slope(fine, 1).square() + _slope(fine, 2).square()).sqrt()
    deviation = (smoothed(equalised.square(), 5, aspect) - middle.square()).clamp(min=0).sqrt()
    return torch.stack([standard.clamp(-4, 4), equalised, fine, middle, coarse, 2 * edge, 2 * deviation])


def smoothed(image: Tensor, width: int, aspect: float) -> Tensor:
    """The image (k, j, i) after two box filters of `width` in-plane voxels: nearly Gaussian, and fast."""
    along = int(width / aspect / 2) * 2 + 1
    once = box_mean(image[None, None], (along, width, width))
    return box_mean(once, (along, width, width))[0, 0]


def _slope(image: Tensor, axis: int) -> Tensor:
    """Half the difference of the neighbours along an axis, zero at its ends."""
    slope = torch.zeros_like(image)
    inner = image.shape[axis] - 2
    if inner > 0:
        ahead, behind = image.narrow(axis, 2, inner), image.narrow(axis, 0, inner)
        slope.narrow(axis, 1, inner).copy_((ahead - behind) / 2)
    return slope


@torch.no_grad()
def appearance_log_odds(features: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """Log odds (k, j, i) float32, within +-5, that a voxel is the structure by its looks and its place.

    features: from `voxel_features`; foreground, background: bool (k, j, i), the known voxels. Zero where
    one side is unknown altogether.
    """
    shape = features.shape[1:]
    inside, outside = (_spread(known.reshape(-1).nonzero()[:, 0]) for known in (foreground, background))
    if not len(inside) or not len(outside):
        return features.new_zeros(shape)
    where = torch.cat([inside, outside])
    index = _index(where, shape)
    place = _Place.of(index[:, : len(inside)])
    points = torch.cat([features.reshape(len(features), -1)[:, where], place.at(index)])
    looks = _Standard(points.mean(1, keepdim=True), points.std(1, correction=0, keepdim=True).clamp(min=1e-3))
    hidden = _hidden(looks.of(points))
    wanted = torch.ones_like(hidden[0])
    wanted[len(inside) :] = -1
    weight = torch.full_like(wanted, 0.5 / len(inside))
    weight[len(inside) :] = 0.5 / len(outside)
    slope, offset = _calibration(hidden, wanted, weight, index[0], len(inside), foreground, background)
    solution = _fitted(hidden, wanted, weight[None])[0] * slope
    return _everywhere(features, place, looks, solution, offset)


class _Place(NamedTuple):
    """Position relative to the known voxels of the structure, in their own extent; (3, 1) each."""

    centre: Tensor
    extent: Tensor

    @classmethod
    def of(cls, known: Tensor) -> _Place:
        index = known.float()
        return cls(index.mean(1, keepdim=True), index.std(1, correction=0, keepdim=True).clamp(min=1.5))

    def at(self, index: Tensor) -> Tensor:
        """(3, N) float32 for indices (3, N) of the grid."""
        return (index.float() - self.centre) / self.extent


class _Standard(NamedTuple):
    """How features are standardised; (FEATURES, 1) each."""

    middle: Tensor
    scale: Tensor

    def of(self, points: Tensor) -> Tensor:
        return ((points - self.middle) / self.scale).clamp_(-4, 4)


def _index(flat: Tensor, shape: torch.Size) -> Tensor:
    """(3, N): the indices (k, j, i) of flat ones."""
    return torch.stack([flat // (shape[1] * shape[2]), flat // shape[2] % shape[1], flat % shape[2]])


def _spread(flat: Tensor) -> Tensor:
    """At most _MAX_POINTS of the indices, evenly."""
    if len(flat) <= _MAX_POINTS:
        return flat
    kept = np.linspace(0, len(flat) - 1, _MAX_POINTS).astype(int)
    return flat[torch.from_numpy(kept).to(flat.device)]


@cache
def _projection(device: torch.device) -> tuple[Tensor, Tensor]:
    """Directions (_HIDDEN, FEATURES) and offsets (_HIDDEN, 1) of the hinges."""
    rng = np.random.default_rng(20)
    direction = rng.standard_normal((_HIDDEN, FEATURES)).astype(np.float32)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    offset = rng.uniform(-1.5, 1.5, (_HIDDEN, 1)).astype(np.float32)
    return torch.from_numpy(direction).to(device), torch.from_numpy(offset).to(device)


def _hinges(points: Tensor) -> Tensor:
    """(_HIDDEN, N) of standardised points (FEATURES, N)."""
    direction, offset = _projection(points.device)
    return torch.addmm(offset, direction, points).relu_()


def _hidden(points: Tensor) -> Tensor:
    """(_HIDDEN + FEATURES + 1, N): hinges in random directions, the features themselves, and one."""
    return torch.cat([_hinges(points), points, torch.ones_like(points[:1])])


def _fitted(hidden: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """(F, H): least squares of wanted (N) on hidden (H, N), under each of F weightings (F, N)."""
    weighted = hidden * weight[:, None]
    gram = (weighted @ hidden.T).double()
    gram.diagonal(dim1=1, dim2=2)[:, :-1].add_(_RIDGE)
    return torch.linalg.solve_ex(gram, (weighted @ wanted).double()).result.float()


def _calibration(
    hidden: Tensor,
    wanted: Tensor,
    weight: Tensor,
    layers: Tensor,
    inside: int,
    foreground: Tensor,
    background: Tensor,
) -> tuple[Tensor, Tensor]:
    """Slope and offset that make scores log odds, from slices held out in turn.

    layers: the slice of each point, of which the first `inside` are the structure's.
    """
    full = torch.unique(layers[:inside])
    if len(full) < 2:
        return weight.new_tensor(_SLOPE_ALONE), weight.new_tensor(0.0)
    folds = torch.tensor_split(full, min(_FOLDS, len(full)))
    held = torch.stack([torch.isin(layers, fold) for fold in folds])
    rest = weight * ~held
    solution = _fitted(hidden, wanted, rest)
    # A fold without which nothing is known of one side says nothing.
    told = held & (rest[:, inside:].sum(1, keepdim=True) > 0)
    score = torch.where(told, solution @ hidden, 0.0).sum(0)
    shares = torch.stack([foreground.sum(), background.sum()]).double()
    return _logistic(score, wanted > 0, told.any(0), shares)


def _logistic(score: Tensor, inside: Tensor, told: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Slope (0 to 8) and offset of the logistic regression of `inside` on score, by a few Newton steps.

    told: points that have a score; shares: known voxels of either side, since the sample holds them in
    another proportion.
    """
    number = torch.stack([(inside & told).sum(), (~inside & told).sum()]).clamp(min=1)
    share = shares / number
    weight = torch.where(inside, share[0], share[1]) * told
    weight = weight / weight.sum().clamp(min=1e-12)
    design = torch.stack([score, torch.ones_like(score)]).double()
    prior = torch.tensor([[0.01, 0.0], [0.0, 0.001]], dtype=torch.float64, device=score.device)
    start = torch.tensor([_SLOPE_ALONE, 0.0], dtype=torch.float64, device=score.device)
    answer = start
    for _ in range(8):
        chance = torch.sigmoid((answer @ design).clamp(-30, 30))
        gradient = design @ (weight * (chance - inside.double())) + prior @ (answer - start)
        curvature = (design * (weight * chance * (1 - chance))) @ design.T + prior
        answer = answer - torch.linalg.solve_ex(curvature, gradient).result.clamp(-2, 2)
    return answer[0].clamp(0, 8).float(), answer[1].clamp(-4, 4).float()


def _everywhere(
    features: Tensor, place: _Place, looks: _Standard, solution: Tensor, offset: Tensor
) -> Tensor:
    number, depth, rows, columns = features.shape
    result = torch.empty_like(features[0])
    planes = max(1, _AT_ONCE[features.device.type] // (rows * columns))
    at = torch.arange(rows * columns, device=features.device)
    # Places are standardised twice, once in the structure's extent and once among the points.
    index = torch.stack([at // columns, at % columns]).float()
    aside = ((index - place.centre[1:]) / place.extent[1:]).view(2, 1, rows, columns)
    along = (torch.arange(depth, device=features.device) - place.centre[0]) / place.extent[0]
    constant = solution[-1] + offset
    for start in range(0, depth, planes):
        part = features[:, start : start + planes]
        points = features.new_empty(FEATURES, *part.shape[1:])
        points[:number] = part
        points[number] = along[start : start + planes, None, None]
        points[number + 1 :] = aside
        points = points.view(FEATURES, -1).sub_(looks.middle).div_(looks.scale).clamp_(-4, 4)
        score = solution[:_HIDDEN] @ _hinges(points) + solution[_HIDDEN:-1] @ points + constant
        result[start : start + planes] = score.view(part.shape[1:])
    return result.clamp_(-_LIMIT, _LIMIT)
