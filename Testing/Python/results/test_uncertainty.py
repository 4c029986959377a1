"""Maps of uncertainty, and the error to expect on each slice."""

from __future__ import annotations

import numpy as np
import pytest

from MedMetaSegLib.errors import Cancelled
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.results.segmentation import Segmentation, SegmentedStructure
from MedMetaSegLib.results.uncertainty import error_by_slice, uncertainty_of
from MedMetaSegLib.support.structure import Structure


def test_a_map_is_255_where_a_probability_is_one_half_and_0_where_it_is_sure():
    probability = np.array([[[0.0, 0.25, 0.5, 0.75, 1.0]], [[0.1, 0.9, 0.0005, 0.49, 0.51]]], np.float16)
    uncertainty = uncertainty_of(probability)
    assert uncertainty.dtype == np.uint8
    assert uncertainty.tolist() == [[[0, 128, 255, 128, 0]], [[51, 51, 0, 250, 250]]]


@pytest.mark.parametrize(
    ("plane", "first", "counts"),
    [("axial", 4, [12, 12, 12]), ("coronal", 2, [12, 12, 12]), ("sagittal", 1, [9, 9, 9, 9])],
)
def test_errors_are_summed_over_the_slices_of_a_plane(plane: str, first: int, counts: list[int]):
    uncertainty = np.zeros((8, 7, 6), np.uint8)
    uncertainty[4:7, 2:5, 1:5] = 255
    grid = Geometry((8, 7, 6), np.diag([2.0, 3.0, 5.0, 1.0]))
    errors = error_by_slice(uncertainty, grid, plane)
    assert (errors.plane, errors.first) == (plane, first)
    assert errors.millilitres == pytest.approx([count * 0.5 * 0.03 for count in counts])
    assert errors.as_dict()["expected_error_ml"] == [round(one, 4) for one in errors.millilitres]


def test_slices_are_those_of_the_grid_however_it_is_stored():
    uncertainty = np.zeros((6, 7, 8), np.uint8)
    uncertainty[..., 5] = 51
    affine = np.array([[0, 0, -2.0, 0], [0, 3.0, 0, 0], [5.0, 0, 0, 0], [0, 0, 0, 1]])
    errors = error_by_slice(uncertainty, Geometry((6, 7, 8), affine), "axial")
    assert (errors.first, len(errors.millilitres)) == (5, 1)
    assert errors.millilitres[0] == pytest.approx(42 * 0.1 * 0.03)


def test_where_nothing_is_unsure_there_are_no_slices():
    grid = Geometry((3, 4, 5), np.eye(4))
    errors = error_by_slice(np.zeros((3, 4, 5), np.uint8), grid, "axial")
    assert errors.as_dict() == {"plane": "axial", "first": 0, "expected_error_ml": []}


def two_structures(*probabilities: list[float]) -> Segmentation:
    """A result of a single row of voxels. probabilities: of each structure."""
    maps = [np.array([[row]], np.float16) for row in probabilities]
    found = tuple(
        SegmentedStructure(Structure(name, label, (1, 0, 0)), (0, 0, 0), one > 0.5, 0.0, (1.0, 1.0, 1.0), 0.0)
        for name, label, one in zip("ab", (1, 2), maps, strict=True)
    )
    made = tuple(lambda one=one: one for one in maps)
    return Segmentation(Geometry(maps[0].shape, np.eye(4)), found, False, {}, made)


def test_of_several_structures_the_largest_uncertainty_counts():
    result = two_structures([0.0, 0.25, 0.5, 0.9], [0.1, 0.0, 0.9, 0.9])
    largest = result.largest_uncertainty()
    assert largest.dtype == np.uint8
    assert largest.tolist() == [[[51, 128, 255, 51]]]


def test_the_largest_uncertainty_can_be_cancelled_before_each_structure():
    result, answers = two_structures([0.5], [0.5]), iter([False, True])
    with pytest.raises(Cancelled):
        result.largest_uncertainty(lambda: next(answers))
    assert next(answers, None) is None
