"""Regions outside which nothing is looked for: read from files, and brought to the grid of an image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from affines import offset, rotation
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import Volume, to_sitk, write_labels
from MedMetaSegLib.support.search_region import SearchRegion, region_of
from MedMetaSegLib.support.seg_nrrd import write_segmentation
from MedMetaSegLib.support.structure import Structure, StructureMask, region
from support_phantom import ball


def whole(found: SearchRegion, volume: Volume) -> np.ndarray:
    """Bool (k, j, i) on the whole grid."""
    return found.on_block(region((0, 0, 0), volume.geometry.shape))


def nearest(mask: np.ndarray, source: Geometry, target: Geometry) -> np.ndarray:
    """The mask on another grid: of each voxel the source voxel that holds its centre."""
    centres = np.indices(target.shape).reshape(3, -1).T
    index = np.rint(source.world_to_index(target.index_to_world(centres))).astype(int)
    there = ((index >= 0) & (index < source.shape)).all(1)
    found = np.zeros(len(index), bool)
    found[there] = mask[tuple(index[there].T)]
    return found.reshape(target.shape)


def written(folder: Path, mask: np.ndarray, geometry: Geometry) -> Path:
    path = folder / "region.nrrd"
    write_labels(path, mask.astype(np.uint8), geometry)
    return path


@pytest.fixture
def mask(patient: Volume) -> np.ndarray:
    return ball(patient.geometry.shape, 4.3, (5.2, 8.0, 11.0))


def test_a_region_on_the_grid_of_the_image_is_that_very_region(tmp_path: Path, patient: Volume, mask):
    found = SearchRegion.read(written(tmp_path, mask, patient.geometry), patient)
    np.testing.assert_array_equal(whole(found, patient), mask)
    assert (found.voxels, found.source, found.notes) == (mask.sum(), "region.nrrd", ())


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 2, 0)])
def test_a_region_that_is_stored_with_other_axes_is_exact(
    tmp_path: Path, patient: Volume, mask, store_otherwise: Callable, order: tuple[int, ...]
):
    array, affine = store_otherwise(mask, patient.geometry.affine, order, (True, False, True))
    found = SearchRegion.read(written(tmp_path, array, Geometry(array.shape, affine)), patient)
    np.testing.assert_array_equal(whole(found, patient), mask)


@pytest.mark.parametrize(
    "to_image",
    [
        np.diag([1.7, 0.6, 0.8, 1.0]),
        rotation(0.3, 0.2, -0.4),
        rotation(0.3, 0.2, -0.4) @ np.diag([5.0, 4.0, 6.0, 1.0]),
    ],
    ids=["parallel", "turned", "turned and coarse"],
)
def test_on_another_grid_each_voxel_takes_the_nearest_one(
    tmp_path: Path, patient: Volume, to_image: np.ndarray
):
    shape = (18, 30, 20)
    # The middle of the one near that of the other, and no centre half-way between two voxels.
    middle = np.array([12.13, 10.21, 6.07]) - (to_image @ (9.5, 14.5, 8.5, 1))[:3]
    source = Geometry(shape, patient.geometry.affine @ (to_image + offset(*middle)))
    mask = ball(shape, 1.9 if to_image[0, 0] > 3 else 7.3)
    found = SearchRegion.read(written(tmp_path, mask, source), patient)
    expected = nearest(mask, source, patient.geometry)
    assert expected.any()
    np.testing.assert_array_equal(whole(found, patient), expected)


def test_all_segments_count_together_and_that_is_said(tmp_path: Path, patient: Volume, mask):
    other = ball(patient.geometry.shape, 3.0, (3.0, 15.0, 18.0))
    masks = [
        StructureMask(Structure(name, number, (1, 0, 0)), (0, 0, 0), one)
        for number, (name, one) in enumerate((("lung", mask), ("heart", other)), start=1)
    ]
    write_segmentation(tmp_path / "region.seg.nrrd", masks, patient.geometry)
    found = SearchRegion.read(tmp_path / "region.seg.nrrd", patient)
    np.testing.assert_array_equal(whole(found, patient), mask | other)
    assert found.notes == ("The region is its 2 structures together.",)


def test_an_empty_region_is_refused(tmp_path: Path, patient: Volume, mask):
    with pytest.raises(InputError, match=r"region\.nrrd: The region is empty"):
        SearchRegion.read(written(tmp_path, np.zeros_like(mask), patient.geometry), patient)
    with pytest.raises(InputError, match="The region is empty"):
        region_of(np.zeros_like(mask), patient.geometry)


def test_a_region_of_another_place_is_refused(tmp_path: Path, patient: Volume, mask):
    away = Geometry(mask.shape, offset(0, 0, 400) + patient.geometry.affine)
    with pytest.raises(InputError, match=r"outside the image.*is its header lost"):
        SearchRegion.read(written(tmp_path, mask, away), patient)


def test_what_is_no_region_is_refused(tmp_path: Path, patient: Volume, mask):
    sitk.WriteImage(to_sitk(patient.array, patient.geometry), str(tmp_path / "image.nrrd"))
    with pytest.raises(InputError, match="The region has negative values"):
        SearchRegion.read(tmp_path / "image.nrrd", patient)
    with pytest.raises(InputError, match="The region has values that are not whole numbers"):
        region_of(mask * 0.5, patient.geometry)
    with pytest.raises(InputError, match="24 x 20 x 11 voxels and the image 24 x 20 x 12"):
        region_of(mask[1:], patient.geometry)
    with pytest.raises(InputError, match="reaches out of the image"):
        region_of(SearchRegion((4, 0, 0), mask), patient.geometry)


def test_an_array_is_where_it_is_not_0(patient: Volume, mask):
    assert region_of(None, patient.geometry) is None
    labels = np.where(mask, 7, 0)
    labels[5, 8, 11] = 3
    for array in (mask, labels, labels.astype(np.float32)):
        found = region_of(array, patient.geometry)
        assert found is not None
        np.testing.assert_array_equal(whole(found, patient), mask)


def test_a_region_goes_where_its_grid_goes(patient: Volume, mask):
    found = SearchRegion.from_array(mask, patient.geometry)
    canonical, axis_map = patient.canonical()
    np.testing.assert_array_equal(whole(found.reoriented(axis_map), canonical), axis_map.apply(mask))
    part = found.on_part((3, 7, 9), (5, 13, 10))
    np.testing.assert_array_equal(part.on_block(region((0, 0, 0), (5, 13, 10))), mask[3:8, 7:, 9:19])
    nothing = found.on_part((11, 0, 0), (1, 2, 2))
    assert not nothing.on_block(region((0, 0, 0), (1, 2, 2))).any()


def test_regions_of_other_voxels_have_other_digests(patient: Volume, mask):
    one, other = mask.copy(), mask.copy()
    other[5, 8, 11] = False
    digests = {SearchRegion.from_array(each, patient.geometry).digest for each in (mask, one, other)}
    assert len(digests) == 2
