"""Margins of one value, as padding and skull stripping leave them."""

from __future__ import annotations

import numpy as np
import pytest

from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.support.structure import Structure, StructureMask
from MedMetaSegLib.working_grid.black_margins import without_margins

AFFINE = np.array([[-1.0, 0, 0, 40], [0, 0, 2, -10], [0, 1.5, 0, 7], [0, 0, 0, 1]])


def image() -> np.ndarray:
    return np.random.default_rng(3).integers(1, 200, (6, 8, 10)).astype(np.int16)


def padded(before: tuple[int, int, int], after: tuple[int, int, int], value: int) -> Volume:
    array = np.pad(image(), list(zip(before, after, strict=True)), constant_values=value)
    return Volume.from_array(array, AFFINE)


@pytest.mark.parametrize("value", [0, -1024, 300])
@pytest.mark.parametrize(("before", "after"), [((4, 4, 4), (4, 4, 4)), ((14, 2, 3), (2, 8, 5))])
def test_what_was_padded_is_cut_off_and_stays_where_it_is(before, after, value) -> None:
    volume = padded(before, after, value)
    inner, offset = without_margins(volume)
    assert offset == before
    np.testing.assert_array_equal(inner.array, image())
    ends = np.array([[0, 0, 0], [5, 7, 9]])
    np.testing.assert_allclose(
        inner.geometry.index_to_world(ends), volume.geometry.index_to_world(ends + before)
    )


def test_an_image_without_margins_is_the_same_object() -> None:
    volume = Volume.from_array(image(), AFFINE)
    assert without_margins(volume) == (volume, (0, 0, 0))


def test_a_single_plane_of_one_value_may_come_with_the_image() -> None:
    volume = padded((1, 0, 0), (0, 1, 0), 0)
    assert without_margins(volume)[0] is volume


def test_an_image_of_one_value_is_left_alone() -> None:
    volume = Volume.from_array(np.full((4, 4, 4), 7), AFFINE)
    assert without_margins(volume)[0] is volume


def test_a_structure_in_the_margin_stays() -> None:
    volume = padded((5, 5, 5), (5, 5, 5), 0)
    painted = StructureMask(Structure("cyst", 1, (1, 0, 0)), (2, 7, 7), np.ones((3, 2, 2), bool))
    inner, offset = without_margins(volume, [painted])
    assert offset == (2, 5, 5)
    assert inner.array.shape == (9, 8, 10)
