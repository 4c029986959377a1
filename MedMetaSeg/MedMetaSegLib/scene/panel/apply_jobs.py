"""Applying a task to volumes of the scene, and to all items of their sequences, in the worker."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from ...errors import InputError
from ...imageio.volume import Volume
from ...support.structure import StructureMask
from ...worker.client import WorkerClient
from ...worker.messages import Finished, Progress
from ..reader import readVolume
from ..sequence import VolumeSequence, sequenceOf, writeSequence
from ..writer import writeSegments
from .left_out import LeftOut
from .run_options import RunOptions
from .segment_job import volumeKey
from .worker_run import Job

Report = dict[str, Any]


@dataclass(frozen=True)
class Applying:
    """A press of Apply: what is applied and how, and who is told.

    allItems: of volumes that show a sequence. keepDoubtful: see Segmenter.apply. forced: by volume id, what
    is wanted alone, however improbable; the result is added to the segmentation that it was left out of.
    onApplied(volume node, segmentation node or None, reports): told for each volume, with a report for each
    item; None when nothing was found.
    """

    task: Path
    options: RunOptions
    allItems: bool
    keepDoubtful: bool
    onApplied: Callable[[Any, Any, Sequence[Report]], None]
    showProgress: Callable[[float, str], None]
    forced: Mapping[str, LeftOut] = field(default_factory=dict)

    def send(self, client: WorkerClient, volumeNode: Any, volume: Volume, key: Hashable) -> None:
        """Send the volume, which the node shows. key: see `volumeKey`."""
        client.apply(
            self.task,
            volume,
            self.options.device,
            key,
            self.options.memory,
            keep_doubtful=self.keepDoubtful,
            force=self.forcedNames(volumeNode),
        )

    def forcedNames(self, volumeNode: Any) -> tuple[str, ...]:
        """Names of the structures that alone are wanted in a volume; () for all."""
        forced = self.forced.get(volumeNode.GetID())
        return () if forced is None else forced.names

    def found(self, volumeNode: Any, structures: Sequence[StructureMask]) -> list[StructureMask]:
        """Those of an answer that are wanted and have voxels."""
        names = self.forcedNames(volumeNode)
        return [one for one in structures if one.mask.any() and (not names or one.structure.name in names)]

    def outputFor(self, volumeNode: Any) -> Any:
        """The segmentation that the result is added to; None for a new one."""
        forced = self.forced.get(volumeNode.GetID())
        outputId = None if forced is None else forced.outputId
        return None if outputId is None else volumeNode.GetScene().GetNodeByID(outputId)


def applyJob(applying: Applying, volumeNodes: Sequence[Any]) -> Job | None:
    """The job for the first of the volumes, which goes on with the others; None when there is none."""
    if not volumeNodes:
        return None
    sequence = sequenceOf(volumeNodes[0]) if applying.allItems else None
    if sequence is None or len(sequence) < 2:
        return ApplyJob(applying, volumeNodes)
    return ApplyToSequenceJob(applying, sequence, volumeNodes)


class ApplyJob:
    """Applies a task to the first of the volumes; the result is a new segmentation beside it."""

    def __init__(self, applying: Applying, volumeNodes: Sequence[Any]) -> None:
        self._applying, self._volumeNodes = applying, list(volumeNodes)

    @property
    def nodes(self) -> Sequence[Any]:
        return self._volumeNodes

    def send(self, client: WorkerClient) -> None:
        volume = readVolume(self._volumeNodes[0])
        key = volumeKey(self._volumeNodes[0], volume.geometry.affine)
        self._applying.send(client, self._volumeNodes[0], volume, key)

    def handle_event(self, event: Any) -> None:
        """No event concerns this job alone."""

    def work(self) -> None:
        """Nothing to do meanwhile."""

    def end(self) -> None:
        """Nothing to take away."""

    def finish(self, finished: Finished, seconds: float) -> Job | None:
        first, *others = self._volumeNodes
        found = self._applying.found(first, finished.structures)
        node = None
        if found:
            out = self._applying.outputFor(first)
            node = writeSegments(found, first, out, algorithmType="AUTOMATIC")
        self._applying.onApplied(first, node, [finished.report])
        return applyJob(self._applying, others)


class ApplyToSequenceJob:
    """Applies a task to every item of the sequence that the first of the volumes shows, one after the other.

    Nothing is in the scene until all are done; the result is a sequence in the same browser.
    """

    def __init__(self, applying: Applying, sequence: VolumeSequence, volumeNodes: Sequence[Any]) -> None:
        self._applying, self._sequence, self._volumeNodes = applying, sequence, list(volumeNodes)
        self._results: list[Sequence[StructureMask]] = []
        self._reports: list[Report] = []
        # How far the item is that is being worked on.
        self._share, self._doing = 0.0, ""

    @property
    def nodes(self) -> Sequence[Any]:
        return [*self._volumeNodes, *self._sequence.nodes]

    def send(self, client: WorkerClient) -> None:
        for node in self._sequence.nodes:
            if node.GetScene() is None:
                raise InputError(_("'{name}' was removed from the scene.").format(name=node.GetName()))
        number = len(self._results)
        volume = self._sequence.read(number)
        place = volumeKey(self._sequence.item(number), volume.geometry.affine)
        key = (self._sequence.sequenceNode.GetID(), place)
        self._applying.send(client, self._volumeNodes[0], volume, key)

    def handle_event(self, event: Any) -> None:
        if isinstance(event, Progress):
            self._share, self._doing = event.share, event.what

    def work(self) -> None:
        if not self._doing:
            return
        number, total = len(self._results), len(self._sequence)
        text = _("Item {number} of {total}: {doing}").format(
            number=number + 1, total=total, doing=self._doing
        )
        self._applying.showProgress((number + self._share) / total, text)

    def end(self) -> None:
        """Nothing to take away."""

    def finish(self, finished: Finished, seconds: float) -> Job | None:
        self._results.append(self._applying.found(self._volumeNodes[0], finished.structures))
        self._reports.append(finished.report)
        self._share = 0.0
        if len(self._results) < len(self._sequence):
            return self
        node = writeSequence(self._sequence, self._results)
        first, *others = self._volumeNodes
        self._applying.onApplied(first, node, self._reports)
        return applyJob(self._applying, others)
