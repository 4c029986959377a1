"""Outlines carried along the motion between slices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from MedMetaSegLib.evaluation.metrics import dice
from MedMetaSegLib.network.image_evidence import ImageEvidence, image_channels
from MedMetaSegLib.network.prompt_channels import (
    MATCHING_RESIDUAL,
    PROPAGATED,
    SHAPE,
    KnownSlice,
    scribble_prompt,
    shape_interpolation,
    signed_distance,
    slice_prompt,
)
from MedMetaSegLib.network.propagation import propagated_contours, slice_motion

DEPTH, SIDE = 25, 48
pytestmark = pytest.mark.usefixtures("one_thread")


def drifting(step: float, radius: float = 7.0) -> tuple[np.ndarray, np.ndarray]:
    """An image (2, k, j, i) of a bright disc that goes sideways, `step` voxels a slice, and its mask."""
    k, j, i = np.indices((DEPTH, SIDE, SIDE)).astype(float)
    mask = np.hypot(j - SIDE / 2, i - 12 - step * k) < radius
    noise = np.random.default_rng(0).normal(0, 0.05, mask.shape)
    return image_channels(ndimage.gaussian_filter(mask.astype(float), (0, 1, 1)) + noise).numpy(), mask


def carried(
    image: np.ndarray, planes: list[int], shapes: list[np.ndarray], aspect: float
) -> tuple[np.ndarray, np.ndarray]:
    channels, given = torch.from_numpy(image), torch.from_numpy(np.stack(shapes).astype(np.float32))
    found = propagated_contours(channels, slice_motion(channels), planes, given, aspect)
    return found.shape.numpy(), found.matching_residual.numpy()


def evidence(image: np.ndarray) -> ImageEvidence:
    return ImageEvidence(torch.from_numpy(image), 1.0)


def test_an_outline_follows_what_it_was_drawn_around():
    image, mask = drifting(1.0)
    drawn = [KnownSlice(float(k), signed_distance(mask[k])) for k in (0, DEPTH - 1)]
    followed = slice_prompt(evidence(image), drawn)[PROPAGATED].numpy() > 0
    between = slice(1, DEPTH - 1)
    assert dice(followed[between], mask[between]) > 0.9
    assert dice(shape_interpolation(drawn, DEPTH, 1.0).numpy()[between] > 0, mask[between]) < 0.5


def test_motion_is_found_both_ways():
    motion = slice_motion(torch.from_numpy(drifting(1.0)[0]))
    at_the_disc = (12, slice(None), SIDE // 2, 12 + 12 + 6)
    # Slice 13 lies one voxel further on: what it shows at x, slice 12 shows at x - 1.
    np.testing.assert_allclose(motion.up[at_the_disc].numpy(), [0, -1], atol=0.3)
    np.testing.assert_allclose(motion.down[at_the_disc].numpy(), [0, 1], atol=0.3)


def test_without_motion_it_is_the_interpolation_between_the_slices():
    image = np.zeros((2, DEPTH, SIDE, SIDE), np.float32)
    shapes = [signed_distance(drifting(1.0)[1][k]).clip(-6, 6) for k in (3, 11, 20)]
    drawn = [KnownSlice(float(k), shape) for k, shape in zip((3, 11, 20), shapes, strict=True)]
    shape, matching_residual = carried(image, [3, 11, 20], shapes, 1.5)
    expected = shape_interpolation(drawn, DEPTH, 1.5).numpy()
    np.testing.assert_allclose(shape[3:21], expected[3:21], atol=1e-3)
    np.testing.assert_array_equal(matching_residual, 0)
    # Beyond the outer slices it shrinks half as fast: a structure goes on longer than a ball would.
    np.testing.assert_allclose(shape[0], shapes[0] - 0.5 * 1.5 * 3, atol=1e-3)
    np.testing.assert_allclose(shape[24], shapes[2] - 0.5 * 1.5 * 4, atol=1e-3)


def test_outlines_are_in_doubt_where_what_they_were_drawn_around_is_gone():
    image, mask = drifting(0.0)
    image[:, 14:] = image[:, :1, :1, :1].mean()
    shapes = [signed_distance(mask[k]) for k in (4, 20)]
    matching_residual = carried(image, [4, 20], shapes, 1.0)[1]
    disc = mask[0]
    assert matching_residual[8][disc].mean() < 0.2
    assert matching_residual[22][disc].mean() < 0.2  # as empty as the slice it was carried from
    # Between two different outlines, the one that was drawn on a slice that looks the same is followed.
    aside = np.roll(disc, 10, 0)
    shape = carried(image, [4, 20], [shapes[0], signed_distance(aside)], 1.0)[0]
    for k, same, other in ((11, disc, aside), (12, disc, aside), (15, aside, disc)):
        assert dice(shape[k] > 0, same) > 0.75 > 0.5 > dice(shape[k] > 0, other)


@pytest.mark.parametrize("planes", [[0], [DEPTH - 1], [5, 6], [0, 12, DEPTH - 1]])
def test_drawn_slices_stay_as_drawn_and_every_plane_has_an_outline(planes: list[int]):
    image, mask = drifting(0.5)
    shapes = [signed_distance(mask[k]) for k in planes]
    shape, matching_residual = carried(image, planes, shapes, 1.0)
    assert shape.shape == matching_residual.shape == mask.shape
    assert np.isfinite(shape).all()
    assert np.isfinite(matching_residual).all()
    for plane, drawn in zip(planes, shapes, strict=True):
        np.testing.assert_array_equal(shape[plane], drawn)
        np.testing.assert_array_equal(matching_residual[plane], 0)
    if planes == [5, 6]:
        assert shape[20].max() < shape[6].max() - 5


def test_the_smallest_images_are_no_trouble():
    image = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype(np.float32)
    shape = np.ones((4, 5), np.float32)
    assert carried(image, [1], [shape], 1.0)[0].shape == (3, 4, 5)
    np.testing.assert_array_equal(carried(image[:, :1], [0], [shape], 1.0)[0], shape[None])


def test_drawn_slices_beyond_the_grid_count_at_its_ends_and_scribbles_carry_nothing():
    image, mask = drifting(0.5)
    outside = [KnownSlice(-3.0, signed_distance(mask[0])), KnownSlice(12.0, signed_distance(mask[12]))]
    assert slice_prompt(evidence(image), outside).isfinite().all()
    prompt = scribble_prompt(evidence(image), mask, ~mask)
    np.testing.assert_array_equal(prompt[PROPAGATED], prompt[SHAPE])
    np.testing.assert_array_equal(prompt[MATCHING_RESIDUAL], 0)


def test_motion_is_the_same_however_many_slices_are_looked_at_at_a_time(monkeypatch):
    image = torch.from_numpy(drifting(1.0)[0])
    whole = slice_motion(image)
    monkeypatch.setattr("MedMetaSegLib.network.propagation._CACHED", 3 * SIDE * SIDE)
    for found, expected in zip(slice_motion(image), whole, strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-4)


def test_outlines_are_the_same_however_many_ways_are_followed_at_a_time(monkeypatch):
    image, mask = drifting(0.5)
    shapes = [signed_distance(mask[k]) for k in (4, 12, 20)]
    whole = carried(image, [4, 12, 20], shapes, 1.0)
    monkeypatch.setattr("MedMetaSegLib.network.propagation._CACHED", 3 * SIDE * SIDE)
    for found, expected in zip(carried(image, [4, 12, 20], shapes, 1.0), whole, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-3)
