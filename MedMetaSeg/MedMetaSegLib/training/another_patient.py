"""A support view of another patient: an image of that patient which shows the same structure."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .anatomy import Anatomy
from .augmented_support import FIELD_OF_VIEW_SHIFT, warped_indices, within_slices
from .canvas import Rng
from .drafts import SupportDraft, flat
from .target import MIN_VOXELS

_DISPLACEMENT_VOXELS = (0.0, 2.0)
"""In-plane voxels by which a view is warped, at least and at most: patients differ of themselves."""


def another_patient_view(
    rng: Rng, anatomy: Anatomy, label: int, shape: tuple[int, ...]
) -> SupportDraft | None:
    """A view of one structure of an anatomy, of `shape`, with its intensities as they are.

    The structure is about in the middle. Beyond the slices on which a structure without known ends was
    outlined, the last one is repeated. None where too little of it is in view.
    """
    mask = anatomy.structures == label
    if np.count_nonzero(mask) < MIN_VOXELS:
        return None
    box = ndimage.find_objects(mask.view(np.uint8))[0]
    middle = np.array([(part.start + part.stop - 1) / 2 for part in box])
    index = warped_indices(rng, shape, rng.uniform(*_DISPLACEMENT_VOXELS), anatomy.aspect)
    corner = middle - (np.array(shape) - 1) / 2
    corner += rng.uniform(-FIELD_OF_VIEW_SHIFT, FIELD_OF_VIEW_SHIFT, 3) * shape
    index += corner.astype(np.float32)[:, None, None, None]
    if label in anatomy.open_ended:
        within_slices(index, mask)
    annotated = ndimage.map_coordinates(mask.astype(np.float32), index, order=1, mode="nearest") > 0.5
    if np.count_nonzero(annotated) < MIN_VOXELS or annotated.all():
        return None
    image = ndimage.map_coordinates(anatomy.image, index, order=1, mode="nearest").astype(np.float32)
    return None if flat(image) else SupportDraft(image, annotated)
