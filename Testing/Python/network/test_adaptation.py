"""The inner loop: the same steps as learn2learn's, taken only where the drawn slices say that they help."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from MedMetaSegLib import Cancelled, Segmenter, Support
from MedMetaSegLib.demo.phantom import LABEL, make_patient
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.network.adaptation import (
    HeldOut,
    adapted,
    adapted_to_slices,
    around,
    inner_loop,
    slice_loss,
    support_loss,
)
from MedMetaSegLib.network.decoder import Head
from MedMetaSegLib.network.inference import Predictor
from MedMetaSegLib.training.episodes import Episode, episodes
from MedMetaSegLib.training.learn2learn_light import load_learn2learn
from MedMetaSegLib.training.outer_loop import OuterLoop
from MedMetaSegLib.training.synthesis import random_anatomy
from network_phantom import annotated, tiny_network

CHANNELS, CONDITIONS = 3, 4
pytestmark = pytest.mark.usefixtures("one_thread")


def small_head() -> Head:
    torch.manual_seed(0)
    full = nn.Sequential(
        nn.Conv3d(CHANNELS + CONDITIONS, 5, 3, padding=1),
        nn.LeakyReLU(0.01),
        nn.Conv3d(5, CHANNELS, 3, padding=1),
        nn.LeakyReLU(0.01),
    )
    return Head(full, nn.Conv3d(CHANNELS + CONDITIONS, 1, 1))


def held_out(number: int, told: bool = True) -> list[HeldOut]:
    """Slices whose structure is where the first channel is high; told False: the target is noise."""
    generator = torch.Generator().manual_seed(number)
    found = []
    for _ in range(number):
        x = torch.randn(1, CHANNELS, 5, 12, 12, generator=generator)
        prompt = torch.randn(1, CONDITIONS, 5, 12, 12, generator=generator)
        target = (x[:, :1, 2] > 0.3) if told else torch.rand(1, 1, 12, 12, generator=generator) > 0.5
        found.append(HeldOut(x, prompt, 2, target.float(), torch.ones(1, 1, 12, 12)))
    return found


def sizes_of(head: Head, size: float) -> list[torch.Tensor]:
    return [torch.full_like(parameter, size) for parameter in head.parameters()]


def test_the_inner_loop_takes_the_steps_of_learn2learn() -> None:
    try:
        l2l = load_learn2learn()
    except InputError as error:
        pytest.skip(str(error))
    head, held = small_head(), held_out(3)
    sizes = [torch.rand_like(parameter) * 0.1 for parameter in head.parameters()]
    learner = l2l.algorithms.MetaSGD(l2l.clone_module(head), lrs=sizes, first_order=False)
    for _ in range(3):
        learner.adapt(torch.stack([slice_loss(learner(one.x, one.prompt), one) for one in held]).mean())
    theirs = list(learner.module.parameters())
    ours = inner_loop(head, sizes, held, 3, learning=True)[-1]
    for mine, other in zip(ours.values(), theirs, strict=True):
        torch.testing.assert_close(mine, other)
    # The gradient of what comes after, through the steps, to where they start.
    query = held_out(1)
    own = torch.autograd.grad(support_loss(head, ours, query), list(head.parameters()), retain_graph=True)
    loss = slice_loss(learner(query[0].x, query[0].prompt), query[0])
    for mine, other in zip(own, torch.autograd.grad(loss, list(head.parameters())), strict=True):
        torch.testing.assert_close(mine, other)


def test_a_step_goes_down_the_gradient_by_each_parameters_own_size() -> None:
    head, held = small_head(), held_out(2)
    sizes = [torch.rand_like(parameter) * 0.1 for parameter in head.parameters()]
    gradients = torch.autograd.grad(
        torch.stack([slice_loss(head(one.x, one.prompt), one) for one in held]).mean(),
        list(head.parameters()),
    )
    before, after = inner_loop(head, sizes, held, 1)
    for old, new, size, gradient in zip(before.values(), after.values(), sizes, gradients, strict=True):
        torch.testing.assert_close(new, old - size * gradient)


def test_steps_are_taken_where_they_help_on_a_slice_that_was_left_out() -> None:
    head = small_head()
    found = adapted(head, sizes_of(head, 0.5), held_out(4))
    assert found.steps > 0
    assert found.parameters is not None
    assert found.after < 0.99 * found.before
    fresh = held_out(7)
    own = dict(head.named_parameters())
    assert support_loss(head, found.parameters, fresh) < support_loss(head, own, fresh)


def test_no_step_is_taken_where_it_does_not_help() -> None:
    head = small_head()
    found = adapted(head, sizes_of(head, 5.0), held_out(3, told=False))
    assert found.parameters is None
    assert found.steps == 0
    assert found.after == found.before


def test_the_head_itself_is_not_changed() -> None:
    head = small_head()
    before = [parameter.clone() for parameter in head.parameters()]
    adapted(head, sizes_of(head, 0.5), held_out(3))
    for mine, other in zip(head.parameters(), before, strict=True):
        assert torch.equal(mine, other)


def test_what_is_not_known_has_no_say() -> None:
    head, (one,) = small_head(), held_out(1)
    known = torch.zeros(1, 1, 12, 12)
    known[..., :6] = 1
    wrong = one.target.clone()
    wrong[..., 6:] = 1 - wrong[..., 6:]
    logits = head(one.x, one.prompt)
    losses = [
        slice_loss(logits, HeldOut(one.x, one.prompt, 2, target, known)) for target in (one.target, wrong)
    ]
    assert losses[0] == losses[1]


def test_one_slice_cannot_be_held_out() -> None:
    head = small_head()
    with pytest.raises(ValueError, match="two slices"):
        adapted(head, sizes_of(head, 0.1), held_out(1))


@pytest.mark.parametrize(
    ("plane", "planes", "wanted"), [(0, 9, slice(0, 3)), (4, 9, slice(2, 7)), (8, 9, slice(6, 9))]
)
def test_planes_around(plane: int, planes: int, wanted: slice) -> None:
    assert around(plane, planes) == wanted


@pytest.fixture(scope="module")
def episode() -> Episode:
    rng = np.random.default_rng(3)
    while True:
        for one in episodes(rng, random_anatomy(rng, 40), 4, held_out=True):
            return one


def test_a_slice_held_out_is_unknown_and_the_others_stay(episode: Episode) -> None:
    assert 2 <= episode.annotated_slices == len(episode.held_out) <= 5
    for plane, prompt in episode.held_out:
        assert not prompt[:2, plane].any()
        for other, _ in episode.held_out:
            if other != plane:
                np.testing.assert_array_equal(prompt[0, other], episode.prompt[0, other])


def test_the_outer_loop_learns_where_steps_begin_and_how_large_they_are(episode: Episode) -> None:
    try:
        loop = OuterLoop(tiny_network(), torch.device("cpu"))
    except InputError as error:
        pytest.skip(str(error))
    trunk = loop.network.decoder.stem.weight.clone()
    start = [parameter.clone() for parameter in loop.head.parameters()]
    sizes = [one.clone() for one in loop.network.step_sizes]
    losses = [loop.step(episode) for _ in range(6)]
    assert losses[-1][1] < losses[0][1]
    network = loop.finish()
    assert torch.equal(trunk, network.decoder.stem.weight)
    assert not all(torch.equal(a, b) for a, b in zip(start, loop.head.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(sizes, network.step_sizes, strict=True))
    assert all(bool((one > 0).all()) for one in network.step_sizes)


def test_a_segmenter_adapts_when_asked_and_keeps_what_was_drawn() -> None:
    patient = make_patient(0, (24, 56, 72), (8.0, 5.0, 5.0))
    liver = LABEL["liver"]
    labels = np.zeros(patient.truth.shape, np.uint8)
    planes = np.flatnonzero((patient.truth == liver).any((1, 2)))[[1, 4, 7]]
    labels[planes] = liver * (patient.truth[planes] == liver)
    support = Support.from_labels(labels, patient.volume.geometry, {liver: "liver"})
    network = tiny_network()
    with torch.no_grad():
        for size in network.step_sizes:
            size.fill_(0.3)
    segmenter = Segmenter(Predictor(network, torch.device("cpu")), {"sha256": "ab" * 32}, "for tests")
    plain = segmenter.segment(patient.volume, support)
    stepped = segmenter.segment(patient.volume, support, adapt=True)
    for one in (plain, stepped):
        np.testing.assert_array_equal(one.mask("liver")[planes], labels[planes] == liver)
    (entry,) = stepped.report["structures"]
    assert entry["adaptation"]["steps"] > 0
    assert entry["adaptation"]["loss_after"] < entry["adaptation"]["loss_before"]
    assert not np.array_equal(plain.mask("liver"), stepped.mask("liver"))
    assert "adaptation" not in plain.report["structures"][0]
    again = segmenter.segment(patient.volume, support)
    np.testing.assert_array_equal(plain.mask("liver"), again.mask("liver"))


def test_when_memory_runs_out_the_network_is_used_as_it_came_and_that_is_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predictor = Predictor(tiny_network(), torch.device("cpu"))

    def full(*rest: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(predictor, "trunk", full)
    shape = (16, 24, 24)
    image, prompt = annotated(shape)
    _, encoded = predictor.segment(image, prompt, None, lambda: False)
    annotated_mask = np.ones(shape[1:], bool)
    slices = [(2, prompt, annotated_mask), (5, prompt, annotated_mask)]
    notes = predictor.new_notes()
    assert adapted_to_slices(predictor, image, slices, encoded, lambda: False) is None
    assert notes == ["Memory ran out while adapting: the network was used as it came."]


def test_adapting_is_cancelled_like_anything_else() -> None:
    patient = make_patient(0, (24, 56, 72), (8.0, 5.0, 5.0))
    liver = LABEL["liver"]
    labels = np.where(patient.truth == liver, liver, 0).astype(np.uint8)
    labels[::3] = 0
    support = Support.from_labels(labels, patient.volume.geometry, {liver: "liver"})
    segmenter = Segmenter(Predictor(tiny_network(), torch.device("cpu")), {"sha256": "ab" * 32}, "for tests")
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 4

    with pytest.raises(Cancelled):
        segmenter.segment(patient.volume, support, adapt=True, cancelled=cancelled)
