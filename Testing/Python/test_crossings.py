"""How often a run makes the device stop and hand something over, for each structure; few enough for a GPU.

On a CPU nothing crosses, but the same calls are made: numbers and places are counted there too. Arrays are
limited on CUDA only, where a step has no branch that hands a tensor to a CPU library.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from device_crossings import crossings
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.next_patient.apply import applied_task
from MedMetaSegLib.next_patient.atlas_placement import register_atlases
from MedMetaSegLib.progress import never, silent
from MedMetaSegLib.segmenter import Segmenter
from MedMetaSegLib.support.support import Support

NUMBERS, PLACES = 2, 16
"""That a structure may cost at most in a press: single numbers, and lists whose length the device tells."""
ARRAYS = 4
"""That a structure may hand over at most on CUDA: its answer, and what is known on its few slices."""
APPLY_NUMBERS, APPLY_PLACES, APPLY_ARRAYS = 2, 18, 4
"""The same of a structure of a task that is applied, once the images lie over one another."""
SHAPE = (24, 40, 48)
LABELS = {1: "left", 2: "right", 3: "low"}
_CENTRES = {1: (11, 14, 12), 2: (11, 14, 34), 3: (11, 30, 22)}

on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")


def balls(labels: tuple[int, ...]) -> np.ndarray:
    k, j, i = np.indices(SHAPE)
    result = np.zeros(SHAPE, np.uint8)
    for label in labels:
        z, y, x = _CENTRES[label]
        result[((k - z) / 8) ** 2 + ((j - y) / 8) ** 2 + ((i - x) / 9) ** 2 < 1] = label
    return result


def patient() -> tuple[Volume, Geometry]:
    truth = balls((1, 2, 3))
    noise = np.random.default_rng(0).normal(0, 6, SHAPE)
    image = np.array([20.0, 110.0, 70.0, 160.0])[truth] + noise
    volume = Volume.from_array(image.astype(np.int16), np.diag([1.2, 1.1, 2.0, 1.0]))
    return volume, volume.geometry


def of_a_press(segmenter: Segmenter, labels: tuple[int, ...]) -> Counter[str]:
    volume, geometry = patient()
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[[6, 11, 16]] = balls(labels)[[6, 11, 16]]
    segmenter.forget()
    with crossings() as counts:
        result = segmenter.segment(volume, Support.from_labels(drawn, geometry, LABELS))
    assert all(one.voxels for one in result.structures)
    return counts


def of_an_application(segmenter: Segmenter, labels: tuple[int, ...]) -> Counter[str]:
    volume, geometry = patient()
    support = Support.from_labels(balls(labels), geometry, LABELS, "complete")
    task = segmenter.learn([(volume, support)])
    placement = register_atlases(task, volume, never)
    with crossings() as counts:
        result = applied_task(task, volume, segmenter.predictor, silent, never, placement)
    assert all(one.voxels for one in result.structures)
    return counts


def check(one: Counter[str], three: Counter[str], limits: dict[str, int]) -> None:
    """Each structure more costs at most the limits, and the first one twice as much."""
    for what, limit in limits.items():
        assert three[what] - one[what] <= 2 * limit, (what, one, three)
        assert one[what] <= 2 * limit, (what, one, three)


def test_a_press_asks_the_device_for_little() -> None:
    segmenter = Segmenter.load("cpu")
    counts = [of_a_press(segmenter, labels) for labels in ((1,), (1, 2, 3))]
    check(counts[0], counts[1], {"numbers": NUMBERS, "places": PLACES})
    assert counts[0]["arrays"] > 0, "the counter counts"


def test_an_application_asks_the_device_for_little() -> None:
    segmenter = Segmenter.load("cpu")
    counts = [of_an_application(segmenter, labels) for labels in ((1,), (1, 2, 3))]
    check(counts[0], counts[1], {"numbers": APPLY_NUMBERS, "places": APPLY_PLACES})


@pytest.mark.cuda
@on_cuda
def test_a_press_on_cuda_hands_over_the_answer_and_little_else() -> None:
    segmenter = Segmenter.load("cuda")
    counts = [of_a_press(segmenter, labels) for labels in ((1,), (1, 2, 3))]
    check(counts[0], counts[1], {"numbers": NUMBERS, "places": PLACES, "arrays": ARRAYS})


@pytest.mark.cuda
@on_cuda
def test_an_application_on_cuda_hands_over_the_answer_and_little_else() -> None:
    segmenter = Segmenter.load("cuda")
    counts = [of_an_application(segmenter, labels) for labels in ((1,), (1, 2, 3))]
    limits = {"numbers": APPLY_NUMBERS, "places": APPLY_PLACES, "arrays": APPLY_ARRAYS}
    check(counts[0], counts[1], limits)


def test_everything_that_crosses_is_counted() -> None:
    with crossings() as counts:
        values = torch.arange(4.0)
        assert float(values[1]) == 1.0
        assert bool(values.any())
        assert values[values > 1].cpu().numpy().tolist() == [2.0, 3.0]
        values.tolist()
    assert (counts["numbers"], counts["places"], counts["arrays"]) == (2, 1, 3)
    assert values.tolist() == [0.0, 1.0, 2.0, 3.0]
