"""Dice and surface Dice against values worked out by hand, brute force, and MONAI."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from MedMetaSegLib.evaluation.metrics import dice, score_other_slices, surface_dice


def blob(seed: int, shape: tuple[int, int, int] = (12, 20, 24)) -> np.ndarray:
    """A smooth random mask, touching the volume's edge."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.5)
    return field > np.quantile(field, 0.7)


def brute_force_surface_dice(
    first: np.ndarray, second: np.ndarray, spacing_mm: tuple[float, ...], left_out: tuple[int, ...] = ()
) -> float:
    """Every surface voxel against every other, from the definition; slices along k left out of the count."""

    def surface(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        inner = padded.copy()
        for axis in range(3):
            inner &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
        return np.argwhere((padded & ~inner)[1:-1, 1:-1, 1:-1])

    close, total = 0, 0
    surfaces = surface(first), surface(second)
    for own, other in (surfaces, surfaces[::-1]):
        own = own[~np.isin(own[:, 0], left_out)]
        distances = np.linalg.norm((own[:, None] - other[None]) * np.array(spacing_mm), axis=2).min(axis=1)
        close, total = close + int((distances <= 2.0).sum()), total + len(own)
    return close / total


def test_dice_is_the_overlap_worked_out_by_hand() -> None:
    first, second = np.zeros((2, 4, 4, 4), dtype=bool)
    first[0, 0, :3] = True
    second[0, 0, 1:] = True
    assert dice(first, second) == pytest.approx(2 * 2 / (3 + 3))


def test_two_empty_masks_have_no_score_and_one_empty_mask_scores_zero() -> None:
    empty, full = np.zeros((3, 4, 5), dtype=bool), np.ones((3, 4, 5), dtype=bool)
    assert math.isnan(dice(empty, empty))
    assert math.isnan(surface_dice(empty, empty, (1, 1, 1)))
    assert dice(empty, full) == 0
    assert surface_dice(empty, full, (1, 1, 1)) == surface_dice(full, empty, (1, 1, 1)) == 0


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (10.0, 1.5, 1.5), (3.27, 0.98, 0.7)])
@pytest.mark.parametrize("left_out", [(), (0, 4, 11)])
def test_surface_dice_agrees_with_brute_force(
    spacing_mm: tuple[float, ...], left_out: tuple[int, ...]
) -> None:
    first, second = blob(1), blob(1) ^ (blob(2) & blob(3))
    expected = brute_force_surface_dice(first, second, spacing_mm, left_out)
    assert 0.2 < expected < 1
    assert surface_dice(first, second, spacing_mm, left_out=left_out) == pytest.approx(expected)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (3.27, 0.98, 0.7)])
def test_surface_dice_agrees_with_monai(spacing_mm: tuple[float, ...]) -> None:
    torch = pytest.importorskip("torch")
    from monai.metrics import compute_surface_dice

    first, second = blob(1), blob(1) ^ (blob(2) & blob(3))
    tensors = [torch.from_numpy(mask)[None, None] for mask in (first, second)]
    theirs = compute_surface_dice(*tensors, [2.0], include_background=True, spacing=spacing_mm)
    assert surface_dice(first, second, spacing_mm) == pytest.approx(theirs.item(), abs=1e-6)


def test_annotated_slices_neither_help_nor_hurt() -> None:
    truth = np.zeros((9, 10, 10), dtype=bool)
    truth[2:7, 3:7, 3:7] = True
    prediction = np.zeros_like(truth)
    prediction[4] = truth[4]
    score = score_other_slices(prediction, truth, (5.0, 1.0, 1.0), annotated=(4,))
    assert score.dice == 0
    assert score.nsd == 0


def test_a_false_positive_far_away_costs_dice_and_surface_dice() -> None:
    truth = np.zeros((20, 10, 10), dtype=bool)
    truth[2:7, 3:7, 3:7] = True
    stray = truth.copy()
    stray[18, 0, 0] = True
    clean = score_other_slices(truth, truth, (1.0, 1.0, 1.0), annotated=(4,))
    score = score_other_slices(stray, truth, (1.0, 1.0, 1.0), annotated=(4,))
    assert (clean.dice, clean.nsd) == (1.0, 1.0)
    assert score.dice < 1
    assert score.nsd < 1


def test_slices_are_counted_along_the_axis_they_were_drawn_across() -> None:
    truth = np.zeros((6, 8, 10), dtype=bool)
    truth[1:5, 2:6, 2:8] = True
    prediction = truth.copy()
    prediction[:, :, 4] = False
    assert score_other_slices(prediction, truth, (1.0, 1.0, 1.0), annotated=(4,), axis=2).dice == 1.0
    assert score_other_slices(prediction, truth, (1.0, 1.0, 1.0), annotated=(4,), axis=0).dice < 1


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        dice(np.zeros((2, 2, 2), dtype=bool), np.zeros((2, 2, 3), dtype=bool))
