"""What the network sees: the image in two contrasts, and what the known voxels say about one structure.

Everything here is on a working grid whose axis 0 is the drawing axis. In-plane lengths are counted in working
voxels of axes 1 and 2 (which have the same spacing); `aspect` is the slice spacing in those units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .geodesic import geodesic_preference
from .propagation import Motion, PropagatedContours, propagated_contours, slice_motion
from .voxel_classifier import appearance_log_odds, voxel_features

IMAGE_CHANNELS = 2
PROMPT_CHANNELS = 10
(FOREGROUND, BACKGROUND, SHAPE, DISTANCE, LIKELIHOOD) = range(5)
(ASPECT, APPEARANCE, GEODESIC, PROPAGATED, MATCHING_RESIDUAL) = range(5, PROMPT_CHANNELS)

SHAPE_LIMIT = 20.0
"""Signed distances are cut here, in in-plane voxels."""
DEEPEST = 0.6
"""Of an expected structure's greatest depth: at least that deep is inside, however thin it is."""
_BINS = 32
_RANGE = 1.8


@dataclass(frozen=True)
class KnownSlice:
    """One annotated slice on the working grid.

    position: along axis 0 in working voxels (fractions allowed: the drawing was made on the volume's own
    slices); signed_distance: (j, i) float32, positive inside the structure, in in-plane voxels.
    """

    position: float
    signed_distance: np.ndarray


def signed_distance(mask: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    """Signed Euclidean distance of a 2D mask to its boundary, positive inside, zero midway between voxels.

    spacing: of the mask's voxels, in working voxels.
    """
    if not mask.any():
        return np.full(mask.shape, -SHAPE_LIMIT, np.float32)
    if mask.all():
        return np.full(mask.shape, SHAPE_LIMIT, np.float32)
    half = min(spacing) / 2
    inside = ndimage.distance_transform_edt(mask, spacing)
    outside = ndimage.distance_transform_edt(~mask, spacing)
    return np.where(mask, inside - half, half - outside).astype(np.float32)


def image_channels(image: np.ndarray) -> np.ndarray:
    """(IMAGE_CHANNELS, k, j, i) float32 of a finite image: standardised, and histogram-equalised.

    The first keeps contrast as it is; the second spreads the grey levels that most voxels have (soft tissue
    in CT beside air and bone), whatever the modality. Both are invariant to scale and offset of the
    intensities.
    """
    image = image.astype(np.float32, copy=False)
    sample = image.reshape(-1)[:: max(1, image.size // 200_000)]
    low, high = (float(cut) for cut in np.percentile(sample, [0.2, 99.8]))
    if high <= low:
        low, high = float(sample.min()), float(sample.max())
    cut = np.clip(image, low, high)
    deviation = float(cut.std())
    standard = (cut - cut.mean()) / (deviation if deviation > 0 else 1.0)
    levels = np.quantile(sample, np.linspace(0.0, 1.0, 129)).astype(np.float32)
    levels, first = np.unique(levels, return_index=True)
    last = np.append(first[1:] - 1, 128)
    rank = (first + last) / 256.0
    equalised = (np.interp(image, levels, rank) - 0.5) * np.sqrt(12.0)
    return np.stack([standard, equalised.astype(np.float32)])


def shape_interpolation(slices: Sequence[KnownSlice], depth: int, aspect: float) -> np.ndarray:
    """Signed distance (depth, j, i) interpolated linearly between the slices (Raya and Udupa, IEEE TMI 1990).

    Beyond the first and last slice the shape shrinks by one in-plane voxel per in-plane voxel travelled.
    """
    positions = np.array([s.position for s in slices])
    shapes = [np.clip(s.signed_distance, -SHAPE_LIMIT, SHAPE_LIMIT) for s in slices]
    result = np.empty((depth, *shapes[0].shape), np.float32)
    for k in range(depth):
        after = int(np.searchsorted(positions, k))
        if after == 0:
            result[k] = shapes[0] - aspect * (positions[0] - k)
        elif after == len(positions):
            result[k] = shapes[-1] - aspect * (k - positions[-1])
        else:
            step = (k - positions[after - 1]) / (positions[after] - positions[after - 1])
            result[k] = (1 - step) * shapes[after - 1] + step * shapes[after]
    return np.clip(result, -SHAPE_LIMIT, SHAPE_LIMIT)


def likelihood_ratio(image: np.ndarray, foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Log ratio of the known foreground's and background's joint histograms, everywhere, in +-5.

    image: (k, j, i), histogram-equalised. The histograms are of a voxel's grey level and that of its
    neighbourhood in the slice, which says more than either under noise. Their smoothing follows how few
    voxels are known.
    """
    smooth = ndimage.uniform_filter(image, (1, 3, 3), mode="nearest")
    levels = [np.clip((one + _RANGE) * ((_BINS - 1) / (2 * _RANGE)), 0, _BINS - 1) for one in (image, smooth)]
    index = [np.rint(one).astype(np.intp) for one in levels]
    histograms = []
    for known in (foreground, background):
        flat = index[0][known] * _BINS + index[1][known]
        counts = np.bincount(flat, minlength=_BINS * _BINS).astype(float).reshape(_BINS, _BINS)
        blur = 2.5 if len(flat) < 100 else 1.8 if len(flat) < 1000 else 1.2
        counts = (
            ndimage.gaussian_filter(counts, blur, mode="constant") + 0.05 * max(counts.sum(), 1.0) / _BINS**2
        )
        histograms.append(counts / counts.sum())
    ratio = np.clip(np.log(histograms[0] / histograms[1]), -5, 5).astype(np.float32)
    return ratio[index[0], index[1]]


def slice_prompt(
    image: np.ndarray,
    slices: Sequence[KnownSlice],
    aspect: float,
    elsewhere: np.ndarray | None = None,
    motion: Motion | None = None,
) -> np.ndarray:
    """(PROMPT_CHANNELS, k, j, i) float32 of one structure annotated on `slices`, ascending by position.

    image: (IMAGE_CHANNELS, k, j, i) from `image_channels`; elsewhere: bool (k, j, i), voxels off the slices
    known to be something else (other structures); motion: of the image's slices, found when None.
    """
    depth = image.shape[1]
    known = np.full(image.shape[1:], np.nan, np.float32)
    nearest = np.full(depth, np.inf)
    for one in slices:
        plane = int(np.floor(one.position + 0.5))
        if 0 <= plane < depth and abs(plane - one.position) < nearest[plane]:
            nearest[plane] = abs(plane - one.position)
            known[plane] = one.signed_distance
    foreground = known > 0
    background = known <= 0
    if elsewhere is not None:
        background |= elsewhere & ~foreground
    positions = np.array([s.position for s in slices])
    distance = np.abs(np.arange(depth)[:, None] - positions[None]).min(1)
    prompt = np.empty((PROMPT_CHANNELS, *image.shape[1:]), np.float32)
    prompt[FOREGROUND] = foreground
    prompt[BACKGROUND] = background
    prompt[SHAPE] = shape_interpolation(slices, depth, aspect) / 10
    prompt[DISTANCE] = (np.minimum(distance, 20) / 10)[:, None, None]
    carried = _carried(image, motion or slice_motion(image), slices, aspect)
    prompt[PROPAGATED] = np.clip(carried.shape, -SHAPE_LIMIT, SHAPE_LIMIT) / 10
    prompt[MATCHING_RESIDUAL] = carried.matching_residual / 2
    _finish(prompt, image, aspect)
    return prompt


def _carried(
    image: np.ndarray, motion: Motion, slices: Sequence[KnownSlice], aspect: float
) -> PropagatedContours:
    """The slices' outlines carried through the image."""
    at: dict[int, np.ndarray] = {}
    for one in slices:
        plane = int(np.clip(np.floor(one.position + 0.5), 0, image.shape[1] - 1))
        at[plane] = np.clip(one.signed_distance, -SHAPE_LIMIT, SHAPE_LIMIT)
    planes = sorted(at)
    return propagated_contours(image, motion, planes, [at[plane] for plane in planes], aspect)


def scribble_prompt(
    image: np.ndarray, foreground: np.ndarray, background: np.ndarray, aspect: float
) -> np.ndarray:
    """As `slice_prompt`, for scribbles: known voxels anywhere, bool (k, j, i) each."""
    prompt = np.empty((PROMPT_CHANNELS, *image.shape[1:]), np.float32)
    sampling = (aspect, 1.0, 1.0)
    to_foreground = ndimage.distance_transform_edt(~foreground, sampling) if foreground.any() else SHAPE_LIMIT
    to_background = ndimage.distance_transform_edt(~background, sampling) if background.any() else SHAPE_LIMIT
    prompt[FOREGROUND] = foreground
    prompt[BACKGROUND] = background
    prompt[SHAPE] = np.clip(to_background - to_foreground, -SHAPE_LIMIT, SHAPE_LIMIT) / 20
    prompt[DISTANCE] = np.minimum(np.minimum(to_foreground, to_background), 20) / 10
    prompt[PROPAGATED], prompt[MATCHING_RESIDUAL] = prompt[SHAPE], 0.0
    _finish(prompt, image, aspect)
    return prompt


def place_prompt(
    image: np.ndarray, distance: np.ndarray, band: float, elsewhere: np.ndarray, aspect: float
) -> np.ndarray:
    """As `slice_prompt`, for a structure that nobody drew here: where it is expected, and how surely.

    distance: (k, j, i) signed distance of the expected structure, positive inside, in in-plane voxels; band:
    how many of these its boundary may be off; elsewhere: bool, surely another structure. What lies deeper
    than the band stands for drawn voxels; the distance channel, the same everywhere, says how wide it is.
    """
    prompt = np.empty((PROMPT_CHANNELS, *image.shape[1:]), np.float32)
    inside = (distance >= min(band, DEEPEST * float(distance.max()))) & ~elsewhere
    prompt[FOREGROUND] = inside
    prompt[BACKGROUND] = ((distance <= -band) | elsewhere) & ~inside
    prompt[SHAPE] = np.clip(distance, -SHAPE_LIMIT, SHAPE_LIMIT) / 10
    prompt[DISTANCE] = min(band, 20.0) / 10
    prompt[PROPAGATED], prompt[MATCHING_RESIDUAL] = prompt[SHAPE], 0.0
    _finish(prompt, image, aspect)
    return prompt


def volume_distance(inside: np.ndarray, aspect: float) -> np.ndarray:
    """Signed distance (k, j, i) float32 in in-plane voxels of a mask that may go on beyond the grid."""
    if not inside.any():
        return np.full(inside.shape, -SHAPE_LIMIT, np.float32)
    sampling = (aspect, 1.0, 1.0)
    within = ndimage.distance_transform_edt(np.pad(inside, 1, mode="edge"), sampling)[1:-1, 1:-1, 1:-1]
    beyond = ndimage.distance_transform_edt(~inside, sampling)
    return np.where(inside, within - 0.5, 0.5 - beyond).astype(np.float32)


def _finish(prompt: np.ndarray, image: np.ndarray, aspect: float) -> None:
    """The channels that any kind of known voxels fill alike."""
    foreground, background = prompt[FOREGROUND] > 0, prompt[BACKGROUND] > 0
    prompt[LIKELIHOOD] = likelihood_ratio(image[1], foreground, background) / 3
    prompt[ASPECT] = np.log2(max(aspect, 1e-3)) / 2
    prompt[APPEARANCE] = appearance_log_odds(voxel_features(image, aspect), foreground, background) / 3
    prompt[GEODESIC] = geodesic_preference(image[0], foreground, background, aspect)
