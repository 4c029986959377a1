"""Validation: how good the averaged weights are on episodes that training never draws."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from torch import Tensor

from ..network import prompt_channels as prompts
from ..network.model import FewShotNetwork
from .episodes import Episode
from .stream import EpisodeStream, collated, moved

SEED = (20261125, 0, 0, 2)
"""Seed of the validation episodes: four numbers, which training never seeds its own with."""
EPISODES = 16
"""Validation episodes of a run, where the settings name no other number."""
MAX_TIME_FRACTION = 0.04
"""Fraction of a run's time that validation takes at most: it waits until it is no more than this."""
OVERLAPS = ("dice", "off_interpolation", "interpolation")
"""Names of the figures that `overlaps` gives, in its order."""


def dice(predicted: Tensor, truth: Tensor, where: Tensor) -> float:
    """Dice of two masks over the voxels of a third; NaN when both are empty there."""
    predicted, truth = predicted & where, truth & where
    total = int(predicted.sum() + truth.sum())
    return 2 * int((predicted & truth).sum()) / total if total else math.nan


class Validation:
    """A fixed set of synthetic episodes, and when it is next time to look at them."""

    def __init__(self, every_s: float, side: int, number: int = EPISODES) -> None:
        stream = EpisodeStream(seed=0, episodes_each=2, side=side)
        rng = np.random.default_rng(SEED)
        self.episodes: list[Episode] = []
        while len(self.episodes) < number:
            self.episodes += stream.drawn(rng)
        del self.episodes[number:]
        self.every_s, self.took_s = every_s, 0.0

    def due(self, since_s: float) -> bool:
        """Whether, `since_s` seconds after the last time, another look is due and cheap enough."""
        return since_s >= max(self.every_s, self.took_s / MAX_TIME_FRACTION)

    @torch.no_grad()
    def measured(self, network: FewShotNetwork, device: torch.device) -> dict[str, float]:
        """Mean Dice over the episodes, and the seconds it took.

        dice: off the annotated voxels; off_interpolation: at those of them where the interpolated shape is
        wrong (0 for a network that only repeats it); interpolation: of that shape, off the annotated voxels.
        """
        begun = time.monotonic()
        training, rows = network.training, []
        network.eval()
        for one in self.episodes:
            image, prompt, target, support = moved(collated([one]), device)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = network(image, prompt, support)[0]
            rows.append(overlaps(logits.float() > 0, prompt, target > 0))
        network.train(training)
        self.took_s = time.monotonic() - begun
        table = np.array(rows, float)
        with np.errstate(all="ignore"):
            means = [
                float(np.nanmean(column)) if not np.isnan(column).all() else math.nan for column in table.T
            ]
        return {**dict(zip(OVERLAPS, means, strict=True)), "validation_s": self.took_s}


def overlaps(predicted: Tensor, prompt: Tensor, truth: Tensor) -> tuple[float, float, float]:
    """The figures named in OVERLAPS, of a batch of masks (B, 1, k, j, i)."""
    annotated = prompt[:, [prompts.FOREGROUND]] + prompt[:, [prompts.BACKGROUND]]
    shape = prompt[:, [prompts.SHAPE]] > 0
    unannotated = annotated == 0
    return (
        dice(predicted, truth, unannotated),
        dice(predicted, truth, unannotated & (shape != truth)),
        dice(shape, truth, unannotated),
    )
