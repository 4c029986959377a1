"""Boxes of voxels and their padding."""

from __future__ import annotations

import numpy as np
import pytest

from MedMetaSegLib.network import STRIDE
from MedMetaSegLib.training.box import Box, padding_to_stride


def test_a_box_lies_tight_around_a_drawing() -> None:
    plane = np.zeros((20, 30), bool)
    plane[4:9, 11:13] = True
    plane[15, 20] = True
    assert Box.around(plane, [7, 3, 5]) == Box((3, 4, 11), (5, 12, 10))


def test_a_box_cuts_its_part_out_of_an_array() -> None:
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    np.testing.assert_array_equal(array[Box((1, 2, 3), (2, 3, 1)).slices], array[1:3, 2:5, 3:4])


def test_a_grown_box_may_leave_the_grid_and_is_clipped_to_it() -> None:
    grown = Box((2, 5, 5), (3, 4, 4)).grown(np.array([2.2, 1, 0]), np.array([9, 0.5, 0]))
    assert grown == Box((-1, 4, 5), (15, 6, 4))
    assert grown.clipped((10, 8, 20)) == Box((0, 4, 5), (10, 4, 4))


def test_a_box_keeps_to_the_slices_of_a_range() -> None:
    box = Box((2, 5, 5), (9, 4, 4))
    assert box.within_slices(range(4, 8)) == Box((4, 5, 5), (4, 4, 4))
    assert box.within_slices(range(20)) == box
    assert box.within_slices(range(12, 15)) == Box((12, 5, 5), (1, 4, 4))


@pytest.mark.parametrize("offset", [(50, 0, 0), (0, 0, -40)])
def test_a_box_off_the_grid_keeps_at_least_one_voxel(offset: tuple[int, int, int]) -> None:
    assert min(Box(offset, (5, 5, 5)).clipped((10, 10, 10)).shape) == 1


@pytest.mark.parametrize("shape", [(1, 17, 16), (33, 8, 100), (24, 40, 56)])
@pytest.mark.parametrize("stride", [STRIDE, 2 * STRIDE])
def test_padding_makes_every_axis_a_multiple_of_the_stride(shape: tuple[int, int, int], stride: int) -> None:
    pad = padding_to_stride(shape, stride)
    padded = np.pad(np.zeros(shape), pad).shape
    assert all(n % stride == 0 and n >= 16 for n in padded)
    assert all(n - before < max(stride, 16) for n, before in zip(padded, shape, strict=True))
    assert all(abs(low - high) <= 1 for low, high in pad)
