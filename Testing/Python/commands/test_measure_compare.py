"""`measure --compare`: what changed since an earlier image, and what is refused with nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from batch_stand_in import GRID, rows_of
from command_files import assert_refused, painting, write_array
from MedMetaSegLib import cli
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import read_image, write_labels

SHIFT_MM = 200.0
WHOLE = "whole structure"


@pytest.fixture
def earlier(folder: Path) -> Path:
    """Beside the present image the same a little smaller, 200 mm to the right, and how the two lie."""
    affine = GRID.affine.copy()
    affine[0, 3] += SHIFT_MM
    there = Geometry(GRID.shape, affine)
    array = np.random.default_rng(1).normal(40, 20, GRID.shape).astype(np.float32)
    write_array(folder / "before.nii.gz", array, there)
    labels = painting()
    labels[:, :, :5] = 0
    labels[labels == 7] = 9
    write_labels(folder / "before_painted.nii.gz", labels, there)
    write_labels(folder / "others.nii.gz", np.where(labels > 0, 5, 0).astype(np.uint8), there)
    sitk.WriteTransform(sitk.TranslationTransform(3, (-SHIFT_MM, 0, 0)), str(folder / "moved.tfm"))
    return folder


def compare(
    folder: Path, *more: str, image="before.nii.gz", segmentation="before_painted.nii.gz", out="out/t.csv"
) -> int:
    return cli.run(
        ["measure", str(folder / "ct.nii.gz"), str(folder / "painted.nii.gz"), "-o", str(folder / out)]
        + ["--compare", str(folder / image), str(folder / segmentation), *more]
    )


def test_what_changed_is_in_the_table_in_json_and_on_the_page(
    earlier: Path, capsys: pytest.CaptureFixture[str]
):
    more = "--json", "--page", str(earlier / "out/t.html"), "--transform", str(earlier / "moved.tfm")
    assert compare(earlier, *more) == 0
    rows = rows_of(earlier / "out/t_changes.csv")
    assert [row["status"] for row in rows if row["structure"] == "Label 3"] == [WHOLE, "matched", "matched"]
    assert [row["status"] for row in rows if row["structure"] == "Label 7"] == [WHOLE, "new", "new"]
    assert [row["status"] for row in rows if row["structure"] == "Label 9"] == [WHOLE, "gone", "gone"]
    assert float(rows[0]["volume_cm3_change_percent"]) == pytest.approx(50)
    content = json.loads((earlier / "out/t.json").read_text(encoding="utf-8"))["follow_up"]
    assert content["how"] == "given"
    assert (content["only_before"], content["only_now"]) == ([], [])
    assert "Of the earlier image: Label 7: not in the label map, and taken for not there." in content["notes"]
    assert content["transform"] == str(earlier / "moved.tfm")
    html = (earlier / "out/t.html").read_text(encoding="utf-8")
    assert "Compared with before.nii.gz" in html
    shown = capsys.readouterr().out
    assert "2 matched" in shown
    assert "Label 9: not in the label map, and taken for not there." in " ".join(shown.split())


def test_an_older_table_of_changes_does_not_seem_to_belong_to_the_new_one(earlier: Path):
    assert compare(earlier, "--transform", str(earlier / "moved.tfm")) == 0
    table = earlier / "out/t_changes.csv"
    assert rows_of(table)
    image, painted = earlier / "ct.nii.gz", earlier / "painted.nii.gz"
    assert cli.run(["measure", str(image), str(painted), "-o", str(earlier / "out/t.csv")]) == 0
    assert rows_of(table) == []


@pytest.mark.parametrize(("empty", "status"), [("painted.nii.gz", "gone"), ("before_painted.nii.gz", "new")])
def test_in_a_label_map_of_nothing_all_is_gone_or_not_there_yet(earlier: Path, empty: str, status: str):
    grid = read_image(earlier / empty).geometry
    write_labels(earlier / empty, np.zeros(grid.shape, np.uint8), grid)
    assert compare(earlier, "--transform", str(earlier / "moved.tfm")) == 0
    rows = rows_of(earlier / "out/t_changes.csv")
    assert len(rows) == 6
    assert {row["status"] for row in rows} == {"whole structure", status}


def test_two_label_maps_of_nothing_are_refused(earlier: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("painted.nii.gz", "before_painted.nii.gz"):
        grid = read_image(earlier / name).geometry
        write_labels(earlier / name, np.zeros(grid.shape, np.uint8), grid)
    assert_refused(earlier, capsys, lambda: compare(earlier), "Neither of the two segmentations")


def test_without_a_comparison_there_is_no_table_of_changes(folder: Path):
    paths = [str(folder / name) for name in ("ct.nii.gz", "painted.nii.gz")]
    assert cli.run(["measure", *paths, "-o", str(folder / "out/t.csv"), "--json"]) == 0
    assert not (folder / "out/t_changes.csv").exists()
    assert "follow_up" not in json.loads((folder / "out/t.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("names", "more", "says"),
    [
        ({"image": "none.nii.gz"}, [], "no earlier image"),
        ({"segmentation": "none.nii.gz"}, [], "no earlier segmentation"),
        (
            {"segmentation": "painted.nii.gz"},
            ["--transform", "none"],
            "Of --compare: The segmentation has as many voxels",
        ),
        ({}, ["--lesions", "Label 8"], "The segmentation has no structure 'Label 8'"),
        ({"segmentation": "others.nii.gz"}, ["--transform", "none"], "no structure in common"),
        ({}, ["--transform", "nowhere.tfm"], "no transform nowhere.tfm"),
        ({}, ["--transform", "none"], "do not overlap there"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_nothing_written(
    earlier: Path, capsys: pytest.CaptureFixture[str], names: dict[str, str], more: list[str], says: str
):
    assert_refused(earlier, capsys, lambda: compare(earlier, *more, **names), says)


def test_an_input_is_never_overwritten(earlier: Path, capsys: pytest.CaptureFixture[str]):
    (earlier / "moved_changes.csv").write_bytes((earlier / "moved.tfm").read_bytes())
    more = "--transform", str(earlier / "moved_changes.csv")
    assert_refused(
        earlier, capsys, lambda: compare(earlier, *more, out="moved.csv"), "is the transform itself"
    )


def test_a_transform_without_a_comparison_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]):
    paths = [str(folder / name) for name in ("ct.nii.gz", "painted.nii.gz")]
    arguments = ["measure", *paths, "-o", str(folder / "out/t.csv"), "--transform", "none"]
    assert_refused(folder, capsys, lambda: cli.run(arguments), "--transform goes with --compare only")
