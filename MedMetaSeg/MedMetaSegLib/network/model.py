"""The few-shot network: encode an image once, then segment any structure from a few known voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from . import prompt_channels as prompts
from .decoder import Decoder
from .encoder import Encoder, Features
from .prototypes import (
    PROTOTYPE_LOGIT,
    SIMILARITY_CHANNELS,
    Prototypes,
    prototypes_from_points,
    sampled,
    similarity_maps,
)

FIRST_STEP = 1e-2
"""Step size of every parameter of the head before meta-training has learned it."""


@dataclass(frozen=True)
class Architecture:
    """Hyper-parameters that make the network; stored beside the weights.

    widths: channels of features at 1/2, 1/4 and 1/8 of the resolution. embedding: channels of the embedding.
    foreground_prototypes, background_prototypes: at most. image_channels, condition_channels (the prompt
    channels, by the name that weights files give them): of the inputs.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    embedding: int = 32
    foreground_prototypes: int = 6
    background_prototypes: int = 12
    image_channels: int = field(default=prompts.IMAGE_CHANNELS, init=False)
    condition_channels: int = field(default=prompts.PROMPT_CHANNELS, init=False)

    def as_dict(self) -> dict[str, object]:
        """Plain values, as written into a weights file."""
        return asdict(self)


class FewShotNetwork(nn.Module):
    """Encoder, prototypes and decoder; axis 0 of every volume lies across the annotated slices."""

    def __init__(self, architecture: Architecture | None = None) -> None:
        super().__init__()
        self.architecture = architecture or Architecture()
        widths = tuple(self.architecture.widths)
        self.encoder = Encoder(prompts.IMAGE_CHANNELS, widths, self.architecture.embedding)
        self.decoder = Decoder(prompts.IMAGE_CHANNELS + prompts.PROMPT_CHANNELS, SIMILARITY_CHANNELS, widths)
        self.log_temperature = nn.Parameter(torch.tensor(2.3))
        self.log_ridge = nn.Parameter(torch.tensor(-4.0))
        self.step_sizes = nn.ParameterList(
            nn.Parameter(torch.full_like(parameter, FIRST_STEP), requires_grad=False)
            for parameter in self.decoder.head.parameters()
        )

    def encode(self, image: Tensor) -> Features:
        """Features of image (B, IMAGE_CHANNELS, k, j, i); each axis must be a multiple of STRIDE."""
        return self.encoder(image)

    def known_points(
        self, embedding: Tensor, prompt: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Embedding vectors and weights of the known structure and of the known background, for one volume.

        embedding (E, k/2, j/2, i/2), prompt (PROMPT_CHANNELS, k, j, i) or its first two channels alone.
        """
        known = functional.avg_pool3d(prompt[None, prompts.FOREGROUND : prompts.BACKGROUND + 1], 2)[0]
        foreground, background = known[0], known[1]
        # A half-resolution voxel that holds both stands for neither, unless a thin structure has no other.
        pure = foreground * (foreground >= background)
        foreground = torch.where((pure > 0).any(), pure, foreground)
        return sampled(embedding, foreground), sampled(embedding, background * (known[0] == 0))

    def prototypes(self, embedding: Tensor, prompt: Tensor) -> Prototypes:
        """Prototypes of one structure from one volume's known voxels; shapes as in `known_points`."""
        return self.prototypes_of(*self.known_points(embedding, prompt))

    def prototypes_of(
        self, foreground: tuple[Tensor, Tensor], background: tuple[Tensor, Tensor]
    ) -> Prototypes:
        """Prototypes from points that were gathered window by window."""
        numbers = self.architecture.foreground_prototypes, self.architecture.background_prototypes
        return prototypes_from_points(foreground, background, *numbers, self.log_ridge.exp() + 1e-3)

    def similarity(self, embedding: Tensor, prototypes: Prototypes, task: Prototypes | None = None) -> Tensor:
        """Similarity maps (SIMILARITY_CHANNELS, k/2, j/2, i/2) of one volume's embedding (E, k/2, j/2, i/2).

        prototypes: of its own known voxels; task: learned on another patient, None for its own again.
        """
        return similarity_maps(embedding, prototypes, self.log_temperature.exp(), task)

    def decode(self, features: Features, similarity: Tensor, image: Tensor, prompt: Tensor) -> Tensor:
        """Logits (B, 1, k, j, i)."""
        return self.decoder(features, similarity, torch.cat([image, prompt], 1))

    def trunk(self, image: Tensor, prompt: Tensor) -> Tensor:
        """What the head reads, (B, F, k, j, i), of one image under several prompts.

        image (1, IMAGE_CHANNELS, k, j, i), prompt (B, PROMPT_CHANNELS, k, j, i).
        """
        features = self.encode(image)
        similarity = torch.stack(
            [
                self.similarity(features.embedding[0], self.prototypes(features.embedding[0], known))
                for known in prompt
            ]
        )
        number = len(prompt)
        levels = tuple(level.expand(number, *level.shape[1:]) for level in features.levels)
        features = Features(levels, features.embedding.expand(number, *features.embedding.shape[1:]))
        return self.decoder.trunk(
            features, similarity, torch.cat([image.expand(number, *image.shape[1:]), prompt], 1)
        )

    def forward(self, image: Tensor, prompt: Tensor, support: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits (B, 1, k, j, i), and what prototypes alone say (B, 4, k/2, j/2, i/2).

        The latter are prototype logit and ridge score: of the volumes' own prototypes, then of the task's.
        image (B, IMAGE_CHANNELS, k, j, i), prompt (B, PROMPT_CHANNELS, k, j, i): B independent volumes.
        support (B, IMAGE_CHANNELS + 2, k, j, i): of each, another patient, and where the structure is known
        there and where its background.
        """
        features = self.encode(image)
        tasks: Sequence[Prototypes | None] = [None] * len(image)
        if support is not None:
            seen, known = support.split([prompts.IMAGE_CHANNELS, 2], 1)
            learned = self.encode(seen).embedding
            tasks = [self.prototypes(*one) for one in zip(learned, known, strict=True)]
        similarity = torch.stack(
            [
                self.similarity(embedding, self.prototypes(embedding, known), task)
                for embedding, known, task in zip(features.embedding, prompt, tasks, strict=True)
            ]
        )
        return self.decode(features, similarity, image, prompt), similarity[:, PROTOTYPE_LOGIT:]
