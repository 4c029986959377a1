"""Slices of other planes correct a shape that was guessed from those of one plane."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from MedMetaSegLib.network.crossing_slices import CrossingSlice, corrected, crossing_distance
from MedMetaSegLib.network.image_evidence import ImageEvidence, image_channels
from MedMetaSegLib.network.prompt_channels import (
    BACKGROUND,
    DISTANCE,
    FOREGROUND,
    SHAPE,
    KnownSlice,
    shape_interpolation,
    signed_distance,
    slice_prompt,
)

SIDE, ASPECT = 32, 2.0
MIDDLE = 16


def ball(radius: float = 11) -> np.ndarray:
    """A ball on a grid whose slices are as far apart as two voxels in the plane."""
    k, j, i = np.indices((SIDE // 2, SIDE, SIDE))
    return ((k - 8) * ASPECT) ** 2 + (j - MIDDLE) ** 2 + (i - MIDDLE) ** 2 < radius**2


def crossing(axis: int) -> CrossingSlice:
    plane = np.moveaxis(ball(), axis, 0)[MIDDLE]
    return CrossingSlice(axis, float(MIDDLE), signed_distance(plane, (ASPECT, 1.0)))


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_three_slices_that_cross_give_the_ball() -> None:
    middle = [KnownSlice(8.0, signed_distance(ball()[8]))]
    alone = shape_interpolation(middle, SIDE // 2, ASPECT)
    known = crossing_distance(alone.shape, [crossing(1), crossing(2)])
    together = corrected(alone[None], torch.from_numpy(known), [8], ASPECT)[0].numpy()
    assert dice(alone.numpy() > 0, ball()) < 0.8
    assert dice(together > 0, ball()) > 0.92
    np.testing.assert_array_equal(together[8], alone[8])
    np.testing.assert_allclose(together[2, MIDDLE], known[2, MIDDLE])


def test_what_agrees_with_the_crossing_slices_stays_as_it_was() -> None:
    k, j, i = np.indices((SIDE // 2, SIDE, SIDE)) - np.array([8, MIDDLE, MIDDLE]).reshape(3, 1, 1, 1)
    guess = torch.from_numpy(10 - np.sqrt((ASPECT * k) ** 2 + j**2 + i**2)).float()
    known = np.full(guess.shape, np.nan, np.float32)
    known[:, MIDDLE] = guess[:, MIDDLE].numpy()
    np.testing.assert_allclose(
        corrected(guess[None], torch.from_numpy(known), [8], ASPECT)[0], guess, atol=1e-5
    )


def test_slices_off_the_grid_say_nothing() -> None:
    far = CrossingSlice(1, SIDE + 4.0, np.ones((SIDE // 2, SIDE), np.float32))
    assert np.isnan(crossing_distance((SIDE // 2, SIDE, SIDE), [far])).all()


@pytest.mark.parametrize("axis", [1, 2])
def test_the_prompt_knows_the_voxels_of_a_crossing_slice(axis: int) -> None:
    image = np.where(ball(), 3, 0) + np.random.default_rng(2).normal(0, 0.3, ball().shape)
    evidence = ImageEvidence(image_channels(image.astype(np.float32)), ASPECT)
    slices = [KnownSlice(8.0, signed_distance(ball()[8]))]
    known = crossing_distance(ball().shape, [crossing(axis)])
    alone, prompt = slice_prompt(evidence, slices), slice_prompt(evidence, slices, crossing=known)
    plane = np.moveaxis(prompt.numpy(), axis + 1, 1)[:, MIDDLE]
    expected = np.moveaxis(ball(), axis, 0)[MIDDLE]
    np.testing.assert_array_equal(plane[FOREGROUND] > 0, expected)
    np.testing.assert_array_equal(plane[BACKGROUND] > 0, ~expected)
    assert not plane[DISTANCE].any()
    assert dice(prompt[SHAPE].numpy() > 0, ball()) > dice(alone[SHAPE].numpy() > 0, ball()) + 0.1
