"""A support whose header says its place in two ways, in another unit, or has lost it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import Volume, read_volume
from MedMetaSegLib.support.placement import placed_support
from MedMetaSegLib.support.support import Support, check_overlap

SHAPE = (10, 12, 14)
PLACE = np.array([[-1.5, 0, 0, 40], [0, -1.5, 0, 50.0], [0, 0, 3, -20], [0, 0, 0, 1]])


def moved(x: float = 0, y: float = 0, z: float = 0) -> np.ndarray:
    affine = PLACE.copy()
    affine[:3, 3] += [x, y, z]
    return affine


def turned(angle: float) -> np.ndarray:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ PLACE


def painting() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[[3, 6], 3:9, 4:10] = 1
    return labels


def write(
    path: Path,
    array: np.ndarray,
    qform: np.ndarray | None,
    sform: np.ndarray | None,
    unit: str = "mm",
    codes: tuple[int, int] = (1, 2),
) -> Path:
    """A NIfTI file with these forms; the code of a form that is None is 0."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape[::-1])
    header.set_zooms((1.5, 1.5, 3.0))
    header.set_qform(qform, codes[0] if qform is not None else 0)
    header.set_sform(sform, codes[1] if sform is not None else 0)
    header.set_xyzt_units(unit)
    nibabel.Nifti1Image(array.T, None, header).to_filename(path)
    return path


def image(folder: Path, qform: np.ndarray | None, sform: np.ndarray | None, unit: str = "mm") -> Volume:
    array = np.random.default_rng(0).normal(0, 9, SHAPE).astype(np.float32)
    return read_volume(write(folder / "image.nii", array, qform, sform, unit))


def support(folder: Path, qform: np.ndarray | None, sform: np.ndarray | None, unit: str = "mm") -> Support:
    return Support.read(write(folder / "support.nii", painting(), qform, sform, unit))


def assert_drawn_where_it_was(placed: Support, volume: Volume) -> None:
    on_image = placed.on(volume.geometry)
    np.testing.assert_array_equal(on_image.labels(), painting())


@pytest.mark.parametrize("other", [moved(z=9), moved(x=7.7), turned(0.35), PLACE @ np.diag([-1, 1, 1, 1])])
def test_a_support_with_the_same_two_forms_needs_no_note(tmp_path: Path, other: np.ndarray) -> None:
    volume = image(tmp_path, PLACE, other)
    placed = placed_support(support(tmp_path, PLACE, other), volume)
    assert placed.notes == ()
    assert_drawn_where_it_was(placed, volume)


@pytest.mark.parametrize("other", [moved(z=9), moved(x=7.7), turned(0.35), PLACE @ np.diag([-1, 1, 1, 1])])
@pytest.mark.parametrize("taken", ["qform", "sform"])
def test_a_support_on_one_of_two_forms_is_taken_there_with_a_note(
    tmp_path: Path, other: np.ndarray, taken: str
) -> None:
    volume = image(tmp_path, PLACE, other)
    place = PLACE if taken == "qform" else other
    placed = placed_support(support(tmp_path, None, place), volume)
    assert_drawn_where_it_was(placed, volume)
    (note,) = placed.notes
    assert note.startswith("The image's qform and sform differ by ")
    assert f"by the {taken}" in note
    assert placed_support(placed, volume).notes == (note,)


@pytest.mark.parametrize("taken", ["qform", "sform"])
def test_the_two_forms_may_be_the_supports(tmp_path: Path, taken: str) -> None:
    other = moved(z=9)
    volume = image(tmp_path, None, PLACE if taken == "qform" else other)
    placed = placed_support(support(tmp_path, PLACE, other), volume)
    assert_drawn_where_it_was(placed, volume)
    assert placed.notes[0].startswith("The support's qform and sform differ by 9 mm")


def test_a_crop_that_could_be_from_either_form_is_refused(tmp_path: Path) -> None:
    volume = image(tmp_path, PLACE, moved(z=6))
    crop = Geometry((4, 12, 14), moved(z=9))
    drawn = Support.from_labels(painting()[3:7], crop)
    with pytest.raises(InputError, match="differ by 6 mm, which puts the support in places 6 mm apart"):
        placed_support(drawn, volume)


def test_a_crop_that_is_from_one_form_is_taken_there(tmp_path: Path) -> None:
    volume = image(tmp_path, PLACE, moved(z=4))
    crop = Geometry((4, 12, 14), moved(z=9))
    placed = placed_support(Support.from_labels(painting()[3:7], crop), volume)
    assert_drawn_where_it_was(placed, volume)
    assert "by the qform" in placed.notes[0]


def test_forms_less_than_half_a_voxel_apart_are_one(tmp_path: Path) -> None:
    volume = image(tmp_path, PLACE, moved(x=0.7))
    assert placed_support(support(tmp_path, None, PLACE), volume).notes == ()


def test_forms_a_voxel_apart_are_told_apart_where_that_can_be_done(tmp_path: Path) -> None:
    volume = image(tmp_path, PLACE, moved(x=0.9))
    placed = placed_support(support(tmp_path, None, PLACE), volume)
    assert_drawn_where_it_was(placed, volume)
    assert "differ by 0.9 mm" in placed.notes[0]
    finer = Support.from_labels(painting(), Geometry(SHAPE, PLACE @ np.diag([0.5, 0.5, 1, 1])))
    assert placed_support(finer, volume).geometry.same_grid(finer.geometry)


def test_forms_of_a_microscope_are_not_one_because_they_are_near_in_millimetres(tmp_path: Path) -> None:
    volume = image(tmp_path, PLACE, moved(z=21), unit="micron")
    small = Geometry((5, 7, 9), np.diag([0.001, 0.001, 0.001, 1]) @ moved(z=4.4, x=-4))
    with pytest.raises(InputError, match=r"differ by 0\.021 mm, which puts the support"):
        placed_support(Support.from_labels(painting()[2:7, 2:9, 3:12], small), volume)


def test_without_codes_what_slicer_drew_is_taken_where_slicer_shows_it(tmp_path: Path) -> None:
    volume = image(tmp_path, None, None)
    assert volume.forms is not None
    shown = volume.forms.readings[1].geometry
    placed = placed_support(Support.from_labels(painting(), shown), volume)
    assert_drawn_where_it_was(placed, volume)
    assert "has no position (the codes of qform and sform are 0)" in placed.notes[0]
    both = placed_support(support(tmp_path, None, None), volume)
    assert both.notes == ()
    assert_drawn_where_it_was(both, volume)


@pytest.mark.parametrize(("image_unit", "support_unit"), [("micron", "unknown"), ("unknown", "meter")])
def test_a_support_on_the_same_numbers_without_a_unit_is_read_in_the_images(
    tmp_path: Path, image_unit: str, support_unit: str
) -> None:
    volume = image(tmp_path, None, PLACE, image_unit)
    placed = placed_support(support(tmp_path, None, PLACE, support_unit), volume)
    assert_drawn_where_it_was(placed, volume)
    assert "with one unit they lie on one grid" in placed.notes[0]


def test_two_units_are_refused_unless_the_grids_agree(tmp_path: Path) -> None:
    volume = image(tmp_path, None, PLACE, "micron")
    with pytest.raises(InputError, match="image is in micron and the support in mm"):
        placed_support(support(tmp_path, None, PLACE, "mm"), volume)
    in_mm = np.diag([0.001, 0.001, 0.001, 1]) @ PLACE
    placed = placed_support(support(tmp_path, None, in_mm, "mm"), volume)
    assert placed.notes == ()
    assert_drawn_where_it_was(placed, volume)


# ---- a lost header

GRID = Geometry(SHAPE, PLACE)
VOLUME = Volume(np.zeros(SHAPE), GRID)
OTHER_ORDER, _ = GRID.canonical()


@pytest.mark.parametrize(
    ("affine", "says"),
    [
        (np.diag([-1, -1, 1, 1.0]), "another spacing (1 x 1 x 1 against 1.5 x 1.5 x 3 mm)"),
        (moved(z=4), "another position (4 mm away)"),
        (PLACE @ np.diag([-1, 1, 1, 1]), "axes in other directions"),
    ],
)
def test_as_many_voxels_elsewhere_get_a_note(affine: np.ndarray, says: str) -> None:
    lost = Support.from_labels(painting(), Geometry(SHAPE, affine))
    (note,) = placed_support(lost, VOLUME).notes
    assert note == f"The support has as many voxels as the image but {says}: is its header lost?"


@pytest.mark.parametrize("affine", [PLACE, moved(z=1.5), moved(x=0.7), PLACE * 1.0001])
def test_a_small_drift_gets_no_note(affine: np.ndarray) -> None:
    affine = affine.copy()
    affine[3] = [0, 0, 0, 1]
    drawn = Support.from_labels(painting(), Geometry(SHAPE, affine))
    assert placed_support(drawn, VOLUME).notes == ()


def test_other_orders_and_other_numbers_of_voxels_get_no_note() -> None:
    _, axis_map = GRID.canonical()
    stored_otherwise = Support.from_labels(np.ascontiguousarray(axis_map.apply(painting())), OTHER_ORDER)
    assert placed_support(stored_otherwise, VOLUME).notes == ()
    crop = Support.from_labels(painting()[2:], GRID.cropped((2, 0, 0), (8, 12, 14)))
    assert placed_support(crop, VOLUME).notes == ()


def test_outside_the_image_says_that_the_header_may_be_lost() -> None:
    far = Support.from_labels(painting(), Geometry(SHAPE, moved(x=900)))
    with pytest.raises(
        InputError, match=r"lies outside the image; .* another position \(900 mm away\): is its"
    ):
        check_overlap(far, GRID)
    smaller = Support.from_labels(painting()[1:], Geometry((9, 12, 14), moved(x=900)))
    with pytest.raises(InputError, match=r"same patient\.$"):
        check_overlap(smaller, GRID)


def test_a_grid_that_changed_is_not_held_to_its_header(tmp_path: Path) -> None:
    volume = image(tmp_path, PLACE, moved(z=9))
    plain = replace(volume, geometry=GRID)
    assert placed_support(support(tmp_path, None, PLACE), plain).notes == ()
