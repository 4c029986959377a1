"""Tasks of several images: learned with channels, and applied to patients who have them.

The network has random weights here, so that what is right about a result comes from where the structures lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from MedMetaSegLib import Channel, InputError, Segmenter, Support, Task, Volume
from MedMetaSegLib.demo.phantom import LABEL, Patient, make_patient
from MedMetaSegLib.evaluation.metrics import dice
from MedMetaSegLib.network.inference import Predictor
from MedMetaSegLib.next_patient import apply, atlas_placement
from MedMetaSegLib.task.editing import merged_tasks
from network_phantom import tiny_network

SHAPE, SPACING = (24, 56, 72), (8.0, 5.0, 5.0)
NAMES = {LABEL[name]: name for name in ("liver", "left kidney")}
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """One warp, made once: every task here is of the first patient, and has the same atlas.

    By one thread, results of whole modules too: with two a warp is another by rounding.
    """
    register, placed = atlas_placement.register_atlases, {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def register_once(task: Task, volume: Volume, *rest: Any) -> atlas_placement.AtlasPlacement:
        key = volume.digest()
        if key not in placed:
            placed[key] = register(task, volume, *rest)
        return placed[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atlas_placement, "_WARPS", 1)
        patch.setattr(apply, "register_atlases", register_once)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(Predictor(tiny_network(), torch.device("cpu")), {"sha256": "ab" * 32}, "for tests")


@pytest.fixture(scope="module")
def first() -> Patient:
    return make_patient(0, SHAPE, SPACING, (3.0, 0.0, 2.0))


@pytest.fixture(scope="module")
def second() -> Patient:
    return make_patient(1, SHAPE, SPACING, (-2.0, 0.0, -3.0))


def complete(patient: Patient) -> Support:
    labels = np.where(np.isin(patient.truth, list(NAMES)), patient.truth, 0).astype(np.uint8)
    return Support.from_labels(labels, patient.volume.geometry, NAMES, "complete")


def mr(patient: Patient, planes: slice = slice(None)) -> Volume:
    """The patient in another contrast, or some axial slices of it."""
    array = (900 - 0.4 * patient.volume.array[planes]).astype(np.float32)
    geometry = patient.volume.geometry.cropped((planes.start or 0, 0, 0), array.shape)
    return Volume.from_array(array, geometry, "mr")


@pytest.fixture(scope="module")
def task(segmenter: Segmenter, first: Patient) -> Task:
    return segmenter.learn([(first.volume, complete(first))], channels=[[Channel("MR", mr(first))]])


@pytest.fixture(scope="module")
def result(segmenter: Segmenter, task: Task, second: Patient) -> Any:
    return segmenter.apply(task, second.volume, channels=[Channel("MR", mr(second))])


def test_a_task_remembers_its_channels_and_how_structures_look_there(task: Task) -> None:
    (channel,) = task.channels
    assert (channel.name, channel.modality, task.modality) == ("MR", "MR", "CT")
    assert len(channel.prototypes) == len(task.structures)
    assert not np.array_equal(channel.prototypes[0].mean, task.prototypes[0].mean)


def test_a_task_comes_back_with_its_channels(task: Task, tmp_path: Path) -> None:
    path = tmp_path / "t.medmetaseg"
    task.write(path)
    again = Task.read(path)
    assert again.describe() == task.describe()
    assert again.describe()["format"] == 2
    assert again.describe()["channels"] == [{"name": "MR", "intensity": "MR"}]
    for one, other in zip(again.channels[0].prototypes, task.channels[0].prototypes, strict=True):
        for part in ("foreground", "background", "mean", "ridge"):
            np.testing.assert_array_equal(getattr(one, part), getattr(other, part))


def test_structures_are_found_and_each_image_tells_how_it_voted(result: Any, second: Patient) -> None:
    assert dice(result.mask("liver"), second.truth == LABEL["liver"]) > 0.7
    assert [one["name"] for one in result.report["channels"]] == ["image", "MR"]
    for entry in result.report["structures"]:
        assert [vote["name"] for vote in entry["channels"]] == ["image", "MR"]
        assert all(0.5 < vote["dice_with_result"] <= 1 for vote in entry["channels"])


def test_the_same_image_twice_says_what_it_says_once(
    segmenter: Segmenter, first: Patient, second: Patient
) -> None:
    pair = (first.volume, complete(first))
    once = segmenter.apply(segmenter.learn([pair]), second.volume)
    task = segmenter.learn([pair], channels=[[Channel("again", first.volume)]])
    twice = segmenter.apply(task, second.volume, channels=[Channel("again", second.volume)])
    assert (once.labels != twice.labels).mean() < 1e-4
    np.testing.assert_allclose(twice.probability("liver"), once.probability("liver"), atol=5e-3)


def test_margins_around_the_image_alone_change_nothing(
    segmenter: Segmenter, task: Task, second: Patient, result: Any
) -> None:
    """A channel keeps its place in the world beside an image that is worked on without its margins."""
    around = second.volume.geometry.cropped((-5, -6, -7), [size + 14 for size in SHAPE])
    padded = np.pad(second.volume.array, ((5, 9), (6, 8), (7, 7)))
    after = segmenter.apply(task, Volume(padded, around), channels=[Channel("MR", mr(second))])
    inner = after.labels[5:-9, 6:-8, 7:-7]
    assert (inner != result.labels).mean() < 1e-4


def test_a_channel_that_shows_a_part_has_a_say_there(
    segmenter: Segmenter, task: Task, second: Patient, result: Any
) -> None:
    part = segmenter.apply(task, second.volume, channels=[Channel("MR", mr(second, slice(0, 12)))])
    assert "The channel MR shows 50 % of the image, and has no say elsewhere." in part.report["notes"]
    assert dice(part.mask("liver"), second.truth == LABEL["liver"]) > 0.6
    assert (part.labels != result.labels).any()


def test_an_image_without_the_channels_is_refused(segmenter: Segmenter, task: Task, second: Patient) -> None:
    with pytest.raises(InputError, match="needs MR of this one, too"):
        segmenter.apply(task, second.volume)


def test_a_channel_that_the_task_does_not_know_is_refused(
    segmenter: Segmenter, task: Task, second: Patient
) -> None:
    channels = [Channel("MR", mr(second)), Channel("PET", mr(second))]
    with pytest.raises(InputError, match="no channel PET; it has MR"):
        segmenter.apply(task, second.volume, channels=channels)


def test_patients_with_other_channels_are_refused(segmenter: Segmenter, first: Patient) -> None:
    pair = (first.volume, complete(first))
    with pytest.raises(InputError, match="the channels MR, and patient 2 has T2"):
        segmenter.learn([pair, pair], channels=[[Channel("MR", mr(first))], [Channel("T2", mr(first))]])


def test_a_channel_that_shows_nothing_of_a_structure_is_refused(segmenter: Segmenter, first: Patient) -> None:
    beside = replace(mr(first), geometry=first.volume.geometry.cropped((500, 0, 0), SHAPE))
    with pytest.raises(InputError, match="MR shows nothing of liver"):
        segmenter.learn([(first.volume, complete(first))], channels=[[Channel("MR", beside)]])


def test_tasks_of_other_channels_are_not_merged(task: Task) -> None:
    with pytest.raises(InputError, match="other channels"):
        merged_tasks([task, replace(task, channels=())])


def test_slices_are_completed_with_the_channels(
    segmenter: Segmenter, first: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    segment = segmenter.segment

    def asking(*pair: Any, **options: Any) -> Any:
        asked.append(options["channels"])
        return segment(*pair, **options)

    monkeypatch.setattr(segmenter, "segment", asking)
    labels = complete(first).labels()
    labels[np.arange(SHAPE[0]) % 3 > 0] = 0
    slices = Support.from_labels(labels, first.volume.geometry, NAMES)
    channel = Channel("MR", mr(first))
    segmenter.learn([(first.volume, slices)], channels=[[channel]])
    assert asked == [[channel]]
