"""A plane of a working grid, as a slice that the user can open."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from MedMetaSegLib.confidence.next_slice import NextSlice
from MedMetaSegLib.confidence.slice_place import next_plane, slice_to_paint
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.working_grid.grid import Bounds, WorkingGrid

SHAPE = (30, 40, 50)


def stored(order: tuple[int, ...], flips: tuple[int, ...]) -> Geometry:
    """A grid over one place, with its axes in some order and direction; 2, 1.5, 1 mm in S, A, R."""
    spacing = np.diag([1.0, 1.5, 2.0])
    affine = np.eye(4)
    for column, world in enumerate(order):
        affine[:3, column] = flips[column] * spacing[:, world]
    shape = [SHAPE[2 - world] for world in order][::-1]
    last = np.array(shape[::-1]) - 1
    start = -sum(affine[:3, c] * (last[c] if flips[c] < 0 else 0) for c in range(3))
    affine[:3, 3] = start + np.array([10.0, -20.0, 30.0])
    return Geometry((shape[0], shape[1], shape[2]), affine)


@pytest.mark.parametrize(
    ("order", "flips"),
    list(itertools.product(itertools.permutations(range(3)), [(1, 1, 1), (-1, 1, -1), (1, -1, 1)])),
)
@pytest.mark.parametrize("drawing", [0, 1, 2])
def test_the_slice_is_the_same_place_however_the_volume_is_stored(
    order: tuple[int, ...], flips: tuple[int, ...], drawing: int
):
    geometry = stored(order, flips)
    canonical, axis_map = geometry.canonical()
    axes = (drawing, *(one for one in range(3) if one != drawing))
    grid = WorkingGrid(canonical, axes, (4.0, 6.0, 8.0), (1.0, 1.0, 1.0), (16, 16, 16))
    logits = np.full((16, 16, 16), -1.0, np.float32)
    logits[5, 3:6, 7:10] = 1.0
    found = slice_to_paint(NextSlice(5, "because"), logits, grid, geometry, axis_map)
    assert found.plane == ("axial", "coronal", "sagittal")[drawing]
    at = np.zeros(3)
    at[[axes[0], axes[1], axes[2]]] = 4 + 5, 6 + 4, 8 + 8
    world = canonical.index_to_world(at[None])[0]
    assert found.ras_mm == pytest.approx(tuple(world))
    own = geometry.world_to_index(world[None])[0]
    assert found.index == round(own[axis_map.order[drawing]])


def test_margins_that_were_cut_off_are_counted():
    geometry = stored((0, 1, 2), (1, 1, 1))
    inner = geometry.cropped((3, 5, 7), (20, 25, 30))
    canonical, axis_map = inner.canonical()
    grid = WorkingGrid(canonical, (0, 1, 2), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (16, 16, 16))
    logits = np.full((16, 16, 16), -1.0, np.float32)
    logits[2, 4, 6] = 1.0
    found = slice_to_paint(NextSlice(2, ""), logits, grid, geometry, axis_map, (3, 5, 7))
    assert found.index == 5
    assert found.ras_mm == pytest.approx(tuple(geometry.index_to_world(np.array([[5, 9, 13]]))[0]))


def test_a_coarse_plane_is_the_nearest_slice_of_the_volume_and_never_beyond_it():
    geometry = stored((0, 1, 2), (1, 1, 1))
    canonical, axis_map = geometry.canonical()
    grid = WorkingGrid(canonical, (0, 1, 2), (0.0, 0.0, 0.0), (2.4, 2.0, 2.0), (16, 16, 16))
    nothing = np.full((16, 16, 16), -1.0, np.float32)
    assert slice_to_paint(NextSlice(3, ""), nothing, grid, geometry, axis_map).index == 7
    assert slice_to_paint(NextSlice(15, ""), nothing, grid, geometry, axis_map).index == 29


def ball_on_grid() -> tuple[WorkingGrid, np.ndarray]:
    """A grid that begins four slices before its volume, and an answer on all of its 32 planes."""
    canonical = stored((0, 1, 2), (1, 1, 1)).canonical()[0]
    grid = WorkingGrid(canonical, (0, 1, 2), (-4.0, 0.0, 0.0), (1.0, 1.0, 1.0), (32, 16, 16))
    logits = np.full(grid.shape, -5.0, np.float32)
    logits[:, 4:12, 4:12] = 5.0
    return grid, logits


def test_planes_beyond_the_image_are_never_suggested():
    grid, logits = ball_on_grid()
    logits[:3, 4:12, 4:12] = 0.1
    bounds = Bounds.of(grid.reference_grid, grid.reference_grid)
    for painted in (None, np.array([2, 20])):
        assert next_plane(logits, grid, bounds, painted).plane >= 4


def test_painted_slices_are_counted_on_the_reference_grid():
    grid, logits = ball_on_grid()
    bounds = Bounds.of(grid.reference_grid, grid.reference_grid)
    assert next_plane(logits, grid, bounds, np.array([0, 8, 26, 27])).plane == 4 + 17


def test_without_painted_slices_the_least_sure_is_suggested():
    grid, logits = ball_on_grid()
    bounds = Bounds.of(grid.reference_grid, grid.reference_grid)
    logits[11, 4:12, 4:12] = 0.2
    assert next_plane(logits, grid, bounds, None).plane == 11
    assert next_plane(np.full_like(logits, -5), grid, bounds, None) is None
