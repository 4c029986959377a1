"""How the network is asked about one structure on its working grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from MedMetaSegLib import Segmenter, Support, Volume
from MedMetaSegLib.network.inference import Predictor
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
