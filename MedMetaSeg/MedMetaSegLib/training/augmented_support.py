"""An augmented support view: the same anatomy as another patient, who has the structure, might show it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .anatomy import Anatomy
from .canvas import Rng, smooth_noise
from .drafts import SupportDraft, flat

_DISPLACEMENT_VOXELS = (2.0, 8.0)
"""In-plane voxels by which a view is shifted and warped, at least and at most."""
FIELD_OF_VIEW_SHIFT = 0.15
"""Of the region's size: by so much a view's field of view moves at most."""
_INTENSITY_CHANGE = 0.12
"""Of the image's spread of intensities: by so much those of a structure differ from view to view."""
_CALIBRATED = 0.4
"""Of the change of intensities and of their curve, the part that CT shows."""
_SIGNAL_NOISE = 1.5
"""Factor on noise that grows with the signal, which is about a half on average."""
_UNLIKE = 1.5
"""Standard deviations between the intensities of two structures that cannot be taken for each other."""
_MIN_VOXELS = 40
"""Voxels of a structure at least: a view that shows fewer is not used."""


def warped_indices(rng: Rng, shape: tuple[int, ...], displacement: float, aspect: float) -> np.ndarray:
    """(3, k, j, i) voxel indices to look at, everything shifted and warped.

    displacement: about so many in-plane voxels.
    """
    size = (shape[0], shape[1], shape[2])
    warp = smooth_noise(rng, (3 * size[0], *size[1:]), rng.uniform(12, 40), aspect).reshape(3, *size)
    moved = displacement * (warp * rng.uniform(0.3, 0.7) + rng.normal(0, 0.4, (3, 1, 1, 1)))
    moved[0] /= aspect
    return (np.indices(size) + moved).astype(np.float32)


def augmented_support_view(
    rng: Rng,
    anatomy: Anatomy,
    mask: np.ndarray,
    corner: np.ndarray,
    shape: tuple[int, ...],
    open_ended: bool = False,
) -> SupportDraft | None:
    """Another view of the structure, of `shape`; None where it misses.

    mask: of the whole anatomy; corner: of the region of `shape`, in voxels, before the field of view moves.
    open_ended: nothing is known of the structure beyond its slices, of which the last is repeated there.
    """
    index = warped_indices(rng, shape, rng.uniform(*_DISPLACEMENT_VOXELS), anatomy.aspect)
    moved = corner + rng.uniform(-FIELD_OF_VIEW_SHIFT, FIELD_OF_VIEW_SHIFT, 3) * shape
    index += moved.astype(np.float32)[:, None, None, None]
    if open_ended:
        within_slices(index, mask)
    annotated = ndimage.map_coordinates(mask.astype(np.float32), index, order=1, mode="nearest") > 0.5
    if np.count_nonzero(annotated) < _MIN_VOXELS or annotated.all():
        return None
    labels = ndimage.map_coordinates(anatomy.structures, index, order=0, mode="nearest")
    image = ndimage.map_coordinates(anatomy.image, index, order=1, mode="nearest")
    image = _other_intensities(rng, image, labels, anatomy).astype(np.float32, copy=False)
    return None if flat(image) else SupportDraft(image, annotated)


def within_slices(index: np.ndarray, mask: np.ndarray) -> None:
    """Move indices (3, k, j, i) to the slices that hold the mask, in place."""
    present = np.flatnonzero(mask.any((1, 2)))
    np.clip(index[0], present[0], present[-1], out=index[0])


def unlike_structure(rng: Rng, anatomy: Anatomy, mask: np.ndarray, cut: tuple[slice, ...]) -> int:
    """The label of a structure that is not in the region `cut` and has other intensities than `mask`.

    What may go on unlabelled is not known to be absent from anywhere. 0: there is none.
    """
    sizes = np.bincount(anatomy.structures.reshape(-1))
    sizes[np.unique(anatomy.structures[cut])] = 0
    sizes[:1] = 0
    sizes[[label for label in anatomy.open_ended if label < len(sizes)]] = 0
    here = anatomy.image[mask]
    others = np.flatnonzero(sizes >= _MIN_VOXELS)
    for label in rng.permutation(others):
        there = anatomy.image[anatomy.structures == label]
        apart = abs(float(here.mean() - there.mean()))
        if apart > _UNLIKE * float(np.sqrt((here.var() + there.var()) / 2)):
            return int(label)
    return 0


def corner_around(rng: Rng, mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Where a region of `shape` begins that has a voxel of the mask in its middle."""
    inside = np.argwhere(mask)
    return inside[int(rng.integers(len(inside)))] - np.array(shape) / 2


def _other_intensities(rng: Rng, image: np.ndarray, labels: np.ndarray, anatomy: Anatomy) -> np.ndarray:
    """The image as another scanner or another day shows it: intensities of structures, curve, bias, noise.

    CT is calibrated: its curve hardly changes, and it has no bias field. Noise of US and PET grows with the
    signal (speckle; counts).
    """
    low, high = (float(cut) for cut in np.percentile(image, [2, 98]))
    spread = max(high - low, 1e-6)
    calibrated = anatomy.modality == "CT"
    amount = _CALIBRATED * _INTENSITY_CHANGE if calibrated else _INTENSITY_CHANGE
    change = (amount * rng.standard_normal(int(labels.max()) + 1)).astype(np.float32)
    curve = rng.uniform(-0.35, 0.35) * (_CALIBRATED if calibrated else 1.0)
    level = np.clip((image - low) / spread, 0, 1.5) ** float(np.exp(curve))
    level = level + change[labels]
    bias = rng.uniform(0, 0.1) * smooth_noise(rng, image.shape, rng.uniform(20, 60), anatomy.aspect)
    level = level if calibrated else level + bias
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    strength = float(np.exp(rng.uniform(np.log(0.004), np.log(0.08))))
    if anatomy.modality in ("US", "PET"):
        noise = noise * np.sqrt(np.clip(level, 0.05, None)) * _SIGNAL_NOISE
    return level + strength * noise
