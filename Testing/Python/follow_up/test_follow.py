"""What became of lesions, told from two segmentations whose images lie on one another."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from MedMetaSegLib.errors import Cancelled, InputError
from MedMetaSegLib.follow_up.alignment import Alignment
from MedMetaSegLib.follow_up.changes import Change, Fit, LesionChange, counted, not_compared
from MedMetaSegLib.follow_up.follow import TimePoint, follow_up, followed
from MedMetaSegLib.follow_up.page import section
from MedMetaSegLib.follow_up.table import COLUMNS, WHOLE, change_rows
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.measurements.measure import measure
from MedMetaSegLib.measurements.measurements import MeasureOptions
from MedMetaSegLib.support.structure import Structure, StructureMask

GRID = Geometry((16, 40, 60), np.diag([1.0, 1.0, 2.0, 1.0]))
Block = tuple[slice, slice, slice]


def block(k: int, j: int, i: int, size: tuple[int, int, int] = (2, 4, 4)) -> Block:
    """32 voxels of 2 mm3, or as many as a size has."""
    return tuple(slice(start, start + n) for start, n in zip((k, j, i), size, strict=True))  # type: ignore[return-value]


SMALL = (1, 2, 2)
"""8 mm3, below the smallest lesion."""


def time_point(
    *blocks: Block,
    name: str = "lesions",
    grid: Geometry = GRID,
    options: MeasureOptions | None = None,
    modality: str = "MR",
    more: tuple[str, ...] = (),
) -> TimePoint:
    """An image of noise with one structure of blocks, and more structures of one block each."""
    array = np.random.default_rng(0).normal(size=grid.shape).astype(np.float32)
    mask = np.zeros(grid.shape, bool)
    for one in blocks:
        mask[one] = True
    masks = [StructureMask(Structure(name, 1, (1, 0, 0)), (0, 0, 0), mask)]
    for number, other in enumerate(more, 2):
        other_mask = np.zeros(grid.shape, bool)
        other_mask[block(1, 1, 1)] = True
        masks.append(StructureMask(Structure(other, number, (0, 1, 0)), (0, 0, 0), other_mask))
    volume = Volume(array, grid, "image", modality=modality)
    return TimePoint(volume, masks, measure(volume, masks, options or MeasureOptions()))


def on_one_another(now: Geometry = GRID) -> Alignment:
    return Alignment(sitk.Transform(3, sitk.sitkIdentity), "none", Fit(0.9, 0.0, 1.0), now)


def lesions(now: TimePoint, before: TimePoint) -> list[LesionChange]:
    (structure,) = followed(now, before, on_one_another(now.volume.geometry)).structures
    return list(structure.lesions)


def stored_otherwise(time: TimePoint) -> TimePoint:
    """The same with its axes i and j stored the other way round, as DICOM has them."""
    grid = time.volume.geometry
    affine = grid.affine.copy()
    affine[:3, 3] = grid.index_to_world(np.array([[0, grid.shape[1] - 1, grid.shape[2] - 1]]))[0]
    affine[:3, :2] *= -1
    volume = replace(
        time.volume, array=time.volume.array[:, ::-1, ::-1].copy(), geometry=Geometry(grid.shape, affine)
    )
    masks = [replace(one, mask=one.mask[:, ::-1, ::-1].copy()) for one in time.masks]
    return TimePoint(volume, masks, measure(volume, masks, time.measurements.options))


@pytest.mark.parametrize("flipped", [(True, True), (True, False), (False, True)])
def test_lesions_of_one_size_keep_their_diameters_however_grids_are_stored(flipped: tuple[bool, bool]):
    time = time_point(block(3, 5, 5, (1, 4, 4)), block(3, 30, 40, (1, 1, 16)), block(3, 12, 20, (1, 2, 8)))
    times = [stored_otherwise(time) if one else time for one in flipped]
    changes = lesions(*times)
    assert [one.status for one in changes] == ["matched"] * 3
    for one in changes:
        assert one.size_now is not None
        assert one.size_before is not None
        assert one.size_now.longest_mm == pytest.approx(one.size_before.longest_mm)
        lesion = times[0].measurements.structures[0].lesions[one.now[0] - 1]
        assert one.centroid_ras == pytest.approx(lesion.centroid_ras)


def longest(time: TimePoint) -> list[float]:
    """The longest diameter of each lesion."""
    return [one.longest.length_mm for one in time.measurements.structures[0].lesions]


def test_a_lesion_that_grew_is_told_with_what_changed():
    now, before = time_point(block(4, 10, 10, (2, 4, 8))), time_point(block(4, 10, 10))
    (one,) = lesions(now, before)
    assert (one.status, one.before, one.now, one.found_by) == ("matched", (1,), (1,), "overlap")
    assert one.volume == Change(pytest.approx(0.064), pytest.approx(100))
    assert one.longest is not None
    assert one.longest.absolute == pytest.approx(longest(now)[0] - longest(before)[0])
    assert one.longest.percent == pytest.approx(100 * (longest(now)[0] / longest(before)[0] - 1))
    assert one.centroid_ras == pytest.approx((13.5, 11.5, 9.0))
    assert not one.touches_border


def test_new_and_gone():
    found = lesions(time_point(block(4, 10, 10)), time_point(block(4, 30, 40)))
    assert [(one.status, one.before, one.now) for one in found] == [("new", (), (1,)), ("gone", (1,), ())]
    assert [one.size_before is None for one in found] == [True, False]
    assert [one.volume for one in found] == [None, None]
    assert found[1].centroid_ras == pytest.approx((41.5, 31.5, 9.0))


def test_what_merged_or_split_has_the_volume_of_all_and_no_diameter():
    two = time_point(block(4, 10, 10), block(4, 10, 20))
    one = time_point(block(4, 10, 10, (2, 4, 14)))
    (merged,), (split,) = lesions(one, two), lesions(two, one)
    assert (merged.status, merged.before, merged.now) == ("merged", (1, 2), (1,))
    assert (split.status, split.before, split.now) == ("split", (1,), (1, 2))
    assert merged.size_before == split.size_now
    assert merged.size_before is not None
    assert merged.size_before.volume_cm3 == pytest.approx(2 * 0.064)
    assert (merged.size_before.longest_mm, merged.size_before.perpendicular_mm) == (None, None)


def test_what_merged_and_split_at_once_is_one_group():
    before = time_point(block(4, 10, 10, (2, 4, 8)), block(4, 10, 20, (2, 4, 12)))
    now = time_point(block(4, 10, 10, (2, 4, 14)), block(4, 10, 26, (2, 4, 8)))
    (one,) = lesions(now, before)
    assert (one.status, len(one.before), len(one.now)) == ("merged and split", 2, 2)


def test_what_lies_outside_the_other_view_is_not_new_and_not_gone():
    half = GRID.cropped((0, 0, 0), (16, 40, 30))
    everywhere = time_point(block(4, 10, 10, (2, 4, 8)), block(4, 10, 40))
    part = time_point(block(4, 10, 10, (2, 4, 8)), grid=half)
    assert [one.status for one in lesions(everywhere, part)] == ["matched", "not seen before"]
    assert [one.status for one in lesions(part, everywhere)] == ["matched", "not seen now"]


def test_what_was_too_small_to_be_counted_is_not_new():
    large, small = time_point(block(4, 10, 10)), time_point(block(4, 11, 11, SMALL))
    (grown,), (shrunk,) = lesions(large, small), lesions(small, large)
    assert (grown.status, grown.before, grown.now) == ("grown past the smallest", (), (1,))
    assert (shrunk.status, shrunk.before, shrunk.now) == ("shrunk below the smallest", (1,), ())
    assert grown.size_before is not None
    assert grown.size_before.volume_cm3 == pytest.approx(0.008)
    assert grown.longest is None
    assert grown.volume is not None
    assert grown.volume.percent == pytest.approx(700)


def test_no_lesion_at_one_time_or_at_both():
    nothing = time_point()
    assert [one.status for one in lesions(time_point(block(4, 10, 10)), nothing)] == ["new"]
    assert [one.status for one in lesions(nothing, time_point(block(4, 10, 10)))] == ["gone"]
    assert lesions(nothing, nothing) == []


def test_what_reaches_the_border_of_either_image_is_marked():
    (one,) = lesions(time_point(block(4, 10, 10)), time_point(block(4, 10, 0, (2, 4, 14))))
    assert one.touches_border


def test_only_structures_of_both_times_are_compared_and_the_others_named():
    now, before = time_point(more=("liver", "spleen")), time_point(more=("spleen", "kidney"))
    result = followed(now, before, on_one_another())
    assert [one.name for one in result.structures] == ["lesions", "spleen"]
    assert (result.only_now, result.only_before) == (("liver",), ("kidney",))
    assert len(not_compared(result)) == 2


def test_lesions_that_were_not_asked_for_are_not_listed():
    options = MeasureOptions(lesions=("spleen",))
    now, before = (time_point(block(4, 10, 10), options=options, more=("spleen",)) for _ in range(2))
    first, second = followed(now, before, on_one_another()).structures
    assert (first.lesions, first.volume) == ((), Change(0.0, 0.0))
    assert [one.status for one in second.lesions] == ["matched"]


def test_another_modality_is_noted():
    result = followed(time_point(), time_point(modality="CT"), on_one_another())
    assert any("The earlier image is CT, the present one MR" in note for note in result.notes)
    assert followed(time_point(), time_point(), on_one_another()).notes == ()


def test_what_only_one_image_shows_is_told_beside_the_change():
    """The same patient, of whom the earlier image shows less."""
    now = time_point(block(4, 10, 10), block(4, 10, 50))
    short = Geometry((16, 40, 52), GRID.affine)
    before = time_point(block(4, 10, 10), block(4, 10, 50, (2, 4, 2)), grid=short)
    (cut,) = followed(now, before, on_one_another()).notes
    assert cut.startswith("lesions: a lesion reaches the border of an image")
    before = time_point(block(4, 10, 10), grid=Geometry((16, 40, 40), GRID.affine))
    (unseen,) = followed(now, before, on_one_another()).notes
    assert unseen.startswith("lesions: a lesion lies outside the other image; the change of the whole")


def test_a_modality_that_one_header_does_not_name_is_not_made_up():
    """The values alone do not tell PET from MR."""
    for now, before in (("PT", ""), ("", "PT"), ("", "")):
        result = followed(time_point(modality=now), time_point(modality=before), on_one_another())
        assert result.notes == ()


def test_what_was_noted_of_the_earlier_measurements_is_told():
    before = time_point()
    before = replace(before, measurements=replace(before.measurements, notes=("The spacing is a guess.",)))
    result = followed(time_point(), before, on_one_another())
    assert result.notes == ("Of the earlier image: The spacing is a guess.",)


@pytest.mark.parametrize(
    ("before", "says"),
    [
        (time_point(name="spots"), "no structure in common .lesions now, spots before."),
        (time_point(more=("lesions",)), "'lesions' stands twice"),
        (time_point(options=MeasureOptions(connectivity=6)), "different options"),
    ],
)
def test_what_cannot_be_compared_is_refused(before: TimePoint, says: str):
    with pytest.raises(InputError, match=says):
        followed(time_point(), before, on_one_another())


def test_names_are_looked_at_before_the_images():
    """Which may take a minute."""
    flat = time_point(name="spots")
    flat = replace(flat, volume=replace(flat.volume, array=np.zeros(GRID.shape)))
    with pytest.raises(InputError, match="no structure in common"):
        follow_up(time_point(), flat)


def test_cancel_comes_through_progress():
    def progress(share: float, what: str) -> None:
        raise Cancelled("Cancelled: nothing was written.")

    with pytest.raises(Cancelled):
        follow_up(time_point(), time_point(), "none", progress)


def test_a_change_from_nothing_has_no_percent():
    assert Change.between(0.0, 2.0) == Change(2.0, None)
    assert Change.between(None, 2.0) is None
    assert Change.between(4.0, 3.0) == Change(-1.0, -25.0)


def many() -> tuple[TimePoint, TimePoint]:
    """Matched, new, gone and grown past the smallest; a name that is a formula and HTML."""
    name = "=<b>lesions"
    now = time_point(block(4, 10, 10, (2, 4, 8)), block(8, 30, 30), block(8, 30, 10, (2, 3, 4)), name=name)
    before = time_point(block(4, 10, 10), block(8, 31, 31, SMALL), block(12, 5, 50), name=name)
    return now, before


def test_the_table_has_a_row_for_the_structure_and_for_each_lesion():
    result = followed(*many(), on_one_another())
    rows = change_rows(result)
    assert all(set(row) <= set(COLUMNS) for row in rows)
    assert [row["status"] for row in rows] == [WHOLE, "matched", "grown past the smallest", "new", "gone"]
    assert {row["structure"] for row in rows} == {"'=<b>lesions"}
    assert (rows[0]["lesions_before"], rows[0]["lesions_now"]) == (2, 3)
    assert rows[1]["volume_cm3_change_percent"] == pytest.approx(100)
    assert rows[-1]["volume_cm3_now"] == ""
    assert "volume_cm3_change" not in rows[-1]


def test_everything_goes_into_json():
    result = followed(*many(), on_one_another())
    content = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert content["how"] == "none"
    assert content["fit"]["correlation"] == 0.9
    first = content["structures"][0]
    assert first["lesions"][0]["volume_change"]["percent"] == pytest.approx(100)
    assert first["volume_change"]["absolute"] == pytest.approx(result.structures[0].volume.absolute)


def test_the_section_says_what_was_compared_how_and_within_which_limits():
    result = followed(*many(), on_one_another())
    html = section(result, "2024 & <before>.nii.gz")
    assert "2024 &amp; &lt;before&gt;.nii.gz" in html
    assert "<b>lesions" not in html
    assert counted(result.structures[0].lesions) in html
    for words in ("No RECIST category is given", "30% of the smaller", "taken to lie on one another"):
        assert words in html
