"""Real patients as a source of episodes: their own labels, and supervoxels as structures no one had to draw.

Supervoxels as pseudo-structures are from self-supervised few-shot segmentation (Ouyang et al., SSL-ALPNet,
ECCV 2020; Hansen et al., ADNet, MedIA 2022), here in 3D: connected regions of one range of the
smoothed intensities.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..datasets.cases import Case, read_case
from ..errors import InputError
from ..network.image_evidence import image_channels
from ..working_grid.grid import antialias_sigma
from .anatomy import Anatomy, subject_of

SPACINGS_MM = (1.0, 2.0, 3.0)
"""In-plane spacings in mm at which a patient is shown, where they are no finer than the image."""
FINEST = 0.5
"""Fraction of its in-plane spacing at which an image coarser than all of these is shown at the finest."""
SUPERVOXEL_SCALES = ((0.8, 7), (1.5, 5))
"""Smoothing in in-plane voxels, and number of intensity ranges: finer and coarser supervoxels."""
MIN_SIDE = 24
"""Voxels along a row and a column of an image at least; smaller images are left out."""
MIN_SLICES = 8
"""Slices of an image at least; images of fewer are left out."""
_MAX_VOXELS = 2_000_000
"""Voxels of an anatomy at most; a patient is not shown at a spacing that makes more.

Where every spacing does, the coarsest is cut along the slices.
"""
_MIN_VOXELS = 150
"""Voxels of a supervoxel at least; smaller ones are no structures."""
_MAX_STRUCTURES = 4096
"""Values of a label map at most; an image of more is not one."""
SETTINGS = (SPACINGS_MM, FINEST, SUPERVOXEL_SCALES, MIN_SIDE, MIN_SLICES, _MAX_VOXELS, _MIN_VOXELS)
"""All numbers that an image's anatomies depend on."""


@dataclass(frozen=True)
class _Detail:
    """One spacing at which an image is shown: voxels of the image from one to the next, (k, j, i)."""

    spacing_mm: float
    step: tuple[float, float, float]
    shape: tuple[int, int, int]

    @property
    def voxels(self) -> int:
        return int(np.prod(self.shape))


def case_anatomies(case: Case) -> list[Anatomy]:
    """One anatomy per spacing and detail that suit the image.

    A structure without a name among the case's is background to no one: it is a supervoxel, or nothing.
    Around an image that exists only inside a mask nothing is a structure. Raises InputError when the image or
    its labels cannot be read, or say nothing.
    """
    volume, labels = read_case(case)
    labels, values = numbered(labels, case.labels)
    image = volume.array.astype(np.float32)
    shown = image > image.min() if case.inside_a_mask else None
    anatomies = []
    for detail in _details(volume.array.shape, volume.geometry.spacing_mm):
        small = _resampled(image, detail, sitk.sitkLinear)
        upsampled = detail.step[1] < 1
        own = _resampled(labels, detail, sitk.sitkLabelLinear if upsampled else sitk.sitkNearestNeighbor)
        inside = None
        if shown is not None:
            inside = _resampled(shown.astype(np.uint8), detail, sitk.sitkNearestNeighbor) > 0
        aspect = _aspect(detail, volume.geometry.spacing_mm)
        subject = subject_of(case, values, detail.spacing_mm)
        for part in _parts(detail):
            around = None if inside is None else inside[part]
            for smoothing, ranges in SUPERVOXEL_SCALES[: 1 if upsampled else None]:
                structures = _with_supervoxels(small[part], own[part], aspect, smoothing, ranges, around)
                anatomies.append(Anatomy(small[part], structures, aspect, subject=subject))
    return anatomies


def _details(shape: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> list[_Detail]:
    """The spacings that suit an image; only the coarsest may have too many voxels, and only alone."""
    slice_mm, row_mm, column_mm = spacing_mm
    pixel_mm = (row_mm * column_mm) ** 0.5
    wanted = [one for one in SPACINGS_MM if one >= 0.9 * pixel_mm]
    if not wanted:
        # Its own spacing, and cubes as small as its slices, as a working grid for small structures has them.
        cubes_mm = max(slice_mm, FINEST * pixel_mm)
        wanted = [cubes_mm, pixel_mm] if cubes_mm < 0.9 * pixel_mm else [pixel_mm]
    details = []
    for one in wanted:
        factor = one / pixel_mm if pixel_mm > max(SPACINGS_MM) / 0.9 else max(1.0, one / pixel_mm)
        step = (max(1.0, one / slice_mm), factor, factor)
        new = [int(n / s) for n, s in zip(shape, step, strict=True)]
        if min(new[1:]) >= MIN_SIDE and new[0] >= MIN_SLICES:
            details.append(_Detail(factor * pixel_mm, step, (new[0], new[1], new[2])))
    return [one for one in details if one.voxels <= _MAX_VOXELS] or details[-1:]


def _aspect(detail: _Detail, spacing_mm: tuple[float, float, float]) -> float:
    return float(spacing_mm[0] * detail.step[0] / detail.spacing_mm)


def _parts(detail: _Detail) -> list[slice]:
    """All slices, or, where they are too many voxels, parts of equal length that overlap a little."""
    slices = detail.shape[0]
    number = -(-detail.voxels // _MAX_VOXELS)
    length = min(slices, max(MIN_SLICES, -(-slices // number) + (MIN_SLICES // 2 if number > 1 else 0)))
    starts = np.linspace(0, slices - length, number).astype(int)
    return [slice(int(start), int(start) + length) for start in starts]


def numbered(labels: np.ndarray, file: Path) -> tuple[np.ndarray, tuple[int, ...]]:
    """Structures numbered from 1 on, uint8 or uint16, and which values the label map gives them, in order.

    file: named in messages. Raises InputError for a label map that is none, or is empty.
    """
    values = np.unique(labels)
    if values[0] < 0 or not values.any():
        what = "has negative values" if values[0] < 0 else "has no structure"
        raise InputError(f"{file} {what}: mark every structure by a number above 0.")
    values = np.union1d([0], values)
    if len(values) > _MAX_STRUCTURES:
        raise InputError(f"{file} has {len(values) - 1} values: it is not a label map.")
    dtype = np.uint8 if len(values) < 256 else np.uint16
    return np.searchsorted(values, labels).astype(dtype), tuple(int(value) for value in values[1:])


def _resampled(array: np.ndarray, detail: _Detail, interpolator: int) -> np.ndarray:
    """The array at a spacing; smoothed before where it is interpolated and becomes coarser."""
    shape, step = detail.shape, detail.step
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
    image: np.ndarray,
    own: np.ndarray,
    aspect: float,
    smoothing: float,
    ranges: int,
    inside: np.ndarray | None,
) -> np.ndarray:
    """int16 structures: the patient's own labels, and numbered after them the supervoxels of the rest.

    inside: where there is an image, bool; None: everywhere.
    """
    smooth = ndimage.gaussian_filter(image, (smoothing / aspect, smoothing, smoothing))
    rest = own == 0
    if inside is None:
        levels = image_channels(smooth)[1].numpy()
    else:
        rest &= inside
        levels = np.zeros(image.shape, np.float32)
        levels[inside] = image_channels(smooth[inside])[1].numpy()
    cuts = np.linspace(levels.min(), levels.max(), ranges + 1)[1:-1]
    structures = own.astype(np.int16)
    number = int(own.max())
    for one in range(ranges):
        parts, count = ndimage.label((np.digitize(levels, cuts) == one) & rest)
        sizes = np.bincount(parts.reshape(-1), minlength=count + 1)
        kept = np.flatnonzero(sizes >= _MIN_VOXELS)
        kept = kept[kept > 0]
        renumbered = np.zeros(count + 1, np.int16)
        renumbered[kept] = number + 1 + np.arange(len(kept))
        structures += renumbered[parts]
        number += len(kept)
    return structures
