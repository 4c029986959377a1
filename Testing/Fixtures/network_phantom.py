"""A small network with random weights, and a small image with two annotated slices, for tests."""

from __future__ import annotations

import numpy as np
import torch

from MedMetaSegLib.network.image_evidence import ImageEvidence, image_channels
from MedMetaSegLib.network.model import Architecture, FewShotNetwork
from MedMetaSegLib.network.prompt_channels import (
    KnownSlice,
    signed_distance,
    slice_prompt,
)

TINY = Architecture(widths=(8, 12, 16), embedding=8, foreground_prototypes=3, background_prototypes=4)


def tiny_network(seed: int = 0) -> FewShotNetwork:
    """The shipped architecture at a fraction of its width, in evaluation mode."""
    torch.manual_seed(seed)
    return FewShotNetwork(TINY).eval()


def ball(shape: tuple[int, int, int]) -> np.ndarray:
    """Bool (k, j, i): an ellipsoid in the middle."""
    k, j, i = (2 * (np.arange(n) - (n - 1) / 2) / n for n in shape)
    return k[:, None, None] ** 2 + j[:, None] ** 2 + i**2 < 0.4


def annotated(shape: tuple[int, int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """image (2, k, j, i) and prompt (C, k, j, i) of a noisy ellipsoid drawn on two slices."""
    mask = ball(shape)
    noise = np.random.default_rng(seed).normal(0, 0.3, shape)
    image = ImageEvidence(image_channels((mask + noise).astype(np.float32)), 1.0)
    drawn = [KnownSlice(float(k), signed_distance(mask[k])) for k in (shape[0] // 3, 2 * shape[0] // 3)]
    return image.channels.numpy(), slice_prompt(image, drawn).numpy()


def batch(*parts: tuple[np.ndarray, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (B, 2, k, j, i) and prompts (B, C, k, j, i) as tensors."""
    images, prompts = zip(*parts, strict=True)
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(prompts))
