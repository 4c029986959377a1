"""A task applied to another patient: placed on it, decided by the network, silent about what is not there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..imageio.geometry import AxisMap, Geometry, Index3, index3, rounded
from ..imageio.volume import Volume
from ..network.image_evidence import ImageEvidence, image_channels
from ..network.inference import Predictor
from ..network.prototypes import Prototypes
from ..progress import Progress, check_cancelled
from ..results.merge import LabelMerger, without_islands
from ..results.millilitres import rounded_millilitres
from ..results.segmentation import Segmentation, SegmentedStructure, probability_map, segmented_structure
from ..stages import stage
from ..support.structure import AnnotatedStructure, Structure, region
from ..support.support import Support
from ..task.task_file import LearnedPrototypes, Task
from ..working_grid.grid import Bounds, WorkingGrid, positive_back, sampled_back, sampled_image, working_grid
from .absence import OUTSIDE, AbsenceEvidence, absence_evidence
from .atlas_placement import AtlasPlacement, register_atlases
from .fusion import grown
from .position_prior import (
    Prior,
    expected_structure,
    occupancy_thresholds,
    prior_on,
    prior_prompt,
    sampled_on_grid,
)

_NETWORK_SHARE = (0.5, 0.9)
"""Share of the network in the logits, at least and at most; the place that atlases expect has the rest."""
_MAX_MISREGISTRATION_VOXELS = 1.5
"""Voxels of the close image by which a boundary is off where the images do not look alike at all."""
_MAX_PARTS = 3
"""Parts that a structure has in the supports, on average, for small islands to be removed."""
_NOTHING = np.zeros((0, 0, 0), bool)


@dataclass(frozen=True, eq=False)
class _Prediction:
    """What was found of one structure.

    logits: float16 on grid, its working grid; both None where it is absent, and reason says why. evidence:
    None where the whole task lies outside the image.
    """

    grid: WorkingGrid | None
    logits: np.ndarray | None
    reason: str
    evidence: AbsenceEvidence | None
    seconds: float


def applied_task(
    task: Task,
    volume: Volume,
    predictor: Predictor,
    progress: Progress,
    cancelled: Callable[[], bool],
    placement: AtlasPlacement | None = None,
) -> Segmentation:
    """The task's structures in a volume, on its own grid; those that are not there have no voxels.

    placement: from `register_atlases`, made when None. The report's entry of each structure has "found" and,
    if not, "reason". Raises InputError (see `check_volume`) and Cancelled.
    """
    begun = time.perf_counter()
    progress(0.0, "laying the atlas over the image")
    notes = predictor.new_notes()
    placement = placement or predictor.on_device_or_cpu(
        lambda device: register_atlases(task, volume, cancelled, device)
    )
    aligned = time.perf_counter()
    axis_map = placement.axis_map
    predictions, masks = _predicted(task, placement, predictor, progress, cancelled)
    results, probabilities = [], []
    for structure, prediction, (where, mask) in zip(task.structures, predictions, masks, strict=True):
        found = _result(structure, prediction, where, mask, axis_map, volume.geometry)
        results.append(replace(found, offset=index3(np.add(found.offset, placement.offset))))
        probabilities.append(partial(_probability, prediction, placement, volume.geometry.shape))
    progress(1.0, "done")
    finished = time.perf_counter()
    seconds = {"align": aligned - begun, "network": finished - aligned, "total": finished - begun}
    report = _report(task, placement, predictor, predictions, results, seconds, notes)
    return Segmentation(volume.geometry, tuple(results), task.overlapping, report, tuple(probabilities))


def _predicted(
    task: Task,
    placement: AtlasPlacement,
    predictor: Predictor,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> tuple[list[_Prediction], list[tuple[tuple[slice, ...], np.ndarray]]]:
    """Of every structure of the task its prediction, and where its mask lies in the query, with the mask."""
    search = _Search(task, placement, predictor, cancelled)
    geometry = placement.volume.geometry
    merger = LabelMerger(_nothing_annotated(task, geometry))
    predictions = []
    for number, structure in enumerate(task.structures):
        check_cancelled(cancelled)
        progress(0.3 + 0.7 * number / len(task.structures), structure.name)
        one = search.look_for(number)
        if one.grid is not None and one.logits is not None:
            found = positive_back(one.logits, one.grid, geometry)
            merger.add(number, found.logits, found.where, found.seen)
        predictions.append(one)
    masks = []
    for number, (one, (where, mask)) in enumerate(zip(predictions, merger.finished(False), strict=True)):
        if one.grid is not None and not _scattered(task, number):
            mask = without_islands(mask, np.zeros_like(mask))
        masks.append((where, mask))
    return predictions, masks


class _Search:
    """Looks for one structure after another in one query."""

    def __init__(
        self, task: Task, placement: AtlasPlacement, predictor: Predictor, cancelled: Callable[[], bool]
    ) -> None:
        self.task, self.predictor, self.cancelled = task, predictor, cancelled
        self.volume, self.normalization = placement.volume, placement.normalization
        self.close = placement.close
        self.same_modality = self.normalization.modality == task.modality
        self.occupancies, self.sure = np.zeros((0, 1, 1, 1), np.float32), np.zeros((1, 1, 1), np.uint8)
        self.evidence: list[AbsenceEvidence] = []
        fused = placement.fused
        if placement.close is not None and fused is not None:
            with stage("fuse"):
                self.evidence = absence_evidence(
                    placement.registered, fused, placement.close, self.same_modality
                )
                self.occupancies = fused.by_all.cpu().numpy()
                self.sure = _sure_places(fused.by_all).cpu().numpy()

    def look_for(self, number: int) -> _Prediction:
        """The prediction for structure `number` of the task. Raises Cancelled."""
        begun = time.perf_counter()
        if self.close is None:
            return _Prediction(None, None, OUTSIDE, None, 0.0)
        evidence = self.evidence[number]
        reason = evidence.reason()
        structure, reference = self.task.structures[number], self.volume.geometry
        occupancy = self.occupancies[number]
        expected = None if reason else expected_structure(structure, occupancy, self.close, reference)
        if expected is None:
            return _Prediction(None, None, reason or OUTSIDE, evidence, time.perf_counter() - begun)
        grid = working_grid(expected, reference, Bounds.of(reference, reference))
        local_ncc = evidence.local_ncc or 0.0
        prior = prior_on(grid, occupancy, self.close, _MAX_MISREGISTRATION_VOXELS - local_ncc)
        logits, prototype_logit = self._logits(number, grid, prior, local_ncc)
        evidence = replace(evidence, prototype_logit=prototype_logit)
        return _Prediction(grid, logits.astype(np.float16), "", evidence, time.perf_counter() - begun)

    def _logits(
        self, number: int, grid: WorkingGrid, prior: Prior, local_ncc: float
    ) -> tuple[np.ndarray, float | None]:
        """Logits (k, j, i) of a structure on its working grid, by the network and by its place.

        And the mean prototype logit of the task's prototypes where they are positive, None where none are.
        """
        sampled = sampled_image(self.volume, grid, self.normalization)
        others = self._other_structures(grid, number)

        def image_and_prompt(device: torch.device) -> tuple[Tensor, Tensor]:
            evidence = ImageEvidence(image_channels(sampled, device), grid.aspect)
            return evidence.channels, prior_prompt(evidence, prior, others)

        image, prompt = self.predictor.on_device_or_cpu(image_and_prompt)
        learned = _prototypes(self.task.prototypes[number])
        # Another modality looks otherwise: prototypes say nothing there.
        task = learned if self.same_modality else None
        logits, encoded = self.predictor.segment(image, prompt, None, self.cancelled, task=task)
        network = float(np.clip(1 - local_ncc**2, *_NETWORK_SHARE))
        logits = network * logits + (1 - network) * prior.logits
        prototype_logits = self.predictor.prototype_logits(encoded, learned)
        inside = logits[::2, ::2, ::2] > 0
        return logits, float(prototype_logits[inside].mean()) if inside.any() else None

    def _other_structures(self, grid: WorkingGrid, number: int) -> np.ndarray:
        """Bool (k, j, i) on a working grid: surely another structure, by place."""
        if self.task.overlapping or self.close is None:
            return np.zeros(grid.shape, bool)
        others = (self.sure > 0) & (self.sure != number + 1)
        if not others.any():
            return np.zeros(grid.shape, bool)
        return sampled_on_grid(others, self.close, grid) > 0.5


def _prototypes(learned: LearnedPrototypes) -> Prototypes:
    return Prototypes(*(torch.from_numpy(getattr(learned, name)) for name in Prototypes._fields))


def _sure_places(occupancies: Tensor) -> Tensor:
    """uint8 (k, j, i): number + 1 of the structure that a voxel surely belongs to; of several, the last.

    occupancies: (S, k, j, i). Surely is what no voxel beside it contradicts.
    """
    sure = torch.zeros_like(occupancies[0], dtype=torch.uint8)
    thresholds = occupancy_thresholds(occupancies).clamp(min=0.5)
    for number, occupancy in enumerate(occupancies):
        sure[~grown(~(occupancy > thresholds[number]), 1)] = number + 1
    return sure


def _nothing_annotated(task: Task, geometry: Geometry) -> Support:
    """The task's structures as a support on which nothing is annotated."""
    nothing = tuple(AnnotatedStructure(one, (0, 0, 0), _NOTHING) for one in task.structures)
    return Support(geometry, nothing, "scribbles", task.overlapping)


def _scattered(task: Task, number: int) -> bool:
    """Whether the structure comes in many parts (lesions, vessels) in the supports."""
    counts = [
        ndimage.label(place.occupancy > 127, np.ones((3, 3, 3)))[1]
        for atlas in task.atlases
        if (place := atlas.places[number]) is not None
    ]
    return float(np.mean(counts)) > _MAX_PARTS


def _result(
    structure: Structure,
    prediction: _Prediction,
    where: tuple[slice, ...],
    mask: np.ndarray,
    axis_map: AxisMap,
    geometry: Geometry,
) -> SegmentedStructure:
    spacing = (0.0, 0.0, 0.0) if prediction.grid is None else prediction.grid.spacing_mm
    if not mask.any():
        return SegmentedStructure(structure, (0, 0, 0), _NOTHING, 0.0, spacing, prediction.seconds)
    return segmented_structure(structure, where, mask, axis_map, geometry, spacing, prediction.seconds)


def _probability(prediction: _Prediction, placement: AtlasPlacement, shape: Index3) -> np.ndarray:
    """Probability, float16 (k, j, i), on the whole of the volume, which has `shape`; 0 on its margins."""
    whole = np.zeros(shape, np.float16)
    if prediction.grid is None or prediction.logits is None:
        return whole
    grid = placement.volume.geometry
    logits = partial(sampled_back, prediction.logits, prediction.grid, grid)
    inner = probability_map(logits, grid.shape, placement.axis_map)
    whole[region(placement.offset, inner.shape)] = inner
    return whole


def _report(
    task: Task,
    placement: AtlasPlacement,
    predictor: Predictor,
    predictions: Sequence[_Prediction],
    results: Sequence[SegmentedStructure],
    seconds: dict[str, float],
    notes: Sequence[str],
) -> dict[str, object]:
    modality = placement.normalization.modality
    other = f"The task was learned on {task.modality}, and this image is read as {modality}."
    return {
        "structures": [_entry(*one) for one in zip(results, predictions, strict=True)],
        "skipped": [],
        "supports": len(task.atlases),
        "global_ncc": placement.global_ncc,
        "intensity": placement.normalization.as_dict(),
        "device": predictor.device.type,
        "seconds": {stage: round(time_s, 3) for stage, time_s in seconds.items()},
        "notes": [*placement.volume.notes, *notes, *([other] if modality != task.modality else [])],
    }


def _entry(result: SegmentedStructure, prediction: _Prediction) -> dict[str, object]:
    reason = prediction.reason
    if not reason and not result.voxels:
        reason = "the network finds nothing where it should be"
    return {
        "name": result.structure.name,
        "label": result.structure.label,
        "found": not reason,
        "reason": reason,
        "voxels": result.voxels,
        "millilitres": rounded_millilitres(result.millilitres),
        "seconds": round(prediction.seconds, 3),
        "working_spacing_mm": [rounded(s, 3) for s in result.spacing_mm],
        "evidence": {} if prediction.evidence is None else prediction.evidence.as_dict(),
    }
