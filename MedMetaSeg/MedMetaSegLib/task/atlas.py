"""What a task keeps of one support patient: a reduced image, and each structure's place in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..imageio.geometry import Index3
from ..imageio.volume import Volume
from ..support.structure import AnnotatedStructure, region
from ..working_grid.intensity import IntensityNormalization
from ..working_grid.reduced_image import ReducedImage, even_spacing, reduced, sampled_at

OVERVIEW_VOXELS = 60_000
"""Voxels of a patient's whole field of view, at most."""
CLOSE_VOXELS = 400_000
"""Voxels of the part with the structures, at most."""
_MARGIN_FACTOR = 0.2
"""Margin around the structures, as a share of the box that holds them."""
_LEAST_MARGIN_MM = 20.0
"""Margin around the structures in millimetres, at least."""


@dataclass(frozen=True, eq=False)
class Place:
    """A structure on the close image of an atlas, cropped.

    occupancy: uint8 (k, j, i), the share of each voxel that the structure fills, 255 for all of it. offset:
    of its first voxel in the close image.
    """

    offset: Index3
    occupancy: np.ndarray


@dataclass(frozen=True, eq=False)
class Atlas:
    """What a task keeps of one support patient.

    overview: the whole field of view, coarse; close: the part with the structures, finer. places: one per
    structure of the task, None for one that this patient does not have. axes: (3, 3), whose columns say where
    k, j and i point in RAS; None where that is not known.
    """

    overview: ReducedImage
    close: ReducedImage
    places: tuple[Place | None, ...]
    axes: np.ndarray | None = None

    def occupancy(self, number: int) -> np.ndarray:
        """The share of each voxel of the close image that a structure fills, (k, j, i) float32, 0 to 1.

        Nothing anywhere for a structure without a place.
        """
        full = np.zeros(self.close.intensity.shape, np.float32)
        place = self.places[number]
        if place is not None:
            full[region(place.offset, place.occupancy.shape)] = place.occupancy / np.float32(255)
        return full


def make_atlas(
    volume: Volume,
    normalization: IntensityNormalization,
    structures: Sequence[AnnotatedStructure | None],
    axes: np.ndarray,
) -> Atlas:
    """The atlas of a patient.

    volume: without world position. structures: whole, on its grid, None for one that the patient lacks.
    axes: of the volume in the world, see `Atlas`.
    """
    spacing = np.array(volume.geometry.spacing_mm)
    there = [one for one in structures if one is not None]
    low = np.min([one.offset for one in there], axis=0) * spacing
    high = np.max([np.add(one.offset, one.mask.shape) - 1 for one in there], axis=0) * spacing
    close = close_image(volume, normalization, low, high)
    return Atlas(
        overview(volume, normalization),
        close,
        tuple(None if one is None else _place(one, spacing, close) for one in structures),
        np.round(axes, 6) + 0.0,
    )


def overview(volume: Volume, normalization: IntensityNormalization) -> ReducedImage:
    """The whole of a volume without world position, in few voxels."""
    native = np.array(volume.geometry.spacing_mm)
    extent = native * volume.geometry.shape
    spacing = even_spacing(extent, native, OVERVIEW_VOXELS)
    return reduced(volume, normalization, spacing, np.zeros(3), extent - native)


def close_image(
    volume: Volume,
    normalization: IntensityNormalization,
    low_mm: np.ndarray,
    high_mm: np.ndarray,
    voxels: int = CLOSE_VOXELS,
) -> ReducedImage:
    """The box between two places of a volume without world position, and a margin around it.

    low_mm, high_mm: (3,) millimetres along (k, j, i). The margin ends at the field of view.
    """
    native = np.array(volume.geometry.spacing_mm)
    margin = np.maximum(_MARGIN_FACTOR * (high_mm - low_mm), _LEAST_MARGIN_MM)
    last = native * (np.array(volume.geometry.shape) - 1)
    low, high = np.clip(low_mm - margin, 0, last), np.clip(high_mm + margin, 0, last)
    spacing = even_spacing(high - low + native, native, voxels)
    return reduced(volume, normalization, spacing, low, high)


def _place(annotated: AnnotatedStructure, spacing: np.ndarray, close: ReducedImage) -> Place:
    """The share of every close voxel that a whole structure fills."""
    size = np.array(annotated.mask.shape)
    low = np.floor(close.index(np.array(annotated.offset) * spacing)).astype(int) - 2
    high = np.ceil(close.index((np.add(annotated.offset, size) - 1) * spacing)).astype(int) + 2
    low, high = np.maximum(low, 0), np.minimum(high, np.array(close.intensity.shape) - 1)
    width = close.spacing_mm / spacing
    sigma = np.where(width > 1.05, 0.3 * width, 0)
    padding = np.ceil(3 * sigma).astype(int) + 1
    smooth = np.pad(annotated.mask.astype(np.float32), [(p, p) for p in padding])
    smooth = ndimage.gaussian_filter(smooth, sigma)
    axes = [np.arange(a, b + 1) for a, b in zip(low, high, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij")) * close.spacing_mm.reshape(3, 1, 1, 1)
    places += close.start_mm.reshape(3, 1, 1, 1)
    index = places / spacing.reshape(3, 1, 1, 1) - (np.array(annotated.offset) - padding).reshape(3, 1, 1, 1)
    occupancy = np.rint(255 * np.clip(sampled_at(smooth, index, 0.0), 0, 1)).astype(np.uint8)
    return Place((int(low[0]), int(low[1]), int(low[2])), occupancy)
