"""The working grid: where it lies, how fine it is, and that the way there and back loses nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from affines import offset, rotation
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.network import STRIDE
from MedMetaSegLib.support.structure import AnnotatedStructure, Structure
from MedMetaSegLib.working_grid.grid import (
    BALANCED,
    DETAILS,
    FINER,
    FINEST,
    Bounds,
    detail_of,
    sampled_back,
    sampled_image,
    working_grid,
)
from MedMetaSegLib.working_grid.intensity import IntensityNormalization

EVERYTHING = IntensityNormalization("MR", -1e6, 1e6, "test")


def level(shape: tuple[int, int, int], spacing_kji: tuple[float, float, float]) -> Geometry:
    return Geometry(shape, np.diag([*spacing_kji[::-1], 1.0]))


def drawn(shape: tuple[int, int, int], start: tuple[int, int, int], axis: int = 0) -> AnnotatedStructure:
    mask = np.ones(shape, bool)
    slices = tuple(range(start[axis], start[axis] + shape[axis], max(1, shape[axis] // 3)))
    return AnnotatedStructure(Structure("organ", 1, (1, 0, 0)), start, mask, axis, slices)


def grid_for(painted: AnnotatedStructure, geometry: Geometry, factors: np.ndarray | None = None):
    return working_grid(painted, geometry, Bounds.of(geometry, geometry), factors)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_drawing_axis_comes_first_and_shapes_suit_the_network(axis: int) -> None:
    geometry = level((60, 70, 80), (1.0, 1.0, 1.0))
    grid = grid_for(drawn((20, 20, 20), (20, 20, 20), axis), geometry)
    assert grid.order[0] == axis
    assert all(size % STRIDE == 0 for size in grid.shape)
    assert grid.geometry.shape == grid.shape


def test_a_large_organ_in_fine_voxels_is_seen_coarsely_and_within_the_budget() -> None:
    geometry = level((300, 512, 512), (0.8, 0.7, 0.7))
    painted = drawn((200, 300, 300), (40, 80, 80))
    grid = grid_for(painted, geometry)
    assert np.prod(grid.shape) <= BALANCED.voxels
    assert grid.in_plane_mm >= 300 * 0.7 / BALANCED.along * 0.8


def test_a_structure_in_many_parts_is_seen_more_finely_than_one_whole_as_large() -> None:
    geometry = level((182, 218, 182), (1.0, 1.0, 1.0))
    whole = drawn((70, 110, 100), (60, 55, 40))
    spots = np.zeros_like(whole.mask)
    spots[:, ::9, ::9] = whole.mask[:, ::9, ::9]
    spots[:, 0, 0] = spots[:, -1, -1] = True
    fine, coarse = (grid_for(one, geometry) for one in (replace(whole, mask=spots), whole))
    assert fine.in_plane_mm < 0.9 * coarse.in_plane_mm
    assert BALANCED.voxels < np.prod(fine.shape) <= BALANCED.voxels_in_parts


def test_a_thin_long_structure_is_seen_finely() -> None:
    geometry = level((200, 200, 200), (1.0, 1.0, 1.0))
    grid = grid_for(drawn((180, 20, 20), (10, 90, 90)), geometry)
    assert grid.in_plane_mm <= 20 / BALANCED.across * 1.2


def test_a_small_structure_is_not_magnified_without_end() -> None:
    geometry = level((40, 40, 40), (3.0, 3.0, 3.0))
    grid = grid_for(drawn((4, 4, 4), (18, 18, 18)), geometry)
    assert grid.in_plane_mm >= 3.0 * FINEST * 0.99


def test_thick_slices_are_kept_as_they_are() -> None:
    geometry = level((12, 200, 200), (8.0, 1.0, 1.0))
    grid = grid_for(drawn((8, 40, 40), (2, 80, 80)), geometry)
    assert grid.spacing_mm[0] == pytest.approx(8.0)
    assert grid.aspect == pytest.approx(8.0 / grid.in_plane_mm)


def test_painting_one_more_slice_inside_leaves_the_grid_as_it_was() -> None:
    geometry = level((90, 90, 90), (2.0, 1.0, 1.0))
    painted = drawn((40, 40, 40), (20, 20, 20))
    more = replace(painted, slices=(*painted.slices[:2], painted.slices[1] + 3, *painted.slices[2:]))
    assert grid_for(painted, geometry).start[1:] == grid_for(more, geometry).start[1:]
    assert grid_for(painted, geometry).step == grid_for(more, geometry).step


def test_a_region_grows_only_on_the_side_that_is_asked_for_and_stays_at_the_image() -> None:
    geometry = level((90, 90, 90), (1.0, 1.0, 1.0))
    painted = drawn((20, 20, 20), (35, 35, 35))
    factors = np.ones((2, 3))
    factors[0, 0] = 3.0
    near, grown = grid_for(painted, geometry), grid_for(painted, geometry, factors)
    assert grown.start[0] < near.start[0]
    assert grown.start[1:] == near.start[1:]
    everywhere = grid_for(painted, geometry, np.full((2, 3), 50.0))
    assert min(everywhere.start) >= -STRIDE * max(everywhere.step)


@pytest.mark.parametrize("turn", [np.eye(4), rotation(0.3, -0.2, 0.5) + offset(10, -20, 30)])
def test_there_and_back_keeps_a_smooth_field(turn: np.ndarray) -> None:
    geometry = Geometry((40, 50, 60), turn @ np.diag([1.0, 1.2, 2.0, 1.0]))
    k, j, i = np.indices(geometry.shape)
    field = np.sin(k / 9) + np.cos(j / 11) + np.sin(i / 13)
    volume = Volume(field.astype(np.float32), geometry)
    grid = grid_for(drawn((20, 20, 20), (10, 15, 20)), geometry)
    values = sampled_image(volume, grid, EVERYTHING)
    assert values.shape == grid.shape
    back, where = sampled_back(values, grid, geometry, np.nan)
    inside = np.isfinite(back)
    assert inside.mean() > 0.9
    np.testing.assert_allclose(back[inside], field[where][inside], atol=0.05)


def test_a_grid_turned_against_the_image_samples_the_same_places() -> None:
    geometry = level((50, 50, 50), (1.0, 1.0, 1.0))
    frame = Geometry(
        (50, 50, 50), offset(25, 25, 25) + rotation(0, 0, 0.5) @ (np.eye(4) + offset(-25, -25, -25))
    )
    k, j, i = np.indices(geometry.shape)
    volume = Volume((k + 2 * j + 3 * i).astype(np.float32), geometry)
    grid = working_grid(drawn((16, 16, 16), (17, 17, 17)), frame, Bounds.of(geometry, frame))
    values = sampled_image(volume, grid, EVERYTHING)
    points = np.indices(grid.shape).reshape(3, -1).T
    index = geometry.world_to_index(grid.geometry.index_to_world(points))
    inside = ((index > 1) & (index < 48)).all(1)
    expected = index @ [1, 2, 3]
    np.testing.assert_allclose(values.reshape(-1)[inside], expected[inside], atol=0.02)


def test_a_coarser_grid_averages_noise_away() -> None:
    geometry = level((96, 96, 96), (1.0, 1.0, 1.0))
    noise = np.random.default_rng(0).standard_normal(geometry.shape).astype(np.float32)
    grid = grid_for(drawn((90, 90, 90), (3, 3, 3)), geometry)
    coarse = replace(grid, start=(0.0, 0.0, 0.0), step=(4.0, 4.0, 4.0), shape=(24, 24, 24))
    assert sampled_image(Volume(noise, geometry), coarse, EVERYTHING)[2:-2, 2:-2, 2:-2].std() < 0.2


def test_detail_makes_grids_finer_within_its_voxels() -> None:
    geometry = level((120, 300, 300), (1.0, 0.7, 0.7))
    painted, bounds = drawn((90, 200, 200), (10, 40, 40)), Bounds.of(geometry, geometry)
    grids = {name: working_grid(painted, geometry, bounds, None, detail) for name, detail in DETAILS.items()}
    assert grids["fast"].in_plane_mm > grids["balanced"].in_plane_mm > grids["best"].in_plane_mm
    for name, grid in grids.items():
        assert np.prod(grid.shape) <= DETAILS[name].voxels
    assert grids["balanced"].key == working_grid(painted, geometry, bounds).key


def test_a_single_slice_is_looked_around_on_a_finer_grid() -> None:
    painted = drawn((90, 200, 200), (10, 40, 40))
    single = replace(painted, slices=painted.slices[1:2])
    assert detail_of(painted, "balanced") == BALANCED
    assert detail_of(single, "balanced") == FINER
    assert detail_of(replace(painted, slices=()), "balanced") == BALANCED
    assert {detail_of(single, name) == DETAILS[name] for name in ("fast", "best")} == {True}


def test_a_sheet_is_seen_more_finely_than_a_solid_structure_as_large() -> None:
    geometry = level((160, 160, 160), (1.0, 1.0, 1.0))
    solid = drawn((120, 120, 120), (20, 20, 20))
    shell = np.ones_like(solid.mask)
    shell[:, 8:-8, 8:-8] = False
    fine, coarse = (grid_for(one, geometry) for one in (replace(solid, mask=shell), solid))
    assert np.prod(coarse.shape) <= BALANCED.voxels < np.prod(fine.shape) <= FINER.voxels
    # No finer than it has to be: one step coarser, less than the least would be left across.
    across = 8 / fine.in_plane_mm
    assert across / 2**0.25 < BALANCED.least_across
