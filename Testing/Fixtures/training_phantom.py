"""Settings that make a training run take a moment: a tiny network, small anatomies, episodes made at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from MedMetaSegLib.imageio.volume import Volume, to_sitk, write_labels
from MedMetaSegLib.training.config import EpisodeOptions, Schedule, TrainingConfig
from MedMetaSegLib.training.stream import Batch
from network_phantom import TINY, annotated, ball, batch

SIDE = 40
CPU = torch.device("cpu")
EPISODES = EpisodeOptions(batch=1, each=1, shuffle=0, side=SIDE, workers=0)
QUICK = TrainingConfig(
    TINY, Schedule(steps=1, learning_rate=1e-2, warm_up_steps=1, validation_episodes=0), EPISODES
)
QUICK_TOML = f"""
[network]
widths = {list(TINY.widths)}
embedding = {TINY.embedding}
foreground_prototypes = {TINY.foreground_prototypes}
background_prototypes = {TINY.background_prototypes}
[schedule]
steps = 1
warm_up_steps = 1
validation_episodes = 0
[episodes]
batch = 1
each = 1
shuffle = 0
side = {SIDE}
workers = 0
"""


def quick(**options: object) -> TrainingConfig:
    """The quick run with other settings, by name."""
    return QUICK.overridden(**options)


def one_batch() -> Batch:
    """Image, prompt, target and no support of two episodes of 16 x 32 x 32 voxels."""
    shape = (16, 32, 32)
    target = torch.from_numpy(ball(shape).astype(np.float32)).expand(2, 1, *shape)
    image, prompt = batch(annotated(shape, seed=1), annotated(shape, seed=2))
    return image, prompt, target, None


def labelled_image(folder: Path, name: str, seed: int = 0, side: int = 28) -> None:
    """Write imagesTr/NAME_0000.nii.gz and labelsTr/NAME.nii.gz: a noisy ellipsoid, label 300."""
    mask = ball((10, side, side))
    noise = np.random.default_rng(seed).normal(0, 0.3, mask.shape)
    volume = Volume.from_array((mask + noise).astype(np.float32), np.diag([1.0, 1.0, 2.0, 1.0]))
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    image = to_sitk(volume.array, volume.geometry)
    sitk.WriteImage(image, str(folder / "imagesTr" / f"{name}_0000.nii.gz"))
    write_labels(folder / "labelsTr" / f"{name}.nii.gz", mask.astype(np.int32) * 300, volume.geometry)
