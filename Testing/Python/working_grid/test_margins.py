"""How far around an annotation a structure is looked for."""

from __future__ import annotations

import numpy as np
import pytest

from MedMetaSegLib.working_grid.margins import margins


def test_one_slice_looks_further_along_the_slices_than_several() -> None:
    one, _ = margins((1, 60, 40), [10], aspect=1.0)
    several, _ = margins((21, 60, 40), [0, 10, 20], aspect=1.0)
    assert one[0] == 36
    assert several[0] == 6
    assert one[1] == several[1] == pytest.approx(0.33 * 60)


def test_margins_along_thick_slices_are_fewer_voxels() -> None:
    thin, _ = margins((1, 60, 40), [10], aspect=1.0)
    thick, _ = margins((1, 60, 40), [10], aspect=6.0)
    assert thick[0] == thin[0] / 6
    assert margins((3, 60, 40), [10, 12], aspect=5.0)[0][0] == 2


def test_the_widest_gap_between_slices_counts_in_any_order() -> None:
    assert margins((31, 10, 10), [30, 0, 20], aspect=2.0)[0][0] == pytest.approx(12)


def test_a_tiny_drawing_still_has_room_around_it() -> None:
    before, after = margins((1, 2, 2), [3], aspect=1.0)
    assert before.min() >= 8
    np.testing.assert_array_equal(before, after)
