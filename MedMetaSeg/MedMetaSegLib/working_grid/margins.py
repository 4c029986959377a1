"""How far beyond an annotation the network looks for the rest of a structure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..imageio.geometry import Index3


def margins(shape: Index3, slices: Sequence[int | float], aspect: float) -> tuple[np.ndarray, np.ndarray]:
    """How far beyond the annotated box of this shape to look, (3,) before and after, in working voxels.

    In the plane a third of the annotation; along the slices most of the widest gap between two of them, or,
    with one slice only, as much as it is wide. The prediction touching the border makes the region grow, so a
    miss is mended.
    """
    in_plane = max(8.0, 0.33 * max(shape[1], shape[2]))
    if len(slices) > 1:
        along = max(5.0 / aspect, 0.6 * float(np.diff(np.sort(slices)).max()), 2.0)
    else:
        along = max(8.0, 0.6 * max(shape[1], shape[2])) / aspect
    margin = np.array([along, in_plane, in_plane])
    return margin, margin
