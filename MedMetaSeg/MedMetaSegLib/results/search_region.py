"""What reports say of a region outside which nothing was looked for."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ..imageio.geometry import Geometry
from ..support.search_region import SearchRegion
from ..support.support import Support
from .millilitres import rounded_millilitres


def region_report(region: SearchRegion, geometry: Geometry) -> dict[str, object]:
    """The entry of a region in a report. geometry: of the volume."""
    voxels = region.voxels
    millilitres = rounded_millilitres(voxels * geometry.voxel_ml)
    return {"voxels": voxels, "millilitres": millilitres, "source": region.source}


def painted_outside(region: SearchRegion, support: Support, names: Collection[str]) -> list[str]:
    """A sentence for each of the named structures that was annotated outside the region, too.

    support: on the region's grid.
    """
    told = []
    for one in support.structures:
        outside = int(np.count_nonzero(one.mask & ~region.on_block(one.region)))
        if outside and one.structure.name in names:
            voxels = "1 annotated voxel lies" if outside == 1 else f"{outside} annotated voxels lie"
            told.append(f"{one.structure.name}: {voxels} outside the region; what was annotated is kept.")
    return told
