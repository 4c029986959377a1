"""Prototypes: how many, how long, how they separate, and that nothing about them is left to chance."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from MedMetaSegLib.network.prototypes import (
    BEST_BACKGROUND,
    BEST_FOREGROUND,
    MAX_POINTS,
    MEAN,
    PROTOTYPE_LOGIT,
    RIDGE,
    SIMILARITY_CHANNELS,
    TASK_PROTOTYPE_LOGIT,
    TASK_RIDGE,
    prototypes_from_points,
    ridge_classifier,
    sampled,
    similarity_maps,
    spherical_clusters,
)

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 16
PENALTY = torch.tensor(0.02)


def bundle(*directions: int, number: int = 60, spread: float = 0.1, seed: int = 0) -> torch.Tensor:
    """Unit vectors (N, SIZE) around the given coordinate axes."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.eye(SIZE)[list(directions)].repeat_interleave(number, 0)
    return normalize(centres + spread * torch.randn(centres.shape, generator=generator), dim=1)


def weighted(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return points, torch.ones(len(points))


def test_the_same_points_give_the_same_prototypes() -> None:
    points = bundle(0, 3, 5)
    once, again = (spherical_clusters(points, torch.ones(len(points)), 6) for _ in range(2))
    assert torch.equal(once, again)


def test_prototypes_have_unit_length() -> None:
    found = prototypes_from_points(weighted(bundle(0, 1)), weighted(bundle(7, 8, 9)), 6, 12, PENALTY)
    for part in (found.foreground, found.background, found.mean):
        torch.testing.assert_close(part.norm(dim=1), torch.ones(len(part)))


@pytest.mark.parametrize("number", [1, 2, 6])
def test_identical_points_give_one_prototype(number: int) -> None:
    points = bundle(4, number=1).repeat(30, 1)
    found = spherical_clusters(points, torch.ones(30), number)
    torch.testing.assert_close(found, points[:1])


def test_points_that_hardly_differ_give_one_prototype() -> None:
    points = bundle(4, spread=0.004)
    assert len(spherical_clusters(points, torch.ones(len(points)), 6)) == 1


def test_a_single_point_is_its_own_prototype() -> None:
    point = bundle(2, number=1)
    torch.testing.assert_close(spherical_clusters(point, torch.ones(1), 6), point)


@pytest.mark.parametrize(("kinds", "number"), [((0,), 1), ((0, 6), 2), ((0, 6, 9), 3)])
def test_each_kind_of_appearance_gets_its_own_prototype(kinds: tuple[int, ...], number: int) -> None:
    found = spherical_clusters(bundle(*kinds, spread=0.02), torch.ones(60 * len(kinds)), number)
    best = (torch.eye(SIZE)[list(kinds)] @ found.T).amax(1)
    assert len(found) == number
    assert (best > 0.99).all()


def test_there_are_never_more_prototypes_than_asked_for() -> None:
    found = spherical_clusters(bundle(*range(SIZE)), torch.ones(60 * SIZE), 5)
    assert len(found) == 5


def test_points_without_weight_do_not_draw_prototypes() -> None:
    points = bundle(0, 8, spread=0.02)
    weights = torch.cat([torch.ones(60), torch.full((60,), 1e-6)])
    assert (spherical_clusters(points, weights, 1) @ points[0] > 0.99).all()


def test_gradients_reach_the_points() -> None:
    points = bundle(0, 5).requires_grad_()
    spherical_clusters(points, torch.ones(len(points)), 3).sum().backward()
    assert points.grad is not None
    assert torch.isfinite(points.grad).all()
    assert points.grad.abs().sum() > 0


# ---- the ridge classifier


def test_the_ridge_classifier_separates_structure_from_background() -> None:
    inside, outside = bundle(0, 1, spread=0.2), bundle(2, 3, spread=0.2, seed=1)
    ridge = ridge_classifier(weighted(inside), weighted(outside), PENALTY)
    assert ((inside @ ridge[:-1] + ridge[-1]) > 0).float().mean() > 0.98
    assert ((outside @ ridge[:-1] + ridge[-1]) < 0).float().mean() > 0.98


def test_both_sides_weigh_the_same_however_many_points_they_have() -> None:
    inside, outside = bundle(0, number=5), bundle(1, number=500, seed=1)
    ridge = ridge_classifier(weighted(inside), weighted(outside), PENALTY)
    scores = [float((side @ ridge[:-1] + ridge[-1]).mean()) for side in (inside, outside)]
    assert scores[0] == pytest.approx(-scores[1], abs=0.05)


def test_the_ridge_classifier_is_solved_in_float32_under_mixed_precision() -> None:
    inside, outside = bundle(0, spread=0.2), bundle(1, spread=0.2, seed=1)
    expected = ridge_classifier(weighted(inside), weighted(outside), PENALTY)
    with torch.autocast("cpu", torch.bfloat16):
        found = ridge_classifier(weighted(inside), weighted(outside), PENALTY)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


# ---- sampling and maps


def test_known_voxels_are_sampled_with_their_weights() -> None:
    embedding = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)
    weight = torch.zeros(3, 4, 5)
    weight[1, 2, 3], weight[2, 0, 4] = 0.5, 1.0
    points, weights = sampled(embedding, weight)
    torch.testing.assert_close(points, torch.stack([embedding[:, 1, 2, 3], embedding[:, 2, 0, 4]]))
    torch.testing.assert_close(weights, torch.tensor([0.5, 1.0]))


def test_many_known_voxels_are_thinned_evenly_over_the_volume() -> None:
    position = torch.linspace(0, 1, 40 * 20 * 20).reshape(1, 40, 20, 20)
    points, weights = sampled(position, torch.ones(40, 20, 20))
    assert len(points) == len(weights) == MAX_POINTS
    torch.testing.assert_close(points[:, 0], torch.linspace(0, 1, MAX_POINTS), atol=1e-3, rtol=0)


def test_similarity_maps_have_the_shape_of_the_embedding_and_tell_the_nearer_side() -> None:
    inside, outside = bundle(0, 1), bundle(8, 9, seed=1)
    found = prototypes_from_points(weighted(inside), weighted(outside), 2, 2, PENALTY)
    embedding = torch.cat([inside, outside]).T.reshape(SIZE, 2, 10, 12)
    maps = similarity_maps(embedding, found, torch.tensor(10.0))
    assert maps.shape == (SIMILARITY_CHANNELS, 2, 10, 12)
    flat = maps.reshape(SIMILARITY_CHANNELS, -1)
    structure = torch.arange(240) < 120
    for channel in (PROTOTYPE_LOGIT, RIDGE):
        assert torch.equal(flat[channel] > 0, structure)
    assert (flat[BEST_FOREGROUND][structure] > flat[BEST_BACKGROUND][structure]).all()
    assert flat[MEAN][structure].mean() > flat[MEAN][~structure].mean() + 0.3
    assert flat[[BEST_FOREGROUND, BEST_BACKGROUND, MEAN]].abs().max() <= 1 + 1e-5


def test_prototypes_of_a_task_have_maps_of_their_own_and_without_a_task_they_are_the_images_own() -> None:
    inside, outside = bundle(0, 1), bundle(8, 9, seed=1)
    found = prototypes_from_points(weighted(inside), weighted(outside), 2, 2, PENALTY)
    other = prototypes_from_points(weighted(outside), weighted(inside), 2, 2, PENALTY)
    embedding = torch.cat([inside, outside]).T.reshape(SIZE, 2, 10, 12)
    alone = similarity_maps(embedding, found, torch.tensor(10.0))
    assert torch.equal(alone[TASK_PROTOTYPE_LOGIT], alone[PROTOTYPE_LOGIT])
    assert torch.equal(alone[TASK_RIDGE], alone[RIDGE])
    both = similarity_maps(embedding, found, torch.tensor(10.0), other)
    assert torch.equal(both[:TASK_PROTOTYPE_LOGIT], alone[:TASK_PROTOTYPE_LOGIT])
    structure = torch.arange(240) < 120
    for channel in (TASK_PROTOTYPE_LOGIT, TASK_RIDGE):
        assert torch.equal(both[channel].reshape(-1) > 0, ~structure)
