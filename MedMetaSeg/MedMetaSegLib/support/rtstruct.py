"""DICOM RT structure set (RTSTRUCT): contours with names and colours, filled on the grid of their image.

Its LPS becomes the RAS used throughout here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..imageio.dicom_header import damaged, numbers, unreadable
from ..imageio.volume import Volume
from .contours import filled
from .frame_of_reference import check_frame_of_reference
from .seg_nrrd import SegmentationContent
from .structure import Color, Structure, StructureMask, default_color, tight

_AREAS = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
"""Contours that enclose something; where several lie on one slice, even-odd is what either of them means."""
_CORNERS = 3
"""Points of such a contour, at least."""
_LARGEST_LABEL = 65535
_UNDEFINED_LENGTH = 0xFFFFFFFF
"""Length of a field that ends with a mark of its own, without which pydicom refuses it."""
_SAME_PLACE_VOXELS = 0.05
"""Furthest apart that a voxel may lie in two readings of an image's header."""


@dataclass(frozen=True, eq=False)
class _Region:
    """A region of interest. contours: (n, 3) mm RAS each; open: how many points and open lines there are
    besides. frame_of_reference: of all its positions.
    """

    number: int
    name: str
    color: Color | None
    frame_of_reference: str
    contours: tuple[np.ndarray, ...]
    open: int


def read_rtstruct(path: Path, reference: Volume | None, role: str = "support") -> SegmentationContent:
    """Read an RTSTRUCT on its image's grid: a structure for each region of interest with closed contours.

    reference: the image. role: what the file is called in messages.

    A structure's label is the region's number where these are from 1 to 65535, else 1 to n in file order.
    Notes name regions without a closed contour, points and open lines, and contours that lie outside the
    image or cross. Raises InputError without a reference, for a damaged file, without a closed contour, for
    another frame of reference than the image's, for contours beside the image's slices, and where all lie
    outside it.
    """
    if reference is None:
        raise InputError(f"{path} holds contours, which have no grid of their own; read it with its image.")
    _check_one_place(reference)
    regions = _regions(path)
    frame = _one_frame_of_reference(regions, path)
    check_frame_of_reference(frame, reference.frame_of_reference, role)
    drawn = [one for one in regions if one.contours]
    if not drawn:
        raise InputError(f"{path} has no closed contour; there is no structure in it.")
    notes = _notes_about(regions, path)
    masks = []
    for one, label in zip(drawn, _labels(drawn), strict=True):
        found = filled(one.name, one.contours, reference.geometry)
        masks.append(StructureMask(_structure(one, label), *tight(found.mask, found.offset)))
        notes += _notes_on_grid(one.name, found.outside, found.crossing)
    if not any(one.mask.size for one in masks):
        raise InputError(
            f"No contour of {path} encloses a voxel of the image; check that both show the same region of "
            "the same patient."
        )
    return SegmentationContent(reference.geometry, tuple(masks), notes=tuple(notes), frame_of_reference=frame)


def _check_one_place(reference: Volume) -> None:
    """Raise InputError where the image's header puts it in two places: contours are in one of them."""
    forms = reference.forms
    if forms is None:
        return
    if not all(forms.geometry.same_grid(one.geometry, _SAME_PLACE_VOXELS) for one in forms.readings):
        raise InputError(
            "The image's qform and sform differ, so that contours have no certain place in it; keep only the "
            "right one, or give the DICOM series."
        )


def _regions(path: Path) -> list[_Region]:
    import pydicom
    from pydicom.config import disable_value_validation

    with disable_value_validation():
        try:
            content = pydicom.dcmread(path, force=True)
            if not _is_whole(content):
                raise damaged(path)
            drawn: dict[int, list[Any]] = {}
            for one in content.get("ROIContourSequence") or ():
                drawn.setdefault(int(one.ReferencedROINumber), []).append(one)
            described = content.get("StructureSetROISequence") or ()
            known = {int(one.ROINumber) for one in described}
            if not described or len(known) < len(described) or drawn.keys() - known:
                raise damaged(path)
            frame = _told_frame_of_reference(content)
            return [_region(one, drawn.get(int(one.ROINumber), ()), frame) for one in described]
        except unreadable() as error:
            raise damaged(path) from error


def _is_whole(content: Any) -> bool:
    """False where the file ends within its last field, which pydicom reads as far as it goes."""
    tags = content.keys()
    if not tags:
        return False
    last = content.get_item(max(tags))
    return not last.is_raw or last.length == _UNDEFINED_LENGTH or len(last.value or b"") == last.length


def _told_frame_of_reference(content: Any) -> str:
    """The frame of reference of a file whose regions name none; "" where it names none or several."""
    told = [*(content.get("ReferencedFrameOfReferenceSequence") or ()), content]
    frames = {_uid(one, "FrameOfReferenceUID") for one in told} - {""}
    return frames.pop() if len(frames) == 1 else ""


def _uid(item: Any, name: str) -> str:
    return str(item.get(name) or "").strip("\0 ")


def _region(described: Any, drawn: Sequence[Any], frame_of_reference: str) -> _Region:
    """A region of its description and what was drawn of it; frame_of_reference: where it names none.

    Raises ValueError for values of another kind.
    """
    number = int(described.ROINumber)
    name = str(described.get("ROIName") or "").strip() or f"ROI {number}"
    everything = [contour for one in drawn for contour in one.get("ContourSequence") or ()]
    contours, open_ones = [], 0
    for contour in everything:
        points = _points(contour)
        if str(contour.ContourGeometricType).upper() in _AREAS and len(points) >= _CORNERS:
            contours.append(points)
        else:
            open_ones += 1
    colors = [numbers(one.get("ROIDisplayColor")) for one in drawn]
    color = next((_color(one) for one in colors if one.size == 3), None)
    frame = _uid(described, "ReferencedFrameOfReferenceUID") or frame_of_reference
    return _Region(number, name, color, frame, tuple(contours), open_ones)


def _points(contour: Any) -> np.ndarray:
    """(n, 3) mm RAS. Raises ValueError where there are not as many as the contour says."""
    # Contours are most of the file, and made into objects number by number they take seconds.
    stored = contour.get_item("ContourData").value
    if isinstance(stored, bytes):
        text = stored.decode("ascii").strip("\0 ")
        values = np.array(text.split("\\"), float) if text else np.empty(0)
    else:
        values = numbers(stored)
    points = values.reshape(-1, 3)
    told = contour.get("NumberOfContourPoints")
    if told not in (None, "", len(points)):
        raise ValueError("another number of points than the contour says")
    if not np.isfinite(points).all():
        raise ValueError("points at no place")
    return points * (-1.0, -1.0, 1.0)


def _color(values: np.ndarray) -> Color:
    red, green, blue = (round(float(value) / 255.0, 4) for value in np.clip(values, 0, 255))
    return red, green, blue


def _one_frame_of_reference(regions: Sequence[_Region], path: Path) -> str:
    frames = {one.frame_of_reference for one in regions if one.contours and one.frame_of_reference}
    if len(frames) > 1:
        raise InputError(
            f"The structures in {path} lie in {len(frames)} frames of reference; export those of this image "
            "alone."
        )
    return frames.pop() if frames else ""


def _labels(regions: Sequence[_Region]) -> list[int]:
    found = [one.number for one in regions]
    if min(found) > 0 and max(found) <= _LARGEST_LABEL:
        return found
    return list(range(1, len(found) + 1))


def _structure(region: _Region, label: int) -> Structure:
    color = default_color(label) if region.color is None else region.color
    return Structure(region.name, label, color, segment_id=f"ROI_{region.number}")


def _notes_about(regions: Sequence[_Region], path: Path) -> list[str]:
    """Sentences about what encloses nothing."""
    notes = []
    for one in regions:
        if one.open and one.contours:
            count = _count(one.open, "contour", "contours")
            notes.append(f"{one.name}: left out {count} of points or open lines, which enclose nothing.")
    empty = [one.name for one in regions if not one.contours]
    if empty:
        notes.append(f"{path.name} has no closed contour of {', '.join(empty)}: left out.")
    return notes


def _notes_on_grid(name: str, outside: int, crossing: int) -> list[str]:
    """Sentences about contours that do not fill what they seem to."""
    notes = []
    if outside:
        lie = _count(outside, "contour lies", "contours lie")
        notes.append(f"{name}: {lie} outside the image, all or in part; what is outside was left out.")
    if crossing:
        on = _count(crossing, "slice", "slices")
        notes.append(
            f"{name}: contours cross or repeat each other on {on}; where two overlap, neither counts "
            "(even-odd rule)."
        )
    return notes


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
