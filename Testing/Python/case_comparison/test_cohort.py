"""A list of cases: which can be used, which structures count, and why a case is left out."""

from __future__ import annotations

from dataclasses import replace

from compared_cases import QUESTION, features
from MedMetaSegLib.case_comparison.cohort import (
    CohortCase,
    checked,
    left_out_sentence,
    of_one_modality,
    once_a_patient,
    usual_structures,
    without_doubles,
)


def listed(number: int, group: str = "a", **changes: str) -> CohortCase:
    return CohortCase(f"case {number}", group, features(number, **changes))


def with_structures(number: int, *names: str) -> CohortCase:
    case = features(number)
    return CohortCase(str(number), "a", replace(case, values={name: {"mean": 1.0} for name in names}))


def test_structures_that_most_cases_have_count() -> None:
    cohort = [
        with_structures(0, "spleen"),
        with_structures(1, "liver", "spleen"),
        with_structures(2, "liver", "spleen", "scribble"),
    ]
    assert usual_structures(cohort) == ("liver", "spleen")


def test_a_case_that_failed_has_no_say_in_the_structures() -> None:
    failed = CohortCase("x", "a", None, "It cannot be read.")
    assert usual_structures([failed, failed, with_structures(1, "liver")]) == ("liver",)


def test_the_same_image_counts_once() -> None:
    cohort = without_doubles([listed(1), listed(2), listed(1)])
    assert [one.problem for one in cohort] == ["", "", "'case 1' is the same image."]


def test_the_same_image_in_two_groups_counts_in_neither() -> None:
    cohort = without_doubles([listed(1, "a"), listed(1, "b")])
    assert [one.problem for one in cohort] == [
        "'case 1' is the same image, of the group 'b'.",
        "'case 1' is the same image, of the group 'a'.",
    ]


def test_cases_of_the_rarer_kind_are_left_out() -> None:
    failed = CohortCase("x", "a", None, "It cannot be read.")
    cohort = of_one_modality([listed(1, modality="MR"), listed(2), failed, listed(3)])
    assert [one.problem for one in cohort] == [
        "This image is other than CT, and most are CT: their intensities cannot be compared.",
        "",
        "It cannot be read.",
        "",
    ]
    assert of_one_modality([failed]) == (failed,)


def test_no_case_is_used_where_as_many_are_of_either_kind() -> None:
    cohort = of_one_modality([listed(1), listed(2, modality="MR")])
    assert [one.problem for one in cohort] == [
        "This image is CT, and as many are not: their intensities cannot be compared.",
        "This image is other than CT, and as many are not: their intensities cannot be compared.",
    ]


def test_each_patient_counts_once_with_the_first_usable_image() -> None:
    failed = CohortCase("x", "a", None, "It cannot be read.", "Doe")
    told = [replace(listed(n, group), patient="Doe") for n, group in ((1, "a"), (2, "a"), (3, "b"))]
    cohort = once_a_patient([failed, *told, replace(listed(4), patient="Roe"), listed(5), listed(6)])
    further = "A further image of the patient of 'case 1': each patient counts once."
    assert [one.problem for one in cohort] == ["It cannot be read.", "", further, further, "", "", ""]


def test_what_is_left_out_is_counted_by_group() -> None:
    cohort = [listed(1), listed(2, "b"), CohortCase("x", "b", None, "It cannot be read.")]
    assert left_out_sentence(cohort).startswith("Left out: 0 of 1 of 'a', 1 of 2 of 'b'; ")
    assert left_out_sentence(cohort[:2]) == ""


def test_a_case_without_what_is_asked_for_says_so() -> None:
    cohort = checked([listed(1), with_structures(2, "liver"), CohortCase("x", "", None, "Gone.")], QUESTION)
    assert [one.problem for one in cohort] == [
        "",
        "There is no structure 'spleen'; there are liver.",
        "Gone.",
    ]
