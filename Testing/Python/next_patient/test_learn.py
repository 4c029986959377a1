"""What a task learns from several patients, and from structures of very different sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from MedMetaSegLib import Channel, InputError, Segmenter, Support, Volume
from MedMetaSegLib.demo.phantom import LABEL, Patient, make_patient
from MedMetaSegLib.network.inference import Predictor
from MedMetaSegLib.next_patient import learn
from MedMetaSegLib.task.atlas import Atlas, make_atlas
from MedMetaSegLib.task.task_file import LearnedPrototypes
from network_phantom import tiny_network

SHAPE, SPACING = (24, 56, 72), (8.0, 5.0, 5.0)
NAMES = {LABEL[name]: name for name in ("liver", "left kidney")}
PARTS = ("foreground", "background", "mean", "ridge")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(Predictor(tiny_network(), torch.device("cpu")), {"sha256": "ab" * 32}, "for tests")


@pytest.fixture(scope="module")
def patients() -> list[Patient]:
    return [make_patient(number, SHAPE, SPACING, (3.0 * number, 0.0, 2.0)) for number in range(3)]


def pair(patient: Patient, names: dict[int, str] = NAMES) -> tuple[Volume, Support]:
    labels = np.where(np.isin(patient.truth, list(names)), patient.truth, 0).astype(np.uint8)
    return patient.volume, Support.from_labels(labels, patient.volume.geometry, names, "complete")


def same(one: LearnedPrototypes, other: LearnedPrototypes) -> bool:
    return all(np.allclose(getattr(one, part), getattr(other, part), atol=1e-4) for part in PARTS[2:])


def test_every_patient_has_a_say_in_what_a_structure_looks_like(segmenter, patients) -> None:
    first, second = (segmenter.learn([pair(one)]).prototypes[0] for one in patients[:2])
    both = segmenter.learn([pair(one) for one in patients[:2]]).prototypes[0]
    turned = segmenter.learn([pair(one) for one in patients[1::-1]]).prototypes[0]

    assert not same(both, first)
    assert not same(both, second)
    assert same(both, turned)  # whoever comes first
    between = first.mean @ both.mean.T, second.mean @ both.mean.T
    assert min(between) > float((first.mean @ second.mean.T).item())


def test_every_patient_has_a_say_in_how_a_structure_looks_in_a_channel(segmenter, patients) -> None:
    def channels(patient: Patient) -> list[Channel]:
        array = (900 - 0.4 * patient.volume.array).astype(np.float32)
        return [Channel("MR", Volume.from_array(array, patient.volume.geometry, "mr"))]

    def learned(some: list[Patient]) -> LearnedPrototypes:
        task = segmenter.learn([pair(one) for one in some], channels=[channels(one) for one in some])
        return task.channels[0].prototypes[0]

    both = learned(patients[:2])
    assert not same(both, learned(patients[:1]))
    assert same(both, learned(patients[1::-1]))


def test_a_patient_without_a_structure_has_no_say_in_it(segmenter, patients) -> None:
    liver = {LABEL["liver"]: "liver"}
    alone = segmenter.learn([pair(patients[0])])
    both = segmenter.learn([pair(patients[0]), pair(patients[1], liver)])

    assert [one.name for one in both.structures] == [one.name for one in alone.structures]
    kidney = [one.name for one in both.structures].index("left kidney")
    for part in PARTS:
        np.testing.assert_array_equal(
            getattr(both.prototypes[kidney], part), getattr(alone.prototypes[kidney], part)
        )


def test_a_structure_that_fills_no_voxel_of_the_atlas_is_refused_in_words(
    segmenter, patients, monkeypatch
) -> None:
    def coarse(*parts: Any) -> Atlas:
        """An atlas of voxels so large that the second structure fills a fiftieth of one at most."""
        atlas = make_atlas(*parts)
        liver, kidney = atlas.places
        assert kidney is not None
        return replace(atlas, places=(liver, replace(kidney, occupancy=kidney.occupancy // 50)))

    monkeypatch.setattr(learn, "make_atlas", coarse)
    with pytest.raises(InputError, match="left kidney is too small"):
        segmenter.learn([pair(patients[0])])
