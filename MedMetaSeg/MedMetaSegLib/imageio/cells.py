"""Cells of CSV files that a spreadsheet shows as they are meant: none of them is a formula."""

from __future__ import annotations

from .names import shown

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a cell begins with that a spreadsheet runs."""
_DIGITS = 7
"""Digits of a measured number that count; those of single precision."""


def path_cell(text: str) -> str:
    """A path that leads to the same file and is no formula."""
    return f"./{shown(text)}" if text.startswith(_FORMULA) else shown(text)


def text_cell(text: str) -> str:
    """A text with an apostrophe before it, which spreadsheets do not show, where it would be a formula."""
    return f"'{shown(text)}" if text.startswith(_FORMULA) else shown(text)


def number_cell(value: float | None) -> float | str:
    """A measured number with seven digits; an empty cell for None."""
    return "" if value is None else float(f"{value:.{_DIGITS}g}")


def yes_no(value: bool) -> str:
    """A yes or no."""
    return "yes" if value else "no"
