"""Two segmentations of one patient compared: what became of every lesion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..imageio.volume import Volume
from ..measurements.diameters import as_point
from ..measurements.measurements import Lesion, Measurements, StructureMeasurements
from ..progress import Progress, silent
from ..support.structure import StructureMask
from ..working_grid.intensity import intensity_normalization
from .alignment import Alignment, doubts, given_alignment, read_transform, registered_alignment
from .changes import SAME_WORLD, FollowUp, LesionChange, Size, Status, StructureChange
from .matching import Group, matched_groups
from .placing import TimeParts, in_view, mask_of, overlaps, placed_parts


@dataclass(frozen=True, eq=False)
class TimePoint:
    """An image, what was segmented in it, on its grid, and what was measured of that."""

    volume: Volume
    masks: Sequence[StructureMask]
    measurements: Measurements


def follow_up(
    now: TimePoint, before: TimePoint, transform: str | Path = "", progress: Progress | None = None
) -> FollowUp:
    """Bring the earlier image onto the present one and say what became of every structure and lesion.

    transform: a file that ITK reads, of points of the present image to the earlier one; SAME_WORLD where the
    two lie on one another; "" to register them. progress: called with the share that is done; what it raises
    ends the work. Raises InputError as `registered_alignment`, `given_alignment` and `followed` do.
    """
    tell = progress or silent
    check_names(now, before)
    volumes = now.volume, before.volume
    tell(0.0, "Bringing the two images together")
    if transform:
        given = None if str(transform) == SAME_WORLD else read_transform(Path(transform))
        alignment = given_alignment(*volumes, now.masks, given)
    else:
        masks = now.masks, before.masks
        alignment = registered_alignment(*volumes, masks, partial(tell, 0.1, "Registering"))
    tell(0.8, "Matching lesions")
    return followed(now, before, alignment, partial(tell, 0.8, "Matching lesions"))


def followed(
    now: TimePoint, before: TimePoint, alignment: Alignment, check: Callable[[], None] = lambda: None
) -> FollowUp:
    """What became of the structures of an earlier segmentation, and of their lesions.

    alignment: of the two images. check: called between pieces of work, may raise. Structures are the same by
    their names. Raises InputError when no name is common or one stands twice, and when the two were measured
    by different options.
    """
    if now.measurements.options != before.measurements.options:
        raise InputError("The two segmentations were measured by different options; measure both alike.")
    names = check_names(now, before)
    common = [name for name in names[0] if name in names[1]]
    structures = []
    for name in common:
        check()
        structures.append(_structure(now, before, name, alignment))
    return FollowUp(
        tuple(structures),
        tuple(name for name in names[1] if name not in common),
        tuple(name for name in names[0] if name not in common),
        alignment.how,
        alignment.fit,
        now.measurements.options,
        (
            *doubts(alignment),
            *_other_modality(now, before),
            *(note for one in structures for note in _seen_in_part(one)),
            *_notes_of_earlier(before),
        ),
    )


def check_names(now: TimePoint, before: TimePoint) -> tuple[list[str], list[str]]:
    """The names of the structures now and before.

    Raises InputError where none is common, or one stands twice.
    """
    names = _names(now), _names(before)
    if not set(names[0]) & set(names[1]):
        raise InputError(
            f"The two segmentations have no structure in common ({', '.join(names[0])} now, "
            f"{', '.join(names[1])} before); give those to be compared the same name."
        )
    return names


def _names(time: TimePoint) -> list[str]:
    names = [one.name for one in time.measurements.structures]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{twice[0]!r} stands twice in a segmentation; rename one.")
    return names


def _other_modality(now: TimePoint, before: TimePoint) -> list[str]:
    volumes = now.volume, before.volume
    kinds = [one.modality for one in volumes]
    if not all(kinds):
        # Without a word in both headers the values tell CT from what has no fixed scale, and no more.
        modalities = [intensity_normalization(one).modality for one in volumes]
        kinds = ["CT" if one == "CT" else "no CT" for one in modalities]
    if kinds[0] == kinds[1]:
        return []
    return [
        f"The earlier image is {kinds[1]}, the present one {kinds[0]}: a lesion may seem larger or smaller "
        "in one of them without any change."
    ]


def _seen_in_part(structure: StructureChange) -> list[str]:
    """Sentences about changes that may be of the field of view and not of the patient."""
    notes = []
    unseen = sum(one.status.startswith("not seen") for one in structure.lesions)
    if unseen:
        count = "a lesion lies" if unseen == 1 else f"{unseen} lesions lie"
        notes.append(
            f"{structure.name}: {count} outside the other image; the change of the whole structure counts "
            "what was not seen."
        )
    cut = sum(one.touches_border and one.found_by != "" for one in structure.lesions)
    if cut:
        count = "a lesion reaches" if cut == 1 else f"{cut} lesions reach"
        notes.append(
            f"{structure.name}: {count} the border of an image, and may have changed where it was not seen."
        )
    return notes


def _notes_of_earlier(before: TimePoint) -> list[str]:
    return [f"Of the earlier image: {note}" for note in before.measurements.notes]


def _structure(now: TimePoint, before: TimePoint, name: str, alignment: Alignment) -> StructureChange:
    measured = now.measurements.structure(name), before.measurements.structure(name)
    options = now.measurements.options
    changes: tuple[LesionChange, ...] = ()
    if options.asks_for(name):
        parts_now, parts_before = (
            TimeParts.of(
                mask_of(time.masks, name), time.volume.geometry, options.connectivity, len(one.lesions)
            )
            for time, one in zip((now, before), measured, strict=True)
        )
        changes = _Lesions(*measured, parts_now, parts_before, alignment).changes()
    return StructureChange(
        name,
        measured[1].volume_cm3,
        measured[0].volume_cm3,
        len(measured[1].lesions),
        len(measured[0].lesions),
        changes,
    )


@dataclass(frozen=True, eq=False)
class _Lesions:
    """The lesions of one structure at both times."""

    now: StructureMeasurements
    before: StructureMeasurements
    parts_now: TimeParts
    parts_before: TimeParts
    alignment: Alignment

    def changes(self) -> tuple[LesionChange, ...]:
        """What became of each: those that are there now first, the largest of them first."""
        groups = matched_groups(
            *placed_parts(self.parts_before, self.parts_now, self.alignment),
            overlaps(self.parts_before, self.parts_now, self.alignment),
        )
        groups.sort(key=lambda one: (not one.now, one.now or one.before))
        return tuple(self._change(group) for group in groups)

    def _change(self, group: Group) -> LesionChange:
        before = [self.before.lesions[n] for n in group.before if n < self.parts_before.lesions]
        now = [self.now.lesions[n] for n in group.now if n < self.parts_now.lesions]
        return LesionChange(
            self._status(group, len(before), len(now)),
            tuple(one.number for one in before),
            tuple(one.number for one in now),
            _size(before, self.parts_before, group.before),
            _size(now, self.parts_now, group.now),
            group.found_by,
            self._centre(group),
            any(one.touches_border for one in (*before, *now)),
        )

    def _status(self, group: Group, before: int, now: int) -> Status:
        """Of a group with so many lesions before and now."""
        if not group.before:
            seen = self.alignment.to_before(self.parts_now.sample(group.now[0]))
            return "new" if in_view(seen, self.parts_before.grid) else "not seen before"
        if not group.now:
            seen = self.alignment.to_now(self.parts_before.sample(group.before[0]))
            return "gone" if in_view(seen, self.parts_now.grid) else "not seen now"
        if not before:
            return "grown past the smallest"
        if not now:
            return "shrunk below the smallest"
        if before > 1:
            return "merged" if now == 1 else "merged and split"
        return "matched" if now == 1 else "split"

    def _centre(self, group: Group) -> tuple[float, float, float] | None:
        """Of what is there now, weighted by volume; else where the earlier lies in the present image."""
        if group.now:
            numbers = list(group.now)
            weights = self.parts_now.volumes_mm3[numbers]
            return as_point(np.average(self.parts_now.centres[numbers], axis=0, weights=weights))
        (place,) = self.alignment.to_now(self.parts_before.centres[list(group.before)])
        return as_point(place) if np.isfinite(place).all() else None


def _size(lesions: Sequence[Lesion], parts: TimeParts, numbers: Sequence[int]) -> Size | None:
    """Of all lesions of a group at one time; of the part too small to be counted where there is none."""
    if len(lesions) == 1:
        (one,) = lesions
        return Size(one.volume_cm3, one.longest.length_mm, one.perpendicular.length_mm)
    if lesions:
        return Size(sum(one.volume_cm3 for one in lesions), None, None)
    return Size(float(parts.volumes_mm3[list(numbers)].sum()) / 1000, None, None) if numbers else None
