"""Dice and normalised surface Dice, over a whole volume or over the slices nobody annotated."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..support.structure import bounding_box

TOLERANCE_MM = 2.0
"""How far apart two surfaces may be and still agree, in mm."""


@dataclass(frozen=True)
class Score:
    """Dice and surface Dice of one structure, 0 to 1; nan where prediction and truth are both empty."""

    dice: float
    nsd: float


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Dice of two bool masks (k, j, i); nan when both are empty, 0 when one is."""
    _check_shapes(prediction, truth)
    total = int(np.count_nonzero(prediction)) + int(np.count_nonzero(truth))
    if total == 0:
        return math.nan
    return 2.0 * int(np.count_nonzero(prediction & truth)) / total


def surface_dice(
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing_mm: Sequence[float],
    tolerance_mm: float = TOLERANCE_MM,
    left_out: Collection[int] = (),
    axis: int = 0,
) -> float:
    """Normalised surface Dice: the fraction of both surfaces that lies within the tolerance.

    Nikolov et al., J Med Internet Res 2021. prediction, truth: bool (k, j, i); spacing_mm (k, j, i). The
    surface is the voxels a face-connected erosion takes away, as in MONAI's compute_surface_dice
    (use_subvoxels=False), with which this agrees when no slice is left out. On slices left out (indices
    along the axis) no surface voxel is counted, but distances are still measured to them: removing or
    blanking those slices would invent surfaces. Returns nan when neither mask has a surface voxel to count,
    0 when one of the masks is empty.
    """
    _check_shapes(prediction, truth)
    box = _union_box(prediction, truth)
    if box is None:
        return math.nan
    surfaces = [_surface(np.ascontiguousarray(mask[box])) for mask in (prediction, truth)]
    counted = np.ones(surfaces[0].shape, dtype=bool)
    start, stop = box[axis].start, box[axis].stop
    inside = [index - start for index in left_out if start <= index < stop]
    np.moveaxis(counted, axis, 0)[inside] = False
    close, total = 0, 0
    for own, other in (surfaces, surfaces[::-1]):
        own_counted = own & counted
        count = int(np.count_nonzero(own_counted))
        total += count
        if count and other.any():
            distance = ndimage.distance_transform_edt(~other, sampling=tuple(spacing_mm))
            close += int(np.count_nonzero(distance[own_counted] <= tolerance_mm))
    return close / total if total else math.nan


def score(prediction: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float]) -> Score:
    """Dice and surface Dice at 2 mm over the whole volume."""
    return Score(dice(prediction, truth), surface_dice(prediction, truth, spacing_mm))


def score_other_slices(
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing_mm: Sequence[float],
    annotated: Collection[int],
    axis: int = 0,
) -> Score:
    """Protocol A's scores: over every slice along the axis but the annotated ones.

    False positives anywhere on those slices count. prediction, truth: bool (k, j, i) on the whole volume;
    annotated: slice indices along the axis.
    """
    others = np.ones(truth.shape[axis], dtype=bool)
    others[list(annotated)] = False
    overlap = dice(np.moveaxis(prediction, axis, 0)[others], np.moveaxis(truth, axis, 0)[others])
    return Score(overlap, surface_dice(prediction, truth, spacing_mm, left_out=annotated, axis=axis))


def _check_shapes(prediction: np.ndarray, truth: np.ndarray) -> None:
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction {prediction.shape} and truth {truth.shape} differ in shape")
    if prediction.dtype != bool or truth.dtype != bool:
        raise ValueError(f"masks must be bool, not {prediction.dtype} and {truth.dtype}")


def _union_box(prediction: np.ndarray, truth: np.ndarray) -> tuple[slice, slice, slice] | None:
    """The box around both masks; None when both are empty. Distances between surfaces never leave it."""
    return bounding_box(prediction | truth)


def _surface(mask: np.ndarray) -> np.ndarray:
    # Outside the box is background, so a structure cut by the volume's edge has a surface there.
    return mask & ~ndimage.binary_erosion(mask)
