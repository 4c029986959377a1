"""The pages: every case, the limits, and names that stay names."""

from __future__ import annotations

import re
from dataclasses import replace

from compared_cases import examples, features, grouped
from MedMetaSegLib.case_comparison.cohort import CohortCase
from MedMetaSegLib.case_comparison.comparison import compared
from MedMetaSegLib.case_comparison.page import apply_page, learn_page
from MedMetaSegLib.case_comparison.tables import LIMITS, ONE_OF_EACH_PATIENT, ComparedCase

EVIL = "<script>alert(1)</script>"


def test_the_page_of_examples_shows_groups_cases_and_limits() -> None:
    learned = examples()
    cohort = [CohortCase(f"case {n}", group, case) for n, (case, group) in enumerate(grouped())]
    page = learn_page(learned, [*cohort, CohortCase(EVIL, "large", None, "It cannot be read.")])
    assert LIMITS in page
    assert all(sentence in page for sentence in learned.sentences())
    assert page.count("<tr><td>case") == 12
    assert "It cannot be read." in page
    assert "Left out: 1 of 7 of &#x27;large&#x27;, 0 of 6 of &#x27;small&#x27;" in page
    assert EVIL not in page


def test_the_page_asks_for_one_image_of_each_patient_unless_patients_are_told() -> None:
    learned = examples()
    cohort = [CohortCase(f"case {n}", group, case) for n, (case, group) in enumerate(grouped())]
    assert ONE_OF_EACH_PATIENT in learn_page(learned, cohort)
    told = learn_page(learned, [replace(one, patient=f"Doe {n}") for n, one in enumerate(cohort)])
    assert LIMITS in told
    assert ONE_OF_EACH_PATIENT not in told
    assert "Doe" not in told


def test_the_page_of_comparisons_shows_answers_and_why_there_is_none() -> None:
    learned = examples()
    cases = [
        CohortCase("alike", "", features(100, 2.0)),
        CohortCase("far off", "", features(101, 30.0)),
        CohortCase(EVIL, "", None, "It cannot be read."),
    ]
    answers = [compared(one.features, learned) if one.features else None for one in cases]
    page = apply_page(learned, [ComparedCase(*one) for one in zip(cases, answers, strict=True)])
    assert LIMITS in page
    assert "<td>large</td>" in page
    assert "<td>no group<small>nearest: large</small><small>Unlike all examples" in page
    assert "not compared<small>It cannot be read." in page
    assert EVIL not in page


def test_nothing_is_loaded_from_anywhere() -> None:
    assert not re.search(r"(src|href)=|url\(|@import", learn_page(examples(), []))
