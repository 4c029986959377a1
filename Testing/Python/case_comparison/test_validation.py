"""Cross-validation and the permutation test: no case judges itself, and chance is called chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from MedMetaSegLib.case_comparison.prototypes import Blocks
from MedMetaSegLib.case_comparison.validation import (
    ValidationOptions,
    case_hits,
    stratified_folds,
    validated,
    wilson_interval,
)
from MedMetaSegLib.errors import Cancelled

BLOCKS = Blocks.of(tuple("abcd"))
QUICK = ValidationOptions(repeats=5, permutations=99)


def drawn(effect: float, sizes: tuple[int, ...] = (15, 15), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Cases (N, 4) of groups whose means differ by `effect` standard deviations in the first two columns."""
    random = np.random.default_rng(seed)
    groups = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    values = random.normal(size=(len(groups), 4))
    values[:, :2] += effect * groups[:, None]
    return values, groups


def test_a_strong_effect_is_found() -> None:
    found = validated(*drawn(3.0), BLOCKS, QUICK)
    assert found.told_apart
    assert found.p_value == pytest.approx(1 / 100)
    assert found.balanced_accuracy > 0.9
    assert found.interval[0] > 0.7


def test_no_effect_is_called_none() -> None:
    found = [validated(*drawn(0.0, seed=seed), BLOCKS, QUICK) for seed in range(8)]
    assert sum(one.told_apart for one in found) <= 2
    assert 0.35 < np.mean([one.balanced_accuracy for one in found]) < 0.6


def test_many_columns_without_effect_do_not_look_like_one() -> None:
    random = np.random.default_rng(5)
    groups = np.arange(20) % 2
    blocks = Blocks.of(tuple("abcdefgh"), ("one:embedding",), 400)
    hits = case_hits(random.normal(size=(20, 408)), groups, blocks, QUICK, random)
    assert hits.mean() < 0.7


def test_balanced_accuracy_is_that_of_a_library() -> None:
    values, groups = drawn(1.0, (60, 60), 3)
    mine = case_hits(values, groups, BLOCKS, ValidationOptions(repeats=20), np.random.default_rng(0)).mean()
    pipeline = make_pipeline(StandardScaler(), NearestCentroid())
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=20, random_state=0)
    theirs = np.mean(
        [
            balanced_accuracy_score(
                groups[test], pipeline.fit(values[train], groups[train]).predict(values[test])
            )
            for train, test in folds.split(values, groups)
        ]
    )
    assert mine == pytest.approx(theirs, abs=0.02)


def test_a_case_has_no_say_in_how_it_is_named_itself() -> None:
    values, groups = drawn(1.0)
    far = values.copy()
    far[0] = 1e6
    options = ValidationOptions(repeats=1)
    hits, moved = (case_hits(x, groups, BLOCKS, options, np.random.default_rng(1)) for x in (values, far))
    fold = stratified_folds(groups, 5, np.random.default_rng(1))
    same = fold == fold[0]
    same[0] = False
    np.testing.assert_array_equal(hits[same], moved[same])


@pytest.mark.parametrize("sizes", [(5, 5), (7, 13), (5, 6, 30)])
def test_folds_are_stratified_and_of_one_size(sizes: tuple[int, ...]) -> None:
    groups = drawn(0.0, sizes)[1]
    folds = stratified_folds(groups, 5, np.random.default_rng(2))
    table = np.array([np.bincount(folds[groups == g], minlength=5) for g in range(len(sizes))])
    assert np.ptp(table, axis=1).max() <= 1
    assert np.ptp(table.sum(0)) <= 1
    assert np.bincount(folds).size == 5


def test_there_are_no_more_folds_than_cases_of_a_group() -> None:
    groups = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    assert stratified_folds(groups, 5, np.random.default_rng(0)).max() == 2


@pytest.mark.parametrize(("right", "number"), [(0, 10), (7, 10), (10, 10), (311, 400)])
def test_wilson_interval_is_that_of_scipy(right: int, number: int) -> None:
    expected = binomtest(right, number).proportion_ci(method="wilson")
    assert wilson_interval(right / number, number) == pytest.approx((expected.low, expected.high))


def test_repeats_do_not_count_as_cases() -> None:
    few, many = (validated(*drawn(1.0), BLOCKS, replace(QUICK, repeats=repeats)) for repeats in (2, 40))
    assert few.effective_cases == many.effective_cases == 24
    widths = [one.interval[1] - one.interval[0] for one in (few, many)]
    assert widths[1] == pytest.approx(widths[0], rel=0.1)


def test_unequal_groups_count_as_fewer_cases() -> None:
    found = validated(*drawn(1.0, (5, 45)), BLOCKS, QUICK)
    assert found.effective_cases == pytest.approx(18 * 4 / 5)
    assert found.majority_accuracy == pytest.approx(0.9)
    assert found.chance == 0.5
    assert found.counts == (5, 45)


def test_the_same_cases_give_the_same_answer() -> None:
    assert validated(*drawn(0.7), BLOCKS, QUICK) == validated(*drawn(0.7), BLOCKS, QUICK)


def test_sentences_say_what_came_out() -> None:
    told, not_told = (validated(*drawn(effect), BLOCKS, QUICK).sentences() for effect in (3.0, 0.0))
    assert told[0].startswith("The groups can be told apart")
    assert not_told[0].startswith("The groups cannot be told apart with these 30 cases")
    assert "always naming one group gives 50 %" in told[1]
    assert told[2].endswith("always naming the largest group gives 50 %.")
    assert len(told) == 3
    few = validated(*drawn(3.0, (8, 8)), BLOCKS, QUICK).sentences()
    assert few[3].startswith("16 cases are few")


def test_cancel_stops_the_permutations() -> None:
    with pytest.raises(Cancelled):
        validated(*drawn(1.0), BLOCKS, QUICK, cancelled=lambda: True)
