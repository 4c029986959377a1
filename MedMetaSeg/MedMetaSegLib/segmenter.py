"""From a few annotated slices to whole structures: the one object that users of the core hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from . import __version__
from .confidence.calibration import shipped_calibration
from .errors import InputError
from .imageio.channel import Channel
from .imageio.volume import Volume
from .network.inference import Predictor, chosen_device
from .network.weights import load_network
from .next_patient.apply import ApplyOptions, applied_task
from .next_patient.learn import learned_task
from .progress import Progress, never, silent
from .results.segmentation import Segmentation
from .same_volume.report import versions
from .same_volume.segment import SegmentOptions, segmented_volume
from .same_volume.volume_memory import PatientMemory
from .support.search_region import SearchRegion
from .support.structure import StructureMask
from .support.support import Support
from .task.task_file import Task


class Segmenter:
    """Segments structures that were annotated on a few slices; keeps features and logits between calls.

    Asked again about the same volume, only structures whose annotation changed are decoded anew; the result
    is the same as that of a new Segmenter. Not for use by several threads at once.

        segmenter = Segmenter.load()
        result = segmenter.segment(Volume.read("ct.nii.gz"), Support.read("painted.seg.nrrd"))
        result.mask("liver"), result.report
    """

    def __init__(self, predictor: Predictor, provenance: dict[str, object], why_device: str) -> None:
        self.predictor, self.provenance, self.why_device = predictor, provenance, why_device
        self._memory = PatientMemory()

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
        confidence: bool = True,
        preview: Callable[[StructureMask], None] | None = None,
        within: np.ndarray | SearchRegion | None = None,
        channels: Sequence[Channel] = (),
    ) -> Segmentation:
        """The annotated structures in the whole volume, on the volume's own grid.

        support: "slices" or "scribbles", on any grid over the same space. progress(share, what): called as
        work goes on. cancelled: asked between pieces of work of a second or so. structures: names to segment,
        all if None; those left out still keep their annotated voxels from the others. quality: "fast"
        (coarser working grids), "balanced" or "best" (finer ones, and adapt). adapt: let the network's head
        take a few steps on the annotated slices first (`adaptation`), which takes several times as long.
        confidence: say of every structure in the report which Dice to expect, and which slice to paint next.
        preview: called once for each structure with the network's first answer and what was annotated, on the
        volume's grid: before adaptation, before its region grows, and before structures compete for voxels.
        within: the region outside which nothing is found but what was annotated there: voxels that are not 0
        of an array (k, j, i) on the volume's grid, or a `SearchRegion`. channels: further images of the
        patient, co-registered with the volume, on grids of their own. Each is asked by itself with the same
        annotation, and the answer is the mean probability of those that show a voxel; the report says how
        each voted.
        Raises InputError (see the checks of `Support` and `Volume`) and Cancelled.
        """
        result = segmented_volume(
            volume,
            support,
            SegmentOptions(remove_islands, structures, quality, adapt, confidence, within),
            self.predictor,
            self._memory,
            progress or silent,
            cancelled or never,
            preview,
            self._provenance(),
            channels,
        )
        return self._told(result, {}, confidence)

    def learn(
        self,
        pairs: Sequence[tuple[Volume, Support]],
        *,
        channels: Sequence[Sequence[Channel]] = (),
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
        within: np.ndarray | SearchRegion | None = None,
    ) -> Task:
        """A task for `apply`, from one or several patients.

        A "complete" support is taken as it is; one with annotated slices or scribbles is segmented first.
        Structures of the same name are one. channels: further images of each patient, of the same names in
        the same order, which the task asks for ever after. within: of one patient alone, as of `segment`.
        Raises InputError and Cancelled.
        """
        if within is not None and len(pairs) > 1:
            raise InputError("A region is for one patient; learn from several without it.")
        segment = partial(self.segment, cancelled=cancelled, confidence=False, within=within)
        about = (str(self.provenance["sha256"]), __version__)
        return learned_task(
            pairs, segment, self.predictor, *about, progress or silent, cancelled or never, channels
        )

    def apply(
        self,
        task: Task,
        volume: Volume,
        *,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
        keep_doubtful: bool = True,
        force: Sequence[str] = (),
        confidence: bool = True,
        within: np.ndarray | SearchRegion | None = None,
        channels: Sequence[Channel] = (),
    ) -> Segmentation:
        """The task's structures in another patient's volume; nothing is annotated on it.

        What is not there has no voxels, and its entry in the report says "found": False and the reason;
        "present" is the probability that it is there. keep_doubtful: keep what may be there or not, marked
        "doubtful". force: names of structures that are kept however little speaks for them. confidence: False
        to have no probabilities and no predicted Dice: then nothing is left out that the network finds.
        within: the region outside which nothing is kept, as of `segment`; it has no say in where structures
        are looked for, nor in what is left out. channels: further images of the patient, those that the task
        was learned with. Raises TaskError for a task of other weights, InputError (for a name that the task
        does not have, for other channels than its own, and see `check_volume`) and Cancelled.
        """
        task.check_weights(str(self.provenance["sha256"]))
        options = ApplyOptions(keep_doubtful, tuple(force), confidence, within)
        result = applied_task(
            task,
            volume,
            self.predictor,
            progress or silent,
            cancelled or never,
            options=options,
            channels=channels,
        )
        return self._told(result, {**self._provenance(), "versions": versions()}, confidence)

    def forget(self) -> None:
        """Let go of what is kept of the volume seen last."""
        self._memory = PatientMemory()

    def _told(self, result: Segmentation, more: dict[str, object], confidence: bool) -> Segmentation:
        """A result with more in its report, and a note where the calibration is not of these weights."""
        report = {**result.report, **more}
        if confidence:
            cautions = shipped_calibration().cautions(str(self.provenance["sha256"]))
            report["notes"] = [*cast("list[str]", report["notes"]), *cautions]
        return replace(result, report=report)

    def _provenance(self) -> dict[str, object]:
        """For reports: why this device, and which weights."""
        weights = {"sha256": self.provenance["sha256"], "steps": self.provenance.get("steps")}
        return {"device_reason": self.why_device, "weights": weights}
