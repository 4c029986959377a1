"""How the network is asked about one structure on its working grid."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from MedMetaSegLib import Segmenter, Support, Volume
from MedMetaSegLib.network.inference import Predictor
from MedMetaSegLib.network.side_by_side import pieces_at_once
from MedMetaSegLib.support.structure import StructureMask
from network_phantom import ball, tiny_network

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (20, 32, 32)
AFFINE = np.diag([1.5, 1.5, 3.0, 1.0])


def painted() -> tuple[Volume, Support]:
    """A noisy ellipsoid, drawn on two slices."""
    mask = ball(SHAPE)
    image = 100 * mask + np.random.default_rng(0).normal(0, 10, SHAPE)
    volume = Volume.from_array(image.astype(np.int16), AFFINE, "ellipsoid")
    labels = np.zeros(SHAPE, np.uint8)
    labels[[7, 12]] = mask[[7, 12]]
    return volume, Support.from_labels(labels, volume.geometry, {1: "ellipsoid"})


@pytest.mark.parametrize(("quality", "sides"), [("fast", 1), ("balanced", 1), ("best", 2)])
def test_only_the_best_quality_asks_the_mirror_image_as_well(quality: str, sides: int) -> None:
    network, decoded = tiny_network(), []
    trunk = network.decoder.trunk

    def counted(features, similarity, prompt):
        decoded.append(len(prompt))
        return trunk(features, similarity, prompt)

    network.decoder.trunk = counted
    segmenter = Segmenter(Predictor(network, torch.device("cpu")), {"sha256": "ab" * 32}, "for tests")
    segmenter.segment(*painted(), quality=quality)
    assert set(decoded) == {sides}


def two_painted() -> tuple[Volume, Support]:
    """The ellipsoid, and its left half as a second structure that overlaps it."""
    volume, support = painted()
    half = support.structures[0].mask.copy()
    half[..., half.shape[2] // 2 :] = False
    named = replace(support.structures[0].structure, name="half", label=2)
    second = replace(support.structures[0], structure=named, mask=half)
    return volume, replace(support, structures=(*support.structures, second), overlapping=True)


@pytest.mark.parametrize("quality", ["fast", "best"])
def test_structures_side_by_side_are_what_they_are_one_after_the_other(quality: str) -> None:
    volume, support = two_painted()
    found, shown, callers = [], [], set()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        assert pieces_at_once(torch.device("cpu")) == threads
        first: list[StructureMask] = []

        def preview(one: StructureMask, first: list[StructureMask] = first) -> None:
            first.append(one)
            callers.add(threading.current_thread())

        segmenter = Segmenter(Predictor(tiny_network(), torch.device("cpu")), {"sha256": "ab" * 32}, "tests")
        try:
            result = segmenter.segment(volume, support, quality=quality, preview=preview)
        finally:
            torch.set_num_threads(1)
        found.append(result)
        shown.append(sorted(first, key=lambda one: one.structure.label))
    assert callers == {threading.current_thread()}
    assert [one.structure.name for one in shown[0]] == ["ellipsoid", "half"]
    for one, other in zip(*shown, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
    for name in ("ellipsoid", "half"):
        assert found[0].mask(name).any()
        np.testing.assert_array_equal(found[0].mask(name), found[1].mask(name))
        np.testing.assert_array_equal(found[0].probability(name), found[1].probability(name))


def test_an_error_of_who_asked_leaves_no_structure_at_work() -> None:
    def preview(one: StructureMask) -> None:
        raise RuntimeError("the window is closed")

    segmenter = Segmenter(Predictor(tiny_network(), torch.device("cpu")), {"sha256": "ab" * 32}, "tests")
    torch.set_num_threads(2)
    with pytest.raises(RuntimeError, match="window is closed") as held:
        segmenter.segment(*two_painted(), quality="fast", preview=preview)
    assert held.value.__traceback__ is not None
    assert not [one for one in threading.enumerate() if one.name.startswith("piece")]
    assert torch.get_num_threads() == 2
