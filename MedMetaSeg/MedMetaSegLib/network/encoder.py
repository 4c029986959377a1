"""The image encoder: features that do not depend on what was annotated, so they can be kept between runs."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch.nn.functional as functional
from monai.networks.blocks import UnetResBlock
from torch import Tensor, nn

NORM = ("instance", {"affine": True})
"""Normalisation of a residual block, as MONAI names it."""
ACTIVATION = ("leakyrelu", {"negative_slope": 0.01, "inplace": True})
"""Activation of a residual block, as MONAI names it."""


def residual_block(in_channels: int, out_channels: int) -> UnetResBlock:
    """MONAI's two-convolution residual block with instance normalisation."""
    return UnetResBlock(3, in_channels, out_channels, 3, 1, norm_name=NORM, act_name=ACTIVATION)


def upsampled(x: Tensor, like: Tensor) -> Tensor:
    """x (B, C, k, j, i) on the spatial shape of `like`, trilinear."""
    return functional.interpolate(x, size=like.shape[2:], mode="trilinear", align_corners=False)


class Features(NamedTuple):
    """Features of an image, at 1/2, 1/4 and 1/8 of its resolution.

    levels: (B, width, k, j, i) each; embedding: (B, E, k, j, i) at 1/2, unit length over channels: the space
    of the prototypes.
    """

    levels: tuple[Tensor, ...]
    embedding: Tensor

    def to(self, *args: Any) -> Features:
        """Every tensor moved or cast, as torch.Tensor.to."""
        return Features(tuple(level.to(*args) for level in self.levels), self.embedding.to(*args))


class Encoder(nn.Module):
    """Residual pyramid on a strided stem, a top-down path to the embedding (Lin et al., FPN, CVPR 2017)."""

    def __init__(self, in_channels: int, widths: tuple[int, ...], embedding: int) -> None:
        super().__init__()
        self.stem = nn.Conv3d(in_channels, widths[0], 2, stride=2)
        self.blocks = nn.ModuleList(
            residual_block(before, width)
            for before, width in zip((widths[0], *widths[:-1]), widths, strict=True)
        )
        self.lateral = nn.ModuleList(nn.Conv3d(width, embedding, 1) for width in widths)
        self.head = nn.Sequential(
            nn.Conv3d(embedding, embedding, 3, padding=1),
            nn.LeakyReLU(0.01),
            nn.Conv3d(embedding, embedding, 1),
        )

    def forward(self, image: Tensor) -> Features:
        """Features of image (B, C, k, j, i), each axis a multiple of 8."""
        x = self.stem(image)
        levels = []
        for depth, block in enumerate(self.blocks):
            x = block(functional.max_pool3d(x, 2) if depth else x)
            levels.append(x)
        y = self.lateral[-1](levels[-1])
        for lateral, level in zip(reversed(self.lateral[:-1]), reversed(levels[:-1]), strict=True):
            y = upsampled(y, level) + lateral(level)
        return Features(tuple(levels), functional.normalize(self.head(y), dim=1))
