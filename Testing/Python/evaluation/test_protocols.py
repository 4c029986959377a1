"""Protocol A's slices and supports, the cases and the split between patients."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from MedMetaSegLib.datasets.cases import (
    ACCEPTANCE_STRUCTURES,
    Case,
    benchmark_cases,
    is_held_out,
    read_case,
    read_cases,
)
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.evaluation.baselines import Prediction
from MedMetaSegLib.evaluation.interaction import score_interaction
from MedMetaSegLib.evaluation.methods import Method
from MedMetaSegLib.evaluation.protocols import (
    annotated_slices,
    known_slices,
    qualifies,
    same_volume_support,
    score_unannotated,
    with_one_more_slice,
)
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.support.support import Support


def label_map() -> np.ndarray:
    """Three structures on different axial extents: 1 large, 2 large and touching 1, 3 with too few voxels."""
    labels = np.zeros((40, 24, 24), dtype=np.int32)
    labels[5:31, 4:12, 4:12] = 1
    labels[12:38, 12:20, 4:12] = 2
    labels[8:20, 20:22, 20:22] = 3
    return labels


GEOMETRY = Geometry((40, 24, 24), np.diag([1.0, 1.0, 2.0, 1.0]))
NAMES = {1: "first", 2: "second", 3: "small"}


def a_case(dataset: str, number: str) -> Case:
    return Case(dataset, number, f"{dataset}_{number}", "MR", Path("image"), Path("label"), {1: "one"})


def test_slices_are_equally_spaced_and_eight_percent_in() -> None:
    assert annotated_slices(range(100, 201), 3) == (108, 150, 192)
    assert annotated_slices(range(100, 201), 5) == (108, 129, 150, 171, 192)


def test_one_slice_is_the_middle_one() -> None:
    assert annotated_slices(range(10, 21), 1) == (15,)


def test_a_place_without_the_structure_takes_the_nearest_slice_that_holds_it() -> None:
    assert annotated_slices([0, 1, 2, 3, 4, 14, 20], 1) == (14,)


@pytest.mark.parametrize("count", [1, 3, 5, 9])
def test_slices_are_always_distinct_and_hold_the_structure(count: int) -> None:
    random = np.random.default_rng(count)
    for _ in range(50):
        filled = sorted(random.choice(60, size=count + 4, replace=False).tolist())
        chosen = annotated_slices(filled, count)
        assert len(set(chosen)) == count
        assert set(chosen) <= set(filled)


def test_more_slices_than_hold_the_structure_are_refused() -> None:
    with pytest.raises(ValueError, match="2 hold the structure"):
        annotated_slices([3, 4], 3)


def test_a_structure_needs_300_voxels_and_four_spare_slices() -> None:
    mask = np.zeros((20, 10, 10), dtype=bool)
    mask[2:9, :7, :7] = True
    assert qualifies(mask, 3)
    assert not qualifies(mask, 4)
    mask[:, 6:] = False
    mask[2:9, :, 5:] = False
    assert not qualifies(mask, 3)


def test_each_structure_is_annotated_on_its_own_slices_only() -> None:
    labels = label_map()
    support = same_volume_support(labels, GEOMETRY, NAMES, 3)
    first, second = support.structures
    assert [one.structure.name for one in support.structures] == ["first", "second"]
    assert first.slices == (7, 18, 28)
    assert second.slices == (14, 25, 35)
    assert (first.axis, second.axis) == (0, 0)
    painted = support.labels()
    assert not (painted[list(first.slices)] == 2).any()
    for one in (first, second):
        chosen = list(one.slices)
        label = one.structure.label
        np.testing.assert_array_equal(painted[chosen] == label, labels[chosen] == label)


def test_a_case_without_a_structure_that_qualifies_is_an_error() -> None:
    with pytest.raises(InputError, match="300 voxels"):
        same_volume_support(label_map(), GEOMETRY, {3: "small"}, 3)


def test_one_more_slice_is_drawn_in_the_widest_gap_of_one_structure_only() -> None:
    labels = label_map()
    support = same_volume_support(labels, GEOMETRY, NAMES, 3)
    edited = with_one_more_slice(support, labels, "first")
    assert edited.structures[0].slices == (7, 13, 18, 28)
    assert edited.structures[1].slices == support.structures[1].slices
    np.testing.assert_array_equal(edited.labels()[13] == 1, labels[13] == 1)


@pytest.mark.parametrize(
    ("dataset", "number", "held_out"),
    [
        ("totalseg", "ct", True),
        ("acdc", "010", True),
        ("ms", "patient07", True),
        ("sts_ct", "008", True),
        ("sts_mr", "008", True),
        ("sts_ct", "010", False),
        ("sts_mr", "010", False),
        ("hippocampus", "050", True),
        ("hippocampus", "051", False),
        ("openkbp", "pt_100", True),
        ("openkbp", "pt_104", False),
        ("prostate_mrus", "case006", True),
        ("prostate_mrus", "case007", False),
        ("spinal_cord", "unf01", True),
        ("spinal_cord", "errsm", False),
        ("fetal_sba", "fetal_SB_atlas_GA26_operated", True),
        ("fetal_sba", "fetal_SB_atlas_GA24_notoperated", False),
        ("radiomics_mr", "brain1", True),
        ("cervix_ct", "CCTH-A01", False),
    ],
)
def test_the_split_is_by_patient(dataset: str, number: str, held_out: bool) -> None:
    assert is_held_out(a_case(dataset, number)) is held_out


def test_a_data_set_the_split_does_not_name_is_an_error() -> None:
    with pytest.raises(InputError, match="does not say"):
        is_held_out(a_case("elsewhere", "1"))


def test_a_folder_without_a_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.json"):
        read_cases(tmp_path)


@pytest.mark.parametrize("content", ["{", json.dumps([{"dataset": "acdc"}])])
def test_a_manifest_that_is_none_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InputError, match="cannot be read"):
        read_cases(tmp_path)


def test_every_benchmark_case_is_held_out_and_no_patient_is_on_both_sides(shared_data: Path) -> None:
    cases = read_cases(shared_data)
    chosen = benchmark_cases(cases)
    assert all(is_held_out(case) for case in chosen)
    counts = {name: sum(case.dataset == name for case in chosen) for name in {case.dataset for case in cases}}
    assert counts == {"totalseg": 2, "sts_ct": 4, "sts_mr": 4, "acdc": 6, "ms": 3, "hippocampus": 6}
    training = {case.patient for case in cases if not is_held_out(case)}
    assert not training & {case.patient for case in cases if is_held_out(case)}


def test_further_data_hold_patients_out_with_all_their_images(more_data: Path) -> None:
    cases = read_cases(more_data)
    held_out = {case.patient for case in cases if is_held_out(case)}
    assert not held_out & {case.patient for case in cases if not is_held_out(case)}
    counts = Counter({case.patient: case.dataset for case in cases if is_held_out(case)}.values())
    assert counts == {"openkbp": 20, "prostate_mrus": 7, "spinal_cord": 1, "fetal_sba": 2, "radiomics_mr": 1}
    assert {case.modality for case in cases} == {"CT", "MR", "US", "PET"}
    assert all(is_held_out(case) for case in benchmark_cases(cases))


def test_a_data_set_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(InputError, match="no data set brain"):
        benchmark_cases([], ["brain"])


def test_the_18_structures_of_the_real_ct_all_qualify(shared_data: Path) -> None:
    case = next(one for one in read_cases(shared_data) if (one.dataset, one.case) == ("totalseg", "ct"))
    _, labels = read_case(case)
    by_name = {name: label for label, name in case.names.items()}
    assert len(ACCEPTANCE_STRUCTURES) == 18
    assert all(qualifies(labels == by_name[name], 3) for name in ACCEPTANCE_STRUCTURES)


def test_a_structure_without_known_ends_is_scored_where_it_was_outlined() -> None:
    truth = np.zeros((9, 2, 2), bool)
    truth[3:6] = True
    case = a_case("openkbp", "1")
    assert known_slices(case, truth, "spinal cord") == slice(3, 6)
    assert known_slices(case, truth, "mandible") == slice(None)
    assert known_slices(case, truth & False, "spinal cord") == slice(None)
    assert known_slices(a_case("acdc", "1"), truth, "spinal cord") == slice(None)


def test_what_goes_on_unlabelled_is_no_error_beyond_the_slices_of_its_outlines() -> None:
    truth = np.zeros((9, 6, 6), bool)
    truth[2:7, 2:5, 2:5] = True
    longer, thinner = truth.copy(), truth.copy()
    longer[1], thinner[4, 2] = truth[2], False

    def dice_of(name: str, prediction: np.ndarray) -> float:
        return score_unannotated(
            a_case("openkbp", "1"), name, prediction, truth, (2.0, 1.0, 1.0), (3, 5)
        ).dice

    assert dice_of("spinal cord", longer) == 1.0
    assert dice_of("mandible", longer) == pytest.approx(2 * 27 / (36 + 27))
    assert dice_of("spinal cord", thinner) == pytest.approx(2 * 24 / (24 + 27))


def test_a_run_of_the_benchmark_is_scored_where_the_truth_is_known() -> None:
    """A method that finds the structure on all slices; it was contoured on some, and fills those."""

    def everywhere(volume: Volume, support: Support) -> Iterator[Prediction]:
        for one in support.structures:
            yield Prediction(one.structure, (0, 0, 0), np.ones(volume.geometry.shape, bool))

    labels = np.zeros((20, 6, 6), np.int32)
    labels[4:16] = 1
    volume = Volume.from_array(labels.astype(np.float32), np.eye(4))
    method = Method("all", "All", "1", "", "cpu", lambda _device: everywhere)

    def dice_of(name: str) -> float:
        support = same_volume_support(labels, volume.geometry, {1: name}, 3)
        (row,) = score_interaction(a_case("openkbp", "1"), method, volume, labels, support, 3)
        return row.dice

    assert dice_of("spinal cord") == 1.0
    assert dice_of("mandible") == pytest.approx(2 * 9 / (17 + 9), abs=1e-4)
