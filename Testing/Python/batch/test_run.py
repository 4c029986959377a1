"""The batch engine in this process, with a stand-in segmenter: what stands, is redone, is reported."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from batch_stand_in import GRID, SHAPE, StandInSegmenter, results, rows_of, write_noise
from dicom_phantom import IDENTIFIERS, OTHER_IDENTIFIERS, write_series
from MedMetaSegLib.batch.request import BatchProgress, BatchRequest
from MedMetaSegLib.batch.run import memory_limit_bytes, run_batch
from MedMetaSegLib.batch.states import DONE, FAILED, KEPT
from MedMetaSegLib.errors import Cancelled, InputError
from MedMetaSegLib.imageio.volume import read_image, to_sitk
from task_phantom import make_task


@pytest.fixture
def request_for(tmp_path: Path) -> BatchRequest:
    """Three images a, b, c and a task."""
    (tmp_path / "in").mkdir()
    for number, name in enumerate("abc"):
        write_noise(tmp_path / "in" / f"{name}.nii.gz", number)
    make_task().write(tmp_path / "two.medmetaseg")
    return BatchRequest(
        tmp_path / "two.medmetaseg", (tmp_path / "in",), tmp_path / "out", report=tmp_path / "r.csv"
    )


def resumed(request: BatchRequest) -> BatchRequest:
    return replace(request, resume=True)


def journal(request: BatchRequest) -> Path:
    return request.out / ".medmetaseg" / "journal.jsonl"


def test_every_image_has_its_result_its_row_and_its_progress(
    request_for: BatchRequest, segmenter: StandInSegmenter
):
    events: list[BatchProgress] = []
    result = run_batch(request_for, events.append)
    assert [row.status for row in result.rows] == [DONE] * 3
    assert results(request_for.out) == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    states = [one.state for one in events if one.item == "b"]
    assert states == ["waiting", "reading", "segmenting", "done"]
    assert (events[-1].finished, events[-1].total) == (3, 3)
    assert all(row.thumbnail.startswith(b"\x89PNG") for row in result.rows)
    assert [
        len(json.loads(line)["sha256"])
        for line in journal(request_for).read_text(encoding="utf-8").splitlines()
    ] == [64] * 3


def test_results_that_are_there_need_a_word(request_for: BatchRequest, segmenter: StandInSegmenter):
    run_batch(request_for)
    with pytest.raises(InputError, match=r"a\.nii\.gz and 2 more is there already"):
        run_batch(request_for)
    assert len(segmenter.applied) == 3
    run_batch(replace(request_for, overwrite=True))
    assert len(segmenter.applied) == 6


def test_a_changed_input_is_done_again_and_only_that(request_for: BatchRequest, segmenter: StandInSegmenter):
    run_batch(request_for)
    write_noise(request_for.out.parent / "in" / "b.nii.gz", 77)
    result = run_batch(resumed(request_for))
    assert [row.status for row in result.rows] == [KEPT, DONE, KEPT]
    assert segmenter.applied == ["a", "b", "c", "b"]
    assert result.rows[0].thumbnail
    assert result.rows[0].structures[0].millilitres == 0.2


def test_a_result_that_was_lost_or_of_another_format_is_done_again(
    request_for: BatchRequest, segmenter: StandInSegmenter
):
    run_batch(request_for)
    (request_for.out / "c.nii.gz").unlink()
    assert [row.status for row in run_batch(resumed(request_for)).rows] == [KEPT, KEPT, DONE]
    other = run_batch(replace(resumed(request_for), format="seg.nrrd"))
    assert [row.status for row in other.rows] == [DONE] * 3
    assert "a.seg.nrrd" in results(request_for.out)


def test_a_result_that_somebody_edited_is_not_overwritten(
    request_for: BatchRequest, segmenter: StandInSegmenter
):
    run_batch(request_for)
    edited = request_for.out / "b.nii.gz"
    sitk.WriteImage(to_sitk(np.ones(SHAPE, np.uint8), GRID), str(edited))
    content = edited.read_bytes()
    result = run_batch(resumed(request_for))
    assert [row.status for row in result.rows] == [KEPT, FAILED, KEPT]
    assert "edited by someone else" in result.rows[1].reason
    assert edited.read_bytes() == content
    run_batch(replace(resumed(request_for), overwrite=True))
    assert edited.read_bytes() != content


def test_a_journal_that_ends_in_the_middle_of_a_line_is_gone_on_with(
    request_for: BatchRequest, segmenter: StandInSegmenter
):
    run_batch(request_for)
    (request_for.out / "c.nii.gz").unlink()
    whole = journal(request_for).read_bytes()
    journal(request_for).write_bytes(whole[:-40])
    assert [row.status for row in run_batch(resumed(request_for)).rows] == [KEPT, KEPT, DONE]
    assert [row.status for row in run_batch(resumed(request_for)).rows] == [KEPT, KEPT, KEPT]


def test_an_input_that_vanishes_fails_alone(request_for: BatchRequest, segmenter: StandInSegmenter):
    def vanish(progress: BatchProgress) -> None:
        if progress.state == "waiting" and progress.item == "c":
            (request_for.out.parent / "in" / "b.nii.gz").unlink()

    result = run_batch(request_for, vanish)
    assert [row.status for row in result.rows] == [DONE, FAILED, DONE]
    assert result.rows[1].reason == "There is no file b.nii.gz; was it moved?"


def test_an_error_that_should_not_happen_fails_its_image_alone(
    request_for: BatchRequest, segmenter: StandInSegmenter
):
    def fail(name: str) -> None:
        if name == "b":
            raise ZeroDivisionError("of zero")

    segmenter.before = fail
    result = run_batch(request_for)
    assert [row.status for row in result.rows] == [DONE, FAILED, DONE]
    assert "please report it (ZeroDivisionError: of zero)" in result.rows[1].reason


def test_cancelling_ends_soon_with_what_is_done_in_place(
    request_for: BatchRequest, segmenter: StandInSegmenter
):
    wanted = threading.Event()

    def before(name: str) -> None:
        # As the segmenter does when it is asked to stop.
        if wanted.is_set():
            raise Cancelled
        if name == "b":
            wanted.set()

    segmenter.before = before
    result = run_batch(request_for, cancelled=wanted.is_set)
    assert result.cancelled
    assert len(result.rows) < 3
    segmenter.before = lambda name: None
    assert [row.output for row in result.rows] == results(request_for.out)
    assert [row["image"] for row in rows_of(request_for.out.parent / "r.csv")] == [
        r.image for r in result.rows
    ]
    assert len(run_batch(resumed(request_for)).finished) == 3


def test_an_image_beyond_the_memory_limit_is_refused_and_the_others_wait_for_room(
    request_for: BatchRequest, segmenter: StandInSegmenter
):
    array = np.random.default_rng(5).normal(size=(40, 100, 100)).astype(np.float32)
    sitk.WriteImage(
        to_sitk(array, replace(GRID, shape=array.shape)), str(request_for.out.parent / "in" / "big.nii.gz")
    )
    result = run_batch(replace(request_for, memory_limit_mb=1))
    assert [row.name for row in result.failed] == ["big"]
    assert "more than the memory limit of 1 MB" in result.failed[0].reason
    assert len(result.finished) == 3
    assert memory_limit_bytes(request_for) > 2**28


def test_a_dicom_run_says_nothing_of_whom_it_is(
    tmp_path: Path, segmenter: StandInSegmenter, capsys: pytest.CaptureFixture[str]
):
    from MedMetaSegLib import cli

    patient = tmp_path / "Doe_Jane" / "20240917"
    write_series(patient / "CT", number=3, slices=6)
    write_series(patient / "MRN7734421", number=4, slices=7)
    (patient / "cut.dcm").write_bytes((patient / "CT" / "s3_0.dcm").read_bytes()[:700])
    write_noise(tmp_path / "Doe_Jane" / "other.nii.gz")
    make_task().write(tmp_path / "two.medmetaseg")
    arguments = ["apply", "two.medmetaseg", "Doe_Jane", "-o", "out", "--report", "r.csv"]
    absolute = [str(tmp_path / one) if "-" not in one and one != "apply" else one for one in arguments]
    cli.run([*absolute, "--format", "seg.nrrd"])
    shown = capsys.readouterr()
    artefacts = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    artefacts |= {
        tmp_path / name: (tmp_path / name).read_bytes() for name in ("r.csv", "r.html", "two.medmetaseg")
    }
    assert len([path for path in artefacts if path.name.endswith(".seg.nrrd")]) == 3
    written = b"\n".join(artefacts.values()) + (shown.out + shown.err).encode()
    written += b"\n".join(str(path.relative_to(tmp_path)).encode() for path in artefacts)
    # Pictures hold every short text by chance.
    written = re.sub(rb"[A-Za-z0-9+/=]{100,}", b"", written)
    texts = [*IDENTIFIERS.values(), "Doe", "Jane", "WELBY", str(tmp_path / "Doe_Jane")]
    assert [text for text in texts if text.lower().encode() in written.lower()] == []


def test_series_given_by_their_files_are_done_once_and_say_nothing_of_whom_they_are(
    tmp_path: Path, segmenter: StandInSegmenter
):
    place = tmp_path / "Doe_Jane"
    write_series(place / "a", number=3, slices=6)
    write_series(place / "b", number=3, slices=7, identifiers=OTHER_IDENTIFIERS)
    write_series(place / "c", number=4, slices=5, identifiers=OTHER_IDENTIFIERS)
    series = tuple(tuple(sorted((place / name).iterdir())) for name in "abc")
    series[2][1].unlink()
    make_task().write(tmp_path / "two.medmetaseg")
    out = tmp_path / "out"
    request = BatchRequest(
        tmp_path / "two.medmetaseg", (), out, report=out / "r.csv", format="seg.nrrd", series=series
    )
    events: list[BatchProgress] = []
    result = run_batch(request, events.append)
    assert [row.status for row in result.rows] == [DONE, DONE, FAILED]
    assert result.failed[0].reason == f"There is no file {result.failed[0].name}; was it moved?"
    again = run_batch(resumed(request))
    assert [row.status for row in again.rows] == [KEPT, KEPT, FAILED]

    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) == 5
    written = b"\n".join(
        [*(path.read_bytes() for path in files), str(events).encode(), *map(_within(out), files)]
    )
    written = re.sub(rb"[A-Za-z0-9+/=]{100,}", b"", written)
    texts = [*IDENTIFIERS.values(), *OTHER_IDENTIFIERS.values(), "Doe", "Jane", "ROE^", "HOUSE", str(place)]
    assert [text for text in texts if text.lower().encode() in written.lower()] == []


def _within(out: Path) -> Callable[[Path], bytes]:
    return lambda path: str(path.relative_to(out)).encode()


def test_dicom_series_beside_each_other_are_read_apart(tmp_path: Path, segmenter: StandInSegmenter):
    write_series(tmp_path / "study", number=3, slices=6)
    write_series(tmp_path / "study", number=4, slices=7)
    make_task().write(tmp_path / "two.medmetaseg")
    run_batch(BatchRequest(tmp_path / "two.medmetaseg", (tmp_path / "study",), tmp_path / "out"))
    shapes = {name: read_image(tmp_path / "out" / name).array.shape[0] for name in results(tmp_path / "out")}
    assert shapes == {"study_series3.nii.gz": 6, "study_series4.nii.gz": 7}


@pytest.fixture
def with_film(request_for: BatchRequest) -> BatchRequest:
    """A 4D file of two frames beside the three images."""
    film = np.random.default_rng(4).normal(40, 20, (2, *GRID.shape)).astype(np.float32)
    nibabel.Nifti1Image(film.T, GRID.affine).to_filename(request_for.out.parent / "in" / "film.nii.gz")
    return request_for


def test_each_frame_of_a_sequence_is_a_row(with_film: BatchRequest, segmenter: StandInSegmenter):
    result = run_batch(replace(with_film, frames="all"))
    assert [(row.name, row.status) for row in result.rows] == [
        (name, DONE) for name in ("a", "b", "c", "film_frame0", "film_frame1")
    ]
    assert results(with_film.out)[-2:] == ["film_frame0.nii.gz", "film_frame1.nii.gz"]
    assert segmenter.applied[-2:] == ["film_frame0", "film_frame1"]
    again = run_batch(resumed(replace(with_film, frames="all")))
    assert [row.status for row in again.rows] == [KEPT] * 5


def test_without_a_choice_a_sequence_fails_alone_and_another_frame_is_another_result(
    with_film: BatchRequest, segmenter: StandInSegmenter
):
    result = run_batch(with_film)
    assert [row.status for row in result.rows] == [DONE] * 3 + [FAILED]
    assert "film.nii.gz is a sequence of 2 frames; choose one with --volume" in result.rows[-1].reason
    first = replace(with_film, inputs=(with_film.out.parent / "in" / "film.nii.gz",), frames=1)
    assert [row.name for row in run_batch(first).rows] == ["film_frame1"]
    other = run_batch(resumed(replace(first, frames=0)))
    assert [(row.name, row.status) for row in other.rows] == [("film_frame0", DONE)]
    assert BatchRequest.from_dict(json.loads(json.dumps(first.as_dict()))).frames == 1


def test_a_label_map_of_a_batch_keeps_the_forms_of_its_image(
    request_for: BatchRequest, segmenter: StandInSegmenter
):
    image = nibabel.Nifti1Image(np.arange(np.prod(GRID.shape)).reshape(GRID.shape).T * 0.5, GRID.affine)
    image.set_qform(np.diag([-1, -1, 1, 1]) @ GRID.affine, 1)
    image.header.set_xyzt_units("micron")
    image.to_filename(request_for.out.parent / "in" / "a.nii.gz")
    run_batch(request_for)
    written = nibabel.load(request_for.out / "a.nii.gz").header
    for field in ("qform_code", "sform_code", "quatern_b", "qoffset_x", "srow_x", "pixdim", "xyzt_units"):
        assert written[field].tobytes() == image.header[field].tobytes(), field


def test_notes_reach_the_terminal_the_table_and_the_page_and_stay_when_resumed(
    request_for: BatchRequest, segmenter: StandInSegmenter, capsys: pytest.CaptureFixture[str]
):
    from MedMetaSegLib.commands.apply import apply_files

    segmenter.notes = ["The task was learned on CT, and this image is read as MR."]
    for request in (request_for, resumed(request_for)):
        assert apply_files(request) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert f"a.nii.gz, b.nii.gz, c.nii.gz: {segmenter.notes[0]}" in shown
        assert [row["notes"] for row in rows_of(request.out.parent / "r.csv")] == segmenter.notes * 3
        assert segmenter.notes[0] in (request.out.parent / "r.html").read_text(encoding="utf-8")


def test_a_result_without_a_place_fails_alone(request_for: BatchRequest, segmenter: StandInSegmenter):
    (request_for.out / "b.nii.gz").mkdir(parents=True)
    result = run_batch(replace(request_for, overwrite=True))
    assert [row.status for row in result.rows] == [DONE, FAILED, DONE]
    assert "b.nii.gz cannot be written" in result.rows[1].reason
