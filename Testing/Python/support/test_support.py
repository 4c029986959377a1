"""What a support says, where it was drawn, and how it comes to the grid of the image."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from affines import moved
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.volume import Geometry, Volume, read_volume, to_sitk, write_labels
from MedMetaSegLib.support.structure import StructureMask
from MedMetaSegLib.support.support import Structure, Support, check_overlap, check_something_left, plane_name
from support_phantom import SHAPE, ball, grid, on_slices

STORAGES = [(order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)]


# ---- what was drawn


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("slices", [[11], [7, 11, 15], [10, 11, 12], [8, 9, 12, 16]])
def test_the_drawing_plane_is_detected(axis: int, slices: list[int]) -> None:
    geometry = grid(SHAPE)
    labels = on_slices(ball(), slices, axis).astype(np.uint8) * 3
    painted = Support.from_labels(labels, geometry).structures[0]
    assert painted.axis == axis
    assert painted.slices == tuple(slices)
    assert plane_name(geometry, axis) == ("axial", "coronal", "sagittal")[axis]


def test_two_kidneys_as_one_label_are_still_axial() -> None:
    both = ball((20, 30, 60), 8, (10, 15, 12)) | ball((20, 30, 60), 8, (10, 15, 48))
    support = Support.from_labels(on_slices(both, [5, 9, 10, 14]).astype(np.uint8), grid((20, 30, 60)))
    assert support.structures[0].axis == 0
    assert support.structures[0].slices == (5, 9, 10, 14)


def test_an_unclear_plane_follows_the_other_structures_then_axial() -> None:
    labels = on_slices(ball(), [8, 11, 14], 2).astype(np.uint8)
    labels[0:4, 0:4, 0:4] = 2
    support = Support.from_labels(labels, grid(SHAPE))
    assert [one.axis for one in support.structures] == [2, 2]
    alone = Support.from_labels((labels == 2).astype(np.uint8), grid(SHAPE))
    assert alone.structures[0].axis == 0
    assert alone.structures[0].slices == (0, 1, 2, 3)


def test_structures_may_be_drawn_on_different_slices_and_planes() -> None:
    labels = on_slices(ball(centre=(10, 12, 8)), [6, 12]).astype(np.uint8)
    labels[on_slices(ball(radius=4, centre=(10, 12, 22)), [10, 13], 1)] = 7
    first, second = Support.from_labels(labels, grid(SHAPE), {7: "spleen"}).structures
    assert (first.axis, first.slices, first.structure.name) == (0, (6, 12), "Label 1")
    assert (second.axis, second.slices, second.structure.name) == (1, (10, 13), "spleen")


@pytest.mark.parametrize(("order", "flips"), STORAGES[::7])
def test_a_plane_is_anatomical_whatever_the_storage(
    store_otherwise: Callable, order: tuple, flips: tuple
) -> None:
    labels, affine = store_otherwise(on_slices(ball(), [8, 14], 1).astype(np.uint8), np.eye(4), order, flips)
    geometry = Geometry(labels.shape, affine)
    (found,) = Support.from_labels(labels, geometry).structures
    (said,) = Support.from_labels(labels, geometry, plane="coronal").structures
    assert plane_name(geometry, found.axis or 0) == "coronal"
    assert found.axis == said.axis == order.index(1)
    (other,) = Support.from_labels(labels, geometry, plane="axial").structures
    assert other.axis == order.index(0)


def test_an_unknown_plane_or_annotation_is_refused() -> None:
    labels = ball().astype(np.uint8)
    with pytest.raises(InputError, match="no plane 'axail'"):
        Support.from_labels(labels, grid(SHAPE), plane="axail")
    with pytest.raises(InputError, match="no annotation 'all'"):
        Support.from_labels(labels, grid(SHAPE), annotation="all")  # type: ignore[arg-type]


def test_a_complete_support_has_no_slices_and_gives_its_labels_back() -> None:
    labels = ball().astype(np.int16) * 300
    labels[0:3, 0:3, 0:3] = 4
    support = Support.from_labels(labels, grid(SHAPE), annotation="complete")
    assert [(one.axis, one.slices) for one in support.structures] == [(None, ()), (None, ())]
    np.testing.assert_array_equal(support.labels(), labels)
    assert support.labels().dtype == np.uint16
    assert not support.overlapping
    assert support.describe()[1] == {
        "name": "Label 300", "label": 300, "voxels": int(ball().sum()), "plane": None, "slices": [],
        "crossing": [], "scribbled": 0
    }  # fmt: skip


def test_masks_are_cropped_to_what_was_painted() -> None:
    painted = Support.from_labels(
        ball(radius=3).astype(np.uint8), grid(SHAPE), annotation="complete"
    ).structures[0]
    assert all(painted.mask.any(axis=others).all() for others in ((1, 2), (0, 2), (0, 1)))
    assert painted.voxels == ball(radius=3).sum()


def test_a_structure_of_few_voxels_is_skipped_and_named() -> None:
    labels = ball().astype(np.uint8)
    labels[0, 0, :9] = 2
    labels[1, 0, :10] = 3
    support = Support.from_labels(labels, grid(SHAPE), {2: "adrenal"})
    assert [one.structure.label for one in support.structures] == [1, 3]
    assert support.skipped == (("adrenal", "it has 9 voxels, at least 10 are needed"),)
    with pytest.raises(InputError, match=r"No structure .*adrenal: it has 9 voxels"):
        Support.from_labels((labels == 2) * np.uint8(2), grid(SHAPE), {2: "adrenal"})


def test_overlap_is_noticed_only_where_voxels_are_shared() -> None:
    one, two = Structure("a", 1, (1, 0, 0)), Structure("b", 2, (0, 1, 0))
    first, second = ball(radius=5, centre=(10, 12, 9)), ball(radius=5, centre=(10, 12, 16))
    shared = Support.from_masks(
        [StructureMask(one, (0, 0, 0), first), StructureMask(two, (0, 0, 0), second)], grid(SHAPE)
    )
    assert shared.overlapping
    rest = StructureMask(two, (0, 0, 0), second & ~first)
    apart = Support.from_masks([StructureMask(one, (0, 0, 0), first), rest], grid(SHAPE))
    assert not apart.overlapping


def test_scribbles_take_the_segment_called_background_apart() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[5, 3:6, 3:9], labels[9, 12, 2:20] = 1, 2
    support = Support.from_labels(labels, grid(SHAPE), {2: " Background "}, annotation="scribbles")
    assert [one.structure.label for one in support.structures] == [1]
    assert support.background is not None
    assert support.background.voxels == 18
    with pytest.raises(InputError, match="background only"):
        Support.from_labels(
            (labels == 2) * np.uint8(2), grid(SHAPE), {2: "background"}, annotation="scribbles"
        )


# ---- bad supports


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a * 0, "is empty; paint"),
        (lambda a: a * -1, "negative values"),
        (lambda a: a * 0.5, "not whole numbers"),
        (lambda a: np.where(a > 0, np.nan, 0), "voxels of nan; store 0"),
        (lambda a: a * 70000, "at most 65535"),
    ],
)
def test_a_support_that_is_no_label_map_is_refused(tmp_path: Path, change: Callable, words: str) -> None:
    array = change(ball().astype(np.float64))
    with pytest.raises(InputError, match=words):
        Support.from_labels(array, grid(SHAPE))
    sitk.WriteImage(to_sitk(array, grid(SHAPE)), str(tmp_path / "s.nrrd"))
    with pytest.raises(InputError, match=rf"s\.nrrd: .*{words}"):
        Support.read(tmp_path / "s.nrrd")


def test_more_than_250_structures_are_refused() -> None:
    labels = np.repeat(np.arange(1, 252, dtype=np.uint16), 20).reshape(1, 251, 20)
    with pytest.raises(InputError, match="251 structures; give at most 250"):
        Support.from_labels(labels, grid((1, 251, 20)))
    assert len(Support.from_labels(labels[:, :250], grid((1, 250, 20))).structures) == 250


def test_float_labels_of_whole_numbers_are_labels() -> None:
    support = Support.from_labels(ball().astype(np.float32) * 5, grid(SHAPE))
    assert support.structures[0].structure.label == 5


def test_nothing_left_to_do_is_refused() -> None:
    geometry = grid(SHAPE)
    bar = np.zeros(SHAPE, np.uint8)
    bar[:, 8:14, 8:14] = 1
    with pytest.raises(InputError, match="Every slice of the image is drawn"):
        check_something_left(Support.from_labels(bar, geometry, plane="axial"), geometry)
    check_something_left(Support.from_labels(bar * (np.arange(20) != 4)[:, None, None], geometry), geometry)
    two = bar.copy()
    two[3, 0:4, 0:4] = 2
    check_something_left(Support.from_labels(two, geometry, plane="axial"), geometry)
    with pytest.raises(InputError, match="complete annotation leaves nothing"):
        check_something_left(Support.from_labels(bar, geometry, annotation="complete"), geometry)
    check_something_left(Support.from_labels(bar, geometry, annotation="scribbles"), geometry)


def test_every_slice_is_counted_on_the_image_not_on_the_support() -> None:
    bar = np.zeros((5, 24, 28), np.uint8)
    bar[:, 8:14, 8:14] = 1
    cropped = Support.from_labels(bar, grid((5, 24, 28), at=(3, 0, 0)), plane="axial")
    check_something_left(cropped, grid(SHAPE))
    with pytest.raises(InputError, match="Every slice"):
        check_something_left(cropped, grid((4, 24, 28), at=(4, 0, 0)))


def test_a_support_of_another_region_is_refused() -> None:
    support = Support.from_labels(ball().astype(np.uint8), grid(SHAPE))
    check_overlap(support, grid(SHAPE))
    turn = np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    check_overlap(support, moved(grid(SHAPE), turn))
    # The grids share space, the painted voxels do not.
    corner = grid((4, 4, 4), at=(-1, -1, -1))
    for far in (corner, grid(SHAPE, at=(200, 0, 0))):
        with pytest.raises(InputError, match="lies outside the image"):
            check_overlap(support, far)
        with pytest.raises(InputError, match="lies outside the image"):
            support.on(far)


# ---- files


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_label_map_is_read_in_any_format(patient: Volume, tmp_path: Path, suffix: str) -> None:
    labels = on_slices(ball(patient.array.shape, 7), [2, 5, 9]).astype(np.uint8) * 6
    write_labels(tmp_path / f"s{suffix}", labels, patient.geometry)
    support = Support.read(tmp_path / f"s{suffix}", names={6: "liver"}).on(patient.geometry)
    np.testing.assert_array_equal(support.labels(), labels)
    assert support.describe()[0]["name"] == "liver"
    assert support.describe()[0]["slices"] == [2, 5, 9]


def test_a_missing_support_is_named(tmp_path: Path) -> None:
    for name in ("none.nii.gz", "none.seg.nrrd"):
        with pytest.raises(InputError, match="There is no file"):
            Support.read(tmp_path / name)


def test_a_flipped_label_of_a_dicom_series_lands_on_it(shared_data: Path) -> None:
    volume = read_volume(shared_data / "totalseg" / "ct_dicom")
    support = Support.read(shared_data / "totalseg" / "ct_dicom_label.nii.gz", annotation="complete")
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(shared_data / "totalseg" / "ct_dicom_label.nii.gz")))
    moved = support.on(volume.geometry)
    kept = np.isin(stored, [one.structure.label for one in moved.structures])
    np.testing.assert_array_equal(moved.labels(), np.where(kept, stored, 0)[:, ::-1])
    check_overlap(support, volume.geometry)
