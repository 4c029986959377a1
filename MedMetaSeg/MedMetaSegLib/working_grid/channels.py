"""Where channels lie beside the image they belong to, which part of a grid each shows, and their mean answer.

A channel is never resampled onto the image: the network samples each image where it asks, so that nothing is
interpolated twice. Where a channel has no voxels it says nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_expit

from ..errors import InputError
from ..imageio.channel import Channel
from ..imageio.geometry import Geometry, corners, index3
from ..imageio.volume import Volume, check_volume
from ..network import STRIDE
from ..support.placement import Place, settled_place
from ..support.structure import bounding_box, region
from ..support.support import Support
from .grid import WorkingGrid
from .intensity import IntensityNormalization, intensity_normalization
from .separable import lies_within

_SHORTEST = 16
"""Working voxels along an axis of the smallest grid that the network reads."""
_ALONG = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
"""Shapes in which indices along k, j and i are broadcast over a grid."""
_SAMPLES = 64
"""Places along an axis, at most, from which it is told how much of a grid an image shows."""


@dataclass(frozen=True, eq=False)
class PlacedChannel:
    """A channel in the space of the grid that its image is worked on.

    volume: canonical. notes: what who uses the result has to know of it.
    """

    name: str
    volume: Volume
    intensity: IntensityNormalization
    notes: tuple[str, ...]


def placed_channel(channel: Channel, volume: Volume, canonical: Geometry, working: Geometry) -> PlacedChannel:
    """A channel beside its image, with everything checked that may be wrong.

    volume: the image as it was given; canonical: its grid, or a part of it, canonical; working: the same with
    or without its place in the world. Raises InputError for another frame of reference, as `check_volume` and
    as `settled_place`.
    """
    checked = check_volume(channel.volume)
    frames = {checked.frame_of_reference, volume.frame_of_reference} - {""}
    if len(frames) > 1:
        raise InputError(
            f"The channel {channel.name} lies in another frame of reference (FrameOfReferenceUID) than the "
            "image, so their positions cannot be compared; register and resample it onto the image first."
        )
    place = settled_place(Place(checked.geometry, checked.forms, (), f"channel {channel.name}"), volume)
    own = replace(checked, geometry=place.geometry).canonical()[0]
    notes = tuple(f"{channel.name}: {note}" for note in (*checked.notes, *place.notes))
    return PlacedChannel(
        channel.name,
        replace(own, geometry=_moved(own.geometry, canonical, working)),
        intensity_normalization(own),
        notes,
    )


def shows(image: Geometry, grid: Geometry) -> np.ndarray:
    """Bool (k, j, i): voxels of a grid that lie in an image, up to half a voxel beyond its outer centres."""
    to_image = np.linalg.solve(image.affine, grid.affine)
    steps, start = to_image[2::-1, 2::-1], to_image[2::-1, 3]
    k, j, i = (np.arange(size).reshape(shape) for size, shape in zip(grid.shape, _ALONG, strict=True))
    inside = np.ones(grid.shape, bool)
    for axis, length in enumerate(image.shape):
        inside &= lies_within(
            start[axis] + steps[axis, 0] * k + steps[axis, 1] * j + steps[axis, 2] * i, length
        )
    return inside


@dataclass(frozen=True, eq=False)
class ShownPart:
    """The part of a working grid that a channel shows.

    grid: a block of the whole grid, on the same voxels; where: that block; shown: bool (k, j, i) over the
    whole grid.
    """

    grid: WorkingGrid
    where: tuple[slice, slice, slice]
    shown: np.ndarray


def shown_part(grid: WorkingGrid, channel: Geometry, image: Geometry) -> ShownPart | None:
    """The part of an image's working grid that a channel shows; None when it shows nothing of it.

    A channel that shows all that the image shows there has the whole grid, and the voxels around both.
    """
    shown = shows(channel, grid.geometry)
    if (shown | ~shows(image, grid.geometry)).all():
        whole = np.ones(grid.shape, bool)
        return ShownPart(grid, region((0, 0, 0), grid.shape), whole)
    box = bounding_box(shown)
    if box is None:
        return None
    low = np.array([along.start for along in box])
    length = np.array([along.stop for along in box]) - low
    size = np.maximum(-(-length // STRIDE) * STRIDE, _SHORTEST)
    low = np.minimum(low, np.array(grid.shape) - size)
    start = np.array(grid.start) + low * np.array(grid.step)
    part = replace(grid, start=(float(start[0]), float(start[1]), float(start[2])), shape=index3(size))
    return ShownPart(part, region(index3(low), part.shape), shown)


def mean_logits(logits: Sequence[np.ndarray], shown: Sequence[np.ndarray]) -> np.ndarray:
    """Logits (k, j, i) float32 of the mean probability of several answers, at each voxel over those shown.

    logits: (k, j, i) of each answer; shown: bool of the same shape, where it counts; one does everywhere.
    """
    inside, outside = (
        np.logaddexp.reduce(
            [
                np.where(there, log_expit(sign * one), -np.inf)
                for one, there in zip(logits, shown, strict=True)
            ]
        )
        for sign in (1, -1)
    )
    return (inside - outside).astype(np.float32)


def shown_share(image: Geometry, grid: Geometry) -> float:
    """The share of a grid's voxels that an image shows, 0 to 1; exact where that is all, else about."""
    if image.contains(grid.index_to_world(corners(grid.shape))).all():
        return 1.0
    size = np.minimum(grid.shape, _SAMPLES)
    step = np.array(grid.shape) / size
    to_grid = np.diag([*step[::-1], 1.0])
    to_grid[:3, 3] = (step[::-1] - 1) / 2
    return float(shows(image, Geometry(index3(size), grid.affine @ to_grid)).mean())


def block_view(image: Geometry, grid: Geometry, block: Sequence[slice]) -> np.ndarray:
    """Bool (k, j, i): voxels of a block of a grid that lie in an image, see `shows`."""
    size = [along.stop - along.start for along in block]
    return shows(image, grid.cropped([along.start for along in block], size))


def channels_told(
    image: str, intensity: IntensityNormalization, channels: Sequence[PlacedChannel], grid: Geometry
) -> list[dict[str, object]]:
    """For a report: the name of each image, the share of the grid that it shows, and its intensities.

    image, intensity: of the image whose grid it is.
    """
    own: dict[str, object] = {"name": image, "shows": 1.0, "intensity": intensity.as_dict()}
    return [own, *(_told(one, grid) for one in channels)]


def channel_notes(channels: Sequence[PlacedChannel], grid: Geometry) -> list[str]:
    """Sentences about how channels were read, and about those that do not show all of a grid."""
    notes: list[str] = []
    for one in channels:
        notes += one.notes
        share = shown_share(one.volume.geometry, grid)
        if share < 1:
            notes.append(
                f"The channel {one.name} shows {100 * share:.0f} % of the image, and has no say elsewhere."
            )
    return notes


def _told(channel: PlacedChannel, grid: Geometry) -> dict[str, object]:
    share = round(shown_share(channel.volume.geometry, grid), 4)
    return {"name": channel.name, "shows": share, "intensity": channel.intensity.as_dict()}


def check_shows(channel: PlacedChannel, support: Support, names: Collection[str]) -> None:
    """Raise InputError when a channel shows no annotated voxel of the structures of these names."""
    for one in support.structures:
        voxels = np.argwhere(one.mask) + np.array(one.offset)
        if one.structure.name in names and len(voxels):
            world = support.geometry.index_to_world(voxels)
            if channel.volume.geometry.contains(world).any():
                return
    raise InputError(
        f"The channel {channel.name} shows nothing of what was annotated; check that it is of the same "
        "patient, and co-registered."
    )


def _moved(geometry: Geometry, canonical: Geometry, working: Geometry) -> Geometry:
    """A grid beside `canonical`, beside `working` instead, which has the same voxels."""
    if geometry.same_grid(canonical):
        return working
    if canonical is working:
        return geometry
    return Geometry(geometry.shape, working.affine @ np.linalg.solve(canonical.affine, geometry.affine))
