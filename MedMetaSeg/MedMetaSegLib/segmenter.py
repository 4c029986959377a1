"""From a few painted slices to whole structures: the one object that users of the core hold."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from . import __version__
from .errors import Cancelled, InputError
from .imageio.geometry import AxisMap, Geometry
from .imageio.volume import Volume, check_volume
from .network.adaptation import Adaptation, adapted_to_slices
from .network.image_evidence import ImageEvidence, image_channels
from .network.inference import EncodedImage, Predictor, chosen_device
from .network.weights import load_network
from .next_patient.apply import applied_task
from .next_patient.learn import learned_task
from .results.merge import LabelMerger, drawn_on
from .results.segmentation import Segmentation, SegmentedStructure
from .same_volume.annotation_evidence import beyond_penalty, held_out_prompts, prompt_on
from .same_volume.preview import SegmentPreview
from .same_volume.report import Clock, segment_report, versions
from .support.structure import AnnotatedStructure, PlacedMask
from .support.support import Support, check_overlap, check_something_left
from .task.task_file import Task
from .working_grid.grid import DETAILS, Bounds, WorkingGrid, sampled_back, sampled_image, working_grid
from .working_grid.intensity import IntensityNormalization, intensity_normalization

Progress = Callable[[float, str], None]
FirstLogits = Callable[[np.ndarray, WorkingGrid], None]

FEATURE_MEMORY = 512 * 2**20
"""Bytes of features and evidence that are kept between presses; the oldest go first."""
_GROWTH = 1.8
_GROWTH_AREA = 0.05
_SURE = 2.0
_MAX_GROWTHS = 2
_SILENT: Progress = lambda share, what: None  # noqa: E731
_NEVER: Callable[[], bool] = lambda: False  # noqa: E731


@dataclass(frozen=True, eq=False)
class _Answer:
    """What the network said of one structure: logits float16 on the last working grid it needed."""

    grid: WorkingGrid
    logits: np.ndarray
    seconds: float
    adaptation: Adaptation | None


class Segmenter:
    """Segments structures that were painted on a few slices; keeps features and answers between calls.

    Asked again about the same volume, only structures whose painting changed are decoded anew; the result is
    the same as that of a new Segmenter. Not for use by several threads at once.

        segmenter = Segmenter.load()
        result = segmenter.segment(Volume.read("ct.nii.gz"), Support.read("painted.seg.nrrd"))
        result.mask("liver"), result.report
    """

    def __init__(self, predictor: Predictor, provenance: dict[str, object], why_device: str) -> None:
        self.predictor, self.provenance, self.why_device = predictor, provenance, why_device
        self._volume = b""
        self._features: OrderedDict[tuple[object, ...], tuple[ImageEvidence, EncodedImage]] = OrderedDict()
        self._answers: dict[bytes, _Answer] = {}

    @classmethod
    def load(cls, device: str = "auto", weights: Path | None = None) -> Segmenter:
        """A segmenter with the shipped weights, or those of a file.

        Raises WeightsError when they are missing or damaged, InputError when "cuda" is asked for and does not
        work.
        """
        network, provenance = load_network(weights)
        chosen, why = chosen_device(device)
        return cls(Predictor(network, chosen), provenance, why)

    def segment(
        self,
        volume: Volume,
        support: Support,
        *,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
        remove_islands: bool = True,
        structures: Sequence[str] | None = None,
        quality: str = "balanced",
        adapt: bool = False,
        preview: Callable[[PlacedMask], None] | None = None,
    ) -> Segmentation:
        """The painted structures in the whole volume, on the volume's own grid.

        support: "slices" or "scribbles", on any grid over the same space. progress(share, what): called as
        work goes on. cancelled: asked between pieces of work of a second or so. structures: names to segment,
        all if None; those left out still keep their drawn voxels from the others. quality: "fast" (coarser
        working grids), "balanced" or "best" (finer ones, and adapt). adapt: let the network's
        head take a few steps on the drawn slices first (`adaptation`), which takes several times as long.
        preview: called once for each structure with the network's first answer and what was drawn, on the
        volume's grid: before adaptation, before its region grows, and before structures compete for voxels.
        Raises InputError (see the checks of `Support` and `Volume`) and Cancelled.
        """
        clock = Clock()
        progress, cancelled = progress or _SILENT, cancelled or _NEVER
        volume = check_volume(volume)
        _check_scribbles(support)
        check_overlap(support, volume.geometry)
        check_something_left(support, volume.geometry)
        _check_quality(quality)
        adapt = adapt or quality == "best"
        chosen = _chosen(support, structures)
        upright, axis_map = volume.canonical()
        upright, frame, on_grid = _frames(support, upright)
        kept = [one.structure.name in chosen for one in frame.structures]
        rule = intensity_normalization(upright)
        self._recognise(upright)
        notes_before = len(self.predictor.notes)
        clock.lap("prepare")

        merger = LabelMerger(on_grid)
        answers: list[_Answer | None] = []
        for number, painted in enumerate(frame.structures):
            name = painted.structure.name
            if cancelled():
                raise Cancelled("Cancelled: nothing was written.")
            progress(number / len(frame.structures), name)
            answer = None
            if kept[number]:
                shown = SegmentPreview(preview, on_grid, number, axis_map)
                answer = self._answer(upright, frame, painted, rule, quality, adapt, cancelled, shown.first)
                clock.lap("network")
                logits, where = sampled_back(answer.logits, answer.grid, on_grid.geometry, -20.0)
                shown.show(logits, where)
                merger.add(number, logits, where)
                clock.lap("compose")
            answers.append(answer)
        found = merger.finished(remove_islands)
        results, probabilities = [], []
        for painted, answer, (where, mask) in zip(on_grid.structures, answers, found, strict=True):
            if answer is not None:
                results.append(_result(painted, answer, where, mask, axis_map, volume.geometry))
                probabilities.append(partial(_probability, answer, on_grid.geometry, axis_map))
        clock.lap("compose")
        progress(1.0, "done")
        about = {
            "quality": quality,
            "device": self.predictor.device.type,
            "device_reason": self.why_device,
            "seconds": clock.as_dict(),
            "weights": self._weights(),
        }
        notes = [*frame.notes, *self.predictor.notes[notes_before:]]
        adaptations = [answer.adaptation for answer in answers if answer is not None]
        report = segment_report(support, rule, results, adaptations, notes, about)
        return Segmentation(
            volume.geometry, tuple(results), support.overlapping, report, tuple(probabilities)
        )

    def learn(
        self,
        pairs: Sequence[tuple[Volume, Support]],
        *,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Task:
        """A task for `apply`, from one or several patients.

        A "complete" support is taken as it is; one with painted slices or scribbles is segmented first.
        Structures of the same name are one. Raises InputError and Cancelled.
        """
        segment = partial(self.segment, cancelled=cancelled)
        about = (str(self.provenance["sha256"]), __version__)
        return learned_task(pairs, segment, self.predictor, *about, progress or _SILENT, cancelled or _NEVER)

    def apply(
        self,
        task: Task,
        volume: Volume,
        *,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Segmentation:
        """The task's structures in another patient's volume; nothing is painted on it.

        What is not there has no voxels, and its entry in the report says "found": False and the reason.
        Raises TaskError for a task of other weights, InputError (see `check_volume`) and Cancelled.
        """
        task.check_weights(str(self.provenance["sha256"]))
        result = applied_task(task, volume, self.predictor, progress or _SILENT, cancelled or _NEVER)
        about = {"device_reason": self.why_device, "weights": self._weights(), "versions": versions()}
        return replace(result, report={**result.report, **about})

    def _recognise(self, volume: Volume) -> None:
        """Forget what was kept when this is another volume."""
        digest = hashlib.blake2b(np.ascontiguousarray(volume.array).data, digest_size=16)
        digest.update(repr((volume.geometry.shape, volume.array.dtype, volume.modality)).encode())
        digest.update(volume.geometry.affine.round(6).tobytes())
        if digest.digest() != self._volume:
            self._volume = digest.digest()
            self._features.clear()
            self._answers.clear()

    def _answer(
        self,
        volume: Volume,
        frame: Support,
        painted: AnnotatedStructure,
        rule: IntensityNormalization,
        quality: str,
        adapt: bool,
        cancelled: Callable[[], bool],
        first: FirstLogits,
    ) -> _Answer:
        """Logits of one structure; the region grows while the structure reaches its border in the image.

        first: called with logits that are there while better ones are still to come.
        """
        key = _painting(painted, frame) + quality.encode() + bytes([adapt])
        if key in self._answers:
            return self._answers[key]
        begun = time.perf_counter()
        bounds = Bounds.of(volume.geometry, frame.geometry)
        reach = np.ones((2, 3))
        adaptation = None
        for growth in range(_MAX_GROWTHS + 1):
            grid = working_grid(painted, frame.geometry, bounds, reach, DETAILS[quality])
            evidence, encoded = self._features.get(grid.key, (None, None))
            if evidence is None:
                sampled = sampled_image(volume, grid, rule)
                evidence = ImageEvidence(image_channels(sampled, self.predictor.device), grid.aspect)
            image = evidence.channels
            prompt = prompt_on(grid, evidence, painted, _others(painted, frame))
            logits, encoded = self.predictor.segment(image, prompt, encoded, cancelled)
            if adapt:
                first(logits, grid)
                without = held_out_prompts(grid, evidence, painted)
                adaptation = adapted_to_slices(self.predictor, image, without, encoded, cancelled)
                if adaptation is not None and adaptation.parameters is not None:
                    logits, _ = self.predictor.segment(
                        image, prompt, encoded, cancelled, adaptation.parameters
                    )
            self._keep(grid, evidence, encoded)
            logits -= beyond_penalty(grid, painted.slices)
            touched = _touched(logits, painted, grid, bounds)
            if not touched.any() or growth == _MAX_GROWTHS:
                break
            first(logits, grid)
            reach = np.where(touched, reach * _GROWTH, reach)
        answer = _Answer(grid, logits.astype(np.float16), time.perf_counter() - begun, adaptation)
        self._answers[key] = answer
        return answer

    def _keep(self, grid: WorkingGrid, evidence: ImageEvidence, encoded: EncodedImage) -> None:
        self._features[grid.key] = evidence, encoded
        self._features.move_to_end(grid.key)
        while len(self._features) > 1 and _bytes(self._features.values()) > FEATURE_MEMORY:
            self._features.popitem(last=False)

    def _weights(self) -> dict[str, object]:
        return {"sha256": self.provenance["sha256"], "steps": self.provenance.get("steps")}


def _bytes(kept: Iterable[tuple[ImageEvidence, EncodedImage]]) -> int:
    return sum(part.bytes for one in kept for part in one)


def _chosen(support: Support, names: Sequence[str] | None) -> set[str]:
    there = [one.structure.name for one in support.structures]
    missing = [name for name in names or () if name not in there]
    if missing:
        raise InputError(
            f"The support has no structure called {', '.join(missing)}; it has {', '.join(there)}."
        )
    return set(there if names is None else names)


def _check_quality(quality: str) -> None:
    if quality not in DETAILS:
        raise InputError(f"There is no quality '{quality}'; use {', '.join(DETAILS)}.")


def _check_scribbles(support: Support) -> None:
    """Raise InputError when scribbles do not say what the only structure is not."""
    if support.annotation == "scribbles" and support.background is None and len(support.structures) == 1:
        raise InputError(
            "Scribbles of one structure do not say where it ends: add a segment named background."
        )


def _frames(support: Support, volume: Volume) -> tuple[Volume, Support, Support]:
    """The (upright) volume, the support on the grid that working grids run along, and on the volume's own.

    Where the support's axes are parallel to the image's, both grids are the image's, and where it lies in the
    world has no say any more: the answer is the same to the last bit however the patient is turned and the
    file is stored. Otherwise the network works along the support's axes, so that what was drawn stays a
    slice.
    """
    if not volume.geometry.is_parallel(support.geometry):
        frame = support.on(support.geometry.canonical()[0])
        return volume, frame, drawn_on(frame, volume.geometry)
    spacing = np.round(volume.geometry.spacing_mm, 6)
    level = Geometry(volume.geometry.shape, np.diag([*spacing[::-1], 1.0]))
    frame = replace(support.on(volume.geometry), geometry=level)
    return replace(volume, geometry=level), frame, frame


def _painting(painted: AnnotatedStructure, frame: Support) -> bytes:
    """A digest of all that the answer for a structure depends on, besides the volume."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(frame.geometry.affine.round(6).tobytes())
    for one in (painted, *_others(painted, frame)):
        digest.update(repr((one.offset, one.mask.shape, one.axis, one.slices)).encode())
        digest.update(np.packbits(one.mask).tobytes())
    return digest.digest()


def _others(painted: AnnotatedStructure, frame: Support) -> tuple[AnnotatedStructure, ...]:
    """What scribbles say a structure is not: the background, and the other structures unless they may
    overlap.
    """
    if frame.annotation != "scribbles":
        return ()
    background = () if frame.background is None else (frame.background,)
    others = () if frame.overlapping else tuple(one for one in frame.structures if one is not painted)
    return (*background, *others)


def _touched(
    logits: np.ndarray, painted: AnnotatedStructure, grid: WorkingGrid, bounds: Bounds
) -> np.ndarray:
    """(2, 3) bool: faces of the working grid that the structure surely reaches although the image goes on
    there.

    A few or doubtful voxels are no reason: the network has to be sure of more than a twentieth of the area
    that the structure has on the average drawn slice.
    """
    drawn = painted.voxels / max(1, len(painted.slices) or painted.mask.shape[0])
    enough = max(3.0, _GROWTH_AREA * drawn / (grid.step[1] * grid.step[2]))
    touched = np.zeros((2, 3), bool)
    for axis, frame_axis in enumerate(grid.order):
        planes = np.moveaxis(logits, axis, 0)
        ends = grid.to_frame(np.array([0, grid.shape[axis] - 1]), axis)
        goes_on = (ends[0] > bounds.low[frame_axis] + 0.5, ends[1] < bounds.high[frame_axis] - 0.5)
        for side in range(2):
            touched[side, axis] = goes_on[side] and np.count_nonzero(planes[-side] > _SURE) > enough
    return touched


def _result(
    painted: AnnotatedStructure,
    answer: _Answer,
    where: tuple[slice, ...],
    mask: np.ndarray,
    axis_map: AxisMap,
    geometry: Geometry,
) -> SegmentedStructure:
    start = (where[0].start, where[1].start, where[2].start)
    offset = axis_map.undo_offset(start, (mask.shape[0], mask.shape[1], mask.shape[2]))
    voxels = int(np.count_nonzero(mask))
    return SegmentedStructure(
        painted.structure,
        offset,
        np.ascontiguousarray(axis_map.undo(mask)),
        voxels,
        voxels * geometry.voxel_ml,
        answer.grid.spacing_mm,
        answer.seconds,
    )


def _probability(answer: _Answer, grid: Geometry, axis_map: AxisMap) -> np.ndarray:
    full = np.zeros(grid.shape, np.float16)
    logits, where = sampled_back(answer.logits, answer.grid, grid, -20.0)
    full[where] = 1 / (1 + np.exp(-logits))
    return axis_map.undo(full)
