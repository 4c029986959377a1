"""The commands learn, apply and inspect: what is refused, what is written, what is left when images fail.

Tests that say so run with `StandInSegmenter`, which gives back one block: there the command is tested.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import killed_command
from batch_stand_in import GRID, SHAPE, StandInSegmenter, results, rows_of
from disk_faults import failing
from MedMetaSegLib import cli
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.volume import read_image, to_sitk, write_labels
from MedMetaSegLib.task.task_file import Task
from task_phantom import WEIGHTS, make_task


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a.nii.gz, b.nrrd and again/a.nii.gz, painted.nii.gz, and the task two.medmetaseg."""
    import SimpleITK as sitk

    array = np.random.default_rng(1).normal(40, 20, SHAPE).astype(np.float32)
    (tmp_path / "again").mkdir()
    for name in ("a.nii.gz", "b.nrrd", "again/a.nii.gz"):
        sitk.WriteImage(to_sitk(array, GRID), str(tmp_path / name))
    labels = np.zeros(SHAPE, np.uint8)
    labels[[2, 6], 4:12, 3:9] = 3
    write_labels(tmp_path / "painted.nii.gz", labels, GRID)
    make_task().write(tmp_path / "two.medmetaseg")
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(folder: Path, *arguments: str) -> int:
    """Words with a dot or a slash are files of the folder."""
    return cli.run([str(folder / one) if "." in one or "/" in one else one for one in arguments])


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["learn", "a.nii.gz", "-o", "t.medmetaseg"], "with its support"),
        (["learn", "a.nii.gz", "painted.nii.gz", "b.nrrd", "-o", "t.medmetaseg"], "with its support"),
        (["learn", "none.nii", "painted.nii.gz", "-o", "t.medmetaseg"], "There is no image"),
        (["learn", "a.nii.gz", "none.nii", "-o", "t.medmetaseg"], "There is no support"),
        (["learn", "a.nii.gz", "painted.nii.gz", "-o", "t.nii.gz"], "let it end in .medmetaseg"),
        (["learn", "a.nii.gz", "painted.nii.gz", "-o", "none/t.medmetaseg"], "there is no folder"),
        (["learn", "a.nii.gz", "a.nii.gz", "-o", "t.medmetaseg"], "whole numbers"),
        (["segment", "a.nii.gz", "painted.nii.gz", "-o", "o.nii.gz", "--save-task", "t.nii"], "let it end"),
        (["apply", "none.medmetaseg", "a.nii.gz", "-o", "out/"], "There is no task file"),
        (["apply", "two.medmetaseg", "none.nii", "-o", "out/"], "There is no image"),
        (["apply", "two.medmetaseg", "a.nii.gz", "-o", "b.nrrd"], "is a file"),
        (["apply", "two.medmetaseg", "a.nii.gz", "-o", "none/out"], "there is no folder"),
        (["apply", "two.medmetaseg", "a.nii.gz", "-o", "./"], "would overwrite"),
        (["apply", "two.medmetaseg", "a.nii.gz", "-o", "out/", "--report", "r.json"], "let it end in .csv"),
        (["apply", "painted.nii.gz", "a.nii.gz", "-o", "out/"], "is no task file"),
        (["apply", "two.medmetaseg", "-o", "out/"], "Missing argument"),
        (["apply", "two.medmetaseg", "a.nii.gz", "-o", "out/", "--force", "x"], "no structure called x"),
        (["apply", "two.medmetaseg", "a.nii.gz", "-o", "out/", "--connectivity", "6"], "with --measure only"),
        (
            ["apply", "two.medmetaseg", "a.nii.gz", "-o", "out/", "--measure", "--lesions", "x"],
            "no structure called x",
        ),
        (["apply", "two.medmetaseg", "a.nii.gz", "-o", "out/", "--accept-above", "2"], "from 0 to 1"),
        (["apply", "two.medmetaseg", "a.nii.gz", "-o", "out/", "--paint-below", "nan"], "from 0 to 1"),
        (["apply", "two.medmetaseg", "a.nii.gz", "-o", "out/", "--paint-below", "1"], "not above"),
        (["apply", "two.medmetaseg", "a.nii.gz", "-o", "out/", "--uncertainty", "b.nrrd"], "is a file"),
        (["apply", "two.medmetaseg", "a.nii.gz", "-o", "out/", "--uncertainty", "out/"], "one of their own"),
        (
            ["apply", "two.medmetaseg", "a.nii.gz", "-o", "out/", "--drop-doubtful", "--no-confidence"],
            "leave one of the two out",
        ),
        (["inspect", "none.medmetaseg"], "There is no task file"),
        (["inspect", "a.nii.gz"], "is no task file"),
    ],
)
def test_bad_arguments_are_one_line_and_write_nothing(
    folder: Path,
    segmenter: StandInSegmenter,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
):
    before = files(folder)
    assert run(folder, *arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("medmetaseg: ")
    assert shown.err.count("\n") == 1
    assert says in shown.err
    assert files(folder) == before
    assert not (folder / "out").exists()


def test_a_task_of_other_weights_is_refused(
    folder: Path, segmenter: StandInSegmenter, capsys: pytest.CaptureFixture[str]
):
    segmenter.provenance = {"sha256": "cd" * 32}
    assert run(folder, "apply", "two.medmetaseg", "a.nii.gz", "b.nrrd", "-o", "out/") == 2
    assert "other weights" in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_the_only_image_failing_is_bad_input(
    folder: Path, segmenter: StandInSegmenter, capsys: pytest.CaptureFixture[str]
):
    (folder / "cut.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes()[:900])
    before = files(folder)
    assert run(folder, "apply", "two.medmetaseg", "cut.nii.gz", "-o", "out/", "--report", "r.csv") == 2
    assert "truncated" in capsys.readouterr().err
    assert files(folder) == before


# --- learn and inspect ----------------------------------------------------------------------------


def test_with_a_stand_in_segmenter_learn_reads_pairs_and_writes_a_task(
    folder: Path, segmenter: StandInSegmenter, capsys: pytest.CaptureFixture[str]
):
    pairs = ["a.nii.gz", "painted.nii.gz", "b.nrrd", "painted.nii.gz"]
    assert run(folder, "learn", *pairs, "-o", "new.medmetaseg", "--annotation", "complete") == 0
    volumes = [(volume.name, support.annotation) for volume, support in segmenter.learned[0]]
    assert volumes == [("a", "complete"), ("b", "complete")]
    assert Task.read(folder / "new.medmetaseg").structures == make_task().structures
    assert "Niere rechts" in capsys.readouterr().out
    assert not list(folder.glob(".medmetaseg-*"))


def test_with_a_stand_in_segmenter_segment_saves_a_task_beside_its_result(
    folder: Path, segmenter: StandInSegmenter
):
    files = ["a.nii.gz", "painted.nii.gz", "-o", "seg.nii.gz", "--save-task", "new.medmetaseg"]
    assert run(folder, "segment", *files) == 0
    assert (folder / "seg.nii.gz").is_file()
    assert Task.read(folder / "new.medmetaseg").modality == "CT"
    assert segmenter.learned[0][0][1].annotation == "slices"


def test_inspect_shows_what_is_in_a_task(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert run(folder, "inspect", "two.medmetaseg") == 0
    shown = capsys.readouterr().out
    for text in ("Niere rechts", "left kidney", "300", "3 + 5", "CT, 2 patient(s)", WEIGHTS[:12]):
        assert text in shown


# --- apply ----------------------------------------------------------------------------------------


def test_with_a_stand_in_segmenter_apply_writes_a_label_map_per_image_in_its_own_geometry(
    folder: Path, segmenter: StandInSegmenter
):
    images = ["a.nii.gz", "b.nrrd", "again/a.nii.gz"]
    assert run(folder, "apply", "two.medmetaseg", *images, "-o", "out/", "--report", "r.csv") == 0
    assert results(folder / "out") == ["a.nii.gz", "again", "b.nii.gz"]
    assert results(folder / "out" / "again") == ["a.nii.gz"]
    written = read_image(folder / "out" / "b.nii.gz")
    assert written.geometry.same_grid(read_image(folder / "b.nrrd").geometry)
    assert np.unique(written.array).tolist() == [0, 2]
    rows = rows_of(folder / "r.csv")
    assert [row["status"] for row in rows] == ["done"] * 3
    assert rows[0]["Niere rechts found"] == "yes"
    assert rows[0]["left kidney found"] == "no: not there"


def test_with_a_stand_in_segmenter_a_damaged_image_fails_alone(
    folder: Path, segmenter: StandInSegmenter, capsys: pytest.CaptureFixture[str]
):
    (folder / "cut.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes()[:900])
    images = ["a.nii.gz", "cut.nii.gz", "b.nrrd"]
    assert run(folder, "apply", "two.medmetaseg", *images, "-o", "out/", "--report", "out/r.csv") == 3
    assert results(folder / "out") == ["a.nii.gz", "b.nii.gz", "r.csv", "r.html"]
    rows = rows_of(folder / "out" / "r.csv")
    assert [row["status"] for row in rows] == ["done", "failed", "done"]
    assert "truncated" in rows[1]["reason"]


def test_with_a_stand_in_segmenter_an_interrupted_run_says_what_is_done_and_resumes(
    folder: Path, segmenter: StandInSegmenter, capsys: pytest.CaptureFixture[str]
):
    def interrupt(name: str) -> None:
        if name == "b":
            raise KeyboardInterrupt

    segmenter.before = interrupt
    call = ["apply", "two.medmetaseg", "a.nii.gz", "b.nrrd", "-o", "out/", "--report", "r.csv", "--resume"]
    assert run(folder, *call) == 130
    assert "1 of 2 images are done" in capsys.readouterr().err
    assert results(folder / "out") == ["a.nii.gz"]
    segmenter.before = lambda name: None
    assert run(folder, *call) == 0
    assert segmenter.applied == ["a", "b"]
    rows = rows_of(folder / "r.csv")
    assert [row["status"] for row in rows] == ["there already", "done"]
    assert [row["Niere rechts found"] for row in rows] == ["yes", "yes"]


def test_with_a_stand_in_segmenter_another_task_is_not_resumed(folder: Path, segmenter: StandInSegmenter):
    call = ["a.nii.gz", "b.nrrd", "-o", "out/", "--report", "r.csv", "--resume"]
    assert run(folder, "apply", "two.medmetaseg", *call) == 0
    shutil.copy(folder / "two.medmetaseg", folder / "copy.medmetaseg")
    other = make_task()
    object.__setattr__(other, "modality", "MR")
    other.write(folder / "other.medmetaseg")
    assert run(folder, "apply", "copy.medmetaseg", *call) == 0
    assert segmenter.applied == ["a", "b"]
    assert run(folder, "apply", "other.medmetaseg", *call) == 0
    assert segmenter.applied == ["a", "b", "a", "b"]


def test_with_a_stand_in_segmenter_choices_reach_the_segmenter(folder: Path, segmenter: StandInSegmenter):
    call = ["apply", "two.medmetaseg", "a.nii.gz", "-o", "out/", "--overwrite"]
    assert run(folder, *call) == 0
    assert run(folder, *call, "--drop-doubtful", "--force", "left kidney", "--force", "Niere rechts") == 0
    assert run(folder, *call, "--no-confidence") == 0
    usual = {"keep_doubtful": True, "force": (), "confidence": True, "within": None, "channels": ()}
    forced = {**usual, "keep_doubtful": False, "force": ("left kidney", "Niere rechts")}
    assert segmenter.asked == [usual, forced, {**usual, "confidence": False}]


def test_with_a_stand_in_segmenter_what_is_expected_reaches_the_terminal_the_table_and_the_page(
    folder: Path, segmenter: StandInSegmenter, capsys: pytest.CaptureFixture[str]
):
    segmenter.dice = {"a": 0.9, "b": 0.5}
    call = ["apply", "two.medmetaseg", "a.nii.gz", "b.nrrd", "-o", "out/", "--report", "r.csv"]
    assert run(folder, *call) == 0
    shown = capsys.readouterr().out
    assert "left out: left kidney (0.02)" in shown
    assert [row["triage"] for row in rows_of(folder / "r.csv")] == ["accept", "paint"]
    row = rows_of(folder / "r.csv")[1]
    assert (row["Niere rechts predicted_dice"], row["Niere rechts next_slice"]) == ("0.5", "axial 4")
    text = (folder / "r.html").read_text(encoding="utf-8")
    assert text.index("b.nrrd") < text.index("a.nii.gz")
    # Of kept results, too, and by other bounds.
    assert run(folder, *call, "--resume", "--accept-above", "1", "--paint-below", "0") == 0
    assert segmenter.applied == ["a", "b"]
    assert [row["triage"] for row in rows_of(folder / "r.csv")] == ["review", "review"]


def test_with_a_stand_in_segmenter_an_image_unlike_the_tasks_is_to_be_reviewed(
    folder: Path, segmenter: StandInSegmenter
):
    segmenter.unlike = ["The task was learned on CT, and this image is read as MR."]
    call = ["apply", "two.medmetaseg", "a.nii.gz", "-o", "out/", "--report", "r.csv"]
    for more in ([], ["--resume"]):
        assert run(folder, *call, *more) == 0
        (row,) = rows_of(folder / "r.csv")
        assert (row["triage"], row["unlike"]) == ("review", segmenter.unlike[0])


def test_with_a_stand_in_segmenter_results_of_other_options_are_not_resumed(
    folder: Path, segmenter: StandInSegmenter
):
    call = ["apply", "two.medmetaseg", "a.nii.gz", "-o", "out/", "--resume"]
    choices: list[list[str]] = [
        [],
        ["--drop-doubtful"],
        ["--force", "left kidney"],
        ["--force", "left kidney", "--force", "Niere rechts"],
        ["--no-confidence"],
    ]
    for number, options in enumerate(choices, start=1):
        for _ in range(2):
            assert run(folder, *call, *options) == 0
            assert len(segmenter.applied) == number
    again = ["--force", "Niere rechts", "--force", "left kidney"]
    assert run(folder, *call, *choices[3]) == 0
    assert run(folder, *call, *again, "--accept-above", "1") == 0
    assert len(segmenter.applied) == len(choices) + 1


def test_with_a_stand_in_segmenter_overlapping_structures_go_into_a_segmentation(
    folder: Path, segmenter: StandInSegmenter
):
    task = make_task()
    object.__setattr__(task, "overlapping", True)
    task.write(folder / "over.medmetaseg")
    assert run(folder, "apply", "over.medmetaseg", "a.nii.gz", "-o", "out/") == 0
    assert results(folder / "out") == ["a.seg.nrrd"]


def test_an_unwritable_task_is_an_input_error(folder: Path):
    with pytest.raises(InputError):
        make_task().write(folder / "none" / "t.medmetaseg")


# --- disks that refuse ----------------------------------------------------------------------------


def is_whole(path: Path) -> bool:
    """Whether a file is what a run that went well leaves there."""
    if path.suffix == ".gz":
        return read_image(path).geometry.same_grid(GRID)
    if path.suffix == ".medmetaseg":
        return bool(Task.read(path).structures)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return bool(json.loads(text)["out"])
    return text.startswith("image,") and "a.nii.gz" in text if path.suffix == ".csv" else "</html>" in text


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["learn", "a.nii.gz", "painted.nii.gz", "-o", "t.medmetaseg"], ["t.medmetaseg"]),
        (
            ["apply", "two.medmetaseg", "a.nii.gz", "-o", "out/", "--report", "r.csv", "--overwrite"],
            ["out/a.nii.gz", "r.csv", "r.html"],
        ),
    ],
    ids=["learn", "apply"],
)
def test_with_a_stand_in_segmenter_a_disk_that_refuses_leaves_every_file_old_or_new(
    folder: Path,
    segmenter: StandInSegmenter,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    names: list[str],
    code: int,
):
    (folder / "out").mkdir()
    inputs = files(folder)
    steps, done = 0, False
    while not done:
        for name in names:
            (folder / name).write_bytes(b"yesterday's")
        with failing(steps, code) as faults:
            status = run(folder, *arguments)
        done = not faults.failed
        new = [name for name in names if (folder / name).read_bytes() != b"yesterday's"]
        assert all(is_whole(folder / name) for name in new), (steps, new)
        assert status in (0, 2, 3)
        assert new == names or status != 0
        assert ".partial" not in capsys.readouterr().err
        there = files(folder)
        assert {path: there[path] for path in inputs} == inputs
        steps += 1
    assert status == 0
    assert steps >= 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="every step is killed in a fork")
@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (
            ["segment", "a.nii.gz", "painted.nii.gz", "-o", "out/seg.nii.gz", "--report", "out/r.json"]
            + ["--save-task", "out/t.medmetaseg"],
            ["out/seg.nii.gz", "out/r.json", "out/t.medmetaseg"],
        ),
        (["learn", "a.nii.gz", "painted.nii.gz", "-o", "t.medmetaseg"], ["t.medmetaseg"]),
        (
            ["apply", "two.medmetaseg", "a.nii.gz", "-o", "out/", "--report", "r.csv", "--overwrite"],
            ["out/a.nii.gz", "r.csv", "r.html"],
        ),
    ],
    ids=["segment", "learn", "apply"],
)
def test_with_a_stand_in_segmenter_a_kill_at_any_step_leaves_every_file_old_or_new(
    folder: Path, arguments: list[str], names: list[str]
):
    (folder / "out").mkdir()
    inputs = files(folder)
    words = [str(folder / one) if "." in one or "/" in one else one for one in arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    script = Path(killed_command.__file__)
    command = [sys.executable, script, folder, json.dumps(names), *words]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    steps = sorted(folder.glob("step*"), key=lambda step: int(step.name[4:]))
    assert len(steps) > 4
    for step in steps:
        new = [name for name in names if (step / name).read_bytes() != killed_command.OLD]
        assert all(is_whole(step / name) for name in new), (step, new)
    assert new == names
    there = files(folder)
    assert {path: there[path] for path in inputs} == inputs
