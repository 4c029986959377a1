"""Volumes are told with as many digits as they need."""

from __future__ import annotations

import pytest

from MedMetaSegLib.results.millilitres import millilitres_text, rounded_millilitres


@pytest.mark.parametrize(
    ("millilitres", "text", "number"),
    [
        (0.0, "0", 0.0),
        (0.03, "0.0300", 0.03),
        (1.5249, "1.52", 1.525),
        (152.34567, "152.3", 152.346),
        (1.23456e-7, "0.000000123", 1.23e-7),
    ],
)
def test_a_small_volume_is_not_zero(millilitres: float, text: str, number: float):
    assert millilitres_text(millilitres) == text
    assert rounded_millilitres(millilitres) == pytest.approx(number, rel=1e-9)
