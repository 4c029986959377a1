"""A support: what somebody painted, on its own grid, and what that says about every voxel.

- "slices": a slice in the drawing plane that holds a voxel of a structure is complete for that structure, and
  elsewhere the structure is unknown. Structures may be drawn on different slices and in different planes.
- "complete": every voxel is known.
- "scribbles": painted voxels are known; a structure called background says what is not; all else is unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from scipy.ndimage import find_objects

from ..errors import InputError
from ..imageio.geometry import Geometry, Index3
from ..imageio.volume import read_image
from .drawing_plane import PLANES, drawing_axes, plane_axis, plane_name
from .regrid import GridResampling
from .seg_nrrd import is_segmentation_file, read_segmentation, write_segmentation
from .structure import AnnotatedStructure, Structure, default_color, region, tight

__all__ = [
    "PLANES",
    "AnnotatedStructure",
    "Annotation",
    "Structure",
    "Support",
    "check_overlap",
    "check_something_left",
    "plane_name",
    "write_segmentation",
]

Annotation = Literal["slices", "complete", "scribbles"]

MIN_VOXELS = 10
MAX_STRUCTURES = 250

_SAMPLED_VOXELS = 20_000


@dataclass(frozen=True, eq=False)
class Support:
    """Painted structures on one grid.

    overlapping: some voxel belongs to two structures. background: what is no structure, for scribbles only.
    skipped: (name, reason) of structures that were painted but cannot be used. notes: sentences about drawn
    slices that were given up when the support moved to another grid.
    """

    geometry: Geometry
    structures: tuple[AnnotatedStructure, ...]
    annotation: Annotation = "slices"
    overlapping: bool = False
    background: AnnotatedStructure | None = None
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def read(
        cls,
        path: str | Path,
        annotation: Annotation = "slices",
        plane: str | None = None,
        names: Mapping[int, str] | None = None,
    ) -> Support:
        """Read a .seg.nrrd or a label map of any format; see `from_masks` and `from_labels`.

        names: structure names by label value, over those in the file. Raises InputError for a file that
        cannot be read or used.
        """
        path = Path(path)
        try:
            if is_segmentation_file(path):
                content = read_segmentation(path)
                if names:
                    content = content.renamed(names)
                tagged = content.background_ids
                return cls.from_masks(content.masks, content.geometry, annotation, plane, tagged)
            image = read_image(path)
            return cls.from_labels(image.array, image.geometry, names, annotation, plane)
        except _SupportProblem as problem:
            raise InputError(f"{path}: {problem}") from problem

    @classmethod
    def from_labels(
        cls,
        labels: np.ndarray,
        geometry: Geometry,
        names: Mapping[int, str] | None = None,
        annotation: Annotation = "slices",
        plane: str | None = None,
    ) -> Support:
        """A support of a label map (k, j, i), 0 where nothing was painted.

        Raises InputError for negative values and fractions, for more than 250 labels, and as `from_masks`.
        """
        if labels.shape != geometry.shape:
            raise ValueError(f"Labels of {labels.shape} do not fill a grid of {geometry.shape}.")
        labels = _as_labels(labels)
        boxes = [(value, box) for value, box in enumerate(find_objects(labels), start=1) if box is not None]
        _check_count(len(boxes))
        masks = []
        for value, box in boxes:
            name = (names or {}).get(value, f"Label {value}")
            offset = (box[0].start, box[1].start, box[2].start)
            masks.append((Structure(name, value, default_color(value)), labels[box] == value, offset))
        return cls._made(masks, geometry, annotation, plane, (), overlapping=False)

    @classmethod
    def from_masks(
        cls,
        masks: Sequence[tuple[Structure, np.ndarray, Index3]],
        geometry: Geometry,
        annotation: Annotation = "slices",
        plane: str | None = None,
        background_ids: Collection[str] = (),
    ) -> Support:
        """A support of one mask per structure: bool (k, j, i), and the offset of its first voxel on the grid.

        plane: "axial", "coronal" or "sagittal"; detected per structure when None. background_ids: segments
        that are the background of scribbles, besides any of that name. Structures of fewer than 10 voxels are
        skipped. Raises InputError when nothing usable is left or there are more than 250 structures.
        """
        _check_count(len(masks))
        return cls._made(masks, geometry, annotation, plane, background_ids, overlapping=None)

    @classmethod
    def _made(
        cls,
        masks: Sequence[tuple[Structure, np.ndarray, Index3]],
        geometry: Geometry,
        annotation: Annotation,
        plane: str | None,
        background_ids: Collection[str],
        overlapping: bool | None,
    ) -> Support:
        if annotation not in get_args(Annotation):
            raise InputError(f"There is no annotation '{annotation}'; use {', '.join(get_args(Annotation))}.")
        axis = None if plane is None else plane_axis(geometry, plane)
        painted, skipped = _usable(masks, geometry)
        background = None
        if annotation == "scribbles":
            background = next((one for one in painted if _is_background(one.structure, background_ids)), None)
            painted = [one for one in painted if one is not background]
        if not painted:
            raise _nothing_painted(skipped, background)
        if annotation == "slices":
            if axis is None:
                axes = drawing_axes([one.mask for one in painted], geometry)
            else:
                axes = [axis] * len(painted)
            painted = [_drawn(one, along) for one, along in zip(painted, axes, strict=True)]
        if overlapping is None:
            overlapping = _any_overlap(painted)
        return cls(geometry, tuple(painted), annotation, overlapping, background, tuple(skipped))

    def labels(self) -> np.ndarray:
        """The label map (k, j, i) on the support's grid, uint8 or uint16; in overlaps the last one wins."""
        largest = max(one.structure.label for one in self.structures)
        labels = np.zeros(self.geometry.shape, dtype=np.uint8 if largest <= 255 else np.uint16)
        for one in self.structures:
            labels[one.region][one.mask] = one.structure.label
        return labels

    def describe(self) -> list[dict[str, object]]:
        """Per structure its name, label, voxels, drawing plane and slices, for reports."""
        return [
            {
                "name": one.structure.name,
                "label": one.structure.label,
                "voxels": one.voxels,
                "plane": None if one.axis is None else plane_name(self.geometry, one.axis),
                "slices": list(one.slices),
            }
            for one in self.structures
        ]

    def on(self, geometry: Geometry) -> Support:
        """The support on a grid with parallel axes of any order, direction, spacing and extent.

        In the plane each voxel takes the nearest one; a drawn slice goes to the slice nearest to it, and of
        two that meet the closer one stays. Raises ValueError when the axes are not parallel, InputError when
        nothing lands on the grid.
        """
        if self.geometry.same_grid(geometry):
            return self
        change = GridResampling.between(self.geometry, geometry)
        structures, skipped, notes = [], list(self.skipped), list(self.notes)
        for one in self.structures:
            moved, lost = change.carry(one, self.annotation)
            if moved is None:
                skipped.append((one.structure.name, lost))
                continue
            structures.append(moved)
            if lost:
                notes.append(f"{one.structure.name}: {lost}.")
        if not structures:
            raise _elsewhere()
        background = change.carry(self.background, self.annotation)[0] if self.background else None
        return replace(
            self,
            geometry=geometry,
            structures=tuple(structures),
            background=background,
            skipped=tuple(skipped),
            notes=tuple(notes),
        )


def check_overlap(support: Support, geometry: Geometry) -> None:
    """Raise InputError when no painted voxel lies inside the image's grid; any orientation."""
    for one in support.structures:
        voxels = np.argwhere(one.mask)
        voxels = voxels[:: max(1, len(voxels) // _SAMPLED_VOXELS)] + np.array(one.offset)
        if geometry.contains(support.geometry.index_to_world(voxels)).any():
            return
    raise _elsewhere()


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
    drawn = support.structures
    if all(one.axis is not None and len(one.slices) == geometry.shape[one.axis] for one in drawn):
        raise InputError(
            "Every slice of the image is drawn, so nothing is left to segment; leave some empty."
        )


class _SupportProblem(InputError):
    """A problem with what a file holds; the file's name is put before it."""


def _as_labels(labels: np.ndarray) -> np.ndarray:
    """Labels as uint8 or uint16; checked and converted slice by slice."""
    if labels.dtype in (np.uint8, np.uint16):
        return labels
    if labels.dtype.kind == "f" and not all(np.array_equal(piece, np.rint(piece)) for piece in labels):
        raise _SupportProblem("The support has values that are not whole numbers; give a label map.")
    smallest, largest = labels.min(), labels.max()
    if smallest < 0:
        raise _SupportProblem(f"The support has negative values (down to {smallest:g}); give a label map.")
    if largest > 65535:
        raise _SupportProblem(f"The support has values up to {largest:g}; give labels of at most 65535.")
    return labels.astype(np.uint8 if largest <= 255 else np.uint16)


def _check_count(number: int) -> None:
    if number > MAX_STRUCTURES:
        raise _SupportProblem(f"The support has {number} structures; give at most {MAX_STRUCTURES}.")


def _usable(
    masks: Sequence[tuple[Structure, np.ndarray, Index3]], geometry: Geometry
) -> tuple[list[AnnotatedStructure], list[tuple[str, str]]]:
    painted, skipped = [], []
    for structure, mask, offset in masks:
        ends = [start + size for start, size in zip(offset, mask.shape, strict=True)]
        if min(offset) < 0 or any(end > size for end, size in zip(ends, geometry.shape, strict=True)):
            raise ValueError(f"The mask of {structure.name} reaches outside the grid of {geometry.shape}.")
        voxels = int(np.count_nonzero(mask))
        if voxels < MIN_VOXELS:
            count = "1 voxel" if voxels == 1 else f"{voxels} voxels"
            skipped.append((structure.name, f"it has {count}, at least {MIN_VOXELS} are needed"))
            continue
        cropped, start = tight(mask, offset)
        painted.append(AnnotatedStructure(structure, start, cropped))
    return painted, skipped


def _nothing_painted(skipped: list[tuple[str, str]], background: AnnotatedStructure | None) -> InputError:
    if skipped:
        listed = "; ".join(f"{name}: {reason}" for name, reason in skipped)
        return _SupportProblem(f"No structure of the support can be used ({listed}); paint more of it.")
    if background is not None:
        return _SupportProblem("The support has a background only; paint the structure too.")
    return _SupportProblem("The support is empty; paint the structure on at least one slice.")


def _drawn(painted: AnnotatedStructure, axis: int) -> AnnotatedStructure:
    filled = painted.mask.any(axis=tuple(other for other in range(3) if other != axis))
    slices = tuple(int(number) + painted.offset[axis] for number in np.flatnonzero(filled))
    return replace(painted, axis=axis, slices=slices)


def _is_background(structure: Structure, background_ids: Collection[str]) -> bool:
    named = structure.name.strip().casefold() == "background"
    return named or (structure.segment_id != "" and structure.segment_id in background_ids)


def _any_overlap(painted: Sequence[AnnotatedStructure]) -> bool:
    return any(_overlap(one, other) for n, one in enumerate(painted) for other in painted[n + 1 :])


def _overlap(one: AnnotatedStructure, other: AnnotatedStructure) -> bool:
    start = np.maximum(one.offset, other.offset)
    size = np.minimum(np.add(one.offset, one.mask.shape), np.add(other.offset, other.mask.shape)) - start
    if size.min() <= 0:
        return False
    first, second = (
        piece.mask[region((int(at[0]), int(at[1]), int(at[2])), tuple(size))]
        for piece, at in ((one, start - one.offset), (other, start - other.offset))
    )
    return bool(np.any(first & second))


def _elsewhere() -> InputError:
    return InputError(
        "The support lies outside the image; check that both show the same region of the same patient."
    )
