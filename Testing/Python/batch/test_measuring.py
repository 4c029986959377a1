"""A batch that measures: its tables, by threads and processes alike, what stands, and the page."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batch_stand_in import SECONDS, Elsewhere, StandInSegmenter, results, rows_of, write_noise
from browser import find_chromium, title_after
from disk_faults import failing
from MedMetaSegLib import cli
from MedMetaSegLib.batch import measuring, run
from MedMetaSegLib.batch.measured_tables import LESIONS, MEASUREMENTS
from MedMetaSegLib.batch.request import BatchRequest
from MedMetaSegLib.batch.run import run_batch
from MedMetaSegLib.batch.states import DONE, FAILED, KEPT, BatchRow
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.volume import Geometry, Volume, write_labels
from MedMetaSegLib.measurements.measurements import MeasureOptions
from MedMetaSegLib.support.structure import Structure
from task_phantom import make_task

TABLES = (MEASUREMENTS, LESIONS)


@pytest.fixture
def request_for(tmp_path: Path) -> BatchRequest:
    """Two images a and p/b, a task, and all that is measured by default."""
    (tmp_path / "in" / "p").mkdir(parents=True)
    write_noise(tmp_path / "in" / "a.nii.gz", 1)
    write_noise(tmp_path / "in" / "p" / "b.nii.gz", 2)
    task = make_task()
    plain = tuple(replace(one, terminology="") for one in task.structures)
    replace(task, structures=plain).write(tmp_path / "two.medmetaseg")
    return BatchRequest(
        tmp_path / "two.medmetaseg", (tmp_path / "in",), tmp_path / "out", measure=MeasureOptions()
    )


def tables(request: BatchRequest) -> list[bytes]:
    return [(request.out / name).read_bytes() for name in TABLES]


def statuses(request: BatchRequest, **options: object) -> list[str]:
    return [row.status for row in run_batch(replace(request, **options)).rows]


def test_each_structure_of_each_image_has_a_row_as_measure_writes_it(
    request_for: BatchRequest, segmenter: StandInSegmenter, tmp_path: Path
):
    result = run_batch(request_for)
    assert results(request_for.out) == ["a.nii.gz", "lesions.csv", "measurements.csv", "p"]
    assert [path.name for path in result.reports] == list(TABLES)
    rows, lesions = (rows_of(request_for.out / name) for name in TABLES)
    assert [(row["image"], row["structure"], row["reason"]) for row in rows] == [
        ("a.nii.gz", "Niere rechts", ""),
        ("a.nii.gz", "left kidney", "not there"),
        ("p/b.nii.gz", "Niere rechts", ""),
        ("p/b.nii.gz", "left kidney", "not there"),
    ]
    assert [(row["output"], row["lesion"]) for row in lesions] == [("a.nii.gz", "1"), ("p/b.nii.gz", "1")]
    files = [str(folder / "p" / "b.nii.gz") for folder in (tmp_path / "in", request_for.out)]
    assert cli.run(["measure", *files, "-o", str(tmp_path / "one.csv")]) == 0
    (one,) = rows_of(tmp_path / "one.csv")
    assert one.pop("structure") == "Label 2"
    assert {name: rows[2][name] for name in one} == one


def test_an_image_that_fails_has_a_row_with_the_reason(
    request_for: BatchRequest, segmenter: StandInSegmenter, tmp_path: Path
):
    (tmp_path / "in" / "cut.nii.gz").write_bytes(b"no image")
    assert statuses(request_for) == [DONE, FAILED, DONE]
    failed = [row for row in rows_of(request_for.out / MEASUREMENTS) if row["status"] == FAILED]
    assert [(row["image"], row["structure"]) for row in failed] == [("cut.nii.gz", "")]
    assert failed[0]["reason"]


def test_without_the_word_nothing_is_measured(request_for: BatchRequest, segmenter: StandInSegmenter):
    result = run_batch(replace(request_for, measure=None))
    assert results(request_for.out) == ["a.nii.gz", "p"]
    assert [row.measurements for row in result.rows] == [None, None]


def applied(elsewhere: Elsewhere, out: str, *more: str) -> list[bytes]:
    """The tables of `apply --measure` on the images elsewhere, with more options."""
    command = ["apply", "two.medmetaseg", "in", "-o", out, "--device", "cpu", "--measure", *more]
    subprocess.run(
        [sys.executable, "-c", "from MedMetaSegLib.cli import main; main()", *command],
        cwd=elsewhere.folder,
        env={**elsewhere.environment, SECONDS: "0"},
        check=True,
        capture_output=True,
    )
    return [(elsewhere.folder / out / name).read_bytes() for name in TABLES]


def test_processes_measure_what_threads_measure(elsewhere: Elsewhere):
    elsewhere.images(3)
    by_threads = applied(elsewhere, "threads")
    assert by_threads == applied(elsewhere, "processes", "--workers", "2")
    assert by_threads[1].count(b"Niere rechts") == 3


# --- what stands ----------------------------------------------------------------------------------


def test_what_was_measured_is_kept_with_what_was_made(request_for: BatchRequest, segmenter: StandInSegmenter):
    run_batch(request_for)
    before = tables(request_for)
    write_noise(request_for.out.parent / "in" / "p" / "c.nii.gz", 3)
    for name in TABLES:
        (request_for.out / name).unlink()
    assert statuses(request_for, resume=True) == [KEPT, KEPT, DONE]
    assert len(segmenter.applied) == 3
    for old, new in zip(before, tables(request_for), strict=True):
        assert new.replace(KEPT.encode(), DONE.encode()).startswith(old)


@pytest.mark.parametrize("result_format", ["nii.gz", "seg.nrrd"])
def test_what_was_made_without_measuring_is_measured_from_its_file(
    request_for: BatchRequest,
    segmenter: StandInSegmenter,
    monkeypatch: pytest.MonkeyPatch,
    result_format: str,
):
    request = replace(request_for, format=result_format)
    run_batch(request)
    measured = [table.replace(DONE.encode(), KEPT.encode()) for table in tables(request)]
    shutil.rmtree(request.out)
    run_batch(replace(request, measure=None))
    segmenter.applied.clear()
    assert statuses(request, resume=True) == [KEPT] * 2
    assert segmenter.applied == []
    assert tables(request) == measured
    # The next time from the journal.
    monkeypatch.setattr(measuring, "measure", None)
    assert statuses(request, resume=True) == [KEPT] * 2
    assert tables(request) == measured


def test_a_result_that_cannot_be_measured_is_made_anew(
    request_for: BatchRequest, segmenter: StandInSegmenter, monkeypatch: pytest.MonkeyPatch
):
    run_batch(replace(request_for, measure=None))

    def refused(*arguments: object, **options: object) -> None:
        raise InputError("It cannot be read.")

    monkeypatch.setattr(measuring, "read_segmented", refused)
    assert statuses(request_for, resume=True) == [DONE] * 2
    assert len(rows_of(request_for.out / LESIONS)) == 2


def test_an_error_of_one_image_does_not_end_a_batch_that_goes_on(
    request_for: BatchRequest, segmenter: StandInSegmenter, monkeypatch: pytest.MonkeyPatch
):
    run_batch(replace(request_for, measure=None))
    whole = measuring.measure
    first = []

    def breaks(*arguments: object, **options: object) -> object:
        first.append(True)
        if len(first) == 1:
            raise RuntimeError("of the first image")
        return whole(*arguments, **options)

    monkeypatch.setattr(measuring, "measure", breaks)
    assert statuses(request_for, resume=True) == [FAILED, KEPT]
    assert "of the first image" in rows_of(request_for.out / MEASUREMENTS)[0]["reason"]


def test_what_is_beyond_the_memory_limit_is_not_read_to_be_measured(
    request_for: BatchRequest, segmenter: StandInSegmenter, monkeypatch: pytest.MonkeyPatch
):
    run_batch(replace(request_for, measure=None))
    monkeypatch.setattr(run, "memory_limit_bytes", lambda request: 10)
    result = run_batch(replace(request_for, resume=True))
    assert [row.status for row in result.rows] == [FAILED] * 2
    assert all("memory limit" in row.reason for row in result.rows)


def test_other_options_are_measured_anew(request_for: BatchRequest, segmenter: StandInSegmenter):
    run_batch(request_for)
    other = replace(request_for, measure=MeasureOptions(smallest_mm3=1e6), resume=True)
    assert statuses(other) == [KEPT] * 2
    assert rows_of(request_for.out / LESIONS) == []
    assert {row["smallest_mm3"] for row in rows_of(request_for.out / MEASUREMENTS)} == {"1000000.0"}


def test_a_journal_with_damaged_measurements_makes_the_result_anew(
    request_for: BatchRequest, segmenter: StandInSegmenter
):
    run_batch(request_for)
    journal = request_for.out / ".medmetaseg" / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    del lines[0]["row"]["measurements"]["structures"][0]["label"]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert sorted(statuses(request_for, resume=True)) == sorted([DONE, KEPT])


def test_a_disk_that_refuses_at_any_step_is_made_good_when_resumed(
    request_for: BatchRequest, segmenter: StandInSegmenter
):
    run_batch(request_for)
    whole = [table.replace(DONE.encode(), KEPT.encode()) for table in tables(request_for)]
    shutil.rmtree(request_for.out)
    run_batch(replace(request_for, measure=None))
    resumed = replace(request_for, resume=True)
    steps, done = 0, False
    while not done:
        for name in TABLES:
            (request_for.out / name).unlink(missing_ok=True)
        with failing(steps, errno.ENOSPC) as faults:
            try:
                run_batch(resumed)
            except InputError:
                assert faults.failed
        done = not faults.failed
        assert statuses(resumed) == [KEPT] * 2
        assert tables(request_for) == whole
        steps += 1
    assert steps > 5


def test_a_result_in_which_nothing_was_found_is_measured_as_nothing(tmp_path: Path):
    grid = Geometry((4, 5, 6), np.eye(4))
    volume = Volume(np.zeros(grid.shape, np.int16), grid)
    write_labels(tmp_path / "result.nii.gz", np.zeros(grid.shape, np.uint8), grid)
    structures = [Structure("liver", 1, (1.0, 0.0, 0.0)), Structure("spleen", 2, (0.0, 1.0, 0.0))]
    row = BatchRow("a", "a.nii.gz", "a.nii.gz", DONE)
    measured = measuring.measured_row(row, tmp_path / "result.nii.gz", volume, structures, MeasureOptions())
    assert measured.measurements is not None
    found = [(one.name, one.voxel_count) for one in measured.measurements.structures]
    assert found == [("liver", 0), ("spleen", 0)]


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: {"measure": MeasureOptions(("x",))}, "no structure called x"),
        (lambda folder: {"report": folder / "out" / MEASUREMENTS}, "give the report another name"),
        (lambda folder: {"inputs": (folder / "out" / LESIONS,)}, "is an input"),
    ],
)
def test_what_cannot_be_is_refused(
    request_for: BatchRequest, segmenter: StandInSegmenter, change: Callable[[Path], dict], says: str
):
    request_for.out.mkdir()
    listed = request_for.out / LESIONS
    listed.write_text("image\n../in/a.nii.gz\n")
    with pytest.raises(InputError, match=says):
        run_batch(replace(request_for, **change(request_for.out.parent)))
    assert results(request_for.out) == [LESIONS]
    assert segmenter.applied == []


def test_tables_that_are_there_need_a_word(request_for: BatchRequest, segmenter: StandInSegmenter):
    request_for.out.mkdir()
    (request_for.out / MEASUREMENTS).write_text("mine")
    with pytest.raises(InputError, match=r"measurements\.csv is there already"):
        run_batch(request_for)
    assert (request_for.out / MEASUREMENTS).read_text(encoding="utf-8") == "mine"
    assert statuses(request_for, overwrite=True) == [DONE] * 2


def test_the_request_comes_out_as_it_went_in(request_for: BatchRequest):
    within = request_for.out.parent / "region.nii.gz"
    request = replace(request_for, measure=MeasureOptions(("left kidney",), 6, 2.5), within=within)
    back = BatchRequest.from_dict(json.loads(json.dumps(request.as_dict())))
    assert replace(back, inputs=request.inputs) == request


# --- the page -------------------------------------------------------------------------------------


def test_the_page_has_columns_that_sort_and_names_who_stands_out(
    request_for: BatchRequest, segmenter: StandInSegmenter, tmp_path: Path
):
    chromium = find_chromium()
    for number in range(8):
        write_noise(tmp_path / "in" / f"n{number}.nii.gz", number)
    brighter = tmp_path / "in" / "bright.nii.gz"
    write_bright(brighter)
    run_batch(replace(request_for, report=tmp_path / "r.csv"))
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    check = """
    const table = document.querySelector("table");
    const heads = [...table.tHead.rows[0].cells].map(head => head.textContent);
    const column = heads.indexOf("Niere rechts (mean)");
    table.tHead.rows[0].cells[column].firstChild.click();
    const rows = [...table.tBodies[0].rows];
    const means = rows.map(row => parseFloat(row.cells[column].textContent));
    const sorted = means.every((mean, n) => !n || means[n - 1] <= mean);
    const marks = rows.map(row => Number(row.cells[column].querySelector("line").getAttribute("x1")));
    const bars = document.querySelector(".histogram use").getBoundingClientRect();
    const lists = [...document.querySelectorAll("details li")].map(one => one.textContent.split(":")[0]);
    document.title = [sorted, marks[0], marks.at(-1), bars.height > 5, lists.join(), column].join(" ");
    """
    sorts, first, last, bars, named, column = title_after(chromium, tmp_path, html, check)
    assert (sorts, float(first), float(last), bars) == ("true", 0, 60, "true")
    assert named == "bright.nii.gz"
    assert int(column) > 0
    assert "stands out, z +" in html
    assert "Niere rechts (lesions)" in html


def write_bright(path: Path) -> None:
    """An image of the same noise, 500 brighter."""
    import SimpleITK as sitk

    write_noise(path, 9)
    sitk.WriteImage(sitk.ReadImage(str(path)) + 500, str(path))
