"""Rows for the fit of confidence, gathered from phantoms with the shipped network."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedMetaSegLib.datasets.cases import Case
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.evaluation.confidence_fit import NEXT_PATIENT, PRESENCE, SAME_VOLUME
from MedMetaSegLib.evaluation.confidence_pairs import Pair
from MedMetaSegLib.evaluation.confidence_report import in_view, is_empty, scored
from MedMetaSegLib.evaluation.confidence_rows import gather, next_patient_rows, read_rows, same_volume_rows
from MedMetaSegLib.segmenter import Segmenter

SHAPE = (28, 32, 40)


def balls(shift: int) -> np.ndarray:
    """Two balls side by side, labels 1 and 2."""
    k, j, i = np.indices(SHAPE)
    labels = np.zeros(SHAPE, np.uint8)
    labels[((k - 13) / 9) ** 2 + ((j - 15 - shift) / 8) ** 2 + ((i - 10) / 7) ** 2 < 1] = 1
    labels[((k - 13) / 8) ** 2 + ((j - 15) / 7) ** 2 + ((i - 29 + shift) / 7) ** 2 < 1] = 2
    return labels


def a_case(folder: Path, dataset: str, case: str, shift: int = 0) -> Case:
    """A case of balls, or of noise alone where they are not labelled."""
    labels = balls(shift) if dataset == "hippocampus" else np.zeros(SHAPE, np.uint8)
    noise = np.random.default_rng(int(case)).normal(0, 8, SHAPE)
    image = (np.array([20.0, 110.0, 70.0])[labels] + noise).astype(np.int16)
    files = (folder / f"{dataset}_{case}_image.nii.gz", folder / f"{dataset}_{case}_label.nii.gz")
    for path, array in zip(files, (image, labels), strict=True):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    names = {1: "left", 2: "right"} if dataset == "hippocampus" else {1: "RV"}
    return Case(dataset, case, f"{dataset}_{case}", "MR", *files, names)


def test_rows_of_the_same_volume_have_every_feature_that_is_fitted(tmp_path: Path):
    path = tmp_path / "same_volume.jsonl"
    job = ("balls", partial(same_volume_rows, case=a_case(tmp_path, "hippocampus", "1")))
    gather(path, [job], 1)
    rows = read_rows(path)
    assert {(row["structure"], row["k"]) for row in rows} >= {("left", 1), ("left", 3), ("right", 5)}
    three = next(row for row in rows if row["k"] == 3)
    assert set(SAME_VOLUME) <= set(three)
    assert all(0.5 < row["dice"] <= 1 for row in rows if row["k"] == 3)
    assert scored(rows) == rows
    written = path.read_text(encoding="utf-8")
    gather(path, [job], 1)
    assert path.read_text(encoding="utf-8") == written


def test_rows_of_the_next_patient_know_who_has_a_structure_and_who_has_not(tmp_path: Path):
    support, query = (a_case(tmp_path, "hippocampus", case, int(case)) for case in ("0", "2"))
    pairs = [Pair(support, query), Pair(support, query, "low"), Pair(support, a_case(tmp_path, "acdc", "1"))]
    rows = list(next_patient_rows(Segmenter.load("cpu"), support, pairs))
    whole, half, elsewhere = (
        {row["structure"]: row for row in rows if (row["dataset"], row["cut"]) == part}
        for part in (("hippocampus", ""), ("hippocampus", "low"), ("acdc", ""))
    )
    assert [whole[name]["present"] for name in ("left", "right")] == [1, 1]
    assert min(row["dice"] for row in whole.values()) > 0.7
    assert set(NEXT_PATIENT) | set(PRESENCE) <= set(whole["left"])
    # Of the canonical image, whose columns run from left to right: the files' run from right to left.
    assert (half["left"]["present"], half["right"]["present"]) == (0, 1)
    assert half["left"]["dice"] == 0
    assert {row["present"] for row in elsewhere.values()} == {0}
    assert in_view(whole["left"])
    assert not is_empty(whole["left"])


@pytest.mark.parametrize("content", ["{", '{"job": "a"}', "[]"])
def test_what_are_no_rows_is_refused_in_a_sentence(tmp_path: Path, content: str):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match="cannot be read as rows"):
        read_rows(path)
