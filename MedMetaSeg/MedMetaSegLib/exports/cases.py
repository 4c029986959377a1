"""Cases for a training set: an image, what was annotated of it, and how far that says all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..imageio.volume import Volume
from ..support.dicom_objects import find_drawn_object
from ..support.label_values import SupportProblem
from ..support.placement import placed_support
from ..support.reading import read_segments
from ..support.seg_nrrd import SegmentationContent
from ..support.structure import AnnotatedStructure, Structure, default_color, tight
from ..support.support import Annotation, Support, check_overlap


@dataclass(frozen=True)
class ExportCase:
    """One image with its labels, not yet read.

    name: wanted for its files. image: what tables call the image; path: its file or folder; volume: reads it,
    and raises InputError. segmentation: file of what was annotated. names: structure names by label value,
    None for those in the file. declared: structures that were looked for, found or not, known before the file
    is read. patient: "" where none is given. origin: how the labels came about, for tables; by_network:
    nobody painted or edited them. notes: sentences about them.
    """

    name: str
    image: str
    path: Path
    volume: Callable[[], Volume]
    segmentation: Path
    annotation: Annotation
    plane: str | None = None
    names: Mapping[int, str] | None = None
    declared: tuple[str, ...] = ()
    patient: str = ""
    origin: str = "given"
    by_network: bool = False
    notes: tuple[str, ...] = ()


def read_annotation(case: ExportCase, volume: Volume | None = None) -> Support:
    """What was annotated, on its own grid. Raises InputError.

    A complete one keeps structures of any size, and may hold none: the image is background then. volume: the
    image, which what was drawn in DICOM needs, and which is read for it where it is not given.
    """
    if volume is None and find_drawn_object(case.segmentation) is not None:
        volume = case.volume()
    if case.annotation != "complete":
        support = Support.read(case.segmentation, case.annotation, case.plane, case.names, volume)
    else:
        support = _complete(read_segments(case.segmentation, case.names, "segmentation", volume))
    names = [one.structure.name for one in support.structures]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{case.segmentation} has two structures called {twice}; rename or join them.")
    return support


def on_image(support: Support, volume: Volume) -> Support:
    """The support on the grid of the image; the image stays as it is. Raises InputError.

    Each voxel takes the nearest one, each annotated slice goes to the slice nearest to it. On axes that are
    not parallel no slice stays complete, which a note says.
    """
    if not support.structures:
        if not support.geometry.same_grid(volume.geometry):
            raise SupportProblem("There is no label, and it is not on the grid of the image; check both.")
        return support
    placed = placed_support(support, volume)
    check_overlap(placed, volume.geometry)
    if volume.geometry.is_parallel(placed.geometry):
        return placed.on(volume.geometry)
    moved = placed.voxels_on(volume.geometry)
    if support.annotation != "slices":
        return moved
    note = (
        "Its axes are not parallel to the image's: only painted voxels are known, and no slice is complete."
    )
    return replace(moved, notes=(*moved.notes, note))


def _complete(content: SegmentationContent) -> Support:
    """A support of everything that a file holds, structures without voxels left out.

    The background of one made of a label map is its whole grid, beyond which nothing is known; segments are
    cropped by habit, and what lies beyond them is known.
    """
    structures = []
    for one in content.masks:
        offset, mask = tight(one.mask, one.offset)
        if mask.size:
            structures.append(AnnotatedStructure(one.structure, offset, mask))
    return Support(
        content.geometry,
        tuple(structures),
        "complete",
        overlapping=content.overlapping is not False,
        background=_whole_grid(content) if content.is_label_map else None,
        notes=content.notes,
        forms=content.forms,
        frame_of_reference=content.frame_of_reference,
    )


def _whole_grid(content: SegmentationContent) -> AnnotatedStructure:
    everywhere = np.ones(content.geometry.shape, bool)
    return AnnotatedStructure(Structure("background", 0, default_color(0)), (0, 0, 0), everywhere)
