"""Which slice of a structure is most worth painting next: the one that removes most of the expected error.

The error to expect on a plane comes of two things: how unsure the network is there, and how long the outline
is and how far from painted slices it lies. Painting a slice brings painted slices nearer to the planes around
it, and takes from each the share of its error by which that distance shrinks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BEYOND = "it goes on beyond the painted slices"
WIDEST_GAP = "the widest gap between painted slices"
LEAST_SURE = "most is likely to be wrong around it"
"""Reasons for a slice."""

_RIM = 3
"""Working voxels around an answer that still count."""
_SUREST = 30.0
"""Logit above which nothing can be surer."""
_FARTHEST = 1e6
"""Planes to a painted slice where there is none on that side."""


@dataclass(frozen=True)
class NextSlice:
    """The slice most worth painting next.

    plane: its index along axis 0 of the working grid. reason: in words for the user.
    """

    plane: int
    reason: str


@dataclass(frozen=True)
class ErrorWeights:
    """What the error to expect on a plane is made of.

    uncertainty: of the voxels that the network's probabilities let expect to be wrong. distance: of the
    length of the outline times the distance to painted slices, both in working voxels of the plane.
    """

    uncertainty: float = 1.0
    distance: float = 0.01


DEFAULT_WEIGHTS = ErrorWeights()


def next_slice(
    logits: np.ndarray,
    painted: Sequence[float],
    aspect: float,
    weights: ErrorWeights = DEFAULT_WEIGHTS,
) -> NextSlice | None:
    """The slice of one structure to paint next; None where nothing is worth it.

    logits: (k, j, i) on the working grid, axis 0 the drawing axis. Planes outside of the volume are
    left out by the caller. painted: positions along that axis of the painted slices, in working voxels,
    fractions allowed, in any order. aspect: slice spacing over in-plane spacing. Nothing is worth
    painting where nothing was found, or where all of it lies within one plane of painted slices. Raises
    ValueError without a painted slice.
    """
    if not len(painted):
        raise ValueError("no slice is painted: the next one is told from those that are")
    answer = logits > 0
    planes = np.arange(len(logits))
    distances = _Distances.of(planes, np.sort(np.asarray(painted, float)))
    candidates = np.flatnonzero(answer.any((1, 2)) & (distances.nearest > 1))
    if not candidates.size:
        return None
    uncertain, outline = _uncertain_voxels(logits, answer), _outline_length(answer)
    now = distances.effective
    then = distances.with_painted(candidates).effective
    shrinks = (now - then) / np.maximum(now, np.finfo(float).tiny)
    gains = weights.uncertainty * shrinks * uncertain + weights.distance * aspect * (now - then) * outline
    best = int(candidates[gains.sum(1).argmax()])
    return NextSlice(best, _reason(best, distances))


def least_sure_slice(logits: np.ndarray) -> NextSlice | None:
    """The slice to paint first where none is painted, logits (k, j, i): that with most voxels which the
    probabilities let expect to be wrong. None where nothing was found.
    """
    answer = logits > 0
    if not answer.any():
        return None
    uncertain = np.where(answer.any((1, 2)), _uncertain_voxels(logits, answer), 0)
    return NextSlice(int(uncertain.argmax()), LEAST_SURE)


@dataclass(frozen=True, eq=False)
class _Distances:
    """Planes to the next painted slice on either side, (..., k); `_FARTHEST` where there is none."""

    planes: np.ndarray
    below: np.ndarray
    above: np.ndarray

    @classmethod
    def of(cls, planes: np.ndarray, painted: np.ndarray) -> _Distances:
        """The distances of planes (k,) from painted slices (n,), ascending."""
        ends = np.concatenate([[planes[0] - _FARTHEST], painted, [planes[-1] + _FARTHEST]])
        after = np.searchsorted(ends, planes)
        return cls(planes, planes - ends[after - 1], ends[after] - planes)

    @property
    def nearest(self) -> np.ndarray:
        """Planes to the nearest painted slice."""
        return np.minimum(self.below, self.above)

    @property
    def effective(self) -> np.ndarray:
        """Planes to painted slices, half as many in the middle between two as beyond the last.

        The reciprocal of the sum of reciprocals: what is known on both sides helps twice.
        """
        return self.below * self.above / np.maximum(self.gap, np.finfo(float).tiny)

    @property
    def gap(self) -> np.ndarray:
        """Planes from the painted slice below to the one above."""
        return self.below + self.above

    def with_painted(self, candidates: np.ndarray) -> _Distances:
        """The distances (s, k) if each candidate (s,) was painted too."""
        further = self.planes - candidates[:, None]
        below = np.where(further >= 0, np.minimum(self.below, further), self.below)
        above = np.where(further <= 0, np.minimum(self.above, -further), self.above)
        return _Distances(self.planes, below, above)


def _uncertain_voxels(logits: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """(k,) the voxels in and around the answer that its probabilities let expect to be wrong."""
    rows, columns = (_with_rim(np.any(answer, axis=others)) for others in ((0, 2), (0, 1)))
    sure = np.abs(logits[:, rows, columns].astype(np.float32)).clip(max=_SUREST)
    return (1 / (1 + np.exp(sure))).sum((1, 2), dtype=float)


def _with_rim(filled: np.ndarray) -> slice:
    places = np.flatnonzero(filled)
    return slice(max(0, int(places[0]) - _RIM), int(places[-1]) + _RIM + 1)


def _outline_length(answer: np.ndarray) -> np.ndarray:
    """(k,) sides that voxels of the answer share with others in its plane."""
    rows = np.count_nonzero(np.diff(answer, axis=1), axis=(1, 2))
    columns = np.count_nonzero(np.diff(answer, axis=2), axis=(1, 2))
    return (rows + columns).astype(float)


def _reason(plane: int, distances: _Distances) -> str:
    gap = distances.gap[distances.planes == plane][0]
    if gap >= _FARTHEST:
        return BEYOND
    between = distances.gap[distances.gap < _FARTHEST]
    return WIDEST_GAP if gap >= between.max() else LEAST_SURE
