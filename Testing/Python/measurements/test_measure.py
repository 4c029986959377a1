"""Everything of a segmentation measured in one call: structures, lesions, and what must not change them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affines import moved, offset, rotation
from MedMetaSegLib.errors import Cancelled, InputError
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.measurements.measure import measure
from MedMetaSegLib.measurements.measurements import MeasureOptions, StructureMeasurements
from MedMetaSegLib.support.structure import Structure, StructureMask

SHAPE = (10, 16, 18)
GEOMETRY = Geometry(SHAPE, rotation(0.1, 0.2, -0.15) @ np.diag([0.8, 0.9, 2.0, 1.0]))
EVERY = MeasureOptions(smallest_mm3=0)


def blobs(seed: int = 3) -> list[np.ndarray]:
    """Two structures without symmetry: an organ, and some lesions of which one touches the border."""
    rng = np.random.default_rng(seed)
    organ = np.zeros(SHAPE, bool)
    organ[2:8, 2:9, 3:9] = rng.random((6, 7, 6)) < 0.8
    lesions = np.zeros(SHAPE, bool)
    lesions[1:5, 11:15, 2:7] = rng.random((4, 4, 5)) < 0.7
    lesions[7:10, 4:9, 13:17] = rng.random((3, 5, 4)) < 0.7
    return [organ, lesions]


def image(geometry: Geometry = GEOMETRY, seed: int = 5) -> Volume:
    values = np.random.default_rng(seed).normal(50, 20, geometry.shape)
    return Volume(values.astype(np.float32), geometry)


def structures(masks: list[np.ndarray]) -> list[StructureMask]:
    names = ("organ", "lesions", "third")
    return [
        StructureMask(Structure(name, number, (1.0, 0.0, 0.0)), (0, 0, 0), mask)
        for number, (name, mask) in enumerate(zip(names, masks, strict=False), start=1)
    ]


def numbers(one: StructureMeasurements, scale: float = 1.0) -> list[float]:
    """All numbers of a structure but places and slices; lengths as on a grid whose spacing is 1/scale."""
    found = [
        one.voxel_count,
        one.volume_cm3 / scale**3,
        one.surface_area_mm2 / scale**2,
        one.feret_diameter_mm / scale,
        one.part_count,
        one.small_count,
        one.touches_border,
    ]
    for lesion in one.lesions:
        found += [lesion.voxel_count, lesion.volume_cm3 / scale**3, lesion.touches_border]
        found += [lesion.longest.length_mm / scale, lesion.perpendicular.length_mm / scale]
        found.append((lesion.nearest_mm or 0.0) / scale)
    return found


def test_two_lesions_are_told_largest_first() -> None:
    masks = [np.zeros(SHAPE, bool) for _ in range(2)]
    masks[0][0:2, 0:3, 0:4] = True
    masks[1][5, 5, 2:4] = True
    masks[1][6:9, 8:12, 10:16] = True
    geometry = Geometry(SHAPE, np.diag([1.0, 1.0, 2.0, 1.0]))
    found = measure(image(geometry), structures(masks), MeasureOptions(("lesions",), smallest_mm3=4))
    organ, lesions = found.structures
    assert (organ.part_count, organ.lesions, organ.touches_border) == (1, (), True)
    large, small = lesions.lesions
    assert (large.number, large.voxel_count, large.volume_cm3) == (1, 72, pytest.approx(0.144))
    assert large.centroid_ras == pytest.approx((12.5, 9.5, 14))
    assert large.slice_index == 6
    assert large.longest.length_mm == pytest.approx(np.hypot(6, 3))
    # 4, 5 and 6 empty voxels lie between them, of 2, 1 and 1 mm.
    assert large.nearest_structure == "organ"
    assert large.nearest_mm == pytest.approx(np.linalg.norm([8, 5, 6]))
    assert (small.number, small.voxel_count, small.slice_index) == (2, 2, 5)
    assert (small.longest.length_mm, small.perpendicular.length_mm) == pytest.approx((2, 1))


def test_parts_below_the_smallest_volume_are_counted_apart() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[1, 1, 1] = mask[4, 4, 4] = True
    mask[7:9, 7:9, 7:9] = True
    found = measure(image(), structures([mask]), MeasureOptions(smallest_mm3=3)).structures[0]
    assert (found.part_count, found.small_count, len(found.lesions)) == (3, 2, 1)
    assert found.small_volume_cm3 == pytest.approx(2 * 0.8 * 0.9 * 2 / 1000)
    assert found.lesions[0].nearest_structure == ""
    assert found.lesions[0].nearest_mm is None


@pytest.mark.parametrize(("connectivity", "parts"), [(6, 3), (18, 2), (26, 1)])
def test_connectivity_is_faces_edges_or_corners(connectivity: int, parts: int) -> None:
    mask = np.zeros(SHAPE, bool)
    mask[2, 2, 2] = mask[2, 3, 3] = mask[3, 4, 4] = True
    options = MeasureOptions(connectivity=connectivity, smallest_mm3=0)
    assert measure(image(), structures([mask]), options).structures[0].part_count == parts


def test_an_empty_structure_is_a_row_of_zeros() -> None:
    empty = measure(image(), structures([blobs()[0], np.zeros(SHAPE, bool)])).structures[1]
    assert (empty.voxel_count, empty.volume_cm3, empty.surface_area_mm2, empty.part_count) == (0, 0, 0, 0)
    assert (empty.centroid_ras, empty.intensity, empty.lesions) == (None, None, ())
    assert not empty.touches_border


def test_an_empty_structure_is_near_nothing() -> None:
    found = measure(image(), structures([blobs()[0], np.zeros(SHAPE, bool)]), EVERY)
    assert {lesion.nearest_structure for lesion in found.structures[0].lesions} == {""}


def test_values_that_are_no_numbers_come_with_a_note() -> None:
    volume = image()
    volume.array[5, 5, 5] = np.nan
    masks = [np.zeros(SHAPE, bool), blobs()[1]]
    masks[0][5, 5, 4:7] = True
    found = measure(volume, structures(masks))
    assert len(found.notes) == 1
    assert found.notes[0].startswith("organ: 1 of its 3 voxels are NaN or infinite")
    assert found.structures[0].intensity is not None
    assert found.structures[0].intensity.mean == pytest.approx(volume.array[5, 5, [4, 6]].mean())


def test_lesions_of_a_structure_that_is_not_there_are_refused() -> None:
    with pytest.raises(InputError, match=r"no structure 'metastases'.*it has lesions, organ"):
        measure(image(), structures(blobs()), MeasureOptions(("metastases",)))


def test_a_mask_outside_the_grid_is_an_error() -> None:
    one = StructureMask(Structure("it", 1, (1.0, 0.0, 0.0)), (8, 0, 0), np.ones((3, 2, 2), bool))
    with pytest.raises(ValueError, match="outside the grid"):
        measure(image(), [one])


def test_progress_rises_to_one_and_can_stop_the_work() -> None:
    shares: list[float] = []
    measure(image(), structures(blobs()), EVERY, lambda share, _: shares.append(share))
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)

    def stop(share: float, what: str) -> None:
        raise Cancelled("Cancelled: nothing was written.")

    with pytest.raises(Cancelled):
        measure(image(), structures(blobs()), EVERY, stop)


def test_cropped_and_whole_masks_are_the_same() -> None:
    whole = structures(blobs())
    cropped = [replace(one, offset=(1, 2, 2), mask=one.mask[1:, 2:, 2:]) for one in whole]
    assert measure(image(), cropped, EVERY) == measure(image(), whole, EVERY)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), smallest=st.floats(0, 30), connectivity=st.sampled_from([6, 18, 26]))
def test_the_volume_is_the_sum_of_its_parts(seed: int, smallest: float, connectivity: int) -> None:
    options = MeasureOptions(connectivity=connectivity, smallest_mm3=smallest)
    for one in measure(image(), structures(blobs(seed)), options).structures:
        parts = sum(lesion.volume_cm3 for lesion in one.lesions) + one.small_volume_cm3
        assert parts == pytest.approx(one.volume_cm3)
        assert one.part_count == len(one.lesions) + one.small_count
        assert [lesion.number for lesion in one.lesions] == list(range(1, len(one.lesions) + 1))
        volumes = [lesion.volume_cm3 for lesion in one.lesions]
        assert volumes == sorted(volumes, reverse=True)


def stored_otherwise(
    volume: Volume, masks: list[np.ndarray], order, flips
) -> tuple[Volume, list[np.ndarray]]:
    """The same voxels with axes permuted, then flipped, as an array and as a grid."""
    flip = tuple(slice(None, None, -1 if one else 1) for one in flips)
    first = [volume.geometry.shape[axis] - 1 if one else 0 for axis, one in zip(order, flips, strict=True)]
    start = [0.0, 0.0, 0.0]
    affine = volume.geometry.affine.copy()
    for target, axis in enumerate(order):
        step = volume.geometry.affine[:3, 2 - axis]
        affine[:3, 2 - target] = -step if flips[target] else step
        start[axis] = first[target]
    affine[:3, 3] = volume.geometry.index_to_world(np.array([start]))[0]
    array, *rest = (np.transpose(one, order)[flip] for one in (volume.array, *masks))
    return Volume(array, Geometry(array.shape, affine)), rest


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    order=st.permutations(range(3)),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_storing_the_grid_otherwise_changes_no_number(seed: int, order, flips) -> None:
    volume, masks = image(), blobs(seed)
    other, stored = stored_otherwise(volume, masks, order, flips)
    one, two = measure(volume, structures(masks), EVERY), measure(other, structures(stored), EVERY)
    axis = list(order).index(0)
    for a, b in zip(one.structures, two.structures, strict=True):
        assert numbers(a) == pytest.approx(numbers(b))
        assert a.intensity == b.intensity
        assert a.centroid_ras == pytest.approx(b.centroid_ras)
        for first, second in zip(a.lesions, b.lesions, strict=True):
            there = SHAPE[0] - 1 - second.slice_index if flips[axis] else second.slice_index
            assert first.slice_index == there
            np.testing.assert_allclose(first.longest.ends_ras, second.longest.ends_ras, atol=1e-6)
            np.testing.assert_allclose(first.perpendicular.ends_ras, second.perpendicular.ends_ras, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), place=st.tuples(*[st.floats(-2000, 2000)] * 3))
def test_moving_the_grid_moves_centres_and_nothing_else(seed: int, place) -> None:
    there = Geometry(SHAPE, GEOMETRY.affine + offset(*place))
    masks = structures(blobs(seed))
    one, two = measure(image(), masks, EVERY), measure(image(there), masks, EVERY)
    for a, b in zip(one.structures, two.structures, strict=True):
        assert numbers(a) == pytest.approx(numbers(b), rel=1e-6)
        assert np.subtract(b.centroid_ras, a.centroid_ras) == pytest.approx(np.array(place), abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 20))
def test_scaling_the_spacing_scales_lengths(seed: int, scale: float) -> None:
    masks = structures(blobs(seed))
    larger = moved(GEOMETRY, np.diag([scale, scale, scale, 1.0]))
    for a, b in zip(
        measure(image(), masks, EVERY).structures,
        measure(image(larger), masks, EVERY).structures,
        strict=True,
    ):
        assert numbers(a) == pytest.approx(numbers(b, scale), rel=1e-6)
