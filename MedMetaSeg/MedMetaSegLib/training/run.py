"""One training run in its folder: network, moving average, optimiser, and the checkpoint that holds them."""

from __future__ import annotations

import math
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as functional
from monai.losses import DiceCELoss
from torch import Tensor, nn

from ..errors import InputError
from ..imageio.writing import replace_whole, write_bytes
from ..network import prompt_channels as prompts
from ..network.inference import LAYOUT
from ..network.model import Architecture, FewShotNetwork
from ..network.weights import load_network, weights_bytes
from .config import TrainingConfig
from .parallel import Ranks
from .stream import Batch
from .validation import dice

CHECKPOINT, WEIGHTS = "checkpoint.pt", "medmetaseg.safetensors"
PROTOTYPE_LOSS = 0.3
"""Weight of the prototypes' own loss, beside that of the decoder's logits."""
RIDGE_SCORE_SCALE = 5.0
"""Factor that makes a logit of a ridge score, which runs from -1 to 1: it needs a steeper slope."""


def prototype_loss(scores: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of what prototypes alone answer.

    scores (B, 4, k/2, j/2, i/2): prototype logit and ridge score of the volume's own annotated voxels, then
    of a task's; target (B, 1, k, j, i).

    Where a structure is expected and is not there, its own annotated voxels are none of it and teach nothing.
    """
    small = functional.avg_pool3d(target, 2)
    scores = scores * scores.new_tensor([1.0, RIDGE_SCORE_SCALE] * 2)[:, None, None, None]
    entropy = functional.binary_cross_entropy_with_logits(scores, small.expand_as(scores), reduction="none")
    there = (target.amax((1, 2, 3, 4)) > 0)[:, None]
    entropy = entropy.mean((2, 3, 4))
    return torch.cat([entropy[:, :2] * there, entropy[:, 2:]], 1).mean()


class Run:
    """The state of one training run in a folder: network, moving average, optimiser, time spent.

    data_sets: names of the data sets that are mixed in, which the weights' provenance tells.

    Raises InputError when the folder has a checkpoint and `resume` is False, when the checkpoint is damaged
    or of another architecture, and when the start weights are.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainingConfig,
        device: torch.device,
        *,
        resume: bool = False,
        ranks: Ranks | None = None,
    ) -> None:
        self.folder, self.config, self.device, self.ranks = folder, config, device, ranks or Ranks()
        self.schedule = config.schedule
        network, self.began_with = _first_network(config)
        self.network = network.train().to(device).to(memory_format=LAYOUT)  # type: ignore[call-overload]
        self.averaged = torch.optim.swa_utils.AveragedModel(
            self.network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(self.schedule.average)
        )
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), self.schedule.learning_rate, weight_decay=self.schedule.weight_decay
        )
        self.loss = DiceCELoss(sigmoid=True, smooth_nr=1.0, smooth_dr=1.0)
        self.step, self.seconds, self.starts = 0, 0.0, 0
        self.data_sets: tuple[str, ...] = ()
        checkpoint = folder / CHECKPOINT
        if checkpoint.exists():
            if not resume:
                raise InputError(
                    f"{checkpoint} exists: continue it with --resume, or choose another folder with --out."
                )
            self._restore(checkpoint)
        self.learner: nn.Module = self.network
        if self.ranks.size > 1:
            self.learner = nn.parallel.DistributedDataParallel(self.network)
        folder.mkdir(parents=True, exist_ok=True)
        if self.ranks.first:
            for left in folder.glob(".partial-*"):  # by a run that was killed as it wrote
                left.unlink()

    def _restore(self, checkpoint: Path) -> None:
        try:
            state: dict[str, Any] = torch.load(checkpoint, map_location=self.device, weights_only=True)
        except (RuntimeError, EOFError, OSError, KeyError, pickle.UnpicklingError) as error:
            raise InputError(
                f"The checkpoint {checkpoint} is damaged: choose another folder with --out, and begin with "
                f"{WEIGHTS} of this one by --start."
            ) from error
        try:
            self.network.load_state_dict(state["network"])
            self.averaged.load_state_dict(state["averaged"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.seconds, self.starts = state["step"], state["seconds"], state["starts"] + 1
            self.began_with = state["began_with"]
        except (RuntimeError, KeyError, ValueError) as error:
            raise InputError(
                f"The checkpoint {checkpoint} is of another network than the settings ask for: "
                "choose another folder with --out, or the settings that it was begun with."
            ) from error

    def save(self) -> None:
        """Write checkpoint and weights, each whole or not at all; the first rank alone writes."""
        if not self.ranks.first:
            return
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "starts": self.starts,
            "began_with": self.began_with,
        }
        replace_whole(self.folder / CHECKPOINT, lambda part: torch.save(state, part))
        about: dict[str, Any] = {
            **asdict(self.schedule),
            **asdict(self.config.episodes),
            "steps": self.step,
            "hours": round(self.seconds / 3600, 2),
            "device": str(self.device),
            "processes": self.ranks.size,
        }
        if self.data_sets:
            about["data_sets"] = list(self.data_sets)
        if self.began_with:
            about["began_with"] = {name: self.began_with.get(name) for name in ("sha256", "steps")}
        weights = weights_bytes(cast(FewShotNetwork, self.averaged.module), about)
        write_bytes(self.folder / WEIGHTS, weights)

    def learn(self, batch: Batch) -> dict[str, float]:
        """Take one step on one batch of episodes; returns its loss, and Dice off the annotated voxels.

        dice: of the logits; prototype_logit, ridge_score, task_ridge_score: of the prototypes' own answers
        cut at 0; interpolation: of the interpolated shape. Raises RuntimeError where the loss is not finite.
        """
        _, prompt, target, _ = batch
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.rate(self.step, self.seconds)
        loss, logits, scores = self._forward(self.learner, batch)
        if not torch.isfinite(loss):
            raise RuntimeError(
                f"The loss is {loss.item()} at step {self.step}: resume from the last checkpoint."
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.averaged.update_parameters(self.network)
        self.step += 1
        unannotated = (prompt[:, [prompts.FOREGROUND]] + prompt[:, [prompts.BACKGROUND]]) == 0
        half = functional.avg_pool3d(unannotated.float(), 2) > 0.5
        truth = functional.avg_pool3d(target, 2) > 0.5
        return {
            "loss": loss.item(),
            "dice": dice(logits > 0, target > 0, unannotated),
            "prototype_logit": dice(scores[:, :1] > 0, truth, half),
            "ridge_score": dice(scores[:, 1:2] > 0, truth, half),
            "task_ridge_score": dice(scores[:, 3:] > 0, truth, half) if batch[3] is not None else math.nan,
            "interpolation": dice(prompt[:, [prompts.SHAPE]] > 0, target > 0, unannotated),
        }

    def _forward(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        image, prompt, target, support = batch
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits, scores = network(image, prompt, support)
        logits, scores = logits.float(), scores.float()
        loss = self.loss(logits, target) + PROTOTYPE_LOSS * prototype_loss(scores, target)
        return loss, logits, scores

    def tried(self, batch: Batch) -> None:
        """Go forward and backward on a batch as `learn` does and change nothing, to see how long it takes."""
        self._forward(self.network, batch)[0].backward()
        self.optimiser.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _first_network(config: TrainingConfig) -> tuple[FewShotNetwork, dict[str, Any]]:
    """A network with random weights, or the start weights and where these come from."""
    if config.start is None:
        return FewShotNetwork(config.network or Architecture()), {}
    network, provenance = load_network(config.start)
    if config.network not in (None, network.architecture):
        raise InputError(
            f"The weights {config.start} are of another network than the settings ask for: "
            "leave out the section [network], or --start."
        )
    return network, provenance
