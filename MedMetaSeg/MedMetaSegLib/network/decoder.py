"""The decoder: one structure's logits from features, similarity to prototypes, and the prompt."""

from __future__ import annotations

from torch import Tensor, nn

from .encoder import SLOPE, Features, ResidualBlock, upsampled
from .layers import convolution, pointwise


class Head(nn.Module):
    """The last layers, at full resolution: the part of the network that adapts to one structure."""

    def __init__(self, full: nn.Sequential, out: nn.Conv3d) -> None:
        super().__init__()
        self.full, self.out = full, out

    def forward(self, x: Tensor, prompt: Tensor) -> Tensor:
        """Logits (B, 1, k, j, i) from the trunk's x (B, F, k, j, i) and prompt (B, C, k, j, i)."""
        hidden = convolution([x, prompt], self.full[0], SLOPE)
        return pointwise([convolution([hidden], self.full[2], SLOPE), prompt], self.out)


class Decoder(nn.Module):
    """A U-shaped network over the cached features of the encoder, conditioned on one structure.

    The prompt goes down beside the features (fused by 1x1x1 convolutions at each resolution) and up again
    to the full working grid, where the prompt and the slices' own shape interpolation are seen once more,
    so that a fine boundary survives the strided stem.
    """

    def __init__(
        self, input_channels: int, similarity_channels: int, widths: tuple[int, ...], full: int = 8
    ) -> None:
        super().__init__()
        self.stem = nn.Conv3d(input_channels, widths[0], 2, stride=2)
        before = (widths[0] + similarity_channels, *widths[:-1])
        self.fuse = nn.ModuleList(
            nn.Conv3d(width + incoming, width, 1) for width, incoming in zip(widths, before, strict=True)
        )
        self.down = nn.ModuleList(ResidualBlock(width, width) for width in widths)
        self.rise = nn.ModuleList(
            nn.Conv3d(deep, width, 1) for deep, width in zip(widths[1:], widths[:-1], strict=True)
        )
        self.up = nn.ModuleList(ResidualBlock(width, width) for width in widths[:-1])
        self.shrink = nn.Conv3d(widths[0], full, 1)
        self.full = nn.Sequential(
            nn.Conv3d(full + input_channels, 2 * full, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv3d(2 * full, full, 3, padding=1),
            nn.LeakyReLU(SLOPE),
        )
        self.out = nn.Conv3d(full + input_channels, 1, 1)

    @property
    def head(self) -> Head:
        """The last layers, sharing their parameters."""
        return Head(self.full, self.out)

    def trunk(self, features: Features, similarity: Tensor, prompt: Tensor) -> Tensor:
        """What the head reads, (B, F, k, j, i); shapes as in `forward`."""
        parts = [self.stem(prompt), similarity]
        skips: list[Tensor] = []
        for depth, (fuse, block) in enumerate(zip(self.fuse, self.down, strict=True)):
            if depth:
                parts = [nn.functional.max_pool3d(skips[-1], 2)]
            skips.append(block(pointwise([features.levels[depth], *parts], fuse)))
        x = skips[-1]
        for rise, block, skip in zip(
            reversed(self.rise), reversed(self.up), reversed(skips[:-1]), strict=True
        ):
            x = block(upsampled(pointwise([x], rise), skip) + skip)
        return upsampled(pointwise([x], self.shrink), prompt)

    def forward(self, features: Features, similarity: Tensor, prompt: Tensor) -> Tensor:
        """Logits (B, 1, k, j, i) from prompt (B, C, k, j, i) and similarity (B, S, k/2, j/2, i/2)."""
        return self.head(self.trunk(features, similarity, prompt), prompt)
