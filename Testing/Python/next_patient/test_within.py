"""A task applied within a region: what lies outside goes, what is there or not stays as it was.

The network has random weights here, so what is right about a result comes from where the structures lie.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from MedMetaSegLib import Support, Task, Volume
from MedMetaSegLib.demo.phantom import LABEL, STRUCTURES, Patient, make_patient
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.network.inference import Predictor
from MedMetaSegLib.next_patient.apply import applied_task
from MedMetaSegLib.next_patient.atlas_placement import AtlasPlacement, register_atlases
from MedMetaSegLib.next_patient.decision import ApplyOptions
from MedMetaSegLib.progress import never, silent
from MedMetaSegLib.segmenter import Segmenter
from network_phantom import tiny_network

SHAPE, SPACING = (24, 56, 72), (8.0, 5.0, 5.0)
NAMES = {one.label: one.name for one in STRUCTURES if one.name in ("liver", "left kidney")}
FORCED = tuple(NAMES.values())
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(Predictor(tiny_network(), torch.device("cpu")), {"sha256": "ab" * 32}, "for tests")


@pytest.fixture(scope="module")
def task(segmenter: Segmenter) -> Task:
    first = make_patient(0, SHAPE, SPACING, (3.0, 0.0, 2.0))
    labels = np.where(np.isin(first.truth, list(NAMES)), first.truth, 0).astype(np.uint8)
    return segmenter.learn(
        [(first.volume, Support.from_labels(labels, first.volume.geometry, NAMES, "complete"))]
    )


@pytest.fixture(scope="module")
def second() -> Patient:
    return make_patient(1, SHAPE, SPACING, (-2.0, 0.0, -3.0))


@pytest.fixture(scope="module")
def placement(task: Task, second: Patient) -> AtlasPlacement:
    return register_atlases(task, second.volume, never)


@pytest.fixture(scope="module")
def applied(
    segmenter: Segmenter, task: Task, second: Patient, placement: AtlasPlacement
) -> Callable[..., Any]:
    """The result of applying the task; its atlases are placed once, which takes longest."""

    def apply(
        within: Any = None, confidence: bool = True, volume: Volume | None = None, margin: int = 0
    ) -> Any:
        options = ApplyOptions(force=FORCED, confidence=confidence, within=within)
        placed = replace(placement, offset=(margin,) * 3)
        volume = volume or second.volume
        return applied_task(task, volume, segmenter.predictor, silent, never, placed, options)

    return apply


@pytest.fixture(scope="module")
def everywhere(applied: Callable[..., Any]) -> Any:
    return applied()


@pytest.fixture(scope="module")
def region(everywhere: Any) -> np.ndarray:
    """The half of the liver with the lower indices, and around it; nothing of the kidney."""
    filled = np.flatnonzero(everywhere.mask("liver").any((1, 2)))
    mask = np.zeros(SHAPE, bool)
    mask[: (filled[0] + filled[-1]) // 2] = True
    return mask & ~everywhere.mask("left kidney")


@pytest.fixture(scope="module")
def within(applied: Callable[..., Any], region: np.ndarray) -> Any:
    return applied(region)


def test_what_lies_outside_goes_and_the_rest_is_as_without(everywhere: Any, within: Any, region: np.ndarray):
    liver = everywhere.mask("liver")
    assert (liver & ~region).any()
    assert not (within.mask("liver") & ~region).any()
    # But for small islands that the cut may leave.
    assert (within.mask("liver") & ~liver).sum() == 0
    assert within.mask("liver").sum() > 0.9 * (liver & region).sum()
    cut = np.where(region, everywhere.probability("liver"), 0)
    np.testing.assert_array_equal(within.probability("liver"), cut)


def test_whether_a_structure_is_there_is_told_of_the_whole_answer(everywhere: Any, within: Any):
    for one, other in zip(everywhere.report["structures"], within.report["structures"], strict=True):
        assert one["present"] == other["present"]
        assert one["features"] == other["features"]
    liver = within.report["structures"][[one["name"] for one in within.report["structures"]].index("liver")]
    assert liver["found"]
    assert any("of whole answers" in note for note in within.report["notes"])
    assert not any("of whole answers" in note for note in everywhere.report["notes"])


def test_a_structure_that_lies_elsewhere_is_not_found_and_the_reason_is_the_region(within: Any):
    (kidney,) = [one for one in within.report["structures"] if one["name"] == "left kidney"]
    assert (kidney["found"], kidney["voxels"], kidney["predicted_dice"]) == (False, 0, None)
    assert kidney["reason"] == "nothing of what the network finds lies in the region"
    assert not kidney["left_out"]
    assert kidney["next_slice"] is None


def test_the_report_tells_of_the_region(within: Any, everywhere: Any, region: np.ndarray):
    told = {"voxels": region.sum(), "source": "array"}
    assert told.items() <= within.report["within"].items()
    assert "within" not in everywhere.report


def test_the_next_slice_lies_in_the_region(within: Any, region: np.ndarray):
    (liver,) = [one for one in within.report["structures"] if one["name"] == "liver"]
    place = liver["next_slice"]
    assert place["plane"] == "axial"
    assert region[place["index"]].any()


def test_black_margins_change_nothing(
    applied: Callable[..., Any], second: Patient, within: Any, region: np.ndarray
):
    margin, volume = 6, second.volume
    around = volume.geometry.cropped((-margin,) * 3, [size + 2 * margin for size in SHAPE])
    padded = Volume(np.pad(volume.array, margin), around)
    found = applied(np.pad(region, margin), volume=padded, margin=margin)
    np.testing.assert_array_equal(found.labels, np.pad(within.labels, margin))
    # A region that lies in the margin alone holds nothing.
    corner = np.zeros(around.shape, bool)
    corner[:3, :3, :3] = True
    assert not applied(corner, volume=padded, margin=margin).labels.any()


def test_without_confidence_the_region_is_told_of_all_the_same(
    applied: Callable[..., Any], region: np.ndarray
):
    found = applied(region, confidence=False)
    assert found.report["within"]["voxels"] == region.sum()
    assert not found.mask(LABEL["left kidney"]).any()


def test_a_region_of_another_grid_is_refused_before_anything_is_done(
    segmenter: Segmenter, task: Task, second: Patient, region: np.ndarray
):
    told: list[str] = []
    with pytest.raises(InputError, match="give one on the image's grid"):
        segmenter.apply(
            task, second.volume, within=region[1:], progress=lambda share, what: told.append(what)
        )
    assert told == []


def test_an_error_of_who_asked_leaves_no_structure_at_work(
    segmenter: Segmenter, task: Task, second: Patient, placement: AtlasPlacement
) -> None:
    def progress(share: float, what: str) -> None:
        if what == task.structures[1].name:
            raise RuntimeError("the window is closed")

    torch.set_num_threads(2)
    with pytest.raises(RuntimeError, match="window is closed") as held:
        applied_task(task, second.volume, segmenter.predictor, progress, never, placement)
    assert held.value.__traceback__ is not None
    assert not [one for one in threading.enumerate() if one.name.startswith("piece")]
    assert torch.get_num_threads() == 2
