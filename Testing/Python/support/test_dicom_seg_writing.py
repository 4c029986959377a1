"""DICOM SEG out: every voxel at its place in the world, whoever reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_frames import write_multiframe
from dicom_seg_checks import (
    ALGORITHM,
    AXIAL,
    CORONAL,
    OBLIQUE,
    errors_of_dciodvfy,
    structure,
    world_by_dcmqi,
    world_by_hand,
    write_ct,
)
from MedMetaSegLib.errors import WriteError
from MedMetaSegLib.imageio.volume import read_volume
from MedMetaSegLib.support.dicom_seg import read_dicom_seg
from MedMetaSegLib.support.dicom_seg_writing import check_source, write_dicom_seg
from MedMetaSegLib.support.structure import StructureMask
from MedMetaSegLib.support.support import Support

highdicom = pytest.importorskip("highdicom", reason="highdicom writes DICOM segmentations")

SHAPE = (9, 11, 7)
"""77 voxels a slice: frames begin within bytes."""


def block(*bounds: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(*bound) for bound in bounds)] = True
    return mask


def on_slices(*slices: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[list(slices), 2:7, 1:5] = True
    return mask


CASES = {
    "full": [block((0, 9), (0, 11), (0, 7))],
    "beside each other": [block((1, 5), (2, 6), (0, 3)), block((3, 8), (2, 6), (4, 7))],
    "overlapping": [block((1, 6), (2, 8), (1, 5)), block((4, 8), (5, 10), (3, 6))],
    "a single slice": [on_slices(4)],
    "painted slices": [on_slices(1, 4, 6)],
    "painted slices, evenly": [on_slices(1, 3, 5)],
    "cropped": [block((3, 5), (4, 8), (2, 4))],
    "one without voxels": [block((3, 5), (4, 8), (2, 4)), np.zeros(SHAPE, bool)],
}


@pytest.mark.parametrize("orientation", [OBLIQUE, CORONAL], ids=["oblique", "coronal"])
@pytest.mark.parametrize("masks", CASES.values(), ids=CASES)
def test_every_voxel_lies_where_it_was_found(
    tmp_path: Path, masks: list[np.ndarray], orientation: tuple[float, ...]
) -> None:
    series = write_ct(tmp_path / "ct", SHAPE, orientation)
    path = written(series.folder, tmp_path / "whole.dcm", masks)
    expected = {number: series.world(mask) for number, mask in enumerate(masks, 1) if mask.any()}
    by_hand = world_by_hand(path)
    assert by_hand.keys() == expected.keys()
    for number, points in expected.items():
        np.testing.assert_allclose(by_hand[number], points, atol=1e-3)
    support = Support.read(path, annotation="complete").on(read_volume(series.folder).geometry)
    for one in support.structures:
        np.testing.assert_array_equal(on_grid(one), masks[one.structure.label - 1], err_msg="our own reader")
    assert errors_of_dciodvfy(path) == []


@pytest.mark.parametrize("name", ["full", "overlapping", "painted slices, evenly", "one without voxels"])
def test_dcmqi_and_highdicom_find_every_voxel(tmp_path: Path, name: str) -> None:
    series, masks = write_ct(tmp_path / "ct", SHAPE), CASES[name]
    path = written(series.folder, tmp_path / "whole.dcm", masks)
    filled = {number: mask for number, mask in enumerate(masks, 1) if mask.any()}
    for number, points in world_by_dcmqi(path, tmp_path / "dcmqi").items():
        np.testing.assert_allclose(points, series.world(filled[number]), atol=1e-3)
    volume = highdicom.seg.segread(path).get_volume(allow_missing_positions=True)
    for number, mask in filled.items():
        indices = np.argwhere(volume.array[..., number - 1])
        points = volume.map_indices_to_reference(indices)
        assert len(points) == mask.sum()
        assert {tuple(one) for one in np.round(points, 2) + 0.0} == {
            tuple(one) for one in np.round(series.world(mask), 2) + 0.0
        }


def test_a_tilted_gantry_stays_tilted(tmp_path: Path) -> None:
    series = write_ct(tmp_path / "ct", SHAPE, AXIAL, step_mm=(0.0, 0.6, 2.4))
    masks = CASES["overlapping"]
    path = written(series.folder, tmp_path / "whole.dcm", masks)
    for number, points in world_by_hand(path).items():
        np.testing.assert_allclose(points, series.world(masks[number - 1]), atol=1e-3)


def test_slices_that_lie_a_little_off_keep_their_own_places(tmp_path: Path) -> None:
    off = np.random.default_rng(1).uniform(-0.01, 0.01, (SHAPE[0], 3))
    even = np.array([5.0, 6.0, 7.0]) + np.arange(SHAPE[0])[:, None] * (0.0, 0.0, 2.5)
    series = write_ct(tmp_path / "ct", SHAPE, AXIAL, positions=np.round(even + off, 3))
    path = written(series.folder, tmp_path / "whole.dcm", CASES["full"])
    np.testing.assert_allclose(world_by_hand(path)[1], series.world(CASES["full"][0]), atol=1e-6)


def test_slices_that_are_resampled_lie_where_the_result_lies(tmp_path: Path) -> None:
    heights = np.array([0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 13.0, 16.0, 19.0])
    positions = np.column_stack([np.full(9, -31.0), np.full(9, 12.5), heights])
    series = write_ct(tmp_path / "ct", SHAPE, AXIAL, positions=positions)
    volume = read_volume(series.folder, resample_uneven=True)
    mask = np.zeros(volume.geometry.shape, bool)
    mask[3:10, 2:5, 1:4] = True
    path = tmp_path / "whole.dcm"
    write_dicom_seg(path, [structure(mask)], volume.geometry, check_source(volume), ALGORITHM)
    found = sorted({round(float(z), 3) for z in world_by_hand(path)[1][:, 2]})
    assert found == [6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0]
    assert len(pydicom.dcmread(path).ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 9


@pytest.mark.parametrize("order", [range(9), (3, 1, 2, 0, 8, 5, 7, 6, 4)], ids=["in order", "in any order"])
def test_frames_of_an_enhanced_image_are_referred_to_one_by_one(tmp_path: Path, order: Sequence[int]) -> None:
    places = np.array([[-31.0, 12.5, 2.5 * k] for k in order])
    stored = np.random.default_rng(0).integers(0, 99, SHAPE).astype(np.int16)
    image = write_multiframe(tmp_path / "ct.dcm", stored, places.tolist())
    path = written(image, tmp_path / "whole.dcm", CASES["cropped"])
    for one in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        shown = one.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        place = one.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(place, places[int(shown) - 1])
    assert set(np.round(world_by_hand(path)[1][:, 2], 3)) == {7.5, 10.0}


def test_nothing_found_is_a_frame_without_voxels_for_each_structure(tmp_path: Path) -> None:
    series = write_ct(tmp_path / "ct", SHAPE)
    path = written(series.folder, tmp_path / "whole.dcm", [np.zeros(SHAPE, bool)] * 2)
    assert {number: len(points) for number, points in world_by_hand(path).items()} == {1: 0, 2: 0}
    assert [one.voxels for one in read_dicom_seg(path).masks] == [0, 0]
    assert errors_of_dciodvfy(path) == []


def test_a_file_that_reads_back_otherwise_does_not_take_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series, path = write_ct(tmp_path / "ct", SHAPE), tmp_path / "whole.dcm"
    path.write_bytes(b"what was there")
    wrong = read_dicom_seg(written(series.folder, tmp_path / "other.dcm", CASES["a single slice"]))
    monkeypatch.setattr("MedMetaSegLib.support.dicom_seg_writing.read_dicom_seg", lambda path: wrong)
    with pytest.raises(WriteError, match="does not read back"):
        written(series.folder, path, CASES["painted slices"])
    assert path.read_bytes() == b"what was there"


def written(folder: Path, path: Path, masks: list[np.ndarray]) -> Path:
    volume = read_volume(folder)
    structures = [structure(mask, number) for number, mask in enumerate(masks, 1)]
    write_dicom_seg(path, structures, volume.geometry, check_source(volume), ALGORITHM)
    return path


def on_grid(one: StructureMask) -> np.ndarray:
    full = np.zeros(SHAPE, bool)
    full[one.region] = one.mask
    return full
