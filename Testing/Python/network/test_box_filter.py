"""The mean over a box: the same by running sums and by pooling, edges repeated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from MedMetaSegLib.network.box_filter import box_mean, pooled_means, running_means


@pytest.mark.parametrize(
    ("shape", "widths"),
    [
        ((2, 3, 9, 11), (5, 5)),
        ((2, 2, 100, 7), (5, 3)),
        ((2, 2, 8, 101), (5, 3)),
        ((1, 1, 4, 3), (3, 7)),
        ((1, 1, 7, 9, 8), (1, 3, 3)),
        ((1, 2, 6, 12, 10), (9, 5, 1)),
        ((1, 1, 1, 2, 2), (5, 5, 5)),
    ],
)
def test_running_sums_pooling_and_scipy_agree(shape: tuple[int, ...], widths: tuple[int, ...]) -> None:
    values = torch.from_numpy(np.random.default_rng(4).normal(size=shape).astype(np.float32))
    expected = ndimage.uniform_filter(values.numpy(), (1, 1, *widths), mode="nearest")
    np.testing.assert_allclose(box_mean(values, widths).numpy(), expected, atol=2e-6)
    pad = [width // 2 for width in reversed(widths) for _ in range(2)]
    padded = torch.nn.functional.pad(values, pad, mode="replicate")
    np.testing.assert_allclose(pooled_means(padded, widths).numpy(), expected, atol=2e-6)
    np.testing.assert_allclose(running_means(padded, widths).numpy(), expected, atol=2e-6)


def test_the_values_given_are_left_as_they_are() -> None:
    values = torch.ones(1, 1, 4, 4)
    assert box_mean(values, (1, 1)) is not values
    torch.testing.assert_close(values, torch.ones(1, 1, 4, 4))


def test_means_of_small_images_made_in_inference_mode_serve_a_gradient_later() -> None:
    with torch.inference_mode():
        box_mean(torch.ones(1, 1, 13, 17), (5, 5))
    values = torch.ones(1, 1, 13, 17, requires_grad=True)
    box_mean(values, (5, 5)).square().sum().backward()
    torch.testing.assert_close(values.grad[0, 0, 6, 8], torch.tensor(2.0))
