"""From features to a probability, and to the Dice to expect."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from MedMetaSegLib.confidence.calibration import (
    CALIBRATION,
    Calibration,
    DiceModel,
    LogisticModel,
    PresenceModel,
    Term,
    shipped_calibration,
)
from MedMetaSegLib.confidence.confidence import applied_confidence, painted_confidence
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.evaluation.confidence_fit import NEXT_PATIENT, SAME_VOLUME
from MedMetaSegLib.evaluation.confidence_fit import PRESENCE as PRESENCE_SIGNS
from MedMetaSegLib.network.shipped import shipped_sha256

MEAN = LogisticModel((Term("sure", 0.8, 0.1, 1.5), Term("far", 2.0, 1.0, -0.5)), 0.4)
DICE = DiceModel(MEAN, 0.05, 1.0, -0.5, 0.3)
PRESENCE = PresenceModel(MEAN, outside=0.02, empty=0.1, absent=0.3, sure=0.6)


def test_a_logistic_model_is_a_weighted_sum_of_features():
    score = 0.4 + 1.5 * (0.9 - 0.8) / 0.1 - 0.5 * (3.0 - 2.0) / 1.0
    assert MEAN.of({"sure": 0.9, "far": 3.0}) == pytest.approx(1 / (1 + math.exp(-score)))


def test_a_share_counts_by_its_logit_if_the_term_says_so():
    model = LogisticModel((Term("agreement", 0.0, 1.0, 2.0, logit=True),), 0.0)
    assert model.of({"agreement": 0.8}) == pytest.approx(0.8**2 / (0.8**2 + 0.2**2))
    assert model.of({"agreement": 1.0}) == model.of({"agreement": 0.999}) < 1
    assert model.of({"agreement": 0.0}) == model.of({"agreement": 0.001}) > 0


@pytest.mark.parametrize("features", [{}, {"sure": math.nan}, {"other": 7.0}])
def test_a_missing_feature_counts_as_usual(features: dict[str, float]):
    assert MEAN.of(features) == pytest.approx(1 / (1 + math.exp(-0.4)))


def test_what_is_farther_than_anything_seen_counts_no_more():
    assert MEAN.of({"far": 5.0}) == MEAN.of({"far": 500.0}) < MEAN.of({"far": 4.0})


def test_the_weakest_feature_is_that_which_lowers_the_number_most():
    assert MEAN.weakest({"sure": 0.75, "far": 4.0}) == "far"
    assert MEAN.weakest({"sure": 0.5, "far": 4.0}) == "sure"


def test_an_interval_holds_its_figure_and_stays_between_0_and_1():
    for sure in (0.0, 0.5, 0.8, 0.9, 1.0):
        found = DICE.of({"sure": sure})
        assert 0 <= found.low <= found.dice <= found.high <= 1
    low, high = (DICE.of({"sure": sure}) for sure in (0.7, 0.95))
    assert high.high - high.low < low.high - low.low


def test_a_painted_structure_is_there_and_doubtful_when_little_is_to_be_expected():
    good, bad = (painted_confidence({"sure": sure}, DICE) for sure in (0.95, 0.7))
    assert (good.present, bad.present) == (1, 1)
    assert (good.doubtful, bad.doubtful) == (False, True)
    assert not bad.absent
    nothing = painted_confidence({}, DICE)
    assert nothing.doubtful
    assert nothing.as_dict()["predicted_dice"] is None


@pytest.mark.parametrize(
    ("sure", "absent", "doubtful"), [(0.65, True, False), (0.8, False, True), (0.95, False, False)]
)
def test_the_bounds_part_absent_from_doubtful_from_sure(sure: float, absent: bool, doubtful: bool):
    found = applied_confidence({"sure": sure}, DICE, PRESENCE, in_view=True, found=True)
    assert (found.absent, found.doubtful) == (absent, doubtful)


def test_what_lies_outside_or_is_not_found_has_a_probability_of_its_own():
    outside = applied_confidence({}, DICE, PRESENCE, in_view=False, found=False)
    empty = applied_confidence({}, DICE, PRESENCE, in_view=True, found=False)
    assert (outside.present, empty.present) == (0.02, 0.1)
    assert outside.predicted is empty.predicted is None


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path):
    one = Calibration(DICE, DICE, DICE, PRESENCE, {"patients": 3})
    path = tmp_path / "confidence.json"
    path.write_text(json.dumps(one.as_dict()))
    assert shipped_calibration(path) == one


def test_a_single_slice_has_a_model_of_its_own():
    single = DiceModel(MEAN, 0.2, 1.0, -0.9, 0.9)
    made = Calibration(DICE, single, DICE, PRESENCE, {})
    assert made.painted({"slices": 0.0}) is single
    assert made.painted({"slices": 1.0}) is made.painted({"expected_dice": 0.9}) is DICE


def test_other_weights_are_told_and_the_right_ones_are_not():
    made = Calibration(DICE, DICE, DICE, PRESENCE, {"weights_sha256": "abc"})
    assert made.cautions("abc") == []
    (caution,) = made.cautions("xyz")
    assert "other weights" in caution


@pytest.mark.parametrize("content", ["", "{}", '{"version": 99}', "[1]"])
def test_what_is_no_calibration_is_refused_in_a_sentence(tmp_path: Path, content: str):
    path = tmp_path / "confidence.json"
    path.write_text(content)
    with pytest.raises(InputError, match="calibration"):
        shipped_calibration(path)


def test_the_shipped_calibration_belongs_to_the_shipped_weights():
    shipped = shipped_calibration(CALIBRATION)
    assert shipped.made["weights_sha256"] == shipped_sha256()
    assert shipped.made["patients"] > 50
    assert "acdc" not in shipped.made["collections"]
    assert 0 < shipped.presence.absent < shipped.presence.sure < 1
    for model in (shipped.same_volume, shipped.single_slice, shipped.next_patient):
        assert model.low < 0 < model.high


def test_more_to_rely_on_never_lowers_the_dice_to_expect():
    """The shipped weights of what must count for an answer are not negative, and against it not positive."""
    weights = {term.name: term.weight for term in shipped_calibration().same_volume.mean.terms}
    assert weights["expected_dice"] > 0
    assert weights["shape_agreement"] + weights["geodesic_agreement"] + weights["propagated_agreement"] > 0
    presence = {term.name: term.weight for term in shipped_calibration().presence.mean.terms}
    assert presence["local_ncc"] + presence["mean_ncc"] + presence["global_ncc"] > 0
    shipped = shipped_calibration()
    for model, signs in (
        (shipped.same_volume, SAME_VOLUME),
        (shipped.next_patient, NEXT_PATIENT),
        (shipped.presence, PRESENCE_SIGNS),
    ):
        told = {term.name: term.weight * signs[term.name] for term in model.mean.terms}
        assert min(told.values()) >= 0 < max(told.values()), told
