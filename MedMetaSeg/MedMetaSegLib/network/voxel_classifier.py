"""A small voxel classifier fitted in closed form to what is known of one structure: evidence for the network.

Random-feature least squares (Rahimi and Recht, "Weighted sums of random kitchen sinks", NeurIPS 2008) on grey
levels at several scales, edges, texture and position. The scores are turned into log odds by a logistic fit
(Platt, 1999) on slices held out in turn, so that a classifier that does not carry from slice to slice says
little. The random features are always the same ones: the same painting gives the same evidence.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import ndimage

FEATURES = 10
_HIDDEN = 128
_MAX_POINTS = 2000
_FOLDS = 4
_RIDGE = 1e-2
_SLOPE_ALONE = 2.5
"""Of the log odds where a single slice leaves nothing to hold out."""
_LIMIT = 5.0
_AT_ONCE = 1 << 13
"""Voxels classified at a time: what fits a processor's cache."""
_WIDTHS = (3, 5, 9)


def voxel_features(image: np.ndarray, aspect: float) -> np.ndarray:
    """(FEATURES - 3, k, j, i) float32 of an image (IMAGE_CHANNELS, k, j, i): what no painting changes.

    Both contrasts, three smoothed scales, edge strength and local deviation. aspect: slice spacing over
    in-plane spacing; smoothing reaches as far along the slices as in them.
    """
    standard, equalised = image[0], image[1]
    fine, middle, coarse = (smoothed(equalised, width, aspect) for width in _WIDTHS)
    edge = np.sqrt(sum(np.square(_slope(fine, axis)) for axis in (1, 2)))
    deviation = np.sqrt(np.maximum(smoothed(equalised * equalised, 5, aspect) - middle * middle, 0))
    return np.stack([np.clip(standard, -4, 4), equalised, fine, middle, coarse, 2 * edge, 2 * deviation])


def smoothed(image: np.ndarray, width: int, aspect: float) -> np.ndarray:
    """The image (k, j, i) after two box filters of `width` in-plane voxels: nearly Gaussian, and fast."""
    along = int(width / aspect / 2) * 2 + 1
    once = ndimage.uniform_filter(image, (along, width, width), mode="nearest")
    return ndimage.uniform_filter(once, (along, width, width), mode="nearest")


def _slope(image: np.ndarray, axis: int) -> np.ndarray:
    slope = np.zeros_like(image)
    ahead, behind, middle = ([slice(None)] * 3 for _ in range(3))
    ahead[axis], behind[axis], middle[axis] = slice(2, None), slice(None, -2), slice(1, -1)
    slope[tuple(middle)] = (image[tuple(ahead)] - image[tuple(behind)]) / 2
    return slope


def appearance_log_odds(features: np.ndarray, foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Log odds (k, j, i) float32, within +-5, that a voxel is the structure by its looks and its place.

    features: from `voxel_features`; foreground, background: bool (k, j, i), the known voxels. Zero where
    one side is unknown altogether.
    """
    shape = features.shape[1:]
    inside, outside = (_spread(known.reshape(-1).nonzero()[0]) for known in (foreground, background))
    if not len(inside) or not len(outside):
        return np.zeros(shape, np.float32)
    where = np.concatenate([inside, outside])
    place = _Place.of(shape, np.unravel_index(inside, shape))
    points = np.concatenate([features.reshape(len(features), -1)[:, where], place.at(where)])
    scale = np.maximum(points.std(1, keepdims=True), 1e-3)
    middle = points.mean(1, keepdims=True)
    hidden = _hidden((points - middle) / scale)
    wanted = np.where(np.arange(len(where)) < len(inside), 1.0, -1.0).astype(np.float32)
    weight = np.where(wanted > 0, 0.5 / len(inside), 0.5 / len(outside)).astype(np.float32)
    layers = where // (shape[1] * shape[2])
    slope, offset = _calibration(hidden, wanted, weight, layers, foreground, background)
    solution = _fitted(hidden, wanted, weight) * slope
    return _everywhere(features, place, middle, scale, solution, offset)


class _Place:
    """Position relative to the known voxels of the structure, in their own extent."""

    def __init__(self, shape: tuple[int, ...], centre: np.ndarray, extent: np.ndarray) -> None:
        self.shape, self.centre, self.extent = shape, centre, extent

    @classmethod
    def of(cls, shape: tuple[int, ...], known: tuple[np.ndarray, ...]) -> _Place:
        index = np.stack(known).astype(np.float32)
        return cls(shape, index.mean(1), np.maximum(index.std(1), 1.5))

    def at(self, flat: np.ndarray) -> np.ndarray:
        """(3, N) float32 for flat indices of the grid."""
        index = np.stack(np.unravel_index(flat, self.shape)).astype(np.float32)
        return (index - self.centre[:, None]) / self.extent[:, None]


def _spread(flat: np.ndarray) -> np.ndarray:
    """At most _MAX_POINTS of the indices, evenly."""
    if len(flat) <= _MAX_POINTS:
        return flat
    return flat[np.linspace(0, len(flat) - 1, _MAX_POINTS).astype(int)]


@cache
def _projection() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(20)
    direction = rng.standard_normal((_HIDDEN, FEATURES)).astype(np.float32)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction, rng.uniform(-1.5, 1.5, (_HIDDEN, 1)).astype(np.float32)


def _hidden(points: np.ndarray) -> np.ndarray:
    """(_HIDDEN + FEATURES + 1, N): hinges in random directions, the features themselves, and one."""
    direction, offset = _projection()
    number = points.shape[1]
    hidden = np.empty((_HIDDEN + FEATURES + 1, number), np.float32)
    np.clip(points, -4, 4, out=hidden[_HIDDEN:-1])
    np.matmul(direction, hidden[_HIDDEN:-1], out=hidden[:_HIDDEN])
    hidden[:_HIDDEN] += offset
    np.maximum(hidden[:_HIDDEN], 0, out=hidden[:_HIDDEN])
    hidden[-1] = 1
    return hidden


def _fitted(hidden: np.ndarray, wanted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    weighted = hidden * weight
    gram = (weighted @ hidden.T).astype(np.float64)
    gram[np.diag_indices(len(gram) - 1)] += _RIDGE
    return np.linalg.solve(gram, (weighted @ wanted).astype(np.float64)).astype(np.float32)


def _calibration(
    hidden: np.ndarray,
    wanted: np.ndarray,
    weight: np.ndarray,
    layers: np.ndarray,
    foreground: np.ndarray,
    background: np.ndarray,
) -> tuple[float, float]:
    """Slope and offset that make scores log odds, from slices held out in turn."""
    full = np.unique(layers[wanted > 0])
    if len(full) < 2:
        return _SLOPE_ALONE, 0.0
    folds = np.array_split(full, min(_FOLDS, len(full)))
    scores, sides = [], []
    for fold in folds:
        held = np.isin(layers, fold)
        if not (wanted[~held] > 0).any() or not (wanted[~held] < 0).any():
            continue
        solution = _fitted(hidden[:, ~held], wanted[~held], weight[~held])
        scores.append(solution @ hidden[:, held])
        sides.append(wanted[held] > 0)
    shares = int(np.count_nonzero(foreground)), int(np.count_nonzero(background))
    return _logistic(np.concatenate(scores), np.concatenate(sides), shares)


def _logistic(score: np.ndarray, inside: np.ndarray, shares: tuple[int, int]) -> tuple[float, float]:
    """Slope (0 to 8) and offset of the logistic regression of `inside` on score, by a few Newton steps.

    shares: known voxels of either side, since the sample holds them in another proportion.
    """
    weight = np.where(inside, shares[0] / max(inside.sum(), 1), shares[1] / max((~inside).sum(), 1))
    weight = weight / weight.sum()
    design = np.stack([score, np.ones_like(score)]).astype(np.float64)
    prior = np.array([[0.01, 0.0], [0.0, 0.001]])
    start = np.array([_SLOPE_ALONE, 0.0])
    answer = start.copy()
    for _ in range(8):
        chance = 1 / (1 + np.exp(-np.clip(answer @ design, -30, 30)))
        gradient = design @ (weight * (chance - inside)) + prior @ (answer - start)
        curvature = (design * (weight * chance * (1 - chance))) @ design.T + prior
        step = np.linalg.solve(curvature, gradient)
        answer = answer - np.clip(step, -2, 2)
    return float(np.clip(answer[0], 0, 8)), float(np.clip(answer[1], -4, 4))


def _everywhere(
    features: np.ndarray,
    place: _Place,
    middle: np.ndarray,
    scale: np.ndarray,
    solution: np.ndarray,
    offset: float,
) -> np.ndarray:
    flat = features.reshape(len(features), -1)
    result = np.empty(flat.shape[1], np.float32)
    for start in range(0, len(result), _AT_ONCE):
        part = np.arange(start, min(start + _AT_ONCE, len(result)))
        points = np.concatenate([flat[:, start : start + _AT_ONCE], place.at(part)])
        points -= middle
        points /= scale
        result[part] = solution @ _hidden(points)
    return np.clip(result + offset, -_LIMIT, _LIMIT).reshape(features.shape[1:])
