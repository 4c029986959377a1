"""Simulated painting: sessions on a phantom, who takes part, and what is told of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedMetaSegLib.datasets.cases import Case
from MedMetaSegLib.evaluation.metrics import dice
from MedMetaSegLib.evaluation.slice_policies import EQUAL_SPACING, View
from MedMetaSegLib.evaluation.slice_sessions import (
    CHOOSING,
    CORONAL_SECOND,
    REPORTING,
    PaintedStructure,
    SessionCase,
    main,
    session_cases,
    session_rows,
    session_steps,
    write_outcome,
)
from MedMetaSegLib.evaluation.slice_summary import (
    area,
    curves,
    paired_difference,
    summary_table,
)
from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.segmenter import Segmenter
from MedMetaSegLib.support.structure import Structure
from MedMetaSegLib.support.support import Support

SHAPE = (28, 32, 32)
ORGAN = Structure("organ", 1, (1.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load("cpu")


def organ() -> np.ndarray:
    """A ball on slices 4 to 22."""
    k, j, i = np.indices(SHAPE)
    return ((k - 13) / 10) ** 2 + ((j - 15) / 9) ** 2 + ((i - 16) / 8) ** 2 < 1


def image() -> np.ndarray:
    return (80.0 * organ() + np.random.default_rng(2).normal(0, 8, SHAPE)).astype(np.int16)


@pytest.fixture
def structure(segmenter: Segmenter) -> PaintedStructure:
    return PaintedStructure(segmenter, Volume.from_array(image(), np.eye(4)), organ(), ORGAN, "fast")


def a_case(folder: Path, patient: str, dataset: str = "balls") -> Case:
    files = (folder / f"{dataset}_{patient}_image.nii.gz", folder / f"{dataset}_{patient}_label.nii.gz")
    for path, array in zip(files, (image(), organ().astype(np.uint8)), strict=True):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return Case(dataset, f"of {patient}", patient, "MR", *files, {1: "organ", 2: "not there"})


def test_the_answer_is_that_of_the_segmenter(structure: PaintedStructure, segmenter: Segmenter) -> None:
    painted = np.zeros(SHAPE, np.uint8)
    painted[[8, 18]] = organ()[[8, 18]]
    volume = Volume.from_array(image(), np.eye(4))
    expected = segmenter.segment(volume, Support.from_labels(painted, volume.geometry), quality="fast")
    np.testing.assert_array_equal(structure.answer([18, 8]).mask, expected.mask(1))


def test_a_session_looks_at_slices_and_is_told_of_empty_ones(structure: PaintedStructure) -> None:
    views: list[View] = []

    def policy(view: View) -> int | None:
        views.append(view)
        return {1: 25, 2: 8, 3: None}[len(views)]

    steps = list(session_steps(structure, policy, "session", 9))
    assert [(one["k"], one["slice"], one["empty"]) for one in steps] == [(1, 13, 0), (2, 25, 1), (3, 8, 1)]
    assert [(one.painted, one.empty) for one in views] == [((13,), ()), ((13,), (25,)), ((13, 8), (25,))]
    assert steps[1]["dice"] == steps[0]["dice"]
    assert 0.7 < steps[0]["dice_others"] <= steps[0]["dice"] < 1
    others = np.arange(SHAPE[0]) != 13
    expected = dice(structure.answer([13]).mask[others], organ()[others])
    assert steps[0]["dice_others"] == pytest.approx(expected, abs=1e-4)


def test_rows_of_one_structure_and_the_page_they_make(segmenter: Segmenter, tmp_path: Path) -> None:
    one = SessionCase(a_case(tmp_path, "one"), 1, REPORTING)
    names = ["suggested", "widest gap", EQUAL_SPACING, CORONAL_SECOND]
    rows = list(session_rows(segmenter, one, names, "fast", most=3))
    assert [row["k"] for row in rows if row["policy"] == "suggested"] == [1, 2, 3]
    assert [row["slice"] for row in rows if row["policy"] == CORONAL_SECOND][:2] == [13, 16], (
        "through the middle"
    )
    first = [row["dice"] for row in rows if row["k"] == 1]
    assert len(set(first)) == 1, "all begin with the same slice"
    assert all(0.97 < row["dice"] <= 1 for row in rows)
    write_outcome(rows, tmp_path)
    page = (tmp_path / "slice_sessions.md").read_text(encoding="utf-8")
    assert "| suggested | 1 (1) |" in page
    assert (tmp_path / "slice_sessions.png").stat().st_size > 5000


def test_a_patient_of_two_collections_is_in_one_half(tmp_path: Path) -> None:
    cases = [a_case(tmp_path, f"p{n}") for n in range(3)]
    cases += [a_case(tmp_path, f"p{n}", "again") for n in range(2)]
    found = session_cases(cases)
    assert [one.name for one in found[:2]] == ["balls/of p0/organ", "again/of p0/organ"]
    assert len(found) == len(cases), "what is not there does not take part"
    halves = {(one.case.patient, one.half) for one in found}
    assert halves == {("p0", CHOOSING), ("p1", REPORTING), ("p2", CHOOSING)}


def test_no_session_is_of_a_structure_that_goes_on_unlabelled(tmp_path: Path) -> None:
    case = replace(a_case(tmp_path, "one", "openkbp"), names={1: "spinal cord"})
    assert session_cases([case]) == []
    assert len(session_cases([replace(case, names={1: "larynx"})])) == 1


def test_what_is_there_is_not_run_again_and_collections_may_be_left_out(tmp_path: Path) -> None:
    cases = [a_case(tmp_path, "one"), a_case(tmp_path, "two", "again")]
    entries = [
        {
            "dataset": case.dataset,
            "case": case.case,
            "patient": case.patient,
            "modality": case.modality,
            "image": case.image.name,
            "label": case.labels.name,
            "labels": {"1": "organ"},
        }
        for case in cases
    ]
    (tmp_path / "manifest.json").write_text(json.dumps(entries), encoding="utf-8")
    there = [{**a_row("suggested", k, 0.8), "half": CHOOSING} for k in range(1, 10)]
    done = json.dumps({"job": "balls/of one/organ: suggested", "rows": there}) + "\n"
    rows = tmp_path / "slice_sessions.jsonl"
    rows.write_text(done, encoding="utf-8")
    main(tmp_path, [tmp_path], policies="suggested", leave_out="again")
    assert rows.read_text(encoding="utf-8") == done
    assert "| suggested | 1 (1) | 0.800 |" in (tmp_path / "slice_sessions.md").read_text(encoding="utf-8")
    assert not (tmp_path / "slice_sessions.png").exists(), "no patient that nothing was chosen on"


def a_row(policy: str, k: int, dice: float, patient: str = "a") -> dict[str, object]:
    about = {"dataset": "d", "case": patient, "patient": patient, "structure": "s"}
    return {**about, "policy": policy, "k": k, "dice": dice}


def test_a_session_that_ended_keeps_its_last_dice() -> None:
    (curve,) = curves([a_row("p", 2, 0.8), a_row("p", 1, 0.6)], 4)["p"].values()
    assert curve.tolist() == [0.6, 0.8, 0.8, 0.8]
    assert area(curve) == pytest.approx((0.7 + 0.8 + 0.8) / 3)


def test_differences_are_between_the_same_structures() -> None:
    own = {("a", "s"): 0.9, ("b", "s"): 0.7, ("c", "only here"): 0.1}
    other = {("a", "s"): 0.8, ("b", "s"): 0.7}
    mean, low, high = paired_difference(own, other)
    assert mean == pytest.approx(0.05)
    assert low == pytest.approx(0.0)
    assert high == pytest.approx(0.1)
    with pytest.raises(ValueError, match="nothing to compare"):
        paired_difference({("c", "s"): 0.1}, other)


def test_the_table_has_the_best_policy_first() -> None:
    rows = [
        a_row(name, k, dice + k / 10) for k in (1, 2, 3) for name, dice in (("worse", 0.4), ("better", 0.5))
    ]
    lines = summary_table(rows + [a_row(EQUAL_SPACING, k, 0.65) for k in (1, 2, 3)], 3).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| better", "| equal spacing", "| worse"]
    assert lines[2].endswith("| 0.700 | 0.700 | 0.800 | +0.0500 (+0.0500 to +0.0500) |")
