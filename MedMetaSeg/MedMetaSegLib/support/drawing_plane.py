"""The plane in which a structure was annotated: axial, coronal or sagittal in the grid's own axes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from ..imageio.geometry import Geometry
from .structure import filled_slices

PLANES = ("axial", "coronal", "sagittal")

_CLEAR_RATIO = 0.5
"""Mean run of filled slices along the drawing axis over that along the next best: above, there is doubt."""


def plane_name(geometry: Geometry, axis: int) -> str:
    """The plane whose normal lies closest to an axis (0, 1, 2 for k, j, i) of the grid."""
    return PLANES[geometry.canonical()[1].order.index(axis)]


def plane_axis(geometry: Geometry, plane: str) -> int:
    """The axis of the grid that lies closest to the normal of a plane; InputError for an unknown plane."""
    if plane not in PLANES:
        raise InputError(f"There is no plane '{plane}'; use {', '.join(PLANES)}.")
    return geometry.canonical()[1].order[PLANES.index(plane)]


def drawing_axes(masks: Sequence[np.ndarray], geometry: Geometry) -> list[int]:
    """For each mask (bool, (k, j, i), cropped or not) the drawing axis: that across its annotated slices.

    Annotated slices lie apart or in a thin stack: along the drawing axis filled slices come in shorter
    runs than along the others. Where that is not clear, the axis most of the clear ones have, else axial.
    """
    found = [_clear_axis(mask) for mask in masks]
    votes = Counter(axis for axis in found if axis is not None)
    axial = plane_axis(geometry, "axial")
    usual = max(votes, key=lambda axis: (votes[axis], axis == axial)) if votes else axial
    return [usual if axis is None else axis for axis in found]


def _clear_axis(mask: np.ndarray) -> int | None:
    runs = [_mean_run(filled_slices(mask, axis)) for axis in range(3)]
    first, second = np.argsort(runs, kind="stable")[:2]
    return int(first) if runs[first] <= _CLEAR_RATIO * runs[second] else None


def _mean_run(filled: np.ndarray) -> float:
    """Mean length of the runs of consecutive numbers in an ascending sequence; 0 when it is empty."""
    runs = 1 + int(np.count_nonzero(np.diff(filled) > 1))
    return len(filled) / runs
