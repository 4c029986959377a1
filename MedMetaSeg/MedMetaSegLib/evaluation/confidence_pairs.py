"""Which tasks are applied to whom to learn when a structure is there, and how good an answer is.

A task knows structures of one patient; queries are other patients of the same collection, where the
structures are, and patients of other parts of the body, where they are not. Queries are also cut in two, so
that some structures lie outside of what is left. What a collection shows but does not label is asked of
nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..datasets.cases import Case

_SHOWN: Mapping[str, frozenset[str]] = {
    name: frozenset(parts.split())
    for name, parts in {
        "hippocampus": "brain",
        "acdc": "chest heart",
        "sts_ct": "limb",
        "sts_mr": "limb",
        "totalseg": "chest abdomen pelvis spine limb",
        "openkbp": "brain head neck chest spine",
        "prostate_mrus": "pelvis",
        "cervix_ct": "head neck chest heart abdomen pelvis spine limb",
        "spinal_cord": "neck spine",
        "fetal_sba": "brain fetus",
        "msd_spleen": "abdomen chest spine",
    }.items()
}
"""Parts of the body that a collection's images may show."""

_LIES_IN: Mapping[str, str] = {
    "hippocampus": "brain",
    "acdc": "heart chest",
    "sts_ct": "limb",
    "sts_mr": "limb",
    "prostate_mrus": "pelvis",
    "spinal_cord": "spine neck",
    "fetal_sba": "fetus brain",
    "msd_spleen": "abdomen",
    "openkbp": "head neck brain",
    "esophagus": "neck chest abdomen",
    "spinal cord": "spine",
}
"""Parts of the body that a structure lies in, by its name, or else by its collection."""

_SAME = {
    "lung upper lobe left": "lung_upper_lobe_left",
    "lung lower lobe left": "lung_lower_lobe_left",
    "lung upper lobe right": "lung_upper_lobe_right",
    "lung middle lobe right": "lung_middle_lobe_right",
    "lung lower lobe right": "lung_lower_lobe_right",
    "small bowel": "small_bowel",
    "urinary bladder": "urinary_bladder",
    "femur left": "femur_left",
    "femur right": "femur_right",
    "spinal cord (white matter where grey is labelled)": "spinal cord",
}
"""Names of one structure in two collections: the first is read as the second."""


_ELSEWHERE = 5
"""Queries of other collections for a task, at most."""


UNLIKE_NAMESAKES = frozenset({"fetal_sba"})
"""Collections whose structures share names with those of others, but are not alike."""


_WEEKS = re.compile(r"_GA(\d+)_")
"""Where the name of a case says a gestational age."""
_MOST_WEEKS = 3
"""Weeks between the gestational ages of a support and a query, at most."""


@dataclass(frozen=True)
class Pair:
    """A support, and a query of it. cut: "" for the whole query, "low" or "high" for half of it along the
    axis on which its structures lie farthest apart.
    """

    support: Case
    query: Case
    cut: str = ""

    @property
    def key(self) -> str:
        """Names it in a table."""
        first, second = (f"{one.dataset}/{one.case}" for one in (self.support, self.query))
        return f"{first} > {second}{self.cut and ' ' + self.cut}"


def plain_name(name: str) -> str:
    """A structure's name, the same in every collection."""
    return _SAME.get(name, name)


def is_comparable(one: Case, other: Case) -> bool:
    """Whether what two cases of a collection share is alike: fetal brains double in size within weeks."""
    ages = [int(found[1]) for case in (one, other) if (found := _WEEKS.search(case.case))]
    return len(ages) < 2 or abs(ages[0] - ages[1]) <= _MOST_WEEKS


def is_elsewhere(structure: str, collection: str, query: str) -> bool:
    """Whether a structure of one collection is surely not in the images of another."""
    parts = _LIES_IN.get(structure, _LIES_IN.get(collection, ""))
    return bool(parts) and query in _SHOWN and not _SHOWN[query] & frozenset(parts.split())


def pairs(cases: Sequence[Case]) -> list[Pair]:
    """All pairs, in an order in which those of every collection come early."""
    found: list[list[Pair]] = []
    for collection, supports, queries, cuts in (
        ("hippocampus", 2, 7, 3),
        ("acdc", 2, 4, 0),
        ("openkbp", 4, 4, 3),
        ("prostate mr", 3, 4, 0),
        ("prostate us", 3, 4, 0),
        ("sts_ct", 1, 1, 0),
        ("sts_mr", 1, 1, 0),
        ("spinal_cord", 3, 3, 0),
        ("fetal_sba", 4, 2, 1),
        ("msd_spleen", 2, 1, 0),
        ("totalseg", 2, 1, 0),
        ("cervix_ct", 1, 1, 0),
    ):
        some = _collection(cases, collection)
        for number, support in enumerate(some[:supports]):
            others = [
                one
                for one in some[supports:] + some[:supports]
                if one is not support and is_comparable(support, one)
            ]
            of_task = [Pair(support, query) for query in _turned(others, 2 * number)[:queries]]
            of_task += [
                Pair(support, query, "low" if n % 2 else "high")
                for n, query in enumerate(_turned(others, 3 * number + 1)[:cuts])
            ]
            elsewhere = _turned(list(_elsewhere(cases, support, number)), 3 * number)
            of_task += [Pair(support, query) for query in elsewhere[:_ELSEWHERE]]
            found.append(of_task)
    return [one for turn in _interleaved(found) for one in turn]


def _elsewhere(cases: Sequence[Case], support: Case, number: int) -> Iterator[Case]:
    """Queries of other collections: of each one, another for each support."""
    for collection in _SHOWN:
        some = [one for one in cases if one.dataset == collection]
        if collection == support.dataset or not some:
            continue
        shared = {plain_name(one) for one in support.names.values()}
        for query in _turned(some, 5 * number)[:1]:
            if shared & {plain_name(one) for one in query.names.values()} or any(
                is_elsewhere(name, support.dataset, collection) for name in shared
            ):
                yield query


def _collection(cases: Sequence[Case], name: str) -> list[Case]:
    if name.startswith("prostate"):
        ending = name[-3:].replace(" ", "_")
        return [one for one in cases if one.dataset == "prostate_mrus" and one.case.endswith(ending)]
    return [one for one in cases if one.dataset == name]


def _turned(some: Sequence[Case], by: int) -> list[Case]:
    by = by % len(some) if some else 0
    return [*some[by:], *some[:by]]


def _interleaved(tasks: Sequence[Sequence[Pair]]) -> Iterator[list[Pair]]:
    """Task after task, each of which is learned once: those of all collections in turn."""
    yield from (list(one) for one in tasks[0::3])
    yield from (list(one) for one in tasks[1::3])
    yield from (list(one) for one in tasks[2::3])


def half(labels: np.ndarray, cut: str) -> tuple[slice, slice, slice]:
    """The half of a volume that a cut leaves: halfway between the structures' centres that lie farthest
    apart, along the axis on which they do.
    """
    centres = np.array([np.argwhere(labels == one).mean(0) for one in np.unique(labels[labels > 0])])
    spread = (centres.max(0) - centres.min(0)) / labels.shape
    axis = int(spread.argmax()) if len(centres) > 1 else 0
    middle = int(np.ceil((centres[:, axis].max() + centres[:, axis].min()) / 2))
    box = [slice(0, n) for n in labels.shape]
    box[axis] = slice(0, middle) if cut == "low" else slice(middle, labels.shape[axis])
    return box[0], box[1], box[2]
