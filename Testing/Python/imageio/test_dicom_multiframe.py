"""Enhanced (multi-frame) DICOM files: every frame at its place, with its own slope."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicom_frames import along_z, write_cine, write_multiframe
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.volume import Volume, read_volume

HEIGHTS = [3.0 * k for k in range(8)]


def stored(kind: type = np.int16) -> np.ndarray:
    """Values (k, j, i) that tell every voxel from every other."""
    return np.arange(8 * 6 * 5).reshape(8, 6, 5).astype(kind)


def value_at(volume: Volume, lps: np.ndarray) -> float:
    """The voxel whose centre lies at a place (mm LPS)."""
    index = volume.geometry.world_to_index(np.array([lps]) * [-1, -1, 1])[0]
    np.testing.assert_allclose(index, np.rint(index), atol=1e-6)
    return float(volume.array[tuple(np.rint(index).astype(int))])


def assert_in_place(volume: Volume, frames: np.ndarray, positions: np.ndarray, axes: np.ndarray) -> None:
    """Every voxel of every frame is where its frame says; axes: (2, 3) mm along a row, along a column."""
    for frame, position in zip(frames, np.array(positions), strict=True):
        for j, i in ((0, 0), (5, 4), (2, 3)):
            assert value_at(volume, position + i * axes[0] + j * axes[1]) == frame[j, i]


AXES = np.array([[0.7, 0, 0], [0, 0.8, 0]])


@pytest.mark.parametrize(
    "order",
    [range(8), range(7, -1, -1), (0, 2, 4, 6, 1, 3, 5, 7), (5, 0, 7, 2, 1, 6, 3, 4)],
    ids=["bottom up", "top down", "interleaved", "shuffled"],
)
def test_frames_lie_where_they_say_in_any_stored_order(tmp_path: Path, order: range) -> None:
    frames, positions = stored()[list(order)], np.array(along_z(HEIGHTS))[list(order)]
    path = write_multiframe(tmp_path / "ct" / "a.dcm", frames, positions)
    for given in (path, path.parent):
        volume = read_volume(given)
        assert volume.modality == "CT"
        assert volume.array.dtype == np.int16
        np.testing.assert_allclose(volume.geometry.spacing_mm, (3.0, 0.8, 0.7))
        assert_in_place(volume, frames, positions, AXES)


def test_tilted_and_sagittal_frames_lie_where_they_say(tmp_path: Path) -> None:
    tilted = [(-31.0, 12.5 - 0.8 * k, 3.0 * k) for k in range(8)]
    volume = read_volume(write_multiframe(tmp_path / "tilted.dcm", stored(), tilted))
    assert volume.geometry.is_sheared
    assert_in_place(volume, stored(), np.array(tilted), AXES)
    sagittal = [(2.0 * k, 12.5, 40.0) for k in range(8)]
    path = write_multiframe(
        tmp_path / "sagittal.dcm", stored(), sagittal, orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    )
    axes = np.array([[0, 0.7, 0], [0, 0, -0.8]])
    assert_in_place(read_volume(path), stored(), np.array(sagittal), axes)


@pytest.mark.parametrize("compressed", ["", "RLE", "JPEG2000", "JPEG"])
def test_every_frame_has_its_own_slope_and_intercept(tmp_path: Path, compressed: str) -> None:
    frames = np.arange(3 * 32 * 32).reshape(3, 32, 32).astype(np.int16) - 700
    rescale = [(0.25 * (k + 1), 10.0 - k) for k in range(3)]
    path = write_multiframe(
        tmp_path / "mr.dcm", frames, along_z((0, 3, 6)), rescale, modality="MR", compressed=compressed
    )
    volume = read_volume(path)
    assert volume.array.dtype == np.float32
    for plane, frame, (slope, intercept) in zip(volume.array, frames, rescale, strict=True):
        np.testing.assert_allclose(plane, frame * slope + intercept)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16])
def test_one_whole_slope_keeps_integers(tmp_path: Path, kind: type) -> None:
    path = write_multiframe(tmp_path / "ct.dcm", stored(kind), along_z(HEIGHTS), [(2.0, -1024.0)] * 8)
    volume = read_volume(path)
    assert volume.array.dtype.kind == "i"
    np.testing.assert_array_equal(volume.array, stored(kind).astype(int) * 2 - 1024)


def test_bits_beside_the_stored_ones_are_no_part_of_a_value(tmp_path: Path) -> None:
    values = stored() - 100
    dirty = (values & 0x0FFF) | np.int16(0x5000)
    tags = {"BitsStored": 12, "HighBit": 11}
    path = write_multiframe(tmp_path / "ct.dcm", dirty, along_z(HEIGHTS), tags=tags)
    np.testing.assert_array_equal(read_volume(path).array, values)


@pytest.mark.parametrize(
    ("heights", "told"),
    [
        ([0, 3, 6, 9, 15, 18, 21, 24], r"A slice seems missing between z = 9 and 15 mm \(slices 4 and 5\)"),
        ([0, 3, 6, 9, 12, 17, 22, 27], "slice spacing changes from 3 to 5 mm after slice 5"),
        ([0, 3, 6, 9, 0, 3, 6, 9], "8 images at 4 places, 2 at each"),
    ],
    ids=["gap", "change", "two phases"],
)
def test_uneven_and_doubled_frames_are_refused(tmp_path: Path, heights: list[float], told: str) -> None:
    path = write_multiframe(tmp_path / "ct.dcm", stored(), along_z(heights))
    with pytest.raises(InputError, match=told):
        read_volume(path)


def test_frames_without_a_place_are_read_with_a_note(tmp_path: Path) -> None:
    volume = read_volume(write_cine(tmp_path / "us.dcm", stored(np.uint8)))
    np.testing.assert_array_equal(volume.array, stored(np.uint8))
    assert "does not say where its frames lie" in volume.notes[0]
