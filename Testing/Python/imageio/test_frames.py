"""Files of several frames: NIfTI, NRRD sequences, MetaImage; which frame is read, and where it lies."""

from __future__ import annotations

from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk

from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.frames import SequenceError, listed_frames, named_frames
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import frame_count, read_image, read_volume, to_sitk
from MedMetaSegLib.support.support import Support

FRAMES = np.random.default_rng(2).integers(0, 900, (3, 4, 5, 6)).astype(np.int16)
"""(frame, k, j, i)"""
AFFINE = np.array([[-1.5, 0, 0, -4], [0, -2, 0, -5], [0, 0, 3, 6], [0, 0, 0, 1.0]])
GRID = Geometry((4, 5, 6), AFFINE)


def sequence(path: Path, kind: str, first: bool, array: np.ndarray = FRAMES) -> Path:
    """A NRRD whose axis of frames is the fastest, as Slicer writes it, or the slowest."""
    directions = np.array([[np.nan] * 3, [1.5, 0, 0], [0, 2, 0], [0, 0, 3]])
    data, kinds = array.transpose(0, 3, 2, 1), [kind, "domain", "domain", "domain"]
    if not first:
        data, kinds, directions = array.transpose(3, 2, 1, 0), kinds[::-1], np.roll(directions, -1, 0)
    header = {
        "space": "left-posterior-superior",
        "space directions": directions,
        "kinds": kinds,
        "space origin": [4.0, 5.0, 6.0],
    }
    nrrd.write(str(path), data, header)
    return path


def nifti(path: Path) -> Path:
    nibabel.Nifti1Image(FRAMES.T, AFFINE).to_filename(path)
    return path


def metaimage(path: Path) -> Path:
    sitk.WriteImage(sitk.JoinSeries([to_sitk(frame, GRID) for frame in FRAMES]), str(path))
    return path


FILES = {
    "nifti": lambda folder: nifti(folder / "x.nii"),
    "compressed nifti": lambda folder: nifti(folder / "x.nii.gz"),
    "list, first": lambda folder: sequence(folder / "x.nrrd", "list", True),
    "list, last": lambda folder: sequence(folder / "x.seq.nrrd", "list", False),
    "vector, first": lambda folder: sequence(folder / "x.nrrd", "vector", True),
    "vector, last": lambda folder: sequence(folder / "x.nrrd", "vector", False),
    "metaimage": lambda folder: metaimage(folder / "x.mha"),
}


@pytest.mark.parametrize("kind", FILES)
def test_each_frame_is_read_in_its_place(tmp_path: Path, kind: str) -> None:
    path = FILES[kind](tmp_path)
    assert frame_count(path) == 3
    for number in range(3):
        read = read_volume(path, frame=number)
        np.testing.assert_array_equal(read.array, FRAMES[number])
        assert read.array.flags.c_contiguous
        assert read.geometry.same_grid(GRID)
        assert read.name.endswith(f"_frame{number}")


@pytest.mark.parametrize("kind", FILES)
def test_without_a_choice_a_sequence_says_how_many_frames_and_what_to_do(tmp_path: Path, kind: str) -> None:
    path = FILES[kind](tmp_path)
    with pytest.raises(
        SequenceError, match=r"sequence of 3 frames; .* --volume 0 to 2, or all with --volume"
    ):
        read_volume(path)
    with pytest.raises(InputError, match="has no frame 3; it has 3 frames, numbers 0 to 2"):
        read_volume(path, frame=3)
    with pytest.raises(InputError, match="has 3 frames; give a label map of one"):
        Support.read(path)


@pytest.mark.parametrize("kind", ["RGB-color", "3-color"])
def test_colours_are_no_frames(tmp_path: Path, kind: str) -> None:
    path = sequence(tmp_path / "x.nrrd", kind, True, FRAMES.astype(np.uint8))
    for read in (frame_count, read_image, lambda path: read_image(path, 1)):
        with pytest.raises(InputError, match="3 values per voxel"):
            read(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
def test_a_colour_image_of_simpleitk_is_no_sequence(tmp_path: Path, suffix: str) -> None:
    colour = sitk.GetImageFromArray(FRAMES.transpose(1, 2, 3, 0).astype(np.uint8), isVector=True)
    sitk.WriteImage(colour, str(tmp_path / f"x{suffix}"))
    with pytest.raises(InputError, match="3 values per voxel"):
        read_image(tmp_path / f"x{suffix}", 0)


def test_a_3d_file_has_one_frame(tmp_path: Path) -> None:
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        path = tmp_path / f"x{suffix}"
        sitk.WriteImage(to_sitk(FRAMES[0], GRID), str(path))
        assert frame_count(path) == 1
        np.testing.assert_array_equal(read_image(path, 0).array, FRAMES[0])
        with pytest.raises(InputError, match="no frame 1; it has 1 frame, number 0"):
            read_image(path, 1)
    with pytest.raises(InputError, match="no frame 1"):
        read_image(tmp_path, 1)


def test_a_frame_is_damaged_where_its_file_is(tmp_path: Path) -> None:
    path = nifti(tmp_path / "x.nii.gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="truncated or damaged"):
        read_image(path, 0)


def test_the_option_names_a_number_or_all(tmp_path: Path) -> None:
    assert [named_frames(text) for text in (None, "0", "12", "ALL")] == [None, 0, 12, "all"]
    for text in ("-1", "1.5", "first", ""):
        with pytest.raises(InputError, match="names no frame; give a number, counted from 0, or all"):
            named_frames(text)
    assert listed_frames(tmp_path, 3, "all") == [0, 1, 2]
    assert listed_frames(tmp_path, 1, "all") == [None]
    assert listed_frames(tmp_path, 3, 2) == [2]
