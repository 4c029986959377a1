"""Run by torchrun in a test: a short run on every rank; each leaves what it ended with, saw and wrote."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from MedMetaSegLib.imageio import writing
from MedMetaSegLib.training import run
from MedMetaSegLib.training.trainer import train
from training_phantom import quick

folder = Path(sys.argv[1])
seen: list[float] = []
written: list[str] = []
learn, replace_all = run.Run.learn, writing.replace_all


def noted_batch(self: run.Run, batch: tuple) -> dict[str, float]:
    seen.append(float(batch[0].double().sum()))
    return learn(self, batch)


def noted_files(writers: dict, check=None) -> None:
    written.extend(path.name for path in writers)
    replace_all(writers, check)


run.Run.learn = noted_batch  # type: ignore[method-assign]
writing.replace_all = noted_files
done = train(folder, quick(steps=3, validation_episodes=1), device="cpu")
ended = {"network": done.network.state_dict(), "averaged": done.averaged.state_dict()}
torch.save({**ended, "seen": seen, "written": written}, folder.parent / f"rank{done.ranks.rank}.pt")
