"""Resampling axis by axis: as ITK does it, in any order of the axes, and only where grids are parallel."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from affines import offset, rotation
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import Volume, from_sitk, to_sitk
from MedMetaSegLib.working_grid.grid import (
    WorkingGrid,
    positive_back,
    sampled_back,
    sampled_image,
)
from MedMetaSegLib.working_grid.intensity import IntensityNormalization
from MedMetaSegLib.working_grid.separable import (
    AxisPositions,
    interpolation_matrix,
    lies_within,
    resampled,
    smoothing_matrix,
)

ROUNDING = 1e-5
"""Single precision: of logits, and of intensities over their range."""


def image_of(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=shape)
    return (ndimage.gaussian_filter(noise, 1.0) * 2000).astype(np.int16)


def by_itk(image: sitk.Image, target: Geometry, outside: float) -> np.ndarray:
    """Linear on the target, `outside` beyond the image."""
    like = to_sitk(np.zeros(target.shape, np.uint8), target)
    return from_sitk(sitk.Resample(image, like, sitk.Transform(), sitk.sitkLinear, outside))[0]


def a_working_grid(order: tuple[int, int, int], step: tuple[float, float, float]) -> WorkingGrid:
    reference = Geometry((30, 50, 44), offset(5, -7, 9) + np.diag([1.1, 0.9, 2.0, 1.0]))
    return WorkingGrid(reference, order, (1.3, 2.0, -6.0), step, (8, 16, 24))


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
@pytest.mark.parametrize("step", [(1.0, 1.0, 1.0), (0.7, 2.3, 1.9), (3.1, 1.0, 2.0)])
def test_an_image_is_sampled_as_itk_does(
    order: tuple[int, int, int], step: tuple[float, float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = a_working_grid(order, step)
    volume = Volume(image_of(grid.reference_grid.shape), grid.reference_grid)
    rule = IntensityNormalization("CT", -500.0, 400.0, "test")
    values = sampled_image(volume, grid, rule)
    monkeypatch.setattr(AxisPositions, "of", lambda *_: None)
    expected = sampled_image(volume, grid, rule)
    inside = np.ones(grid.shape, bool)
    for axis, source in enumerate(order):
        indices = grid.to_reference(np.arange(grid.shape[axis]), axis)
        np.moveaxis(inside, axis, 0)[~lies_within(indices, volume.geometry.shape[source])] = False
    assert values.dtype == expected.dtype == np.float32
    assert 0.3 < inside.mean() < 1
    np.testing.assert_allclose(values[inside], expected[inside], atol=ROUNDING * (rule.high - rule.low))
    assert np.isfinite(values).all()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_values_come_back_as_by_itk_to_rounding(order: tuple[int, int, int]) -> None:
    grid = a_working_grid(order, (1.7, 1.4, 2.3))
    values = image_of(grid.shape).astype(np.float16) / 100
    back, where = sampled_back(values, grid, grid.reference_grid)
    whole = np.full(grid.reference_grid.shape, -20.0, np.float32)
    whole[where] = back
    expected = by_itk(to_sitk(values.astype(np.float32), grid.geometry), grid.reference_grid, -20.0)
    np.testing.assert_allclose(whole, expected, atol=ROUNDING)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_left_out_of_positive_logits_is_not_positive(seed: int) -> None:
    grid = a_working_grid((1, 0, 2), (1.7, 1.4, 2.3))
    logits = np.full(grid.shape, -3.0, np.float16)
    start = np.random.default_rng(seed).integers(0, np.array(grid.shape) - 3)
    box = tuple(slice(int(first), int(first) + 3) for first in start)
    logits[box] = image_of((3, 3, 3), seed) / 100 + 1
    full, seen = sampled_back(logits, grid, grid.reference_grid)
    found = positive_back(logits, grid, grid.reference_grid)
    assert found.seen == seen
    assert found.logits.size < full.size
    expected, there = (np.full(grid.reference_grid.shape, -20.0) for _ in range(2))
    expected[seen], there[found.where] = full, found.logits
    assert (expected > 0).any()
    np.testing.assert_array_equal(there > 0, expected > 0)
    np.testing.assert_allclose(there[expected > 0], expected[expected > 0], atol=ROUNDING)


def test_nothing_positive_is_an_empty_block() -> None:
    grid = a_working_grid((0, 1, 2), (1.0, 1.0, 1.0))
    found = positive_back(np.zeros(grid.shape), grid, grid.reference_grid)
    assert found.logits.size == 0
    assert found.logits.shape == np.zeros(grid.reference_grid.shape)[found.where].shape


def test_grids_that_are_not_parallel_have_no_positions() -> None:
    source = Geometry((20, 30, 40), np.diag([1.0, 2.0, 3.0, 1.0]))
    for angle, parallel in ((0.0, True), (1e-9, True), (0.02, False), (0.8, False)):
        turned = Geometry((20, 30, 40), rotation(0, 0, angle) @ source.affine)
        assert (AxisPositions.of(turned, source) is not None) is parallel
    swapped = Geometry((40, 20, 30), source.affine[:, [1, 2, 0, 3]])
    found = AxisPositions.of(swapped, source)
    assert found is not None
    assert found.order == (2, 0, 1)
    for indices, length in zip(found.indices, (40, 20, 30), strict=True):
        np.testing.assert_allclose(indices, np.arange(length), atol=1e-9)


def test_interpolation_repeats_the_ends() -> None:
    indices = np.array([-3.0, -0.5, 0.25, 1.0, 2.0, 2.4, 9.0])
    values = interpolation_matrix(indices, 3) @ np.array([10.0, 20.0, 40.0])
    np.testing.assert_allclose(values, [10, 10, 12.5, 20, 40, 40, 40])
    assert lies_within(indices, 3).tolist() == [False, True, True, True, True, True, False]
    np.testing.assert_allclose(interpolation_matrix(indices, 1), 1)


@pytest.mark.parametrize("limits", [None, (-50.0, 80.0)])
def test_an_array_is_multiplied_along_each_axis_whatever_the_matrices(
    limits: tuple[float, float] | None,
) -> None:
    rng = np.random.default_rng(3)
    array = rng.normal(0, 60, (9, 12, 11)).astype(np.int16)
    order, matrices = (
        (2, 0, 1),
        [rng.normal(size=(7, 11)), rng.normal(size=(13, 9)), rng.normal(size=(5, 12))],
    )
    cut = array if limits is None else np.clip(array, *limits)
    expected = np.einsum("kji,ai,bk,cj->abc", cut.astype(float), *matrices)
    np.testing.assert_allclose(resampled(array, order, matrices, limits), expected, atol=1e-2)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 3.0])
def test_far_tails_of_smoothing_are_left_out_since_denormal_numbers_are_slow(sigma: float) -> None:
    length = 300
    matrix = smoothing_matrix(sigma, length).astype(np.float32)
    assert np.abs(matrix[matrix != 0]).min() > np.finfo(np.float32).tiny
    np.testing.assert_allclose(matrix.sum(1), 1.0, atol=1e-5)
    line = np.random.default_rng(0).normal(size=(1, 1, length)).astype(np.float32)
    by_itk = sitk.RecursiveGaussian(sitk.GetImageFromArray(line[0]), sigma, False, 0, 0)
    np.testing.assert_allclose(matrix @ line[0, 0], sitk.GetArrayFromImage(by_itk)[0], atol=1e-5)
