"""The image encoder: features that do not depend on what was annotated, so they can be kept between runs."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch.nn.functional as functional
from torch import Tensor, nn

from .layers import convolution, instance_norm, pointwise

SLOPE = 0.01
"""Of every leaky ReLU, for negative values."""


class _Convolution(nn.Module):
    """A convolution called `conv`, under which name the weights file has it."""

    def __init__(self, in_channels: int, out_channels: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, size, padding=size // 2, bias=False)


class ResidualBlock(nn.Module):
    """Two convolutions with instance normalisation and a shortcut; parameters as in MONAI's UnetResBlock."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = _Convolution(in_channels, out_channels, 3)
        self.conv2 = _Convolution(out_channels, out_channels, 3)
        self.lrelu = nn.LeakyReLU(SLOPE, inplace=True)
        self.norm1 = nn.InstanceNorm3d(out_channels, affine=True)
        self.norm2 = nn.InstanceNorm3d(out_channels, affine=True)
        self.downsample = in_channels != out_channels
        if self.downsample:
            self.conv3 = _Convolution(in_channels, out_channels, 1)
            self.norm3 = nn.InstanceNorm3d(out_channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, out_channels, k, j, i) of x (B, in_channels, k, j, i)."""
        y = self.lrelu(instance_norm(convolution([x], self.conv1.conv), self.norm1))
        y = instance_norm(convolution([y], self.conv2.conv), self.norm2)
        if self.downsample:
            x = instance_norm(pointwise([x], self.conv3.conv), self.norm3)
        y += x
        return self.lrelu(y)


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
            ResidualBlock(before, width)
            for before, width in zip((widths[0], *widths[:-1]), widths, strict=True)
        )
        self.lateral = nn.ModuleList(nn.Conv3d(width, embedding, 1) for width in widths)
        self.head = nn.Sequential(
            nn.Conv3d(embedding, embedding, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv3d(embedding, embedding, 1),
        )

    def forward(self, image: Tensor) -> Features:
        """Features of image (B, C, k, j, i), each axis a multiple of 8."""
        x = self.stem(image)
        levels = []
        for depth, block in enumerate(self.blocks):
            x = block(functional.max_pool3d(x, 2) if depth else x)
            levels.append(x)
        y = pointwise([levels[-1]], self.lateral[-1])
        for lateral, level in zip(reversed(self.lateral[:-1]), reversed(levels[:-1]), strict=True):
            y = upsampled(y, level) + pointwise([level], lateral)
        hidden = convolution([y], self.head[0], SLOPE)
        return Features(tuple(levels), functional.normalize(pointwise([hidden], self.head[2]), dim=1))
