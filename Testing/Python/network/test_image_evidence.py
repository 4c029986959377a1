"""What an image alone says is made once, when first asked for, and counted."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from MedMetaSegLib.network import image_evidence
from MedMetaSegLib.network.image_evidence import (
    ImageEvidence,
    image_channels,
    interpolated_by_numpy,
    interpolated_by_torch,
    quantiles_of,
)

SHAPE = (6, 16, 20)
pytestmark = pytest.mark.usefixtures("one_thread")


def noise() -> np.ndarray:
    return np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)


def test_each_part_is_made_once_and_memory_is_what_was_made() -> None:
    evidence = ImageEvidence(image_channels(noise()), 2.0)
    voxels = int(np.prod(SHAPE))
    assert evidence.bytes == 2 * 4 * voxels
    assert evidence.motion is evidence.motion
    between = voxels * 5 // 6
    assert evidence.bytes == 2 * 4 * voxels + 4 * 4 * between
    assert evidence.features is evidence.features
    assert evidence.bins is evidence.bins
    assert evidence.bytes == 2 * 4 * voxels + 4 * 4 * between + 7 * 4 * voxels + 2 * voxels


def test_equal_grey_levels_share_the_middle_of_their_ranks() -> None:
    image = np.repeat(np.array([0.0, 1.0, 5.0, 5.0], np.float32), 480).reshape(SHAPE)
    equalised = image_channels(image)[1].unique() / 12**0.5 + 0.5
    # Of 129 quantiles the first 33 are 0, the next 32 are 1, the others 5, up to interpolation between them.
    np.testing.assert_allclose(equalised.numpy(), [16 / 128, 48 / 128, 96 / 128], atol=0.01)


def test_levels_between_and_beyond_the_quantiles_are_interpolated_as_numpy_does() -> None:
    image = np.concatenate([noise().reshape(-1)] * 120).reshape(-1, 16, 20)
    image[3] = np.linspace(-9, 9, 320).reshape(16, 20)
    sample = image.reshape(-1)[:: image.size // 200_000]
    levels, first = np.unique(np.quantile(sample, np.linspace(0, 1, 129)), return_index=True)
    rank = (first + np.append(first[1:] - 1, 128)) / 256
    expected = (np.interp(image, levels, rank) - 0.5) * 12**0.5
    np.testing.assert_allclose(image_channels(image)[1].numpy(), expected, atol=1e-4)


LEVELS = {
    "of noise": torch.randn(3001, generator=torch.Generator().manual_seed(4)),
    "of whole numbers": torch.randint(-3, 3, (2000,), generator=torch.Generator().manual_seed(5)).float(),
    "of one value": torch.full((50,), 7.0),
    "of one voxel": torch.tensor([2.0]),
}


@pytest.mark.parametrize("name", LEVELS)
def test_quantiles_and_ranks_are_the_same_by_numpy_and_by_torch(name: str) -> None:
    values, shares = LEVELS[name], torch.linspace(0, 1, 129)
    levels = quantiles_of(values, shares)
    torch.testing.assert_close(levels, values.quantile(shares), atol=1e-6, rtol=0)
    places = torch.cat([values, levels, torch.tensor([-1e3, 1e3])]).view(1, -1, 1)
    rank = torch.searchsorted(levels, levels, right=True) / len(levels)
    by_torch = interpolated_by_torch(places, levels, rank)
    torch.testing.assert_close(interpolated_by_numpy(places, levels, rank), by_torch, atol=1e-5, rtol=0)
    assert by_torch.shape == places.shape
    assert by_torch.flatten()[-2:].tolist() == [rank[0], rank[-1]]


def test_a_flat_image_is_flat_and_finite() -> None:
    channels = image_channels(np.full(SHAPE, 7, np.int16))
    torch.testing.assert_close(channels, torch.zeros_like(channels))


def test_two_images_are_looked_at_in_two_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2)

    def bins(values: torch.Tensor) -> torch.Tensor:
        both.wait(60)  # broken, if one had to wait for the other
        return values

    monkeypatch.setattr(image_evidence, "histogram_bins", bins)
    with ThreadPoolExecutor(2) as pool:
        found = list(
            pool.map(lambda seed: ImageEvidence(torch.full((2, 3, 3, 3), seed), 1.0).bins, (1.0, 2.0))
        )
    assert [float(one.mean()) for one in found] == [1.0, 2.0]
