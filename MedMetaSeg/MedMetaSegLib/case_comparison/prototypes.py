"""Nearest group mean, in units of how much cases of one group differ from each other.

Prototypical networks (Snell et al., NeurIPS 2017) name the group whose mean is nearest. Here the squared
distance is a mean over blocks of columns: a measurement is a block of one column, and an embedding is a block
of many, which counts as one measurement however many numbers it has. Each block is divided by its variance
within the groups, drawn towards its variance over all cases, since the former is uncertain for few cases
(Smyth 2004 does the same for gene expression). This is diagonal discriminant analysis, which is known to do
well for few cases with many measurements (Dudoit et al. 2002).

Everything is computed for many training sets at once, which is what makes a permutation test quick. Axes: T
training sets, N cases, G groups, C columns, B blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PRIOR_CASES = 4.0
"""Cases that the variance over all cases counts for, beside the variance within the groups."""
_RESOLUTION = 1e-18
"""A variance up to this part of the mean square is that of one value, stored with nine digits."""
_CANCELLATION = 1e-12
"""A variance up to this part of the mean square about the median is what subtracting leaves of one value."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """Which columns belong together: what each block is called, and how much it counts.

    names: (B). block_of: (C,) int, the block of each column. weights: (B,) above 0, how much a block counts
    beside a single measurement.
    """

    names: tuple[str, ...]
    block_of: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, measurements: tuple[str, ...], embeddings: tuple[str, ...] = (), width: int = 0) -> Blocks:
        """Measurements of one column each, then embeddings of `width` columns that count as one together."""
        single, many = len(measurements), len(embeddings)
        columns = np.concatenate([np.arange(single), np.repeat(np.arange(single, single + many), width)])
        weights = np.concatenate([np.ones(single), np.full(many, 1 / max(many, 1))])
        return cls(measurements + embeddings, columns, weights)

    @property
    def membership(self) -> np.ndarray:
        """(C, B) 1.0 where a column belongs to a block, else 0."""
        return np.asarray(self.block_of[:, None] == np.arange(len(self.names)), float)


@dataclass(frozen=True, eq=False)
class GroupPrototypes:
    """The means of the groups of T training sets, and what a difference in a column counts.

    means: (T, G, C). scales: (T, C), by which a squared difference in a column is multiplied; 0 for a column
    that holds one value. counts: (T, G), cases of each group.
    """

    means: np.ndarray
    scales: np.ndarray
    counts: np.ndarray

    def squared_distances(self, values: np.ndarray) -> np.ndarray:
        """(T, N, G) of values (N, C): about 1 on average for a case to the mean of its own group.

        The mean of few cases is itself uncertain; dividing by 1 + 1/n makes a group of few as near to its own
        as a group of many.
        """
        centred = values - self._middle
        means = self.means - self._middle
        own = np.einsum("nc,tc->tn", centred**2, self.scales)
        scaled = means * self.scales[:, None]
        cross = np.einsum("nc,tgc->tng", centred, scaled, optimize=True)
        of_means = np.einsum("tgc,tgc->tg", means, scaled)
        total = own[:, :, None] - 2 * cross + of_means[:, None]
        return np.maximum(total, 0) / (1 + 1 / self.counts)[:, None]

    def block_distances(self, case: np.ndarray, blocks: Blocks) -> np.ndarray:
        """(G, B): what each block adds to the squared distance of a case (C,); of the first training set."""
        squares = (case - self.means[0]) ** 2 * self.scales[0]
        return squares @ blocks.membership / (1 + 1 / self.counts[0])[:, None]

    @property
    def _middle(self) -> np.ndarray:
        """(C,): a point among the means, from which differences lose no digits."""
        return self.means.mean((0, 1))


def group_prototypes(values: np.ndarray, members: np.ndarray, blocks: Blocks) -> GroupPrototypes:
    """The prototypes of T training sets of the cases values (N, C).

    members: (T, N, G) bool, which cases a training set has of each group; at least one of each group and
    more cases than groups. Raises ValueError otherwise.
    """
    counts = members.sum(1).astype(float)
    cases = counts.sum(1)
    if not (counts > 0).all() or not (cases > counts.shape[1]).all():
        raise ValueError("each training set needs cases of every group, and more cases than groups")
    # A median, which a case that is left out can hardly move.
    middle = np.median(values, 0)
    centred = values - middle
    means = np.einsum("tng,nc->tgc", members.astype(float), centred, optimize=True) / counts[..., None]
    squares = np.einsum("tn,nc->tc", members.any(2).astype(float), centred**2, optimize=True)
    within = np.maximum(squares - np.einsum("tg,tgc->tc", counts, means**2), 0)
    overall = np.einsum("tg,tgc->tc", counts, means) / cases[:, None]
    total = np.maximum(squares - cases[:, None] * overall**2, 0) / (cases - 1)[:, None]
    # The sum of squares within is its variance times its degrees of freedom.
    degrees = (cases - counts.shape[1])[:, None]
    variances = (within + PRIOR_CASES * total) / (degrees + PRIOR_CASES)
    in_blocks = variances @ blocks.membership
    about_median = squares / cases[:, None]
    least = (_CANCELLATION * about_median + _RESOLUTION * (about_median + middle**2)) @ blocks.membership
    varies = in_blocks > least
    weights = np.where(varies, blocks.weights, 0) / blocks.weights.sum()
    per_block = weights / np.where(varies, in_blocks, 1)
    return GroupPrototypes(means + middle, per_block[:, blocks.block_of], counts)


def one_hot(groups: np.ndarray, number: int) -> np.ndarray:
    """(N, G) bool: the group of each case."""
    return np.asarray(groups[:, None] == np.arange(number))
