"""What the network is told: distances, interpolated shape, likelihood, and the image in two contrasts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from MedMetaSegLib.network import prompt_channels as prompts
from MedMetaSegLib.network.image_evidence import ImageEvidence, image_channels
from MedMetaSegLib.network.likelihood import histogram_bins
from MedMetaSegLib.network.likelihood import likelihood_ratio as ratio_of_bins
from MedMetaSegLib.network.prompt_channels import (
    PROMPT_CHANNELS,
    SHAPE_LIMIT,
    KnownSlice,
    scribble_prompt,
    shape_interpolation,
    signed_distance,
    slice_prompt,
)

SIDE = 40


def disc(radius: float, centre: tuple[float, float] = (20, 20), side: int = SIDE) -> np.ndarray:
    rows, columns = np.indices((side, side))
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2


def noisy(mask: np.ndarray, inside: float = 3.0, outside: float = 0.0) -> np.ndarray:
    noise = np.random.default_rng(5).normal(0, 0.3, mask.shape)
    return np.where(mask, inside, outside) + noise.astype(np.float32)


def evidence(image: np.ndarray, aspect: float = 1.0) -> ImageEvidence:
    return ImageEvidence(image_channels(image), aspect)


def likelihood_ratio(image: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    bins = histogram_bins(torch.from_numpy(image).float())
    return ratio_of_bins(bins, torch.from_numpy(inside), torch.from_numpy(outside)).numpy()


# ---- signed distance


def test_signed_distance_is_positive_inside_and_zero_midway_between_voxels() -> None:
    mask = np.zeros((9, 9), bool)
    mask[:, 4:] = True
    np.testing.assert_allclose(signed_distance(mask)[3], [-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5, 4.5])


def test_signed_distance_counts_in_the_units_of_the_spacing() -> None:
    mask = np.zeros((9, 9), bool)
    mask[4:] = True
    down = signed_distance(mask, (0.5, 0.5))[:, 3]
    np.testing.assert_allclose(np.diff(down), 0.5)
    assert down[4] == -down[3] == 0.25


@pytest.mark.parametrize(("fill", "value"), [(False, -SHAPE_LIMIT), (True, SHAPE_LIMIT)])
def test_an_empty_or_full_slice_is_far_from_any_border(fill: bool, value: float) -> None:
    np.testing.assert_array_equal(signed_distance(np.full((5, 6), fill)), value)


# ---- shape between and beyond slices


def test_midway_between_two_discs_lies_a_disc_midway_in_size() -> None:
    slices = [KnownSlice(2, signed_distance(disc(12))), KnownSlice(8, signed_distance(disc(6)))]
    shape = shape_interpolation(slices, 11, aspect=1.0).numpy()
    difference = (shape[5] > 0) ^ disc(9)
    assert difference.sum() < 0.1 * disc(9).sum()
    areas = (shape[2:9] > 0).sum((1, 2))
    assert (np.diff(areas) < 0).all()
    np.testing.assert_array_equal(shape[2] > 0, disc(12))
    np.testing.assert_array_equal(shape[8] > 0, disc(6))


def test_slices_may_lie_between_working_voxels() -> None:
    first, last = signed_distance(disc(12)), signed_distance(disc(6))
    shape = shape_interpolation([KnownSlice(2.5, first), KnownSlice(4.5, last)], 8, aspect=1.0).numpy()
    np.testing.assert_allclose(shape[3], 0.75 * first.clip(-20, 20) + 0.25 * last.clip(-20, 20), rtol=1e-5)


@pytest.mark.parametrize("aspect", [0.5, 1.0, 4.0])
def test_beyond_the_last_slice_a_shape_shrinks_by_the_way_travelled(aspect: float) -> None:
    drawn = signed_distance(disc(12))
    shape = shape_interpolation([KnownSlice(3, drawn)], 8, aspect).numpy()
    for k in range(8):
        np.testing.assert_allclose(shape[k], np.clip(drawn - aspect * abs(k - 3), -20, 20), atol=1e-5)


# ---- likelihood


@pytest.mark.parametrize("inside", [1.5, -1.5])
def test_likelihood_separates_two_grey_levels_wherever_they_are(inside: float) -> None:
    mask = np.stack([disc(12), disc(10), disc(8)])
    image = noisy(mask, inside=inside)
    known = np.zeros_like(mask)
    known[0] = True
    ratio = likelihood_ratio(image, mask & known, ~mask & known)
    core, far = disc(6), ~disc(14)
    assert (ratio[2][core] > 0).mean() > 0.98
    assert (ratio[2][far] < 0).mean() > 0.98
    assert np.abs(ratio).max() <= 5


def test_likelihood_says_nothing_where_both_sides_look_alike() -> None:
    mask = np.stack([disc(12)] * 2)
    ratio = likelihood_ratio(noisy(mask, inside=0.0), mask, ~mask)
    assert abs(float(ratio.mean())) < 0.3


def test_likelihood_is_finite_when_nothing_is_known() -> None:
    nothing = np.zeros((2, SIDE, SIDE), bool)
    np.testing.assert_allclose(likelihood_ratio(noisy(nothing), nothing, nothing), 0, atol=1e-6)


# ---- the image


@pytest.mark.parametrize(("scale", "shift"), [(3.5, 0), (1, -1024), (0.01, 7), (250, 1e4)])
def test_image_channels_do_not_depend_on_scale_and_offset_of_the_grey_levels(
    scale: float, shift: float
) -> None:
    image = noisy(np.stack([disc(12)] * 4), inside=5)
    expected = image_channels(image).numpy()
    np.testing.assert_allclose(image_channels(image * scale + shift).numpy(), expected, atol=0.02)


def test_image_channels_are_standardised_and_equalised() -> None:
    image = noisy(np.stack([disc(12)] * 4), inside=5) ** 3
    standard, equalised = image_channels(image).numpy()
    assert abs(float(standard.mean())) < 1e-4
    assert abs(float(standard.std()) - 1) < 1e-3
    spread = np.histogram(equalised, bins=8, range=(-np.sqrt(3), np.sqrt(3)))[0] / equalised.size
    np.testing.assert_allclose(spread, 1 / 8, atol=0.02)


def test_an_image_of_whole_numbers_with_much_air_is_finite() -> None:
    image = np.full((4, SIDE, SIDE), -1000, np.int16)
    image[:, disc(3)] = 60
    channels = image_channels(image).numpy()
    assert channels.dtype == np.float32
    assert np.isfinite(channels).all()
    assert channels[0, 0, 20, 20] > channels[0, 0, 0, 0]


# ---- the prompt


def test_known_slices_say_what_is_and_what_is_not_there_and_nothing_elsewhere() -> None:
    masks = np.stack([disc(12)] * 9)
    drawn = [KnownSlice(2, signed_distance(masks[2])), KnownSlice(6, signed_distance(masks[6]))]
    prompt = slice_prompt(evidence(noisy(masks), 2.0), drawn).numpy()
    assert prompt.shape == (PROMPT_CHANNELS, 9, SIDE, SIDE)
    assert prompt.dtype == np.float32
    foreground, background = prompt[prompts.FOREGROUND] > 0, prompt[prompts.BACKGROUND] > 0
    np.testing.assert_array_equal(foreground[2], masks[2])
    np.testing.assert_array_equal(background[6], ~masks[6])
    unknown = [0, 1, 3, 4, 5, 7, 8]
    assert not (foreground | background)[unknown].any()
    along = prompt[prompts.DISTANCE, :, 0, 0] * 10
    np.testing.assert_allclose(along, [2, 1, 0, 1, 2, 1, 0, 1, 2], atol=1e-5)
    np.testing.assert_allclose(prompt[prompts.ASPECT], 0.5)
    assert ((prompt[prompts.SHAPE] > 0)[4] == masks[4]).all()


def test_what_belongs_to_another_structure_is_background_but_never_foreground() -> None:
    masks = np.stack([disc(12)] * 5)
    elsewhere = np.zeros_like(masks)
    elsewhere[3] = elsewhere[2] = disc(5)
    drawn = [KnownSlice(2, signed_distance(masks[2]))]
    prompt = slice_prompt(evidence(noisy(masks)), drawn, elsewhere).numpy()
    np.testing.assert_array_equal(prompt[prompts.BACKGROUND, 3] > 0, disc(5))
    np.testing.assert_array_equal(prompt[prompts.FOREGROUND, 2] > 0, masks[2])
    assert not ((prompt[prompts.FOREGROUND] > 0) & (prompt[prompts.BACKGROUND] > 0)).any()


def test_two_slices_in_one_working_voxel_leave_the_nearer_one() -> None:
    drawn = [KnownSlice(2.4, signed_distance(disc(12))), KnownSlice(2.9, signed_distance(disc(6)))]
    drawn.append(KnownSlice(3.1, signed_distance(disc(9))))
    prompt = slice_prompt(evidence(noisy(np.stack([disc(12)] * 6))), drawn).numpy()
    np.testing.assert_array_equal(prompt[prompts.FOREGROUND, 2] > 0, disc(12))
    np.testing.assert_array_equal(prompt[prompts.FOREGROUND, 3] > 0, disc(6))


@pytest.mark.parametrize("sides", ["both", "inside only"])
def test_scribbles_are_known_where_they_were_drawn(sides: str) -> None:
    masks = np.stack([disc(12)] * 6)
    inside, outside = np.zeros_like(masks), np.zeros_like(masks)
    inside[3, 20, 15:25] = True
    outside[3, 3, 5:30] = sides == "both"
    prompt = scribble_prompt(evidence(noisy(masks)), inside, outside).numpy()
    assert np.isfinite(prompt).all()
    np.testing.assert_array_equal(prompt[prompts.FOREGROUND] > 0, inside)
    np.testing.assert_array_equal(prompt[prompts.BACKGROUND] > 0, outside)
    assert (prompt[prompts.SHAPE][inside] > 0).all()
    assert not (prompt[prompts.SHAPE][outside] > 0).any()
    assert (prompt[prompts.DISTANCE][inside | outside] == 0).all()
