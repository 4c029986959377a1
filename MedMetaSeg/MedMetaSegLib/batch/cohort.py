"""What was measured in the images of a batch, side by side: distributions, and the cases that stand out.

A case stands out where its modified z-score, 0.6745 (x - median) / MAD with the median of the absolute
deviations from the median (MAD), is beyond 3.5 (Iglewicz and Hoaglin, How to Detect and Handle Outliers,
1993), among eight cases or more. Where more than half of the cases have one value, MAD is 0 and none does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from ..measurements.measurements import StructureMeasurements
from .states import BatchRow

LEAST_CASES = 8
"""Cases from which on some are said to stand out."""
BEYOND = 3.5
"""Modified z-score beyond which a case stands out."""
BINS = 12
"""Bars of a histogram."""
_NORMAL = 0.6745
"""MAD of a normal distribution whose standard deviation is 1."""

Value = Callable[[StructureMeasurements], float | None]


@dataclass(frozen=True)
class Figure:
    """A figure that the page shows of each structure: its name with unit, and where it comes from."""

    name: str
    value: Value
    of_lesions: bool = False


FIGURES = (
    Figure("ml", lambda one: one.volume_cm3),
    Figure("mean", lambda one: None if one.intensity is None else one.intensity.mean),
    Figure("Feret mm", lambda one: one.feret_diameter_mm),
    Figure("lesions", lambda one: len(one.lesions), of_lesions=True),
    Figure("burden ml", lambda one: one.lesions_cm3, of_lesions=True),
)
"""In the order of the page's columns; those of lesions only where they were asked for."""


@dataclass(frozen=True)
class Distribution:
    """One figure of one structure in all images in which the structure was found.

    values: by the image's name, in the order of the batch.
    """

    structure: str
    figure: str
    values: dict[str, float]

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        return min(self.values.values()), max(self.values.values())

    def counts(self) -> list[int]:
        """How many cases lie in each of BINS equal parts of the bounds; one part where all are the same."""
        low, high = self.bounds
        if low == high:
            return [len(self.values)]
        counts = [0] * BINS
        for value in self.values.values():
            counts[min(int(BINS * (value - low) / (high - low)), BINS - 1)] += 1
        return counts

    @property
    def median(self) -> float:
        """The value in the middle."""
        return median(self.values.values())

    def outliers(self) -> dict[str, float]:
        """The modified z-score of each case that stands out, by the image's name; see the module."""
        if len(self.values) < LEAST_CASES:
            return {}
        middle = self.median
        deviation = median(abs(value - middle) for value in self.values.values())
        if deviation == 0:
            return {}
        scores = {name: _NORMAL * (value - middle) / deviation for name, value in self.values.items()}
        return {name: score for name, score in scores.items() if abs(score) > BEYOND}


def distributions(rows: Sequence[BatchRow]) -> list[list[Distribution]]:
    """Of each structure those of FIGURES that were measured, in their order; none where nothing was."""
    measured = [row for row in rows if row.measurements is not None]
    if not measured or measured[0].measurements is None:
        return []
    first = measured[0].measurements
    return [
        [
            Distribution(one.name, figure.name, _values(measured, number, figure.value))
            for figure in FIGURES
            if first.options.asks_for(one.name) or not figure.of_lesions
        ]
        for number, one in enumerate(first.structures)
    ]


def _values(rows: Sequence[BatchRow], number: int, value_of: Value) -> dict[str, float]:
    found = {}
    for row in rows:
        structures = () if row.measurements is None else row.measurements.structures
        one = structures[number]
        value = value_of(one) if one.voxel_count else None
        if value is not None:
            found[row.name] = float(value)
    return found
