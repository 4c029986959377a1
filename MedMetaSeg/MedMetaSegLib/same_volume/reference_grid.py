"""Whether a support can be segmented in a volume, and the grids on which that is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import InputError
from ..imageio.volume import Volume
from ..support.support import Support, check_overlap, check_something_left
from ..working_grid.grid import DETAILS
from ..working_grid.reduced_image import without_world_position


@dataclass(frozen=True, eq=False)
class ReferenceGrids:
    """A volume and its support on the grids that are worked on.

    volume: canonical. support: on the reference grid, along which working grids run. on_volume: the same
    support on the volume's grid.
    """

    volume: Volume
    support: Support
    on_volume: Support


def reference_grids(support: Support, volume: Volume) -> ReferenceGrids:
    """The grids for a canonical volume and a support on any grid over the same space.

    Where the support's axes are parallel to the image's, both grids are the image's, and where it lies in the
    world has no say any more: the answer is the same to the last bit however the patient is turned and the
    file is stored. Otherwise the network works along the support's axes, so that what was annotated stays a
    slice.
    """
    if not volume.geometry.is_parallel(support.geometry):
        on_reference = support.on(support.geometry.canonical()[0])
        return ReferenceGrids(volume, on_reference, on_reference.voxels_on(volume.geometry))
    placeless = without_world_position(volume)
    on_volume = replace(support.on(volume.geometry), geometry=placeless.geometry)
    return ReferenceGrids(placeless, on_volume, on_volume)


def check_request(volume: Volume, support: Support, quality: str) -> None:
    """Raise InputError when a support says too little of a volume, or all, and for an unknown quality."""
    if support.annotation == "scribbles" and support.background is None and len(support.structures) == 1:
        raise InputError(
            "Scribbles of one structure do not say where it ends: add a segment named background."
        )
    check_overlap(support, volume.geometry)
    check_something_left(support, volume.geometry)
    if quality not in DETAILS:
        raise InputError(f"There is no quality '{quality}'; use {', '.join(DETAILS)}.")


def chosen_names(support: Support, names: Sequence[str] | None) -> frozenset[str]:
    """The names of the structures to segment, of all when None; InputError for one that is not there."""
    there = [one.structure.name for one in support.structures]
    missing = [name for name in names or () if name not in there]
    if missing:
        raise InputError(
            f"The support has no structure called {', '.join(missing)}; it has {', '.join(there)}."
        )
    return frozenset(there if names is None else names)
