"""The layers as a CPU computes them when nothing is learned: the same numbers as the modules."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import swa_utils

from MedMetaSegLib.network import layers
from MedMetaSegLib.network.layers import convolution, instance_norm, pointwise
from MedMetaSegLib.network.weights import load_network
from network_phantom import annotated, batch

pytestmark = pytest.mark.usefixtures("one_thread")

Layer = Callable[[], Tensor]


def parts(shape: tuple[int, int, int], channels: tuple[int, ...], count: int = 1) -> list[Tensor]:
    """Random tensors (count, C, k, j, i), every other one with its channels last in memory."""
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(count, number, *shape, generator=generator) for number in channels]
    made[::2] = [part.contiguous(memory_format=torch.channels_last_3d) for part in made[::2]]
    return made


def assert_both_ways_agree(layer: Layer) -> None:
    with torch.no_grad():
        found = layer()
    expected = layer()
    assert expected.requires_grad
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.numpy(), expected.detach().numpy(), atol=1e-4)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 8, 13])
@pytest.mark.parametrize("cached", [1, 200_000])
def test_a_convolution_of_any_number_of_planes(
    depth: int, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "_CACHED", cached)
    given, conv = parts((depth, 6, 7), (3, 5)), nn.Conv3d(8, 4, 3, padding=1)
    assert_both_ways_agree(lambda: convolution(given, conv, 0.01))
    alone = nn.Conv3d(3, 4, 3, padding=1, bias=False)
    assert_both_ways_agree(lambda: convolution(given[:1], alone))


def test_a_convolution_of_several_images() -> None:
    given, conv = parts((6, 5, 4), (3, 2), count=2), nn.Conv3d(5, 4, 3, padding=1)
    assert_both_ways_agree(lambda: convolution(given, conv))


def test_a_convolution_is_that_of_its_weight_now() -> None:
    given, conv = parts((6, 5, 4), (3,)), nn.Conv3d(3, 4, 3, padding=1)
    assert_both_ways_agree(lambda: convolution(given, conv))
    with torch.no_grad():
        conv.weight.mul_(-2)
    assert_both_ways_agree(lambda: convolution(given, conv))
    conv.weight = nn.Parameter(torch.randn_like(conv.weight))
    assert_both_ways_agree(lambda: convolution(given, conv))
    conv.load_state_dict(nn.Conv3d(3, 4, 3, padding=1).state_dict())
    assert_both_ways_agree(lambda: convolution(given, conv))


def test_steps_of_training_and_their_moving_average_are_seen() -> None:
    given, conv = parts((6, 5, 4), (3,)), nn.Conv3d(3, 4, 3, padding=1)
    averaged = swa_utils.AveragedModel(conv, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.5))
    descent = torch.optim.AdamW(conv.parameters(), 0.1)
    for _ in range(3):
        convolution(given, conv).square().sum().backward()
        descent.step()
        averaged.update_parameters(conv)
        for module in (conv, averaged.module):
            assert_both_ways_agree(lambda module=module: convolution(given, module))


def test_what_is_made_of_a_weight_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    of_weight = layers._planar_kernels
    monkeypatch.setattr(layers, "_planar_kernels", lambda weight: made.append(weight) or of_weight(weight))
    given, conv = parts((6, 5, 4), (3,)), nn.Conv3d(3, 4, 3, padding=1)
    with torch.inference_mode():
        for _ in range(3):
            convolution(given, conv)
    assert len(made) == 1


def test_a_convolution_keeps_large_values_apart_from_small_ones() -> None:
    """Its sums cancel: what is left over must be small beside the values, not only beside the largest."""
    conv = nn.Conv3d(4, 4, 3, padding=1)
    (given,) = parts((9, 8, 8), (4,))
    given[..., 4:] *= 100
    with torch.no_grad():
        found, expected = convolution([given], conv), conv.double()(given.double())
        np.testing.assert_allclose(found[..., :3].numpy(), expected[..., :3].numpy(), atol=2e-5)
        np.testing.assert_allclose(found[..., 5:].numpy(), expected[..., 5:].numpy(), atol=2e-3)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_a_pointwise_convolution(count: int, bias: bool) -> None:
    given, conv = parts((3, 4, 5), (3, 2, 4), count), nn.Conv3d(9, 6, 1, bias=bias)
    assert_both_ways_agree(lambda: pointwise(given, conv))


@pytest.mark.parametrize("count", [1, 2])
def test_instance_normalisation(count: int) -> None:
    (given,), norm = parts((3, 4, 5), (6,), count), nn.InstanceNorm3d(6, affine=True)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    assert_both_ways_agree(lambda: instance_norm(3 * given + 2, norm))


def test_the_shipped_network_says_the_same_as_in_training() -> None:
    network, _ = load_network()
    image, prompt = batch(annotated((24, 32, 40)), annotated((24, 32, 40), seed=1))
    with torch.no_grad():
        embedding = network.encode(image).embedding
        similarity = torch.stack(
            [
                network.similarity(one, network.prototypes(one, known))
                for one, known in zip(embedding, prompt, strict=True)
            ]
        )
    assert_both_ways_agree(lambda: network.encode(image).embedding)
    assert_both_ways_agree(lambda: network.decode(network.encode(image), similarity, image, prompt))
