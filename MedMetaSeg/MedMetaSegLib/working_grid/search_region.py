"""A region outside which nothing is looked for, on working grids and in what comes back from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..imageio.geometry import Geometry
from ..imageio.volume import Volume
from ..support.search_region import SearchRegion
from .grid import OUTSIDE_LOGIT, PositiveLogits, WorkingGrid, sampled_image
from .intensity import IntensityNormalization

SampledLogits = Callable[[], tuple[np.ndarray, tuple[slice, ...]]]
"""Makes logits (k, j, i) on a block of a grid, and tells which block."""

_FILLED = 0.5
"""Share of a working voxel that lies in the region, from which on it counts as inside."""
_SHARES = IntensityNormalization("MR", 0.0, 1.0, "")


def region_on_grid(region: SearchRegion, image: Geometry, grid: WorkingGrid) -> np.ndarray:
    """Bool (k, j, i): the voxels of a working grid that mostly lie in a region on the grid `image`."""
    whole = np.zeros(image.shape, np.uint8)
    whole[region.block] = region.mask
    return sampled_image(Volume(whole, image), grid, _SHARES) >= _FILLED


def cut_to_region(found: PositiveLogits, region: SearchRegion | None) -> PositiveLogits:
    """Logits on the grid of a region, surely negative outside it; as they are without one."""
    if region is None:
        return found
    return replace(found, logits=only_inside(found.logits, region.on_block(found.where)))


def cut_block(sampled: SampledLogits, region: SearchRegion | None) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Logits (k, j, i) on a block of the grid of a region, as `cut_to_region`, and that block.

    sampled: makes the logits and tells their block.
    """
    logits, where = sampled()
    return (logits if region is None else only_inside(logits, region.on_block(where))), where


def only_inside(logits: np.ndarray, inside: np.ndarray | None) -> np.ndarray:
    """Logits (k, j, i), surely negative where `inside`, bool (k, j, i), is not; as they are when None."""
    return logits if inside is None else np.where(inside, logits, logits.dtype.type(OUTSIDE_LOGIT))
