"""The closed-form voxel classifier: it learns looks and place, and says little where unsure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from MedMetaSegLib.network.image_evidence import image_channels
from MedMetaSegLib.network.voxel_classifier import (
    _AT_ONCE,
    FEATURES,
    appearance_log_odds,
    smoothed,
    voxel_features,
)

SHAPE = (24, 32, 36)
SLICES = (6, 17)


def ball(centre: tuple[int, int, int] = (12, 16, 18), radius: float = 8.0) -> np.ndarray:
    index = np.indices(SHAPE)
    return sum((index[a] - centre[a]) ** 2 for a in range(3)) < radius**2


def picture(mask: np.ndarray, contrast: float, seed: int = 0) -> Tensor:
    noise = np.random.default_rng(seed).normal(0, 1, SHAPE)
    return image_channels((contrast * mask + noise).astype(np.float32))


def known(mask: np.ndarray, slices: tuple[int, ...] = SLICES) -> tuple[np.ndarray, np.ndarray]:
    foreground, background = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    for k in slices:
        foreground[k], background[k] = mask[k], ~mask[k]
    return foreground, background


def log_odds(features: Tensor, foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    return appearance_log_odds(features, torch.from_numpy(foreground), torch.from_numpy(background)).numpy()


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    found, truth = np.delete(found, SLICES, 0), np.delete(truth, SLICES, 0)
    return 2 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth))


def test_it_finds_between_the_slices_what_differs_in_grey_level_despite_noise() -> None:
    mask = ball()
    features = voxel_features(picture(mask, 3.0), 1.0)
    assert dice(log_odds(features, *known(mask)) > 0, mask) > 0.85


def test_place_tells_apart_what_looks_the_same() -> None:
    mask, twin = ball((12, 16, 10), 6), ball((12, 16, 27), 6)
    features = voxel_features(picture(mask | twin, 4.0), 1.0)
    odds = log_odds(features, *known(mask))
    middle = np.ones(SHAPE[0], bool)
    middle[list(SLICES)] = False
    assert odds[middle][mask[middle]].mean() > odds[middle][twin[middle]].mean() + 1.5


def test_looks_that_do_not_carry_from_slice_to_slice_say_little() -> None:
    mask = ball()
    image = picture(mask, 0.0)
    image[:, SLICES[0]] += 3 * torch.from_numpy(mask[SLICES[0]])
    image[:, SLICES[1]] -= 3 * torch.from_numpy(mask[SLICES[1]])
    telling = log_odds(voxel_features(picture(mask, 3.0), 1.0), *known(mask))
    misleading = log_odds(voxel_features(image, 1.0), *known(mask))
    assert np.ptp(misleading) < np.ptp(telling)


@pytest.mark.parametrize("side", [0, 1])
def test_without_one_side_it_says_nothing(side: int) -> None:
    sides = list(known(ball()))
    sides[side] = np.zeros(SHAPE, bool)
    assert not log_odds(voxel_features(picture(ball(), 3.0), 1.0), *sides).any()


def test_a_single_slice_is_enough_to_fit_it() -> None:
    mask = ball()
    odds = log_odds(voxel_features(picture(mask, 4.0), 1.0), *known(mask, (12,)))
    assert odds[mask].mean() > 1 > -1 > odds[~mask].mean()


def test_the_same_painting_gives_the_same_evidence_and_it_is_bounded() -> None:
    mask = ball()
    features = voxel_features(picture(mask, 50.0), 1.0)
    first, second = (log_odds(features, *known(mask)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.float32
    assert np.abs(first).max() <= 5


def test_features_are_finite_on_a_flat_image_and_leave_room_for_place() -> None:
    features = voxel_features(image_channels(np.zeros(SHAPE, np.float32)), 4.0)
    assert features.shape == (FEATURES - 3, *SHAPE)
    assert features.isfinite().all()


@pytest.mark.parametrize(("aspect", "reaches"), [(1.0, True), (9.0, False)])
def test_smoothing_does_not_mix_thick_slices(aspect: float, reaches: bool) -> None:
    image = torch.zeros(SHAPE)
    image[12] = 1
    assert (smoothed(image, 5, aspect)[13].max() > 0) == reaches


def test_a_side_known_on_one_slice_only_leaves_the_evidence_finite() -> None:
    foreground, background = known(ball())
    background[SLICES[1]] = False
    odds = log_odds(voxel_features(picture(ball(), 4.0), 1.0), foreground, background)
    assert np.isfinite(odds).all()
    assert odds[ball()].mean() > odds[~ball()].mean()


def test_the_evidence_is_the_same_however_many_voxels_are_classified_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, sides = voxel_features(picture(ball(), 3.0), 1.0), known(ball())
    expected = log_odds(features, *sides)
    monkeypatch.setitem(_AT_ONCE, "cpu", 1)
    np.testing.assert_allclose(log_odds(features, *sides), expected, atol=1e-4)
