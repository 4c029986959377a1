"""Volumes in millilitres, with as many digits as they need: a lesion of 30 mm3 is not 0.0 ml."""

from __future__ import annotations

from math import floor, log10

_LARGE_ML = 10.0
"""From here on, one digit behind the point is enough."""
_DIGITS = 3
"""Digits of a smaller volume that count."""


def millilitres_text(millilitres: float) -> str:
    """A volume for people: "152.3", "1.52", "0.0300", "0"."""
    if millilitres >= _LARGE_ML:
        return f"{millilitres:.1f}"
    return f"{millilitres:.{_decimals(millilitres)}f}" if millilitres > 0 else "0"


def rounded_millilitres(millilitres: float) -> float:
    """A volume for reports: at least to the microlitre, and a smaller one to as many digits as count."""
    return round(millilitres, max(3, _decimals(millilitres))) if millilitres > 0 else 0.0


def _decimals(millilitres: float) -> int:
    return max(0, _DIGITS - 1 - floor(log10(millilitres)))
