"""Distances between surfaces of voxels, against all pairs of voxels worked out one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affines import rotation
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.measurements.surface_distance import SurfaceCorners, nearest_of
from MedMetaSegLib.support.structure import Structure, StructureMask

SHAPE = (12, 14, 16)
SPACING = (2.5, 0.9, 0.7)


def corners_of(mask: np.ndarray, affine: np.ndarray | None = None, offset=(0, 0, 0)) -> SurfaceCorners:
    steps = np.diag([*SPACING[::-1], 1.0]) if affine is None else affine
    one = StructureMask(Structure("it", 1, (1.0, 0.0, 0.0)), offset, mask)
    return SurfaceCorners(one, Geometry(SHAPE, steps))


def block(*box: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(*along) for along in box)] = True
    return mask


def between_boxes(one: np.ndarray, other: np.ndarray) -> float:
    """The smallest distance between any two voxels as boxes."""
    apart = np.abs(np.argwhere(one)[:, None] - np.argwhere(other)) - 1
    return float(np.linalg.norm(np.maximum(apart, 0) * SPACING, axis=2).min())


def test_voxels_with_a_common_corner_touch() -> None:
    one, other = block((0, 2), (0, 2), (0, 2)), block((2, 4), (2, 4), (2, 4))
    assert nearest_of(corners_of(one), [corners_of(other)]) == (0, 0.0)


def test_one_empty_voxel_between_is_as_far_as_it_is_wide() -> None:
    one, other = block((0, 2), (0, 5), (0, 5)), block((3, 4), (0, 5), (0, 5))
    assert nearest_of(corners_of(one), [corners_of(other)]) == (0, pytest.approx(2.5))


def test_a_structure_inside_another_touches_it() -> None:
    outer = block((0, 10), (0, 10), (0, 10))
    assert nearest_of(corners_of(block((4, 5), (4, 5), (4, 5))), [corners_of(outer)]) == (0, 0.0)


def test_of_several_that_touch_the_one_with_the_larger_contact_is_nearest() -> None:
    one = block((4, 6), (4, 8), (4, 8))
    edge, face = block((6, 7), (8, 9), (4, 8)), block((6, 7), (4, 8), (4, 8))
    assert nearest_of(corners_of(one), [corners_of(edge), corners_of(face)]) == (1, 0.0)


def test_alone_nothing_is_near() -> None:
    assert nearest_of(corners_of(block((4, 6), (4, 8), (4, 8))), []) is None


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_nearest_is_that_of_all_pairs_of_voxels(data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(4):
        start = rng.integers(0, np.array(SHAPE) - 3)
        mask = np.zeros(SHAPE, bool)
        mask[tuple(slice(at, at + 4) for at in start)] = (
            rng.random((4, 4, 4))[
                tuple(slice(0, min(4, size - at)) for at, size in zip(start, SHAPE, strict=True))
            ]
            < 0.3
        )
        mask[tuple(start)] = True
        masks.append(mask)
    wanted = [between_boxes(masks[0], other) for other in masks[1:]]
    found = nearest_of(corners_of(masks[0]), [corners_of(other) for other in masks[1:]])
    assert found is not None
    assert found[1] == pytest.approx(min(wanted), abs=1e-9)
    assert wanted[found[0]] == pytest.approx(min(wanted), abs=1e-9)


def test_an_oblique_grid_far_away_has_the_same_distances() -> None:
    one, other = block((0, 2), (0, 3), (0, 2)), block((7, 9), (5, 9), (9, 12))
    turned = rotation(0.7, -0.4, 1.1) @ np.diag([*SPACING[::-1], 1.0])
    turned[:3, 3] = 500, -900, 1200
    found = nearest_of(corners_of(one, turned), [corners_of(other, turned)])
    assert found == (0, pytest.approx(between_boxes(one, other)))


def test_the_offset_of_a_cropped_mask_counts() -> None:
    one, other = block((0, 2), (0, 3), (0, 2)), block((7, 9), (5, 9), (9, 12))
    cropped = corners_of(other[7:9, 5:9, 9:12], offset=(7, 5, 9))
    assert nearest_of(corners_of(one), [cropped]) == (0, pytest.approx(between_boxes(one, other)))
