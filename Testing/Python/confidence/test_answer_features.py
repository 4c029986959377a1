"""What an answer shows of its own quality."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from MedMetaSegLib.confidence.answer_features import _grown, answer_features

SHAPE = (20, 24, 28)


def ball(radius: float, centre: tuple[int, int, int] = (10, 12, 14)) -> torch.Tensor:
    """Signed distance to a ball, positive inside."""
    places = np.indices(SHAPE) - np.array(centre).reshape(3, 1, 1, 1)
    return torch.from_numpy((radius - np.sqrt((places**2).sum(0))).astype(np.float32))


def image_of(inside: torch.Tensor, noise: float) -> torch.Tensor:
    values = (inside > 0).float() + noise * torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    return torch.stack([values, -values])


def test_a_sure_answer_promises_more_than_a_vague_one():
    image = image_of(ball(6), 0.2)
    sure, vague = (answer_features(factor * ball(6), image, {}) for factor in (5.0, 0.3))
    assert sure["expected_dice"] > 0.92 > 0.5 > vague["expected_dice"] > 0.2
    assert sure["entropy"] < vague["entropy"]


def test_expected_dice_is_that_of_the_probabilities():
    logits = ball(6)
    probability, answer = torch.sigmoid(logits).double(), (logits > 0).double()
    box = (slice(0, 20), slice(2, 24), slice(4, 25))
    wanted = 2 * (probability * answer)[box].sum() / (probability[box].sum() + answer.sum())
    assert answer_features(logits, image_of(logits, 0.2), {})["expected_dice"] == pytest.approx(
        float(wanted), abs=0.01
    )


def test_agreement_is_the_dice_of_answer_and_opinion():
    same, apart, shifted = ball(6), ball(2, (3, 3, 3)), ball(6, (12, 12, 14))
    found = answer_features(ball(6), image_of(ball(6), 0.2), {"a": same, "b": apart, "c": shifted})
    both = ((ball(6) > 0) & (shifted > 0)).sum()
    assert found["a_agreement"] == 1
    assert found["b_agreement"] == 0
    assert found["c_agreement"] == pytest.approx(float(2 * both / (2 * (ball(6) > 0).sum())), abs=0.01)


def test_of_further_maps_the_mean_inside_is_told():
    values = torch.zeros(SHAPE)
    values[ball(6) > 3] = 2.0
    found = answer_features(ball(6), image_of(ball(6), 0.2), {}, {"residual": values})
    wanted = 2 * (ball(6) > 3).sum() / (ball(6) > 0).sum()
    assert found["residual"] == pytest.approx(float(wanted))


def test_what_differs_from_its_rim_has_contrast():
    logits = ball(6)
    clear, hidden = (answer_features(logits, image_of(logits, noise), {})["contrast"] for noise in (0.1, 2.0))
    assert clear > 5 > 1 > hidden


def test_an_answer_at_the_edge_of_the_grid_is_told_like_any_other():
    edge = ball(6, (0, 0, 0))
    found = answer_features(edge, image_of(edge, 0.2), {"same": edge})
    assert found["same_agreement"] == 1
    assert found["contrast"] > 2


def test_nothing_found_shows_nothing():
    assert answer_features(torch.full(SHAPE, -1.0), torch.zeros(2, *SHAPE), {"any": ball(6)}) == {}


def test_a_single_voxel_and_a_full_grid_give_finite_numbers():
    one = torch.full(SHAPE, -4.0)
    one[0, 0, 0] = 4.0
    for logits in (one, torch.full(SHAPE, 4.0)):
        found = answer_features(logits, torch.zeros(2, *SHAPE), {"same": logits})
        assert np.isfinite(list(found.values())).all()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_features_are_the_same_on_cuda():
    logits, image = ball(6), image_of(ball(6), 0.3)
    here = answer_features(logits, image, {"shift": ball(5)})
    there = answer_features(logits.cuda(), image.cuda(), {"shift": ball(5).cuda()})
    assert there == pytest.approx(here, abs=1e-3)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_mask_grows_by_a_cube_as_by_max_pooling(steps: int) -> None:
    mask = (torch.rand(9, 4, 7, generator=torch.Generator().manual_seed(2)) > 0.95).float()
    before = mask.clone()
    expected = torch.nn.functional.max_pool3d(mask[None, None], 2 * steps + 1, 1, steps)[0, 0]
    torch.testing.assert_close(_grown(mask, steps), expected, atol=0, rtol=0)
    torch.testing.assert_close(mask, before, atol=0, rtol=0)
