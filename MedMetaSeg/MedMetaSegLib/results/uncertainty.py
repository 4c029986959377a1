"""Where a result is unsure, as a map of bytes, and the error to expect on each slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..imageio.geometry import Geometry
from ..support.drawing_plane import plane_axis

_PER_SHARE = 510
"""Value of a map for a probability of error of 1; the highest there is, one half, is 255."""
_DECIMALS = 4
"""Of millilitres in reports: a tenth of a microlitre."""


@dataclass(frozen=True)
class ErrorBySlice:
    """The error to expect on slices of one plane.

    first: index, from 0, of the first slice with any. millilitres: of that slice and each one after it, to
    the last with any; () where there is none.
    """

    plane: str
    first: int
    millilitres: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """For reports."""
        errors = [round(one, _DECIMALS) for one in self.millilitres]
        return {"plane": self.plane, "first": self.first, "expected_error_ml": errors}


def uncertainty_of(probability: np.ndarray) -> np.ndarray:
    """A map, uint8 (k, j, i), of a probability p: 510 * min(p, 1 - p), so 255 where it is undecided."""
    uncertainty = np.zeros(probability.shape, np.uint8)
    # Slice by slice, so that there is no second volume of floats; in most of a volume there is nothing.
    for number, plane in enumerate(probability):
        if plane.any():
            inside = plane.astype(np.float32)
            uncertainty[number] = np.rint(_PER_SHARE * np.minimum(inside, 1 - inside))
    return uncertainty


def error_by_slice(uncertainty: np.ndarray, geometry: Geometry, plane: str) -> ErrorBySlice:
    """The volume that is likely on the wrong side, slice by slice: the sum of min(p, 1 - p) over its voxels.

    uncertainty: uint8 (k, j, i), from `uncertainty_of`, on `geometry`. plane: "axial", "coronal" or
    "sagittal". Raises InputError for another one.
    """
    axis = plane_axis(geometry, plane)
    others = tuple(one for one in range(3) if one != axis)
    errors = uncertainty.sum(axis=others, dtype=np.int64) * (geometry.voxel_ml / _PER_SHARE)
    (there,) = np.nonzero(errors)
    if not len(there):
        return ErrorBySlice(plane, 0, ())
    return ErrorBySlice(plane, int(there[0]), tuple(errors[there[0] : there[-1] + 1].tolist()))
