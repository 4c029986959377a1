"""Chance is seldom called an effect, and the interval mostly holds the truth, on cohorts that are drawn."""

from __future__ import annotations

import numpy as np

from MedMetaSegLib.case_comparison.validation import ValidationOptions
from MedMetaSegLib.evaluation.comparison_check import (
    EffectRow,
    NoEffectRow,
    Population,
    effect_row,
    no_effect_row,
    report,
)

COHORTS = 30


def test_an_effect_that_is_not_there_is_seldom_claimed() -> None:
    quick = ValidationOptions(repeats=2, permutations=39)
    found = no_effect_row((6, 12), COHORTS, 5, quick)
    # One in twenty is meant; six or more of thirty would happen once in three hundred times.
    assert found.claims <= 5
    assert abs(found.mean_accuracy - 0.5) < 0.1


def test_the_interval_mostly_holds_the_true_accuracy() -> None:
    found = effect_row((12, 12), 1.5, COHORTS, seed=5)
    assert found.covered >= 24
    assert abs(found.true_accuracy - found.estimated_accuracy) < 0.08
    assert found.right_if_decided > found.true_accuracy


def test_groups_differ_by_the_effect_in_two_measurements() -> None:
    groups = np.arange(20_000) % 2
    values = Population(1.5).drawn(groups, np.random.default_rng(0))
    difference = values[groups == 1].mean(0) - values[groups == 0].mean(0)
    np.testing.assert_allclose(difference[6:8], 1.5, atol=0.1)
    np.testing.assert_allclose(difference[[0, 1, 2, 3, 4, 5, 20]], 0, atol=0.15)


def test_the_report_counts_cohorts() -> None:
    rows = [NoEffectRow((5, 5), 100, 4, 0.51), NoEffectRow((5, 9), 100, 6, 0.49)]
    text = report(rows, [EffectRow((5, 5), 0.8, 100, 0.65, 0.63, 95, 0.4, 0.8)])
    assert "| 5 + 9 | 100 | 6 of 100, 6.0 % (2.8 to 12.5) | 0.490 |" in text
    assert "All: 10 of 200, 5.0 %" in text
    assert "All: the interval holds the true balanced accuracy in 95 of 100, 95.0 %" in text
