"""Frames of single slices that are said to be thicker than the slices of the series they were drawn on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import generate_uid

from dicom_frames import along_z, dataset, write_seg, write_slices
from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.measurements.segmented import read_segmented
from MedMetaSegLib.support.reading import read_segments
from MedMetaSegLib.support.search_region import SearchRegion

SHAPE = (14, 12, 9)
APART_MM = 2.5


@pytest.fixture
def series(tmp_path: Path) -> tuple[Volume, str]:
    """A CT whose slices lie 2.5 mm apart, and the identifier of its series."""
    uid = generate_uid()
    stored = np.random.default_rng(3).integers(0, 900, SHAPE).astype(np.int16)
    places = along_z(APART_MM * np.arange(SHAPE[0]))
    write_slices(tmp_path / "ct", stored, places, tags={"SeriesInstanceUID": uid})
    return Volume.read(tmp_path / "ct"), uid


def drawn(path: Path, slices: list[int], thickness: float, uid: str) -> tuple[Path, np.ndarray]:
    """A segmentation with these slices, which refers to a series, and the voxels it holds."""
    mask = np.zeros(SHAPE, bool)
    mask[slices, 3:9, 2:7] = True
    places = along_z(APART_MM * np.arange(SHAPE[0]))
    frames = [(1, places[k], mask[k]) for k in slices]
    tags = {"ReferencedSeriesSequence": [dataset(SeriesInstanceUID=uid)]}
    return write_seg(path, frames, {1: {"SegmentLabel": "liver"}}, thickness=thickness, tags=tags), mask


@pytest.mark.parametrize("slices", [[5], [5, 7, 9], [5, 9, 13], [5, 8, 12], [2, 3, 4]], ids=str)
@pytest.mark.parametrize("thickness", [1.25, 2.5, 5.0, 10.0])
def test_a_region_or_a_measured_segment_has_the_slices_that_were_drawn(
    tmp_path: Path, series: tuple[Volume, str], slices: list[int], thickness: float
):
    volume, uid = series
    path, mask = drawn(tmp_path / "seg.dcm", slices, thickness, uid)
    region = SearchRegion.read(path, volume)
    whole = region.on_block(tuple(slice(0, n) for n in SHAPE))
    np.testing.assert_array_equal(whole, mask)
    (measured,) = read_segmented(path, volume).masks
    assert (measured.voxels, measured.offset) == (mask.sum(), (slices[0], 3, 2))


def test_a_segmentation_of_another_series_keeps_the_spacing_that_it_tells(
    tmp_path: Path, series: tuple[Volume, str]
):
    path, _ = drawn(tmp_path / "seg.dcm", [5, 9, 13], 10.0, generate_uid())
    assert read_segments(path, reference=series[0]).geometry.spacing_mm[0] == pytest.approx(10.0)
