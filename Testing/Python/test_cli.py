"""The command: exit status, one line on stderr, and outputs whole, together or not at all.

Tests that say so run with `StandInSegmenter`, which gives back what was painted: there the command is tested.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from MedMetaSegLib import cli, segment_command
from MedMetaSegLib.demo.phantom import LABEL, make_patient, painted
from MedMetaSegLib.errors import Cancelled, InputError
from MedMetaSegLib.evaluation.metrics import dice
from MedMetaSegLib.support import Structure, Support, write_segmentation
from MedMetaSegLib.volume import Geometry, Volume, read_image, write_labels

SHAPE = (10, 24, 20)
AFFINE = np.array([[0.0, -0.9, 0, 40], [-0.8, 0, 0, 30], [0, 0, 2.5, -90], [0, 0, 0, 1]])
GRID = Geometry(SHAPE, AFFINE)


@dataclass(frozen=True)
class StandInStructure:
    structure: Structure
    offset: tuple[int, int, int]
    mask: np.ndarray


@dataclass(frozen=True)
class StandInSegmentation:
    geometry: Geometry
    structures: tuple[StandInStructure, ...]
    labels: np.ndarray
    report: dict


class StandInSegmenter:
    """Every structure becomes its painted slices, and what the command passed on is kept."""

    def __init__(self) -> None:
        self.asked: dict = {}
        self.during: Callable[[], None] = lambda: None

    def load(self, device: str = "auto") -> StandInSegmenter:
        self.asked["device"] = device
        return self

    def segment(self, volume: Volume, support: Support, *, progress, **rest) -> StandInSegmentation:
        self.asked |= rest
        progress(0.5, "Half way")
        self.during()
        moved = support.on(volume.geometry)
        found = tuple(StandInStructure(one.structure, one.offset, one.mask) for one in moved.structures)
        rows = [
            {
                "name": one.structure.name,
                "label": one.structure.label,
                "voxels": int(one.mask.sum()),
                "millilitres": float(one.mask.sum()) * volume.geometry.voxel_ml,
            }
            for one in found
        ]
        report = {"structures": rows, "seconds": {"network": 0.25}, "skipped": [], "notes": ["A note."]}
        return StandInSegmentation(volume.geometry, found, moved.labels(), report)


@pytest.fixture
def segmenter(monkeypatch: pytest.MonkeyPatch) -> StandInSegmenter:
    stand_in = StandInSegmenter()
    module = types.ModuleType("MedMetaSegLib.segmenter")
    module.Segmenter = stand_in
    monkeypatch.setitem(sys.modules, "MedMetaSegLib.segmenter", module)
    return stand_in


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """ct.nii.gz and painted.nii.gz (labels 3 and 7 on two slices each), and a folder `out`."""
    rng = np.random.default_rng(1)
    write_array(tmp_path / "ct.nii.gz", rng.normal(40, 20, SHAPE).astype(np.float32))
    write_labels(tmp_path / "painted.nii.gz", painting(), GRID)
    (tmp_path / "out").mkdir()
    return tmp_path


def painting() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[[2, 6], 4:12, 3:9] = 3
    labels[[3, 7], 14:20, 10:17] = 7
    return labels


def write_array(path: Path, array: np.ndarray, geometry: Geometry = GRID) -> None:
    import SimpleITK as sitk

    from MedMetaSegLib.volume import to_sitk

    sitk.WriteImage(to_sitk(array, geometry), str(path))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_segment(
    folder: Path, *more: str, image="ct.nii.gz", support="painted.nii.gz", out="out/seg.nii.gz"
) -> int:
    return cli.run(["segment", str(folder / image), str(folder / support), "-o", str(folder / out), *more])


# --- what is refused ------------------------------------------------------------------------------


def assert_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], run: Callable[[], int], says: str
) -> None:
    before = files(folder)
    assert run() == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("medmetaseg: ")
    assert shown.err.count("\n") == 1
    assert says in shown.err
    assert files(folder) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Missing command"),
        (["segmet"], "segmet"),
        (["segment", "a.nii"], "Missing argument"),
        (["segment", "a.nii", "b.nii"], "--out"),
        (["segment", "a.nii", "b.nii", "-o", "c.nii", "--annotation", "blobs"], "blobs"),
        (["segment", "a.nii", "b.nii", "-o", "c.nii", "--device", "tpu"], "tpu"),
        (["segment", "a.nii", "b.nii", "-o", "c.nii", "--plane", "oblique"], "oblique"),
        (["segment", "a.nii", "b.nii", "-o", "c.nii", "--colour"], "--colour"),
        (["demo", "--image", "a.nii"], "both"),
        (["train", "--minutes", "soon"], "--minutes"),
    ],
)
def test_bad_arguments_are_one_line(tmp_path: Path, capsys, arguments: list[str], says: str):
    assert_refused(tmp_path, capsys, lambda: cli.run(arguments), says)


@pytest.mark.parametrize(
    ("names", "more", "says"),
    [
        ({"image": "none.nii.gz"}, [], "no image"),
        ({"support": "none.nii.gz"}, [], "no support"),
        ({"out": "out/seg.png"}, [], "suffix"),
        ({"out": "out/seg"}, [], "suffix"),
        ({"out": "nowhere/seg.nii.gz"}, [], "no folder"),
        ({"out": "ct.nii.gz"}, [], "the image itself"),
        ({"out": "painted.nii.gz"}, [], "the support itself"),
        ({"out": "out/../ct.nii.gz"}, [], "the image itself"),
        ({}, ["--report", "nowhere/r.json"], "no folder"),
        ({}, ["--report", "report.txt"], ".json"),
        ({}, ["--structure", "liver"], "no structure 'liver'"),
        ({}, ["--annotation", "complete"], "nothing to segment"),
    ],
)
def test_bad_paths_and_choices_are_refused(folder: Path, capsys, names: dict, more: list[str], says: str):
    assert_refused(folder, capsys, lambda: run_segment(folder, *more, **names), says)


def test_a_link_to_the_image_is_not_overwritten(folder: Path, capsys):
    (folder / "out" / "link.nii.gz").symlink_to(folder / "ct.nii.gz")
    assert_refused(folder, capsys, lambda: run_segment(folder, out="out/link.nii.gz"), "the image itself")


def test_an_output_that_is_a_folder_is_refused(folder: Path, capsys):
    (folder / "out" / "seg.nii.gz").mkdir()
    assert_refused(folder, capsys, lambda: run_segment(folder), "is a folder")


def test_a_read_only_folder_is_found_before_anything_is_read(
    folder: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(segment_command.os, "access", lambda path, mode: Path(path).name != "out")
    (folder / "ct.nii.gz").write_bytes(b"never looked at")
    assert_refused(folder, capsys, lambda: run_segment(folder), "read-only")


def empty(folder: Path) -> None:
    write_labels(folder / "painted.nii.gz", np.zeros(SHAPE, np.uint8), GRID)


def elsewhere(folder: Path) -> None:
    write_labels(folder / "painted.nii.gz", painting(), GRID.transformed(np.diag([1.0, 1, 1, 1]) + far()))


def far() -> np.ndarray:
    shift = np.zeros((4, 4))
    shift[0, 3] = 900
    return shift


def fractions(folder: Path) -> None:
    write_array(folder / "painted.nii.gz", painting() * np.float32(0.5))


def negative(folder: Path) -> None:
    write_array(folder / "painted.nii.gz", -painting().astype(np.int16))


def every_slice(folder: Path) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 4:12, 3:9] = 1
    write_labels(folder / "painted.nii.gz", labels, GRID)


def too_small(folder: Path) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[3, 4:6, 4:6] = 1
    write_labels(folder / "painted.nii.gz", labels, GRID)


def truncated(folder: Path) -> None:
    whole = (folder / "ct.nii.gz").read_bytes()
    (folder / "ct.nii.gz").write_bytes(whole[: len(whole) // 2])


def text(folder: Path) -> None:
    (folder / "ct.nii.gz").write_text("not an image")


def nothing_in_it(folder: Path) -> None:
    (folder / "ct.nii.gz").write_bytes(b"")


def not_finite(folder: Path) -> None:
    array = np.full(SHAPE, 1.5, np.float32)
    array[0], array[3, 3, 3:6] = 0, np.nan
    write_array(folder / "ct.nrrd", array)


def constant(folder: Path) -> None:
    write_array(folder / "ct.nii.gz", np.ones(SHAPE, np.float32))


def flat(folder: Path) -> None:
    write_array(
        folder / "ct.nii.gz",
        np.arange(480, dtype=np.float32).reshape(1, 24, 20),
        Geometry((1, 24, 20), AFFINE),
    )


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (empty, "painted.nii.gz"),
        (elsewhere, "outside the image"),
        (fractions, "whole numbers"),
        (negative, "negative"),
        (every_slice, "nothing is left"),
        (too_small, "at least 10"),
        (truncated, "truncated"),
        (text, "ct.nii.gz"),
        (nothing_in_it, "empty"),
        (constant, "everywhere"),
        (flat, "3D"),
    ],
)
def test_files_that_cannot_be_used_are_refused(
    folder: Path, capsys, spoil: Callable[[Path], None], says: str
):
    spoil(folder)
    assert_refused(folder, capsys, lambda: run_segment(folder), says)


def test_nan_voxels_are_refused(folder: Path, capsys):
    not_finite(folder)
    assert_refused(folder, capsys, lambda: run_segment(folder, image="ct.nrrd"), "3 NaN")


def test_an_empty_dicom_folder_is_refused(folder: Path, capsys):
    (folder / "dicom").mkdir()
    assert_refused(folder, capsys, lambda: run_segment(folder, image="dicom"), "DICOM")


def write_overlapping(folder: Path) -> None:
    first, second = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    first[4, 2:10, 2:10] = second[4, 6:14, 6:14] = True
    structures = [Structure("liver", 1, (1, 0, 0)), Structure("lesion", 2, (0, 1, 0))]
    blocks = [(first, (0, 0, 0)), (second, (0, 0, 0))]
    write_segmentation(folder / "painted.seg.nrrd", blocks, structures, GRID)


def test_overlapping_structures_do_not_go_into_a_label_map(folder: Path, capsys):
    write_overlapping(folder)
    assert_refused(folder, capsys, lambda: run_segment(folder, support="painted.seg.nrrd"), ".seg.nrrd")


# --- what is done, with a stand-in for the network ------------------------------------------------


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
    report = json.loads((folder / "out/r.json").read_text())
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


# --- what is done, with the shipped network -------------------------------------------------------


@pytest.fixture(scope="module")
def phantom_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom patient's CT, the lesion and the left kidney painted on three slices, and the truth."""
    folder = tmp_path_factory.mktemp("phantom")
    patient = make_patient(1, shape=(48, 70, 90), spacing_mm=(4.0, 4.0, 4.0))
    grid, labels = patient.volume.geometry, (LABEL["left kidney"], LABEL["liver lesion"])
    write_array(folder / "ct.nii.gz", patient.volume.array, grid)
    write_labels(folder / "painted.nii.gz", painted(patient.truth, labels), grid)
    write_labels(folder / "truth.nii.gz", patient.truth, grid)
    return folder


def test_the_command_finds_whole_structures_from_three_slices(phantom_files: Path, tmp_path: Path):
    out, report = tmp_path / "whole.nii.gz", tmp_path / "whole.json"
    files = [str(phantom_files / "ct.nii.gz"), str(phantom_files / "painted.nii.gz")]
    assert cli.run(["segment", *files, "-o", str(out), "--report", str(report), "--device", "cpu"]) == 0
    whole, truth = read_image(out), read_image(phantom_files / "truth.nii.gz").array
    drawn = read_image(phantom_files / "painted.nii.gz")
    assert whole.geometry.same_grid(drawn.geometry)
    rows = json.loads(report.read_text())["structures"]
    for row in rows:
        found, true, on_paper = (array == row["label"] for array in (whole.array, truth, drawn.array))
        slices = on_paper.any((1, 2))
        assert np.array_equal(found[slices], on_paper[slices])
        assert row["voxels"] == np.count_nonzero(found)
        assert dice(found[~slices], true[~slices]) > 0.7
    assert [row["name"] for row in rows] == ["Label 4", "Label 5"]


def test_one_structure_alone_is_written_alone(phantom_files: Path, tmp_path: Path):
    files = [str(phantom_files / "ct.nii.gz"), str(phantom_files / "painted.nii.gz")]
    out = tmp_path / "one.seg.nrrd"
    assert cli.run(["segment", *files, "-o", str(out), "--structure", "Label 5", "--device", "cpu"]) == 0
    assert [one.structure.name for one in Support.read(out).structures] == ["Label 5"]


# --- files in place -------------------------------------------------------------------------------


def write_whole(path: Path) -> None:
    path.write_text("whole")


def test_when_the_second_file_cannot_be_put_in_place_the_first_new_one_is_taken_back(tmp_path: Path):
    (tmp_path / "b.txt").mkdir()
    writers = {tmp_path / name: write_whole for name in ("a.txt", "b.txt")}
    with pytest.raises(InputError, match=r"b\.txt"):
        segment_command.publish(writers)
    assert [path.name for path in tmp_path.iterdir()] == ["b.txt"]


def test_published_files_replace_what_was_there(tmp_path: Path):
    (tmp_path / "a.txt").write_text("old")
    segment_command.publish({tmp_path / "a.txt": write_whole})
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_the_version_is_shown(capsys):
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("medmetaseg 0.1")
