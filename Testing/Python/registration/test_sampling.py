"""Values between voxels: the same as scipy finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from MedMetaSegLib.registration.sampling import TensorImage, inside, resampled, sampled
from MedMetaSegLib.working_grid.grid import antialias_sigma
from MedMetaSegLib.working_grid.reduced_image import sampled_on_axes

VALUES = np.random.default_rng(3).random((5, 9, 7)).astype(np.float32)


def test_values_between_voxels_are_those_of_scipy_and_nothing_outside():
    index = np.random.default_rng(4).uniform(-2, 10, (3, 4, 6, 8)).astype(np.float32)
    index[:, 0, 0, 0], index[:, 0, 0, 1] = 0, (4, 8, 6)
    tensor = torch.from_numpy(index)
    found = sampled(torch.from_numpy(VALUES)[None, None], tensor[None])[0, 0]
    nearest = ndimage.map_coordinates(VALUES, index, order=1, mode="nearest")
    np.testing.assert_allclose(found, nearest, atol=1e-5)
    constant = ndimage.map_coordinates(VALUES, index, order=1, mode="constant", cval=0.0)
    np.testing.assert_allclose(found * inside(tensor, VALUES.shape), constant, atol=1e-5)
    assert 0 < np.count_nonzero(constant) < constant.size


def test_a_grid_along_the_axes_is_sampled_as_by_scipy():
    axes = [np.array([-0.1, 0.0, 1.3, 4.0, 4.1]), np.linspace(-1, 9, 13), np.array([5.5])]
    index = np.stack(np.meshgrid(*axes, indexing="ij"))
    expected = ndimage.map_coordinates(VALUES, index, order=1, mode="constant", cval=0.0)
    np.testing.assert_allclose(sampled_on_axes(VALUES, axes), expected, atol=1e-6)
    assert expected.any()
    flat = sampled_on_axes(VALUES[:, :, :1], [axes[0], axes[1], np.array([0.0])])
    expected = ndimage.map_coordinates(VALUES[:, :, :1], index * [[[[1]]], [[[1]]], [[[0]]]], order=1)
    np.testing.assert_allclose(flat[1:4, 2:-2], expected[1:4, 2:-2], atol=1e-6)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 1.7, 0.8), (0.6, 3.9, 6.0)])
def test_an_image_is_resampled_after_a_gaussian_where_it_gets_coarser(spacing: tuple[float, ...]):
    image = TensorImage(torch.from_numpy(VALUES), np.ones(3), np.zeros(3))
    found = resampled(image, np.array(spacing))
    smooth = ndimage.gaussian_filter(VALUES, antialias_sigma(np.array(spacing)), mode="nearest")
    axes = [
        np.minimum(np.arange(n) * step, last - 1)
        for n, step, last in zip(found.shape, spacing, VALUES.shape, strict=True)
    ]
    index = np.stack(np.meshgrid(*axes, indexing="ij"))
    np.testing.assert_allclose(found, ndimage.map_coordinates(smooth, index, order=1), atol=1e-5)
    assert all(n >= 2 for n in found.shape)
