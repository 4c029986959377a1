"""The first answer for a structure, shown while better ones are still computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..imageio.geometry import AxisMap, Index3
from ..results.merge import first_mask
from ..support.structure import PlacedMask, Structure
from ..support.support import Support
from ..working_grid.grid import WorkingGrid, sampled_back


@dataclass(frozen=True, eq=False)
class _FirstMask:
    """What a preview shows of a structure; see `PlacedMask`."""

    structure: Structure
    offset: Index3
    mask: np.ndarray


@dataclass(eq=False)
class SegmentPreview:
    """Hands a structure's first mask to who asked for it, once."""

    tell: Callable[[PlacedMask], None] | None
    support: Support
    number: int
    axis_map: AxisMap

    def first(self, logits: np.ndarray, grid: WorkingGrid) -> None:
        """Show logits on a working grid."""
        if self.tell is not None:
            self.show(*sampled_back(logits, grid, self.support.geometry, -20.0))

    def show(self, logits: np.ndarray, where: tuple[slice, ...]) -> None:
        """Show logits on a block of the result's grid."""
        tell, self.tell = self.tell, None
        if tell is None:
            return
        box, mask = first_mask(self.support.structures[self.number], logits, where)
        start = (box[0].start, box[1].start, box[2].start)
        offset = self.axis_map.undo_offset(start, (mask.shape[0], mask.shape[1], mask.shape[2]))
        upright = np.ascontiguousarray(self.axis_map.undo(mask))
        tell(_FirstMask(self.support.structures[self.number].structure, offset, upright))
