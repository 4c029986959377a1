"""Whether episodes are made as fast as the network learns from them, and how many workers that takes."""

from __future__ import annotations

import math
import time

import numpy as np

from .drafts import EpisodeDraft
from .episodes import episode_of
from .parallel import available_cores
from .stream import EpisodeStream

RESERVE = 1.25
"""Factor by which more workers are started than are needed: anatomies differ."""
_ANATOMIES = 3
"""Anatomies over which the time of an episode is measured."""
LIMIT_S = 20.0
"""Seconds after which no further anatomy is measured."""


def episode_seconds(stream: EpisodeStream, as_drafts: bool) -> tuple[float, EpisodeDraft | None]:
    """Seconds that one process takes for an episode, over a few anatomies, and the draft of the largest.

    as_drafts: the process only drafts it, and the device makes its channels.
    """
    rng = np.random.default_rng((stream.seed, 0, stream.rank, 1))
    made: list[EpisodeDraft] = []
    begun = time.monotonic()
    for _ in range(_ANATOMIES):
        for one in stream.drafts(rng):
            made.append(one)
            if not as_drafts:
                episode_of(one)
        if time.monotonic() - begun > LIMIT_S:
            break
    largest = max(made, key=lambda one: one.target.size, default=None)
    return (time.monotonic() - begun) / max(1, len(made)), largest


def needed_workers(episode_s: float, step_s: float, batch: int, processes: int = 1) -> int:
    """Processes that make episodes as fast as steps of `step_s` take them, as far as there are cores.

    processes: that learn on this machine together and share its cores.
    """
    wanted = math.ceil(RESERVE * batch * episode_s / max(step_s, 1e-9))
    return max(1, min(wanted, (available_cores() - processes) // processes))


class Throughput:
    """Means since the last `taken`: a step's seconds, episodes per second, how busy the device was."""

    def __init__(self, batch: int, workers: int) -> None:
        self.batch, self.workers = batch, max(1, workers)
        self._learned = self._gathered = self._waited = self._made = 0.0
        self._steps = 0

    def add(self, learned_s: float, gathered_s: float, waited_s: float, made_s: float) -> None:
        """Count one step.

        Seconds to learn, to gather evidence on the device that learns, to wait for episodes, and that a
        worker took to make the batch.
        """
        self._learned += learned_s
        self._gathered += gathered_s
        self._waited += waited_s
        self._made += made_s
        self._steps += 1

    def taken(self) -> dict[str, float]:
        """The means; then starts anew.

        step_s, evidence_s, wait_s; episodes_per_s that all workers could make; busy: of the time, the share
        in which the device did not wait for episodes.
        """
        steps = max(1, self._steps)
        worked = self._learned + self._gathered
        figures = {
            "step_s": self._learned / steps,
            "evidence_s": self._gathered / steps,
            "wait_s": self._waited / steps,
            "episodes_per_s": self.workers * self.batch * steps / max(self._made, 1e-9),
            "busy": worked / max(worked + self._waited, 1e-9),
        }
        self._learned = self._gathered = self._waited = self._made = 0.0
        self._steps = 0
        return figures
