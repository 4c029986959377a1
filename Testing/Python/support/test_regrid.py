"""Carrying a support to the grid of the image: nearest voxel, nearest slice, in any storage."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk

from affines import moved, offset, rotation
from MedMetaSegLib.imageio.volume import Geometry, Volume, to_sitk
from MedMetaSegLib.support.structure import Structure, StructureMask
from MedMetaSegLib.support.support import Support
from support_phantom import SHAPE, ball, full, grid, on_slices

STORAGES = [(order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)]


def test_a_support_on_its_own_grid_is_itself() -> None:
    support = Support.from_labels(ball().astype(np.uint8), grid(SHAPE))
    assert support.on(Geometry(SHAPE, np.eye(4))) is support


@pytest.mark.parametrize("annotation", ["slices", "complete", "scribbles"])
@pytest.mark.parametrize(("order", "flips"), STORAGES)
def test_a_support_stored_otherwise_comes_back_exactly(
    patient: Volume, store_otherwise: Callable, annotation: str, order: tuple, flips: tuple
) -> None:
    labels = on_slices(ball(patient.array.shape, 7), [2, 5, 9]).astype(np.uint8)
    labels[5, 9:13, 3:9] = 2
    other, affine = store_otherwise(labels, patient.geometry.affine, order, flips)
    support = Support.from_labels(other, Geometry(other.shape, affine), annotation=annotation)  # type: ignore[arg-type]
    moved = support.on(patient.geometry)
    np.testing.assert_array_equal(moved.labels(), labels)
    assert moved.geometry.same_grid(patient.geometry)
    assert moved.notes == moved.skipped == ()
    if annotation == "slices":
        assert [(one.axis, one.slices) for one in moved.structures] == [(0, (2, 5, 9)), (0, (5,))]


def test_a_cropped_support_lands_where_it_was_cut() -> None:
    labels = on_slices(ball(), [8, 12]).astype(np.uint8)
    geometry = grid(SHAPE, (2.5, 0.9, 0.8), (-30, 5, 11))
    block = Support.from_labels(labels[6:14, 3:, :26], geometry.cropped((6, 3, 0), (8, 21, 26)))
    moved = block.on(geometry)
    np.testing.assert_array_equal(moved.labels(), labels)
    assert moved.structures[0].slices == (8, 12)


def test_a_thin_drawn_slice_between_two_thick_ones_is_not_lost() -> None:
    fine, coarse = grid((60, 24, 28)), grid(SHAPE, (3, 1, 1), (1, 0, 0))
    # No coarse slice (1, 4, ... 58 mm) has its centre on one of these.
    support = Support.from_labels(on_slices(ball((60, 24, 28), 12), [18, 21, 40]).astype(np.uint8), fine)
    moved = support.on(coarse)
    assert moved.structures[0].slices == (6, 7, 13)
    np.testing.assert_array_equal(full(moved)[7], full(support)[21])
    np.testing.assert_array_equal(full(moved)[13], full(support)[40])


def test_of_two_drawn_slices_for_one_the_closer_wins_and_the_other_is_mentioned() -> None:
    fine, coarse = grid((60, 24, 28)), grid(SHAPE, (3, 1, 1), (1, 0, 0))
    support = Support.from_labels(on_slices(ball((60, 24, 28), 11), [21, 22, 30]).astype(np.uint8), fine)
    moved = support.on(coarse)
    assert moved.structures[0].slices == (7, 10)
    np.testing.assert_array_equal(full(moved)[7], full(support)[22])
    assert moved.notes == (
        "Label 1: 1 drawn slice is not used, a closer one lies in the same slice of the image.",
    )


def test_drawn_slices_beyond_the_image_are_mentioned() -> None:
    support = Support.from_labels(on_slices(ball(), [4, 10, 15]).astype(np.uint8), grid(SHAPE))
    moved = support.on(grid((10, 24, 28), at=(6, 0, 0)))
    assert moved.structures[0].slices == (4, 9)
    assert "1 drawn slice is not used, outside the image" in moved.notes[0]


def test_a_structure_beyond_the_image_is_skipped_and_named() -> None:
    labels = on_slices(ball(radius=5, centre=(6, 12, 14)), [4, 7]).astype(np.uint8)
    labels[17, 10:14, 10:14] = 2
    moved = Support.from_labels(labels, grid(SHAPE), {2: "bladder"}).on(grid((10, 24, 28)))
    assert [one.structure.label for one in moved.structures] == [1]
    assert moved.skipped == (("bladder", "it lies outside the image"),)


def test_a_thick_drawn_slice_stays_one_slice_of_a_finer_image() -> None:
    support = Support.from_labels(
        on_slices(ball(), [6, 12]).astype(np.uint8), grid(SHAPE, (5, 2, 2), (2, 0.5, 0.5))
    )
    moved = support.on(grid((100, 48, 56)))
    assert moved.structures[0].slices == (32, 62)
    # In the plane a 2 mm voxel becomes four of 1 mm, half a voxel of neither side lost.
    np.testing.assert_array_equal(full(moved)[32], np.kron(full(support)[6], np.ones((2, 2), bool)))


@pytest.mark.parametrize(("order", "flips"), STORAGES[::3])
@pytest.mark.parametrize("annotation", ["slices", "complete"])
def test_ties_fall_on_the_same_side_whatever_the_storage(
    store_otherwise: Callable, order: tuple, flips: tuple, annotation: str
) -> None:
    # The centre of every coarse voxel lies on the border between fine ones; the values are noise.
    rng = np.random.default_rng(3)
    fine = rng.integers(0, 2, (16, 18, 20)).astype(np.uint8)
    if annotation == "slices":
        fine = on_slices(fine, [3, 8, 9, 14])
    target = grid((8, 9, 10), (2, 2, 2), (0.5, 0.5, 0.5))
    expected = Support.from_labels(fine, grid(fine.shape), annotation=annotation, plane="axial").on(target)  # type: ignore[arg-type]
    other, affine = store_otherwise(fine, np.eye(4), order, flips)
    moved = Support.from_labels(other, Geometry(other.shape, affine), annotation=annotation, plane="axial")  # type: ignore[arg-type]
    np.testing.assert_array_equal(moved.on(target).labels(), expected.labels())
    turned = store_otherwise(np.empty(target.shape), target.affine, order, flips)
    on_turned = moved.on(Geometry(turned[0].shape, turned[1])).labels()
    np.testing.assert_array_equal(
        store_otherwise(expected.labels(), target.affine, order, flips)[0], on_turned
    )


def test_rounded_headers_do_not_move_voxels() -> None:
    labels = ball((40, 40, 40), 15).astype(np.uint8)
    fine = grid((40, 40, 40), (0.5, 0.5, 0.5), (-0.25, -0.25, -0.25))
    target = grid((20, 20, 20))
    expected = Support.from_labels(labels, fine, annotation="complete").on(target).labels()
    for noise in (-1e-5, 1e-5):
        affine = fine.affine.copy()
        affine[:3, 3] += noise
        affine[:3, :3] *= 1 + noise / 10
        noisy = Support.from_labels(labels, Geometry(fine.shape, affine), annotation="complete").on(target)
        np.testing.assert_array_equal(noisy.labels(), expected)


def test_resampling_agrees_with_nearest_neighbour_of_simpleitk(oblique_affine: np.ndarray) -> None:
    labels = np.random.default_rng(4).integers(0, 4, (14, 30, 26)).astype(np.uint8)
    source = Geometry(labels.shape, oblique_affine)
    scaled = oblique_affine @ np.diag([1.37, 0.81, 0.57, 1.0])
    scaled[:3, 3] = source.index_to_world(np.array([[2.3, -3.1, 4.2]]))[0]
    target = Geometry((20, 33, 17), scaled)
    moved = Support.from_labels(labels, source, annotation="complete").on(target)
    reference = sitk.Resample(
        to_sitk(labels, source), to_sitk(np.zeros(target.shape, np.uint8), target), sitk.Transform(),
        sitk.sitkNearestNeighbor, 0,
    )  # fmt: skip
    np.testing.assert_array_equal(moved.labels(), sitk.GetArrayViewFromImage(reference))


def test_a_thin_scribble_survives_a_coarser_image() -> None:
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[21, 7, 4:36] = 1
    support = Support.from_labels(labels, grid((40, 40, 40)), annotation="scribbles")
    moved = support.on(grid((10, 10, 10), (4, 4, 4), (1.5, 1.5, 1.5)))
    expected = np.zeros((10, 10, 10), np.uint8)
    expected[5, 1, 1:9] = 1
    np.testing.assert_array_equal(moved.labels(), expected)


def test_a_structure_lost_between_coarse_voxels_is_skipped_and_named() -> None:
    labels = ball((40, 40, 40), 10).astype(np.uint8)
    labels[0:30, 3, 3] = 2
    support = Support.from_labels(labels, grid((40, 40, 40)), {2: "wire"}, annotation="complete")
    moved = support.on(grid((10, 10, 10), (4, 4, 4), (1.5, 1.5, 1.5)))
    assert moved.skipped == (("wire", "it falls between the voxels of the image"),)


def test_grids_at_an_angle_are_the_callers_business() -> None:
    support = Support.from_labels(ball().astype(np.uint8), grid(SHAPE))
    turn = np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    with pytest.raises(ValueError, match="not parallel"):
        support.on(moved(support.geometry, turn))


@pytest.mark.parametrize("angle", [0.2, 0.7])
def test_an_annotation_on_a_rotated_grid_lands_on_the_image(angle: float) -> None:
    image = Geometry((40, 40, 40), np.eye(4))
    annotated_grid = Geometry(
        (40, 40, 40), offset(20, 20, 20) + rotation(0, 0, angle) @ (np.eye(4) + offset(-20, -20, -20))
    )
    ball = ((np.indices((40, 40, 40)) - np.array([20, 20, 20])[:, None, None, None]) ** 2).sum(0) < 100
    mask = StructureMask(Structure("ball", 1, (1, 0, 0)), (0, 0, 0), ball)
    support = Support.from_masks([mask], annotated_grid, "scribbles")
    found = support.voxels_on(image).structures[0]
    landed = np.zeros(image.shape, bool)
    landed[found.region] = found.mask
    assert 2 * (landed & ball).sum() / (landed.sum() + ball.sum()) > 0.97
