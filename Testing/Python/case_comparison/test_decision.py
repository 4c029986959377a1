"""When nothing is said of a case: far from all examples, or between two groups."""

from __future__ import annotations

import numpy as np

from MedMetaSegLib.case_comparison.decision import Decision, learned_decision, left_out_distances
from MedMetaSegLib.case_comparison.prototypes import Blocks, group_prototypes, one_hot

BLOCKS = Blocks.of(tuple("abcd"))


def drawn(effect: float, cases: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Cases (N, 4) of two groups whose means differ by `effect` standard deviations in every column."""
    random = np.random.default_rng(seed)
    groups = np.arange(cases) % 2
    return random.normal(size=(cases, 4)) + effect * groups[:, None], groups


def test_each_example_is_compared_with_all_others() -> None:
    values, groups = drawn(1.0, 12)
    found = left_out_distances(values, groups, BLOCKS)
    for number in range(12):
        members = one_hot(groups, 2)
        members[number] = False
        alone = group_prototypes(values, members[None], BLOCKS)
        np.testing.assert_allclose(found[number], alone.squared_distances(values)[0, number], rtol=1e-9)


def test_groups_that_differ_are_decided_and_others_are_not() -> None:
    apart, alike = (learned_decision(*drawn(effect, 200), BLOCKS) for effect in (2.0, 0.0))
    squared = np.array([0.5, 2.0])
    assert apart.probabilities(squared)[0] > 0.9
    assert alike.probabilities(squared)[0] < 2 / 3


def test_probabilities_add_up_to_one_and_follow_the_distances() -> None:
    found = Decision(np.ones(3), 0.7).probabilities(np.array([[3.0, 1.0, 2.0], [1.0, 1.0, 1.0]]))
    np.testing.assert_allclose(found.sum(1), 1)
    assert found[0].argsort().tolist() == [0, 2, 1]
    np.testing.assert_allclose(found[1], 1 / 3)


def test_share_of_examples_as_far_counts_the_case_itself() -> None:
    decision = Decision(np.arange(1.0, 20.0), 1.0)
    assert decision.share_as_far(10.0) == 11 / 20
    assert decision.share_as_far(100.0) == 1 / 20
    assert decision.is_unlike(19.5)
    assert not decision.is_unlike(18.5)


def test_with_few_examples_a_case_farther_than_all_is_unlike() -> None:
    decision = Decision(np.arange(1.0, 11.0), 1.0)
    assert decision.is_unlike(10.5)
    assert not decision.is_unlike(10.0)


def test_cases_like_the_examples_are_seldom_called_unlike() -> None:
    share = []
    for seed in range(60):
        decision = learned_decision(*drawn(1.0, 30, seed), BLOCKS)
        values, groups = drawn(1.0, 30, seed)
        fitted = group_prototypes(values, one_hot(groups, 2)[None], BLOCKS)
        others = drawn(1.0, 200, 1000 + seed)[0]
        nearest = fitted.squared_distances(others)[0].min(1)
        share.append(np.mean([decision.is_unlike(one) for one in nearest]))
    assert 0.02 < np.mean(share) < 0.08
