"""The outer loop: where the head's inner loop starts and how large its steps are, learned with learn2learn.

Encoder and trunk stay as episodic training left them. Every episode is a task of its own: the head takes
Meta-SGD steps on its annotated slices, each held out in turn, and what is minimised is the loss of the
stepped head on all the rest.

    python -m MedMetaSegLib.training.outer_loop --minutes 20 --start medmetaseg.safetensors --out out/adapt
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from monai.losses import DiceCELoss
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ..imageio.writing import write_bytes
from ..network.adaptation import HeldOut, around, slice_loss
from ..network.inference import chosen_device
from ..network.model import FewShotNetwork
from ..network.prompt_channels import BACKGROUND, FOREGROUND
from ..network.weights import load_network, weights_bytes
from ..working_grid.grid import OUTSIDE_LOGIT
from .anatomy import Anatomy
from .episodes import Episode, episodes
from .learn2learn_light import load_learn2learn
from .population import Population
from .prepared import real_anatomies
from .synthesis import random_anatomy

RATE, STEP_RATE = 1e-4, 3e-2
"""Learning rates of the outer loop: for the head, and for the logarithm of its step sizes."""
INNER_STEPS = 2
"""Steps of the head on the slices held out, before its loss is measured."""
REPORT_EVERY = 20
"""Episodes between two lines about the loss."""


@dataclass(frozen=True)
class HeldOutStream(IterableDataset):
    """Episodes whose annotated slices are held out in turn; at real_share of them, of real anatomies."""

    seed: int
    real: Sequence[Anatomy] = field(default=())
    real_share: float = 0.3
    each: int = 4

    @cached_property
    def population(self) -> Population:
        """The real patients, from whom one is drawn."""
        return Population(self.real)

    def __iter__(self) -> Iterator[Episode]:
        worker = get_worker_info()
        torch.set_num_threads(1)
        rng = np.random.default_rng((self.seed, worker.id if worker else 0))
        while True:
            if self.real and rng.random() < self.real_share:
                anatomy = self.population.drawn(rng)
            else:
                anatomy = random_anatomy(rng)
            yield from episodes(rng, anatomy, self.each, held_out=True)


def held_out_slices(trunk: Tensor, episode: Episode, device: torch.device) -> list[HeldOut]:
    """What the inner loop learns from: each annotated slice, as the trunk sees it without that slice.

    trunk (K, F, k, j, i): the trunk's answers to the prompts without each annotated slice.
    """
    held_out = []
    for x, (plane, prompt) in zip(trunk, episode.held_out, strict=True):
        planes = around(plane, x.shape[1])
        target = torch.from_numpy(episode.prompt[None, FOREGROUND, plane][None] > 0).float().to(device)
        read = np.concatenate([episode.image[:, planes], prompt[:, planes]])
        held_out.append(
            HeldOut(
                x[None, :, planes],
                torch.from_numpy(read)[None].to(device),
                plane - planes.start,
                target,
                torch.ones_like(target),
            )
        )
    return held_out


class OuterLoop:
    """The head under learn2learn's MetaSGD, and the optimiser over its start and step sizes."""

    def __init__(self, network: FewShotNetwork, device: torch.device) -> None:
        self.l2l = load_learn2learn()
        self.network, self.device = network.to(device).eval(), device
        self.network.requires_grad_(False)
        self.head = network.decoder.head.requires_grad_(True)
        self.log_sizes = [one.detach().log().requires_grad_(True) for one in network.step_sizes]
        self.loss = DiceCELoss(sigmoid=True, smooth_nr=1.0, smooth_dr=1.0)
        self.descent = torch.optim.Adam(
            [{"params": self.head.parameters(), "lr": RATE}, {"params": self.log_sizes, "lr": STEP_RATE}]
        )

    def step(self, episode: Episode) -> tuple[float, float]:
        """Take one outer step; returns the loss off the annotated slices before and after the inner loop."""
        image = torch.from_numpy(episode.image)[None].to(self.device)
        prompts = np.stack([episode.prompt, *(one for _, one in episode.held_out)])
        with torch.no_grad():
            trunk = self.network.trunk(image, torch.from_numpy(prompts).to(self.device))
        held = held_out_slices(trunk[1:], episode, self.device)
        read = torch.cat([image, torch.from_numpy(episode.prompt)[None].to(self.device)], 1)
        target = torch.from_numpy(episode.target)[None].to(self.device)
        unannotated = ((read[:, 2 + FOREGROUND] == 0) & (read[:, 2 + BACKGROUND] == 0))[:, None].float()
        with torch.no_grad():
            before = float(self._loss(self.head(trunk[:1], read), target, unannotated))
        sizes = [one.exp() for one in self.log_sizes]
        learner = self.l2l.algorithms.MetaSGD(self.l2l.clone_module(self.head), lrs=sizes, first_order=False)
        for _ in range(INNER_STEPS):
            losses = [slice_loss(learner(one.x, one.prompt), one) for one in held]
            learner.adapt(torch.stack(losses).mean())
        loss = self._loss(learner(trunk[:1], read), target, unannotated)
        self.descent.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.head.parameters(), 1.0)
        nn.utils.clip_grad_norm_(self.log_sizes, 1.0)
        self.descent.step()
        return before, float(loss.detach())

    def _loss(self, logits: Tensor, target: Tensor, unannotated: Tensor) -> Tensor:
        outside = OUTSIDE_LOGIT * (1 - unannotated)
        return self.loss(logits * unannotated + outside, target * unannotated).mean()

    def finish(self) -> FewShotNetwork:
        """The network with the learned start and step sizes."""
        with torch.no_grad():
            for size, learned in zip(self.network.step_sizes, self.log_sizes, strict=True):
                size.copy_(learned.exp())
        return self.network


def main(
    minutes: Annotated[float, typer.Option(help="How long.")] = 20.0,
    start: Annotated[
        Path | None, typer.Option(help="Weights to begin with; the shipped ones if none.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the weights.")] = Path("out/adaptation"),
    data: Annotated[Path | None, typer.Option(help="Patients beside the synthetic anatomies.")] = None,
    seed: Annotated[int, typer.Option(help="Of the episodes.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Meta-learn the head's starting point and step sizes; writes medmetaseg.safetensors into a folder."""
    network, about = load_network(start)
    loop = OuterLoop(network, chosen_device(device)[0])
    stream = HeldOutStream(seed, real_anatomies(data) if data is not None else ())
    loader = DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=8)
    out.mkdir(parents=True, exist_ok=True)
    begun = saved = time.monotonic()
    losses: list[tuple[float, float]] = []
    for episode in loader:
        losses.append(loop.step(episode))
        now = time.monotonic()
        over = now - begun > 60 * minutes
        if len(losses) % REPORT_EVERY == 0:
            before, after = np.mean(losses[-REPORT_EVERY:], 0)
            print(
                f"{len(losses)} episodes, {now - begun:.0f} s: loss {before:.4f}, stepped {after:.4f}",
                flush=True,
            )
        if over or now - saved > 120:
            saved = now
            _save(loop, about, len(losses), (now - begun) / 3600, out)
        if over:
            return


def _save(loop: OuterLoop, about: dict[str, Any], number: int, hours: float, out: Path) -> None:
    provenance = {
        **about,
        "outer_loop": {"episodes": number, "hours": round(hours, 2), "inner_steps": INNER_STEPS},
    }
    write_bytes(out / "medmetaseg.safetensors", weights_bytes(loop.finish(), provenance))


if __name__ == "__main__":
    typer.run(main)
