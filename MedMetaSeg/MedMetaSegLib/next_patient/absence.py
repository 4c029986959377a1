"""Whether a structure is there at all: what the placed atlases say of it, and the rules for absence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy import ndimage

from ..support.structure import region
from ..task.atlas import Atlas
from ..working_grid.reduced_image import ReducedImage
from .fusion import FusedOccupancies, RegisteredAtlas, grown
from .position_prior import occupancy_threshold, occupancy_thresholds

OUTSIDE = "its place lies outside the image"
"""The reason for a structure that is not where the image is."""
_LEAST_FOV_FRACTION = 0.01
"""Share of a structure's volume that must be in the image for it to be looked for."""
_LEAST_GLOBAL_NCC = 0.3
"""Correlation of the images after the best pose: patients on whom a task belongs have more, whatever their
modality.
"""
_LEAST_LOCAL_NCC = 0.12
"""Correlation of the images around the structure's place."""
_LEAST_NCC_AFTER_WARP = 0.1
"""The same times the share of its volume that warping leaves: what is not there is warped away."""
_LEAST_INTENSITY_OVERLAP = 0.2
"""Common area of the histograms of query and supports at the structure's place."""
_BINS = 16
"""Bins of these histograms."""


@dataclass(frozen=True)
class AbsenceEvidence:
    """How much of a structure's place is in the image, and how much it looks there as in the supports.

    fov_fraction: share of the structure's volume that lies in the field of view. global_ncc: correlation of
    the MIND descriptors of query and atlas where the atlas lies best, to 1. local_ncc: the same around the
    structure, 0 to 1. volume_ratio_after_warp: its volume where the warped atlases place it, over the one
    where their poses alone do, to 1. intensity_overlap: common area of the histograms of the two places, 0 to
    1; None where the query is of another modality than the task. prototype_logit: mean of the learned
    prototypes over what was found. The last four are None where there is nothing to take them from.
    """

    fov_fraction: float
    global_ncc: float
    local_ncc: float | None = None
    volume_ratio_after_warp: float | None = None
    intensity_overlap: float | None = None
    prototype_logit: float | None = None

    def reason(self) -> str:
        """Why the structure is absent, the end of a sentence; "" where it is not.

        prototype_logit has no say.
        """
        if self.fov_fraction < _LEAST_FOV_FRACTION:
            return OUTSIDE
        if self.global_ncc < _LEAST_GLOBAL_NCC:
            return "the image around its place does not look like the supports"
        local_ncc = _or_one(self.local_ncc)
        if (
            local_ncc < _LEAST_LOCAL_NCC
            or local_ncc * _or_one(self.volume_ratio_after_warp) < _LEAST_NCC_AFTER_WARP
        ):
            return "what lies at its place does not look like the supports"
        if _or_one(self.intensity_overlap) < _LEAST_INTENSITY_OVERLAP:
            return "what lies at its place has other intensities"
        return ""

    def as_dict(self) -> dict[str, float]:
        """For the report: what there is, rounded."""
        return {name: round(value, 3) for name, value in asdict(self).items() if value is not None}


def _or_one(value: float | None) -> float:
    return 1.0 if value is None else value


def absence_evidence(
    registered: Sequence[RegisteredAtlas],
    fused: FusedOccupancies,
    close: ReducedImage,
    same_modality: bool,
) -> list[AbsenceEvidence]:
    """The evidence about every structure of a task on the query's close image.

    fused: of the registered atlases; same_modality: of query and task: intensities are compared only then.
    Of the placements of atlases only those that were warped are asked: what is not there, they warp away.
    """
    warped = [one for one in registered if one.warped]
    atlases = list({id(one.atlas): one.atlas for one in warped}.values())
    voxel_mm3 = float(np.prod(close.spacing_mm))
    global_ncc = max(one.pose.global_ncc for one in warped)
    found = []
    for number, seen in enumerate(_seen_places(warped, fused, close)):
        fov_fraction = seen.voxels * voxel_mm3 / _volume_mm3(warped, number)
        if not seen.histogram.any():
            found.append(AbsenceEvidence(fov_fraction, global_ncc))
            continue
        intensity_overlap = None
        if same_modality:
            intensity_overlap = max(_intensity_overlap(seen.histogram, one, number) for one in atlases)
        ratio = min(1.0, seen.voxels / max(seen.affine_voxels, 1e-6))
        found.append(AbsenceEvidence(fov_fraction, global_ncc, seen.local_ncc, ratio, intensity_overlap))
    return found


@dataclass(frozen=True, eq=False)
class _SeenPlace:
    """What the query shows of one structure's place.

    voxels, affine_voxels: close voxels that it fills, warped and by the poses alone; local_ncc: around it, of
    the placement where that is highest; histogram: (_BINS,) voxels inside it by intensity.
    """

    voxels: float
    affine_voxels: float
    local_ncc: float
    histogram: np.ndarray


@torch.no_grad()
def _seen_places(
    warped: Sequence[RegisteredAtlas], fused: FusedOccupancies, close: ReducedImage
) -> list[_SeenPlace]:
    """One for each structure; computed on the device and brought back together."""
    occupancies = fused.by_warped
    local_ncc = torch.stack([one.local_ncc.flatten() for one in warped], 1)
    bins = torch.from_numpy(close.intensity // (256 // _BINS)).to(local_ncc.device).long().flatten()
    by_bin = torch.nn.functional.one_hot(bins, _BINS).float()
    thresholds = occupancy_thresholds(occupancies)
    numbers = []
    for occupancy, threshold, affine in zip(occupancies, thresholds, fused.affine_voxels, strict=True):
        core = occupancy > threshold
        near = grown(core, 2).flatten().float()
        around = (near @ local_ncc / near.sum().clamp(min=1)).max()
        counts = core.flatten().float() @ by_bin
        numbers.append(torch.cat([torch.stack([occupancy.sum(), affine, around]), counts]))
    rows = torch.stack(numbers).cpu().numpy().astype(float)
    return [_SeenPlace(float(row[0]), float(row[1]), float(row[2]), row[3:]) for row in rows]


def _volume_mm3(registered: Sequence[RegisteredAtlas], number: int) -> float:
    """Mean volume of the whole structure in the query, by the poses of the atlases that have it."""
    volumes = []
    for one in registered:
        place = one.atlas.places[number]
        if place is not None:
            volume = float(place.occupancy.sum()) / 255 * float(np.prod(one.atlas.close.spacing_mm))
            volumes.append(volume / abs(float(np.linalg.det(one.pose.matrix))))
    return max(float(np.mean(volumes)), 1e-6)


def _intensity_overlap(histogram: np.ndarray, atlas: Atlas, number: int) -> float:
    """Common area, 0 to 1, of the histogram of a place in the query and that in the atlas."""
    place = atlas.places[number]
    if place is None:
        return 0.0
    inside = place.occupancy > 255 * occupancy_threshold(place.occupancy / np.float32(255))
    intensity = atlas.close.intensity[region(place.offset, inside.shape)][inside]
    histograms = []
    for counts in (histogram, np.bincount(intensity // (256 // _BINS), minlength=_BINS).astype(float)):
        smooth = ndimage.gaussian_filter1d(counts, 0.7, mode="nearest")
        histograms.append(smooth / max(smooth.sum(), 1e-9))
    return float(np.minimum(*histograms).sum())
