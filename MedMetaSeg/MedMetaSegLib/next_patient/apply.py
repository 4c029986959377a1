"""A task applied to another patient: placed on it, decided by the network, silent about what is not there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
from scipy import ndimage

from ..confidence.slice_place import SliceToPaint, next_plane, slice_to_paint
from ..errors import InputError
from ..imageio.channel import IMAGE, Channel
from ..imageio.geometry import AxisMap, Geometry, Index3, index3, rounded
from ..imageio.volume import Volume
from ..network.inference import Predictor
from ..network.side_by_side import Caller, pieces_at_once, side_by_side
from ..progress import Progress, check_cancelled
from ..results.merge import LabelMerger, without_islands
from ..results.millilitres import rounded_millilitres
from ..results.search_region import region_report
from ..results.segmentation import Segmentation, SegmentedStructure, probability_map, segmented_structure
from ..results.votes import Block, disagreement
from ..support.search_region import SearchRegion, region_of
from ..support.structure import AnnotatedStructure, Structure, region
from ..support.support import Support
from ..task.task_file import Task
from ..working_grid.channels import PlacedChannel, channel_notes, channels_told
from ..working_grid.grid import Bounds, positive_back, sampled_back
from ..working_grid.search_region import cut_block, cut_to_region, only_inside, region_on_grid
from .atlas_placement import AtlasPlacement, register_atlases
from .channel_votes import check_task_channels, prediction_votes, task_channels
from .decision import ApplyOptions, Decision, decided, remarks
from .search import PlaceSearch, Prediction

_MAX_PARTS = 3
"""Parts that a structure has in the supports, on average, for small islands to be removed."""
_NOTHING = np.zeros((0, 0, 0), bool)
_FOUND_NOTHING = "the network finds nothing where it should be"
_OUTSIDE_REGION = "nothing of what the network finds lies in the region"
"""Reasons for a structure that has no voxels though it was not left out."""


def applied_task(
    task: Task,
    volume: Volume,
    predictor: Predictor,
    progress: Progress,
    cancelled: Callable[[], bool],
    placement: AtlasPlacement | None = None,
    options: ApplyOptions | None = None,
    channels: Sequence[Channel] = (),
) -> Segmentation:
    """The task's structures in a volume, on its own grid; those that are not there have no voxels.

    placement: from `register_atlases`, made when None. The report's entry of each structure has "found" and,
    if not, "reason"; "left_out" says that it can be forced. channels: those that the task was learned with,
    in any order. Raises InputError (see `check_volume`, for a name to force that the task does not have, and
    for other channels than the task's) and Cancelled.
    """
    options = options or ApplyOptions()
    _check_names(task, options.force)
    within = region_of(options.within, volume.geometry)
    check_task_channels(task, [one.name for one in channels])
    begun = time.perf_counter()
    progress(0.0, "laying the atlas over the image")
    notes = predictor.new_notes()
    placement = placement or predictor.on_device_or_cpu(
        lambda device: register_atlases(task, volume, cancelled, device)
    )
    aligned = time.perf_counter()
    axis_map = placement.axis_map
    searched = None if within is None else _on_query(within, placement)
    placed = task_channels(task, channels, volume, placement)
    search = PlaceSearch(task, placement, predictor, options.confidence, placed)
    decisions, masks = _decided_all(search, placement, progress, cancelled, options, searched)
    predictions = [decision.prediction for decision in decisions]
    results, probabilities = [], []
    for structure, prediction, (where, mask) in zip(task.structures, predictions, masks, strict=True):
        found = _result(structure, prediction, where, mask, axis_map, volume.geometry)
        results.append(replace(found, offset=index3(np.add(found.offset, placement.offset))))
        probabilities.append(partial(_probability, prediction, placement, volume.geometry.shape, searched))
    progress(1.0, "done")
    finished = time.perf_counter()
    seconds = {"align": aligned - begun, "network": finished - aligned, "total": finished - begun}
    told = [
        {
            **_told(result, decision, placement, volume.geometry, searched),
            **_votes(decision, mask, placement, placed, searched),
        }
        for result, decision, mask in zip(results, decisions, masks, strict=True)
    ]
    unlike = remarks(decisions, task.structures, options)
    notes = notes if within is None else [*notes, *_about_region(within, options)]
    report = _report(task, placement, predictor, told, unlike, seconds, notes)
    if within is not None:
        report["within"] = region_report(within, volume.geometry)
    if placed:
        report = _with_channels(report, placement, placed)
    return Segmentation(volume.geometry, tuple(results), task.overlapping, report, tuple(probabilities))


def _on_query(within: SearchRegion, placement: AtlasPlacement) -> SearchRegion:
    """A region on the grid of an image, on the canonical grid on which structures are looked for in it."""
    axis_map = placement.axis_map
    return within.on_part(placement.offset, axis_map.shape).reoriented(axis_map)


def _about_region(within: SearchRegion, options: ApplyOptions) -> list[str]:
    told = [*within.notes]
    if options.confidence:
        told.append(
            "Only what lies in the region was kept; probabilities and expected Dice are of whole answers."
        )
    return told


def _check_names(task: Task, names: Sequence[str]) -> None:
    there = [one.name for one in task.structures]
    missing = [name for name in names if name not in there]
    if missing:
        raise InputError(f"The task has no structure called {', '.join(missing)}; it has {', '.join(there)}.")


def _decided_all(
    search: PlaceSearch,
    placement: AtlasPlacement,
    progress: Progress,
    cancelled: Callable[[], bool],
    options: ApplyOptions,
    searched: SearchRegion | None,
) -> tuple[list[Decision], list[tuple[tuple[slice, ...], np.ndarray]]]:
    """Of every structure of the task what is decided, and where its mask lies in the query, with the mask."""
    task, geometry = search.task, placement.volume.geometry
    merger = LabelMerger(_nothing_annotated(task, geometry))
    decisions = []

    def look_for(number: int, caller: Caller) -> Prediction:
        return search.look_for(number, caller.cancelled)

    work = [partial(look_for, number) for number in range(len(task.structures))]
    looking = side_by_side(work, pieces_at_once(search.predictor.device), partial(check_cancelled, cancelled))
    with closing(looking) as predictions:
        for number, structure in enumerate(task.structures):
            progress(0.3 + 0.7 * number / len(task.structures), structure.name)
            decision = decided(structure, next(predictions), options)
            one = decision.prediction
            if one.grid is not None and one.logits is not None and not decision.reason:
                found = cut_to_region(positive_back(one.logits, one.grid, geometry), searched)
                merger.add(number, found.logits, found.where, found.seen)
            decisions.append(decision)
    masks = []
    for number, (where, mask) in enumerate(merger.finished(False)):
        if mask.any() and not _scattered(task, number):
            mask = without_islands(mask, np.zeros_like(mask))
        masks.append((where, mask))
    return decisions, masks


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
    prediction: Prediction,
    where: tuple[slice, ...],
    mask: np.ndarray,
    axis_map: AxisMap,
    geometry: Geometry,
) -> SegmentedStructure:
    spacing = (0.0, 0.0, 0.0) if prediction.grid is None else prediction.grid.spacing_mm
    if not mask.any():
        return SegmentedStructure(structure, (0, 0, 0), _NOTHING, 0.0, spacing, prediction.seconds)
    return segmented_structure(structure, where, mask, axis_map, geometry, spacing, prediction.seconds)


def _probability(
    prediction: Prediction, placement: AtlasPlacement, shape: Index3, searched: SearchRegion | None
) -> np.ndarray:
    """Probability, float16 (k, j, i), on the whole of the volume, which has `shape`.

    It is 0 on the volume's margins and outside the region.
    """
    whole = np.zeros(shape, np.float16)
    if prediction.grid is None or prediction.logits is None:
        return whole
    grid = placement.volume.geometry
    sampled = partial(sampled_back, prediction.logits, prediction.grid, grid)
    logits = partial(cut_block, sampled, searched)
    inner = probability_map(logits, grid.shape, placement.axis_map)
    whole[region(placement.offset, inner.shape)] = inner
    return whole


def _report(
    task: Task,
    placement: AtlasPlacement,
    predictor: Predictor,
    structures: Sequence[dict[str, object]],
    unlike: Sequence[str],
    seconds: dict[str, float],
    notes: Sequence[str],
) -> dict[str, object]:
    modality = placement.normalization.modality
    other = f"The task was learned on {task.modality}, and this image is read as {modality}."
    unlike = [*([other] if modality != task.modality else []), *unlike]
    return {
        "structures": list(structures),
        "skipped": [],
        "supports": len(task.atlases),
        "global_ncc": placement.global_ncc,
        "intensity": placement.normalization.as_dict(),
        "device": predictor.device.type,
        "seconds": {stage: round(time_s, 3) for stage, time_s in seconds.items()},
        "unlike": unlike,
        "notes": [*placement.volume.notes, *notes, *unlike],
    }


def _told(
    result: SegmentedStructure,
    decision: Decision,
    placement: AtlasPlacement,
    geometry: Geometry,
    searched: SearchRegion | None,
) -> dict[str, object]:
    """The entry of a structure in the report."""
    prediction, confidence = decision.prediction, decision.confidence
    reason = decision.reason or _why_empty(result, prediction, searched)
    entry: dict[str, object] = {
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
    if confidence is not None:
        if reason == _OUTSIDE_REGION:
            confidence = replace(confidence, predicted=None)
        entry |= {**confidence.as_dict(), "left_out": decision.left_out}
        place = None if reason else _to_paint(prediction, placement, geometry, searched)
        entry["next_slice"] = None if place is None else place.as_dict()
        entry["features"] = {name: rounded(value, 4) for name, value in prediction.features.items()}
    return entry


def _why_empty(result: SegmentedStructure, prediction: Prediction, searched: SearchRegion | None) -> str:
    """Why a structure that was kept has no voxels; "" where it has."""
    if result.voxels:
        return ""
    found = prediction.logits is not None and bool((prediction.logits > 0).any())
    return _FOUND_NOTHING if searched is None or not found else _OUTSIDE_REGION


def _votes(
    decision: Decision,
    found: tuple[tuple[slice, ...], np.ndarray],
    placement: AtlasPlacement,
    channels: Sequence[PlacedChannel],
    searched: SearchRegion | None,
) -> dict[str, object]:
    """The entry of a structure's report that its image and channels make; none where it was left out."""
    grid = placement.volume.geometry
    votes = [] if decision.reason else prediction_votes(decision.prediction, grid, channels, searched)
    return {"channels": [one.as_dict(Block(*found), grid.voxel_ml) for one in votes]} if votes else {}


def _with_channels(
    report: dict[str, object], placement: AtlasPlacement, channels: Sequence[PlacedChannel]
) -> dict[str, object]:
    """The report of an image, with what there is to tell of its channels."""
    grid, notes = placement.volume.geometry, cast("list[str]", report["notes"])
    told = channels_told(IMAGE, placement.normalization, channels, grid)
    structures = cast("list[dict[str, Any]]", report["structures"])
    apart = [note for one in structures for note in disagreement(one["name"], one.get("channels", ()))]
    return {**report, "notes": [*notes, *channel_notes(channels, grid), *apart], "channels": told}


def _to_paint(
    prediction: Prediction, placement: AtlasPlacement, geometry: Geometry, searched: SearchRegion | None
) -> SliceToPaint | None:
    """The slice of the query that is most worth painting, if any."""
    grid, logits = prediction.grid, prediction.logits
    if grid is None or logits is None:
        return None
    reference = placement.volume.geometry
    if searched is not None:
        logits = only_inside(logits, region_on_grid(searched, reference, grid))
    found = next_plane(logits, grid, Bounds.of(reference, reference), None)
    if found is None:
        return None
    return slice_to_paint(found, logits, grid, geometry, placement.axis_map, placement.offset)
