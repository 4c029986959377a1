"""From supports to a task: whole structures, an atlas of each patient, prototypes of each structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError
from ..imageio.geometry import Geometry, index3
from ..imageio.volume import Volume, check_volume
from ..network.image_evidence import image_channels
from ..network.inference import Predictor
from ..network.prompt_channels import BACKGROUND, FOREGROUND, PROMPT_CHANNELS
from ..progress import Progress, check_cancelled
from ..results.segmentation import Segmentation
from ..support.placement import placed_support
from ..support.structure import AnnotatedStructure, Structure, StructureMask
from ..support.support import MAX_STRUCTURES, Support, check_overlap
from ..task.atlas import Atlas, make_atlas
from ..task.task_file import LearnedPrototypes, Task
from ..working_grid.black_margins import without_margins
from ..working_grid.grid import Bounds, WorkingGrid, sampled_image, working_grid
from ..working_grid.intensity import IntensityNormalization, intensity_normalization
from ..working_grid.reduced_image import without_world_position
from .position_prior import expected_structure, prior_on

Pair = tuple[Volume, Support]


@dataclass(frozen=True, eq=False)
class _Patient:
    """A volume without world position, and its whole structures, by name, on its grid.

    axes: of the volume in the world, see `Atlas`.
    """

    volume: Volume
    axes: np.ndarray
    normalization: IntensityNormalization
    structures: dict[str, AnnotatedStructure]


def learned_task(
    pairs: Sequence[Pair],
    segment: Callable[[Volume, Support], Segmentation],
    predictor: Predictor,
    weights_sha256: str,
    version: str,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Task:
    """A task with what the supports teach.

    A support that is not complete is completed by `segment` first. Structures of several supports are the
    same when their names are. Raises InputError for supports that cannot be used, and Cancelled.
    """
    if not pairs:
        raise InputError("There is nothing to learn from; give at least one image with its support.")
    patients: list[_Patient] = []
    for number, (volume, support) in enumerate(pairs):
        check_cancelled(cancelled)
        progress(0.8 * number / len(pairs), f"support {number + 1} of {len(pairs)}")
        patients.append(_patient(check_volume(volume), support, segment))
    modalities = {patient.normalization.modality for patient in patients}
    if len(modalities) > 1:
        raise InputError("Some supports are CT and some are not; learn one task from each kind.")
    structures = common_structures([support for _, support in pairs], patients)
    atlases = []
    for patient in patients:
        check_cancelled(cancelled)
        there = [patient.structures.get(one.name) for one in structures]
        atlases.append(make_atlas(patient.volume, patient.normalization, there, patient.axes))
    prototypes = []
    for number, structure in enumerate(structures):
        check_cancelled(cancelled)
        progress(0.8 + 0.2 * number / len(structures), structure.name)
        first = next(n for n, patient in enumerate(patients) if structure.name in patient.structures)
        prototypes.append(
            _prototypes(patients[first], atlases[first], number, structure, predictor, cancelled)
        )
    progress(1.0, "done")
    return Task(
        structures,
        any(support.overlapping for _, support in pairs),
        modalities.pop(),
        tuple(atlases),
        tuple(prototypes),
        weights_sha256,
        {"medmetaseg": version, "annotations": [support.annotation for _, support in pairs]},
    )


def common_structures(supports: Sequence[Support], patients: Sequence[_Patient]) -> tuple[Structure, ...]:
    """Every structure of the supports once, in the order of first sight.

    A label value that is taken gives way to a new one. Raises InputError when there are too many.
    """
    found: dict[str, Structure] = {}
    taken: set[int] = set()
    for support, patient in zip(supports, patients, strict=True):
        for annotated in support.structures:
            one = annotated.structure
            if one.name in found or one.name not in patient.structures:
                continue
            label = one.label if one.label not in taken else max(taken) + 1
            taken.add(label)
            found[one.name] = replace(one, label=label, segment_id="")
    if len(found) > MAX_STRUCTURES:
        raise InputError(f"The supports have {len(found)} structures; give at most {MAX_STRUCTURES}.")
    return tuple(found.values())


def _patient(
    volume: Volume, support: Support, segment: Callable[[Volume, Support], Segmentation]
) -> _Patient:
    placed = placed_support(support, volume)
    check_overlap(placed, volume.geometry)
    names = [one.structure.name for one in support.structures]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InputError(
            f"The support has several structures called {doubled[0]}; a task tells them by their names."
        )
    if support.annotation == "complete":
        whole: Sequence[StructureMask] = _on_grid(placed, volume.geometry).structures
    else:
        whole = segment(volume, support).structures
    there = [one for one in whole if one.voxels]
    inner, start = without_margins(volume, there)
    canonical, axis_map = inner.canonical()
    structures = {}
    for one in there:
        offset = axis_map.apply_offset(index3(np.subtract(one.offset, start)), index3(one.mask.shape))
        mask = np.ascontiguousarray(axis_map.apply(one.mask))
        structures[one.structure.name] = AnnotatedStructure(one.structure, offset, mask)
    if not structures:
        raise InputError("No structure of the support lies in the image; check that they belong together.")
    plain = without_world_position(canonical)
    return _Patient(plain, canonical.geometry.axes, intensity_normalization(plain), structures)


def _on_grid(support: Support, geometry: Geometry) -> Support:
    return support.on(geometry) if geometry.is_parallel(support.geometry) else support.voxels_on(geometry)


def _prototypes(
    patient: _Patient,
    atlas: Atlas,
    number: int,
    structure: Structure,
    predictor: Predictor,
    cancelled: Callable[[], bool],
) -> LearnedPrototypes:
    """Prototypes on the working grid on which the structure would be looked for."""
    occupancy = atlas.occupancy(number)
    reference = patient.volume.geometry
    expected = expected_structure(structure, occupancy, atlas.close, reference)
    assert expected is not None
    grid: WorkingGrid = working_grid(expected, reference, Bounds.of(reference, reference))
    distance = prior_on(grid, occupancy, atlas.close).distance
    prompt = np.zeros((PROMPT_CHANNELS, *grid.shape), np.float32)
    prompt[FOREGROUND], prompt[BACKGROUND] = distance > 0, distance < 0
    image = image_channels(sampled_image(patient.volume, grid, patient.normalization))
    return LearnedPrototypes(*(part.numpy() for part in predictor.prototypes(image, prompt, cancelled)))
