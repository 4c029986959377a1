"""A segmenter without a network, for the scene tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scene_positions import look
from task_phantom import make_task


@dataclass(frozen=True)
class SegmentedByStandIn:
    structure: Any
    offset: tuple[int, int, int]
    mask: np.ndarray


@dataclass(frozen=True)
class ResultOfStandIn:
    structures: tuple[SegmentedByStandIn, ...]
    report: dict[str, Any]
    unsure: np.ndarray | None = None

    def largest_uncertainty(self, cancelled: Any) -> np.ndarray:
        """255 everywhere, on the volume's grid."""
        assert self.unsure is not None
        return self.unsure


@dataclass
class StandInSegmenter:
    """Finds, for each structure, all voxels of the value that lies under its painted voxels; no network.

    It meets volume and support in space only, so that a support read to the wrong place gives a wrong result.
    """

    volumes: list[Any] = field(default_factory=list)
    supports: list[Any] = field(default_factory=list)
    qualities: list[str] = field(default_factory=list)
    options: list[dict[str, Any]] = field(default_factory=list)
    failure: Exception | None = None

    def segment(
        self,
        volume: Any,
        support: Any,
        *,
        quality: str,
        progress: Any = None,
        cancelled: Any = None,
        **options: Any,
    ) -> ResultOfStandIn:
        self.options.append(options)
        self.qualities.append(quality)
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
        return ResultOfStandIn(tuple(found), report, np.full(volume.array.shape, 255, np.uint8))

    def learn(self, pairs: Any, *, progress: Any = None, cancelled: Any = None) -> Any:
        """A task of made-up numbers, whatever the pairs; they are kept."""
        self.volumes += [volume for volume, _ in pairs]
        self.supports += [support for _, support in pairs]
        return make_task()

    def apply(
        self, task: Any, volume: Any, *, progress: Any = None, cancelled: Any = None, **options: Any
    ) -> Any:
        """All voxels but the darkest for the task's first structure; the others are not found."""
        self.options.append(options)
        self.volumes.append(volume)
        empty = np.zeros((0, 0, 0), bool)
        masks = [volume.array > volume.array.min(), *[empty] * (len(task.structures) - 1)]
        found = [
            SegmentedByStandIn(one, (0, 0, 0), mask) for one, mask in zip(task.structures, masks, strict=True)
        ]
        report = {
            "structures": [{"name": one.structure.name, "found": bool(one.mask.any())} for one in found]
        }
        return ResultOfStandIn(tuple(found), report)
