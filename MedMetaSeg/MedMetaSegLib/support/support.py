"""A support: what somebody annotated, on its own grid, and what that says about every voxel.

- "slices": a slice in the drawing plane that holds a voxel of a structure is complete for that structure, and
  elsewhere the structure is unknown. Structures may be annotated on different slices and in different planes.
- "complete": every voxel is known.
- "scribbles": annotated voxels are known; a structure called background says what is not; all else is
  unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ..errors import InputError
from ..imageio.geometry import Geometry, index3
from ..imageio.nifti import NiftiForms
from ..imageio.volume import Volume
from .annotated_planes import with_complete_slices
from .drawing_plane import PLANES, drawing_axes, plane_axis, plane_name
from .label_values import SupportProblem
from .lost_header import lost_header
from .reading import MAX_STRUCTURES, check_count, label_masks, read_segments
from .regrid import GridResampling, without_slices_on
from .seg_nrrd import write_segmentation
from .structure import (
    AnnotatedStructure,
    Structure,
    StructureMask,
    filled_slices,
    region,
    tight,
)

__all__ = [
    "MAX_STRUCTURES",
    "PLANES",
    "AnnotatedStructure",
    "Annotation",
    "Structure",
    "StructureMask",
    "Support",
    "check_overlap",
    "check_something_left",
    "plane_name",
    "write_segmentation",
]

Annotation = Literal["slices", "complete", "scribbles"]

MIN_VOXELS = 10
"""Voxels that a structure has at least; one of fewer is skipped."""
_LISTED = 12
"""Numbers of slices that a note lists, at most."""
_SAMPLED_VOXELS = 20_000
"""Voxels of a structure that are looked at, about, to see whether it lies in an image."""


@dataclass(frozen=True, eq=False)
class Support:
    """Annotated structures on one grid.

    overlapping: some voxel belongs to two structures. background: what is no structure, for scribbles only.
    skipped: (name, reason) of structures that were annotated but cannot be used. notes: sentences about
    voxels on slices that are not complete, about annotated slices that were given up when the support moved
    to another grid, and about where it lies.
    forms: what the header of a NIfTI file says of its place. placed_on: the grid of the image in which that
    place is settled (`placement.placed_support`), if it is. frame_of_reference: the identifier that DICOM
    gives the space it lies in, "" where none is known.
    """

    geometry: Geometry
    structures: tuple[AnnotatedStructure, ...]
    annotation: Annotation = "slices"
    overlapping: bool = False
    background: AnnotatedStructure | None = None
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    forms: NiftiForms | None = None
    placed_on: Geometry | None = None
    frame_of_reference: str = ""

    @classmethod
    def read(
        cls,
        path: str | Path,
        annotation: Annotation = "slices",
        plane: str | None = None,
        names: Mapping[int, str] | None = None,
        reference: Volume | None = None,
    ) -> Support:
        """Read a .seg.nrrd, a DICOM SEG, an RTSTRUCT or a label map of any format; see `from_masks` and
        `from_labels`.

        names: structure names by label value, over those in the file. reference: the image, which an RTSTRUCT
        needs: contours have no grid of their own. Raises InputError for a file that cannot be read or used.
        """
        path = Path(path)
        content = read_segments(path, names, reference=reference)
        try:
            tagged, overlapping = content.background_ids, content.overlapping
            support = cls._made(content.masks, content.geometry, annotation, plane, tagged, overlapping)
        except SupportProblem as problem:
            raise InputError(f"{path}: {problem}") from problem
        return replace(
            support,
            forms=content.forms,
            notes=(*content.notes, *support.notes),
            frame_of_reference=content.frame_of_reference,
        )

    @classmethod
    def from_labels(
        cls,
        labels: np.ndarray,
        geometry: Geometry,
        names: Mapping[int, str] | None = None,
        annotation: Annotation = "slices",
        plane: str | None = None,
    ) -> Support:
        """A support of a label map (k, j, i), 0 where nothing was annotated.

        Raises InputError for negative values and fractions, for more than 250 labels, and as `from_masks`.
        """
        if labels.shape != geometry.shape:
            raise ValueError(f"Labels of {labels.shape} do not fill a grid of {geometry.shape}.")
        masks = label_masks(labels, names)
        return cls._made(masks, geometry, annotation, plane, (), overlapping=False)

    @classmethod
    def from_masks(
        cls,
        masks: Sequence[StructureMask],
        geometry: Geometry,
        annotation: Annotation = "slices",
        plane: str | None = None,
        background_ids: Collection[str] = (),
    ) -> Support:
        """A support of one mask per structure, on the grid `geometry`.

        plane: "axial", "coronal" or "sagittal"; detected per structure when None. background_ids: segments
        that are the background of scribbles, besides any of that name. Structures of fewer than 10 voxels are
        skipped. Raises InputError when nothing usable is left or there are more than 250 structures.
        """
        check_count(len(masks))
        return cls._made(masks, geometry, annotation, plane, background_ids, overlapping=None)

    @classmethod
    def _made(
        cls,
        masks: Sequence[StructureMask],
        geometry: Geometry,
        annotation: Annotation,
        plane: str | None,
        background_ids: Collection[str],
        overlapping: bool | None,
    ) -> Support:
        if annotation not in get_args(Annotation):
            raise InputError(f"There is no annotation '{annotation}'; use {', '.join(get_args(Annotation))}.")
        axis = None if plane is None else plane_axis(geometry, plane)
        usable, skipped = _usable(masks, geometry)
        background = None
        if annotation == "scribbles":
            background = next((one for one in usable if _is_background(one.structure, background_ids)), None)
            usable = [one for one in usable if one is not background]
        if not usable:
            raise _nothing_annotated(skipped, background)
        if annotation == "slices":
            if axis is None:
                axes = drawing_axes([one.mask for one in usable], geometry)
            else:
                axes = [axis] * len(usable)
            usable = [
                with_complete_slices(one, along, geometry.spacing_mm, only=axis is not None)
                for one, along in zip(usable, axes, strict=True)
            ]
        if overlapping is None:
            overlapping = _any_overlap(usable)
        notes = [note for one in usable for note in _loose_voxels(one, geometry)]
        return cls(geometry, tuple(usable), annotation, overlapping, background, tuple(skipped), tuple(notes))

    def labels(self) -> np.ndarray:
        """The label map (k, j, i) on the support's grid, uint8 or uint16; in overlaps the last one wins."""
        largest = max(one.structure.label for one in self.structures)
        labels = np.zeros(self.geometry.shape, dtype=np.uint8 if largest <= 255 else np.uint16)
        for one in self.structures:
            labels[one.region][one.mask] = one.structure.label
        return labels

    def describe(self) -> list[dict[str, object]]:
        """Per structure its name, label, voxels, drawing plane and slices, for reports.

        "crossing": plane and slices of each other plane with complete slices; "scribbled": voxels that are
        known by themselves.
        """
        return [
            {
                "name": one.structure.name,
                "label": one.structure.label,
                "voxels": one.voxels,
                "plane": None if one.axis is None else plane_name(self.geometry, one.axis),
                "slices": list(one.slices),
                "crossing": [
                    {"plane": plane_name(self.geometry, plane.axis), "slices": list(plane.slices)}
                    for plane in one.crossing
                ],
                "scribbled": one.voxels
                if self.annotation == "scribbles"
                else int(np.count_nonzero(one.loose)),
            }
            for one in self.structures
        ]

    def on(self, geometry: Geometry) -> Support:
        """The support on a grid with parallel axes of any order, direction, spacing and extent.

        In the plane each voxel takes the nearest one; an annotated slice goes to the slice nearest to it,
        and of two that meet the closer one stays. Raises ValueError when the axes are not parallel,
        InputError when nothing lands on the grid.
        """
        if self.geometry.same_grid(geometry):
            return self
        resampling = GridResampling.between(self.geometry, geometry)
        structures, skipped, notes = [], list(self.skipped), list(self.notes)
        for one in self.structures:
            moved, lost = resampling.resample(one, self.annotation)
            if moved is None:
                skipped.append((one.structure.name, lost))
                continue
            structures.append(moved)
            if lost:
                notes.append(f"{one.structure.name}: {lost}.")
        if not structures:
            raise _outside_the_image(self.geometry, geometry)
        background = resampling.resample(self.background, self.annotation)[0] if self.background else None
        return replace(
            self,
            geometry=geometry,
            structures=tuple(structures),
            background=background,
            skipped=tuple(skipped),
            notes=tuple(notes),
        )

    def voxels_on(self, geometry: Geometry) -> Support:
        """The support on any other grid over the same space: a voxel holds what was annotated at its centre.

        Slices along the one grid are none along the other, so no slice is complete any more: only voxels are
        kept as annotated.
        """
        structures = tuple(without_slices_on(one, self.geometry, geometry) for one in self.structures)
        background = self.background and without_slices_on(self.background, self.geometry, geometry)
        return replace(self, geometry=geometry, structures=structures, background=background)


def check_overlap(support: Support, geometry: Geometry) -> None:
    """Raise InputError when no annotated voxel lies inside the image's grid; any orientation."""
    check_masks_overlap(support.structures, support.geometry, geometry)


def check_masks_overlap(
    masks: Sequence[StructureMask], source: Geometry, image: Geometry, role: str = "support"
) -> None:
    """Raise InputError when no voxel of masks on the grid `source` lies inside the image's; any orientation.

    role: what the masks are called.
    """
    for one in masks:
        voxels = np.argwhere(one.mask)
        voxels = voxels[:: max(1, len(voxels) // _SAMPLED_VOXELS)] + np.array(one.offset)
        if image.contains(source.index_to_world(voxels)).any():
            return
    raise _outside_the_image(source, image, role)


def check_something_left(support: Support, geometry: Geometry) -> None:
    """Raise InputError when the support already says everything about the image's grid."""
    if support.annotation == "complete":
        raise InputError("A complete annotation leaves nothing to segment; learn a task from it instead.")
    if support.annotation == "scribbles":
        return
    if not support.geometry.same_grid(geometry):
        if not geometry.is_parallel(support.geometry):
            return
        support = support.on(geometry)
    there = support.structures
    if all(one.axis is not None and len(one.slices) == geometry.shape[one.axis] for one in there):
        raise InputError(
            "Every slice of the image is drawn, so nothing is left to segment; leave some empty."
        )


def _usable(
    masks: Sequence[StructureMask], geometry: Geometry
) -> tuple[list[AnnotatedStructure], list[tuple[str, str]]]:
    usable, skipped = [], []
    for one in masks:
        name = one.structure.name
        ends = [start + size for start, size in zip(one.offset, one.mask.shape, strict=True)]
        if min(one.offset) < 0 or any(end > size for end, size in zip(ends, geometry.shape, strict=True)):
            raise ValueError(f"The mask of {name} reaches outside the grid of {geometry.shape}.")
        voxels = one.voxels
        if voxels < MIN_VOXELS:
            count = "1 voxel" if voxels == 1 else f"{voxels} voxels"
            skipped.append((name, f"it has {count}, at least {MIN_VOXELS} are needed"))
            continue
        usable.append(AnnotatedStructure(one.structure, *tight(one.mask, one.offset)))
    return usable, skipped


def _nothing_annotated(skipped: list[tuple[str, str]], background: AnnotatedStructure | None) -> InputError:
    if skipped:
        listed = "; ".join(f"{name}: {reason}" for name, reason in skipped)
        return SupportProblem(f"No structure of the support can be used ({listed}); paint more of it.")
    if background is not None:
        return SupportProblem("The support has a background only; paint the structure too.")
    return SupportProblem("The support is empty; paint the structure on at least one slice.")


def _loose_voxels(annotated: AnnotatedStructure, geometry: Geometry) -> list[str]:
    """A sentence about voxels on slices that are not complete; none where there are no such."""
    loose, axis = annotated.loose, annotated.axis
    count = int(np.count_nonzero(loose))
    if not count or axis is None:
        return []
    numbers = filled_slices(loose, axis) + annotated.offset[axis]
    listed = ", ".join(str(number) for number in numbers[:_LISTED]) + (", ..." * (len(numbers) > _LISTED))
    slices = f"slice {listed} is" if len(numbers) == 1 else f"slices {listed} are"
    voxels = "the 1 voxel painted there counts" if count == 1 else f"the {count} voxels painted there count"
    return [
        f"{annotated.structure.name}: {plane_name(geometry, axis)} {slices} not taken for complete; "
        f"{voxels} as scribbles."
    ]


def _is_background(structure: Structure, background_ids: Collection[str]) -> bool:
    named = structure.name.strip().casefold() == "background"
    return named or (structure.segment_id != "" and structure.segment_id in background_ids)


def _any_overlap(structures: Sequence[StructureMask]) -> bool:
    return any(_overlap(one, other) for n, one in enumerate(structures) for other in structures[n + 1 :])


def _overlap(one: StructureMask, other: StructureMask) -> bool:
    start = np.maximum(one.offset, other.offset)
    size = np.minimum(np.add(one.offset, one.mask.shape), np.add(other.offset, other.mask.shape)) - start
    if size.min() <= 0:
        return False
    first, second = (
        piece.mask[region(index3(at), tuple(size))]
        for piece, at in ((one, start - one.offset), (other, start - other.offset))
    )
    return bool(np.any(first & second))


def _outside_the_image(support: Geometry, image: Geometry, role: str = "support") -> InputError:
    outside = f"The {role} lies outside the image; check that both show the same region of the same patient."
    return InputError(f"{outside} {lost_header(support, image, role)}".strip())
