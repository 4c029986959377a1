"""Tables of cases, as CSV: what was measured of each, and how each compares with examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..imageio.cells import number_cell, text_cell, yes_no
from .cohort import CohortCase
from .comparison import Comparison, Evidence
from .examples import Examples
from .measured_values import SEPARATOR

Row = Mapping[str, object]

DONE, FAILED = "done", "failed"
"""States of a case in a table."""
SPEAKING = 3
"""Measurements that are named as speaking for the nearest group, or against it, at most."""
LIMITS = (
    "For research, not a diagnosis. It rests on few examples: look at the images, and at how well the groups "
    "could be told apart on cases that were left out."
)
"""Said wherever a comparison is shown."""
ONE_OF_EACH_PATIENT = (
    "Give one image of each patient, or a column patient: several images of one make p and the interval too "
    "good."
)
"""Said of examples whose patients are not told."""


@dataclass(frozen=True, eq=False)
class ComparedCase:
    """A case of a list and its comparison with the examples; None where there is none, for case.problem."""

    case: CohortCase
    comparison: Comparison | None


def cohort_limits(cohort: Sequence[CohortCase]) -> str:
    """LIMITS, and what to do about patients where the list does not tell them."""
    return LIMITS if any(one.patient for one in cohort) else f"{LIMITS} {ONE_OF_EACH_PATIENT}"


def cohort_columns(cohort: Sequence[CohortCase]) -> tuple[str, ...]:
    """Columns of a table of measured cases: every kind of every structure that any case has."""
    kinds = {
        structure + SEPARATOR + kind: None
        for one in cohort
        if one.features is not None
        for structure, values in one.features.values.items()
        for kind in values
    }
    return ("name", "group", "status", "reason", "notes", *map(text_cell, kinds))


def cohort_rows(cohort: Sequence[CohortCase]) -> list[Row]:
    """A row per case, under `cohort_columns`."""
    return [_cohort_row(one) for one in cohort]


def comparison_columns(examples: Examples) -> tuple[str, ...]:
    """Columns of a table of compared cases."""
    distances = [
        text_cell(f"{what} {group}") for group in examples.groups for what in ("distance to", "rank of")
    ]
    measurements = map(text_cell, examples.question.measurements)
    fixed = ("name", "group", "status", "reason", "notes", "nearest", "abstains", "why", "what speaks for it")
    return (*fixed, *distances, *measurements)


def comparison_rows(cases: Sequence[ComparedCase], examples: Examples) -> list[Row]:
    """A row per case, under `comparison_columns`."""
    return [_comparison_row(one, examples) for one in cases]


def evidence_text(evidence: Sequence[Evidence]) -> str:
    """The measurements that say most, largest first, as `liver:volume_cm3 (+0.52)`."""
    return ", ".join(f"{one.measurement} ({one.difference:+.2f})" for one in evidence[:SPEAKING])


def _cohort_row(one: CohortCase) -> Row:
    row = _about(one)
    if one.features is not None:
        for structure, values in one.features.values.items():
            row |= {text_cell(structure + SEPARATOR + kind): number_cell(v) for kind, v in values.items()}
    return row


def _comparison_row(one: ComparedCase, examples: Examples) -> Row:
    row, found = _about(one.case), one.comparison
    if found is None:
        return row
    row |= {
        "nearest": text_cell(found.nearest),
        "abstains": yes_no(found.abstains),
        "why": text_cell(" ".join(found.why_not)),
        "what speaks for it": text_cell(evidence_text(found.evidence)),
    }
    for distance in found.distances:
        row[text_cell(f"distance to {distance.group}")] = number_cell(distance.distance)
        row[text_cell(f"rank of {distance.group}")] = distance.rank
    names = map(text_cell, examples.question.measurements)
    return row | {name: number_cell(v) for name, v in zip(names, found.measurements, strict=True)}


def _about(one: CohortCase) -> dict[str, object]:
    return {
        "name": text_cell(one.name),
        "group": text_cell(one.group),
        "status": DONE if one.usable else FAILED,
        "reason": text_cell(one.problem),
        "notes": text_cell(" ".join(one.features.notes if one.features else ())),
    }
