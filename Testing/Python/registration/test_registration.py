"""Bringing two images together: poses, rotations, and dense registration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from MedMetaSegLib.registration.deformable import dense_displacements, mind_descriptors
from MedMetaSegLib.registration.pose import Pose, best_shifts, correlations, find_starts, spectra
from MedMetaSegLib.registration.refinement import refined_poses
from MedMetaSegLib.registration.rotations import (
    angle_between,
    in_plane_rotation,
    likely_rotations,
    possible_rotations,
    rotated,
)
from MedMetaSegLib.registration.sampling import TensorImage
from MedMetaSegLib.working_grid.reduced_image import even_spacing

pytestmark = pytest.mark.usefixtures("one_thread")


def lumps(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0)
    return (noise / noise.std()).astype(np.float32)


def as_image(array: np.ndarray, spacing: float = 2.0) -> TensorImage:
    intensity = torch.from_numpy(np.clip(128 + 50 * array, 0, 255).astype(np.uint8)).float()
    return TensorImage(intensity, np.full(3, spacing), np.zeros(3))


def displacement(fixed: np.ndarray, moving: np.ndarray, steps: int) -> np.ndarray:
    images = torch.from_numpy(np.ascontiguousarray(moving))[None]
    known = torch.ones_like(images, dtype=torch.bool)
    descriptors = mind_descriptors(torch.from_numpy(np.ascontiguousarray(fixed)))
    return dense_displacements(descriptors, images, known, steps=steps)[0].numpy()


def best_pose(fixed: TensorImage, moving: TensorImage) -> Pose:
    poses = refined_poses(fixed, moving, find_starts(fixed, moving))
    return max(poses, key=lambda pose: pose.global_ncc)


# --- registration ---------------------------------------------------------------------------------


def test_a_shift_is_found_voxel_by_voxel():
    whole = lumps((40, 40, 40))
    fixed, moving = whole[6:38, 4:36, 4:36], whole[4:36, 4:36, 7:39]
    found = displacement(fixed, moving, steps=20)
    middle = found[:, 8:-8, 8:-8, 8:-8].mean((1, 2, 3))
    np.testing.assert_allclose(middle, [2.0, 0.0, -3.0], atol=0.4)


def test_a_bend_is_found_though_intensities_are_inverted():
    fixed = lumps((32, 32, 32))
    k, j, i = np.indices(fixed.shape).astype(np.float32)
    bend = 2.5 * np.sin(j / 32 * np.pi)
    moving = ndimage.map_coordinates(fixed, [k - bend, j, i], order=1, mode="nearest")
    found = displacement(fixed, -moving, steps=30)
    inner = (slice(6, -6),) * 3
    off = np.abs(found[0] - bend)[inner].mean()
    assert off < 0.5 * np.abs(bend)[inner].mean()


def test_the_same_images_give_the_same_displacement_alone_and_beside_others():
    fixed = mind_descriptors(torch.from_numpy(lumps((24, 22, 26), 1)))
    moving = torch.from_numpy(np.stack([lumps((24, 22, 26), seed) for seed in (2, 3, 4)]))
    known = torch.ones_like(moving, dtype=torch.bool)
    known[1, :5] = False
    together = dense_displacements(fixed, moving, known, steps=5)
    torch.testing.assert_close(dense_displacements(fixed, moving, known, steps=5), together, atol=0, rtol=0)
    for one, images, masks in zip(together, moving, known, strict=True):
        alone = dense_displacements(fixed, images[None], masks[None], steps=5)[0]
        torch.testing.assert_close(alone, one, atol=1e-3, rtol=0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_cuda_finds_the_displacement_that_a_cpu_finds():
    fixed = mind_descriptors(torch.from_numpy(lumps((24, 22, 26), 1)))
    moving = torch.from_numpy(np.stack([lumps((24, 22, 26), seed) for seed in (1, 3)])).roll(2, 1)
    known = torch.ones_like(moving, dtype=torch.bool)
    one, other = (
        dense_displacements(fixed.to(name), moving.to(name), known.to(name), steps=10).cpu()
        for name in ("cpu", "cuda")
    )
    assert (one - other).abs().mean() < 0.05
    assert float(one[0, 0].median()) == pytest.approx(2, abs=0.5)


def test_scipy_and_torch_make_the_same_transforms_and_the_same_correlations():
    values = torch.from_numpy(np.stack([lumps((9, 7, 8), seed) for seed in range(2)]))
    shape = (15, 12, 10)
    found = spectra(values, shape)
    torch.testing.assert_close(found, torch.fft.rfftn(values, shape, dim=(1, 2, 3)), atol=1e-4, rtol=1e-4)
    product = found[0] * found[1].conj()
    expected = torch.fft.irfftn(product, shape, dim=(0, 1, 2))
    torch.testing.assert_close(correlations(product, shape), expected, atol=1e-4, rtol=1e-4)
    # Two to the right along k: the sum of the products of what lies on each other.
    overlap = (values[0, 2:] * values[1, :-2]).sum()
    torch.testing.assert_close(expected[2, 0, 0], overlap, atol=1e-3, rtol=1e-4)


def test_shifts_without_a_mask_are_those_of_a_mask_that_is_one_everywhere():
    whole = lumps((30, 34, 32), 5)
    fixed, moving = as_image(whole), as_image(whole[6:24, 10:30, 2:22])
    ones = torch.ones_like(moving.intensity)
    plain, masked = (best_shifts(fixed, moving, mask, (0.9, 1.1), 20_000) for mask in (None, ones))
    assert len(plain) == 4
    for one, other in zip(plain, masked, strict=True):
        np.testing.assert_array_equal(one.shift_mm, other.shift_mm)
        assert one.global_ncc == pytest.approx(other.global_ncc, abs=1e-4)


def test_poses_are_refined_together_as_each_would_be_alone():
    whole = lumps((36, 40, 38), 5)
    fixed, moving = as_image(whole), as_image(whole[8:30, 10:34, 6:30])
    starts = [
        Pose(np.eye(3), np.array([-16.0, -20.0, -12.0]) + shift, 0.0)
        for shift in ((3.0, -2.0, 1.0), (-4.0, 3.0, 2.0), (40.0, 0.0, 0.0))
    ]
    together = refined_poses(fixed, moving, [*starts, Pose(np.eye(3), np.full(3, 1e4), 0.0)])
    assert len(together) == 3  # the last brings nothing into view
    for start, found in zip(starts, together, strict=True):
        (alone,) = refined_poses(fixed, moving, [start])
        np.testing.assert_allclose(found.matrix, alone.matrix, atol=1e-3)
        np.testing.assert_allclose(found.shift_mm, alone.shift_mm, atol=0.05)
    assert together[0].global_ncc > 0.9
    np.testing.assert_allclose(together[0].moving(np.array([30.0, 40.0, 30.0])), [14, 20, 18], atol=0.5)


def test_a_part_is_found_in_the_whole_and_the_whole_around_a_part():
    whole = lumps((40, 48, 44), 5)
    part = whole[12:36, 20:44, 4:30]
    start = np.array([12, 20, 4]) * 2.0
    found = best_pose(as_image(whole), as_image(part))
    np.testing.assert_allclose(found.moving(start + 20.0), [20.0] * 3, atol=2.0)
    back = best_pose(as_image(part), as_image(whole))
    np.testing.assert_allclose(back.moving(np.full(3, 20.0)), start + 20.0, atol=2.0)
    assert min(found.global_ncc, back.global_ncc) > 0.9


def test_a_larger_patient_is_found_by_scale():
    whole = lumps((36, 36, 36), 7)
    found = best_pose(as_image(whole, 2.4), as_image(whole, 2.0))
    np.testing.assert_allclose(np.diag(found.matrix), 1 / 1.2, atol=0.05)


@pytest.mark.parametrize(("axis", "degrees"), [(0, 90), (0, -60), (1, 50)])
def test_a_rotated_image_is_found_about_its_slices_or_where_directions_tell(axis: int, degrees: float):
    whole = as_image(lumps((36, 40, 44), 9))
    matrix = in_plane_rotation(axis, degrees)
    fixed = rotated(whole, matrix).image
    rotations = possible_rotations(0, matrix if axis else np.eye(3), np.eye(3))
    likeliest, starts = likely_rotations(fixed, [whole], rotations)[0]
    assert angle_between(likeliest, matrix) < 1
    assert starts[0].global_ncc > 0.8
    pose = rotated(whole, likeliest).own(starts[0])
    np.testing.assert_allclose(pose.moving(np.full(3, 5.0)), matrix @ np.full(3, 5.0), atol=4.0)


def test_an_image_that_lies_straight_is_not_rotated():
    whole = as_image(lumps((36, 40, 44), 9))
    assert likely_rotations(whole, [whole], possible_rotations(0, np.eye(3), None)) == []
    with_little = possible_rotations(0, in_plane_rotation(1, 8.0), np.eye(3))
    assert len(with_little) == len(possible_rotations(0, np.eye(3), None))


def test_a_pose_goes_both_ways():
    pose = best_pose(as_image(lumps((20, 20, 20), 3)), as_image(lumps((20, 20, 20), 3), 2.1))
    places = np.array([[3.0, 9.0], [1.0, 4.0], [8.0, 2.0]])
    np.testing.assert_allclose(pose.fixed(pose.moving(places)), places, atol=1e-6)


def test_thick_slices_are_interpolated_to_no_less_than_half():
    spacing = even_spacing(np.array([100.0, 300.0, 300.0]), np.array([10.0, 1.0, 1.0]), 200_000)
    assert 5.0 <= spacing[0] <= 10.0
    assert np.prod(np.array([100.0, 300.0, 300.0]) / spacing) <= 200_001
    assert spacing[1] == spacing[2]
