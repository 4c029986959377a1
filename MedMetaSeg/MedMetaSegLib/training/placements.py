"""Structures of real patients, expected where an atlas of another real patient was registered to the image.

The next patient as it is: a registration errs where the image misleads it, and the other patient's structure
has another size and another outline. Each patient of a data set is a support for some of the others, as
`learn` and `apply` have it; what comes out of the registration is kept, and episodes are cut from it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open

from ..datasets.cases import Case, read_case
from ..datasets.patients import training_cases
from ..errors import InputError
from ..imageio.volume import Volume
from ..network import STRIDE
from ..network.prompt_channels import volume_distance
from ..next_patient.atlas_placement import AtlasPlacement, register_atlases
from ..next_patient.learn import SupportView, unlearned_task
from ..next_patient.query_places import QueryPlaces
from ..progress import never
from ..support.structure import region
from ..support.support import Support
from ..task.task_file import Task
from ..working_grid.grid import WorkingGrid
from ..working_grid.reduced_image import sampled_on_axes
from .box import Box, padding_to_stride
from .canvas import Rng
from .drafts import EpisodeDraft, PlaceDraft, SupportDraft, flat
from .prepared import can_keep, case_digest, file_of, keep_tensors, kept_in, made_of_all
from .real import numbered
from .target import MIN_VOXELS

Made = TypeVar("Made")

QUERIES = 4
"""Patients to whom every support is registered, at most."""
LEAST_DICE = 0.3
"""Of a structure and the place where it is expected: what lies elsewhere (most lesions) is left out."""
_SEEN = 0.85
"""How often an episode has the other patient's view."""
_FOLDER = "placements"
"""Name of the folder beside the anatomies."""
_CHANNEL = re.compile(r"_(\d{4})$")
_FORMAT = "1"
"""Goes up whenever the same images come to give other placements, or their files change."""


@dataclass(frozen=True, eq=False)
class Placement:
    """One structure of a patient on its working grid, and its place by an atlas of another patient.

    image: (k, j, i) float32; aspect: slice spacing in in-plane voxels; mask: bool, the structure; expected:
    bool, its place; tolerance: in-plane voxels by which that may be off; others: bool, surely other
    structures. support, support_mask: the other patient's image and structure, on a grid of their own.
    """

    image: np.ndarray
    aspect: float
    mask: np.ndarray
    expected: np.ndarray
    tolerance: float
    others: np.ndarray
    support: np.ndarray
    support_mask: np.ndarray


_ARRAYS = tuple(one.name for one in fields(Placement) if one.name not in ("aspect", "tolerance"))


@dataclass(frozen=True)
class _Pairs:
    """A support, and the patients to whom it is registered."""

    support: Case
    queries: tuple[Case, ...]


class Placements:
    """Placements by data set; `draft` cuts an episode from one. Raises ValueError where there are none."""

    def __init__(self, sets: Mapping[str, Sequence[Placement]]) -> None:
        self._sets = [list(some) for some in sets.values() if some]
        if not self._sets:
            raise ValueError("no placement of a patient")
        weights = np.array([len(some) for some in self._sets], float) ** 0.5
        self._shares = weights / weights.sum()

    def draft(self, rng: Rng, most: int) -> EpisodeDraft | None:
        """A draft of at most `most` voxels before padding, mostly with the other patient's view.

        None where it shows too little.
        """
        some = self._sets[int(rng.choice(len(self._sets), p=self._shares))]
        return placement_draft(rng, some[int(rng.integers(len(some)))], most)


def real_placements(data: Sequence[Path], prepared: Path | None = None) -> Placements | None:
    """Placements among the patients of data folders that training may use; None where no two are alike.

    They are made by as many processes as there are cores, and kept beside the anatomies (see
    `prepared.real_anatomies`); all are held in memory. Pairs come from one folder, data set and modality.
    Raises InputError as `training_cases` and `read_case` do.
    """
    sets: dict[str, list[Placement]] = {}
    for folder in data:
        pairs = pairs_of(training_cases(folder))
        for one, made in zip(pairs, _made_or_kept(pairs, folder, prepared), strict=True):
            sets.setdefault(f"{one.support.dataset} {one.support.modality}", []).extend(made)
    return Placements(sets) if any(sets.values()) else None


def pairs_of(cases: Sequence[Case]) -> list[_Pairs]:
    """Every case as a support for at most QUERIES others of its data set and modality, drawn by chance.

    A query is another patient, and has a structure of a name that the support has, with known ends. Where
    structures have no names, their values are their names, and images are of one channel.
    """
    rng = np.random.default_rng(0)
    found = []
    for support in cases:
        alike = [one for one in cases if _can_learn(support, one)]
        chosen = rng.permutation(len(alike))[:QUERIES]
        if len(chosen):
            found.append(_Pairs(support, tuple(alike[number] for number in chosen)))
    return found


def _can_learn(support: Case, query: Case) -> bool:
    same = (support.dataset, support.modality) == (query.dataset, query.modality)
    if not same or support.patient == query.patient:
        return False
    if not (support.names or query.names):
        return _channel(support) == _channel(query)
    known = [set(one.names.values()) - one.open_ended for one in (support, query)]
    return bool(known[0] & known[1])


def _channel(case: Case) -> str:
    """The number of the image among those of its patient, as nnU-Net names files; "" without one."""
    matched = _CHANNEL.search(case.case)
    return matched[1] if matched else ""


def _read_structures(case: Case) -> tuple[Volume, np.ndarray, dict[int, str]]:
    """The image, its structures numbered from 1 on, (k, j, i), and their names; one without is called by its
    value.
    """
    volume, labels = read_case(case)
    structures, values = numbered(labels, case.labels)
    return volume, structures, {n: case.names.get(value, str(value)) for n, value in enumerate(values, 1)}


def _made_or_kept(pairs: Sequence[_Pairs], data: Path, prepared: Path | None) -> list[list[Placement]]:
    folder = kept_in(data, prepared) / _FOLDER
    files = [file_of([one.support.image, one.support.labels], data, folder) for one in pairs]
    each = {
        (case.image, case.labels): case_digest(case, (_FORMAT, LEAST_DICE))
        for one in pairs
        for case in (one.support, *one.queries)
    }
    digests = [_digest(one, each) for one in pairs]
    found = [_read(*one) for one in zip(files, digests, strict=True)]
    missing = [number for number, some in enumerate(found) if some is None]
    if missing:
        print(f"Patients of {data} are registered to one another: {len(missing)} supports.", file=sys.stderr)
    keep = bool(missing) and can_keep(folder)
    made = made_of_all(placements_of, [pairs[number] for number in missing])
    for number, some in zip(missing, made, strict=True):
        found[number] = some
        keep = keep and (digests[number] is None or _kept(files[number], digests[number] or "", some))
    return [some for some in found if some is not None]


def _digest(pairs: _Pairs, each: Mapping[tuple[Path, Path], str | None]) -> str | None:
    """That of all files of the pairs, from those of their cases by files; None where one has none."""
    found = [each[one.image, one.labels] for one in (pairs.support, *pairs.queries)]
    return None if None in found else " ".join(one for one in found if one)


def placements_of(pairs: _Pairs) -> list[Placement]:
    """The structures of all queries of a support, where its atlas expects them about where they are.

    A support or a query that cannot be used as one is left out, which is told on stderr.
    """
    learned = _or_told(partial(_learned, pairs.support), pairs.support)
    if learned is None:
        return []
    task, views = learned
    found: list[Placement] = []
    for query in pairs.queries:
        found += _or_told(partial(_on_query, task, views, query), query) or []
    return found


def _learned(case: Case) -> tuple[Task, list[SupportView | None]]:
    volume, structures, names = _read_structures(case)
    return unlearned_task(volume, Support.from_labels(structures, volume.geometry, names, "complete"))


def _or_told(make: Callable[[], Made], case: Case) -> Made | None:
    """What is made of a case; None, which is told, where it cannot be used."""
    try:
        return make()
    except InputError as error:
        print(f"{case.image} is not registered to others: {error}", file=sys.stderr)
        return None


def _on_query(task: Task, views: Sequence[SupportView | None], query: Case) -> list[Placement]:
    """The structures with known ends that task and query have, in the query."""
    image, structures, names = _read_structures(query)
    values = {name: value for value, name in names.items() if name not in query.open_ended}
    return _placed(task, views, register_atlases(task, image, never), structures, values)


def _placed(
    task: Task,
    views: Sequence[SupportView | None],
    placement: AtlasPlacement,
    labels: np.ndarray,
    values: Mapping[str, int],
) -> list[Placement]:
    """Those of the structures that have a value among the query's labels (k, j, i)."""
    places = QueryPlaces(task, placement)
    native = placement.axis_map.undo(np.empty(placement.volume.geometry.shape, np.uint8)).shape
    inner = placement.axis_map.apply(labels[region(placement.offset, native)])
    found = []
    for number, (structure, view) in enumerate(zip(task.structures, views, strict=True)):
        place = None if view is None or structure.name not in values else places.place_of(number)
        if view is None or place is None:
            continue
        mask = _on_grid(inner == values[structure.name], place.grid) > 0.5
        expected = place.prior.distance > 0
        if np.count_nonzero(mask) < MIN_VOXELS or _dice(mask, expected) < LEAST_DICE:
            continue
        found.append(
            Placement(
                places.image_on(place.grid),
                place.grid.aspect,
                mask,
                expected,
                place.prior.tolerance,
                place.other_structures,
                view.image,
                view.mask,
            )
        )
    return found


def _on_grid(mask: np.ndarray, grid: WorkingGrid) -> np.ndarray:
    """A mask on the reference grid, (k, j, i) float32 on a working grid of it, linear."""
    axes = {axis: grid.to_reference(np.arange(grid.shape[n]), n) for n, axis in enumerate(grid.order)}
    return sampled_on_axes(mask.astype(np.float32), [axes[axis] for axis in range(3)]).transpose(grid.order)


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * np.count_nonzero(one & other) / max(1, np.count_nonzero(one) + np.count_nonzero(other)))


def placement_draft(rng: Rng, placement: Placement, most: int) -> EpisodeDraft | None:
    """A draft that asks for the structure of a placement, mirrored by chance along every axis.

    Regions of more than `most` voxels are cut around a voxel of the place, and padded after it. The other
    patient's view has the same shape, its structure in the middle; it is left out now and then, as for
    another modality. None where nothing of place or structure is left in view.
    """
    box = _cut_around(rng, placement.expected, most)
    pad = padding_to_stride(box.shape, 2 * STRIDE)
    shape = tuple(n + sum(one) for n, one in zip(box.shape, pad, strict=True))
    mirrored = tuple(slice(None, None, -1 if rng.random() < 0.5 else 1) for _ in range(3))
    image, mask, expected, others = (
        np.pad(values[box.slices], pad, mode="edge")[mirrored]
        for values in (placement.image, placement.mask, placement.expected, placement.others)
    )
    support, support_mask = (
        _in_the_middle(values, placement.support_mask, shape)[mirrored]
        for values in (placement.support, placement.support_mask)
    )
    if flat(image) or flat(support) or not (mask & expected).any():
        return None
    if not support_mask.any() or support_mask.all():
        return None
    image, support = np.ascontiguousarray(image), np.ascontiguousarray(support)
    known = PlaceDraft(volume_distance(expected, placement.aspect), placement.tolerance, others)
    seen = rng.random() < _SEEN
    view = SupportDraft(support, np.ascontiguousarray(support_mask)) if seen else None
    return EpisodeDraft(image, placement.aspect, np.ascontiguousarray(mask), known, 0, support=view)


def _cut_around(rng: Rng, expected: np.ndarray, most: int) -> Box:
    """A box of at most `most` voxels, about a voxel of the place, inside its grid."""
    shape = np.array(expected.shape, float)
    while np.prod(shape) > most:
        shape[shape.argmax()] *= 0.9
    size = np.maximum(shape.astype(int), 1)
    inside = np.argwhere(expected)
    centre = inside[int(rng.integers(len(inside)))]
    start = np.clip(centre - size // 2, 0, np.array(expected.shape) - size)
    return Box(tuple(start.tolist()), tuple(size.tolist()))


def _in_the_middle(values: np.ndarray, mask: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """values (k, j, i), cut or repeated at their edges to a shape with the middle of a mask in the middle."""
    for axis, length in enumerate(shape):
        present = np.flatnonzero(mask.any(tuple(n for n in range(3) if n != axis)))
        first = (present[0] + present[-1] + 1 - length) // 2
        values = values.take(np.clip(np.arange(first, first + length), 0, values.shape[axis] - 1), axis)
    return values


def _read(file: Path, digest: str | None) -> list[Placement] | None:
    """What is kept of a support's pairs; None where nothing is, or what is kept does not hold any more."""
    if digest is None or not file.is_file():
        return None
    try:
        with safe_open(file, "np") as opened:
            about = opened.metadata() or {}
            if about.get("digest") != digest:
                return None
            return [
                Placement(
                    aspect=aspect,
                    tolerance=tolerance,
                    **{name: opened.get_tensor(f"{name} {number}") for name in _ARRAYS},
                )
                for number, (aspect, tolerance) in enumerate(json.loads(about["placements"]))
            ]
    except (SafetensorError, KeyError, ValueError, OSError):
        return None  # damaged: it is made anew


def _kept(file: Path, digest: str, placements: Sequence[Placement]) -> bool:
    tensors = {
        f"{name} {number}": np.ascontiguousarray(getattr(one, name))
        for number, one in enumerate(placements)
        for name in _ARRAYS
    }
    numbers = json.dumps([(one.aspect, one.tolerance) for one in placements])
    return keep_tensors(file, tensors, {"digest": digest, "placements": numbers})
