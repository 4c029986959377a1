"""Whether groups can be told apart at all: repeated cross-validation and a permutation test.

Everything that is learned from cases, which includes the scales of measurements, is learned without the cases
it is tried on. The permutation test gives the groups to the cases at random and repeats the whole of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..progress import Progress, check_cancelled, never, silent
from .prototypes import Blocks, group_prototypes, one_hot

FOLDS = 5
REPEATS = 20
PERMUTATIONS = 999
SIGNIFICANT = 0.05
"""p-value up to which groups are said to be told apart."""
FEW_CASES = 30
"""Number of cases below which the report says how uncertain it is."""
_Z95 = 1.959963984540054
"""Standard normal deviation of a two-sided interval of 95 %."""
_ROUNDING = 1e-9
"""Difference of two accuracies that comes from adding in another order."""


@dataclass(frozen=True)
class ValidationOptions:
    """How groups are tried: folds, how often they are drawn anew, and how often groups are permuted."""

    folds: int = FOLDS
    repeats: int = REPEATS
    permutations: int = PERMUTATIONS
    seed: int = 0


USUAL = ValidationOptions()


@dataclass(frozen=True)
class Validation:
    """How well groups were told apart on cases that were left out.

    counts: cases of each group. recalls: of each group, the share of its cases named right, over all repeats.
    balanced_accuracy: their mean. interval: Wilson's, of 95 %, for as many cases as the function
    `effective_cases` says. accuracy, majority_accuracy: the share of cases named right, and the share that
    always naming the largest group would get. p_value: (1 + permutations that did as well) / (1 +
    permutations).
    """

    counts: tuple[int, ...]
    recalls: tuple[float, ...]
    balanced_accuracy: float
    interval: tuple[float, float]
    effective_cases: float
    accuracy: float
    majority_accuracy: float
    p_value: float
    options: ValidationOptions

    @property
    def told_apart(self) -> bool:
        """Whether the groups can be told apart better than by chance."""
        return self.p_value <= SIGNIFICANT

    @property
    def chance(self) -> float:
        """The balanced accuracy of always naming one group."""
        return 1 / len(self.counts)

    def sentences(self) -> tuple[str, ...]:
        """What came out, in words."""
        cases = sum(self.counts)
        low, high = (f"{100 * end:.0f}" for end in self.interval)
        first = (
            f"The groups can be told apart better than by chance (p = {self.p_value:.3f})."
            if self.told_apart
            else f"The groups cannot be told apart with these {cases} cases (p = {self.p_value:.3f})."
        )
        found = (
            f"Balanced accuracy {100 * self.balanced_accuracy:.3g} % on cases left out, 95 % interval {low} "
            f"to {high} % ({cases} cases); always naming one group gives {100 * self.chance:.0f} %."
        )
        plain = (
            f"Accuracy {100 * self.accuracy:.3g} %; always naming the largest group gives "
            f"{100 * self.majority_accuracy:.0f} %."
        )
        if cases >= FEW_CASES:
            return first, found, plain
        width = 100 * (self.interval[1] - self.interval[0])
        return first, found, plain, f"{cases} cases are few: the interval is {width:.0f} points wide."

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the fields under their own names."""
        return asdict(self)


def validated(
    values: np.ndarray,
    groups: np.ndarray,
    blocks: Blocks,
    options: ValidationOptions = USUAL,
    progress: Progress = silent,
    cancelled: Callable[[], bool] = never,
) -> Validation:
    """Try how well the groups (N,), counted from 0, of cases values (N, C) are told apart.

    Each group needs at least three cases. The same cases in the same order give the same answer. Raises
    Cancelled.
    """
    number = int(groups.max()) + 1
    random = np.random.default_rng(options.seed)
    hits = case_hits(values, groups, blocks, options, random)
    recalls = _recalls(hits, groups, number)
    balanced = float(recalls.mean())
    as_good = 0
    for done in range(options.permutations):
        check_cancelled(cancelled)
        progress(done / options.permutations, "permutation test")
        permuted = random.permutation(groups)
        chance = _recalls(case_hits(values, permuted, blocks, options, random), permuted, number).mean()
        as_good += bool(chance >= balanced - _ROUNDING)
    counts = np.bincount(groups, minlength=number)
    effective = effective_cases(counts, options.folds)
    return Validation(
        tuple(counts.tolist()),
        tuple(recalls.tolist()),
        balanced,
        wilson_interval(balanced, effective),
        effective,
        float(hits.mean()),
        float(counts.max() / counts.sum()),
        (1 + as_good) / (1 + options.permutations),
        options,
    )


def case_hits(
    values: np.ndarray,
    groups: np.ndarray,
    blocks: Blocks,
    options: ValidationOptions,
    random: np.random.Generator,
) -> np.ndarray:
    """(N,): the share of repeats in which each case, left out, was named right."""
    fold_of = np.stack([stratified_folds(groups, options.folds, random) for _ in range(options.repeats)])
    # (repeats, folds, N): which cases a fold leaves out.
    left_out = fold_of[:, None] == np.arange(int(fold_of.max()) + 1)[:, None]
    left_out = left_out.reshape(-1, len(groups))
    members = one_hot(groups, int(groups.max()) + 1)[None] & ~left_out[..., None]
    named = group_prototypes(values, members, blocks).squared_distances(values).argmin(2)
    return np.asarray(((named == groups) & left_out).sum(0) / options.repeats)


def stratified_folds(groups: np.ndarray, folds: int, random: np.random.Generator) -> np.ndarray:
    """(N,): the fold of each case, of which each gets its share of every group.

    As many folds as the smallest group has cases, if these are fewer.
    """
    folds = min(folds, int(np.bincount(groups).min()))
    shuffled = random.permutation(len(groups))
    # Dealt out like cards, one group after the other, so that folds are of one size, too.
    ordered = shuffled[np.argsort(groups[shuffled], kind="stable")]
    result = np.empty(len(groups), int)
    result[ordered] = np.arange(len(groups)) % folds
    return result


def effective_cases(counts: np.ndarray, folds: int) -> float:
    """Independent cases that make a balanced accuracy as certain as cross-validation of these groups does.

    counts: (G,), cases of each group. The mean of the groups' recalls is as uncertain as a share of
    G^2 / sum(1 / counts) cases. Of these the part counts that a fold is learned from: training sets share
    cases, and so their errors (Nadeau and Bengio 2003, for many repeats).
    """
    folds = min(folds, int(counts.min()))
    return len(counts) ** 2 / float((1 / counts).sum()) * (folds - 1) / folds


def wilson_interval(share: float, number: float) -> tuple[float, float]:
    """The 95 % interval of a share that was seen in `number` independent cases (Wilson 1927)."""
    shrunken = (share + _Z95**2 / (2 * number)) / (1 + _Z95**2 / number)
    half = _Z95 / (1 + _Z95**2 / number)
    half *= float(np.sqrt(share * (1 - share) / number + _Z95**2 / (4 * number**2)))
    return max(shrunken - half, 0.0), min(shrunken + half, 1.0)


def _recalls(hits: np.ndarray, groups: np.ndarray, number: int) -> np.ndarray:
    """(G,): the mean of hits (N,) in each group."""
    return np.bincount(groups, hits, number) / np.bincount(groups, minlength=number)
