"""What is to be done with an image, by what is expected of its structures."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from MedMetaSegLib.confidence.triage import ACCEPT, PAINT, REVIEW, TriageBounds, lowest_dice, triage
from MedMetaSegLib.errors import InputError


@dataclass(frozen=True)
class Expected:
    found: bool
    present: float | None
    predicted_dice: float | None = None
    doubtful: bool = False


GOOD, FAIR, BAD = (Expected(True, 0.98, dice) for dice in (0.9, 0.7, 0.5))
ABSENT = Expected(False, 0.02)


@pytest.mark.parametrize(
    ("structures", "expected"),
    [
        ([GOOD, ABSENT], ACCEPT),
        ([ABSENT], ACCEPT),
        ([GOOD, FAIR], REVIEW),
        ([GOOD, BAD], PAINT),
        ([Expected(True, 0.98, 0.8)], ACCEPT),
        ([Expected(True, 0.98, 0.6)], REVIEW),
        ([Expected(True, 0.6, 0.9, doubtful=True)], REVIEW),
        ([GOOD, Expected(False, 0.4, 0.9, doubtful=True)], REVIEW),
        ([GOOD, Expected(False, 0.04, 0.2)], ACCEPT),
        # Kept only since it was asked for, and there but lost to its neighbours.
        ([Expected(True, 0.03, 0.9)], REVIEW),
        ([Expected(False, 0.9, 0.9)], REVIEW),
        ([], ""),
        ([Expected(True, None)], ""),
    ],
)
def test_an_image_is_as_good_as_its_worst_structure(structures: list[Expected], expected: str):
    assert triage(structures, (), TriageBounds()) == expected


def test_an_image_unlike_those_of_the_task_is_never_accepted():
    assert triage([GOOD], ("It is of another modality.",), TriageBounds()) == REVIEW
    assert triage([BAD], ("It is of another modality.",), TriageBounds(0.8, 0.6)) == PAINT
    assert triage([Expected(True, None)], ("It is of another modality.",), TriageBounds()) == ""


def test_the_bounds_are_the_users():
    assert triage([FAIR], (), TriageBounds(0.7, 0.7)) == ACCEPT
    assert triage([GOOD], (), TriageBounds(0.95, 0.92)) == PAINT
    assert triage([BAD], (), TriageBounds(1.0, 0.0)) == REVIEW


@pytest.mark.parametrize(
    ("accept", "paint", "says"),
    [
        (1.1, 0.5, "from 0 to 1"),
        (0.5, -0.1, "from 0 to 1"),
        (float("nan"), 0.5, "from 0 to 1"),
        (0.5, 0.6, "not above"),
    ],
)
def test_bounds_that_cannot_be_are_refused(accept: float, paint: float, says: str):
    with pytest.raises(InputError, match=says):
        TriageBounds(accept, paint).check()


def test_the_lowest_dice_is_of_what_was_found():
    assert lowest_dice([GOOD, FAIR, Expected(False, 0.03, 0.2)]) == 0.7
    assert lowest_dice([ABSENT]) is None
