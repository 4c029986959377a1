"""Margins of one value around an image, as padding, defacing and skull stripping leave them.

They say nothing of the patient, and would have a say in ranks, in the field of view and in similarity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..imageio.geometry import Index3, index3
from ..imageio.volume import Volume
from ..support.structure import StructureMask, bounding_box

_LEAST_PLANES = 2
"""Planes of one value on a side that are a margin; a single one may come with the image."""
_LEAST_CONTENT = 2
"""Voxels along an axis that stay."""


def without_margins(volume: Volume, kept: Sequence[StructureMask] = ()) -> tuple[Volume, Index3]:
    """The volume without margins of the value that most of its corners have, and the first voxel that stays.

    kept: masks on the volume's grid, all of which stay. The array is a view. A volume without such margins
    stays as it is.
    """
    array = volume.array
    box = bounding_box(array != _corner_value(array))
    if box is None:
        return volume, (0, 0, 0)
    low, high = np.array([[one.start, one.stop] for one in box]).T
    shape = np.array(array.shape)
    for one in kept:
        low, high = np.minimum(low, one.offset), np.maximum(high, np.add(one.offset, one.mask.shape))
    low[low < _LEAST_PLANES] = 0
    high = np.where(shape - high < _LEAST_PLANES, shape, high)
    if (not low.any() and (high == shape).all()) or (high - low).min() < _LEAST_CONTENT:
        return volume, (0, 0, 0)
    inner = array[tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))]
    geometry = volume.geometry.cropped(low.tolist(), inner.shape)
    return replace(volume, array=inner, geometry=geometry, forms=None), index3(low)


def _corner_value(array: np.ndarray) -> np.number:
    """The value that most corners have."""
    corners = array[:: array.shape[0] - 1, :: array.shape[1] - 1, :: array.shape[2] - 1]
    values, counts = np.unique(corners, return_counts=True)
    return values[counts.argmax()]
