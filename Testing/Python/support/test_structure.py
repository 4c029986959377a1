"""A structure and its mask: where its voxels are."""

from __future__ import annotations

import numpy as np

from MedMetaSegLib.support.structure import Structure, StructureMask, bounding_box, filled_slices, tight


def scattered() -> np.ndarray:
    mask = np.zeros((7, 8, 9), bool)
    mask[2, 3, 4] = mask[5, 1, 6] = True
    return mask


def test_the_slices_that_hold_a_voxel_are_found_along_every_axis() -> None:
    assert [filled_slices(scattered(), axis).tolist() for axis in range(3)] == [[2, 5], [1, 3], [4, 6]]


def test_a_bounding_box_holds_every_voxel_and_there_is_none_without_voxels() -> None:
    mask = scattered()
    assert bounding_box(mask) == np.s_[2:6, 1:4, 4:7]
    assert bounding_box(np.zeros_like(mask)) is None


def test_a_tight_mask_lies_where_it_did_and_is_a_copy() -> None:
    mask = scattered()
    offset, cropped = tight(mask, (10, 20, 30))
    assert offset == (12, 21, 34)
    np.testing.assert_array_equal(cropped, mask[2:6, 1:4, 4:7])
    cropped[:] = False
    assert mask.sum() == 2
    offset, empty = tight(np.zeros_like(mask), (10, 20, 30))
    assert (offset, empty.size) == ((10, 20, 30), 0)


def test_a_structure_mask_knows_its_place_and_size() -> None:
    one = StructureMask(Structure("a", 1, (1, 0, 0)), (1, 2, 3), scattered())
    assert one.voxels == 2
    assert one.region == np.s_[1:8, 2:10, 3:12]
