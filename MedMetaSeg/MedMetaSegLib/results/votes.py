"""How each of several images voted on a structure: what it says by itself, beside the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .merge import inner_box, union_box
from .millilitres import rounded_millilitres

Slices = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class Block:
    """A mask (k, j, i) on the block `where` of a grid."""

    where: Slices
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class Vote:
    """What one image by itself says of a structure.

    found: None for an image without a say. in_view: makes bool (k, j, i) of a block of the grid, where the
    image shows anything; None for one that shows all of the grid.
    """

    name: str
    found: Block | None
    in_view: Callable[[Slices], np.ndarray] | None = None

    def as_dict(self, result: Block, voxel_ml: float) -> dict[str, object]:
        """For a report: its millilitres and its Dice with the result, of what the image shows.

        result: on the same grid, whose voxels have `voxel_ml`. Both are None for an image without a say.
        """
        if self.found is None:
            return {"name": self.name, "millilitres": None, "dice_with_result": None}
        own, other = self._together(self.found, result)
        both, total = np.count_nonzero(own & other), np.count_nonzero(own) + np.count_nonzero(other)
        return {
            "name": self.name,
            "millilitres": rounded_millilitres(np.count_nonzero(own) * voxel_ml),
            "dice_with_result": round(2 * both / total, 4) if total else 1.0,
        }

    def _together(self, found: Block, result: Block) -> tuple[np.ndarray, np.ndarray]:
        """Both masks on the block that holds them, where the image shows anything."""
        box = union_box(found.where, result.where)
        masks = [_on_box(one, box) for one in (found, result)]
        if self.in_view is not None and masks[0].size:
            view = self.in_view(box)
            masks = [mask & view for mask in masks]
        return masks[0], masks[1]


def _on_box(block: Block, box: Slices) -> np.ndarray:
    """The mask of a block on a larger block that holds it."""
    whole = np.zeros([along.stop - along.start for along in box], bool)
    if block.mask.size:
        to_box = tuple(slice(-along.start, 0) for along in box)
        whole[inner_box(to_box, block.where)] = block.mask
    return whole
