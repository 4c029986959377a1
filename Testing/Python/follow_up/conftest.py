"""A phantom patient at two times, with lesions of which is known what became of them."""

from __future__ import annotations

import pytest

from MedMetaSegLib.demo.phantom import make_patient
from MedMetaSegLib.evaluation.follow_up_accuracy import tissue
from MedMetaSegLib.evaluation.follow_up_cases import FollowUpCase, make_follow_up

LESIONS = {"matched": 8, "new": 2, "gone": 2, "merged": 1, "split": 1}


@pytest.fixture(scope="session")
def follow_up_case() -> FollowUpCase:
    """Made once; nobody changes it."""
    volume = make_patient(1, shape=(32, 90, 116), spacing_mm=(5.0, 3.0, 3.0)).volume
    return make_follow_up(volume, tissue(volume), 1, LESIONS)
