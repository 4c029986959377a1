"""`measure`, and measuring after `segment`: what is refused, all files or none, the same figures."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from affines import moved, offset
from batch_stand_in import GRID, SHAPE, StandInSegmentation, put_in_place, rows_of
from command_files import assert_refused, files, not_finite, painting, run_segment, write_array
from disk_faults import failing
from MedMetaSegLib import cli
from MedMetaSegLib.imageio.volume import Geometry, Volume, read_image, write_labels
from MedMetaSegLib.support.structure import Structure, StructureMask
from MedMetaSegLib.support.support import Support, write_segmentation


def measure(
    folder: Path, *more: str, image="ct.nii.gz", segmentation="painted.nii.gz", out="out/t.csv"
) -> int:
    return cli.run(
        ["measure", str(folder / image), str(folder / segmentation), "-o", str(folder / out), *more]
    )


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "out").iterdir())


def write_segments(folder: Path, *names: str, found: bool = True) -> None:
    """painted.seg.nrrd with a block for each name; without `found` the last has no voxels."""
    blocks = [np.full((2, 3, 4), found or name != names[-1]) for name in names]
    masks = [
        StructureMask(Structure(name, number + 1, (1, 0, 0)), (1, 4 * number, 2), block)
        for number, (name, block) in enumerate(zip(names, blocks, strict=True))
    ]
    write_segmentation(folder / "painted.seg.nrrd", masks, GRID)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "more", "says"),
    [
        ({"image": "none.nii.gz"}, [], "no image"),
        ({"segmentation": "none.nii.gz"}, [], "no segmentation"),
        ({"out": "out/t.txt"}, [], "let it end in .csv"),
        ({"out": "nowhere/t.csv"}, [], "no folder"),
        ({}, ["--page", "p.htm"], "let it end in .html"),
        ({}, ["--page", "nowhere/p.html"], "no folder"),
        ({}, ["--connectivity", "8"], "6, 18 or 26"),
        ({}, ["--smallest-mm3", "-1"], "give 0 or more"),
        ({}, ["--lesions", "tumour"], "no structure 'tumour'"),
        ({}, ["--volume", "1"], "no frame 1"),
    ],
)
def test_bad_paths_and_choices_are_refused(folder: Path, capsys, names: dict, more: list[str], says: str):
    assert_refused(folder, capsys, lambda: measure(folder, *more, **names), says)


def elsewhere(folder: Path) -> None:
    write_labels(folder / "painted.nii.gz", painting(), moved(GRID, np.eye(4) + offset(900, 0, 0)))


def between_voxels(folder: Path) -> None:
    write_labels(folder / "painted.nii.gz", painting(), moved(GRID, np.eye(4) + offset(0.4, 0, 0)))


def fractions(folder: Path) -> None:
    write_array(folder / "painted.nii.gz", painting() * np.float32(0.5))


def no_image(folder: Path) -> None:
    (folder / "ct.nii.gz").write_text("no image")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (elsewhere, "reaches outside the image"),
        (between_voxels, "by a part of a voxel"),
        (fractions, "whole numbers"),
        (no_image, "not an image"),
    ],
)
def test_files_that_cannot_be_measured_are_refused(
    folder: Path, capsys, make: Callable[[Path], None], says: str
):
    make(folder)
    assert_refused(folder, capsys, lambda: measure(folder, "--json"), says)


def test_voxels_that_are_no_numbers_need_a_word(folder: Path, capsys):
    not_finite(folder)
    assert_refused(folder, capsys, lambda: measure(folder, image="ct.nrrd"), "--allow-nonfinite")
    assert measure(folder, "--allow-nonfinite", image="ct.nrrd") == 0


def test_two_structures_of_one_name_are_refused(folder: Path, capsys):
    write_segments(folder, "liver", "liver")
    assert_refused(
        folder, capsys, lambda: measure(folder, segmentation="painted.seg.nrrd"), "are called liver; rename"
    )


def test_the_inputs_are_never_overwritten(folder: Path, capsys):
    (folder / "out" / "t_lesions.csv").symlink_to(folder / "painted.nii.gz")
    assert_refused(folder, capsys, lambda: measure(folder), "the segmentation itself")


# --- what is written ------------------------------------------------------------------------------


def test_tables_json_and_page_say_the_same(folder: Path, capsys):
    assert measure(folder, "--json", "--page", str(folder / "out" / "p.html"), "--smallest-mm3", "0") == 0
    assert written(folder) == ["p.html", "t.csv", "t.json", "t_lesions.csv"]
    rows, lesions = rows_of(folder / "out/t.csv"), rows_of(folder / "out/t_lesions.csv")
    told = json.loads((folder / "out/t.json").read_text(encoding="utf-8"))
    assert [row["voxel_count"] for row in rows] == ["96", "84"]
    assert [one["voxel_count"] for one in told["structures"]] == [96, 84]
    image = read_image(folder / "ct.nii.gz").array
    assert float(rows[0]["mean"]) == pytest.approx(image[painting() == 3].mean(), rel=1e-6)
    assert told["structures"][0]["intensity"]["stdev"] == pytest.approx(image[painting() == 3].std(ddof=1))
    assert [(row["structure"], row["lesion"]) for row in lesions] == [
        ("Label 3", "1"),
        ("Label 3", "2"),
        ("Label 7", "1"),
        ("Label 7", "2"),
    ]
    assert told["image"].endswith("ct.nii.gz")
    assert told["options"] == {"lesions": [], "connectivity": 26, "smallest_mm3": 0.0}
    shown = capsys.readouterr()
    assert "Label 7" in shown.out
    assert "26 neighbours" in shown.out
    assert "t_lesions.csv" in shown.out.replace("\n", "")
    assert shown.err == ""


def test_an_empty_structure_has_a_row_with_the_reason(folder: Path):
    write_segments(folder, "liver", "spleen", found=False)
    assert measure(folder, segmentation="painted.seg.nrrd") == 0
    _, spleen = rows_of(folder / "out/t.csv")
    assert (spleen["structure"], spleen["voxel_count"], spleen["reason"]) == (
        "spleen",
        "0",
        "it has no voxels",
    )


def test_a_terminal_that_cannot_show_a_name_ends_nothing(folder: Path):
    command = [sys.executable, "-m", "MedMetaSegLib.cli", "measure", folder / "ct.nii.gz"]
    done = subprocess.run(
        [*command, folder / "painted.nii.gz", "-o", folder / "out" / "Łukasz.csv"],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"\\u0141ukasz.csv" in done.stdout
    assert rows_of(folder / "out" / "Łukasz.csv")


def test_voxels_that_were_no_numbers_are_told(folder: Path):
    not_finite(folder)
    write_array(folder / "ct.nii.gz", read_image(folder / "ct.nrrd").array)
    assert measure(folder, "--allow-nonfinite", "--json") == 0
    (note,) = json.loads((folder / "out/t.json").read_text(encoding="utf-8"))["notes"]
    assert "NaN or infinite" in note


def test_a_label_map_of_another_size_is_told(folder: Path):
    """It may be of another patient: nothing else tells them apart."""
    write_labels(
        folder / "painted.nii.gz", painting()[:-1], Geometry((SHAPE[0] - 1, *SHAPE[1:]), GRID.affine)
    )
    assert measure(folder, "--json") == 0
    (note,) = json.loads((folder / "out/t.json").read_text(encoding="utf-8"))["notes"]
    assert "20 x 24 x 9 voxels, and the image 20 x 24 x 10" in note


def test_a_segmentation_of_nothing_is_refused(folder: Path, capsys):
    write_labels(folder / "painted.nii.gz", np.zeros(SHAPE, np.uint8), GRID)
    assert_refused(folder, capsys, lambda: measure(folder), "there is nothing to measure")


def test_lesions_are_told_of_the_structures_that_are_named_alone(folder: Path):
    assert measure(folder, "--lesions", "Label 7", "--connectivity", "6") == 0
    assert {row["structure"] for row in rows_of(folder / "out/t_lesions.csv")} == {"Label 7"}
    three, seven = rows_of(folder / "out/t.csv")
    assert (three["lesion_count"], seven["lesion_count"], seven["connectivity"]) == ("", "2", "6")


def test_without_lesions_there_is_no_table_of_them(folder: Path):
    assert measure(folder, "--smallest-mm3", "100000") == 0
    assert written(folder) == ["t.csv"]


def test_a_disk_that_refuses_at_any_step_leaves_all_files_or_none(folder: Path):
    steps, done = 0, False
    while not done:
        for path in (folder / "out").iterdir():
            path.unlink()
        with failing(steps, errno.ENOSPC) as faults:
            status = measure(folder, "--json")
        done = not faults.failed
        # A failed fsync of the folder, after all are in place, is let pass.
        assert (status, written(folder)) in [(2, []), (0, ["t.csv", "t.json", "t_lesions.csv"])]
        steps += 1
    assert steps > 6


# --- after segment --------------------------------------------------------------------------------


class StandInSegmenter:
    """Every structure becomes its painted slices."""

    def load(self, device: str = "auto") -> StandInSegmenter:
        return self

    def segment(self, volume: Volume, support: Support, **rest: object) -> StandInSegmentation:
        there = support.on(volume.geometry)
        found = tuple(StructureMask(one.structure, one.offset, one.mask) for one in there.structures)
        report = {"structures": [], "seconds": {}, "skipped": [], "notes": []}
        return StandInSegmentation(volume.geometry, found, there.labels(), report)


@pytest.fixture
def segmenter(monkeypatch: pytest.MonkeyPatch) -> StandInSegmenter:
    stand_in = StandInSegmenter()
    put_in_place(stand_in, monkeypatch)
    return stand_in


@pytest.mark.parametrize("result", ["seg.nii.gz", "seg.seg.nrrd"])
def test_measuring_after_segmenting_writes_what_measure_writes(folder: Path, segmenter, result: str):
    options = ["--lesions", "Label 7", "--connectivity", "18", "--smallest-mm3", "5"]
    table = ["--measure", str(folder / "out" / "s.csv")]
    assert run_segment(folder, *table, *options, out=f"out/{result}") == 0
    assert measure(folder, *options, segmentation=f"out/{result}") == 0
    for one in ("", "_lesions"):
        told = (folder / "out" / f"s{one}.csv").read_bytes()
        assert told == (folder / "out" / f"t{one}.csv").read_bytes()
        assert b"Label 7" in told


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--measure", "t.txt"], "let it end in .csv"),
        (["--measure", "nowhere/t.csv"], "no folder"),
        (["--lesions", "Label 7"], "go with --measure only"),
        (["--measure", "t.csv", "--lesions", "liver"], "no structure 'liver'"),
        (["--measure", "t.csv", "--lesions", "Label 7", "--structure", "Label 3"], "--structure leaves out"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_segmenting(
    folder: Path, segmenter, capsys, more: list[str], says: str
):
    more = [str(folder / one) if one.startswith("t.") else one for one in more]
    assert_refused(folder, capsys, lambda: run_segment(folder, *more), says)


def test_every_frame_has_tables_of_its_own(folder: Path, segmenter):
    film = np.random.default_rng(4).normal(40, 20, (2, *SHAPE)).astype(np.float32)
    nibabel.Nifti1Image(film.T, GRID.affine).to_filename(folder / "film.nii.gz")
    table = ["--measure", str(folder / "out" / "s.csv")]
    assert run_segment(folder, *table, "--volume", "all", image="film.nii.gz") == 0
    assert [name for name in written(folder) if name.endswith(".csv")] == [
        "s_frame0.csv",
        "s_frame0_lesions.csv",
        "s_frame1.csv",
        "s_frame1_lesions.csv",
    ]
    for frame in (0, 1):
        mean = rows_of(folder / "out" / f"s_frame{frame}.csv")[0]["mean"]
        assert float(mean) == pytest.approx(film[frame][painting() == 3].mean(), rel=1e-5)


def test_nothing_is_written_when_measuring_ends_the_command(folder: Path, segmenter, monkeypatch):
    from MedMetaSegLib.errors import Cancelled
    from MedMetaSegLib.measurements import measure as measuring

    def cancelled(*arguments: object) -> None:
        raise Cancelled("Cancelled.")

    monkeypatch.setattr(measuring, "measure", cancelled)
    before = files(folder)
    assert run_segment(folder, "--measure", str(folder / "out" / "s.csv")) == 130
    assert files(folder) == before
