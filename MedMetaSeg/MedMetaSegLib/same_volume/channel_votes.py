"""How an image and its channels each voted: the answer that each gives by itself, beside the result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..imageio.geometry import Geometry, index3
from ..results.merge import first_mask, inner_box, union_box
from ..results.millilitres import rounded_millilitres
from ..support.structure import AnnotatedStructure
from ..working_grid.channels import PlacedChannel, shown_share, shows
from ..working_grid.grid import positive_back
from ..working_grid.intensity import IntensityNormalization
from .volume_memory import StructureLogits

Block = tuple[tuple[slice, ...], np.ndarray]
"""A block of a grid, and a mask (k, j, i) there."""


def votes_told(
    answer: StructureLogits,
    annotated: AnnotatedStructure,
    grid: Geometry,
    result: Block,
    names: Sequence[str],
    channels: Sequence[PlacedChannel],
) -> list[dict[str, object]]:
    """For the report of a structure: what each image by itself gives it, in ml and by Dice with the result.

    annotated: on `grid`, which is that of the result; names: of the image and of its channels. What lies
    beyond a channel's field of view counts on neither side. Both are None for a channel without a say.
    """
    told: list[dict[str, object]] = []
    for name, vote, channel in zip(names, answer.votes, (None, *channels), strict=True):
        entry: dict[str, object] = {"name": name, "millilitres": None, "dice_with_result": None}
        if vote is not None:
            found = positive_back(vote, answer.grid, grid)
            by_itself = first_mask(annotated, found.logits, found.where)
            one, other = _in_view(by_itself, result, grid, channel)
            entry["millilitres"] = rounded_millilitres(np.count_nonzero(one) * grid.voxel_ml)
            entry["dice_with_result"] = round(_dice(one, other), 4)
        told.append(entry)
    return told


def channels_told(
    names: Sequence[str],
    intensity: IntensityNormalization,
    channels: Sequence[PlacedChannel],
    grid: Geometry,
) -> list[dict[str, object]]:
    """For the report: the name of each image, the share of the image that it shows, and its intensities."""
    shares = [1.0, *(shown_share(one.volume.geometry, grid) for one in channels)]
    intensities = [intensity, *(one.intensity for one in channels)]
    return [
        {"name": name, "shows": round(share, 4), "intensity": one.as_dict()}
        for name, share, one in zip(names, shares, intensities, strict=True)
    ]


def channel_notes(
    channels: Sequence[PlacedChannel], grid: Geometry, structures: Sequence[tuple[str, StructureLogits]]
) -> list[str]:
    """Sentences about what channels do not show. structures: the name of each, and its answer."""
    return [note for number, one in enumerate(channels, 1) for note in _notes(number, one, grid, structures)]


def _notes(
    number: int, channel: PlacedChannel, grid: Geometry, structures: Sequence[tuple[str, StructureLogits]]
) -> Iterator[str]:
    yield from channel.notes
    share = shown_share(channel.volume.geometry, grid)
    if share < 1:
        yield f"The channel {channel.name} shows {100 * share:.0f} % of the image, and has no say elsewhere."
    for name, answer in structures:
        if answer.votes[number] is None:
            yield (
                f"The channel {channel.name} shows nothing of what was annotated of {name}, and has no say "
                "in it."
            )


def _in_view(
    one: Block, other: Block, grid: Geometry, channel: PlacedChannel | None
) -> tuple[np.ndarray, np.ndarray]:
    """Two masks on one block that holds both, where a channel shows something; everywhere without one."""
    box = union_box(one[0], other[0])
    size = [along.stop - along.start for along in box]
    masks = []
    for where, mask in (one, other):
        whole = np.zeros(size, bool)
        if mask.size:
            whole[_within(where, box)] = mask
        masks.append(whole)
    if channel is not None and min(size):
        view = shows(channel.volume.geometry, grid.cropped([along.start for along in box], index3(size)))
        masks = [mask & view for mask in masks]
    return masks[0], masks[1]


def _within(where: tuple[slice, ...], box: tuple[slice, ...]) -> tuple[slice, ...]:
    """A block of a grid as a block of a larger one that holds it."""
    return inner_box(tuple(slice(-along.start, 0) for along in box), where)


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / total if total else 1.0
