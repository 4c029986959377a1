"""A list of cases, some of which cannot be used: each says why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import InputError
from .case_features import CaseFeatures
from .examples import Question, case_row
from .measured_values import image_words


@dataclass(frozen=True, eq=False)
class CohortCase:
    """A case of a list.

    name: for people. group: "" where none is given. features: None where nothing could be measured. problem:
    why the case cannot be used, a sentence; "" if it can. patient: whose image it is, which is never written;
    "" where it is not told.
    """

    name: str
    group: str
    features: CaseFeatures | None
    problem: str = ""
    patient: str = ""

    @property
    def usable(self) -> bool:
        """Whether the case can be compared with others."""
        return self.features is not None and not self.problem


def of_one_modality(cohort: Sequence[CohortCase]) -> tuple[CohortCase, ...]:
    """The cases, of which those cannot be used whose modality fewer have; none where both have as many."""
    kinds = Counter(one.features.modality for one in cohort if one.features is not None and one.usable)
    (usual, most), *others = kinds.most_common() or [("", 0)]
    if others and others[0][1] == most:
        usual = ""
    return tuple(_unless_unusual(one, usual) for one in cohort)


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


def once_a_patient(cohort: Sequence[CohortCase]) -> tuple[CohortCase, ...]:
    """The cases, of which one cannot be used whose patient, where it is told, has a usable one before."""
    first: dict[str, CohortCase] = {}
    for one in cohort:
        if one.patient and one.usable:
            first.setdefault(one.patient, one)
    return tuple(_unless_further(one, first.get(one.patient, one)) for one in cohort)


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


def _unless_unusual(one: CohortCase, usual: str) -> CohortCase:
    if one.features is None or not one.usable or one.features.modality == usual:
        return one
    others = f"most are {image_words(usual)}" if usual else "as many are not"
    return replace(
        one,
        problem=f"This image is {image_words(one.features.modality)}, and {others}: their intensities cannot "
        "be compared.",
    )


def _unless_further(one: CohortCase, first: CohortCase) -> CohortCase:
    if one is first or not one.usable:
        return one
    return replace(
        one, problem=f"A further image of the patient of '{first.name}': each patient counts once."
    )


def _checked(one: CohortCase, question: Question) -> CohortCase:
    if one.features is None or not one.usable:
        return one
    try:
        case_row(one.features, question)
    except InputError as error:
        return replace(one, problem=str(error))
    return one
