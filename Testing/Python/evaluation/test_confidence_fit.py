"""The fit of confidence: on rows made up so that the right answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from MedMetaSegLib.confidence.calibration import Calibration
from MedMetaSegLib.evaluation import confidence_fit, confidence_report
from MedMetaSegLib.evaluation.confidence_fit import (
    Table,
    auc,
    calibration_error,
    dice_model,
    fitted,
    held_out,
    predictions,
)

SIGNS = {"sure": 1, "far": -1, "noise": 1}


def rows_of(collections: dict[str, int], seed: int = 0) -> list[dict[str, object]]:
    """Rows whose Dice is a logistic function of two features, with noise; the third says nothing."""
    chance = np.random.default_rng(seed)
    found: list[dict[str, object]] = []
    for name, count in collections.items():
        for number in range(count):
            sure, far, noise = chance.normal(size=3)
            dice = 1 / (1 + np.exp(-(1.5 + 1.0 * sure - 0.7 * far + 0.2 * chance.normal())))
            row = {"dataset": name, "case": str(number), "patient": f"{name}{number}", "dice": float(dice)}
            found.append({**row, "sure": sure, "far": far, "noise": noise})
    return found


ROWS = rows_of({"a": 60, "b": 60, "c": 60, "d": 60})


def test_the_fit_finds_the_weights_that_made_the_rows():
    model = fitted(Table.of(ROWS, SIGNS, "dice"), 1e-4)
    weights = {term.name: term.weight / term.scale for term in model.terms}
    assert weights["sure"] == pytest.approx(1.0, abs=0.1)
    assert weights["far"] == pytest.approx(-0.7, abs=0.1)
    assert abs(weights["noise"]) < 0.05


def test_a_feature_speaks_only_the_way_it_may():
    model = fitted(Table.of(ROWS, {"sure": -1, "far": 1}, "dice"), 1e-4)
    assert [term.weight for term in model.terms] == [0, 0]


def test_a_feature_that_nobody_shows_has_no_weight():
    table = Table.of(ROWS, {**SIGNS, "absent": 1}, "dice")
    assert {term.name: term.weight for term in fitted(table, 0.01).terms}["absent"] == 0


def test_a_collection_left_out_has_no_part_in_its_prediction():
    table = Table.of(ROWS, SIGNS, "dice")
    before = held_out(table, 0.01)
    spoiled = [{**row, "dice": 1 - row["dice"]} if row["dataset"] == "a" else row for row in ROWS]
    after = held_out(Table.of(spoiled, SIGNS, "dice"), 0.01)
    inside = table.groups == "a"
    assert np.array_equal(before[inside], after[inside])
    assert not np.array_equal(before[~inside], after[~inside])


def test_sarcoma_in_ct_and_mr_are_the_same_patients():
    table = Table.of(rows_of({"sts_ct": 3, "sts_mr": 3, "a": 3}), SIGNS, "dice")
    assert set(table.without("sarcoma").groups) == {"a"}


def test_a_task_of_other_images_is_left_out_with_either_collection():
    rows = [{**row, "support": f"{'b' if n % 2 else 'a'}/1"} for n, row in enumerate(ROWS)]
    table = Table.of(rows, SIGNS, "dice")
    left = table.without("a")
    assert "a" not in set(left.groups) | set(left.queries)


def test_hearts_are_never_fitted_on():
    rows = [*ROWS, *rows_of({"acdc": 40}, seed=1)]
    spoiled = [{**row, "dice": 0.0} if row["dataset"] == "acdc" else row for row in rows]
    first, second = (dice_model(Table.of(some, SIGNS, "dice"), 0.01) for some in (rows, spoiled))
    assert first == second


def test_intervals_hold_nine_in_ten_of_another_collection():
    table = Table.of(ROWS, SIGNS, "dice")
    other = Table.of(rows_of({"e": 400}, seed=2), SIGNS, "dice")
    model = dice_model(table, 0.001)
    told = [model.of(other.features(number)) for number in range(400)]
    inside = [one.low <= truth <= one.high for one, truth in zip(told, other.target, strict=True)]
    assert 0.84 < np.mean(inside) < 0.97
    assert np.abs(predictions(model.mean, other) - other.target).mean() < 0.04


def test_the_area_under_the_curve_and_the_calibration_error_are_what_they_are_called():
    there = np.array([True, True, False, False])
    assert auc(np.array([0.9, 0.8, 0.2, 0.1]), there) == 1
    assert auc(np.array([0.5, 0.5, 0.5, 0.5]), there) == 0.5
    assert auc(np.array([0.9, 0.2, 0.8, 0.1]), there) == 0.75
    assert calibration_error(np.array([0.75] * 4), np.array([True, True, True, False])) == 0
    assert calibration_error(np.array([0.95] * 4), there) == pytest.approx(0.45)


def presence_rows(seed: int = 0) -> list[dict[str, object]]:
    """Rows of tasks of four collections: what is there is seen by every feature, and some lie outside."""
    chance = np.random.default_rng(seed)
    signs = {**confidence_fit.PRESENCE, **confidence_fit.NEXT_PATIENT}
    found: list[dict[str, object]] = []
    for support in "abcd":
        for number in range(60):
            present = number % 2
            dataset = support if present else "abcd"[("abcd".index(support) + 1) % 4]
            row: dict[str, object] = {
                "support": f"{support}/1",
                "support_modality": "MR",
                "cut": "",
                "dataset": dataset,
                "case": str(number),
                "patient": f"{dataset}{number}",
                "modality": "CT" if number % 20 == 0 else "MR",
                "structure": "liver",
                "present": present,
                "dice": float(np.clip(0.7 * present + 0.1 * chance.normal(), 0, 1)) * present,
                "in_view": number % 10 > 0,
            }
            if row["in_view"] and number % 10 != 2:
                shown = {name: sign * (2 * present - 1) + chance.normal() for name, sign in signs.items()}
                row.update(shown)
            found.append(row)
    return found


def test_a_report_is_made_of_rows_and_its_calibration_can_be_shipped(tmp_path: Path):
    names = confidence_fit.SAME_VOLUME
    chance = np.random.default_rng(5)
    same = []
    for row in rows_of({"a": 24, "b": 24, "c": 24, "d": 24}):
        shown = {name: sign * (row["sure"] - row["far"]) + chance.normal() for name, sign in names.items()}
        same.append({**row, **shown, "k": 1 + 2 * (len(same) % 2)})
    rows = presence_rows()
    text, shown = confidence_report.report(same, rows)
    assert "| K = 1 | 48 |" in text
    assert "| K = 3 | 48 |" in text
    assert "| all | 120 / 120 |" in text
    assert "| other modality |" in text
    confidence_report.draw(tmp_path / "plots.png", shown)
    assert (tmp_path / "plots.png").stat().st_size > 10_000
    made = confidence_report.calibration_of(same, rows)
    assert Calibration.read(made.as_dict()) == made
    assert made.presence.outside < 0.1
    assert made.made["patients"] > 100
