"""Examples: measured cases of several groups, with which another case can be compared.

They hold numbers, the names of groups, structures and measurements, and for each case the checksum of its
image; no path, name or date. Numbers derived from patients are still theirs: share them as such.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import InputError
from ..measurements.measurements import MeasureOptions
from ..progress import Progress, never, silent
from .case_features import CaseFeatures
from .decision import Decision, learned_decision
from .measured_values import compared_value, image_words
from .prototypes import Blocks, GroupPrototypes, group_prototypes, one_hot
from .validation import USUAL, Validation, ValidationOptions, validated

LEAST_CASES = 5
"""Cases of each group from which it is learned."""
_DIGITS = 9
"""Significant digits of the numbers that are kept."""


@dataclass(frozen=True)
class Question:
    """What cases are compared by.

    modality: "CT", or "MR" for all else. structures: whose embeddings count, and whose volumes together are
    the whole. measurements: called STRUCTURE:KIND, at most eight. options: how lesions were counted.
    weights_sha256: of the network that made the embeddings; "" where only measurements count.
    """

    modality: str
    structures: tuple[str, ...]
    measurements: tuple[str, ...]
    options: MeasureOptions
    weights_sha256: str

    @property
    def embeddings(self) -> tuple[str, ...]:
        """Structures whose embedding counts."""
        return self.structures if self.weights_sha256 else ()


@dataclass(frozen=True)
class ExampleCase:
    """One example: its group's number, its image's checksum, measurements in the order of the question, and
    of each structure the embedding, all of one length.
    """

    group: int
    image_sha256: str
    measurements: tuple[float, ...]
    embeddings: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Examples:
    """Cases of two groups or more, and how well the groups were told apart.

    groups: their names, sorted; cases: sorted by checksum, so that the order of a list has no say.
    validation: on cases that were left out.
    """

    question: Question
    groups: tuple[str, ...]
    cases: tuple[ExampleCase, ...]
    validation: Validation

    def check_weights(self, sha256: str) -> None:
        """Raise InputError when the embeddings come from another network."""
        mine = self.question.weights_sha256
        if mine not in ("", sha256):
            raise InputError(
                f"The examples were learned with other weights ({mine[:12]}, these are {sha256[:12]}): learn "
                "them again with this version."
            )

    def sentences(self) -> tuple[str, ...]:
        """How well the groups were told apart, and what has no say, in words."""
        constant = [
            name
            for name, scale in zip(self.question.measurements, self.prototypes.scales[0], strict=False)
            if not scale
        ]
        same = f"The same in every example, so without a say: {', '.join(constant)}." if constant else ""
        return (*self.validation.sentences(), *([same] if same else []))

    @cached_property
    def blocks(self) -> Blocks:
        """The columns of `values`."""
        return _blocks(self.question, self.cases)

    @cached_property
    def decision(self) -> Decision:
        """When a case is unlike all examples, and when it is undecided."""
        return learned_decision(*_arrays(self.question, self.cases), self.blocks)

    @cached_property
    def prototypes(self) -> GroupPrototypes:
        """The means of the groups."""
        values, groups = _arrays(self.question, self.cases)
        return group_prototypes(values, one_hot(groups, len(self.groups))[None], self.blocks)


def learned_examples(
    cases: Sequence[tuple[CaseFeatures, str]],
    question: Question,
    options: ValidationOptions = USUAL,
    progress: Progress = silent,
    cancelled: Callable[[], bool] = never,
) -> Examples:
    """Examples from cases and the names of their groups.

    Raises InputError for fewer than two groups, fewer than five cases of one, and a case that cannot be
    compared as the question asks; Cancelled.
    """
    groups = tuple(sorted({group for _, group in cases}))
    few = too_few([group for _, group in cases])
    if few:
        raise InputError(few)
    kept = [_example(case, groups.index(group), question) for case, group in cases]
    kept.sort(key=lambda one: one.image_sha256)
    values, numbers = _arrays(question, kept)
    found = validated(values, numbers, _blocks(question, kept), options, progress, cancelled)
    return Examples(question, groups, tuple(kept), found)


def too_few(groups: Sequence[str]) -> str:
    """Why nothing can be learned from cases of these groups, a sentence; "" if it can."""
    names = sorted(set(groups))
    if len(names) < 2:
        found = f"all {len(groups)} are of the group '{names[0]}'" if names else "there are none"
        return f"Cases of two groups are needed, and {found}."
    for name in names:
        if groups.count(name) < LEAST_CASES:
            return f"The group '{name}' has {groups.count(name)} usable cases; {LEAST_CASES} are needed."
    return ""


def case_row(
    case: CaseFeatures, question: Question
) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
    """Measurements and embeddings of a case as the question asks.

    Raises InputError for another modality, a structure that is missing or empty, and a missing measurement.
    """
    if case.modality != question.modality:
        raise InputError(
            f"The examples are {image_words(question.modality)}, and this is {image_words(case.modality)}: "
            "they cannot be compared."
        )
    problem = case.problem(question.structures)
    if problem:
        raise InputError(problem)
    measurements = case.measurements(question.measurements, question.structures)
    embeddings = (case.embeddings[name].tolist() for name in question.embeddings)
    return _rounded(measurements), tuple(_rounded(one) for one in embeddings)


def compared_row(
    question: Question, measurements: Sequence[float], embeddings: Sequence[Sequence[float]]
) -> np.ndarray:
    """(C,): what is compared of a case, measurements first, each structure's embedding after them."""
    single = [
        compared_value(name, value) for name, value in zip(question.measurements, measurements, strict=True)
    ]
    return np.array([*single, *(value for one in embeddings for value in one)], float)


def _example(case: CaseFeatures, group: int, question: Question) -> ExampleCase:
    return ExampleCase(group, case.image_sha256, *case_row(case, question))


def _blocks(question: Question, cases: Sequence[ExampleCase]) -> Blocks:
    embeddings = tuple(f"{name}:embedding" for name in question.embeddings)
    return Blocks.of(question.measurements, embeddings, len(cases[0].embeddings[0]) if embeddings else 0)


def _arrays(question: Question, cases: Sequence[ExampleCase]) -> tuple[np.ndarray, np.ndarray]:
    """What is compared (N, C), and the groups (N,)."""
    rows = [compared_row(question, one.measurements, one.embeddings) for one in cases]
    return np.stack(rows), np.array([one.group for one in cases])


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values)
