"""A list of cases, some of which cannot be used: each says why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import InputError
from .case_features import CaseFeatures
from .examples import Question, case_row


@dataclass(frozen=True, eq=False)
class CohortCase:
    """A case of a list.

    name: for people. group: "" where none is given. features: None where nothing could be measured. problem:
    why the case cannot be used, a sentence; "" if it can.
    """

    name: str
    group: str
    features: CaseFeatures | None
    problem: str = ""

    @property
    def usable(self) -> bool:
        """Whether the case can be compared with others."""
        return self.features is not None and not self.problem


def one_modality(cohort: Sequence[CohortCase]) -> str:
    """The modality of the usable cases, "CT" or "MR". Raises InputError for several, and for no case."""
    first: dict[str, str] = {}
    for one in cohort:
        if one.features is not None and one.usable:
            first.setdefault(one.features.modality, one.name)
    if len(first) > 1:
        raise InputError(
            f"'{first['CT']}' is CT and '{first['MR']}' is not; their intensities cannot be compared: list "
            "cases of one kind."
        )
    if not first:
        raise InputError(f"No case can be used ({next((one.problem for one in cohort), 'none is listed')})")
    return next(iter(first))


def usual_structures(cohort: Sequence[CohortCase]) -> tuple[str, ...]:
    """The structures that more than half of the measured cases have, with voxels or without.

    In the order of the first case that has most of them.
    """
    lists = [tuple(one.features.values) for one in cohort if one.features is not None and one.usable]
    counts = Counter(name for names in lists for name in names)
    usual = {name for name, count in counts.items() if 2 * count > len(lists)}
    fullest = max(lists, key=lambda names: len(usual.intersection(names)), default=())
    rest = sorted(usual.difference(fullest))
    return (*(name for name in fullest if name in usual), *rest)


def without_doubles(cohort: Sequence[CohortCase]) -> tuple[CohortCase, ...]:
    """The cases, of which one whose image came before cannot be used; nor can any if their groups differ."""
    images: dict[str, list[CohortCase]] = {}
    for one in cohort:
        if one.features is not None and one.usable:
            images.setdefault(one.features.image_sha256, []).append(one)
    return tuple(_unless_double(one, images) for one in cohort)


def checked(cohort: Sequence[CohortCase], question: Question) -> tuple[CohortCase, ...]:
    """The cases, each with its problem where it cannot be compared as the question asks."""
    return tuple(_checked(one, question) for one in cohort)


def left_out_sentence(cohort: Sequence[CohortCase]) -> str:
    """How many cases of each group cannot be used, in words; "" where all can."""
    listed = Counter(one.group for one in cohort)
    missing = Counter(one.group for one in cohort if not one.usable)
    if not missing:
        return ""
    counts = ", ".join(f"{missing[group]} of {listed[group]} of '{group}'" for group in sorted(listed))
    return f"Left out: {counts}; where one group loses more, the rest may not stand for it."


def _unless_double(one: CohortCase, images: dict[str, list[CohortCase]]) -> CohortCase:
    if one.features is None or not one.usable:
        return one
    same = images[one.features.image_sha256]
    others = [other for other in same if other is not one]
    if len({other.group for other in same}) > 1:
        different = next(other for other in others if other.group != one.group)
        return replace(
            one, problem=f"'{different.name}' is the same image, of the group '{different.group}'."
        )
    return one if same[0] is one else replace(one, problem=f"'{same[0].name}' is the same image.")


def _checked(one: CohortCase, question: Question) -> CohortCase:
    if one.features is None or not one.usable:
        return one
    try:
        case_row(one.features, question)
    except InputError as error:
        return replace(one, problem=str(error))
    return one
