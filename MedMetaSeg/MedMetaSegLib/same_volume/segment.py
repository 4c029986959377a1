"""The annotated structures in the whole of the same volume: one after the other, merged, and reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np

from ..confidence.calibration import shipped_calibration
from ..confidence.confidence import painted_confidence
from ..confidence.slice_place import SliceToPaint, slice_to_paint
from ..imageio.channel import Channel, check_channel_names, image_name
from ..imageio.geometry import AxisMap, rounded
from ..imageio.volume import Volume, check_volume
from ..network.inference import Predictor
from ..network.side_by_side import Caller, pieces_at_once, side_by_side
from ..progress import Progress, check_cancelled
from ..results.merge import LabelMerger
from ..results.search_region import painted_outside, region_report
from ..results.segmentation import Segmentation, SegmentedStructure, probability_map, segmented_structure
from ..results.votes import Block, disagreement
from ..stages import stage
from ..support.placement import placed_support
from ..support.search_region import SearchRegion, region_of
from ..support.structure import StructureMask
from ..support.support import Support
from ..working_grid.channels import PlacedChannel, channel_notes, channels_told, check_shows, placed_channel
from ..working_grid.grid import WorkingGrid, positive_back, sampled_back
from ..working_grid.intensity import intensity_normalization
from ..working_grid.search_region import cut_block, cut_to_region
from .channel_votes import structure_votes, without_a_say
from .preview import SegmentPreview
from .reference_grid import ReferenceGrids, check_request, chosen_names, reference_grids
from .report import Clock, segment_report
from .structure_logits import SeenImage, StructureRun
from .volume_memory import PatientMemory, StructureLogits

Preview = Callable[[StructureMask], None]
_Found = tuple[tuple[slice, ...], np.ndarray]
"""Of `LabelMerger.finished`: a block of the volume's grid, and the mask there."""


@dataclass(frozen=True)
class SegmentOptions:
    """How structures are segmented; see `Segmenter.segment`."""

    remove_islands: bool = True
    structures: Sequence[str] | None = None
    quality: str = "balanced"
    adapt: bool = False
    confidence: bool = True
    within: np.ndarray | SearchRegion | None = None


@dataclass(frozen=True, eq=False)
class _Checked:
    """A volume and a support, as they were given and on the grids that are worked on, and the names asked.

    Reports number slices as the support does. region: on the volume's canonical grid; None to look
    everywhere.
    """

    volume: Volume
    support: Support
    names: frozenset[str]
    axis_map: AxisMap
    grids: ReferenceGrids
    region: SearchRegion | None
    channels: tuple[PlacedChannel, ...]

    @property
    def image_name(self) -> str:
        """What reports call the image beside its channels."""
        return image_name(self.volume)


@dataclass(frozen=True, eq=False)
class _Asked:
    """What is asked about one volume: the run, the grids, and who wants to hear of it."""

    checked: _Checked
    run: StructureRun
    progress: Progress
    preview: Preview | None


def segmented_volume(
    volume: Volume,
    support: Support,
    options: SegmentOptions,
    predictor: Predictor,
    memory: PatientMemory,
    progress: Progress,
    cancelled: Callable[[], bool],
    preview: Preview | None,
    provenance: Mapping[str, object],
    channels: Sequence[Channel] = (),
) -> Segmentation:
    """The structures of a support in a volume, on its own grid; see `Segmenter.segment`.

    memory: of this volume and its channels, or others, which are forgotten. provenance: "device_reason" and
    "weights", for the report. Raises InputError and Cancelled.
    """
    clock = Clock()
    checked = _checked(volume, support, options, channels)
    grids, support = checked.grids, checked.support
    with stage("check"):
        intensity = intensity_normalization(grids.volume)
        memory.image.recognise(grids.volume)
        memories = memory.of_channels([one.name for one in checked.channels])
        seen = tuple(SeenImage.of(*one) for one in zip(checked.channels, memories, strict=True))
    adapt = options.adapt or options.quality == "best"
    run = StructureRun(
        predictor,
        memory.image,
        grids.volume,
        grids.support,
        intensity,
        options.quality,
        adapt,
        cancelled,
        options.confidence,
        checked.region,
        seen,
    )
    asked = _Asked(checked, run, progress, preview)
    noted = predictor.new_notes()
    clock.lap("prepare")
    answers, merger = _answered(asked, clock)
    found = merger.finished(options.remove_islands)
    results = _results(asked, answers, found)
    clock.lap("compose")
    progress(1.0, "done")
    there = [answer for answer in answers if answer is not None]
    about: dict[str, object] = {
        "quality": options.quality,
        "device": predictor.device.type,
        "device_reason": provenance["device_reason"],
        "seconds": clock.as_dict(),
        "weights": provenance["weights"],
    }
    notes = [*checked.volume.notes, *grids.support.notes, *noted]
    if checked.region is not None:
        about["within"] = region_report(checked.region, checked.volume.geometry)
        notes += [*checked.region.notes, *painted_outside(checked.region, grids.on_volume, checked.names)]
    told = [
        {**_told(asked, answer, options.confidence), **_votes(asked, number, answer, found[number])}
        for number, answer in enumerate(answers)
        if answer is not None
    ]
    if checked.channels:
        grid = grids.volume.geometry
        notes += channel_notes(checked.channels, grid)
        for one, answer in zip(results, there, strict=True):
            notes += without_a_say(checked.channels, one.structure.name, answer)
        for one, entry in zip(results, told, strict=True):
            notes += disagreement(one.structure.name, cast("list[dict[str, Any]]", entry["channels"]))
        about["channels"] = channels_told(checked.image_name, intensity, checked.channels, grid)
    # Slices have the support's own numbers; some of its structures may lie outside the image.
    reported = replace(support, skipped=grids.support.skipped)
    report = segment_report(reported, intensity, results, told, notes, about)
    probabilities = tuple(_probability(asked, answer) for answer in there)
    return Segmentation(checked.volume.geometry, results, support.overlapping, report, probabilities)


@stage("check")
def _checked(
    volume: Volume, support: Support, options: SegmentOptions, channels: Sequence[Channel]
) -> _Checked:
    """What is given, with everything checked that may be wrong. Raises InputError."""
    check_channel_names([one.name for one in channels], image_name(volume))
    volume = check_volume(volume)
    support = placed_support(support, volume)
    check_request(volume, support, options.quality)
    names = chosen_names(support, options.structures)
    canonical, axis_map = volume.canonical()
    region = region_of(options.within, volume.geometry)
    region = None if region is None else region.reoriented(axis_map)
    grids = reference_grids(support, canonical)
    placed = tuple(placed_channel(one, volume, canonical.geometry, grids.volume.geometry) for one in channels)
    for one in placed:
        check_shows(one, grids.support, names)
    return _Checked(volume, support, names, axis_map, grids, region, placed)


def _answered(asked: _Asked, clock: Clock) -> tuple[list[StructureLogits | None], LabelMerger]:
    """Logits of each structure, None for one that was not asked for, and all of them merged."""
    on_volume, region = asked.checked.grids.on_volume, asked.checked.region
    structures = asked.run.support.structures
    merger = LabelMerger(on_volume)
    previews = [
        SegmentPreview(asked.preview, on_volume, number, asked.checked.axis_map, region)
        for number in range(len(structures))
    ]

    def answer_of(number: int, caller: Caller) -> StructureLogits:
        def first(logits: np.ndarray, grid: WorkingGrid) -> None:
            caller.run(partial(previews[number].first, logits, grid))

        return replace(asked.run, cancelled=caller.cancelled).logits_of(structures[number], first)

    names = [one.structure.name for one in structures]
    chosen = [number for number, name in enumerate(names) if name in asked.checked.names]
    answering = side_by_side(
        [partial(answer_of, number) for number in chosen],
        pieces_at_once(asked.run.predictor.device),
        partial(check_cancelled, asked.run.cancelled),
        [structures[number].mask.size for number in chosen],
    )
    answers: list[StructureLogits | None] = [None] * len(structures)
    with closing(answering) as found:
        for number in chosen:
            asked.progress(number / len(structures), names[number])
            answers[number] = answer = next(found)
            clock.lap("network")
            block = cut_to_region(positive_back(answer.logits, answer.grid, on_volume.geometry), region)
            previews[number].show(block.logits, block.where)
            merger.add(number, block.logits, block.where, block.seen)
            clock.lap("compose")
    return answers, merger


@stage("compose")
def _results(
    asked: _Asked,
    answers: Sequence[StructureLogits | None],
    found: Sequence[_Found],
) -> tuple[SegmentedStructure, ...]:
    structures = asked.checked.grids.on_volume.structures
    return tuple(
        segmented_structure(
            annotated.structure,
            where,
            mask,
            asked.checked.axis_map,
            asked.checked.volume.geometry,
            answer.grid.spacing_mm,
            answer.seconds,
        )
        for annotated, answer, (where, mask) in zip(structures, answers, found, strict=True)
        if answer is not None
    )


def _votes(asked: _Asked, number: int, answer: StructureLogits, found: _Found) -> dict[str, object]:
    """The entry of a structure's report that its image and channels make; none without channels."""
    checked = asked.checked
    if not checked.channels:
        return {}
    grid, annotated = checked.grids.on_volume.geometry, checked.grids.on_volume.structures[number]
    votes = structure_votes(answer, annotated, grid, checked.image_name, checked.channels, checked.region)
    return {"channels": [one.as_dict(Block(*found), grid.voxel_ml) for one in votes]}


def _told(asked: _Asked, answer: StructureLogits, confidence: bool) -> dict[str, object]:
    """The entries of a structure's report that the network's answer makes."""
    told: dict[str, object] = {}
    if confidence:
        model = shipped_calibration().painted(answer.features)
        told |= painted_confidence(answer.features, model).as_dict()
        told["next_slice"] = None if answer.to_paint is None else _to_paint(asked, answer).as_dict()
        told["features"] = {name: rounded(value, 4) for name, value in answer.features.items()}
    if answer.adaptation is not None:
        told["adaptation"] = answer.adaptation.as_dict()
    return told


def _to_paint(asked: _Asked, answer: StructureLogits) -> SliceToPaint:
    """The slice of the image, or of a support that lies aslant in it, that is most worth painting."""
    assert answer.to_paint is not None
    geometry, axis_map = asked.checked.volume.geometry, asked.checked.axis_map
    if not geometry.is_parallel(asked.checked.support.geometry):
        geometry = asked.checked.support.geometry
        axis_map = geometry.canonical()[1]
    return slice_to_paint(answer.to_paint, answer.searched_logits, answer.grid, geometry, axis_map)


def _probability(asked: _Asked, answer: StructureLogits) -> Callable[[], np.ndarray]:
    """Makes the probability of one structure when it is asked for."""
    geometry = asked.checked.grids.on_volume.geometry
    sampled = partial(sampled_back, answer.logits, answer.grid, geometry)
    logits = partial(cut_block, sampled, asked.checked.region)
    return partial(probability_map, logits, geometry.shape, asked.checked.axis_map)
