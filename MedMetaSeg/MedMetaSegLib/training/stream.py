"""An endless stream of episodes, made by worker processes while the network learns."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from ..network.inference import LAYOUT
from .anatomy import Anatomy
from .drafts import Batch, EpisodeDraft, batch_of
from .episodes import MAX_VOXELS, Episode, drafts, episode_of
from .painted import PaintedMaps
from .placements import Placements
from .population import Population
from .synthesis import random_anatomy

CPU = torch.device("cpu")


def collated(alike: Sequence[Episode]) -> Batch:
    """A batch of episodes of one shape, all with a support or none."""
    image, prompt, target = (
        torch.from_numpy(np.stack([getattr(one, name) for one in alike]))
        for name in ("image", "prompt", "target")
    )
    support = [one.support for one in alike if one.support is not None]
    return image, prompt, target, torch.from_numpy(np.stack(support)) if support else None


def moved(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device, in the layout that the network likes."""
    image, prompt, target = (part.to(device, memory_format=LAYOUT) for part in batch[:3])
    support = batch[3] if batch[3] is None else batch[3].to(device, memory_format=LAYOUT)
    return image, prompt, target, support


@dataclass(frozen=True)
class EpisodeStream(IterableDataset):
    """Batches of episodes of one shape, shuffled, from real, painted and synthetic anatomies.

    real: anatomies of real patients, see `prepared.real_anatomies`; painted: label maps to paint on; of all
    anatomies `real_share` are the former and `painted_share` the latter, where there are any, and the rest is
    synthetic. placements: patients to whom others are registered, who come at `placed_share` of all times, in
    place of any of these. seed: differs for every resumption; rank: of the process among those that learn
    together; side: of a synthetic or painted anatomy.
    """

    seed: int
    real: Sequence[Anatomy] = field(default=())
    real_share: float = 0.3
    episodes_each: int = 6
    batch: int = 2
    shuffle: int = 12
    side: int = 88
    rank: int = 0
    painted: PaintedMaps | None = None
    painted_share: float = 0.0
    placements: Placements | None = None
    placed_share: float = 0.0

    @cached_property
    def population(self) -> Population:
        """The real patients, from whom one is drawn."""
        return Population(self.real)

    def __iter__(self) -> Iterator[Batch]:
        return (batch_of(alike, CPU) for alike in self.alike())

    def alike(self) -> Iterator[list[EpisodeDraft]]:
        """The drafts of one batch after another, without end."""
        worker = get_worker_info()
        torch.set_num_threads(1)
        rng = np.random.default_rng((self.seed, worker.id if worker else 0, self.rank))
        waiting: dict[tuple[object, ...], list[EpisodeDraft]] = {}
        ready: list[list[EpisodeDraft]] = []
        while True:
            for one in self.drafts(rng):
                alike = waiting.setdefault(one.kind, [])
                alike.append(one)
                if len(alike) == self.batch:
                    ready.append(waiting.pop(one.kind))
            while len(ready) > self.shuffle:
                yield ready.pop(int(rng.integers(len(ready))))

    def drafts(self, rng: np.random.Generator) -> Iterator[EpisodeDraft]:
        """The drafts of one anatomy, or as many of placements."""
        if self.placements is not None and rng.random() < self.placed_share:
            placed = (self.placements.draft(rng, MAX_VOXELS) for _ in range(self.episodes_each))
            return (one for one in placed if one is not None)
        anatomy, another = self._anatomy(rng)
        return drafts(rng, anatomy, self.episodes_each, another=another)

    def drawn(self, rng: np.random.Generator) -> Iterator[Episode]:
        """The episodes of one anatomy, made on the CPU."""
        return map(episode_of, self.drafts(rng))

    def _anatomy(self, rng: np.random.Generator) -> tuple[Anatomy, Anatomy | None]:
        """An anatomy, and where there is one, the next patient's."""
        if self.real and rng.random() < self.real_share:
            drawn = self.population.drawn(rng)
            return drawn, self.population.another(rng, drawn)
        if self.painted is not None:
            # Of those that are not real.
            share = self.painted_share / (1 - self.real_share if self.real and self.real_share < 1 else 1)
            if rng.random() < share:
                return self.painted.drawn(rng, self.side)
        return random_anatomy(rng, self.side), None


@dataclass(frozen=True)
class TimedStream(IterableDataset):
    """What another stream makes, each with the seconds that went into it.

    as_drafts: the drafts of a batch, for a device that makes its channels; else the batch, made on the CPU.
    """

    stream: EpisodeStream
    as_drafts: bool = False

    def __iter__(self) -> Iterator[tuple[Batch | list[EpisodeDraft], float]]:
        begun = time.monotonic()
        for made in self.stream.alike() if self.as_drafts else self.stream:
            yield made, time.monotonic() - begun
            begun = time.monotonic()  # the time that a full queue makes a worker wait is not counted
