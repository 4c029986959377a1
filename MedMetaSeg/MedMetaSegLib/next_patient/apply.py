"""A task applied to another patient: laid over it, decided by the network, silent about what is not there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy import ndimage

from ..errors import Cancelled
from ..imageio.geometry import AxisMap, Geometry
from ..imageio.volume import Volume, check_volume
from ..network.image_evidence import image_channels
from ..network.inference import Predictor
from ..network.prototypes import Prototypes
from ..results.merge import LabelMerger, without_islands
from ..results.segmentation import Segmentation, SegmentedStructure
from ..support.structure import AnnotatedStructure, Structure
from ..support.support import Support
from ..task.atlas import Atlas
from ..task.task_file import Task
from ..working_grid.grid import Bounds, WorkingGrid, sampled_back, sampled_image, working_grid
from ..working_grid.intensity import IntensityNormalization, intensity_normalization
from ..working_grid.reduced_image import ReducedImage, level, sampled_at
from .atlas_placement import RegisteredAtlas, align, fused_occupancy
from .position_prior import expected_structure, grid_places, occupancy_threshold, prior_on, prior_prompt

Progress = Callable[[float, str], None]

_NETWORK_SHARE = (0.5, 0.9)
"""Of the logits, at least and at most; what the atlases say is the rest."""
_OFF = 1.5
"""Voxels of the close image by which a boundary is off where the images do not resemble each other at all."""
_OUTSIDE = 0.01
"""Of its volume: when less of a structure's place is in the image, it is not looked for."""
_SIMILARITY = 0.3
"""Correlation after the best pose: patients on whom a task belongs have more, whatever their modality."""
_RESEMBLANCE = 0.12
_LIKENESS = 0.1
"""Of resemblance times the share of its volume that bending leaves: what is not there is bent away."""
_GREY_BINS = 16
_GREY_OVERLAP = 0.2
_NOTHING = np.zeros((0, 0, 0), bool)


@dataclass(frozen=True, eq=False)
class _Prediction:
    """Logits float16 of a structure on its working grid, or why there are none; evidence for the report."""

    grid: WorkingGrid | None
    logits: np.ndarray | None
    reason: str
    evidence: dict[str, float]
    seconds: float


@dataclass(frozen=True, eq=False)
class AtlasPlacement:
    """The atlases of a task laid over a query.

    volume: the query, upright and level, and axis_map how it was turned; close: its part where the structures
    can be, None when that lies outside.
    """

    volume: Volume
    axis_map: AxisMap
    rule: IntensityNormalization
    close: ReducedImage | None
    registered: tuple[RegisteredAtlas, ...]

    @property
    def similarity(self) -> list[float]:
        """Of every atlas, how much it looks like the query where it lies best."""
        found = {id(one.atlas): round(one.pose.similarity, 3) for one in self.registered}
        return list(found.values())


def register_atlases(task: Task, volume: Volume, cancelled: Callable[[], bool]) -> AtlasPlacement:
    """Lay a task's atlases over a query. Raises InputError (see `check_volume`) and Cancelled."""
    _check(cancelled)
    upright, axis_map = check_volume(volume).canonical()
    even = level(upright)
    rule = intensity_normalization(even)
    close, registered = align(even, rule, upright.geometry.axes, task.atlases, lambda: _check(cancelled))
    return AtlasPlacement(even, axis_map, rule, close, registered)


def applied_task(
    task: Task,
    volume: Volume,
    predictor: Predictor,
    progress: Progress,
    cancelled: Callable[[], bool],
    placement: AtlasPlacement | None = None,
) -> Segmentation:
    """The task's structures in a volume, on its own grid; those that are not there have no voxels.

    overlay: from `register_atlases`, made when None.

    The report's entry of each structure has "found" and, if not, "reason". Raises Cancelled.
    """
    begun = time.perf_counter()
    progress(0.0, "laying the atlas over the image")
    placement = placement or register_atlases(task, volume, cancelled)
    aligned = time.perf_counter()
    even, axis_map, rule = placement.volume, placement.axis_map, placement.rule
    search = _Search(task, placement, predictor, cancelled)
    found: list[_Prediction] = []
    merger = LabelMerger(_unpainted(task, even.geometry))
    for number, structure in enumerate(task.structures):
        _check(cancelled)
        progress(0.3 + 0.7 * number / len(task.structures), structure.name)
        one = search.look_for(number)
        if one.grid is not None and one.logits is not None:
            logits, where = sampled_back(one.logits, one.grid, even.geometry, -20.0)
            merger.add(number, logits, where)
        found.append(one)
    results, probabilities, entries = [], [], []
    for number, (one, (where, mask)) in enumerate(zip(found, merger.finished(False), strict=True)):
        if one.grid is not None and not _scattered(task, number):
            mask = without_islands(mask, np.zeros_like(mask))
        structure = task.structures[number]
        result = _result(structure, one, where, mask, axis_map, volume.geometry)
        results.append(result)
        probabilities.append(partial(_probability, one, even.geometry, axis_map))
        reason = one.reason or ("" if result.voxels else "the network finds nothing where it should be")
        entries.append(_entry(result, one, reason))
    progress(1.0, "done")
    notes = list(search.notes)
    if rule.kind != task.kind:
        notes.append(f"The task was learned on {task.kind}, and this image is read as {rule.kind}.")
    finished = time.perf_counter()
    report: dict[str, object] = {
        "structures": entries,
        "skipped": [],
        "supports": len(task.atlases),
        "similarity": placement.similarity,
        "intensity": rule.as_dict(),
        "device": predictor.device.type,
        "seconds": {
            "align": round(aligned - begun, 3),
            "network": round(finished - aligned, 3),
            "total": round(finished - begun, 3),
        },
        "notes": notes,
    }
    return Segmentation(volume.geometry, tuple(results), task.overlapping, report, tuple(probabilities))


class _Search:
    """Looks for one structure after another in one query."""

    def __init__(
        self, task: Task, placement: AtlasPlacement, predictor: Predictor, cancelled: Callable[[], bool]
    ) -> None:
        self.task, self.volume, self.rule, self.predictor = task, placement.volume, placement.rule, predictor
        self.close, self.registered, self.cancelled = placement.close, placement.registered, cancelled
        self._notes_before = len(predictor.notes)
        self.shares: list[np.ndarray] = []
        self.sure = np.zeros((1, 1, 1), np.uint8)
        if placement.close is not None:
            self.shares = [fused_occupancy(self.registered, n) for n in range(len(task.structures))]
            self.sure = _sure_places(self.shares)

    @property
    def notes(self) -> list[str]:
        """What the runner had to change for this query."""
        return self.predictor.notes[self._notes_before :]

    def look_for(self, number: int) -> _Prediction:
        """The answer for structure `number` of the task."""
        begun = time.perf_counter()
        structure = self.task.structures[number]
        if self.close is None:
            return _Prediction(None, None, "its place lies outside the image", {}, 0.0)
        share, frame = self.shares[number], self.volume.geometry
        evidence = self._evidence(number)
        reason = _why_not(evidence)
        expected = None if reason else expected_structure(structure, share, self.close, frame)
        if expected is None:
            reason = reason or "its place lies outside the image"
            return _Prediction(None, None, reason, evidence, time.perf_counter() - begun)
        grid = working_grid(expected, frame, Bounds.of(frame, frame))
        image = image_channels(sampled_image(self.volume, grid, self.rule)).numpy()
        alike = evidence.get("resemblance", 0.0)
        prior = prior_on(grid, share, self.close, _OFF - alike)
        prompt = prior_prompt(grid, image, prior, self._elsewhere(grid, number))
        parts = self.task.prototypes[number]
        learned = Prototypes(*(torch.from_numpy(getattr(parts, name)) for name in Prototypes._fields))
        # Another kind of image looks otherwise: prototypes say nothing there.
        task = learned if self.rule.kind == self.task.kind else None
        logits, encoded = self.predictor.segment(image, prompt, None, self.cancelled, task=task)
        network = float(np.clip(1 - alike**2, *_NETWORK_SHARE))
        logits = network * logits + (1 - network) * prior.logits
        vote = self.predictor.vote(encoded, learned)
        inside = logits[::2, ::2, ::2] > 0
        if inside.any():
            evidence["prototype_vote"] = float(vote[inside].mean())
        return _Prediction(grid, logits.astype(np.float16), "", evidence, time.perf_counter() - begun)

    def _evidence(self, number: int) -> dict[str, float]:
        """How much of the structure's place is in the image, and how much it looks like it did.

        Only atlases that were bent are asked: what is not there, they bend away.
        """
        assert self.close is not None
        registered = [one for one in self.registered if one.bent]
        share = fused_occupancy(registered, number)
        voxel_mm3 = float(np.prod(self.close.spacing_mm))
        whole = []
        for one in registered:
            place = one.atlas.places[number]
            if place is not None:
                volume = float(place.occupancy.sum()) / 255 * float(np.prod(one.atlas.close.spacing_mm))
                whole.append(volume / abs(float(np.linalg.det(one.pose.matrix))))
        evidence = {
            "in_view": float(share.sum()) * voxel_mm3 / max(float(np.mean(whole)), 1e-6),
            "similarity": max(one.pose.similarity for one in registered),
        }
        core = share > occupancy_threshold(share)
        if core.any():
            near = ndimage.binary_dilation(core, iterations=2)
            evidence["resemblance"] = float(max(one.resemblance[near].mean() for one in registered))
            places = self.close.places()
            unbent = [
                float(laid.sum())
                for one in registered
                if (laid := one.unbent_occupancy(number, places)) is not None
            ]
            evidence["kept"] = min(1.0, float(share.sum()) / max(float(np.mean(unbent)), 1e-6))
            if self.rule.kind == self.task.kind:
                evidence["grey_overlap"] = max(
                    _grey_overlap(self.close.grey[core], atlas, number) for atlas in self.task.atlases
                )
        return evidence

    def _elsewhere(self, grid: WorkingGrid, number: int) -> np.ndarray:
        """Bool (k, j, i) on a working grid: surely another structure, by place."""
        if self.task.overlapping or self.close is None:
            return np.zeros(grid.shape, bool)
        others = ((self.sure > 0) & (self.sure != number + 1)).astype(np.float32)
        if not others.any():
            return np.zeros(grid.shape, bool)
        return sampled_at(others, self.close.index(grid_places(grid)), 0.0) > 0.5


def _why_not(evidence: dict[str, float]) -> str:
    if evidence["in_view"] < _OUTSIDE:
        return "its place lies outside the image"
    if evidence["similarity"] < _SIMILARITY:
        return "the image around its place does not look like the supports"
    resemblance = evidence.get("resemblance", 1.0)
    if resemblance < _RESEMBLANCE or resemblance * evidence.get("kept", 1.0) < _LIKENESS:
        return "what lies at its place does not look like the supports"
    if evidence.get("grey_overlap", 1.0) < _GREY_OVERLAP:
        return "what lies at its place has other grey levels"
    return ""


def _grey_overlap(grey: np.ndarray, atlas: Atlas, number: int) -> float:
    """Common area, 0 to 1, of the grey level histograms of a place in the query and in the atlas."""
    if atlas.places[number] is None:
        return 0.0
    share = atlas.share(number)
    histograms = []
    for values in (grey, atlas.close.grey[share > occupancy_threshold(share)]):
        counts = np.bincount(values // (256 // _GREY_BINS), minlength=_GREY_BINS).astype(float)
        counts = ndimage.gaussian_filter1d(counts, 0.7, mode="nearest")
        histograms.append(counts / max(counts.sum(), 1e-9))
    return float(np.minimum(*histograms).sum())


def _sure_places(shares: Sequence[np.ndarray]) -> np.ndarray:
    """uint8 (k, j, i) on the close image: number + 1 of the structure that a voxel surely belongs to."""
    sure = np.zeros(shares[0].shape, np.uint8)
    for number, share in enumerate(shares):
        filled = share > max(occupancy_threshold(share), 0.5)
        sure[ndimage.binary_erosion(filled, iterations=1, border_value=1)] = number + 1
    return sure


def _unpainted(task: Task, geometry: Geometry) -> Support:
    """The task's structures as a support on which nothing is painted."""
    nothing = tuple(AnnotatedStructure(one, (0, 0, 0), _NOTHING) for one in task.structures)
    return Support(geometry, nothing, "scribbles", task.overlapping)


def _scattered(task: Task, number: int) -> bool:
    """Whether the structure comes in many parts (lesions, vessels) in the supports."""
    counts = [
        ndimage.label(place.occupancy > 127, np.ones((3, 3, 3)))[1]
        for atlas in task.atlases
        if (place := atlas.places[number]) is not None
    ]
    return float(np.mean(counts)) > 3


def _result(
    structure: Structure,
    found: _Prediction,
    where: tuple[slice, ...],
    mask: np.ndarray,
    axis_map: AxisMap,
    geometry: Geometry,
) -> SegmentedStructure:
    spacing = (0.0, 0.0, 0.0) if found.grid is None else found.grid.spacing_mm
    voxels = int(np.count_nonzero(mask))
    if not voxels:
        return SegmentedStructure(structure, (0, 0, 0), _NOTHING, 0, 0.0, spacing, found.seconds)
    shape = (mask.shape[0], mask.shape[1], mask.shape[2])
    offset = axis_map.undo_offset((where[0].start, where[1].start, where[2].start), shape)
    turned = np.ascontiguousarray(axis_map.undo(mask))
    return SegmentedStructure(
        structure, offset, turned, voxels, voxels * geometry.voxel_ml, spacing, found.seconds
    )


def _probability(found: _Prediction, grid: Geometry, axis_map: AxisMap) -> np.ndarray:
    full = np.zeros(grid.shape, np.float16)
    if found.grid is not None and found.logits is not None:
        logits, where = sampled_back(found.logits, found.grid, grid, -20.0)
        full[where] = 1 / (1 + np.exp(-logits))
    return axis_map.undo(full)


def _entry(result: SegmentedStructure, found: _Prediction, reason: str) -> dict[str, object]:
    return {
        "name": result.structure.name,
        "label": result.structure.label,
        "found": not reason,
        "reason": reason,
        "voxels": result.voxels,
        "millilitres": round(result.millilitres, 3),
        "seconds": round(found.seconds, 3),
        "working_spacing_mm": [round(s, 3) for s in result.spacing_mm],
        "evidence": {name: round(value, 3) for name, value in found.evidence.items()},
    }


def _check(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled("Cancelled: nothing was written.")
