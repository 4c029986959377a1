"""Protocol B: whom it learns from and applies to, and which structures and slices are scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from MedMetaSegLib.datasets.cases import Case
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.evaluation.next_patient import held_out_split, of_modality, outlined


def a_case(patient: str, modality: str = "MR", dataset: str = "set", **names: int) -> Case:
    listed = {value: name for name, value in names.items()}
    return Case(dataset, f"{patient}_{modality}", patient, modality, Path("image"), Path("label"), listed)


def test_a_patient_who_was_learned_from_is_no_query() -> None:
    cases = [a_case("one"), a_case("two"), a_case("one"), a_case("three")]
    first, rest = held_out_split(cases, 1, 5)
    assert [case.patient for case in first] == ["one"]
    assert [case.patient for case in rest] == ["two", "three"]
    assert len(held_out_split(cases, 1, 1)[1]) == 1


@pytest.mark.parametrize("supports", [1, 2, 3])
def test_images_of_one_patient_are_too_few(supports: int) -> None:
    with pytest.raises(InputError, match="2 cases of 1 patients are too few"):
        held_out_split([a_case("one"), a_case("one")], supports, 3)


def test_a_modality_has_to_be_said_where_there_are_several() -> None:
    cases = [a_case("one", "US"), a_case("one", "MR")]
    with pytest.raises(InputError, match="MR and US: say which"):
        of_modality(cases, None)
    assert of_modality(cases, "MR") == cases[1:]
    assert of_modality(cases[:1], None) == cases[:1]


def test_a_structure_goes_by_its_name_and_one_that_is_not_listed_is_not_scored() -> None:
    labels = np.array([[[0, 1, 2, 2]]])
    case = a_case("one", gland=2)
    found = outlined(case, labels, "gland")
    assert found is not None
    np.testing.assert_array_equal(found, [[[False, False, True, True]]])
    assert outlined(case, labels, "larynx") is None
