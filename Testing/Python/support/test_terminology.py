"""Codes out of Slicer's terminology entries."""

from __future__ import annotations

import pytest

from MedMetaSegLib.support.terminology import TISSUE, Code, Terminology

ORGAN, KIDNEY = (
    Code("SCT", "123037004", "Anatomical Structure"),
    Code("SCT", "64033007", "Kidney"),
)
LEFT, ABDOMEN = Code("SCT", "7771000", "Left"), Code("SCT", "818981001", "Abdomen")


def test_all_codes_of_an_entry_are_found() -> None:
    text = (
        "Some list~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~SCT^7771000^Left"
        "~Regions~SCT^818981001^Abdomen~SCT^7771000^Left"
    )
    assert Terminology.from_text(text) == Terminology(ORGAN, KIDNEY, LEFT, ABDOMEN, LEFT)


@pytest.mark.parametrize("ending", ["", "~^^", "~^^~~^^~^^", "~^^~Regions~^^~^^"])
def test_what_is_not_told_is_none(ending: str) -> None:
    text = f"Some list~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney{ending}"
    assert Terminology.from_text(text) == Terminology(ORGAN, KIDNEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "liver",
        "a~b~c~d~e~f~g",
        "L~SCT^1^A~^^~^^~~SCT^2^B~^^",
        "L~SCT^^A~SCT^2^B",
        "L~SCT^1^A~a scheme of a long name^2^B",
    ],
)
def test_an_entry_without_category_and_type_is_tissue(text: str) -> None:
    assert Terminology.from_text(text) == Terminology(TISSUE, TISSUE)
