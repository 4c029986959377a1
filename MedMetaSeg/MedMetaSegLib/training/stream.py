"""An endless stream of episodes, made by worker processes while the network learns."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from ..network.inference import LAYOUT
from .episodes import Episode, episodes
from .synthesis import Anatomy, random_anatomy

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]
"""A batch: image (B, 2, k, j, i), prompt (B, C, k, j, i), target (B, 1, k, j, i), support (B, 4, k, j, i)."""


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
    """Batches of episodes of one shape, shuffled, from synthetic and, at `real_share`, real anatomies.

    real: anatomies of real patients, see `real.real_anatomies`; seed: differs for every resumption; rank: of
    the process among those that learn together; side: of a synthetic anatomy.
    """

    seed: int
    real: Sequence[Anatomy] = field(default=())
    real_share: float = 0.3
    episodes_each: int = 6
    batch: int = 2
    shuffle: int = 12
    side: int = 88
    rank: int = 0

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        torch.set_num_threads(1)
        rng = np.random.default_rng((self.seed, worker.id if worker else 0, self.rank))
        waiting: dict[tuple[object, ...], list[Episode]] = {}
        ready: list[list[Episode]] = []
        while True:
            for one in self.drawn(rng):
                kind = (one.target.shape, one.support is None)
                alike = waiting.setdefault(kind, [])
                alike.append(one)
                if len(alike) == self.batch:
                    ready.append(waiting.pop(kind))
            while len(ready) > self.shuffle:
                yield collated(ready.pop(int(rng.integers(len(ready)))))

    def drawn(self, rng: np.random.Generator) -> Iterator[Episode]:
        """The episodes of one anatomy."""
        return episodes(rng, self._anatomy(rng), self.episodes_each)

    def _anatomy(self, rng: np.random.Generator) -> Anatomy:
        if self.real and rng.random() < self.real_share:
            size = np.sqrt([one.image.size for one in self.real])
            return self.real[int(rng.choice(len(self.real), p=size / size.sum()))]
        return random_anatomy(rng, self.side)


@dataclass(frozen=True)
class TimedStream(IterableDataset):
    """The batches of another stream, each with the seconds that went into making it."""

    stream: EpisodeStream

    def __iter__(self) -> Iterator[tuple[Batch, float]]:
        begun = time.monotonic()
        for batch in self.stream:
            yield batch, time.monotonic() - begun
            begun = time.monotonic()  # the time that a full queue makes a worker wait is not counted
