"""Real patients as a source of episodes: their own labels, and supervoxels as structures no one had to draw.

Supervoxels as pseudo-structures are from self-supervised few-shot segmentation (Ouyang et al., SSL-ALPNet,
ECCV 2020; Hansen et al., ADNet, MedIA 2022), here in 3D: connected regions of one range of the
smoothed intensities.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..datasets.cases import Case, read_case
from ..errors import InputError
from ..network.image_evidence import image_channels
from ..working_grid.grid import antialias_sigma
from .synthesis import Anatomy

SPACINGS_MM = (1.0, 2.0, 3.0)
"""In-plane spacings in mm at which a patient is shown, where they are no finer than the image."""
SUPERVOXEL_SCALES = ((0.8, 7), (1.5, 5))
"""Smoothing in in-plane voxels, and number of intensity ranges: finer and coarser supervoxels."""
MIN_SIDE = 24
"""Voxels along a row and a column of an image at least; smaller images are left out."""
MIN_SLICES = 8
"""Slices of an image at least; images of fewer are left out."""
_MAX_VOXELS = 2_000_000
"""Voxels of an anatomy at most; a patient is not shown at a spacing that makes more."""
_MIN_VOXELS = 150
"""Voxels of a supervoxel at least; smaller ones are no structures."""
_MAX_STRUCTURES = 4096
"""Values of a label map at most; an image of more is not one."""
SETTINGS = (SPACINGS_MM, SUPERVOXEL_SCALES, MIN_SIDE, MIN_SLICES, _MAX_VOXELS, _MIN_VOXELS)
"""All numbers that an image's anatomies depend on."""


def case_anatomies(case: Case) -> list[Anatomy]:
    """One anatomy per spacing and detail that suit the image.

    Raises InputError when the image or its labels cannot be read, or say nothing.
    """
    volume, labels = read_case(case)
    labels = _numbered(labels, case)
    slice_mm, row_mm, column_mm = volume.geometry.spacing_mm
    pixel_mm = (row_mm * column_mm) ** 0.5
    anatomies = []
    for spacing_mm in SPACINGS_MM:
        factor = max(1.0, spacing_mm / pixel_mm)
        step = (max(1.0, spacing_mm / slice_mm), factor, factor)
        shape = [int(n / s) for n, s in zip(volume.array.shape, step, strict=True)]
        finer_than_image = spacing_mm < 0.9 * pixel_mm
        if (
            finer_than_image
            or min(shape[1:]) < MIN_SIDE
            or shape[0] < MIN_SLICES
            or np.prod(shape) > _MAX_VOXELS
        ):
            continue
        image = _shrunk(volume.array.astype(np.float32), shape, step, sitk.sitkLinear)
        own = _shrunk(labels, shape, step, sitk.sitkNearestNeighbor).astype(np.int16)
        aspect = slice_mm * step[0] / (pixel_mm * factor)
        for smoothing, ranges in SUPERVOXEL_SCALES:
            structures = _with_supervoxels(image, own, aspect, smoothing, ranges)
            anatomies.append(Anatomy(image, structures, float(aspect)))
    return anatomies


def _numbered(labels: np.ndarray, case: Case) -> np.ndarray:
    """Structures numbered from 1 on, uint8 or uint16, whatever values the label map gives them."""
    values = np.unique(labels)
    if values[0] < 0 or not values.any():
        what = "has negative values" if values[0] < 0 else "has no structure"
        raise InputError(f"{case.labels} {what}: mark every structure by a number above 0.")
    values = np.union1d([0], values)
    if len(values) > _MAX_STRUCTURES:
        raise InputError(f"{case.labels} has {len(values) - 1} values: it is not a label map.")
    return np.searchsorted(values, labels).astype(np.uint8 if len(values) < 256 else np.uint16)


def _shrunk(array: np.ndarray, shape: Sequence[int], step: Sequence[float], interpolator: int) -> np.ndarray:
    """The array on a grid of another shape, `step` voxels apart; smoothed before where it is interpolated."""
    image = sitk.GetImageFromArray(array)
    if interpolator == sitk.sitkLinear:
        for axis, factor in enumerate(reversed(step)):
            if factor > 1.05:
                image = sitk.RecursiveGaussian(
                    image,
                    float(antialias_sigma(factor)),
                    False,
                    sitk.RecursiveGaussianImageFilter.ZeroOrder,
                    axis,
                )
    origin = [(s - 1) / 2 for s in reversed(step)]
    small = sitk.Resample(
        image,
        list(reversed(shape)),
        sitk.Transform(),
        interpolator,
        origin,
        list(reversed(step)),
        [1, 0, 0, 0, 1, 0, 0, 0, 1],
    )
    return sitk.GetArrayFromImage(small)


def _with_supervoxels(
    image: np.ndarray, own: np.ndarray, aspect: float, smoothing: float, ranges: int
) -> np.ndarray:
    """int16 structures: the patient's own labels, and numbered after them the supervoxels of the rest."""
    smooth = ndimage.gaussian_filter(image, (smoothing / aspect, smoothing, smoothing))
    levels = image_channels(smooth)[1].numpy()
    cuts = np.linspace(levels.min(), levels.max(), ranges + 1)[1:-1]
    structures = own.astype(np.int16)
    number = int(own.max())
    for one in range(ranges):
        parts, count = ndimage.label((np.digitize(levels, cuts) == one) & (own == 0))
        sizes = np.bincount(parts.reshape(-1), minlength=count + 1)
        kept = np.flatnonzero(sizes >= _MIN_VOXELS)
        kept = kept[kept > 0]
        renumbered = np.zeros(count + 1, np.int16)
        renumbered[kept] = number + 1 + np.arange(len(kept))
        structures += renumbered[parts]
        number += len(kept)
    return structures
