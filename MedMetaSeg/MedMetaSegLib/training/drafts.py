"""Drafts of episodes: all that is drawn at random; the channels follow from it, on whatever device learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..network.image_evidence import ImageEvidence, image_channels
from ..network.prompt_channels import KnownSlice, place_prompt, scribble_prompt, slice_prompt

Batch = tuple[Tensor, Tensor, Tensor, Tensor | None]
"""A batch: image (B, 2, k, j, i), prompt (B, C, k, j, i), target (B, 1, k, j, i), support (B, 4, k, j, i)."""


@dataclass(frozen=True)
class SlicesDraft:
    """Slices annotated whole, ascending; others: bool (k, j, i), known to be something else, or None."""

    slices: tuple[KnownSlice, ...]
    others: np.ndarray | None

    def prompt(self, evidence: ImageEvidence) -> Tensor:
        """(PROMPT_CHANNELS, k, j, i), where the evidence lies."""
        return slice_prompt(evidence, self.slices, self.others)


@dataclass(frozen=True)
class ScribblesDraft:
    """Strokes in the structure and outside it, bool (k, j, i) each."""

    inside: np.ndarray
    outside: np.ndarray

    def prompt(self, evidence: ImageEvidence) -> Tensor:
        """(PROMPT_CHANNELS, k, j, i), where the evidence lies."""
        return scribble_prompt(evidence, self.inside, self.outside)


@dataclass(frozen=True)
class PlaceDraft:
    """A place where the structure is expected; see `place_prompt`."""

    distance: np.ndarray
    tolerance: float
    others: np.ndarray

    def prompt(self, evidence: ImageEvidence) -> Tensor:
        """(PROMPT_CHANNELS, k, j, i), where the evidence lies."""
        return place_prompt(evidence, self.distance, self.tolerance, self.others)


@dataclass(frozen=True)
class SupportDraft:
    """Another patient who has the structure: an image (k, j, i) float32 and a mask, bool."""

    image: np.ndarray
    mask: np.ndarray

    def channels(self, device: torch.device) -> Tensor:
        """(IMAGE_CHANNELS + 2, k, j, i) float32: image, structure and background."""
        mask = torch.from_numpy(self.mask).to(device)
        known = torch.stack([mask, ~mask]).float()
        return torch.cat([image_channels(self.image, device), known])


@dataclass(frozen=True)
class EpisodeDraft:
    """What is drawn of an episode.

    image: (k, j, i) float32, not flat; aspect: slice spacing in in-plane voxels; target: bool (k, j, i), to
    be found; known: what is told of it; annotated_slices: see `Episode`. held_out: planes of slices that are
    asked for from the others.
    """

    image: np.ndarray
    aspect: float
    target: np.ndarray
    known: SlicesDraft | ScribblesDraft | PlaceDraft
    annotated_slices: int
    held_out: tuple[int, ...] = ()
    support: SupportDraft | None = None

    @property
    def kind(self) -> tuple[object, ...]:
        """Drafts of one kind can make a batch."""
        return (self.target.shape, self.support is None)

    def evidence(self, device: torch.device) -> ImageEvidence:
        """What the image says, gathered on a device."""
        return ImageEvidence(image_channels(self.image, device), self.aspect)

    def held_out_prompts(self, evidence: ImageEvidence) -> tuple[tuple[int, Tensor], ...]:
        """Of every held-out slice its plane and the prompt of the others."""
        if not self.held_out:
            return ()
        assert isinstance(self.known, SlicesDraft)
        slices = self.known.slices
        return tuple(
            (plane, slice_prompt(evidence, [one for one in slices if one.position != plane]))
            for plane in self.held_out
        )


def flat(image: np.ndarray) -> bool:
    """Whether an image shows nothing: all of it has one value."""
    return not np.ptp(image) > 0


def batch_of(drafts: Sequence[EpisodeDraft], device: torch.device) -> Batch:
    """The batch of drafts of one kind; all its channels are made on the device."""
    images, prompts = [], []
    for one in drafts:
        evidence = one.evidence(device)
        images.append(evidence.channels)
        prompts.append(one.known.prompt(evidence))
    target = torch.from_numpy(np.stack([one.target for one in drafts]))[:, None].to(device).float()
    support = [one.support.channels(device) for one in drafts if one.support is not None]
    return torch.stack(images), torch.stack(prompts), target, torch.stack(support) if support else None
