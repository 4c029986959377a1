"""A case beside examples: distances, ranks, what speaks for a group, and when nothing is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compared_cases import examples, features
from MedMetaSegLib.case_comparison.comparison import compared
from MedMetaSegLib.case_comparison.examples import Examples
from MedMetaSegLib.errors import InputError


@pytest.fixture(scope="module")
def learned() -> Examples:
    return examples()


def test_a_case_is_like_its_group(learned: Examples) -> None:
    found = compared(features(100, 2.0), learned)
    assert not found.abstains
    assert found.nearest == "large"
    assert [(one.group, one.rank) for one in found.distances] == [("large", 1), ("small", 2)]
    assert found.distances[0].distance < found.distances[1].distance
    assert compared(features(101), learned).nearest == "small"


def test_what_speaks_for_it_adds_up_to_the_difference_of_squared_distances(learned: Examples) -> None:
    found = compared(features(100, 2.0), learned)
    near, far = found.distances
    assert sum(one.difference for one in found.evidence) == pytest.approx(far.distance**2 - near.distance**2)
    # The size of the liver is what the groups differ by; the spleen's share follows from it.
    assert {one.measurement for one in found.evidence[:2]} == {"liver:volume_cm3", "spleen:volume_fraction"}
    assert found.evidence[0].difference > 0
    sizes = [abs(one.difference) for one in found.evidence]
    assert sizes == sorted(sizes, reverse=True)
    assert {one.measurement for one in found.evidence} == set(learned.blocks.names)


def test_a_case_unlike_all_examples_gets_no_group(learned: Examples) -> None:
    found = compared(features(102, 30.0), learned)
    assert found.abstains
    assert found.why_not == ("Unlike all examples: 12 of these 12 are nearer to a group than it is.",)
    assert found.nearest == "large"


def test_a_case_between_groups_gets_no_group(learned: Examples) -> None:
    middle = np.sqrt(2)
    found = [compared(features(seed, middle), learned) for seed in range(200, 220)]
    undecided = [one for one in found if any("Undecided between" in why for why in one.why_not)]
    assert undecided
    gaps = [one.distances[0].distance - one.distances[1].distance for one in undecided]
    others = [one.distances[0].distance - one.distances[1].distance for one in found if not one.abstains]
    assert max(map(abs, gaps)) < min(map(abs, others), default=np.inf)


def test_groups_that_cannot_be_told_apart_give_no_group() -> None:
    found = compared(features(100), examples(effect=1.0))
    assert found.abstains
    assert found.why_not[0].startswith("The groups of the examples cannot be told apart (p = ")


def test_a_case_among_the_examples_is_refused(learned: Examples) -> None:
    with pytest.raises(InputError, match="one of the examples"):
        compared(features(3, 2.0), learned)


def test_another_modality_is_refused(learned: Examples) -> None:
    with pytest.raises(InputError, match="The examples are CT, and this is other than CT"):
        compared(features(100, modality="MR"), learned)


def test_a_structure_that_is_missing_or_empty_is_named(learned: Examples) -> None:
    case = features(100)
    with pytest.raises(InputError, match="no structure 'spleen'; there are liver"):
        compared(replace(case, values={"liver": case.values["liver"]}), learned)
    with pytest.raises(InputError, match="'spleen' is empty"):
        compared(replace(case, values={**case.values, "spleen": {}}), learned)


def test_a_measurement_that_is_missing_is_named(learned: Examples) -> None:
    case = features(100)
    with pytest.raises(InputError, match="liver:mean is missing"):
        compared(replace(case, values={**case.values, "liver": {"volume_cm3": 1500.0}}), learned)
