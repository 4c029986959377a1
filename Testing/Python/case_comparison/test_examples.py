"""Examples: what they are learned from, and their file, which is whole, true and says nothing of patients."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compared_cases import QUESTION, QUICK, WEIGHTS, examples, features, grouped
from MedMetaSegLib.case_comparison.case_features import CaseFeatures
from MedMetaSegLib.case_comparison.examples import learned_examples, too_few
from MedMetaSegLib.case_comparison.examples_file import examples_text, read_examples, write_examples
from MedMetaSegLib.errors import InputError


def test_the_order_of_a_list_has_no_say() -> None:
    assert learned_examples(grouped()[::-1], QUESTION, QUICK) == examples()


def test_the_file_holds_all_that_was_learned(tmp_path: Path) -> None:
    learned = examples()
    write_examples(tmp_path / "examples.json", learned, "1.2.3")
    read = read_examples(tmp_path / "examples.json")
    assert read == learned
    np.testing.assert_array_equal(read.prototypes.means, learned.prototypes.means)
    assert read.decision.slope == learned.decision.slope


def test_examples_without_embeddings_can_be_kept(tmp_path: Path) -> None:
    learned = examples(question=replace(QUESTION, weights_sha256=""))
    write_examples(tmp_path / "examples.json", learned, "1.2.3")
    assert read_examples(tmp_path / "examples.json") == learned
    assert learned.blocks.names == QUESTION.measurements


def test_the_file_names_groups_structures_and_measurements_and_nothing_else() -> None:
    text = examples_text(examples(), "1.2.3")
    found = json.loads(text)
    assert set(found) == {
        "format", "version", "medmetaseg", "question", "groups", "validation", "cases", "sha256"
    }  # fmt: skip
    assert set(found["cases"][0]) == {"group", "image_sha256", "measurements", "embeddings"}
    assert len(text.splitlines()) < 30


def _edited(change: Callable[[dict[str, Any]], object]) -> str:
    content = json.loads(examples_text(examples(), "1.2.3"))
    change(content)
    return json.dumps(content)


def _set(*path: str | int, to: Any) -> Callable[[dict[str, Any]], object]:
    def change(content: Any) -> None:
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("cases", 0, "group", to=1), "checksum"),
        (_set("cases", 0, "measurements", 0, to=1.0), "checksum"),
        (_set("groups", 0, to="healthy"), "checksum"),
        (_set("version", to=2), "update MedMetaSeg"),
        (_set("format", to="a recipe"), "holds no examples"),
        (_set("cases", 0, "measurements", 0, to=math.nan), "cannot be read as JSON"),
        (lambda content: content.pop("sha256"), "checksum"),
    ],
    ids=["group", "number", "name", "version", "format", "nan", "no checksum"],
)
def test_an_edited_file_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    (tmp_path / "examples.json").write_text(_edited(change), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_examples(tmp_path / "examples.json")


@pytest.mark.parametrize("kept", [0, 1, 200, 0.5, 0.99], ids=str)
def test_a_file_cut_off_is_refused(tmp_path: Path, kept: float) -> None:
    content = examples_text(examples(), "1.2.3").encode()
    (tmp_path / "examples.json").write_bytes(content[: int(kept if kept >= 1 else kept * len(content))])
    with pytest.raises(InputError, match="cannot be read as JSON"):
        read_examples(tmp_path / "examples.json")


@pytest.mark.parametrize(
    "change",
    [
        _set("cases", 0, "group", to=7),
        _set("groups", to=["one"]),
        _set("groups", to=["same", "same"]),
        _set("cases", 0, "embeddings", to=[]),
        _set("cases", 0, "measurements", to=[1.0]),
        _set("cases", to=[]),
        _set("cases", 0, "measurements", 0, to="large"),
        _set("validation", "counts", to=[1, 11]),
        _set("question", "options", "connectivity", to=5),
    ],
)
def test_contents_that_do_not_belong_together_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = json.loads(_edited(change))
    monkeypatch.setattr(
        "MedMetaSegLib.case_comparison.examples_file._checksum", lambda content: "a checksum made to fit"
    )
    content["sha256"] = "a checksum made to fit"
    (tmp_path / "examples.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="do not belong together"):
        read_examples(tmp_path / "examples.json")


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file of examples"):
        read_examples(tmp_path / "none.json")


def test_numbers_that_are_not_finite_are_never_learned() -> None:
    case = features(50)
    broken = replace(case, values={**case.values, "liver": {"volume_cm3": math.inf, "mean": 60.0}})
    with pytest.raises(InputError, match="liver:volume_cm3 is missing"):
        learned_examples([*grouped(), (broken, "large")], QUESTION, QUICK)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ([], "there are none"),
        (["a"] * 9, "all 9 are of the group 'a'"),
        (["a"] * 9 + ["b"] * 4, "'b' has 4 usable cases; 5 are needed"),
        (["a"] * 5 + ["b"] * 5, ""),
    ],
)
def test_two_groups_of_five_are_needed(groups: list[str], said: str) -> None:
    found = too_few(groups)
    assert said in found
    assert bool(found) == bool(said)


def test_learning_from_too_few_is_refused() -> None:
    with pytest.raises(InputError, match="5 are needed"):
        learned_examples(grouped(8), QUESTION, QUICK)


def test_other_weights_are_refused() -> None:
    learned = examples()
    learned.check_weights(WEIGHTS)
    with pytest.raises(InputError, match="other weights"):
        learned.check_weights("fedcba9876543210")


def test_a_measurement_that_is_the_same_in_every_example_is_told() -> None:
    def with_one_mean(case: CaseFeatures) -> CaseFeatures:
        return replace(case, values={**case.values, "liver": {**case.values["liver"], "mean": 60.0}})

    learned = learned_examples([(with_one_mean(case), group) for case, group in grouped()], QUESTION, QUICK)
    assert learned.sentences()[-1] == "The same in every example, so without a say: liver:mean."
    assert not any("without a say" in one for one in examples().sentences())
