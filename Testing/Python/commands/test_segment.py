"""`medmetaseg segment`: what is done, with a stand-in for the network; files put in place together or not."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from batch_stand_in import GRID, StandInSegmentation, expected, put_in_place, rows_of
from command_files import (
    assert_refused,
    files,
    not_finite,
    painting,
    run_segment,
    write_overlapping,
)
from disk_faults import failing
from MedMetaSegLib.commands import segment as segment_command
from MedMetaSegLib.errors import Cancelled
from MedMetaSegLib.imageio.volume import Geometry, Volume, read_image, write_labels
from MedMetaSegLib.support.structure import StructureMask
from MedMetaSegLib.support.support import Support


class StandInSegmenter:
    """Every structure becomes its painted slices, and what the command passed on is kept."""

    def __init__(self) -> None:
        self.asked: dict = {}
        self.volumes: list[Volume] = []
        self.during: Callable[[], None] = lambda: None
        self.expected: dict[str, dict] = {}

    def load(self, device: str = "auto") -> StandInSegmenter:
        self.asked["device"] = device
        return self

    def segment(self, volume: Volume, support: Support, *, progress, **rest) -> StandInSegmentation:
        self.asked |= rest
        self.volumes.append(volume)
        progress(0.5, "Half way")
        self.during()
        moved = support.on(volume.geometry)
        found = tuple(StructureMask(one.structure, one.offset, one.mask) for one in moved.structures)
        rows = [
            {
                "name": one.structure.name,
                "label": one.structure.label,
                "plane": "axial",
                "voxels": int(one.mask.sum()),
                "millilitres": float(one.mask.sum()) * volume.geometry.voxel_ml,
                **self.expected.get(one.structure.name, {}),
            }
            for one in found
        ]
        report = {"structures": rows, "seconds": {"network": 0.25}, "skipped": [], "notes": ["A note."]}
        return StandInSegmentation(volume.geometry, found, moved.labels(), report)


@pytest.fixture
def segmenter(monkeypatch: pytest.MonkeyPatch) -> StandInSegmenter:
    stand_in = StandInSegmenter()
    put_in_place(stand_in, monkeypatch)
    return stand_in


def test_a_structure_that_lies_outside_the_image_has_a_row_of_zeros(folder: Path, segmenter):
    """Label 7 is painted beyond the image, on a grid that reaches farther."""
    labels = np.concatenate([painting(), np.zeros_like(painting())])
    labels[labels == 7] = 0
    labels[[10, 12], 14:20, 10:17] = 7
    write_labels(folder / "painted.nii.gz", labels, Geometry(labels.shape, GRID.affine))
    assert run_segment(folder, "--measure", str(folder / "out/t.csv"), "--lesions", "Label 7") == 0
    three, seven = rows_of(folder / "out/t.csv")
    assert (three["structure"], three["reason"]) == ("Label 3", "")
    assert (seven["structure"], seven["voxel_count"], seven["reason"]) == ("Label 7", "0", "it has no voxels")


def test_with_a_stand_in_segmenter_a_label_map_has_the_images_grid_and_the_supports_values(
    folder: Path, segmenter, capsys
):
    assert run_segment(folder) == 0
    written = read_image(folder / "out/seg.nii.gz")
    assert written.geometry.same_grid(GRID)
    assert np.array_equal(written.array, painting())
    assert [path.name for path in (folder / "out").iterdir()] == ["seg.nii.gz"]
    shown = capsys.readouterr()
    assert "Label 3" in shown.out
    assert "A note." in shown.out
    assert shown.err == ""


def test_with_a_stand_in_segmenter_the_report_tells_structures_volume_and_time(folder: Path, segmenter):
    assert run_segment(folder, "--report", str(folder / "out/r.json")) == 0
    report = json.loads((folder / "out/r.json").read_text(encoding="utf-8"))
    assert [(one["label"], one["voxels"]) for one in report["structures"]] == [(3, 96), (7, 84)]
    assert report["structures"][0]["millilitres"] == pytest.approx(96 * 0.9 * 0.8 * 2.5 / 1000)
    assert list(report["seconds"]) == ["read", "network", "write"]
    assert all(seconds >= 0 for seconds in report["seconds"].values())
    assert report["image"].endswith("ct.nii.gz")


def test_with_a_stand_in_segmenter_a_segmentation_keeps_names_colours_and_overlap(folder: Path, segmenter):
    write_overlapping(folder)
    assert run_segment(folder, support="painted.seg.nrrd", out="out/seg.seg.nrrd") == 0
    written = Support.read(folder / "out/seg.seg.nrrd")
    assert [one.structure.name for one in written.structures] == ["liver", "lesion"]
    assert written.structures[0].structure.color == pytest.approx((1, 0, 0))
    assert [one.voxels for one in written.structures] == [64, 64]
    assert written.overlapping


def test_with_a_stand_in_segmenter_choices_reach_the_segmenter(folder: Path, segmenter):
    assert run_segment(folder, "--device", "cpu", "--keep-islands", "--structure", "Label 7") == 0
    assert segmenter.asked["device"] == "cpu"
    assert segmenter.asked["remove_islands"] is False
    assert segmenter.asked["structures"] == ("Label 7",)
    assert segmenter.asked["confidence"] is True
    assert run_segment(folder, "--no-confidence") == 0
    assert segmenter.asked["confidence"] is False


def test_with_a_stand_in_segmenter_the_dice_to_expect_and_the_slice_to_paint_next_are_shown(
    folder: Path, segmenter, capsys
):
    worse = {**expected(1.0, 0.6), "doubtful": True}
    worse["next_slice"] = {**worse["next_slice"], "index": 8}
    segmenter.expected = {"Label 3": expected(1.0, 0.91), "Label 7": worse}
    assert run_segment(folder) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "0.91 (0.81-0.96) │" in shown
    assert "0.60 (0.50-0.65), doubtful" in shown
    assert "To paint next: axial slice 8 (counted from 0) of Label 7; it is the widest gap." in shown


def test_with_a_stand_in_segmenter_a_structure_of_which_nothing_was_found_is_the_worst(
    folder: Path, segmenter, capsys
):
    nothing = {**expected(1.0), "doubtful": True, "next_slice": expected(1.0, 0.9)["next_slice"]}
    segmenter.expected = {"Label 3": nothing, "Label 7": expected(1.0, 0.4)}
    assert run_segment(folder) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "│ doubtful │" in shown
    assert "of Label 3" in shown


def test_with_a_stand_in_segmenter_without_confidence_none_is_shown(folder: Path, segmenter, capsys):
    assert run_segment(folder) == 0
    shown = capsys.readouterr().out
    assert "Dice" not in shown
    assert "To paint next" not in shown


def test_with_a_stand_in_segmenter_nan_voxels_are_read_when_allowed(folder: Path, segmenter):
    not_finite(folder)
    assert run_segment(folder, "--allow-nonfinite", image="ct.nrrd") == 0
    assert (folder / "out/seg.nii.gz").exists()


@pytest.mark.parametrize("how", [KeyboardInterrupt, Cancelled])
def test_with_a_stand_in_segmenter_cancelling_writes_nothing(
    folder: Path, segmenter, capsys, how: type[BaseException]
):
    def interrupt() -> None:
        raise how

    segmenter.during = interrupt
    before = files(folder)
    assert run_segment(folder) == 130
    assert files(folder) == before
    assert capsys.readouterr().err.strip() == "medmetaseg: cancelled; nothing was written."


def test_with_a_stand_in_segmenter_a_result_without_its_report_is_not_written(
    folder: Path, segmenter, capsys, monkeypatch: pytest.MonkeyPatch
):
    def disk_full(path: Path, content: dict) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(segment_command, "_write_json", disk_full)
    (folder / "out/seg.nii.gz").write_bytes(b"yesterday's")
    run = lambda: run_segment(folder, "--report", str(folder / "out/r.json"))  # noqa: E731
    assert_refused(folder, capsys, run, "No space left")


# --- uncertainty ----------------------------------------------------------------------------------


def test_with_a_stand_in_segmenter_a_map_of_each_structure_is_written_and_summed_up(folder: Path, segmenter):
    maps, report = folder / "out/maps", folder / "out/r.json"
    assert run_segment(folder, "--uncertainty", str(maps), "--report", str(report)) == 0
    assert sorted(path.name for path in maps.iterdir()) == ["Label 3.nii.gz", "Label 7.nii.gz"]
    written = read_image(maps / "Label 7.nii.gz")
    assert written.geometry.same_grid(GRID)
    np.testing.assert_array_equal(written.array, 255 * (painting() == 7))
    entry = json.loads(report.read_text(encoding="utf-8"))["structures"][1]
    errors = entry["uncertainty"]
    assert (errors["plane"], errors["first"], len(errors["expected_error_ml"])) == ("axial", 3, 5)
    assert sum(errors["expected_error_ml"]) == pytest.approx(entry["millilitres"] / 2, abs=1e-3)
    assert run_segment(folder, "--report", str(report)) == 0
    assert "uncertainty" not in json.loads(report.read_text(encoding="utf-8"))["structures"][1]


def test_with_a_stand_in_segmenter_maps_beside_a_segmentation_are_nrrd_under_names_that_files_can_have(
    folder: Path, segmenter
):
    write_overlapping(folder, "liver/1", "LIVER?1")
    options = {"support": "painted.seg.nrrd", "out": "out/seg.seg.nrrd"}
    assert run_segment(folder, "--uncertainty", str(folder / "maps"), **options) == 0
    assert sorted(path.name for path in (folder / "maps").iterdir()) == ["LIVER_1_2.nrrd", "liver_1.nrrd"]
    for path in (folder / "maps").iterdir():
        assert read_image(path).geometry.same_grid(GRID)


def test_with_a_stand_in_segmenter_every_frame_has_maps(folder: Path, segmenter, sequence):
    options = ("--volume", "all", "--uncertainty", str(folder / "maps"))
    assert run_segment(folder, *options, image="film.nii.gz") == 0
    names = [f"Label {label}_frame{frame}.nii.gz" for label in (3, 7) for frame in (0, 1)]
    assert sorted(path.name for path in (folder / "maps").iterdir()) == names


@pytest.mark.parametrize(
    ("maps", "out", "says"),
    [
        ("nowhere/maps", "out/seg.nii.gz", "there is no folder"),
        ("ct.nii.gz", "out/seg.nii.gz", "is a file; give a folder"),
        ("out", "out/Label 3.nii.gz", "is the result itself"),
        ("", "out/seg.nii.gz", "is the support itself"),
    ],
)
def test_maps_that_cannot_be_are_refused_with_nothing_written(
    folder: Path, segmenter, capsys, maps: str, out: str, says: str
):
    (folder / "painted.nii.gz").rename(folder / "Label 3.nii.gz")
    run = lambda: run_segment(  # noqa: E731
        folder, "--uncertainty", str(folder / maps), support="Label 3.nii.gz", out=out
    )
    assert_refused(folder, capsys, run, says)
    assert segmenter.volumes == []


def test_with_a_stand_in_segmenter_a_disk_that_refuses_a_map_leaves_nothing(folder: Path, segmenter, capsys):
    before, steps, done = files(folder), 0, False
    while not done:
        shutil.rmtree(folder / "maps", ignore_errors=True)
        (folder / "out/seg.nii.gz").unlink(missing_ok=True)
        with failing(steps, errno.ENOSPC) as faults:
            status = run_segment(folder, "--uncertainty", str(folder / "maps"))
        done = not faults.failed
        if status != 0:
            assert files(folder) == before
            assert not (folder / "maps").exists()
            assert "cannot be written" in capsys.readouterr().err
        steps += 1
    assert steps > 10
    assert status == 0
    assert set(files(folder)) - set(before) == {
        str(folder / name) for name in ("out/seg.nii.gz", "maps/Label 3.nii.gz", "maps/Label 7.nii.gz")
    }


# --- frames ---------------------------------------------------------------------------------------


@pytest.fixture
def sequence(folder: Path) -> np.ndarray:
    """Voxels (frame, k, j, i) of film.nii.gz, on the grid of the painting."""
    film = np.random.default_rng(4).normal(40, 20, (2, *GRID.shape)).astype(np.float32)
    nibabel.Nifti1Image(film.T, GRID.affine).to_filename(folder / "film.nii.gz")
    return film


def test_with_a_stand_in_segmenter_one_frame_is_segmented(folder: Path, segmenter, sequence):
    assert (
        run_segment(folder, "--volume", "1", "--report", str(folder / "out/r.json"), image="film.nii.gz") == 0
    )
    np.testing.assert_array_equal(segmenter.volumes[0].array, sequence[1])
    assert np.array_equal(read_image(folder / "out/seg.nii.gz").array, painting())
    assert json.loads((folder / "out/r.json").read_text(encoding="utf-8"))["frame"] == 1


def test_with_a_stand_in_segmenter_every_frame_has_a_result(folder: Path, segmenter, sequence, capsys):
    options = ("--volume", "all", "--report", str(folder / "out/r.json"))
    assert run_segment(folder, *options, image="film.nii.gz") == 0
    for volume, frame in zip(segmenter.volumes, sequence, strict=True):
        np.testing.assert_array_equal(volume.array, frame)
    names = sorted(path.name for path in (folder / "out").iterdir())
    assert names == ["r.json", "seg_frame0.nii.gz", "seg_frame1.nii.gz"]
    assert read_image(folder / "out/seg_frame1.nii.gz").geometry.same_grid(GRID)
    reports = json.loads((folder / "out/r.json").read_text(encoding="utf-8"))["frames"]
    assert [report["frame"] for report in reports] == [0, 1]
    assert [Path(report["out"]).name for report in reports] == names[1:]
    shown = capsys.readouterr().out
    assert shown.count("Label 3") == 2
    assert shown.count("A note.") == 1


def test_with_a_stand_in_segmenter_all_of_a_3d_image_is_the_image(folder: Path, segmenter):
    assert run_segment(folder, "--volume", "all") == 0
    assert [path.name for path in (folder / "out").iterdir()] == ["seg.nii.gz"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "film.nii.gz is a sequence of 2 frames; choose one with --volume 0 to 1, or all"),
        (("--volume", "2"), "has no frame 2; it has 2 frames, numbers 0 to 1"),
        (("--volume", "first"), "--volume first names no frame"),
        (("--volume", "all", "--save-task", "{}/x.medmetaseg"), "A task is learned from one frame"),
        (("--volume", "all", "--uncertainty", "{}/ct.nii.gz"), "is a file; give a folder"),
    ],
)
def test_what_is_asked_of_a_sequence_has_to_be_there(
    folder: Path, segmenter, sequence, capsys, options: tuple[str, ...], says: str
):
    options = tuple(one.format(folder) for one in options)
    assert_refused(folder, capsys, lambda: run_segment(folder, *options, image="film.nii.gz"), says)
    assert segmenter.volumes == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_with_a_stand_in_segmenter_a_disk_that_refuses_at_any_step_leaves_all_or_nothing(
    folder: Path, segmenter, capsys, code: int
):
    old = {folder / "out" / name: b"yesterday's" for name in ("seg.nii.gz", "r.json")}
    steps, done = 0, False
    while not done:
        for path, content in old.items():
            path.write_bytes(content)
        with failing(steps, code) as faults:
            status = run_segment(folder, "--report", str(folder / "out/r.json"))
        done = not faults.failed
        now = files(folder / "out")
        assert set(now) == {str(path) for path in old}
        changed = {path for path, content in old.items() if now[str(path)] != content}
        assert changed == (set(old) if status == 0 else set())
        assert ".partial" not in capsys.readouterr().err
        steps += 1
    assert steps > 10
