"""Cells that a spreadsheet could take for a formula."""

from __future__ import annotations

import pytest

from MedMetaSegLib.imageio.cells import path_cell, text_cell


@pytest.mark.parametrize("beginning", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_text_is_a_formula(beginning: str) -> None:
    text = f"{beginning}=1+1"
    assert text_cell(text) == f"'{text}"
    assert path_cell(text) == f"./{text}"


def test_other_texts_stay_as_they_are() -> None:
    assert text_cell("a=1") == path_cell("a=1") == "a=1"
