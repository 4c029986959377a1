"""Axial diameters: by hand for small and concave shapes, and by rotating calipers over random ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from affines import rotation
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.measurements.diameters import AxialDiameters, axial_diameters

FLAT = np.diag([1.0, 1.0, 4.0, 1.0])
MIDDLES = np.array([[0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]])


def of(rows: list[str], affine: np.ndarray = FLAT, connectivity: int = 26) -> AxialDiameters:
    """The diameters of one slice drawn with #, the first row at j = 0."""
    mask = np.array([[[character == "#" for character in row] for row in rows]])
    return axial_diameters(mask, Geometry(mask.shape, affine), connectivity)


def lengths(found: AxialDiameters) -> tuple[float, float]:
    return found.longest.length_mm, found.perpendicular.length_mm


def test_a_single_voxel_is_as_wide_as_its_sides() -> None:
    assert lengths(of(["#"], np.diag([0.7, 1.5, 4.0, 1.0]))) == pytest.approx((1.5, 0.7))


def test_a_row_is_as_long_as_its_voxels() -> None:
    found = of(["#####"])
    assert lengths(found) == pytest.approx((5, 1))
    assert sorted(end[0] for end in found.longest.ends_ras) == pytest.approx([-0.5, 4.5])


def test_the_perpendicular_is_the_longest_of_its_direction_wherever_it_is() -> None:
    """A club: the longest runs along the handle, the perpendicular through the head."""
    found = of([".........###", "############", ".........###"])
    assert found.longest.length_mm == pytest.approx(12, abs=0.1)
    assert found.perpendicular.length_mm == pytest.approx(3, abs=0.1)


def test_lines_may_leave_a_concave_lesion() -> None:
    """A horseshoe 9 wide and 7 high with arms 2 wide: across its mouth, and up its arm."""
    found = of(["##.....##"] * 5 + ["#########"] * 2)
    longest, across = lengths(found)
    # From one tip's outer edge to the opposite foot's, which crosses the open middle.
    assert longest == pytest.approx(np.hypot(9, 6), abs=0.6)
    assert across > 7


def test_a_ring_is_as_wide_as_its_outer_edge() -> None:
    k, i = np.indices((21, 21)) - 10
    radius = np.hypot(k, i)
    ring = ((radius <= 9.2) & (radius >= 7))[None]
    full = (radius <= 9.2)[None]
    geometry = Geometry(ring.shape, FLAT)
    assert lengths(axial_diameters(ring, geometry)) == pytest.approx(lengths(axial_diameters(full, geometry)))


def test_pieces_that_are_apart_in_a_slice_are_not_joined() -> None:
    """Two legs that meet one slice higher: each is measured by itself, the bridge where it is."""
    mask = np.zeros((2, 3, 12), bool)
    mask[0, :, [0, 11]] = True
    mask[1, 1, :8] = True
    found = axial_diameters(mask, Geometry(mask.shape, FLAT))
    assert found.slice_index == 1
    assert lengths(found) == pytest.approx((8, 1))


def test_corners_join_a_piece_only_where_they_connect() -> None:
    rows = ["###...", "...###"]
    assert lengths(of(rows, connectivity=6))[0] == pytest.approx(3)
    assert lengths(of(rows, connectivity=18))[0] == pytest.approx(np.hypot(6, 1))


def test_ends_lie_in_the_slice_of_an_oblique_grid() -> None:
    affine = rotation(0.5, 0.4, -0.3) @ np.diag([0.8, 0.8, 3.0, 1.0])
    mask = np.zeros((5, 9, 9), bool)
    mask[3, 2:4, 1:8] = True
    geometry = Geometry(mask.shape, affine)
    found = axial_diameters(mask, geometry)
    ends = np.array([*found.longest.ends_ras, *found.perpendicular.ends_ras])
    np.testing.assert_allclose(geometry.world_to_index(ends)[:, 0], 3, atol=1e-9)
    along, across = np.diff(ends[:2], axis=0)[0], np.diff(ends[2:], axis=0)[0]
    assert along @ across == pytest.approx(0, abs=1e-9)
    assert np.linalg.norm(along) == pytest.approx(found.longest.length_mm)


@pytest.mark.parametrize("angle", range(0, 90, 15))
@pytest.mark.parametrize("steps", [(1.0, 1.0), (0.6, 1.4)])
def test_turned_ellipses_are_measured_to_a_voxel(angle: int, steps: tuple[float, float]) -> None:
    turn = np.radians(angle)
    j, i = np.indices((60, 120))
    x, y = i * steps[0] - 36.3, j * steps[1] - 29.7
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    mask = ((along / 17) ** 2 + (across / 9) ** 2 <= 1)[None]
    found = axial_diameters(mask, Geometry(mask.shape, np.diag([*steps, 5.0, 1.0])))
    assert lengths(found) == pytest.approx((34, 18), abs=max(steps))


@settings(max_examples=40, deadline=None)
@given(mask=arrays(bool, (1, 7, 9)), step=st.floats(0.3, 3))
def test_the_longest_is_that_of_all_pairs_of_edges_of_one_piece(mask: np.ndarray, step: float) -> None:
    mask[0, 3, 4] = True
    labels, count = ndimage.label(mask[0], np.ones((3, 3)))
    longest = 0.0
    for number in range(1, count + 1):
        points = (np.argwhere(labels == number)[:, None] + MIDDLES).reshape(-1, 2) * [step, 1.0]
        longest = max(longest, np.linalg.norm(points[:, None] - points, axis=2).max())
    found = axial_diameters(mask, Geometry(mask.shape, np.diag([1.0, step, 2.0, 1.0])))
    assert found.longest.length_mm == pytest.approx(longest)
    assert found.perpendicular.length_mm <= longest * (1 + 1e-9)
    assert found.perpendicular.length_mm > 0


@settings(max_examples=15, deadline=None)
@given(mask=arrays(bool, (6, 8)))
def test_the_perpendicular_is_the_longest_of_finely_spaced_lines(mask: np.ndarray) -> None:
    """Lines at right angles to the longest, through points of every voxel between its edges' middles."""
    mask[2, 3] = True
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    piece = labels == labels[2, 3]
    found = axial_diameters(piece[None], Geometry((1, *piece.shape), FLAT))
    x, y, _ = np.diff(found.longest.ends_ras, axis=0)[0] / found.longest.length_mm
    fine = np.linspace(-0.5, 0.5, 21)
    within = np.array([(j, i) for j in fine for i in fine if abs(i) + abs(j) <= 0.5])
    j, i = (np.argwhere(piece)[:, None] + within).reshape(-1, 2).T
    lines = np.round((i * x + j * y) / 0.05)
    place = j * x - i * y
    widest = max(np.ptp(place[lines == line]) for line in np.unique(lines))
    assert found.perpendicular.length_mm >= widest - 0.15
