"""Geodesic preference: which of two sets of known voxels is nearer, counted in change of grey level."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from MedMetaSegLib.network.geodesic import (
    along_lines,
    along_planes,
    aslant_by_windows,
    aslant_on_cpu,
    geodesic_preference,
)

SHAPE = (10, 24, 24)


def seeds(*places: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    for place in places:
        mask[place] = True
    return mask


def preferred(image: np.ndarray, inside: np.ndarray, outside: np.ndarray, aspect: float) -> np.ndarray:
    return geodesic_preference(*(torch.from_numpy(one) for one in (image, inside, outside)), aspect).numpy()


def test_a_region_of_one_grey_belongs_to_the_seed_inside_it_however_far() -> None:
    image = np.zeros(SHAPE, np.float32)
    image[:, :, :12] = 2.0
    preference = preferred(image, seeds((1, 2, 2)), seeds((1, 2, 13)), 1.0)
    assert (preference[:, :, :12] > 0).all()
    assert (preference[:, :, 12:] < 0).all()


def test_a_path_may_bend_around_an_obstacle() -> None:
    image = np.zeros(SHAPE, np.float32)
    image[:, 4:20, 10] = 9.0
    preference = preferred(image, seeds((5, 12, 8)), seeds((0, 12, 10)), 1.0)
    assert preference[5, 12, 12] > 0.5


def test_where_nothing_changes_the_nearer_seed_wins_and_thick_slices_count_as_far() -> None:
    image = np.zeros(SHAPE, np.float32)
    inside, outside = seeds((0, 12, 12)), seeds((4, 12, 18))
    assert preferred(image, inside, outside, 1.0)[4, 12, 12] > 0
    assert preferred(image, inside, outside, 4.0)[4, 12, 12] < 0


def test_known_voxels_are_certain() -> None:
    image = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    inside, outside = seeds((3, 4, 5)), seeds((6, 7, 8))
    preference = preferred(image, inside, outside, 1.0)
    assert preference[3, 4, 5] == 1
    assert preference[6, 7, 8] == -1
    assert preference.dtype == np.float32


@pytest.mark.parametrize("side", [0, 1])
def test_without_one_side_there_is_no_preference(side: int) -> None:
    sides = [seeds((3, 4, 5)), seeds((6, 7, 8))]
    sides[side] = np.zeros(SHAPE, bool)
    assert not preferred(np.zeros(SHAPE, np.float32), *sides, 1.0).any()


# ---- two ways to compute one thing


def half_done() -> tuple[Tensor, Tensor]:
    """Distances (2, k, j, i) from a few seeds that are still too long, and the image (k, j, i)."""
    rng = np.random.default_rng(3)
    image = torch.from_numpy(rng.normal(size=SHAPE).astype(np.float32))
    distance = torch.full((2, *SHAPE), 1e3)
    distance[:, ::4, 3::7, 2::9] = torch.from_numpy(rng.uniform(0, 2, (2, 3, 3, 3)).astype(np.float32))
    return distance, image


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_prefix_minima_along_lines_are_the_sweep_plane_by_plane(axis: int) -> None:
    distance, image = half_done()
    cost = (image.diff(dim=axis).abs() + 0.002).movedim(axis, 0)
    planes = distance.movedim(axis + 1, 0).contiguous()
    lines = along_lines(planes, cost)
    torch.testing.assert_close(lines, along_planes(planes.clone(), cost), atol=1e-3, rtol=0)
    assert (lines < 500).float().mean() > (planes < 500).float().mean()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_diagonal_steps_all_at_once_are_those_one_after_the_other(axis: int) -> None:
    distance, image = half_done()
    lengths = (2.5, 1.0, 1.0)
    once = aslant_by_windows(distance.clone(), image, axis, lengths)
    torch.testing.assert_close(once, aslant_on_cpu(distance.clone(), image, axis, lengths), atol=1e-4, rtol=0)
    assert once.shape == distance.shape
    assert (once <= distance).all()
    assert (once < 500).float().mean() > 0.5


def test_a_diagonal_step_costs_the_change_of_grey_level_and_its_length() -> None:
    image, distance = torch.zeros(3, 3, 3), torch.full((2, 3, 3, 3), 1e3)
    image[1, 1, 1], distance[0, 0, 0, 0] = 5.0, 0.0
    found = aslant_by_windows(distance, image, 0, (2.0, 1.0, 1.0))[0]
    assert found[0, 0, 0] == 0
    assert found[1, 1, 1] == pytest.approx(5 + 0.002 * 6**0.5, abs=1e-5)
    assert found[2, 2, 2] == pytest.approx(10 + 0.004 * 6**0.5, abs=1e-5)
    assert found[1, 1, 0] == pytest.approx(0.002 * 5**0.5, abs=1e-6)


def test_the_preference_is_the_same_by_lines_and_by_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    sides = seeds((3, 4, 5), (5, 20, 3)), seeds((6, 7, 8), (1, 1, 1))
    by_planes = preferred(image, *sides, 1.5)
    monkeypatch.setattr("MedMetaSegLib.network.geodesic.along_planes", along_lines)
    monkeypatch.setattr("MedMetaSegLib.network.geodesic.aslant_on_cpu", aslant_by_windows)
    np.testing.assert_allclose(preferred(image, *sides, 1.5), by_planes, atol=0.03)
