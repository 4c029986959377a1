"""Lists of real cases: thirds by volume, and one part of each patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from MedMetaSegLib.datasets.cases import Case
from MedMetaSegLib.evaluation.comparison_cohorts import number_rows, part_rows, volume_rows
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import read_image, write_labels


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    """Seven cases, each with more voxels than the one before; the third has no second structure."""
    found = []
    for number in range(7):
        labels = np.zeros((4, 4, 8), np.uint8)
        labels[1, 1, : number + 1], labels[2, 2, : number + 1] = 1, 2
        path = tmp_path / f"{number}.nii.gz"
        write_labels(path, labels, Geometry(labels.shape, np.eye(4)))
        names = {1: "a", 2: "b"} if number != 2 else {1: "a"}
        found.append(Case("set", f"00{number}", f"set_{number}", "MR", path, path, names))
    return found


def test_thirds_by_volume_leave_the_middle_out(cases: list[Case]) -> None:
    rows = volume_rows(cases[::-1])
    assert [(row["name"], row["group"]) for row in rows] == [
        ("set 000", "small"), ("set 001", "small"), ("set 005", "large"), ("set 006", "large")
    ]  # fmt: skip


def test_patients_take_turns_in_the_part_they_give(cases: list[Case], tmp_path: Path) -> None:
    rows = part_rows(cases, ("a", "b"), tmp_path)
    assert [row["group"] for row in rows] == ["a", "b"] * 3
    assert [row["name"] for row in rows] == [f"set 00{n}" for n in (0, 1, 3, 4, 5, 6)]
    second = read_image(Path(str(rows[1]["segmentation"]))).array
    np.testing.assert_array_equal(second, read_image(cases[1].labels).array == 2)


def test_numbers_make_groups_of_no_meaning(cases: list[Case]) -> None:
    assert [row["group"] for row in number_rows(cases[:3])] == ["even", "odd", "even"]
