"""A region outside which nothing is looked for, on working grids and in what comes back from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..imageio.geometry import Geometry
from ..support.regrid import mask_at_centres
from ..support.search_region import SearchRegion
from .grid import OUTSIDE_LOGIT, PositiveLogits, WorkingGrid

SampledLogits = Callable[[], tuple[np.ndarray, tuple[slice, ...]]]
"""Makes logits (k, j, i) on a block of a grid, and tells which block."""


def region_on_grid(region: SearchRegion, image: Geometry, grid: WorkingGrid) -> np.ndarray:
    """Bool (k, j, i): the voxels of a working grid whose centres lie in a region on the grid `image`."""
    return mask_at_centres(region.mask, region.offset, image, grid.geometry)


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
