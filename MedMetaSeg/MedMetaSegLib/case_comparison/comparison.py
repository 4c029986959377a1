"""A case compared with examples: how far it is from every group, and what speaks for the nearest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .case_features import CaseFeatures
from .decision import LEAST_PROBABILITY
from .examples import Examples, case_row, compared_row


@dataclass(frozen=True)
class GroupDistance:
    """How far a case is from the mean of a group's examples: 1 is usual for a case of the group itself.

    rank: 1 for the nearest group.
    """

    group: str
    distance: float
    rank: int


@dataclass(frozen=True)
class Evidence:
    """What a measurement adds to the difference of squared distances.

    difference: positive where it speaks for the nearest group, negative where for the second.
    """

    measurement: str
    difference: float


@dataclass(frozen=True)
class Comparison:
    """A case beside the examples.

    distances: to every group, in the examples' order. nearest, second: groups. why_not: reasons for which the
    nearest group is not to be taken as an answer, sentences; empty when it may be. evidence: of every
    measurement, largest difference first; they add up to the difference of the two squared distances.
    measurements: the case's own, in the order of the question.
    """

    distances: tuple[GroupDistance, ...]
    nearest: str
    second: str
    why_not: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    measurements: tuple[float, ...]

    @property
    def abstains(self) -> bool:
        """Whether no group is named."""
        return bool(self.why_not)


def compared(case: CaseFeatures, examples: Examples) -> Comparison:
    """Compare a case with examples.

    Raises InputError for a case that is one of them, and for one that cannot be compared with them; see
    `case_row`.
    """
    if any(one.image_sha256 == case.image_sha256 for one in examples.cases):
        raise InputError("The image is one of the examples, so the comparison would tell nothing.")
    measurements, embeddings = case_row(case, examples.question)
    row = compared_row(examples.question, measurements, embeddings)
    squared = examples.prototypes.squared_distances(row[None])[0, 0]
    order = np.argsort(squared, kind="stable")
    ranks = np.argsort(order, kind="stable") + 1
    distances = tuple(
        GroupDistance(group, math.sqrt(one), int(rank))
        for group, one, rank in zip(examples.groups, squared, ranks, strict=True)
    )
    nearest, second = (examples.groups[number] for number in order[:2])
    by_block = examples.prototypes.block_distances(row, examples.blocks)
    differences = by_block[order[1]] - by_block[order[0]]
    evidence = [Evidence(*one) for one in zip(examples.blocks.names, differences.tolist(), strict=True)]
    evidence.sort(key=lambda one: -abs(one.difference))
    why_not = _why_not(examples, squared, order)
    return Comparison(distances, nearest, second, why_not, tuple(evidence), measurements)


def _why_not(examples: Examples, squared: np.ndarray, order: np.ndarray) -> tuple[str, ...]:
    """Reasons to name no group."""
    reasons = []
    if not examples.validation.told_apart:
        reasons.append(
            f"The groups of the examples cannot be told apart (p = {examples.validation.p_value:.3f})."
        )
    least = float(squared[order[0]])
    if examples.decision.is_unlike(least):
        nearer = int((examples.decision.nearest < least).sum())
        reasons.append(
            f"Unlike all examples: {nearer} of these {len(examples.cases)} are nearer to a group than it is."
        )
    probability = float(examples.decision.probabilities(squared)[order[0]])
    if probability < LEAST_PROBABILITY:
        nearest, second = (examples.groups[number] for number in order[:2])
        reasons.append(
            f"Undecided between '{nearest}' and '{second}' (probability {probability:.2f}; "
            f"{LEAST_PROBABILITY:.2f} is asked for)."
        )
    return tuple(reasons)
