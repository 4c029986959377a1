"""learn2learn without what 3D segmentation does not need: its learners wrap a small Conv3d network."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from MedMetaSegLib.errors import InputError
from MedMetaSegLib.training.learn2learn_light import load_learn2learn

LEARNING_RATE = 0.05


@pytest.fixture(scope="module")
def learn2learn() -> ModuleType:
    if importlib.util.find_spec("learn2learn") is None:
        pytest.skip("learn2learn is not installed; build it with `make learn2learn`")
    return load_learn2learn()


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 3, 3, padding=1), nn.InstanceNorm3d(3, affine=True), nn.LeakyReLU(), nn.Conv3d(3, 1, 1)
    )


def task(seed: int) -> tuple[Tensor, Tensor]:
    """Image and target (1, 1, 6, 6, 6): the brighter half of noise."""
    image = torch.randn(1, 1, 6, 6, 6, generator=torch.Generator().manual_seed(seed))
    return image, (image > 0).float()


def loss(answer: Tensor, target: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(answer, target)


@pytest.mark.parametrize("algorithm", ["MAML", "MetaSGD"])
def test_a_learner_adapts_a_conv3d_network_and_leaves_it_as_it_was(
    learn2learn: ModuleType, network: nn.Module, algorithm: str
) -> None:
    learner = getattr(learn2learn.algorithms, algorithm)(network, lr=LEARNING_RATE)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    image, target = task(1)
    adapted = learner.clone()
    first = loss(adapted(image), target)
    adapted.adapt(first)
    second = loss(adapted(image), target)
    assert second < first
    for parameter, old in zip(network.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
    second.backward()
    assert all(parameter.grad is not None for parameter in learner.parameters())


def test_the_meta_gradient_of_maml_is_that_of_a_plain_second_order_step(
    learn2learn: ModuleType, network: nn.Module
) -> None:
    (image, target), (query, query_target) = task(1), task(2)
    learner = learn2learn.algorithms.MAML(network, lr=LEARNING_RATE).clone()
    learner.adapt(loss(learner(image), target))
    parameters = dict(network.named_parameters())
    theirs = torch.autograd.grad(loss(learner(query), query_target), list(parameters.values()))
    inner = loss(torch.func.functional_call(network, parameters, image), target)
    steps = torch.autograd.grad(inner, list(parameters.values()), create_graph=True)
    moved = {
        name: value - LEARNING_RATE * step
        for (name, value), step in zip(parameters.items(), steps, strict=True)
    }
    outer = loss(torch.func.functional_call(network, moved, query), query_target)
    ours = torch.autograd.grad(outer, list(parameters.values()))
    for one, other in zip(theirs, ours, strict=True):
        torch.testing.assert_close(one, other)


def test_gbml_with_a_scale_for_every_parameter_learns_the_scale(
    learn2learn: ModuleType, network: nn.Module
) -> None:
    class Scale(nn.Module):
        def __init__(self, parameter: Tensor) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.full_like(parameter, LEARNING_RATE))

        def forward(self, gradient: Tensor) -> Tensor:
            return self.scale * gradient

    learner = learn2learn.algorithms.GBML(network, transform=Scale, lr=1.0, allow_unused=True)
    image, target = task(1)
    adapted = learner.clone()
    adapted.adapt(loss(adapted(image), target))
    loss(adapted(image), target).backward()
    scales = [value for name, value in learner.named_parameters() if name.endswith("scale")]
    assert len(scales) == len(list(network.parameters()))
    assert any(bool(value.grad.abs().sum() > 0) for value in scales if value.grad is not None)


def test_loading_it_imports_neither_gym_nor_torchvision(learn2learn: ModuleType) -> None:
    code = (
        "import sys\n"
        "from MedMetaSegLib.training.learn2learn_light import load_learn2learn\n"
        "package = load_learn2learn()\n"
        "assert package.clone_module and package is load_learn2learn()\n"
        "heavy = {'gym', 'torchvision', 'pytorch_lightning', 'learn2learn.vision', 'learn2learn.data'}\n"
        "assert not heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_it_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "learn2learn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="make learn2learn"):
        load_learn2learn()


def test_one_that_does_not_load_leaves_nothing_half_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "learn2learn"]:
        monkeypatch.delitem(sys.modules, name)
    package = tmp_path / "learn2learn"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"does not load.*make learn2learn"):
        load_learn2learn()
    assert "learn2learn" not in sys.modules
