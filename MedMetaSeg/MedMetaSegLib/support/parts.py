"""Whether an annotation is of one structure in many parts, as lesions and vessels are."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .structure import filled_slices


def annotated_in_parts(mask: np.ndarray) -> bool:
    """Whether an annotation, bool (k, j, i), is of many parts: more than two on the average slice with any.

    The slices are those of the axis along which the fewest hold something: the drawing axis.
    """
    filled = [filled_slices(mask, axis) for axis in range(3)]
    axis = int(np.argmin([len(one) for one in filled]))
    planes = np.moveaxis(mask, axis, 0)[filled[axis]]
    parts = sum(ndimage.label(plane, np.ones((3, 3)))[1] for plane in planes)
    return len(planes) > 0 and parts / len(planes) > 2
