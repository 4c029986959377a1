"""What an answer in the same volume shows of its own quality; see `confidence.answer_features`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ..confidence.answer_features import answer_features
from ..network.image_evidence import ImageEvidence
from ..network.prompt_channels import (
    APPEARANCE,
    GEODESIC,
    LIKELIHOOD,
    MATCHING_RESIDUAL,
    PROPAGATED,
    SHAPE,
    KnownSlice,
)
from ..support.structure import AnnotatedStructure
from ..working_grid.grid import WorkingGrid
from .annotation_evidence import annotated_slices

_OPINIONS = {
    "shape": SHAPE,
    "propagated": PROPAGATED,
    "likelihood": LIKELIHOOD,
    "appearance": APPEARANCE,
    "geodesic": GEODESIC,
}
"""Channels of the prompt that are a segmentation of their own, positive inside."""


def quality_features(
    grid: WorkingGrid, image: ImageEvidence, annotated: AnnotatedStructure, prompt: Tensor, logits: np.ndarray
) -> dict[str, float]:
    """Features of the answer for one structure; empty where nothing was found.

    logits: (k, j, i) on the grid; image, prompt: what the network read there. Of a structure annotated in
    slices, beside those of `answer_features`: slices, the logarithm to 2 of their number; gap, planes of the
    answer per slice over its diameter in a slice, both in working voxels; similarity, mean Dice of a slice
    and the next; interpolation, mean Dice of a slice and what its neighbours give in its place; beyond, share
    of the answer that lies beyond the outermost slices; residual, mean matching residual inside the answer.
    """
    device = prompt.device
    answer = torch.from_numpy(logits).to(device)
    opinions = {name: prompt[number] for name, number in _OPINIONS.items()}
    maps = {} if annotated.axis is None else {"residual": prompt[MATCHING_RESIDUAL]}
    found = answer_features(answer, image.channels, opinions, maps)
    if found and annotated.axis is not None:
        found |= _slice_features(annotated_slices(grid, annotated), logits > 0, grid.aspect)
    return found


def _slice_features(slices: Sequence[KnownSlice], answer: np.ndarray, aspect: float) -> dict[str, float]:
    areas = np.count_nonzero(answer, axis=(1, 2))
    filled = np.flatnonzero(areas)
    drawn = [one.signed_distance > 0 for one in slices]
    diameter = float(np.sqrt(np.mean([np.count_nonzero(one) for one in drawn]))) or 1.0
    planes = [int(np.clip(np.floor(one.position + 0.5), 0, len(answer) - 1)) for one in slices]
    found = {
        "slices": float(np.log2(len(slices))),
        "gap": len(filled) * aspect / len(slices) / diameter,
        "beyond": float((areas[: planes[0]].sum() + areas[planes[-1] + 1 :].sum()) / max(areas.sum(), 1)),
    }
    if len(slices) > 1:
        found["similarity"] = float(np.mean([_dice(a, b) for a, b in pairwise(drawn)]))
    if len(slices) > 2:
        threes = zip(slices, slices[1:], slices[2:], strict=False)
        found["interpolation"] = float(np.mean([_interpolated_dice(*three) for three in threes]))
    return found


def _interpolated_dice(below: KnownSlice, slice_: KnownSlice, above: KnownSlice) -> float:
    """Dice of a slice and the shape that its neighbours give in its place."""
    share = (slice_.position - below.position) / max(above.position - below.position, 1e-6)
    shape = (1 - share) * below.signed_distance + share * above.signed_distance
    return _dice(shape > 0, slice_.signed_distance > 0)


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice of two masks of one shape, 1 where both are empty."""
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / total if total else 1.0
