"""How an image and its channels each voted on an annotated structure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..imageio.geometry import Geometry
from ..results.merge import first_mask
from ..results.votes import Block, Vote
from ..support.search_region import SearchRegion
from ..support.structure import AnnotatedStructure
from ..working_grid.channels import PlacedChannel, block_view
from ..working_grid.grid import positive_back
from ..working_grid.search_region import cut_to_region
from .volume_memory import StructureLogits


def structure_votes(
    answer: StructureLogits,
    annotated: AnnotatedStructure,
    grid: Geometry,
    image: str,
    channels: Sequence[PlacedChannel],
    region: SearchRegion | None,
) -> list[Vote]:
    """What the image, of this name, and each channel say by themselves of a structure annotated on a grid.

    region: on the grid, outside which nothing counts; None for everywhere.
    """
    votes = []
    views = [None, *(partial(block_view, one.volume.geometry, grid) for one in channels)]
    for name, logits, view in zip([image, *(one.name for one in channels)], answer.votes, views, strict=True):
        found = None
        if logits is not None:
            positive = cut_to_region(positive_back(logits, answer.grid, grid), region)
            found = Block(*first_mask(annotated, positive.logits, positive.where))
        votes.append(Vote(name, found, view))
    return votes


def without_a_say(channels: Sequence[PlacedChannel], name: str, answer: StructureLogits) -> list[str]:
    """Sentences about the channels that have no say in the structure of this name."""
    return [
        f"The channel {one.name} shows nothing of what was annotated of {name}, and has no say in it."
        for one, logits in zip(channels, answer.votes[1:], strict=True)
        if logits is None
    ]
