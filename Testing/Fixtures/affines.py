"""Rotations and offsets as 4x4 matrices, worked out independently of the library."""

from __future__ import annotations

import numpy as np

from MedMetaSegLib.imageio.geometry import Geometry


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """4x4 rotation about the three world axes, in radians."""
    turn = np.eye(4)
    for angle, (first, second) in zip((x, y, z), ((1, 2), (2, 0), (0, 1)), strict=True):
        one = np.eye(4)
        one[first, first] = one[second, second] = np.cos(angle)
        one[first, second], one[second, first] = -np.sin(angle), np.sin(angle)
        turn = one @ turn
    return turn


def offset(x: float, y: float, z: float) -> np.ndarray:
    """4x4 of zeros but for the last column, to be added to an affine."""
    shift = np.zeros((4, 4))
    shift[:3, 3] = x, y, z
    return shift


def moved(geometry: Geometry, matrix: np.ndarray) -> Geometry:
    """The same voxels after the world moved by a 4x4 matrix."""
    return Geometry(geometry.shape, matrix @ geometry.affine)
