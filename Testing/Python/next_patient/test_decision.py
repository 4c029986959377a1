"""Whether a structure that was looked for is kept, and what is said when not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MedMetaSegLib.confidence.calibration import (
    Calibration,
    DiceModel,
    LogisticModel,
    PresenceModel,
    Term,
    shipped_calibration,
)
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.next_patient import decision
from MedMetaSegLib.next_patient.absence import AbsenceEvidence
from MedMetaSegLib.next_patient.decision import OUTSIDE, ApplyOptions, decided, remarks
from MedMetaSegLib.next_patient.search import Prediction
from MedMetaSegLib.support.structure import Structure
from MedMetaSegLib.working_grid.grid import WorkingGrid

LIVER = Structure("liver", 1, (0.5, 0.2, 0.1))
GRID = WorkingGrid(
    Geometry((16, 16, 16), np.eye(4)), (0, 1, 2), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (16, 16, 16)
)
EVIDENCE = AbsenceEvidence(1.0, 0.5)


@pytest.fixture(autouse=True)
def calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probability that follows the likeness alone: 0.12, 0.5 and 0.88 where that is 0.3, 0.4 and 0.5."""
    mean = LogisticModel((Term("local_ncc", 0.4, 0.1, 2.0), Term("disagreement", 0.2, 0.1, -1.0)), 0.0)
    presence = PresenceModel(mean, 0.01, 0.05, 0.2, 0.7)
    dice = DiceModel(mean, 0.05, 1, -0.5, 0.5)
    made = Calibration(dice, dice, dice, presence, {})
    monkeypatch.setattr(decision, "shipped_calibration", lambda: made)


def prediction(local_ncc: float, **more: float) -> Prediction:
    logits = np.ones((16, 16, 16), np.float16)
    return Prediction(GRID, logits, EVIDENCE, {"local_ncc": local_ncc, **more}, 0.1)


def test_what_is_there_is_kept_what_may_be_is_marked_what_is_not_is_left_out():
    surely, perhaps, hardly = (decided(LIVER, prediction(ncc), ApplyOptions()) for ncc in (0.5, 0.4, 0.3))
    assert [one.reason == "" for one in (surely, perhaps, hardly)] == [True, True, False]
    assert [one.confidence.doubtful for one in (surely, perhaps, hardly)] == [False, True, False]
    assert hardly.confidence.predicted is None
    assert [one.left_out for one in (surely, perhaps, hardly)] == [False, False, True]
    assert perhaps.confidence.predicted is not None
    assert hardly.reason == "what lies at its place does not look like the supports (probability 0.12)"


def test_the_reason_is_what_speaks_most_against_it():
    apart = decided(LIVER, prediction(0.39, disagreement=0.6), ApplyOptions())
    assert apart.reason.startswith("the atlases do not agree where it is (")


def test_the_user_may_drop_what_is_doubtful_and_keep_what_is_not_believed():
    assert decided(LIVER, prediction(0.4), ApplyOptions(keep_doubtful=False)).reason
    assert not decided(LIVER, prediction(0.3), ApplyOptions(force=("liver",))).reason
    assert decided(LIVER, prediction(0.3), ApplyOptions(force=("spleen",))).reason
    forced = decided(LIVER, prediction(0.4), ApplyOptions(keep_doubtful=False, force=("liver",)))
    assert not forced.reason
    assert forced.confidence.doubtful


def test_what_lies_outside_cannot_be_forced():
    outside = Prediction(None, None, EVIDENCE, {}, 0.0)
    found = decided(LIVER, outside, ApplyOptions(force=("liver",)))
    assert found.reason == OUTSIDE
    assert not found.left_out
    assert found.confidence.present == 0.01


def test_without_confidence_nothing_is_left_out():
    found = decided(LIVER, prediction(0.3), ApplyOptions(confidence=False))
    assert (found.reason, found.confidence) == ("", None)


def test_an_image_of_which_nothing_is_surely_there_is_told():
    options = ApplyOptions()
    hardly, perhaps, surely = (decided(LIVER, prediction(ncc), options) for ncc in (0.3, 0.4, 0.5))
    assert "nothing of it is surely there" in remarks([hardly, perhaps], [LIVER, LIVER], options)[0]
    assert remarks([hardly, surely], [LIVER, LIVER], options) == []


def test_what_the_image_cuts_off_is_named():
    options = ApplyOptions()
    cut = decided(LIVER, replace(prediction(0.5), evidence=AbsenceEvidence(0.4, 0.5)), options)
    assert remarks([cut], [LIVER], options) == ["Cut off by the image's border: liver."]


@pytest.mark.parametrize(("local_ncc", "doubtful"), [(0.3, True), (0.4, True), (0.5, False)])
@pytest.mark.parametrize("keep_doubtful", [True, False])
def test_what_is_forced_is_kept_and_still_doubtful(local_ncc: float, doubtful: bool, keep_doubtful: bool):
    forced = decided(LIVER, prediction(local_ncc), ApplyOptions(keep_doubtful, force=("liver",)))
    assert not forced.reason
    assert not forced.confidence.absent
    assert forced.confidence.doubtful is doubtful


def test_every_feature_of_the_shipped_model_has_a_reason():
    terms = {term.name for term in shipped_calibration().presence.mean.terms}
    reasons = [name for names in decision._REASONS.values() for name in names]
    assert terms == set(reasons)
    assert len(reasons) == len(set(reasons))
