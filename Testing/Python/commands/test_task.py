"""The commands task merge, rename-structure and verify, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from MedMetaSegLib import cli
from MedMetaSegLib.network.shipped import shipped_sha256
from MedMetaSegLib.task.task_file import Task
from task_phantom import WEIGHTS, make_task

OUT = "c.medmetaseg"


def other_patient() -> Task:
    """A task of the same two structures in the other order, of one other patient."""
    task = make_task()
    first = task.atlases[1]
    close = replace(first.close, intensity=255 - first.close.intensity)
    atlas = replace(first, close=close, places=(first.places[1], first.places[0]))
    structures = (replace(task.structures[1], label=5), replace(task.structures[0], label=6))
    return replace(
        task,
        structures=structures,
        prototypes=(task.prototypes[1], task.prototypes[0]),
        atlases=(atlas,),
        provenance={"medmetaseg": "0.1.0", "annotations": ["scribbles"]},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a and b can be merged; the others not with a."""
    make_task().write(tmp_path / "a.medmetaseg")
    b = other_patient()
    b.write(tmp_path / "b.medmetaseg")
    replace(b, modality="MR").write(tmp_path / "mr.medmetaseg")
    replace(b, weights_sha256="cd" * 32).write(tmp_path / "weights.medmetaseg")
    named = (replace(b.structures[0], name="spleen"), b.structures[1])
    replace(b, structures=named).write(tmp_path / "spleen.medmetaseg")
    return tmp_path


def run(folder: Path, *arguments: str) -> int:
    given = [str(folder / one) if one.endswith(".medmetaseg") else one for one in arguments]
    return cli.run(["task", *given, *([] if given[0] == "verify" else ["-o", str(folder / OUT)])])


def test_merging_keeps_the_first_task_and_adds_the_supports_of_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(folder, "merge", "a.medmetaseg", "b.medmetaseg") == 0
    assert "3 patient(s)" in capsys.readouterr().out
    merged, a, b = (Task.read(folder / f"{name}.medmetaseg") for name in "cab")
    assert merged.structures == a.structures
    assert merged.provenance["annotations"] == ["complete", "slices", "scribbles"]
    np.testing.assert_array_equal(merged.atlases[2].close.intensity, b.atlases[0].close.intensity)
    for number in range(2):
        place, there = merged.atlases[2].places[number], b.atlases[0].places[1 - number]
        assert place is not None
        assert there is not None
        np.testing.assert_array_equal(place.occupancy, there.occupancy)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["merge", "a.medmetaseg"], "nothing to merge"),
        (["merge", "a.medmetaseg", "a.medmetaseg"], "same support"),
        (["merge", "a.medmetaseg", "mr.medmetaseg"], "of CT"),
        (["merge", "a.medmetaseg", "weights.medmetaseg"], "different weights"),
        (["merge", "a.medmetaseg", "spleen.medmetaseg"], "one task and not in another"),
        (["merge", "c.medmetaseg", "b.medmetaseg"], "one of the inputs"),
        (["merge", "a.medmetaseg", "none.medmetaseg"], "There is no task file"),
        (
            ["rename-structure", "a.medmetaseg", "liver", "x"],
            "no structure called liver",
        ),
        (
            ["rename-structure", "a.medmetaseg", "left kidney", "Niere rechts"],
            "already",
        ),
        (
            ["rename-structure", "a.medmetaseg", "left kidney", "a\x1bb"],
            "cannot be called",
        ),
        (["rename-structure", "a.medmetaseg", "left kidney", " "], "cannot be called"),
        (["rename-structure", "c.medmetaseg", "left kidney", "x"], "one of the inputs"),
        (["verify", "a.medmetaseg"], "other weights"),
        (["verify", "none.medmetaseg"], "There is no task file"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert run(folder, *arguments) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert says in shown.err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_renaming_changes_the_name_alone(folder: Path):
    arguments = ["a.medmetaseg", "left kidney", "Niere links"]
    assert run(folder, "rename-structure", *arguments) == 0
    renamed, task = Task.read(folder / "c.medmetaseg"), make_task()
    assert [one.name for one in renamed.structures] == ["Niere rechts", "Niere links"]
    assert replace(renamed.structures[1], name="left kidney") == task.structures[1]
    assert renamed.weights_sha256 == WEIGHTS


def test_a_sound_task_is_verified(folder: Path, capsys: pytest.CaptureFixture[str]):
    replace(make_task(), weights_sha256=shipped_sha256()).write(folder / "sound.medmetaseg")
    assert run(folder, "verify", "sound.medmetaseg") == 0
    assert "is whole: 2 structures, 2 supports" in capsys.readouterr().out
