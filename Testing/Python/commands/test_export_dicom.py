"""export nnunet on DICOM: series as images, structure sets and segmentations as what was painted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batch_stand_in import StandInSegmenter
from command_files import assert_refused
from dicom_drawn import DrawnCt, Roi, write_rtstruct
from MedMetaSegLib import cli
from MedMetaSegLib.imageio.volume import read_image
from nnunet_rules import checked_dataset, image_of, labels_of
from task_phantom import make_task

CT = DrawnCt(shape=(9, 24, 20))
INSIDE = np.zeros(CT.shape, bool)
INSIDE[[2, 5], 4:16, 3:14] = True


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """ct/ (a series), rs.dcm (an organ on two of its slices) and elsewhere.dcm, in another frame."""
    CT.write(tmp_path / "ct")
    box = [(3.6, 2.6), (3.6, 13.4), (15.4, 13.4), (15.4, 2.6)]
    contours = [CT.contour(k, box) for k in (2, 5)]
    write_rtstruct(tmp_path / "rs.dcm", [Roi(5, "Organ", contours)])
    write_rtstruct(tmp_path / "elsewhere.dcm", [Roi(5, "Organ", contours, frame_of_reference="1.9")])
    return tmp_path


def export(folder: Path, *given: str) -> int:
    return cli.run(["export", "nnunet", *given, "-o", str(folder / "Dataset501_Organ")])


@pytest.mark.parametrize("annotation", ["slices", "complete"])
def test_contours_on_a_series_become_labels(drawn: Path, annotation: str) -> None:
    assert export(drawn, str(drawn / "ct"), str(drawn / "rs.dcm"), f"--annotation={annotation}") == 0
    out = drawn / "Dataset501_Organ"
    about = checked_dataset(out)
    expected = INSIDE.astype(int)
    if annotation == "slices":
        assert about["labels"] == {"background": 0, "Organ": 1, "ignore": 2}
        expected[[0, 1, 3, 4, 6, 7, 8]] = 2
    else:
        assert about["labels"] == {"background": 0, "Organ": 1}
    np.testing.assert_array_equal(labels_of(out, "ct"), expected)
    np.testing.assert_array_equal(image_of(out, "ct"), read_image(drawn / "ct").array)


def test_contours_in_another_frame_of_reference_are_refused(
    drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = (str(drawn / "ct"), str(drawn / "elsewhere.dcm"))
    assert_refused(drawn, capsys, lambda: export(drawn, *pair), "drawn in another frame of reference")


def test_results_as_dicom_bring_their_names(
    drawn: Path, segmenter: StandInSegmenter, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("highdicom")
    make_task().write(drawn / "two.medmetaseg")
    apply = ["apply", str(drawn / "two.medmetaseg"), str(drawn / "ct"), "-o", str(drawn / "out")]
    assert cli.run([*apply, "--format", "dcm"]) == 0
    assert export(drawn, str(drawn / "out"), f"--images={drawn / 'ct'}") == 0
    about = checked_dataset(drawn / "Dataset501_Organ")
    assert about["labels"] == {"background": 0, "Niere rechts": 1, "left kidney": 2}
    block = np.zeros(CT.shape, int)
    block[3:6, 4:9, 5:12] = 1
    np.testing.assert_array_equal(labels_of(drawn / "Dataset501_Organ", "ct"), block)
