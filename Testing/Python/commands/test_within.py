"""`--within` of segment and apply, and the column of lists: what is passed on, refused and made anew.

With stand-ins for the network, which keep what they are asked.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batch_stand_in import GRID, SHAPE, StandInSegmenter, rows_of
from command_files import assert_refused, run_segment, write_array, write_overlapping
from MedMetaSegLib import cli
from MedMetaSegLib.imageio.volume import Geometry, write_labels
from MedMetaSegLib.support.search_region import SearchRegion
from task_phantom import make_task

REGION = np.zeros(SHAPE, np.uint8)
REGION[1:8, 2:20, 4:15] = 1
REGION[3:5, 5:9, 6:9] = 4


@pytest.fixture
def asked(segmenter: StandInSegmenter, monkeypatch: pytest.MonkeyPatch) -> list[SearchRegion | None]:
    """The regions that a segmenter was asked to segment, learn and apply within."""
    regions: list[SearchRegion | None] = []
    for name in ("segment", "learn", "apply"):
        monkeypatch.setattr(segmenter, name, noted(getattr(segmenter, name), regions))
    return regions


def noted(method, regions):
    def call(*arguments, within=None, **options):
        regions.append(within)
        return method(*arguments, **options)

    return call


@pytest.fixture
def folder(folder: Path) -> Path:
    """Beside ct.nii.gz and painted.nii.gz: region.nii.gz, two.nii.gz and the task t.medmetaseg."""
    write_labels(folder / "region.nii.gz", REGION, GRID)
    write_array(folder / "two.nii.gz", np.random.default_rng(2).normal(40, 20, SHAPE).astype(np.float32))
    make_task().write(folder / "t.medmetaseg")
    return folder


def whole(region: SearchRegion | None) -> np.ndarray:
    assert region is not None
    return region.on_block([slice(0, size) for size in SHAPE])


def apply(folder: Path, *arguments: str) -> int:
    """Words with a dot are files of the folder."""
    words = ["apply", "t.medmetaseg", *arguments, "-o", "results"]
    return cli.run([str(folder / one) if "." in one or one == "results" else one for one in words])


# --- segment --------------------------------------------------------------------------------------


def test_segment_looks_where_any_label_of_the_mask_is(folder: Path, asked: list):
    assert run_segment(folder, "--within", str(folder / "region.nii.gz")) == 0
    (region,) = asked
    np.testing.assert_array_equal(whole(region), REGION > 0)
    assert region.source == str(folder / "region.nii.gz")
    assert region.notes == ("The region is its 2 structures together.",)


def test_without_a_region_segment_looks_everywhere(folder: Path, asked: list):
    assert run_segment(folder) == 0
    assert asked == [None]


def test_the_segments_of_a_segmentation_are_a_region_together(folder: Path, asked: list):
    write_overlapping(folder)
    assert run_segment(folder, "--within", str(folder / "painted.seg.nrrd")) == 0
    expected = np.zeros(SHAPE, bool)
    expected[4, 2:10, 2:10] = expected[4, 6:14, 6:14] = True
    np.testing.assert_array_equal(whole(asked[0]), expected)


def test_a_task_that_is_saved_is_learned_within_the_region(folder: Path, asked: list):
    more = ("--within", str(folder / "region.nii.gz"), "--save-task", str(folder / "new.medmetaseg"))
    assert run_segment(folder, *more) == 0
    assert [one.digest for one in asked] == [asked[0].digest] * 2


@pytest.mark.parametrize(
    ("array", "geometry", "says"),
    [
        (REGION * 0, GRID, "The region is empty"),
        (REGION * np.float32(0.4), GRID, "The region has values that are not whole numbers"),
        (REGION, Geometry(SHAPE, np.diag([1, 1, 1, 1.0])), "lies outside the image"),
    ],
)
def test_what_is_no_region_is_refused(folder: Path, asked: list, capsys, array, geometry, says: str):
    write_array(folder / "other.nrrd", array, geometry)
    within = ("--within", str(folder / "other.nrrd"))
    assert_refused(folder, capsys, lambda: run_segment(folder, *within), says)
    assert asked == []


def test_a_region_that_is_not_there_or_would_be_overwritten_is_refused(folder: Path, asked: list, capsys):
    absent = ("--within", str(folder / "none.nii.gz"))
    assert_refused(folder, capsys, lambda: run_segment(folder, *absent), "There is no region")
    same = ("--within", str(folder / "region.nii.gz"))
    run = lambda: run_segment(folder, *same, out="region.nii.gz")  # noqa: E731
    assert_refused(folder, capsys, run, "is the region itself")
    assert asked == []


# --- apply ----------------------------------------------------------------------------------------


def test_apply_keeps_to_the_region_of_its_one_image(folder: Path, asked: list):
    assert apply(folder, "ct.nii.gz", "--within", "region.nii.gz") == 0
    np.testing.assert_array_equal(whole(asked[0]), REGION > 0)


def test_one_region_for_several_images_is_refused(folder: Path, asked: list, capsys):
    run = lambda: apply(folder, "ct.nii.gz", "two.nii.gz", "--within", "region.nii.gz")  # noqa: E731
    assert_refused(folder, capsys, run, "a CSV file with a column within")
    absent = lambda: apply(folder, "ct.nii.gz", "--within", "none.nii.gz")  # noqa: E731
    assert_refused(folder, capsys, absent, "There is no region")
    assert asked == []


def test_a_list_gives_each_image_its_region(folder: Path, asked: list):
    (folder / "list.csv").write_text("image,within\nct.nii.gz,region.nii.gz\ntwo.nii.gz,\n", encoding="utf-8")
    assert apply(folder, "list.csv") == 0
    assert sorted(one is None for one in asked) == [False, True]
    np.testing.assert_array_equal(whole(next(one for one in asked if one)), REGION > 0)


def test_of_a_region_that_cannot_be_used_the_image_fails_alone(folder: Path, asked: list, capsys):
    write_labels(folder / "empty.nii.gz", REGION * 0, GRID)
    (folder / "list.csv").write_text(
        "image,name,within\nct.nii.gz,a,none.nii.gz\nct.nii.gz,b,empty.nii.gz\nct.nii.gz,c,region.nii.gz\n",
        encoding="utf-8",
    )
    assert apply(folder, "list.csv", "--report", "r.csv") == 3
    reasons = [row["reason"] for row in rows_of(folder / "r.csv") if row["reason"]]
    assert "There is no region none.nii.gz; check the path." in reasons
    assert any(one.startswith("empty.nii.gz: The region is empty") for one in reasons)
    assert len(asked) == 1


def test_one_image_with_two_regions_needs_two_names(folder: Path, asked: list, capsys):
    (folder / "list.csv").write_text(
        "image,within\nct.nii.gz,region.nii.gz\nct.nii.gz,painted.nii.gz\n", encoding="utf-8"
    )
    assert_refused(folder, capsys, lambda: apply(folder, "list.csv"), "with different regions")
    assert asked == []


def test_results_within_another_region_are_made_anew(folder: Path, asked: list):
    call = ("ct.nii.gz", "--within", "region.nii.gz", "--resume")
    assert apply(folder, *call) == 0
    assert apply(folder, *call) == 0
    assert len(asked) == 1
    write_labels(folder / "region.nii.gz", np.roll(REGION, 1, 2), GRID)
    assert apply(folder, *call) == 0
    assert len(asked) == 2
    assert apply(folder, "ct.nii.gz", "--resume") == 0
    assert asked[2] is None
