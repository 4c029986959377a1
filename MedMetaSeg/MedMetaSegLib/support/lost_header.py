"""A support with as many voxels as the image that lies elsewhere, as when a tool lost its header."""

from __future__ import annotations

import numpy as np

from ..imageio.frames import by
from ..imageio.geometry import Geometry

_HALF_VOXEL = 0.501
_SAME = 1e-3
"""Share of a spacing, or of a cosine, that is rounding."""


def lost_header(support: Geometry, image: Geometry, role: str = "support") -> str:
    """A sentence when a support has as many voxels as the image and lies elsewhere; "" when it does not.

    role: what the support is called. Drifts of up to half a voxel, and other orders and directions of the
    same voxels, are no reason.
    """
    one, other = support.canonical()[0], image.canonical()[0]
    if one.same_grid(other, _HALF_VOXEL):
        return ""
    if support.shape != image.shape and one.shape != other.shape:
        return ""
    return (
        f"The {role} has as many voxels as the image but {grid_difference(support, image)}: is its header "
        "lost?"
    )


def grid_difference(support: Geometry, image: Geometry) -> str:
    """What a support's grid has that the image's has not, for a sentence about it."""
    if not np.allclose(support.spacing_mm, image.spacing_mm, rtol=_SAME, atol=0):
        spacings = [by([f"{step:.4g}" for step in grid.spacing_mm[::-1]]) for grid in (support, image)]
        return f"another spacing ({spacings[0]} against {spacings[1]} mm)"
    if not np.allclose(support.directions, image.directions, atol=_SAME):
        return "axes in other directions"
    away = float(np.linalg.norm(support.affine[:3, 3] - image.affine[:3, 3]))
    return f"another position ({away:.3g} mm away)"
