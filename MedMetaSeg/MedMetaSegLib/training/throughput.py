"""Whether episodes are made as fast as the network learns from them, and how many workers that takes."""

from __future__ import annotations

import math
import os
import time

import numpy as np

from .episodes import Episode
from .stream import EpisodeStream

RESERVE = 1.25
"""Factor by which more workers are started than are needed: anatomies differ."""
_ANATOMIES = 3
"""Anatomies over which the time of an episode is measured."""
LIMIT_S = 20.0
"""Seconds after which no further anatomy is measured."""


def episode_seconds(stream: EpisodeStream) -> tuple[float, Episode | None]:
    """Seconds that one process takes to make an episode, over a few anatomies, and the largest of them."""
    rng = np.random.default_rng((stream.seed, 0, stream.rank, 1))
    made: list[Episode] = []
    begun = time.monotonic()
    for _ in range(_ANATOMIES):
        made += stream.drawn(rng)
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


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Throughput:
    """Means since the last `taken`: seconds of a step, of waiting for its episodes; episodes per second."""

    def __init__(self, batch: int, workers: int) -> None:
        self.batch, self.workers = batch, max(1, workers)
        self._learned = self._waited = self._made = 0.0
        self._steps = 0

    def add(self, learned_s: float, waited_s: float, made_s: float) -> None:
        """Count one step: seconds to learn, to wait, and that a worker took to make the batch."""
        self._learned += learned_s
        self._waited += waited_s
        self._made += made_s
        self._steps += 1

    def taken(self) -> dict[str, float]:
        """The means step_s, wait_s, and episodes_per_s that all workers could make; then starts anew."""
        steps = max(1, self._steps)
        figures = {
            "step_s": self._learned / steps,
            "wait_s": self._waited / steps,
            "episodes_per_s": self.workers * self.batch * steps / max(self._made, 1e-9),
        }
        self._learned = self._waited = self._made = 0.0
        self._steps = 0
        return figures
