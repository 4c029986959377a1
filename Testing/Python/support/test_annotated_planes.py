"""In which planes, and on which slices, a mask was painted."""

from __future__ import annotations

import numpy as np
import pytest

from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.support.annotated_planes import annotated_planes
from MedMetaSegLib.support.support import Support

SHAPE = (36, 44, 44)


def ellipsoid(centre=(17, 21, 15), radii=(11.5, 8.8, 6.2)):
    place = np.indices(SHAPE)
    return sum(((p - c) / r) ** 2 for p, c, r in zip(place, centre, radii, strict=True)) <= 1


ORGAN = ellipsoid()


def painted(organ=ORGAN, **slices):
    """The organ on some slices of some planes."""
    mask = np.zeros(SHAPE, bool)
    for axis, plane in enumerate(("axial", "coronal", "sagittal")):
        for number in slices.get(plane, ()):
            np.moveaxis(mask, axis, 0)[number] |= np.moveaxis(organ, axis, 0)[number]
    return mask


def found(mask, usual=0, **options):
    reading = annotated_planes(mask, usual, (1, 1, 1), **options)
    return {("axial", "coronal", "sagittal")[one.axis]: one.slices for one in reading.planes}


@pytest.mark.parametrize(
    "slices",
    [
        {"axial": (10, 18, 26)},
        {"axial": (18,), "sagittal": (15,)},
        {"axial": (10, 18, 26), "sagittal": (15,)},
        {"axial": (10, 18, 26), "coronal": (20,), "sagittal": (15,)},
        {"axial": (18,), "coronal": (21,), "sagittal": (15,)},
        {"axial": (18,), "coronal": (16, 21, 26)},
        {"axial": (10, 18, 26), "coronal": (16, 21, 26), "sagittal": (11, 15, 19)},
        {"axial": (17, 18, 19), "sagittal": (15,)},
        {"axial": tuple(range(8, 14))},
        {"axial": tuple(range(6, 29))},
    ],
    ids=str,
)
def test_slices_of_any_planes_are_found(slices):
    mask = painted(**slices)
    assert found(mask) == slices
    assert not annotated_planes(mask, 0, (1, 1, 1)).loose.any()


@pytest.mark.parametrize("left_out", [(), (17,), (9, 17, 30)], ids=str)
def test_a_column_painted_through_is_of_the_usual_plane(left_out: tuple[int, ...]) -> None:
    """As a spine, though slices along it are larger, and fewer."""
    _, j, i = np.indices(SHAPE)
    column = (j - 21) ** 2 + (i - 21) ** 2 <= 100
    slices = tuple(number for number in range(SHAPE[0]) if number not in left_out)
    assert found(painted(column, axial=slices)) == {"axial": slices}


def test_the_plane_with_most_slices_comes_first():
    reading = annotated_planes(painted(axial=(10, 18, 26), sagittal=(15,)), 2, (1, 1, 1))
    assert [one.axis for one in reading.planes] == [0, 2]


@pytest.mark.parametrize("place", [(2, 2, 2), (13, 21, 15)], ids=["outside", "inside"])
def test_a_stray_voxel_does_not_make_its_slice_complete(place):
    mask = painted(axial=(10, 18, 26))
    mask[place] = True
    reading = annotated_planes(mask, 0, (1, 1, 1))
    assert found(mask) == {"axial": (10, 18, 26)}
    assert np.argwhere(reading.loose).tolist() == [list(place)]


@pytest.mark.parametrize("share", [0.4, 0.6])
def test_a_brush_that_spills_onto_the_next_slice_does_not_make_it_complete(share):
    mask = painted(axial=(10, 18, 26))
    smaller = ellipsoid(radii=(11.5, 8.8 * share, 6.2 * share))
    for number in (11, 19, 27):
        mask[number] |= smaller[number]
    assert found(mask) == {"axial": (10, 18, 26)}
    assert annotated_planes(mask, 0, (1, 1, 1)).loose.sum() == sum(
        smaller[number].sum() for number in (11, 19, 27)
    )


def test_a_spill_is_seen_where_a_slice_of_another_plane_was_painted_too():
    mask = painted(axial=(10, 18, 26), sagittal=(15,))
    smaller = ellipsoid(radii=(11.5, 5, 3.5))
    for number in (11, 19, 27):
        mask[number] |= smaller[number]
    assert found(mask) == {"axial": (10, 18, 26), "sagittal": (15,)}


def test_a_spill_beside_a_single_slice_is_no_slice_of_another_plane():
    mask = painted(axial=(18,))
    mask[19] |= ellipsoid(radii=(11.5, 4, 3))[19]
    assert found(mask) == {"axial": (18,)}


def test_a_correction_in_another_view_is_known_by_itself():
    mask = painted(axial=(10, 26))
    mask[16:20, 19:24, 15] = True
    assert found(mask) == {"axial": (10, 26)}


@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_dab_between_painted_slices_does_not_make_its_slice_complete(size: int) -> None:
    mask = painted(axial=(10, 18, 26))
    mask[13, 19 : 19 + size, 13 : 13 + size] = True
    assert found(mask) == {"axial": (10, 18, 26)}


def test_neighbours_of_about_equal_area_are_complete():
    """Slices of a vessel or of a tapering organ that were painted one after the other."""
    assert found(painted(axial=(24, 25, 26, 27))) == {"axial": (24, 25, 26, 27)}


def test_thick_slices_of_a_small_structure_may_taper() -> None:
    """Of a lesion three slices high, all were painted."""
    lesion = ellipsoid(radii=(1.6, 6, 6))
    mask = painted(lesion, axial=(16, 17, 18))
    assert mask[16].sum() < 0.65 * mask[17].sum()
    mask[16] &= ellipsoid(radii=(1.3, 5, 5))[16]
    assert mask[16].sum() < 0.5 * mask[17].sum()
    reading = annotated_planes(mask, 0, (5, 1, 1))
    assert reading.planes[0].slices == (16, 17, 18)


def test_slices_of_lesions_hold_any_number_of_voxels() -> None:
    """Of many parts, a slice with one small one is as complete as a slice with ten large ones."""
    mask = np.zeros(SHAPE, bool)
    _, j, i = np.indices(SHAPE)
    mask[[10, 26]] = ((j % 10 < 6) & (i % 10 < 6))[[10, 26]]
    mask[4, 2:4, 2:4] = mask[18, 30, 30:33] = mask[33, 40, 40] = True
    assert mask[4].sum() < 0.05 * mask[10].sum()
    reading = annotated_planes(mask, 0, (1, 1, 1))
    assert [(one.axis, one.slices) for one in reading.planes] == [(0, (4, 10, 18, 26, 33))]


def test_the_small_end_of_a_large_organ_is_complete() -> None:
    organ = ellipsoid(radii=(16, 20, 20), centre=(17, 21, 21))
    mask = painted(organ, axial=(17,))
    mask[3, 1:6, 1:7] = True
    assert mask[3].sum() < 0.05 * mask[17].sum()
    assert found(mask) == {"axial": (3, 17)}


def test_a_slice_between_two_that_have_little_in_common_is_complete() -> None:
    """Parts of one structure that lie aside of each other, as of a vertebra."""
    mask = np.zeros(SHAPE, bool)
    mask[8, 4:20, 4:20] = mask[26, 22:38, 22:38] = True
    mask[17, 19:24, 19:24] = True
    assert found(mask) == {"axial": (8, 17, 26)}


def test_the_named_plane_alone_is_complete():
    mask = painted(axial=(10, 18, 26), sagittal=(15,))
    assert found(mask, only=True) == {"axial": (10, 18, 26)}
    assert annotated_planes(mask, 0, (1, 1, 1), only=True).loose.any()


def test_a_support_tells_its_planes_and_voxels_on_no_complete_slice():
    geometry = Geometry(SHAPE, np.eye(4))
    mask = painted(axial=(10, 18, 26), sagittal=(15,))
    support = Support.from_labels(mask.astype(np.uint8), geometry)
    (told,) = support.describe()
    assert (told["plane"], told["slices"]) == ("axial", [10, 18, 26])
    assert told["crossing"] == [{"plane": "sagittal", "slices": [15]}]
    assert told["scribbled"] == 0
    assert support.notes == ()

    mask = painted(axial=(10, 18, 26))
    mask[2, 2, 2] = True
    support = Support.from_labels(mask.astype(np.uint8), geometry)
    assert support.describe()[0]["scribbled"] == 1
    assert support.notes == (
        "Label 1: axial slice 2 is not taken for complete; the 1 voxel painted there counts as scribbles.",
    )


def test_scribbled_voxels_change_no_complete_slice_of_a_coarser_grid():
    """The image's slices are twice as thick: what spilt onto the neighbour lies in the painted slice's."""
    geometry = Geometry(SHAPE, np.eye(4))
    mask = painted(axial=(10, 18, 26))
    mask[11, 2:6, 2:6] = True
    mask[30, 21, 15] = True
    support = Support.from_labels(mask.astype(np.uint8), geometry)
    assert support.structures[0].slices == (10, 18, 26)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[2, 3] = 0.5
    (moved,) = support.on(Geometry((SHAPE[0] // 2, *SHAPE[1:]), affine)).structures
    assert moved.slices == (5, 9, 13)
    for coarse, fine in ((5, 10), (9, 18), (13, 26)):
        there = np.zeros(SHAPE[1:], bool)
        there[moved.region[1:]] = moved.mask[coarse - moved.offset[0]]
        np.testing.assert_array_equal(there, ORGAN[fine])
    assert np.count_nonzero(moved.loose) == 1


@pytest.mark.parametrize("factor", [1, 2], ids=["moved", "finer"])
def test_planes_follow_to_another_grid(factor):
    """The image is stored with other axes, and may be finer than the support."""
    affine = np.eye(4)
    affine[:3, 3] = (3, -5, 7)
    geometry = Geometry(SHAPE, affine)
    support = Support.from_labels(painted(axial=(10, 18), sagittal=(15,)).astype(np.uint8), geometry)
    affine = np.diag([-1 / factor, 1 / factor, 1 / factor, 1])
    affine[:3, 3] = (3 + SHAPE[2] - 1, -5, 7)
    target = Geometry(tuple(factor * size for size in SHAPE), affine)
    (moved,) = support.on(target).structures
    planes = {one.axis: one.slices for one in moved.planes}
    assert planes == {0: (10 * factor, 18 * factor), 2: ((SHAPE[2] - 1 - 15) * factor,)}
    for plane in moved.planes:
        here = np.moveaxis(moved.mask, plane.axis, 0)[plane.slices[0] - moved.offset[plane.axis]]
        there = np.moveaxis(ORGAN, plane.axis, 0)[10 if plane.axis == 0 else 15]
        assert here.sum() == pytest.approx(factor**2 * there.sum(), rel=0.1)
