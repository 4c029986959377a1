"""What a segmenter returns: the structures found, on the volume's own grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..imageio.geometry import AxisMap, Geometry, Index3, index3
from ..progress import check_cancelled, never
from ..support.structure import Structure, StructureMask
from .uncertainty import uncertainty_of

Spacing = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class SegmentedStructure(StructureMask):
    """One structure in the result, on the volume's grid; the mask is cropped.

    spacing_mm: of the working grid, along its drawing axis and in the plane; zeros when there was none.
    seconds: by the clock, from its start to its end, while others may run beside it.
    """

    millilitres: float
    spacing_mm: Spacing
    seconds: float


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Predicted structures on a volume's grid, and how they were made.

    overlapping: structures may share voxels, because those of the support do.
    """

    geometry: Geometry
    structures: tuple[SegmentedStructure, ...]
    overlapping: bool
    report: dict[str, object]
    _probabilities: tuple[Callable[[], np.ndarray], ...] = field(default=(), repr=False)

    @property
    def labels(self) -> np.ndarray:
        """Label map (k, j, i), uint8 or uint16, of the support's values; in overlaps the last one wins."""
        largest = max((one.structure.label for one in self.structures), default=0)
        labels = np.zeros(self.geometry.shape, np.uint8 if largest <= 255 else np.uint16)
        for one in self.structures:
            labels[one.region][one.mask] = one.structure.label
        return labels

    def structure(self, which: str | int | SegmentedStructure) -> SegmentedStructure:
        """The structure of this name or label value, or itself; raises KeyError."""
        for one in self.structures:
            if which in (one, one.structure.name, one.structure.label):
                return one
        there = [one.structure.name for one in self.structures]
        raise KeyError(f"There is no structure {which!r}; there are {there}.")

    def mask(self, which: str | int) -> np.ndarray:
        """Bool (k, j, i) of one structure on the whole grid."""
        one = self.structure(which)
        full = np.zeros(self.geometry.shape, bool)
        full[one.region] = one.mask
        return full

    def probability(self, which: str | int | SegmentedStructure) -> np.ndarray:
        """The probability of one structure, float16 (k, j, i) on the whole grid, made when asked for.

        It is what the network said, before structures competed and islands were removed.
        """
        return self._probabilities[self.structures.index(self.structure(which))]()

    def uncertainty(self, which: str | int | SegmentedStructure) -> np.ndarray:
        """Where the network is unsure of one structure, uint8 (k, j, i) on the whole grid.

        510 * min(p, 1 - p) of its `probability` p: 255 where it is undecided, 0 where it is sure; made when
        asked for. Annotated slices are no exception, though the result is there what was annotated.
        """
        return uncertainty_of(self.probability(which))

    def largest_uncertainty(self, cancelled: Callable[[], bool] = never) -> np.ndarray:
        """The largest `uncertainty` of any structure at each voxel, uint8 (k, j, i) on the whole grid.

        Made one structure at a time. cancelled: asked before each. Raises Cancelled.
        """
        largest = np.zeros(self.geometry.shape, np.uint8)
        for one in self.structures:
            check_cancelled(cancelled)
            np.maximum(largest, self.uncertainty(one), out=largest)
        return largest


def segmented_structure(
    structure: Structure,
    where: tuple[slice, ...],
    mask: np.ndarray,
    axis_map: AxisMap,
    geometry: Geometry,
    spacing_mm: Spacing,
    seconds: float,
) -> SegmentedStructure:
    """What was found of a structure, brought from the canonical grid to the volume's own.

    where: the block of the canonical grid that holds the mask, bool (k, j, i). axis_map: to the canonical
    grid. geometry: of the volume.
    """
    offset = axis_map.undo_offset(index3([along.start for along in where]), index3(mask.shape))
    own = np.ascontiguousarray(axis_map.undo(mask))
    millilitres = int(np.count_nonzero(own)) * geometry.voxel_ml
    return SegmentedStructure(structure, offset, own, millilitres, spacing_mm, seconds)


def probability_map(
    sampled_logits: Callable[[], tuple[np.ndarray, tuple[slice, ...]]] | None,
    shape: Index3,
    axis_map: AxisMap,
) -> np.ndarray:
    """Probability, float16 (k, j, i), on the volume's own grid; 0 everywhere when there are no logits.

    sampled_logits: makes the logits (k, j, i) on a block of the canonical grid, and where that is. shape: of
    the canonical grid. axis_map: to it.
    """
    full = np.zeros(shape, np.float16)
    if sampled_logits is not None:
        logits, where = sampled_logits()
        full[where] = 1 / (1 + np.exp(-logits))
    return axis_map.undo(full)
