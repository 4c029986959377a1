"""The channels of a patient to whom a task is applied: which it needs, where they lie, how each voted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..errors import InputError
from ..imageio.channel import IMAGE, Channel, check_channel_names
from ..imageio.geometry import Geometry
from ..imageio.volume import Volume
from ..results.votes import Block, Vote
from ..support.search_region import SearchRegion
from ..task.task_file import Task
from ..working_grid.channels import PlacedChannel, block_view, placed_channel
from ..working_grid.grid import positive_back
from ..working_grid.search_region import cut_to_region
from .atlas_placement import AtlasPlacement
from .search import Prediction


def check_task_channels(task: Task, names: Sequence[str]) -> None:
    """Raise InputError unless these are the names of the task's channels, in whatever order."""
    check_channel_names(names)
    needed = [one.name for one in task.channels]
    missing = [name for name in needed if name not in names]
    if missing:
        raise InputError(
            f"The task was learned with channels beside each image, and needs {', '.join(missing)} of this "
            "one, too."
        )
    strange = [name for name in names if name not in needed]
    if strange:
        has = f"it has {', '.join(needed)}" if needed else "it was learned from one image"
        raise InputError(f"The task has no channel {', '.join(strange)}; {has}.")


def task_channels(
    task: Task, channels: Sequence[Channel], volume: Volume, placement: AtlasPlacement
) -> tuple[PlacedChannel, ...]:
    """The channels in the order of the task, in the space of the placement's volume.

    volume: the image as it was given. Raises InputError as `placed_channel`.
    """
    by_name = {one.name: one for one in channels}
    inner = volume.geometry.cropped(placement.offset, placement.axis_map.shape)
    canonical, working = inner.canonical()[0], placement.volume.geometry
    return tuple(placed_channel(by_name[one.name], volume, canonical, working) for one in task.channels)


def prediction_votes(
    prediction: Prediction,
    grid: Geometry,
    channels: Sequence[PlacedChannel],
    region: SearchRegion | None,
) -> list[Vote]:
    """What the image and each channel say by themselves of a structure, on a grid; none without channels.

    region: on the grid, outside which nothing counts; None for everywhere.
    """
    if not prediction.votes or prediction.grid is None:
        return []
    votes = []
    views = [None, *(partial(block_view, one.volume.geometry, grid) for one in channels)]
    for name, logits, view in zip(
        [IMAGE, *(one.name for one in channels)], prediction.votes, views, strict=True
    ):
        found = None
        if logits is not None:
            positive = cut_to_region(positive_back(logits, prediction.grid, grid), region)
            found = Block(positive.where, positive.logits > 0)
        votes.append(Vote(name, found, view))
    return votes
