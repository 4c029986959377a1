"""Who is a query of which task, and what is known of it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from MedMetaSegLib.datasets.cases import Case
from MedMetaSegLib.evaluation.confidence_pairs import Pair, half, is_comparable, is_elsewhere, pairs
from MedMetaSegLib.evaluation.confidence_rows import _is_present


def case_of(dataset: str, case: str, *names: str, modality: str = "MR") -> Case:
    labels = dict(enumerate(names, start=1))
    return Case(dataset, case, f"{dataset}_{case}", modality, Path("i"), Path("l"), labels)


HIPPOCAMPI = [case_of("hippocampus", f"{n:03}", "hippocampus anterior") for n in range(12)]
HEARTS = [case_of("acdc", f"{n:03}", "RV", "LV") for n in range(10)]
NECKS = [
    case_of("openkbp", f"pt_{n}", "brainstem", "spinal cord", "mandible", modality="CT") for n in range(9)
]
FETUSES = [case_of("fetal_sba", f"atlas_GA{n}_x", "brainstem", "cerebellum") for n in (21, 24, 26, 29)]
TORSO = [case_of("totalseg", "ct", "liver", "esophagus", modality="CT")]
CASES = [*HIPPOCAMPI, *HEARTS, *NECKS, *FETUSES, *TORSO]


def test_no_task_is_applied_to_its_own_support_and_every_pair_comes_once():
    found = pairs(CASES)
    assert all(one.support is not one.query for one in found)
    assert len({one.key for one in found}) == len(found)


def test_queries_of_a_task_come_together_so_that_it_is_learned_once():
    supports = [one.support.patient for one in pairs(CASES)]
    changes = sum(a != b for a, b in pairwise(supports))
    assert changes == len(set(supports)) - 1


def test_a_task_is_applied_to_some_who_have_it_and_some_who_have_not():
    found = [one for one in pairs(CASES) if one.support is HIPPOCAMPI[0]]
    assert {one.query.dataset for one in found} >= {"hippocampus", "acdc", "totalseg"}
    assert "openkbp" not in {one.query.dataset for one in found}
    assert any(one.cut for one in found)


@pytest.mark.parametrize(
    ("structure", "collection", "query", "elsewhere"),
    [
        ("RV", "acdc", "hippocampus", True),
        ("hippocampus anterior", "hippocampus", "openkbp", False),
        ("mandible", "openkbp", "totalseg", True),
        ("esophagus", "openkbp", "totalseg", False),
        ("spinal cord", "openkbp", "totalseg", False),
        ("liver", "totalseg", "acdc", False),
        ("RV", "acdc", "unheard of", False),
    ],
)
def test_a_structure_is_absent_only_where_its_part_of_the_body_is_not_shown(
    structure: str, collection: str, query: str, elsewhere: bool
):
    assert is_elsewhere(structure, collection, query) is elsewhere


def test_fetal_brains_of_other_ages_are_not_compared():
    assert is_comparable(FETUSES[0], FETUSES[1])
    assert not is_comparable(FETUSES[0], FETUSES[2])
    assert is_comparable(HEARTS[0], HEARTS[1])


def test_namesakes_in_other_collections_are_asked_of_nobody():
    truth = np.full((10, 10, 10), 1)
    assert _is_present("brainstem", Pair(NECKS[0], FETUSES[0]), 1, truth, {}) is None
    assert _is_present("brainstem", Pair(NECKS[0], NECKS[1]), 1, truth, {}) is True


def test_what_a_cut_leaves_out_is_absent_and_what_it_cuts_through_is_unknown():
    truth = np.zeros((10, 10, 10), int)
    truth[:6] = 1
    pair = Pair(NECKS[0], NECKS[1], "low")
    assert _is_present("mandible", pair, 3, truth, {3: 0.0}) is False
    assert _is_present("brainstem", pair, 1, truth, {1: 0.3}) is None
    assert _is_present("brainstem", pair, 1, truth, {1: 0.8}) is True
    whole = Pair(NECKS[0], NECKS[1])
    assert _is_present("mandible", whole, 3, truth, {}) is None


def test_a_cut_runs_between_the_structures_that_lie_farthest_apart():
    labels = np.zeros((20, 30, 40), int)
    labels[8:12, 4:8, 10:30] = 1
    labels[8:12, 22:26, 10:30] = 2
    low, high = half(labels, "low"), half(labels, "high")
    assert (labels[low] == 1).sum() == (labels == 1).sum()
    assert not (labels[low] == 2).any()
    assert labels[low].size + labels[high].size == labels.size
