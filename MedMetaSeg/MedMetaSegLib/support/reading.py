"""Segments and labels as a file holds them: .seg.nrrd, DICOM SEG, RTSTRUCT, and label maps of any format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.ndimage import find_objects

from ..errors import InputError
from ..imageio.frames import SequenceError
from ..imageio.volume import Volume, read_image
from .dicom_objects import find_drawn_object
from .dicom_seg import read_dicom_seg
from .label_values import SupportProblem, whole_labels
from .rtstruct import read_rtstruct
from .seg_nrrd import SegmentationContent, is_segmentation_file, read_segmentation
from .structure import Structure, StructureMask, default_color

MAX_STRUCTURES = 250
"""Structures that a support, and a task, may have: they are counted in a byte."""


def read_segments(
    path: Path,
    names: Mapping[int, str] | None = None,
    role: str = "support",
    reference: Volume | None = None,
) -> SegmentationContent:
    """Read every segment of a .seg.nrrd, a DICOM SEG or an RTSTRUCT, or every label of a label map, as a
    cropped mask.

    names: structure names by label value, over those in the file. role: what the file is called in messages.
    reference: the image, on whose grid contours are read, so that an RTSTRUCT needs it; see `read_dicom_seg`,
    too. Raises InputError for a file that cannot be read, has several frames, or is no segmentation, and for
    an RTSTRUCT without a reference.
    """
    try:
        content = _segments(path, reference, role)
        if content is not None:
            check_count(len(content.masks), role)
            return content.renamed(names) if names else content
        image = read_image(path)
        masks = label_masks(image.array, names, role)
        return SegmentationContent(
            image.geometry, masks, forms=image.forms, overlapping=False, is_label_map=True
        )
    except SequenceError as sequence:
        raise InputError(f"{path} has {sequence.frames} frames; give a label map of one.") from sequence
    except SupportProblem as problem:
        raise InputError(f"{path}: {problem}") from problem


def label_masks(
    labels: np.ndarray, names: Mapping[int, str] | None = None, role: str = "support"
) -> tuple[StructureMask, ...]:
    """A cropped mask for each value above 0 of a label map (k, j, i), ascending.

    Raises SupportProblem for negative values and fractions, and for more than 250 labels.
    """
    labels = whole_labels(labels, role)
    boxes = [(value, box) for value, box in enumerate(find_objects(labels), start=1) if box is not None]
    check_count(len(boxes), role)
    masks = []
    for value, box in boxes:
        name = (names or {}).get(value, f"Label {value}")
        offset = (box[0].start, box[1].start, box[2].start)
        structure = Structure(name, value, default_color(value))
        masks.append(StructureMask(structure, offset, labels[box] == value))
    return tuple(masks)


def check_count(number: int, role: str = "support") -> None:
    """Raise SupportProblem for more structures than there may be."""
    if number > MAX_STRUCTURES:
        raise SupportProblem(f"The {role} has {number} structures; give at most {MAX_STRUCTURES}.")


def _segments(path: Path, reference: Volume | None, role: str) -> SegmentationContent | None:
    """What a file of segments holds, None for an image or label map. Raises InputError."""
    if is_segmentation_file(path):
        return read_segmentation(path)
    found = find_drawn_object(path)
    if found is None:
        return None
    if found.is_contours:
        return read_rtstruct(found.path, reference, role)
    return read_dicom_seg(found.path, reference)
