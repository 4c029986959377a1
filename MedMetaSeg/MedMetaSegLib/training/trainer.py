"""Episodic training: time-boxed, checkpointed, resumable, on CPU or CUDA."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as functional
from monai.losses import DiceCELoss
from torch import Tensor
from torch.utils.data import DataLoader

from ..errors import InputError
from ..network import conditions
from ..network.inference import LAYOUT, chosen_device
from ..network.model import Architecture, FewShotNetwork
from ..network.weights import load_network, weights_bytes
from .real import real_anatomies
from .stream import EpisodeStream

CHECKPOINT, LOG, WEIGHTS = "checkpoint.pt", "training.csv", "medmetaseg.safetensors"
PROTOTYPE_LOSS = 0.3
BORDER_SCALE = 5.0
"""The linear score runs from -1 to 1; as a logit it needs a steeper slope."""


@dataclass(frozen=True)
class Schedule:
    """What a training run is: `minutes` of learning in all, however often it is interrupted."""

    minutes: float
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warm_up_steps: int = 100
    average: float = 0.998
    real_share: float = 0.3
    save_every_s: float = 300.0

    def rate(self, step: int, seconds: float) -> float:
        """Linear warm-up, then half a cosine over the time that the run was given."""
        done = min(1.0, seconds / (60 * self.minutes))
        return (
            self.learning_rate
            * min(1.0, (step + 1) / self.warm_up_steps)
            * (0.5 + 0.5 * math.cos(math.pi * done) + 0.01)
        )


class Run:
    """The state of one training run in a folder: network, moving average, optimiser, time spent."""

    def __init__(
        self, folder: Path, schedule: Schedule, device: torch.device, resume: bool, start: Path | None = None
    ) -> None:
        self.folder, self.schedule, self.device = folder, schedule, device
        network: FewShotNetwork = FewShotNetwork(Architecture())
        self.began_with: dict[str, Any] = {}
        if start:
            network, self.began_with = load_network(start)
        self.network = network.train().to(device).to(memory_format=LAYOUT)  # type: ignore[call-overload]
        self.averaged = torch.optim.swa_utils.AveragedModel(
            self.network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(schedule.average)
        )
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay
        )
        self.loss = DiceCELoss(sigmoid=True, smooth_nr=1.0, smooth_dr=1.0)
        self.step, self.seconds, self.starts = 0, 0.0, 0
        self.shown: dict[str, float] = {}
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = folder / CHECKPOINT
        if checkpoint.exists():
            if not resume:
                raise InputError(
                    f"{checkpoint} exists: continue it with --resume, or choose another folder with --out."
                )
            self._restore(torch.load(checkpoint, map_location=device, weights_only=True))

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds, self.starts = state["step"], state["seconds"], state["starts"] + 1
        self.began_with = state["began_with"]

    def save(self) -> None:
        """Checkpoint and weights, each whole or not at all."""
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "starts": self.starts,
            "began_with": self.began_with,
        }
        part = self.folder / (CHECKPOINT + ".part")
        torch.save(state, part)
        os.replace(part, self.folder / CHECKPOINT)
        about: dict[str, Any] = {
            "steps": self.step,
            "hours": round(self.seconds / 3600, 2),
            "device": str(self.device),
            **asdict(self.schedule),
        }
        if self.began_with:
            about["began_with"] = {name: self.began_with.get(name) for name in ("sha256", "steps")}
        part = self.folder / (WEIGHTS + ".part")
        part.write_bytes(weights_bytes(cast(FewShotNetwork, self.averaged.module), about))
        os.replace(part, self.folder / WEIGHTS)

    def learn(self, image: Tensor, condition: Tensor, target: Tensor) -> dict[str, float]:
        """One step on one batch of episodes; returns its loss and Dice off the annotated voxels."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.rate(self.step, self.seconds)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits, votes = self.network(image, condition)
        logits, votes = logits.float(), votes.float()
        small = functional.avg_pool3d(target, 2)
        loss = self.loss(logits, target)
        votes = votes * votes.new_tensor([1.0, BORDER_SCALE])[:, None, None, None]
        own = functional.binary_cross_entropy_with_logits(votes, small.expand_as(votes))
        loss = loss + PROTOTYPE_LOSS * own
        if not torch.isfinite(loss):
            raise RuntimeError(
                f"The loss is {loss.item()} at step {self.step}: resume from the last checkpoint."
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.averaged.update_parameters(self.network)
        self.step += 1
        unknown = (condition[:, [conditions.FOREGROUND]] + condition[:, [conditions.BACKGROUND]]) == 0
        return {
            "loss": loss.item(),
            "dice": _dice(logits > 0, target > 0, unknown),
            "vote": _dice(votes[:, :1] > 0, small > 0.5, functional.avg_pool3d(unknown.float(), 2) > 0.5),
            "border": _dice(votes[:, 1:] > 0, small > 0.5, functional.avg_pool3d(unknown.float(), 2) > 0.5),
            "interpolation": _dice(condition[:, [conditions.SHAPE]] > 0, target > 0, unknown),
        }

    def note(self, figures: dict[str, float]) -> None:
        """Running means, written to the log every 50 steps."""
        for name, value in figures.items():
            if not math.isnan(value):
                self.shown[name] = 0.99 * self.shown.get(name, value) + 0.01 * value
        if self.step % 50 == 0:
            with (self.folder / LOG).open("a", newline="") as file:
                writer = csv.writer(file)
                if file.tell() == 0:
                    writer.writerow(["step", "seconds", *self.shown])
                writer.writerow([self.step, round(self.seconds), *(round(v, 4) for v in self.shown.values())])


def _dice(predicted: Tensor, truth: Tensor, where: Tensor) -> float:
    predicted, truth = predicted & where, truth & where
    total = int(predicted.sum() + truth.sum())
    return 2 * int((predicted & truth).sum()) / total if total else math.nan


def _to_device(stream: DataLoader, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    for image, condition, target in stream:
        yield (
            image.to(device, memory_format=LAYOUT),
            condition.to(device, memory_format=LAYOUT),
            target.to(device, memory_format=LAYOUT),
        )


def train(
    folder: Path,
    schedule: Schedule,
    *,
    device: str = "auto",
    resume: bool = False,
    workers: int = 1,
    data: Path | None = None,
    seed: int = 0,
    start: Path | None = None,
) -> Run:
    """Learn until `schedule.minutes` are used up; weights and checkpoint are in `folder`.

    device: "auto", "cpu" or "cuda"; data: a folder with a manifest of real cases to mix in (held-out patients
    are never read), None: synthetic only; start: weights to begin with, None: random ones. Raises InputError
    when a checkpoint is there and resume is False, or when CUDA is asked for and does not work.
    """
    run = Run(folder, schedule, chosen_device(device)[0], resume, start)
    real = real_anatomies(data) if data is not None else ()
    stream = EpisodeStream(seed=seed + 7919 * run.starts, real=real, real_share=schedule.real_share)
    loader = DataLoader(stream, batch_size=None, num_workers=workers, prefetch_factor=8 if workers else None)
    saved = begun = time.monotonic()
    already = run.seconds
    for image, condition, target in _to_device(loader, run.device):
        run.note(run.learn(image, condition, target))
        now = time.monotonic()
        run.seconds = already + now - begun
        if now - saved > schedule.save_every_s:
            run.save()
            saved = now
        if run.seconds >= 60 * schedule.minutes:
            break
    run.save()
    return run


def main(
    minutes: float,
    resume: bool = False,
    device: str = "auto",
    out: Path = Path("out/training"),
    data: Path | None = None,
    workers: int = 1,
    seed: int = 0,
    start: Path | None = None,
) -> Run:
    """The command `train`; see `train` for what the arguments are."""
    schedule = Schedule(minutes=minutes)
    return train(
        out, schedule, device=device, resume=resume, workers=workers, data=data, seed=seed, start=start
    )
