"""Learning a task from nodes of the scene, in the worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from ...errors import InputError
from ...support.structure import filled_slices
from ...support.support import Support
from ...task.library import TaskFolder
from ...worker.client import WorkerClient
from ...worker.messages import Finished
from ..reader import readSupport, readVolume
from .run_options import RunOptions

_FILLED = 0.6
"""Fraction of the slices of a finished structure that hold some of it, at least."""


class LearnJob:
    """Learns from (volume, segmentation) pairs and puts the task into the folder.

    confirm: asked, with a question, whether segmentations that look like a few painted slices are finished.
    onLearned(path, seconds): called when the file is there.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Any, Any]],
        name: str,
        folder: TaskFolder,
        *,
        annotation: str,
        options: RunOptions,
        confirm: Callable[[str], bool],
        onLearned: Callable[[Path, float], None],
    ) -> None:
        self._pairs, self._name, self._folder = pairs, name, folder
        self._annotation, self._options = annotation, options
        self._confirm, self._onLearned = confirm, onLearned

    @property
    def nodes(self) -> Sequence[Any]:
        return [node for pair in self._pairs for node in pair]

    def send(self, client: WorkerClient) -> None:
        self._folder.path_for(self._name)
        annotation: Any = self._annotation
        read = [
            (readVolume(volume), readSupport(segmentation, volume, annotation=annotation))
            for volume, segmentation in self._pairs
        ]
        if annotation == "complete":
            self._check_finished([support for _volume, support in read])
        client.learn(read, self._options.device, self._options.memory)

    def _check_finished(self, supports: Sequence[Support]) -> None:
        """Ask when a segmentation that is to be taken for finished looks like a few painted slices."""
        names = [
            one.structure.name for support in supports for one in support.structures if _has_gaps(one.mask)
        ]
        question = _("Only some slices of {names} seem to be painted. Learn as if that were all of it?")
        if names and not self._confirm(question.format(names=", ".join(names))):
            raise InputError(_("Nothing was learned: choose painted slices under Learn from."))

    def handle_event(self, event: Any) -> None:
        """No event concerns this job alone."""

    def work(self) -> None:
        """Nothing to do meanwhile."""

    def end(self) -> None:
        """Nothing to take away."""

    def finish(self, finished: Finished, seconds: float) -> None:
        self._onLearned(self._folder.add(self._name, finished.task), seconds)


def _has_gaps(mask: np.ndarray) -> bool:
    """True when along some axis many slices of a mask (k, j, i), between the first and last, are empty."""
    for axis in range(3):
        filled = filled_slices(mask, axis)
        if filled.size and filled.size < _FILLED * (filled[-1] - filled[0] + 1):
            return True
    return False
