"""What the network sees: the image in two contrasts, and what the known voxels say about one structure.

Everything here is on a working grid whose axis 0 is the drawing axis. In-plane lengths are counted in working
voxels of axes 1 and 2 (which have the same spacing); `aspect` is the slice spacing in those units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..stages import stage
from .crossing_slices import corrected
from .geodesic import geodesic_preference
from .image_evidence import ImageEvidence
from .likelihood import likelihood_ratio
from .propagation import PropagatedContours, propagated_contours
from .voxel_classifier import appearance_log_odds

IMAGE_CHANNELS = 2
PROMPT_CHANNELS = 10
(FOREGROUND, BACKGROUND, SHAPE, DISTANCE, LIKELIHOOD) = range(5)
(ASPECT, APPEARANCE, GEODESIC, PROPAGATED, MATCHING_RESIDUAL) = range(5, PROMPT_CHANNELS)

SHAPE_LIMIT = 20.0
"""Signed distances are cut here, in in-plane voxels."""
DEEPEST = 0.6
"""Of an expected structure's greatest depth: at least that deep is inside, however thin it is."""


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


def shape_interpolation(slices: Sequence[KnownSlice], depth: int, aspect: float) -> Tensor:
    """Signed distance (depth, j, i) interpolated linearly between the slices (Raya and Udupa, IEEE TMI 1990).

    Beyond the first and last slice the shape shrinks by one in-plane voxel per in-plane voxel travelled.
    """
    return _interpolated(_clipped(slices), [one.position for one in slices], depth, aspect)


def _interpolated(shapes: Tensor, positions: Sequence[float], depth: int, aspect: float) -> Tensor:
    """As `shape_interpolation`, of clipped signed distances (S, j, i), on their device."""
    place = np.array(positions)
    planes = np.arange(depth)
    after = np.searchsorted(place, planes)
    low, high = np.maximum(after - 1, 0), np.minimum(after, len(place) - 1)
    step = (planes - place[low]) / np.where(low < high, place[high] - place[low], 1.0)
    beyond = np.maximum(np.maximum(place[0] - planes, planes - place[-1]), 0.0)
    numbers = torch.from_numpy(
        np.stack([np.where(low < high, step, 0.0), aspect * beyond]).astype(np.float32)
    )
    share, shrunk = numbers.to(shapes.device)[:, :, None, None]
    below, above = torch.from_numpy(np.stack([low, high])).to(shapes.device)
    between = (1 - share) * shapes[below] + share * shapes[above]
    return (between - shrunk).clamp_(-SHAPE_LIMIT, SHAPE_LIMIT)


def _clipped(slices: Sequence[KnownSlice]) -> Tensor:
    """Signed distances (S, j, i) of the slices, cut at the limit."""
    distances = np.stack([one.signed_distance for one in slices])
    return torch.from_numpy(distances.astype(np.float32, copy=False)).clamp(-SHAPE_LIMIT, SHAPE_LIMIT)


@torch.no_grad()
def slice_prompt(
    evidence: ImageEvidence,
    slices: Sequence[KnownSlice],
    other_structures: np.ndarray | None = None,
    crossing: np.ndarray | None = None,
) -> Tensor:
    """(PROMPT_CHANNELS, k, j, i) float32 of one structure annotated on `slices`, ascending by position, on
    the device of the image's evidence.

    other_structures: bool (k, j, i), voxels off the slices known to be something else (other structures).
    crossing: float32 (k, j, i), signed distances in in-plane voxels where slices of other planes run and
    where single voxels are known, else NaN.
    """
    depth = evidence.channels.shape[1]
    shapes = _clipped(slices).to(evidence.device)
    positions = [one.position for one in slices]
    prompt = _empty(evidence)
    foreground, background = _known(evidence, shapes, positions)
    if other_structures is not None:
        background |= torch.from_numpy(other_structures).to(evidence.device) & ~foreground
    distance = np.abs(np.arange(depth)[:, None] - np.array(positions)).min(1)
    nearness = torch.from_numpy((np.minimum(distance, 20) / 10).astype(np.float32))
    prompt[DISTANCE] = nearness.to(evidence.device)[:, None, None]
    followed = _followed(evidence, shapes, positions)
    guesses = torch.stack([_interpolated(shapes, positions, depth, evidence.aspect), followed.shape])
    prompt[MATCHING_RESIDUAL] = followed.matching_residual / 2
    if crossing is not None:
        known = torch.from_numpy(crossing).to(evidence.device)
        elsewhere = known.isfinite() & ~(foreground | background)
        guesses = corrected(guesses, known, _planes(positions, depth), evidence.aspect)
        foreground |= elsewhere & (known > 0)
        background |= elsewhere & (known <= 0)
        prompt[DISTANCE] = torch.minimum(prompt[DISTANCE], _nearness(known, evidence.aspect))
        prompt[MATCHING_RESIDUAL][elsewhere] = 0.0
    prompt[SHAPE], prompt[PROPAGATED] = guesses.clamp(-SHAPE_LIMIT, SHAPE_LIMIT) / 10
    return _finished(prompt, evidence, foreground, background)


def _planes(positions: Sequence[float], depth: int) -> list[int]:
    """The planes of the grid next to the slices."""
    return sorted({int(np.clip(np.floor(one + 0.5), 0, depth - 1)) for one in positions})


def _nearness(known: Tensor, aspect: float) -> Tensor:
    """The distance channel of voxels known anywhere, NaN where they are not: in slices, as along axis 0."""
    away = ndimage.distance_transform_edt(known.isnan().cpu().numpy(), (1.0, 1 / aspect, 1 / aspect))
    return torch.from_numpy((np.minimum(away, 20) / 10).astype(np.float32)).to(known.device)


def _known(evidence: ImageEvidence, shapes: Tensor, positions: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Bool (k, j, i) each: the structure and its background, on the plane next to each slice."""
    shape = evidence.channels.shape[1:]
    nearest: dict[int, int] = {}
    for number, position in enumerate(positions):
        plane = int(np.floor(position + 0.5))
        before = nearest.get(plane)
        if 0 <= plane < shape[0] and (
            before is None or abs(plane - position) < abs(plane - positions[before])
        ):
            nearest[plane] = number
    foreground, background = torch.zeros(2, *shape, dtype=torch.bool, device=evidence.device)
    if nearest:
        planes = list(nearest)
        inside = shapes[list(nearest.values())] > 0
        foreground[planes], background[planes] = inside, ~inside
    return foreground, background


def _followed(evidence: ImageEvidence, shapes: Tensor, positions: Sequence[float]) -> PropagatedContours:
    """The slices' outlines propagated through the image; those beyond the grid count at its ends."""
    last = evidence.channels.shape[1] - 1
    at = {int(np.clip(np.floor(one + 0.5), 0, last)): number for number, one in enumerate(positions)}
    planes = sorted(at)
    given = shapes[[at[plane] for plane in planes]]
    with stage("propagation"):
        return propagated_contours(evidence.channels, evidence.motion, planes, given, evidence.aspect)


@torch.no_grad()
def scribble_prompt(evidence: ImageEvidence, foreground: np.ndarray, background: np.ndarray) -> Tensor:
    """As `slice_prompt`, for scribbles: known voxels anywhere, bool (k, j, i) each."""
    sampling = (evidence.aspect, 1.0, 1.0)
    to_foreground, to_background = (
        torch.from_numpy(ndimage.distance_transform_edt(~known, sampling)).to(evidence.device, torch.float32)
        if known.any()
        else torch.tensor(SHAPE_LIMIT, device=evidence.device)
        for known in (foreground, background)
    )
    prompt = _empty(evidence)
    prompt[SHAPE] = (to_background - to_foreground).clamp(-SHAPE_LIMIT, SHAPE_LIMIT) / 20
    prompt[DISTANCE] = torch.minimum(to_foreground, to_background).clamp(max=20) / 10
    prompt[PROPAGATED], prompt[MATCHING_RESIDUAL] = prompt[SHAPE], 0.0
    known = torch.from_numpy(np.stack([foreground, background])).to(evidence.device)
    return _finished(prompt, evidence, known[0], known[1])


@torch.no_grad()
def place_prompt(
    evidence: ImageEvidence, distance: np.ndarray, tolerance: float, other_structures: np.ndarray
) -> Tensor:
    """As `slice_prompt`, for a structure that nobody annotated here: where it is expected, and how surely.

    distance: (k, j, i) signed distance of the expected structure, positive inside, in in-plane voxels;
    tolerance: how many of these its boundary may be off; other_structures: bool, surely another structure.
    What lies deeper than the tolerance stands for annotated voxels; the distance channel, the same
    everywhere, says how wide it is.
    """
    inside = (distance >= min(tolerance, DEEPEST * float(distance.max()))) & ~other_structures
    outside = ((distance <= -tolerance) | other_structures) & ~inside
    known = torch.from_numpy(np.stack([inside, outside])).to(evidence.device)
    expected = torch.from_numpy(distance).to(evidence.device, torch.float32)
    prompt = _empty(evidence)
    prompt[SHAPE] = expected.clamp(-SHAPE_LIMIT, SHAPE_LIMIT) / 10
    prompt[DISTANCE] = min(tolerance, 20.0) / 10
    prompt[PROPAGATED], prompt[MATCHING_RESIDUAL] = prompt[SHAPE], 0.0
    return _finished(prompt, evidence, known[0], known[1])


def volume_distance(inside: np.ndarray, aspect: float) -> np.ndarray:
    """Signed distance (k, j, i) float32 in in-plane voxels of a mask that may go on beyond the grid."""
    if not inside.any():
        return np.full(inside.shape, -SHAPE_LIMIT, np.float32)
    sampling = (aspect, 1.0, 1.0)
    within = ndimage.distance_transform_edt(np.pad(inside, 1, mode="edge"), sampling)[1:-1, 1:-1, 1:-1]
    beyond = ndimage.distance_transform_edt(~inside, sampling)
    return np.where(inside, within - 0.5, 0.5 - beyond).astype(np.float32)


def _empty(evidence: ImageEvidence) -> Tensor:
    """A prompt yet to be filled."""
    return evidence.channels.new_empty(PROMPT_CHANNELS, *evidence.channels.shape[1:])


def _finished(prompt: Tensor, evidence: ImageEvidence, foreground: Tensor, background: Tensor) -> Tensor:
    """The prompt with the channels that any kind of known voxels fill alike."""
    prompt[FOREGROUND], prompt[BACKGROUND] = foreground, background
    prompt[ASPECT] = float(np.log2(max(evidence.aspect, 1e-3))) / 2
    with stage("histogram"):
        prompt[LIKELIHOOD] = likelihood_ratio(evidence.bins, foreground, background) / 3
    with stage("appearance"):
        prompt[APPEARANCE] = appearance_log_odds(evidence.features, foreground, background) / 3
    with stage("geodesic"):
        prompt[GEODESIC] = geodesic_preference(evidence.channels[0], foreground, background, evidence.aspect)
    return prompt
