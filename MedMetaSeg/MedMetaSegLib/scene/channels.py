"""Further volumes of a patient as channels of the one that was painted on, in one space with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..errors import InputError
from ..imageio.channel import Channel
from ..imageio.geometry import Geometry
from .reader import readVolume
from .space import commonSpace, linearTransform, ownAffine


def readChannels(channelNodes: Sequence[Any], volumeNode: Any) -> tuple[Channel, ...]:
    """Volumes as channels of another, named after their nodes, where their transforms put them beside it.

    Raises InputError for the volume itself, for two of one name, for a node that `readVolume` refuses, and
    where a transform between the two is not linear.
    """
    names = [volumeNode.GetName()]
    for node in channelNodes:
        if node is volumeNode:
            raise InputError(f"'{node.GetName()}' is the volume itself: choose another to use as well.")
        if node.GetName() in names:
            raise InputError(f"Two volumes are called '{node.GetName()}': rename one, to tell them apart.")
        names.append(node.GetName())
    return tuple(_readChannel(node, volumeNode) for node in channelNodes)


def _readChannel(node: Any, volumeNode: Any) -> Channel:
    volume = readVolume(node)
    toCommon = linearTransform(node.GetParentTransformNode(), commonSpace(volumeNode))
    if toCommon is None:
        raise InputError(
            f"A transform that is not linear lies between '{node.GetName()}' and '{volumeNode.GetName()}': "
            "harden it on the volume first."
        )
    geometry = Geometry(volume.geometry.shape, toCommon @ ownAffine(node))
    return Channel(node.GetName(), replace(volume, geometry=geometry))
