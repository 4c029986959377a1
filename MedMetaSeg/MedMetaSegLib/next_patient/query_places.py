"""Where the structures of a task are to be looked for in one query, once its atlases are placed there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..stages import stage
from ..task.task_file import Task
from ..working_grid.grid import Bounds, WorkingGrid, sampled_image, working_grid
from .absence import AbsenceEvidence, absence_evidence
from .atlas_placement import AtlasPlacement
from .fusion import grown
from .position_prior import Prior, expected_structure, occupancy_thresholds, prior_on, sampled_on_grid

_MAX_MISREGISTRATION_VOXELS = 1.5
"""Voxels of the close image by which a boundary is off where the images do not look alike at all."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where a structure is looked for in a query.

    grid: its working grid; prior: its place there, as the atlases have it; local_ncc: how much the query
    looks like them there, 0 where that says nothing; other_structures: bool (k, j, i) on the grid, what is
    surely another structure, by place.
    """

    grid: WorkingGrid
    prior: Prior
    local_ncc: float
    other_structures: np.ndarray


class QueryPlaces:
    """Where the structures of a task are to be looked for in one query; needs no network.

    evidence: of each structure, empty where the whole task lies outside the query.
    """

    def __init__(self, task: Task, placement: AtlasPlacement) -> None:
        self.task = task
        self.volume, self.normalization = placement.volume, placement.normalization
        self.close = placement.close
        self.same_modality = self.normalization.modality == task.modality
        self.evidence: list[AbsenceEvidence] = []
        self._occupancies, self._sure = np.zeros((0, 1, 1, 1), np.float32), np.zeros((1, 1, 1), np.uint8)
        fused = placement.fused
        if placement.close is not None and fused is not None:
            with stage("fuse"):
                self.evidence = absence_evidence(
                    placement.registered, fused, placement.close, self.same_modality
                )
                self._occupancies = fused.by_all.cpu().numpy()
                self._sure = _sure_places(fused.by_all).cpu().numpy()

    def place_of(self, number: int) -> Place | None:
        """The place of structure `number` of the task; None where it lies outside the query."""
        if self.close is None or not self.evidence[number].is_in_view:
            return None
        reference, occupancy = self.volume.geometry, self._occupancies[number]
        expected = expected_structure(self.task.structures[number], occupancy, self.close, reference)
        if expected is None:
            return None
        grid = working_grid(expected, reference, Bounds.of(reference, reference))
        local_ncc = self.evidence[number].local_ncc or 0.0
        prior = prior_on(grid, occupancy, self.close, _MAX_MISREGISTRATION_VOXELS - local_ncc)
        return Place(grid, prior, local_ncc, self._other_structures(grid, number))

    def image_on(self, grid: WorkingGrid) -> np.ndarray:
        """The query on a working grid, (k, j, i) float32."""
        return sampled_image(self.volume, grid, self.normalization)

    def _other_structures(self, grid: WorkingGrid, number: int) -> np.ndarray:
        if self.task.overlapping or self.close is None:
            return np.zeros(grid.shape, bool)
        others = (self._sure > 0) & (self._sure != number + 1)
        if not others.any():
            return np.zeros(grid.shape, bool)
        return sampled_on_grid(others, self.close, grid) > 0.5


def _sure_places(occupancies: Tensor) -> Tensor:
    """uint8 (k, j, i): number + 1 of the structure that a voxel surely belongs to; of several, the last.

    occupancies: (S, k, j, i). Surely is what no voxel beside it contradicts.
    """
    sure = torch.zeros_like(occupancies[0], dtype=torch.uint8)
    thresholds = occupancy_thresholds(occupancies).clamp(min=0.5)
    for number, occupancy in enumerate(occupancies):
        sure[~grown(~(occupancy > thresholds[number]), 1)] = number + 1
    return sure
