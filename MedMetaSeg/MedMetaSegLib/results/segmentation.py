"""What a segmenter returns: the structures found, on the volume's own grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..imageio.geometry import Geometry, Index3
from ..support.structure import AnnotatedStructure, Structure, region


@dataclass(frozen=True, eq=False)
class SegmentedStructure:
    """One structure in the result; offset and mask (bool, cropped) are on the volume's grid."""

    structure: Structure
    offset: Index3
    mask: np.ndarray
    voxels: int
    millilitres: float
    spacing_mm: tuple[float, float, float]
    seconds: float

    @property
    def region(self) -> tuple[slice, slice, slice]:
        """Where the mask lies in an array of the volume's grid."""
        return region(self.offset, self.mask.shape)

    @property
    def painted(self) -> AnnotatedStructure:
        """The same voxels in the form that writers of segmentations take."""
        return AnnotatedStructure(self.structure, self.offset, self.mask)


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

    def structure(self, which: str | int) -> SegmentedStructure:
        """The structure of this name or label value; raises KeyError."""
        for one in self.structures:
            if which in (one.structure.name, one.structure.label):
                return one
        there = [one.structure.name for one in self.structures]
        raise KeyError(f"There is no structure {which!r}; there are {there}.")

    def mask(self, which: str | int) -> np.ndarray:
        """Bool (k, j, i) of one structure on the whole grid."""
        one = self.structure(which)
        full = np.zeros(self.geometry.shape, bool)
        full[one.region] = one.mask
        return full

    def probability(self, which: str | int) -> np.ndarray:
        """The probability of one structure, float16 (k, j, i) on the whole grid, made when asked for.

        It is what the network said, before structures competed and islands were removed.
        """
        return self._probabilities[self.structures.index(self.structure(which))]()
