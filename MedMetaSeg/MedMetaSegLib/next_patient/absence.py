"""Whether a structure is there at all: what the placed atlases say of it, and the rules for absence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy import ndimage

from ..task.atlas import Atlas
from ..working_grid.reduced_image import ReducedImage
from .atlas_placement import RegisteredAtlas, fused_occupancy
from .position_prior import occupancy_threshold

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
    registered: Sequence[RegisteredAtlas], close: ReducedImage, number: int, same_modality: bool
) -> AbsenceEvidence:
    """The evidence about structure `number` of a task on the query's close image.

    same_modality: of query and task; intensities are compared only then. Of the placements of atlases only
    those that were warped are asked: what is not there, they warp away.
    """
    warped = [one for one in registered if one.warped]
    occupancy = fused_occupancy(warped, number)
    fov_fraction = float(occupancy.sum()) * float(np.prod(close.spacing_mm)) / _volume_mm3(warped, number)
    global_ncc = max(one.pose.global_ncc for one in warped)
    core = occupancy > occupancy_threshold(occupancy)
    if not core.any():
        return AbsenceEvidence(fov_fraction, global_ncc)
    near = ndimage.binary_dilation(core, iterations=2)
    places = close.places()
    affine_only = [
        float(placed.sum()) for one in warped if (placed := one.affine_occupancy(number, places)) is not None
    ]
    intensity_overlap = None
    if same_modality:
        atlases = {id(one.atlas): one.atlas for one in warped}.values()
        intensity_overlap = max(_intensity_overlap(close.intensity[core], atlas, number) for atlas in atlases)
    return AbsenceEvidence(
        fov_fraction,
        global_ncc,
        float(max(one.local_ncc[near].mean() for one in warped)),
        min(1.0, float(occupancy.sum()) / max(float(np.mean(affine_only)), 1e-6)),
        intensity_overlap,
    )


def _volume_mm3(registered: Sequence[RegisteredAtlas], number: int) -> float:
    """Mean volume of the whole structure in the query, by the poses of the atlases that have it."""
    volumes = []
    for one in registered:
        place = one.atlas.places[number]
        if place is not None:
            volume = float(place.occupancy.sum()) / 255 * float(np.prod(one.atlas.close.spacing_mm))
            volumes.append(volume / abs(float(np.linalg.det(one.pose.matrix))))
    return max(float(np.mean(volumes)), 1e-6)


def _intensity_overlap(intensity: np.ndarray, atlas: Atlas, number: int) -> float:
    """Common area, 0 to 1, of the histograms of a place in the query and in the atlas."""
    if atlas.places[number] is None:
        return 0.0
    occupancy = atlas.occupancy(number)
    histograms = []
    for values in (intensity, atlas.close.intensity[occupancy > occupancy_threshold(occupancy)]):
        counts = np.bincount(values // (256 // _BINS), minlength=_BINS).astype(float)
        counts = ndimage.gaussian_filter1d(counts, 0.7, mode="nearest")
        histograms.append(counts / max(counts.sum(), 1e-9))
    return float(np.minimum(*histograms).sum())
