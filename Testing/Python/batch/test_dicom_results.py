"""A batch whose results are DICOM segmentations: of DICOM images alone, known again by --resume."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from batch_stand_in import StandInSegmenter, results, rows_of, write_noise
from dicom_frames import write_multiframe
from dicom_seg_checks import errors_of_dciodvfy, world_by_hand, write_ct
from MedMetaSegLib.batch.measured_tables import MEASUREMENTS
from MedMetaSegLib.batch.request import BatchRequest
from MedMetaSegLib.batch.run import run_batch
from MedMetaSegLib.batch.states import DONE, FAILED, KEPT
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.measurements.measurements import MeasureOptions
from task_phantom import make_task

pytest.importorskip("highdicom", reason="highdicom writes DICOM segmentations")

SHAPE = (10, 24, 20)
BLOCK = (slice(3, 6), slice(4, 9), slice(5, 12))
"""What the stand-in finds of the first structure; the second is not there."""


@pytest.fixture
def request_for(tmp_path: Path) -> BatchRequest:
    """A DICOM series in in/ct, and a task of two structures, labels 2 and 300."""
    write_ct(tmp_path / "in" / "ct", SHAPE)
    make_task().write(tmp_path / "two.medmetaseg")
    return BatchRequest(tmp_path / "two.medmetaseg", (tmp_path / "in",), tmp_path / "out", format="dcm")


def test_a_series_gets_a_segmentation_of_every_structure(
    request_for: BatchRequest, segmenter: StandInSegmenter, tmp_path: Path
):
    assert [row.status for row in run_batch(request_for).rows] == [DONE]
    assert results(tmp_path / "out") == ["ct.dcm"]
    path, mask = tmp_path / "out" / "ct.dcm", np.zeros(SHAPE, bool)
    mask[BLOCK] = True
    by_hand = world_by_hand(path)
    wanted = write_ct(tmp_path / "same", SHAPE).world(mask)
    assert list(by_hand) == [1]
    np.testing.assert_allclose(by_hand[1], wanted, atol=1e-3)
    segments = pydicom.dcmread(path).SegmentSequence
    assert [one.SegmentLabel for one in segments] == ["Niere rechts", "left kidney"]
    assert {one.SegmentAlgorithmType for one in segments} == {"AUTOMATIC"}
    assert errors_of_dciodvfy(path) == []


def test_what_is_done_is_known_again_and_measured_as_when_it_was_made(
    request_for: BatchRequest, segmenter: StandInSegmenter
):
    measured = replace(request_for, measure=MeasureOptions())
    run_batch(measured)
    table = rows_of(request_for.out / MEASUREMENTS)
    assert [row["voxel_count"] for row in table] == ["105", "0"]
    run_batch(replace(request_for, overwrite=True))
    applied = len(segmenter.applied)
    assert [row.status for row in run_batch(replace(measured, resume=True)).rows] == [KEPT]
    assert len(segmenter.applied) == applied
    assert [row["voxel_count"] for row in rows_of(request_for.out / MEASUREMENTS)] == ["105", "0"]


def test_a_result_of_another_format_is_made_anew(request_for: BatchRequest, segmenter: StandInSegmenter):
    run_batch(replace(request_for, format="seg.nrrd"))
    assert [row.status for row in run_batch(replace(request_for, resume=True)).rows] == [DONE]
    assert results(request_for.out) == ["ct.dcm", "ct.seg.nrrd"]


def test_an_image_that_is_no_dicom_fails_beside_the_others(
    request_for: BatchRequest, segmenter: StandInSegmenter, tmp_path: Path
):
    write_noise(tmp_path / "in" / "other.nii.gz")
    rows = {row.name: row for row in run_batch(request_for).rows}
    assert (rows["ct"].status, rows["other"].status) == (DONE, FAILED)
    assert rows["other"].reason == (
        "A DICOM segmentation refers to the DICOM image it was made on, and other.nii.gz is NIfTI; write "
        ".seg.nrrd."
    )
    assert segmenter.applied == ["ct"]


def test_a_multi_frame_file_is_a_series_by_itself(
    request_for: BatchRequest, segmenter: StandInSegmenter, tmp_path: Path
):
    stored = np.random.default_rng(0).integers(0, 99, SHAPE).astype(np.int16)
    image = write_multiframe(tmp_path / "mf" / "ct.dcm", stored, [(0.0, 0.0, 2.0 * k) for k in range(10)])
    one = replace(request_for, inputs=(image,))
    assert [row.output for row in run_batch(one).rows] == ["ct.dcm"]
    assert set(np.round(world_by_hand(request_for.out / "ct.dcm")[1][:, 2], 3)) == {6.0, 8.0, 10.0}


def test_without_highdicom_nothing_is_begun(
    request_for: BatchRequest, segmenter: StandInSegmenter, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(InputError, match="in Slicer from 5"):
        run_batch(request_for)
    assert segmenter.applied == []
    assert not request_for.out.exists()


def test_results_among_the_images_are_no_images(
    request_for: BatchRequest, segmenter: StandInSegmenter, tmp_path: Path
):
    folder = tmp_path / "in" / "ct"
    inside = replace(request_for, inputs=(folder,), out=folder)
    assert [row.output for row in run_batch(inside).rows] == ["ct.dcm"]
    again = run_batch(replace(inside, resume=True))
    assert [row.status for row in again.rows] == [KEPT]
