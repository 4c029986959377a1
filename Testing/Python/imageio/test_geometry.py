"""Where voxels lie, and turning grids to anatomical axes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product

import numpy as np
import pytest

from affines import moved
from MedMetaSegLib.imageio.geometry import corners, rounded
from MedMetaSegLib.imageio.volume import Geometry, Volume

STORAGES = [(order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)]


def test_index_and_world_are_inverse_and_follow_the_affine(patient: Volume) -> None:
    points = np.random.default_rng(0).uniform(-5, 30, (50, 3))
    world = patient.geometry.index_to_world(points)
    by_hand = np.c_[points[:, ::-1], np.ones(50)] @ patient.geometry.affine.T
    np.testing.assert_allclose(world, by_hand[:, :3], atol=1e-10)
    np.testing.assert_allclose(patient.geometry.world_to_index(world), points, atol=1e-10)


def test_spacing_volume_and_handedness_come_from_the_affine(oblique_affine: np.ndarray) -> None:
    geometry = Geometry((4, 5, 6), oblique_affine)
    np.testing.assert_allclose(geometry.spacing_mm, (3.0, 0.8, 0.7))
    assert geometry.voxel_ml == pytest.approx(3.0 * 0.8 * 0.7 / 1000)
    mirrored = Geometry((4, 5, 6), oblique_affine @ np.diag([-1, 1, 1, 1]))
    assert mirrored.voxel_ml == pytest.approx(geometry.voxel_ml)
    assert np.linalg.det(mirrored.directions) == pytest.approx(-np.linalg.det(geometry.directions))
    np.testing.assert_allclose(geometry.directions.T @ geometry.directions, np.eye(3), atol=1e-12)


def test_a_cropped_geometry_starts_at_the_voxel_it_was_cut_at(patient: Volume) -> None:
    block = patient.geometry.cropped((2, 5, 7), (3, 4, 5))
    assert block.shape == (3, 4, 5)
    np.testing.assert_allclose(
        block.index_to_world(np.array([[1, 1, 1]])), patient.geometry.index_to_world(np.array([[3, 6, 8]]))
    )


def test_the_corners_of_a_block_are_its_outer_voxels() -> None:
    found = corners((2, 3, 4), (10, 20, 30))
    assert found.shape == (8, 3)
    assert found[0].tolist() == [10, 20, 30]
    assert {tuple(one) for one in found} == set(product((10, 11), (20, 22), (30, 33)))


@pytest.mark.parametrize(("order", "flips"), STORAGES)
def test_every_storage_of_one_anatomy_is_canonically_the_same(
    patient: Volume, store_otherwise: Callable, order: tuple, flips: tuple
) -> None:
    expected, _ = patient.canonical()
    array, affine = store_otherwise(patient.array, patient.geometry.affine, order, flips)
    volume = Volume.from_array(array, affine)
    canonical, axis_map = volume.canonical()
    np.testing.assert_array_equal(canonical.array, expected.array)
    np.testing.assert_allclose(canonical.geometry.affine, expected.geometry.affine, atol=1e-9)
    np.testing.assert_array_equal(axis_map.undo(canonical.array), array)
    assert np.shares_memory(canonical.array, array)
    assert volume.geometry.is_parallel(patient.geometry)


@pytest.mark.parametrize("degrees", [0, 44, 45, 46, 90, 135])
def test_canonical_does_not_depend_on_storage_even_between_two_axes(
    degrees: float, store_otherwise: Callable
) -> None:
    angle = np.radians(degrees)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    expected = Volume.from_array(array, affine).canonical()[0].array
    for order, flips in STORAGES:
        other = Volume.from_array(*store_otherwise(array, affine, order, flips))
        np.testing.assert_array_equal(other.canonical()[0].array, expected)


def test_canonical_axes_point_superior_anterior_right() -> None:
    lps = Geometry((4, 5, 6), np.diag([-1.0, -1.0, 2.0, 1.0]))
    canonical, axis_map = lps.canonical()
    assert axis_map.order == (0, 1, 2)
    assert axis_map.flipped == (False, True, True)
    np.testing.assert_allclose(canonical.directions, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(canonical.affine[:3, 3], (-5, -4, 0))


def test_an_axis_map_finds_blocks_again(patient: Volume, store_otherwise: Callable) -> None:
    for order, flips in STORAGES:
        array, affine = store_otherwise(patient.array, patient.geometry.affine, order, flips)
        _, axis_map = Geometry(array.shape, affine).canonical()
        turned, start, size = axis_map.apply(array), (1, 2, 3), (4, 5, 6)
        block = turned[1:5, 2:7, 3:9]
        k, j, i = axis_map.undo_offset(start, size)
        back = axis_map.undo(block)
        np.testing.assert_array_equal(
            array[k : k + back.shape[0], j : j + back.shape[1], i : i + back.shape[2]], back
        )
        assert axis_map.apply_offset((k, j, i), back.shape) == start


def test_grids_are_the_same_within_a_thousandth_of_a_voxel(patient: Volume) -> None:
    geometry = patient.geometry
    affine = geometry.affine.copy()
    affine[:3, 3] += geometry.directions[:, 2] * 3.0 * 5e-4
    assert geometry.same_grid(Geometry(geometry.shape, affine))
    affine[:3, 3] += geometry.directions[:, 2] * 3.0 * 5e-3
    assert not geometry.same_grid(Geometry(geometry.shape, affine))
    assert not geometry.same_grid(geometry.cropped((0, 0, 0), (11, 20, 24)))


def test_a_grid_turned_by_a_degree_is_not_parallel() -> None:
    geometry = Geometry((50, 50, 50), np.eye(4))
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.0175), -np.sin(0.0175)], [np.sin(0.0175), np.cos(0.0175)]]
    assert not geometry.is_parallel(moved(geometry, turn))


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(3)])
def test_a_geometry_without_extent_is_refused(affine: np.ndarray) -> None:
    with pytest.raises(ValueError, match="affine"):
        Geometry((2, 2, 2), affine)


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [(1.26134, 3, 1.261), (16817.9283, 3, 16817.928), (0.00025231, 3, 0.000252), (2.523e-7, 3, 2.52e-7)]
    + [(0.78125012, 6, 0.78125), (3.0000001e-7, 6, 3e-7), (0.0, 3, 0.0)],
)
def test_a_small_number_is_rounded_to_its_own_digits(value: float, decimals: int, expected: float) -> None:
    assert rounded(value, decimals) == expected


@pytest.mark.parametrize("scale", [1e-7, 1, 1e4])
def test_a_digest_tells_spacings_apart_whatever_their_size_but_not_rounding(scale: float) -> None:
    affine = np.diag([0.8 * scale, 0.8 * scale, 2.5 * scale, 1])
    affine[:3, 3] = scale * np.array([30, -40, 5])
    digest = Geometry((3, 4, 5), affine).digest_bytes
    nearly = np.diag([1 + 1e-9, 1, 1 - 1e-9, 1]) @ affine
    assert Geometry((3, 4, 5), nearly).digest_bytes == digest
    other = affine.copy()
    other[2, 2] *= 1.01
    assert Geometry((3, 4, 5), other).digest_bytes != digest
    assert Geometry((3, 4, 5), np.diag([1.01, 1.01, 1.01, 1]) @ affine).digest_bytes != digest
