"""The first answer for a structure, shown while better ones are still computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..imageio.geometry import AxisMap, index3
from ..results.merge import first_mask
from ..support.search_region import SearchRegion
from ..support.structure import StructureMask
from ..support.support import Support
from ..working_grid.grid import WorkingGrid, positive_back
from ..working_grid.search_region import cut_to_region


@dataclass(eq=False)
class SegmentPreview:
    """Hands a structure's first mask to who asked for it, once.

    tell: takes it, on the volume's own grid. support: on the grid of the result, canonical; number: of the
    structure in it, from 0. axis_map: from the volume's own grid to that one. region: on that one, what lies
    outside is not shown; None to show all.
    """

    tell: Callable[[StructureMask], None] | None
    support: Support
    number: int
    axis_map: AxisMap
    region: SearchRegion | None = None

    def first(self, logits: np.ndarray, grid: WorkingGrid) -> None:
        """Show logits on a working grid."""
        if self.tell is not None:
            found = cut_to_region(positive_back(logits, grid, self.support.geometry), self.region)
            self.show(found.logits, found.where)

    def show(self, logits: np.ndarray, where: tuple[slice, ...]) -> None:
        """Show logits on a block of the result's grid."""
        tell, self.tell = self.tell, None
        if tell is None:
            return
        annotated = self.support.structures[self.number]
        box, mask = first_mask(annotated, logits, where)
        offset = self.axis_map.undo_offset(index3([along.start for along in box]), index3(mask.shape))
        tell(StructureMask(annotated.structure, offset, np.ascontiguousarray(self.axis_map.undo(mask))))
