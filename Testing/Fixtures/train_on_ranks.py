"""Run by torchrun in a test: a short run on every rank; each leaves what it ended with, saw and wrote."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from MedMetaSegLib.training import log, run
from MedMetaSegLib.training.trainer import train
from training_phantom import quick

folder = Path(sys.argv[1])
seen: list[float] = []
written: list[str] = []
learn, replace_whole = run.Run.learn, log.replace_whole


def noted_batch(self: run.Run, batch: tuple) -> dict[str, float]:
    seen.append(float(batch[0].double().sum()))
    return learn(self, batch)


def noted_file(path: Path, write) -> None:
    written.append(path.name)
    replace_whole(path, write)


run.Run.learn = noted_batch  # type: ignore[method-assign]
log.replace_whole = run.replace_whole = noted_file
done = train(folder, quick(steps=3, validation_episodes=1), device="cpu")
ended = {"network": done.network.state_dict(), "averaged": done.averaged.state_dict()}
torch.save({**ended, "seen": seen, "written": written}, folder.parent / f"rank{done.ranks.rank}.pt")
