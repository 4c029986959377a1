"""The pieces of dense registration against the formulas that they stand for."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as functional

from MedMetaSegLib.registration import deformable
from MedMetaSegLib.registration.sampling import box

pytestmark = pytest.mark.usefixtures("one_thread")


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape).astype(np.float32))


def descriptors_by_pooling(image: torch.Tensor) -> torch.Tensor:
    """The formula, with the mean over a patch as average pooling with repeated edges."""

    def patches(values: torch.Tensor) -> torch.Tensor:
        padded = functional.pad(values[None, None], (1,) * 6, mode="replicate")
        return functional.avg_pool3d(padded, 3, 1)[0, 0]

    index = np.stack(np.indices(image.shape))
    last = np.array(image.shape).reshape(3, 1, 1, 1) - 1
    neighbours = [
        image[tuple(torch.from_numpy(np.clip(index + np.reshape(step, (3, 1, 1, 1)), 0, last)))]
        for step in deformable._NEIGHBOURS
    ]
    distance = torch.stack([patches((neighbours[a] - neighbours[b]).square()) for a, b in deformable._PAIRS])
    distance = distance - distance.amin(0)
    variance = distance.mean(0)
    return torch.exp(-distance / variance.clamp(1e-3 * variance.mean(), 1e3 * variance.mean()))


def test_descriptors_are_those_of_the_formula_for_one_image_and_for_several():
    images = torch.stack([random(6, 7, 5), 3 * random(6, 7, 5, seed=1)])
    together = deformable.mind_descriptors(images)
    assert together.shape == (2, 12, 6, 7, 5)
    for image, found in zip(images, together, strict=True):
        torch.testing.assert_close(found, descriptors_by_pooling(image), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(deformable.mind_descriptors(image), found)


def test_costs_look_forth_and_back_and_stay_inside():
    fixed, moving, masks = random(4, 5, 6, 4, seed=1), random(2, 4, 5, 6, 4, seed=2), torch.ones(2, 5, 6, 4)
    masks[1, :2] = 0
    forth, back = deformable._costs(fixed, moving, masks, 1)

    def expected(a: torch.Tensor, b: torch.Tensor, a_mask: torch.Tensor, b_mask: torch.Tensor):
        raw = torch.full((5, 6, 4, 3, 3, 3), torch.nan)
        for place in product(range(5), range(6), range(4)):
            for step in product((-1, 0, 1), repeat=3):
                there = tuple(p + s for p, s in zip(place, step, strict=True))
                inside = all(0 <= t < n for t, n in zip(there, (5, 6, 4), strict=True))
                if inside and b_mask[there] > 0.5:
                    difference = a[(slice(None), *place)] - b[(slice(None), *there)]
                    raw[place + tuple(s + 1 for s in step)] = difference.square().mean()
        known = raw.isfinite()
        costs = torch.where(known, raw / raw[known].mean(), 0.5)
        return costs * (a_mask > 0.5)[..., None, None, None]

    whole = torch.ones(5, 6, 4)
    for n in range(2):
        torch.testing.assert_close(forth[n], expected(fixed, moving[n], whole, masks[n]))
        torch.testing.assert_close(back[n], expected(moving[n], fixed, masks[n], whole))


def test_the_gradient_that_is_written_out_is_that_of_autograd():
    fixed, moving, field = (
        random(1, 12, 7, 6, 5),
        random(2, 13, 7, 6, 5, seed=1),
        random(2, 3, 7, 6, 5, seed=2),
    )
    field.requires_grad_(True)
    smooth = box(box(field, 3), 3)
    planes = slice(1, None, 2)
    seen = deformable.warped(moving, smooth)[:, :, planes]
    squares = (seen[:, :-1] - fixed[:, :, planes]).square().mean(1) * seen[:, -1]
    misfit = 12 * squares.mean((1, 2, 3)).sum()
    roughness = sum(smooth.diff(dim=axis).square().mean((1, 2, 3, 4)).sum() for axis in (2, 3, 4))
    (expected,) = torch.autograd.grad(misfit + 0.3 * roughness, field)
    roughnesses = deformable._roughness_matrices(field)
    gradient = 0.3 * deformable._roughness_gradient(smooth.detach(), roughnesses)
    gradient[:, :, planes] += deformable._misfit_gradient(fixed, moving, smooth.detach(), planes)
    smoothed = deformable._along_axes(gradient, deformable._smoothing_matrices(field))
    torch.testing.assert_close(smoothed, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("shape", [(7, 6, 5), (1, 2, 9)])
def test_products_with_matrices_are_the_two_box_filters(shape: tuple[int, int, int]):
    field = random(2, 3, *shape)
    smoothed = deformable._along_axes(field, deformable._smoothing_matrices(field))
    torch.testing.assert_close(smoothed, box(box(field, 3), 3), atol=1e-6, rtol=1e-5)
