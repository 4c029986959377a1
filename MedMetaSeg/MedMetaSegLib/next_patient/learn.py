"""From supports to a task: whole structures, an atlas of each patient, prototypes of each structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from torch import Tensor

from ..errors import InputError
from ..imageio.channel import Channel, check_channel_names
from ..imageio.geometry import Geometry, index3
from ..imageio.volume import Volume, check_volume
from ..network.image_evidence import image_channels
from ..network.inference import Predictor
from ..network.prompt_channels import BACKGROUND, FOREGROUND, PROMPT_CHANNELS
from ..progress import Progress, check_cancelled, never
from ..results.segmentation import Segmentation
from ..support.placement import placed_support
from ..support.structure import AnnotatedStructure, Structure, StructureMask
from ..support.support import MAX_STRUCTURES, Support, check_overlap
from ..task.atlas import Atlas, make_atlas
from ..task.task_file import LearnedPrototypes, Task, TaskChannel
from ..working_grid.black_margins import without_margins
from ..working_grid.channels import PlacedChannel, placed_channel, shown_part
from ..working_grid.grid import Bounds, WorkingGrid, sampled_image, working_grid
from ..working_grid.intensity import IntensityNormalization, intensity_normalization
from ..working_grid.reduced_image import without_world_position
from .position_prior import expected_structure, prior_on

Pair = tuple[Volume, Support]
_Seen = Callable[[], tuple[Tensor, np.ndarray]]
"""Makes an image and a prompt that says what of it is one structure."""


@dataclass(frozen=True, eq=False)
class _Patient:
    """A volume without world position, and its whole structures, by name, on its grid.

    axes: of the volume in the world, see `Atlas`. channels: in the space of the volume.
    """

    volume: Volume
    axes: np.ndarray
    normalization: IntensityNormalization
    structures: dict[str, AnnotatedStructure]
    channels: tuple[PlacedChannel, ...]


def learned_task(
    pairs: Sequence[Pair],
    segment: Callable[..., Segmentation],
    predictor: Predictor,
    weights_sha256: str,
    version: str,
    progress: Progress,
    cancelled: Callable[[], bool],
    channels: Sequence[Sequence[Channel]] = (),
) -> Task:
    """A task with what the supports teach.

    A support that is not complete is completed by `segment` first. Structures of several supports are the
    same when their names are. channels: of each patient, the same names in the same order; none for a task of
    one image. Raises InputError for supports that cannot be used, and Cancelled.
    """
    if not pairs:
        raise InputError("There is nothing to learn from; give at least one image with its support.")
    own_channels = channels or [()] * len(pairs)
    names = _channel_names(own_channels, len(pairs))
    patients: list[_Patient] = []
    for number, (volume, support) in enumerate(pairs):
        check_cancelled(cancelled)
        progress(0.8 * number / len(pairs), f"support {number + 1} of {len(pairs)}")
        patients.append(_patient(check_volume(volume), support, segment, own_channels[number]))
    unlearned = _unlearned(pairs, patients, cancelled)
    structures, atlases = unlearned.structures, unlearned.atlases
    prototypes = []
    for number, structure in enumerate(structures):
        check_cancelled(cancelled)
        progress(0.8 + 0.2 * number / len(structures), structure.name)
        seen = [_seen(*one) for one in _all_expected_places(patients, atlases, number, structure)]
        prototypes.append(_common_prototypes(seen, predictor, cancelled))
    learned = [
        _learned_channel(number, patients, atlases, structures, predictor, cancelled)
        for number in range(len(names))
    ]
    progress(1.0, "done")
    return replace(
        unlearned,
        prototypes=tuple(prototypes),
        weights_sha256=weights_sha256,
        provenance={"medmetaseg": version, "annotations": [support.annotation for _, support in pairs]},
        channels=tuple(learned),
    )


@dataclass(frozen=True, eq=False)
class SupportView:
    """A structure in the image of a support, on the working grid that it would be looked for on.

    image: (k, j, i) float32; mask: bool, the structure.
    """

    image: np.ndarray
    mask: np.ndarray


def unlearned_task(volume: Volume, support: Support) -> tuple[Task, list[SupportView | None]]:
    """A task of one complete support before the network learns it: without prototypes, and a view of each of
    its structures, from which these would be made; None for one too small beside the others.

    Raises InputError for a support that cannot be used.
    """
    if support.annotation != "complete":
        raise InputError("The support is not complete; segment it first.")
    patient = _patient(check_volume(volume), support, _not_asked, ())
    task = _unlearned([(volume, support)], [patient], never)
    places = [_expected_places(patient, task.atlases[0], *one) for one in enumerate(task.structures)]
    return task, [None if one is None else _support_view(patient, one) for one in places]


def _not_asked(*_: object, **__: object) -> Segmentation:
    raise AssertionError("a complete support needs no segmenting")


def _support_view(patient: _Patient, places: _Places) -> SupportView:
    image = sampled_image(patient.volume, places.grid, patient.normalization)
    return SupportView(image, places.distance > 0)


def _unlearned(pairs: Sequence[Pair], patients: Sequence[_Patient], cancelled: Callable[[], bool]) -> Task:
    """The structures and atlases of all patients as a task that knows no prototypes."""
    modalities = {patient.normalization.modality for patient in patients}
    if len(modalities) > 1:
        raise InputError("Some supports are CT and some are not; learn one task from each kind.")
    structures = common_structures([support for _, support in pairs], patients)
    atlases = []
    for patient in patients:
        check_cancelled(cancelled)
        there = [patient.structures.get(one.name) for one in structures]
        atlases.append(make_atlas(patient.volume, patient.normalization, there, patient.axes))
    overlapping = any(support.overlapping for _, support in pairs)
    return Task(structures, overlapping, modalities.pop(), tuple(atlases), (), "")


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


def _channel_names(channels: Sequence[Sequence[Channel]], patients: int) -> list[str]:
    """The names of the channels of every patient. Raises InputError where one has others."""
    if len(channels) != patients:
        raise ValueError(f"There are channels of {len(channels)} patients, and {patients} patients.")
    names = [[channel.name for channel in one] for one in channels]
    check_channel_names(names[0])
    for number, one in enumerate(names):
        if one != names[0]:
            raise InputError(
                f"The first patient has the channels {_listed(names[0])}, and patient {number + 1} has "
                f"{_listed(one)}; give all of them the same, in one order."
            )
    return names[0]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "(none)"


def _patient(
    volume: Volume, support: Support, segment: Callable[..., Segmentation], channels: Sequence[Channel]
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
        whole = segment(volume, support, channels=channels).structures
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
    beside = tuple(placed_channel(one, volume, canonical.geometry, plain.geometry) for one in channels)
    return _Patient(plain, canonical.geometry.axes, intensity_normalization(plain), structures, beside)


def _on_grid(support: Support, geometry: Geometry) -> Support:
    return support.on(geometry) if geometry.is_parallel(support.geometry) else support.voxels_on(geometry)


@dataclass(frozen=True, eq=False)
class _Places:
    """Where a structure is: signed distance (k, j, i) on the working grid that it would be looked for on."""

    grid: WorkingGrid
    distance: np.ndarray


def _all_expected_places(
    patients: Sequence[_Patient], atlases: Sequence[Atlas], number: int, structure: Structure
) -> list[tuple[_Patient, _Places]]:
    """The patients who have a structure, and where it is in each.

    Those in whom it fills no voxel of the atlas are left out. Raises InputError where it does in none.
    """
    found = []
    for patient, atlas in zip(patients, atlases, strict=True):
        if structure.name in patient.structures:
            places = _expected_places(patient, atlas, number, structure)
            found += [] if places is None else [(patient, places)]
    if not found:
        raise InputError(
            f"{structure.name} is too small beside the other structures to be learned with them; learn a "
            "task of its own."
        )
    return found


def _expected_places(patient: _Patient, atlas: Atlas, number: int, structure: Structure) -> _Places | None:
    """None where no voxel of the atlas is filled."""
    occupancy = atlas.occupancy(number)
    reference = patient.volume.geometry
    expected = expected_structure(structure, occupancy, atlas.close, reference)
    if expected is None:
        return None
    grid: WorkingGrid = working_grid(expected, reference, Bounds.of(reference, reference))
    return _Places(grid, prior_on(grid, occupancy, atlas.close).distance)


def _seen(patient: _Patient, places: _Places) -> _Seen:
    """A structure in the image of a patient."""
    inside, outside = places.distance > 0, places.distance < 0
    return partial(_image_and_prompt, patient.volume, places.grid, patient.normalization, inside, outside)


def _image_and_prompt(
    volume: Volume,
    grid: WorkingGrid,
    intensity: IntensityNormalization,
    inside: np.ndarray,
    outside: np.ndarray,
) -> tuple[Tensor, np.ndarray]:
    """An image on a working grid, and the prompt that says what is a structure there and what is not."""
    return image_channels(sampled_image(volume, grid, intensity)), _known(inside, outside)


def _common_prototypes(
    seen: Sequence[_Seen],
    predictor: Predictor,
    cancelled: Callable[[], bool],
) -> LearnedPrototypes:
    """Prototypes of a structure in the images of all patients who have it."""
    found = predictor.common_prototypes(seen, cancelled)
    return LearnedPrototypes(*(part.numpy() for part in found))


def _known(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """A prompt that only tells which voxels, bool (k, j, i), belong to a structure and which do not."""
    prompt = np.zeros((PROMPT_CHANNELS, *inside.shape), np.float32)
    prompt[FOREGROUND], prompt[BACKGROUND] = inside, outside
    return prompt


def _learned_channel(
    number: int,
    patients: Sequence[_Patient],
    atlases: Sequence[Atlas],
    structures: Sequence[Structure],
    predictor: Predictor,
    cancelled: Callable[[], bool],
) -> TaskChannel:
    """What the channel `number` of the patients teaches. Raises InputError where it is of several kinds."""
    name = patients[0].channels[number].name
    modalities = {patient.channels[number].intensity.modality for patient in patients}
    if len(modalities) > 1:
        raise InputError(f"The channel {name} is CT in some patients and not in others; give it one kind.")
    prototypes = []
    for index, structure in enumerate(structures):
        seen: list[_Seen] = []
        for patient, places in _all_expected_places(patients, atlases, index, structure):
            check_cancelled(cancelled)
            shown = _seen_in_channel(patient, patient.channels[number], places)
            seen += [] if shown is None else [shown]
        if not seen:
            raise InputError(
                f"The channel {name} shows nothing of {structure.name} in any patient; leave the channel out."
            )
        prototypes.append(_common_prototypes(seen, predictor, cancelled))
    return TaskChannel(name, modalities.pop(), tuple(prototypes))


def _seen_in_channel(patient: _Patient, channel: PlacedChannel, places: _Places) -> _Seen | None:
    """A structure in a channel of a patient; None when that shows nothing of the structure."""
    part = shown_part(places.grid, channel.volume.geometry, patient.volume.geometry)
    if part is None:
        return None
    distance, shown = places.distance[part.where], part.shown[part.where]
    inside, outside = (distance > 0) & shown, (distance < 0) & shown
    if not inside.any():
        return None
    return partial(_image_and_prompt, channel.volume, part.grid, channel.intensity, inside, outside)
