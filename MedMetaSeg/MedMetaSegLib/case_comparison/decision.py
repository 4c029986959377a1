"""What is said of a case: the nearest group, or nothing where it is far from all or between two.

Both thresholds come from the examples themselves, each of which is compared with all others (leave one out).

Unlike all: the share of examples that lie at least as far from their nearest group as the case does, counted
as in conformal prediction (Vovk et al. 2005), (1 + how many) / (1 + n), is at most 0.05; below 19 examples
that cannot be, and the case must be farther off than every example. A case like the examples is so called
unlike once in 20 times, for n examples below 19 once in n + 1 times.

Undecided: distances become probabilities by a softmax, as in prototypical networks, with one factor that is
fitted to the examples left out; where they do not tell the groups apart it is 0, and everything is undecided.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .prototypes import Blocks, GroupPrototypes, group_prototypes, one_hot

LEAST_PROBABILITY = 2 / 3
"""Probability of the nearest group below which a case is undecided."""
UNLIKE_SHARE = 0.05
"""Share of the examples as far off as a case, at most, for which it is unlike all of them."""
_SLOPES = 61
"""Factors on the distances that are tried."""


@dataclass(frozen=True, eq=False)
class Decision:
    """Thresholds that were learned from the examples.

    nearest: (N,) the squared distance of each example to its nearest group, left out itself, ascending.
    slope: factor on squared distances in the softmax.
    """

    nearest: np.ndarray
    slope: float

    def probabilities(self, squared: np.ndarray) -> np.ndarray:
        """(..., G) of squared distances (..., G)."""
        return np.asarray(np.exp(_log_softmax(-self.slope * squared)))

    def share_as_far(self, squared: float) -> float:
        """Share of the examples, the case counted among them, that are at least as far from every group."""
        farther = len(self.nearest) - int(np.searchsorted(self.nearest, squared, side="left"))
        return (1 + farther) / (1 + len(self.nearest))

    def is_unlike(self, squared: float) -> bool:
        """Whether a case at this squared distance from its nearest group is unlike all examples."""
        return self.share_as_far(squared) <= max(UNLIKE_SHARE, 1 / (1 + len(self.nearest)))


def left_out_distances(values: np.ndarray, groups: np.ndarray, blocks: Blocks) -> np.ndarray:
    """(N, G) squared distances of each case to the prototypes of the others; a group needs two cases."""
    members = one_hot(groups, int(groups.max()) + 1)
    others = ~np.eye(len(values), dtype=bool)
    fitted = group_prototypes(values, members[None] & others[:, :, None], blocks)
    number = np.arange(len(values))
    return np.stack(
        [
            GroupPrototypes(
                fitted.means[n : n + 1], fitted.scales[n : n + 1], fitted.counts[n : n + 1]
            ).squared_distances(values[n : n + 1])[0, 0]
            for n in number
        ]
    )


def learned_decision(values: np.ndarray, groups: np.ndarray, blocks: Blocks) -> Decision:
    """The thresholds for cases values (N, C) with groups (N,) from 0 on, two cases of each at least."""
    squared = left_out_distances(values, groups, blocks)
    return Decision(np.sort(squared.min(1)), _fitted_slope(squared, groups, float(blocks.weights.sum())))


def _fitted_slope(squared: np.ndarray, groups: np.ndarray, effective: float) -> float:
    """The factor under which the groups of the examples are likeliest, all groups counting the same.

    At most what it would be for independent normal measurements, half of their number.
    """
    shares = 1 / np.bincount(groups)[groups]
    slopes = np.linspace(0, effective / 2, _SLOPES)
    rows = np.arange(len(groups))
    likelihoods = [float(shares @ _log_softmax(-slope * squared)[rows, groups]) for slope in slopes]
    return float(slopes[int(np.argmax(likelihoods))])


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))
