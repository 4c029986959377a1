"""A small picture of a volume with the contours of what was found in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..imageio.geometry import Index3, index3
from ..imageio.volume import Volume
from ..results.png import grey_levels, png_bytes
from ..support.structure import StructureMask, region
from ..working_grid.intensity import display_window

PIXELS = 144
"""Length of the longer side."""


def thumbnail_png(
    volume: Volume,
    structures: Sequence[StructureMask],
    folder: Path | None = None,
) -> bytes:
    """A PNG of the axial slice that shows most of the structures, or the middle one, seen from the feet.

    structures: on the volume's grid. folder: for a file on the way; the system's if None. Raises OSError or
    WriteError when it is full.
    """
    upright, axis_map = volume.canonical()
    blocks = []
    for one in structures:
        if one.mask.any():
            offset = axis_map.apply_offset(one.offset, index3(one.mask.shape))
            blocks.append((offset, axis_map.apply(one.mask)))
        else:
            blocks.append(((0, 0, 0), np.zeros((0, 0, 0), bool)))
    k = _fullest([one for one in blocks if one[1].size], upright.geometry.shape[0])
    plane = np.asarray(upright.array[k], np.float32)
    grey = grey_levels(plane, display_window(upright))
    spacing = np.array(upright.geometry.spacing_mm[1:])
    extent = spacing * plane.shape
    size = np.maximum(np.rint(PIXELS * extent / extent.max()).astype(int), 8)
    picture = np.repeat(_resized(grey, size, 1)[..., None], 3, axis=2)
    for (offset, mask), one in zip(blocks, structures, strict=True):
        if not offset[0] <= k < offset[0] + mask.shape[0]:
            continue
        flat = np.zeros(plane.shape, np.float32)
        flat[region(offset, mask.shape)[1:]] = mask[k - offset[0]]
        inside = _resized(flat, size, 1) > 0.5
        picture[inside & ~ndimage.binary_erosion(inside)] = [255 * channel for channel in one.structure.color]
    # Upright axes run to S, A, R: a picture has anterior at the top and the patient's right on the left.
    return png_bytes(np.ascontiguousarray(picture[::-1, ::-1]).astype(np.uint8), folder)


def _fullest(blocks: Sequence[tuple[Index3, np.ndarray]], slices: int) -> int:
    counts = np.zeros(slices)
    for offset, mask in blocks:
        counts[offset[0] : offset[0] + mask.shape[0]] += mask.sum(axis=(1, 2)) / mask.sum()
    return int(counts.argmax()) if counts.any() else slices // 2


def _resized(plane: np.ndarray, size: np.ndarray, order: int) -> np.ndarray:
    """A plane (j, i) with as many pixels as `size` says, over the same extent."""
    index = [(np.arange(n) + 0.5) * old / n - 0.5 for n, old in zip(size, plane.shape, strict=True)]
    grid = np.stack(np.meshgrid(*index, indexing="ij"))
    return np.asarray(ndimage.map_coordinates(plane, grid, order=order, mode="nearest"))
