"""DICOM SEG and RTSTRUCT through the commands: as support everywhere, never as an image."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from batch_stand_in import StandInSegmenter, rows_of
from command_files import assert_refused
from dicom_drawn import DrawnCt, Roi, write_rtstruct
from dicom_frames import dataset, write_seg
from MedMetaSegLib import cli
from MedMetaSegLib.batch.inputs import find_items
from MedMetaSegLib.batch.request import BatchRequest
from MedMetaSegLib.imageio.volume import read_image

CT = DrawnCt(shape=(9, 24, 20))
INSIDE = np.zeros(CT.shape, bool)
INSIDE[[2, 5], 4:16, 3:14] = True


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """A folder with ct/ (a series), rs.dcm and seg.dcm (fractional, a part at its edge), and out/."""
    CT.write(tmp_path / "ct")
    (tmp_path / "out").mkdir()
    box = [(3.6, 2.6), (3.6, 13.4), (15.4, 13.4), (15.4, 2.6)]
    contours = [CT.contour(k, box) for k in (2, 5)]
    organ = Roi(5, "Organ", contours)
    write_rtstruct(tmp_path / "rs.dcm", [organ, Roi(6, "Iso", [contours[0][:1]], kind="POINT")])
    write_rtstruct(tmp_path / "elsewhere.dcm", [Roi(5, "Organ", contours, frame_of_reference="1.9")])
    frames = []
    for k in (2, 5):
        voxels = np.where(INSIDE[k], 255, 0)
        voxels[3, 3:14] = 100
        frames.append((1, CT.world(np.array([[k, 0, 0]]))[0], voxels))
    write_seg(
        tmp_path / "seg.dcm",
        frames,
        {1: {"SegmentLabel": "Organ"}},
        "FRACTIONAL",
        CT.spacing_mm[0],
        CT.turn[:, :2].T.ravel(),
        CT.spacing_mm[1:],
        {"SegmentationFractionalType": "PROBABILITY"},
    )
    return tmp_path


@pytest.mark.parametrize(("support", "label"), [("rs.dcm", 5), ("seg.dcm", 1)])
def test_with_a_stand_in_segmenter_both_are_supports(
    drawn: Path, segmenter: StandInSegmenter, support: str, label: int
) -> None:
    out = drawn / "out" / "whole.nii.gz"
    assert cli.run(["segment", str(drawn / "ct"), str(drawn / support), "-o", str(out)]) == 0
    np.testing.assert_array_equal(read_image(out).array, np.where(INSIDE, label, 0))


def test_with_a_stand_in_segmenter_scribbles_stay_on_the_slice_that_they_were_drawn_on(
    drawn: Path, segmenter: StandInSegmenter
) -> None:
    """Though their frame is told to be as thick as four slices of its series."""
    series = pydicom.dcmread(next((drawn / "ct").iterdir()), stop_before_pixels=True).SeriesInstanceUID
    write_seg(
        drawn / "thick.dcm",
        [(1, CT.world(np.array([[5, 0, 0]]))[0], INSIDE[5])],
        {1: {"SegmentLabel": "Organ"}},
        thickness=4 * CT.spacing_mm[0],
        orientation=CT.turn[:, :2].T.ravel(),
        pixel_mm=CT.spacing_mm[1:],
        tags={"ReferencedSeriesSequence": [dataset(SeriesInstanceUID=series)]},
    )
    out = drawn / "out" / "whole.nii.gz"
    call = ["segment", str(drawn / "ct"), str(drawn / "thick.dcm"), "--annotation", "scribbles"]
    assert cli.run([*call, "-o", str(out)]) == 0
    found = read_image(out).array > 0
    assert np.flatnonzero(found.any(axis=(1, 2))).tolist() == [5]
    np.testing.assert_array_equal(found[5], INSIDE[5])


def test_with_a_stand_in_segmenter_a_task_is_learned_from_them_and_what_is_odd_is_said(
    drawn: Path, segmenter: StandInSegmenter, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(drawn / name) for name in ("ct", "rs.dcm", "ct", "seg.dcm")]
    assert cli.run(["learn", *files, "-o", str(drawn / "t.medmetaseg"), "--annotation", "complete"]) == 0
    ((_, contours), (_, segments)) = segmenter.learned[0]
    for support in (contours, segments):
        np.testing.assert_array_equal(support.on(read_image(drawn / "ct").geometry).labels() > 0, INSIDE)
    said = capsys.readouterr().out
    assert "rs.dcm has no closed contour of Iso: left out." in said
    assert "its probability is at least one half (128 of 255)" in said


@pytest.mark.parametrize("segmentation", ["rs.dcm", "seg.dcm"])
def test_both_are_measured(drawn: Path, segmentation: str) -> None:
    table = drawn / "out" / "t.csv"
    assert cli.run(["measure", str(drawn / "ct"), str(drawn / segmentation), "-o", str(table)]) == 0
    (row,) = rows_of(table)
    assert (row["structure"], row["voxel_count"]) == ("Organ", str(INSIDE.sum()))


@pytest.mark.parametrize("command", ["segment", "measure", "learn"])
def test_another_frame_of_reference_is_refused(
    drawn: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = {"segment": "w.nii.gz", "measure": "t.csv", "learn": "t.medmetaseg"}[command]
    given = [command, str(drawn / "ct"), str(drawn / "elsewhere.dcm"), "-o", str(drawn / "out" / out)]
    assert_refused(drawn, capsys, lambda: cli.run(given), "drawn in another frame of reference")


@pytest.mark.parametrize("what", ["file", "folder"])
@pytest.mark.parametrize(
    ("name", "called"),
    [("rs.dcm", "a DICOM structure set (RTSTRUCT)"), ("seg.dcm", "a DICOM segmentation")],
)
def test_neither_is_an_image(
    drawn: Path, name: str, called: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    image = drawn / name
    if what == "folder":
        image = drawn / "alone"
        image.mkdir()
        shutil.copy(drawn / name, image)
    given = ["segment", str(image), str(drawn / name), "-o", str(drawn / "out/w.nii.gz")]
    assert_refused(drawn, capsys, lambda: cli.run(given), f"{called}, not an image; give it as SUPPORT")


def test_beside_an_image_they_are_left_out_of_it(drawn: Path) -> None:
    alone = read_image(drawn / "ct")
    for name, uid in (("rs.dcm", "1.2.7"), ("seg.dcm", "1.2.8")):
        shutil.copy(drawn / name, drawn / "ct" / name)
        set_series(drawn / "ct" / name, uid)
    np.testing.assert_array_equal(read_image(drawn / "ct").array, alone.array)
    items, left_out = find_items(
        BatchRequest(drawn / "t.medmetaseg", (drawn / "ct",), drawn / "results"), ".nii.gz"
    )
    assert [len(one.files) for one in items] == [CT.shape[0]]
    assert sorted(left_out) == [
        ("DICOM RTSTRUCT", "a DICOM structure set (RTSTRUCT), not an image"),
        ("DICOM SEG", "a DICOM segmentation, not an image"),
    ]


def set_series(path: Path, uid: str) -> None:
    import pydicom

    file = pydicom.dcmread(path)
    file.SeriesInstanceUID = uid
    file.save_as(path)
