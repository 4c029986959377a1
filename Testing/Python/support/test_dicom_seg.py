"""DICOM SEG as what was painted: every frame on its slice, with names and colours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_frames import along_z, write_seg, write_slices
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.volume import read_volume
from MedMetaSegLib.measurements.segmented import read_segmented
from MedMetaSegLib.support.dicom_seg import lab_color
from MedMetaSegLib.support.placement import placed_support
from MedMetaSegLib.support.support import Support

SHAPE = (7, 5)
"""Rows and columns: no multiple of eight voxels, so that frames begin within bytes."""
SEGMENTS = {
    2: {"SegmentLabel": "Liver", "RecommendedDisplayCIELabValue": [34885, 53485, 50171]},
    5: {"SegmentLabel": "Lésion"},
}


def square(row: int, column: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[row : row + 4, column : column + 3] = True
    return mask


def world_of(support: Support, number: int) -> set[tuple[float, ...]]:
    """Where the voxels of a structure lie, mm LPS, to a hundredth."""
    one = support.structures[number]
    places = support.geometry.index_to_world(np.argwhere(one.mask) + one.offset) * [-1, -1, 1]
    return {tuple(place) for place in np.round(places, 2) + 0.0}


def world(height: float, mask: np.ndarray) -> set[tuple[float, ...]]:
    x, y, _ = along_z([height])[0]
    return {(round(x + 0.7 * i, 2) + 0.0, round(y + 0.8 * j, 2) + 0.0, height) for j, i in np.argwhere(mask)}


@pytest.mark.parametrize(
    "heights",
    [(24.0, 42.0, 60.0), (24.0, 33.0, 60.0), (60.0, 24.0, 33.0), (39.0, 42.0, 45.0), (10.0, 12.5, 20.0)],
    ids=["even", "uneven", "any order", "neighbours", "another spacing than the thickness"],
)
def test_frames_lie_on_their_own_slices(tmp_path: Path, heights: tuple[float, ...]) -> None:
    frames = [(2, along_z([z])[0], square(n, n)) for n, z in enumerate(heights)]
    support = Support.read(write_seg(tmp_path / "seg.dcm", frames, {2: SEGMENTS[2]}))
    wanted = set().union(*(world(z, square(n, n)) for n, z in enumerate(heights)))
    assert world_of(support, 0) == wanted
    assert len(support.structures[0].slices) == 3


def test_segments_keep_their_names_numbers_and_colours_where_they_overlap(tmp_path: Path) -> None:
    places = along_z([0.0, 3.0])
    frames = [(2, places[0], square(0, 0)), (5, places[0], square(1, 1)), (5, places[1], square(2, 2))]
    path = write_seg(tmp_path / "segs" / "seg.dcm", frames, SEGMENTS)
    for given in (path, path.parent):
        support = Support.read(given)
        structures = [one.structure for one in support.structures]
        assert [(one.name, one.label) for one in structures] == [("Liver", 2), ("Lésion", 5)]
        np.testing.assert_allclose(structures[0].color, (1, 0, 0), atol=0.01)
        assert support.overlapping
        assert world_of(support, 0) == world(0.0, square(0, 0))
        assert world_of(support, 1) == world(0.0, square(1, 1)) | world(3.0, square(2, 2))


def test_a_label_map_segmentation_is_read(tmp_path: Path) -> None:
    planes = [np.where(square(n, n), 5, 0) + 2 * (np.arange(35).reshape(SHAPE) == 34) for n in range(3)]
    frames = [(0, along_z([6.0 * n])[0], plane) for n, plane in enumerate(planes)]
    support = Support.read(write_seg(tmp_path / "seg.dcm", frames, SEGMENTS, "LABELMAP", 6.0))
    assert [(one.structure.name, one.voxels) for one in support.structures] == [("Lésion", 36)]
    assert support.skipped[0][0] == "Liver"


@pytest.mark.parametrize("meaning", ["PROBABILITY", "OCCUPANCY"])
def test_of_a_fractional_segmentation_one_half_is_taken_and_told(meaning: str, tmp_path: Path) -> None:
    tags = {"SegmentationFractionalType": meaning, "MaximumFractionalValue": 201}
    frames = [(2, along_z([3.0 * n])[0], 201 * square(n, n).astype(np.uint8)) for n in range(3)]
    whole = Support.read(write_seg(tmp_path / "whole.dcm", frames, SEGMENTS, "FRACTIONAL", tags=tags))
    assert (whole.structures[0].voxels, whole.notes) == (36, ())
    frames[1][2][0, :2] = 101, 100
    parts = Support.read(write_seg(tmp_path / "parts.dcm", frames, SEGMENTS, "FRACTIONAL", tags=tags))
    assert parts.structures[0].voxels == 37
    assert parts.notes[0] == (
        f"parts.dcm is a fractional DICOM segmentation: a voxel is in a segment where its {meaning.lower()} "
        "is at least one half (101 of 201)."
    )


def test_the_background_of_a_label_map_is_no_structure(tmp_path: Path) -> None:
    frames = [(0, along_z([6.0 * n])[0], 5 * square(n, n)) for n in range(3)]
    segments = {0: {"SegmentLabel": "Background"}, 5: SEGMENTS[5]}
    support = Support.read(write_seg(tmp_path / "seg.dcm", frames, segments, "LABELMAP", 6.0))
    assert [one.structure.name for one in support.structures] == ["Lésion"]
    assert support.skipped == ()


def test_a_value_without_a_segment_is_damaged(tmp_path: Path) -> None:
    frames = [(0, along_z([6.0 * n])[0], 4 * square(n, n)) for n in range(3)]
    with pytest.raises(InputError, match="damaged"):
        Support.read(write_seg(tmp_path / "seg.dcm", frames, SEGMENTS, "LABELMAP", 6.0))


def test_a_cut_segmentation_is_damaged(tmp_path: Path) -> None:
    frames = [(2, along_z([3.0 * n])[0], square(n, n)) for n in range(3)]
    path = write_seg(tmp_path / "seg.dcm", frames, SEGMENTS)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match="damaged"):
        Support.read(path)


def test_a_compression_that_is_not_read_is_named(tmp_path: Path) -> None:
    large = np.full((40, 40), 5)  # ITK spoils its memory when it writes smaller ones
    frames = [(0, along_z([6.0 * n])[0], large) for n in range(3)]
    path = write_seg(tmp_path / "seg.dcm", frames, SEGMENTS, "LABELMAP", 6.0, compressed="JPEG2000")
    content = pydicom.dcmread(path)
    content.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLSLossless
    content.save_as(path)
    with pytest.raises(InputError, match=r"not read here \(JPEG-LS Lossless .*\); export it"):
        Support.read(path)


def test_another_frame_of_reference_than_the_images_is_refused(tmp_path: Path) -> None:
    stored = np.arange(4 * 35).reshape(4, *SHAPE).astype(np.int16)
    write_slices(tmp_path / "ct", stored, along_z([0.0, 3.0, 6.0, 9.0]))
    volume = read_volume(tmp_path / "ct")
    frames = [(2, along_z([3.0])[0], square(0, 0))]
    same = {"SeriesInstanceUID": "1.2.99"}
    placed_support(Support.read(write_seg(tmp_path / "same.dcm", frames, SEGMENTS, tags=same)), volume)
    other = Support.read(write_seg(tmp_path / "o.dcm", frames, SEGMENTS, tags={"FrameOfReferenceUID": "1.9"}))
    with pytest.raises(InputError, match="support was drawn in another frame of reference"):
        placed_support(other, volume)
    placed_support(other, replace(volume, frame_of_reference=""))
    with pytest.raises(InputError, match="segmentation was drawn in another frame of reference"):
        read_segmented(tmp_path / "o.dcm", volume)


def test_frames_that_fit_no_common_grid_are_refused(tmp_path: Path) -> None:
    heights = (0.0, 3.1, 7.27, 12.93)
    frames = [(2, along_z([z])[0], square(0, 0)) for z in heights]
    with pytest.raises(InputError, match="no common spacing"):
        Support.read(write_seg(tmp_path / "seg.dcm", frames, SEGMENTS))


def test_a_segment_twice_on_one_slice_is_damaged(tmp_path: Path) -> None:
    frames = [(2, along_z([0.0])[0], square(0, n)) for n in range(2)]
    with pytest.raises(InputError, match="damaged"):
        Support.read(write_seg(tmp_path / "seg.dcm", frames, SEGMENTS))


def test_several_segmentations_in_a_folder_are_listed(tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm"):
        write_seg(tmp_path / name, [(2, along_z([0.0])[0], square(0, 0))], SEGMENTS)
    with pytest.raises(InputError, match=r"2 DICOM segmentations \(a.dcm, b.dcm\)"):
        Support.read(tmp_path)


def test_a_segmentation_is_no_image_and_does_not_stand_in_the_way_of_one(tmp_path: Path) -> None:
    path = write_seg(tmp_path / "ct" / "seg.dcm", [(2, along_z([3.0])[0], square(0, 0))], SEGMENTS)
    for given in (path, path.parent):
        with pytest.raises(InputError, match="a DICOM segmentation, not an image; give it as SUPPORT"):
            read_volume(given)
    stored = np.arange(4 * 35).reshape(4, *SHAPE).astype(np.int16)
    write_slices(path.parent, stored, along_z([0.0, 3.0, 6.0, 9.0]))
    np.testing.assert_array_equal(read_volume(path.parent).array, stored)
    support = Support.read(path.parent).on(read_volume(path.parent).geometry)
    assert support.structures[0].slices == (1,)


@pytest.mark.parametrize(
    ("stored", "rgb"),
    [
        ((65535, 32896, 32896), (1.0, 1.0, 1.0)),
        ((0, 32896, 32896), (0.0, 0.0, 0.0)),
        ((34885, 53484, 50171), (1.0, 0.0, 0.0)),
        ((57490, 10740, 54274), (0.0, 1.0, 0.0)),
    ],
    ids=["white", "black", "red", "green"],
)
def test_colours_come_back_from_cielab(stored: tuple[int, ...], rgb: tuple[float, ...]) -> None:
    np.testing.assert_allclose(lab_color(np.array(stored, float)), rgb, atol=0.01)
