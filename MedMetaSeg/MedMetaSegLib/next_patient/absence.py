"""Whether a structure is there at all: what the placed atlases say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage

from ..support.structure import region
from ..task.atlas import Atlas
from ..working_grid.reduced_image import ReducedImage
from .fusion import FusedOccupancies, RegisteredAtlas, grown
from .position_prior import occupancy_threshold, occupancy_thresholds

_LEAST_FOV_FRACTION = 0.01
"""Share of a structure's volume that must be in the image for it to be looked for."""
_BINS = 16
"""Bins of the histograms that are compared."""


@dataclass(frozen=True)
class AbsenceEvidence:
    """How much of a structure's place is in the image, and how much it looks there as in the supports.

    fov_fraction: share of the structure's volume that lies in the field of view. global_ncc: correlation of
    the MIND descriptors of query and atlas where the atlas lies best, to 1. local_ncc: the same around the
    structure, 0 to 1. volume_ratio_after_warp: its volume where the warped atlases place it, over the one
    where their poses alone do, to 1. intensity_overlap: common area of the histograms of the two places, 0 to
    1; None where the query is of another modality than the task. prototype_logit: mean of the learned
    prototypes over what was found. disagreement: see `FusedOccupancies`. mean_ncc, pose_ncc: as local_ncc,
    the mean over the warped placements, and where the pose alone places it. log_scale: logarithm of how much
    larger the query is in each direction, without sign. All but the first two are None where there is nothing
    to take them from.
    """

    fov_fraction: float
    global_ncc: float
    local_ncc: float | None = None
    volume_ratio_after_warp: float | None = None
    intensity_overlap: float | None = None
    prototype_logit: float | None = None
    disagreement: float | None = None
    mean_ncc: float | None = None
    pose_ncc: float | None = None
    log_scale: float | None = None

    @property
    def is_in_view(self) -> bool:
        """Whether enough of the structure's place lies in the image for it to be looked for."""
        return self.fov_fraction >= _LEAST_FOV_FRACTION

    @property
    def features(self) -> dict[str, float]:
        """For the calibration: what there is. fov: as fov_fraction, to 1; swelling: the logarithm of how much
        larger than expected warping makes the structure, 0 where it does not.
        """
        found = {name: float(value) for name, value in asdict(self).items() if value is not None}
        fraction = found.pop("fov_fraction")
        return {**found, "fov": min(fraction, 1.0), "swelling": float(np.log(max(fraction, 1.0)))}

    def as_dict(self) -> dict[str, float]:
        """For the report: what there is, rounded."""
        return {name: round(value, 3) for name, value in asdict(self).items() if value is not None}


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
    placed = [one for one in registered if not one.warped]
    determinants = [abs(float(np.linalg.det(one.pose.matrix))) for one in placed]
    log_scale = float(np.mean(np.abs(np.log(determinants)))) / 3
    atlases = list({id(one.atlas): one.atlas for one in warped}.values())
    voxel_mm3 = float(np.prod(close.spacing_mm))
    global_ncc = max(one.pose.global_ncc for one in warped)
    found = []
    for number, seen in enumerate(_seen_places(warped, placed, fused, close)):
        fov_fraction = seen.voxels * voxel_mm3 / _volume_mm3(warped, number)
        if not seen.histogram.any():
            found.append(AbsenceEvidence(fov_fraction, global_ncc))
            continue
        intensity_overlap = None
        if same_modality:
            intensity_overlap = max(_intensity_overlap(seen.histogram, one, number) for one in atlases)
        ratio = min(1.0, seen.voxels / max(seen.affine_voxels, 1e-6))
        found.append(
            AbsenceEvidence(
                fov_fraction,
                global_ncc,
                seen.local_ncc,
                ratio,
                intensity_overlap,
                disagreement=seen.disagreement,
                mean_ncc=seen.mean_ncc,
                pose_ncc=seen.pose_ncc,
                log_scale=log_scale,
            )
        )
    return found


class _SeenPlace(NamedTuple):
    """What the query shows of one structure's place.

    voxels, affine_voxels: close voxels that it fills, warped and by the poses alone; local_ncc: around it, of
    the placement where that is highest; disagreement, mean_ncc, pose_ncc: see `AbsenceEvidence`; histogram:
    (_BINS,) voxels inside it by intensity.
    """

    voxels: float
    affine_voxels: float
    local_ncc: float
    disagreement: float
    mean_ncc: float
    pose_ncc: float
    histogram: np.ndarray


@torch.no_grad()
def _seen_places(
    warped: Sequence[RegisteredAtlas],
    placed: Sequence[RegisteredAtlas],
    fused: FusedOccupancies,
    close: ReducedImage,
) -> list[_SeenPlace]:
    """One for each structure; computed on the device and brought back together."""
    occupancies = fused.by_warped
    local_ncc, by_pose = (
        torch.stack([one.local_ncc.flatten() for one in some], 1) for some in (warped, placed)
    )
    bins = torch.from_numpy(close.intensity // (256 // _BINS)).to(local_ncc.device).long().flatten()
    by_bin = torch.nn.functional.one_hot(bins, _BINS).float()
    thresholds = occupancy_thresholds(occupancies)
    numbers = []
    told = zip(occupancies, thresholds, fused.affine_voxels, fused.disagreement, strict=True)
    for occupancy, threshold, affine, disagreement in told:
        core = occupancy > threshold
        near = grown(core, 2).flatten().float()
        number = near.sum().clamp(min=1)
        around, of_pose = near @ local_ncc / number, near @ by_pose / number
        counts = core.flatten().float() @ by_bin
        of_ncc = (around.max(), disagreement, around.mean(), of_pose.max())
        numbers.append(torch.cat([torch.stack([occupancy.sum(), affine, *of_ncc]), counts]))
    single = len(_SeenPlace._fields) - 1
    rows = torch.stack(numbers).cpu().numpy().astype(float)
    return [_SeenPlace._make([*map(float, row[:single]), row[single:]]) for row in rows]


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
