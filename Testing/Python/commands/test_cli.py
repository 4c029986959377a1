"""The command `segment`: exit status, one line on stderr, nothing written; the shipped network."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from affines import moved, offset
from batch_stand_in import GRID, SHAPE
from command_files import (
    assert_refused,
    not_finite,
    painting,
    run_segment,
    write_array,
    write_overlapping,
)
from MedMetaSegLib import cli
from MedMetaSegLib.demo.phantom import LABEL, make_patient, painted
from MedMetaSegLib.evaluation.metrics import dice
from MedMetaSegLib.imageio.volume import Geometry, read_image, write_labels
from MedMetaSegLib.support.support import Support

# --- what is refused ------------------------------------------------------------------------------


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
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "out")
    (folder / "ct.nii.gz").write_bytes(b"never looked at")
    assert_refused(folder, capsys, lambda: run_segment(folder), "read-only")


def empty(folder: Path) -> None:
    write_labels(folder / "painted.nii.gz", np.zeros(SHAPE, np.uint8), GRID)


def elsewhere(folder: Path) -> None:
    write_labels(folder / "painted.nii.gz", painting(), moved(GRID, np.eye(4) + far()))


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


def constant(folder: Path) -> None:
    write_array(folder / "ct.nii.gz", np.ones(SHAPE, np.float32))


def flat(folder: Path) -> None:
    write_array(
        folder / "ct.nii.gz",
        np.arange(480, dtype=np.float32).reshape(1, 24, 20),
        Geometry((1, 24, 20), GRID.affine),
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


def test_overlapping_structures_do_not_go_into_a_label_map(folder: Path, capsys):
    write_overlapping(folder)
    assert_refused(folder, capsys, lambda: run_segment(folder, support="painted.seg.nrrd"), ".seg.nrrd")


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
    inputs = [str(phantom_files / "ct.nii.gz"), str(phantom_files / "painted.nii.gz")]
    assert cli.run(["segment", *inputs, "-o", str(out), "--report", str(report), "--device", "cpu"]) == 0
    whole, truth = read_image(out), read_image(phantom_files / "truth.nii.gz").array
    drawn = read_image(phantom_files / "painted.nii.gz")
    assert whole.geometry.same_grid(drawn.geometry)
    rows = json.loads(report.read_text(encoding="utf-8"))["structures"]
    for row in rows:
        found, true, on_paper = (array == row["label"] for array in (whole.array, truth, drawn.array))
        slices = on_paper.any((1, 2))
        assert np.array_equal(found[slices], on_paper[slices])
        assert row["voxels"] == np.count_nonzero(found)
        assert dice(found[~slices], true[~slices]) > 0.7
    assert [row["name"] for row in rows] == ["Label 4", "Label 5"]


def test_one_structure_alone_is_written_alone(phantom_files: Path, tmp_path: Path):
    inputs = [str(phantom_files / "ct.nii.gz"), str(phantom_files / "painted.nii.gz")]
    out = tmp_path / "one.seg.nrrd"
    assert cli.run(["segment", *inputs, "-o", str(out), "--structure", "Label 5", "--device", "cpu"]) == 0
    assert [one.structure.name for one in Support.read(out).structures] == ["Label 5"]


PLACE = np.diag([-4.0, -4, 4, 1])
OFF_PERPENDICULAR = PLACE @ np.array([[1, 0, 1e-3, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def with_header(source: Path, path: Path, qform: tuple, sform: tuple, unit: str) -> Path:
    """The voxels of a file under a header of these forms and codes."""
    header = nibabel.Nifti1Header()
    voxels = np.asarray(nibabel.load(source).dataobj)
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    header.set_zooms((4.0, 4.0, 4.0))
    header.set_qform(*qform)
    header.set_sform(*sform)
    header.set_xyzt_units(unit)
    nibabel.Nifti1Image(voxels, None, header).to_filename(path)
    return path


@pytest.mark.parametrize(
    ("qform", "sform", "on", "unit", "note"),
    [
        (PLACE, PLACE + offset(0, 0, 12), "both", "mm", ""),
        (PLACE, PLACE + offset(0, 0, 12), "sform", "mm", "differ by 12 mm"),
        (PLACE, PLACE + offset(0, 0, 12), "qform", "mm", "differ by 12 mm"),
        (None, OFF_PERPENDICULAR, "both", "mm", ""),
        (None, PLACE, "both", "micron", ""),
    ],
)
def test_the_command_keeps_the_header_and_the_drawing(
    phantom_files: Path, tmp_path: Path, qform, sform, on: str, unit: str, note: str
):
    first = (qform, 1) if qform is not None else (None, 0)
    second = (sform, 2)
    image = with_header(phantom_files / "ct.nii.gz", tmp_path / "ct.nii", first, second, unit)
    of_support = {"both": (first, second), "sform": ((None, 0), second), "qform": (first, (None, 0))}[on]
    support = with_header(phantom_files / "painted.nii.gz", tmp_path / "p.nii", *of_support, unit)
    out, report = tmp_path / "o.nii.gz", tmp_path / "o.json"
    options = ["--report", str(report), "--structure", "Label 5", "--quality", "fast", "--device", "cpu"]
    assert cli.run(["segment", str(image), str(support), "-o", str(out), *options]) == 0
    one, other = nibabel.load(image), nibabel.load(out)
    np.testing.assert_array_equal(other.affine, one.affine)
    for field in ("srow_x", "srow_z", "sform_code", "xyzt_units"):
        assert one.header[field].tobytes() == other.header[field].tobytes()
    found, drawn = (np.asarray(nibabel.load(path).dataobj) == 5 for path in (out, support))
    slices = drawn.any((0, 1))
    assert np.array_equal(found[..., slices], drawn[..., slices])
    truth = np.asarray(nibabel.load(phantom_files / "truth.nii.gz").dataobj) == 5
    assert dice(found[..., ~slices], truth[..., ~slices]) > 0.6
    notes = " ".join(json.loads(report.read_text(encoding="utf-8"))["notes"])
    assert note in notes
    assert bool(notes) == bool(note)


@pytest.mark.parametrize("spacing_mm", [1e-7, 1e-4, 1e4])
def test_spacings_far_from_millimetres_give_the_same_result(
    phantom_files: Path, tmp_path: Path, spacing_mm: float
):
    for name in ("ct", "painted"):
        read = read_image(phantom_files / f"{name}.nii.gz")
        write_array(
            tmp_path / f"{name}.nrrd", read.array, Geometry(read.array.shape, np.diag([spacing_mm] * 3 + [1]))
        )
    inputs = [str(tmp_path / "ct.nrrd"), str(tmp_path / "painted.nrrd"), "-o", str(tmp_path / "o.nrrd")]
    options = ["--report", str(tmp_path / "o.json"), "--structure", "Label 5", "--quality", "fast"]
    assert cli.run(["segment", *inputs, *options, "--device", "cpu"]) == 0
    found, drawn, truth = (
        read_image(path).array == 5
        for path in (tmp_path / "o.nrrd", tmp_path / "painted.nrrd", phantom_files / "truth.nii.gz")
    )
    slices = drawn.any((1, 2))
    assert np.array_equal(found[slices], drawn[slices])
    assert dice(found[~slices], truth[~slices]) > 0.6
    (row,) = json.loads((tmp_path / "o.json").read_text(encoding="utf-8"))["structures"]
    assert row["millilitres"] == pytest.approx(row["voxels"] * spacing_mm**3 / 1000, rel=0.01)
    assert min(row["working_spacing_mm"]) >= spacing_mm / 2


def test_the_version_is_shown(capsys):
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("medmetaseg 0.1")
