"""Geodesic preference: which of two sets of known voxels is nearer, counted in change of grey level."""

from __future__ import annotations

import numpy as np
import pytest

from MedMetaSegLib.network.geodesic import geodesic_preference

SHAPE = (10, 24, 24)


def seeds(*places: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    for place in places:
        mask[place] = True
    return mask


def test_a_region_of_one_grey_belongs_to_the_seed_inside_it_however_far() -> None:
    image = np.zeros(SHAPE, np.float32)
    image[:, :, :12] = 2.0
    preference = geodesic_preference(image, seeds((1, 2, 2)), seeds((1, 2, 13)), 1.0)
    assert (preference[:, :, :12] > 0).all()
    assert (preference[:, :, 12:] < 0).all()


def test_a_path_may_bend_around_an_obstacle() -> None:
    image = np.zeros(SHAPE, np.float32)
    image[:, 4:20, 10] = 9.0
    preference = geodesic_preference(image, seeds((5, 12, 8)), seeds((0, 12, 10)), 1.0)
    assert preference[5, 12, 12] > 0.5


def test_where_nothing_changes_the_nearer_seed_wins_and_thick_slices_count_as_far() -> None:
    image = np.zeros(SHAPE, np.float32)
    inside, outside = seeds((0, 12, 12)), seeds((4, 12, 18))
    assert geodesic_preference(image, inside, outside, 1.0)[4, 12, 12] > 0
    assert geodesic_preference(image, inside, outside, 4.0)[4, 12, 12] < 0


def test_known_voxels_are_certain() -> None:
    image = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    inside, outside = seeds((3, 4, 5)), seeds((6, 7, 8))
    preference = geodesic_preference(image, inside, outside, 1.0)
    assert preference[3, 4, 5] == 1
    assert preference[6, 7, 8] == -1
    assert preference.dtype == np.float32


@pytest.mark.parametrize("side", [0, 1])
def test_without_one_side_there_is_no_preference(side: int) -> None:
    sides = [seeds((3, 4, 5)), seeds((6, 7, 8))]
    sides[side] = np.zeros(SHAPE, bool)
    assert not geodesic_preference(np.zeros(SHAPE, np.float32), *sides, 1.0).any()
