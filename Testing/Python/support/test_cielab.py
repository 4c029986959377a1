"""Colours as DICOM stores them: there and back."""

from __future__ import annotations

import numpy as np
import pytest

from MedMetaSegLib.support.cielab import color_lab, lab_color

CORNERS = [(r, g, b) for r in (0.0, 1.0) for g in (0.0, 1.0) for b in (0.0, 1.0)]


@pytest.mark.parametrize("color", [*CORNERS, (0.01, 0.02, 0.0), (0.8, 0.2, 0.1), (0.5, 0.5, 0.5)])
def test_a_colour_comes_back_within_one_of_255(color: tuple[float, float, float]) -> None:
    stored = color_lab(color)
    assert all(0 <= value <= 65535 for value in stored)
    np.testing.assert_allclose(lab_color(np.array(stored, float)), color, atol=1 / 255)


def test_red_is_stored_as_others_store_it() -> None:
    np.testing.assert_allclose(color_lab((1.0, 0.0, 0.0)), (34885, 53484, 50171), atol=20)
