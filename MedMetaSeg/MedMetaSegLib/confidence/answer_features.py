"""What an answer shows of its own quality: numbers from which the Dice to expect is told, without the truth.

Two kinds of evidence. How sure the network is: the Dice that its own probabilities promise, and their
entropy. And how far others agree who know the image in another way: interpolated shapes, propagated contours,
a voxel classifier, prototypes, atlases; where independent methods agree, each is likely to be right (as an
ensemble that agrees is: Lakshminarayanan et al., NeurIPS 2017).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

_RIM = 3
"""Working voxels around an answer that stand for what it is told from."""
_LEAST = 1e-6


@torch.no_grad()
def answer_features(
    logits: Tensor,
    image: Tensor,
    opinions: Mapping[str, Tensor],
    maps: Mapping[str, Tensor] | None = None,
) -> dict[str, float]:
    """Features of one structure's answer on its working grid; empty where nothing was found.

    logits: (k, j, i); image: (C, k, j, i); opinions: by name, what others say, (k, j, i), positive inside;
    maps: by name, (k, j, i), whose means inside the answer are features, too. All on one device, from which
    one row of numbers is brought.

    expected_dice: by the network's probabilities; entropy: of the answer, in bits for each of its voxels;
    contrast: difference from its rim in standard deviations, of the channel where that is larger;
    <opinion>_agreement: Dice of answer and opinion around the answer.
    """
    box = _around(logits > 0)
    if box is None:
        return {}
    logits, image = logits[box], image[:, box[0], box[1], box[2]]
    answer = logits > 0
    inside = answer.to(logits.dtype)
    total = inside.sum()
    probability = logits.sigmoid()
    expected = 2 * (probability * inside).sum() / (probability.sum() + total)
    doubt = torch.special.entr(probability) + torch.special.entr(1 - probability)
    rim = _grown(inside, _RIM) - _grown(inside, 1)
    row = {
        "expected_dice": expected,
        "entropy": doubt.sum() / total / math.log(2),
        "contrast": _contrast(image, inside, rim),
    }
    for name, opinion in opinions.items():
        row[f"{name}_agreement"] = _agreement(answer, opinion[box])
    for name, values in (maps or {}).items():
        row[name] = (values[box] * inside).sum() / total
    return dict(zip(row, torch.stack(list(row.values())).tolist(), strict=True))


def _around(answer: Tensor) -> tuple[slice, slice, slice] | None:
    """The block that holds an answer, its rim and a voxel more; None where it is empty."""
    ends = []
    for axis in range(3):
        others = tuple(one for one in range(3) if one != axis)
        ends.append(answer.any(others[1]).any(others[0]))
    filled = torch.cat(ends).tolist()
    block, start = [], 0
    for length in answer.shape:
        along = [n for n, one in enumerate(filled[start : start + length]) if one]
        if not along:
            return None
        block.append(slice(max(0, along[0] - _RIM - 1), min(length, along[-1] + _RIM + 2)))
        start += length
    return block[0], block[1], block[2]


def _grown(mask: Tensor, steps: int) -> Tensor:
    """A mask of zeros and ones (k, j, i), a cube of so many voxels around each of its voxels added.

    Along one axis after the other, which takes a fraction of the time of max pooling on a CPU.
    """
    for axis in range(3):
        before, mask = mask, mask.clone()
        for step in range(1, min(steps, mask.shape[axis] - 1) + 1):
            length = mask.shape[axis] - step
            for to, start in ((step, 0), (0, step)):
                part = mask.narrow(axis, to, length)
                torch.maximum(part, before.narrow(axis, start, length), out=part)
    return mask


def _contrast(image: Tensor, inside: Tensor, rim: Tensor) -> Tensor:
    channels, masks = image.flatten(1), torch.stack([inside.flatten(), rim.flatten()])
    counts = masks.sum(1).clamp(min=1)
    means = channels @ masks.T / counts
    variances = (channels.square() @ masks.T / counts - means.square()).clamp(min=0)
    return ((means[:, 0] - means[:, 1]).abs() / (variances.sum(1) / 2).sqrt().clamp(min=_LEAST)).max()


def _agreement(answer: Tensor, opinion: Tensor) -> Tensor:
    """Dice of an answer and what an opinion says, in one block."""
    other = opinion > 0
    return 2 * (answer & other).sum() / (answer.sum() + other.sum()).clamp(min=1)
