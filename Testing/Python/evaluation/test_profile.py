"""The profile: jobs made from small cases, rows that add up, and what is refused."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from batch_stand_in import StandInSegmenter, put_in_place, write_noise
from MedMetaSegLib import cli
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.evaluation.profile_jobs import JOB_KINDS, Job, available_kinds, make_job
from MedMetaSegLib.evaluation.stage_profile import (
    CORRECTED,
    FIRST,
    OTHER,
    TOTAL,
    WARM,
    ProfileRow,
    profile_rows,
    profile_table,
    write_profile,
)
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import write_labels
from MedMetaSegLib.task.task_file import Task
from task_phantom import make_task

SHAPE = (24, 24, 20)


def an_ellipsoid(radius: float) -> np.ndarray:
    k, j, i = (np.indices(SHAPE).astype(float).T - np.array([11.5, 11, 9])).T
    return ((k / 11) ** 2 + (j / radius) ** 2 + (i / 7) ** 2 < 1).astype(np.uint8)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a small CT that has a liver, and two small patients with a hippocampus."""
    folder, cases = tmp_path / "data", []
    folder.mkdir()
    geometry = Geometry(SHAPE, np.diag([-2.0, 2.0, 3.0, 1.0]))
    about = (("totalseg", "ct", "CT", "liver", 8.0), *(("hippocampus", c, "MR", "one", 7.0) for c in "12"))
    for number, (dataset, case, modality, name, radius) in enumerate(about):
        labels = an_ellipsoid(radius + 0.2 * number)
        noise = np.random.default_rng(number).integers(0, 20, SHAPE)
        write_labels(folder / f"{number}.nii.gz", labels, geometry)
        write_labels(folder / f"{number}_image.nii.gz", (labels * 100 + noise).astype(np.uint8), geometry)
        cases.append(
            {
                "dataset": dataset,
                "case": case,
                "patient": f"p{number}",
                "modality": modality,
                "image": f"{number}_image.nii.gz",
                "label": f"{number}.nii.gz",
                "labels": {"1": name},
            }
        )
    (folder / "manifest.json").write_text(json.dumps(cases))
    return folder


def seconds_of(rows: list[ProfileRow], run: str) -> dict[str, float]:
    return {row.stage: row.seconds for row in rows if row.run == run}


def test_rows_of_a_support_add_up_in_every_run(data: Path, tmp_path: Path) -> None:
    rows = profile_rows(make_job("structures", data, tmp_path), "cpu")
    assert {row.run for row in rows} == {FIRST, WARM, CORRECTED}
    for run in (FIRST, WARM, CORRECTED):
        seconds = seconds_of(rows, run)
        assert sum(seconds.values()) == pytest.approx(2 * seconds[TOTAL], abs=0.01)
        assert {"check", "grid", "compose", OTHER} < set(seconds)
    assert "load" in seconds_of(rows, FIRST)
    assert {"read", "write"} < set(seconds_of(rows, WARM))
    assert not {"load", "read", "write"} & set(seconds_of(rows, CORRECTED))
    assert {(row.device, row.weights_id != "", row.gpu_memory_mb) for row in rows} == {("cpu", True, None)}


class Applies(StandInSegmenter):
    """A stand-in that says where it runs and counts how often it forgets."""

    def __init__(self) -> None:
        super().__init__()
        self.predictor, self.why_device = SimpleNamespace(device=torch.device("cpu")), "why"
        self.forgotten = 0

    def load(self, device: str = "auto", weights: Path | None = None) -> Applies:
        return self

    def forget(self) -> None:
        self.forgotten += 1


def test_rows_and_table_of_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = Applies()
    put_in_place(segmenter, monkeypatch)
    make_task().write(tmp_path / "task.medmetaseg")
    write_noise(tmp_path / "noise.nii.gz")
    rows = profile_rows(Job("one", "a task", tmp_path / "noise.nii.gz", tmp_path / "task.medmetaseg"), "cpu")
    assert {row.run for row in rows} == {FIRST, WARM}
    assert len(segmenter.applied) == 1 + segmenter.forgotten == 3
    write_profile(tmp_path / "profile.csv", rows)
    with (tmp_path / "profile.csv").open(newline="") as file:
        assert [row["stage"] for row in csv.DictReader(file)] == [row.stage for row in rows]
    console = Console(file=StringIO(), width=120)
    console.print(profile_table(rows))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    total = next(line.split("│")[1:-1] for line in lines if f" {TOTAL} " in line)
    assert [part.strip() for part in total[1:]] == [
        "",
        f"{seconds_of(rows, FIRST)[TOTAL]:.2f}",
        f"{seconds_of(rows, WARM)[TOTAL]:.2f}",
        "100.0 %",
    ]


def test_a_task_is_learned_for_its_job(data: Path, tmp_path: Path) -> None:
    job = make_job("hippocampus", data, tmp_path)
    assert [one.name for one in Task.read(job.given).structures] == ["one"]
    assert (job.image, job.corrected) == (data / "2_image.nii.gz", None)


def test_jobs_are_those_whose_cases_are_there(data: Path) -> None:
    assert available_kinds(data, None) == [one.name for one in JOB_KINDS]
    manifest = json.loads((data / "manifest.json").read_text(encoding="utf-8"))
    (data / "manifest.json").write_text(json.dumps(manifest[1:]))
    assert available_kinds(data, None) == ["hippocampus"]
    with pytest.raises(InputError, match="has no cases of totalseg"):
        available_kinds(data, ["hippocampus", "large"])
    with pytest.raises(InputError, match="no job magic; there are structures, large"):
        available_kinds(data, ["magic"])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--profile"], "no manifest.json"),
        (["--profile", "-k", "3"], "--profile goes with"),
        (["--job", "large"], "--job goes with --profile only"),
    ],
)
def test_what_cannot_be_profiled_is_one_sentence_and_status_2(
    arguments: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert cli.run(["benchmark", "--data", str(tmp_path), "--out", str(out), *arguments]) == 2
    assert why in capsys.readouterr().err
    assert not out.exists()
