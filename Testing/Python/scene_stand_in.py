"""A segmenter without a network, for the scene tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scene_positions import look


@dataclass(frozen=True)
class SegmentedByStandIn:
    structure: Any
    offset: tuple[int, int, int]
    mask: np.ndarray


@dataclass(frozen=True)
class ResultOfStandIn:
    structures: tuple[SegmentedByStandIn, ...]
    report: dict[str, Any]


@dataclass
class StandInSegmenter:
    """Finds, for each structure, all voxels of the value that lies under its painted voxels; no network.

    It meets volume and support in space only, so that a support read to the wrong place gives a wrong result.
    """

    volumes: list[Any] = field(default_factory=list)
    supports: list[Any] = field(default_factory=list)
    failure: Exception | None = None

    def segment(
        self, volume: Any, support: Any, *, progress: Any = None, cancelled: Any = None
    ) -> ResultOfStandIn:
        self.volumes.append(volume)
        self.supports.append(support)
        if progress is not None:
            progress(0.5, "Segmenting")
        if self.failure is not None:
            raise self.failure
        found = []
        for one in support.structures:
            points = support.geometry.index_to_world(np.argwhere(one.mask) + np.array(one.offset))
            index = np.rint(volume.geometry.world_to_index(points)).astype(int)
            values, counts = np.unique(look(volume.array, index, -1), return_counts=True)
            found.append(
                SegmentedByStandIn(one.structure, (0, 0, 0), volume.array == values[counts.argmax()])
            )
        report = {
            "structures": [{"name": one.structure.name, "voxels": int(one.mask.sum())} for one in found]
        }
        return ResultOfStandIn(tuple(found), report)
