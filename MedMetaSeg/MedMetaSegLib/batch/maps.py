"""The uncertainty maps of a batch: where they go, and how they are staged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..imageio.nifti import NiftiForms
from ..imageio.volume import write_labels
from .executor import StagedMap
from .inputs import BatchItem
from .journal import checksum
from .options import ItemOptions
from .paths import map_names, place_problem, staged_path
from .request import NIFTI, BatchRequest

if TYPE_CHECKING:
    from ..results.segmentation import Segmentation


def with_maps(
    items: Sequence[BatchItem], request: BatchRequest, structures: Sequence[str], ending: str
) -> tuple[BatchItem, ...]:
    """The items with the places of their maps, where maps are wanted: FOLDER/<item>/<structure>.

    ending: of the results. Raises InputError when a map would take the place of an input or a result.
    """
    folder = request.uncertainty
    if folder is None:
        return tuple(items)
    suffix = ending if ending == f".{NIFTI}" else ".nrrd"
    names = map_names(structures)
    mapped = []
    for item in items:
        maps = tuple(f"{item.name}/{name}{suffix}" for name in names)
        problems = (place_problem(folder / place) for place in maps)
        problem = item.problem or next(filter(None, problems), "")
        mapped.append(replace(item, maps=maps, problem=problem))
    _check_apart(mapped, request, folder)
    return tuple(mapped)


def staged_maps(
    item: BatchItem, result: Segmentation, forms: NiftiForms | None, options: ItemOptions
) -> tuple[StagedMap, ...]:
    """The maps of an item on the disk of their folder, made one after the other. Raises WriteError, OSError.

    forms: of the image, if it is NIfTI.
    """
    if options.uncertainty is None:
        return ()
    staged = []
    for place, one in zip(item.maps, result.structures, strict=True):
        path = staged_path(options.uncertainty, place[place.rindex("/") + 1 :])
        write_labels(path, result.uncertainty(one), result.geometry, forms)
        staged.append(StagedMap(path, place, checksum([path])))
    return tuple(staged)


def _check_apart(items: Sequence[BatchItem], request: BatchRequest, folder: Path) -> None:
    whole = folder.resolve()
    maps = {str(whole / place).casefold() for item in items for place in item.maps}
    results = (request.out / item.output for item in items)
    for path in (*results, *(file for item in items for file in item.inputs), request.task):
        if str(path.resolve()).casefold() in maps:
            raise InputError(f"A map would overwrite {path}; choose another folder for the maps.")
