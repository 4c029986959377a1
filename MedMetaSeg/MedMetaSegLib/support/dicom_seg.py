"""DICOM SEG: segments with names and colours, each frame at its own place.

Only frames with a voxel need to be in the file, in any order, so the grid is made of where they lie. Its LPS
becomes the RAS used throughout here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import find_objects

from ..errors import InputError
from ..imageio.dicom_header import (
    DicomFile,
    damaged,
    functional_group,
    header_of,
    numbers,
    read_header,
    unreadable,
)
from ..imageio.dicom_stack import check_common_plane, check_not_shifted
from ..imageio.dicom_voxels import stored_frames
from ..imageio.geometry import LPS_RAS, Geometry, Index3
from ..imageio.volume import Volume
from .cielab import lab_color
from .seg_nrrd import SegmentationContent
from .structure import Structure, StructureMask, default_color

_OFF = 0.05
"""Fraction of the slice spacing that a frame may lie off its slice."""
_FINEST = 12
"""Slices, at most, into which the smallest distance of two frames is cut to find a common spacing."""
_MOST_SLICES = 10_000
"""Slices of a grid, at most: a header that says less than that of their distance is not believed."""
_SAME_MM = 1e-3
_ALONG = 0.9999
"""Cosine of the angle between the normal of frames and an axis of the image, above which they are one."""
_BACKGROUND = 0
"""Number of the segment that stands for no structure in a label map."""
_FRACTIONS = {"PROBABILITY": "probability", "OCCUPANCY": "occupancy"}
"""What the voxels of a fractional segmentation mean."""
_CODE = ("CodingSchemeDesignator", "CodeValue", "CodeMeaning")

_FrameMask = Callable[[int], np.ndarray]
"""The voxels (row, column), bool, of a frame by its number."""


def read_dicom_seg(path: Path, reference: Volume | None = None) -> SegmentationContent:
    """Read a DICOM SEG, binary, fractional or a label map; overlapping segments keep their own masks.

    A structure's label is its segment number; the background of a label map, 0, is none. Of a fractional
    segmentation the voxels of at least half the largest value are taken, which a note says. reference: the
    image, if it is at hand: where the segmentation refers to its series, slices lie as far apart as the
    image's, which the frames themselves need not tell. Raises InputError
    for a damaged file, voxels that cannot be decoded, and frames that fit no common grid.
    """
    import pydicom
    from pydicom.config import disable_value_validation

    with disable_value_validation():
        try:
            content = pydicom.dcmread(path, force=True)
            header = header_of(str(path), content, len(content.get("PixelData", b"")))
            if not header.planes:
                raise damaged(path)
            told_mm = [*_series_spacing(content, header, reference), *_told_spacings(content)]
            geometry, slices = _grid(header, told_mm, path)
            structures = _structures(content)
            masks, notes = _masks(content, header, structures, slices, geometry)
        except InputError:
            raise
        except unreadable() as error:
            raise damaged(path) from error
    return SegmentationContent(geometry, masks, notes=notes, frame_of_reference=header.frame_of_reference)


def _grid(header: DicomFile, told_mm: Sequence[float], path: Path) -> tuple[Geometry, np.ndarray]:
    """The grid that every frame is a slice of, and the number of that slice for each frame."""
    planes, what = header.planes, f"the DICOM segmentation {path}"
    check_common_plane(planes, what)
    pixel_mm, orientation = planes[0].pixel_mm, planes[0].orientation
    if pixel_mm.size != 2:
        raise InputError(f"{path} does not say how large its voxels are; export it again.")
    positions = np.array([one.position for one in planes])
    normal = np.cross(orientation[:3], orientation[3:])
    heights_mm = positions @ normal
    order = np.argsort(heights_mm, kind="stable")
    positions, sorted_mm = positions[order], heights_mm[order]
    extent_mm = float(sorted_mm[-1] - sorted_mm[0])
    per_mm = (positions[-1] - positions[0]) / extent_mm if extent_mm > _SAME_MM else normal
    check_not_shifted(positions, sorted_mm, per_mm, pixel_mm, what)
    step_mm = _slice_spacing(sorted_mm, told_mm, path)
    slices = np.rint((heights_mm - sorted_mm[0]) / step_mm).astype(int)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = orientation[:3] * pixel_mm[1], orientation[3:] * pixel_mm[0]
    affine[:3, 2], affine[:3, 3] = per_mm * step_mm, positions[0]
    return Geometry((int(slices.max()) + 1, *header.size), LPS_RAS @ affine), slices


def _series_spacing(content: Any, header: DicomFile, reference: Volume | None) -> list[float]:
    """The distance of an image's slices across the frames, where the segmentation refers to its series."""
    source = None if reference is None else reference.dicom
    if reference is None or source is None or source.is_resampled or not source.files:
        return []
    series = content.get("ReferencedSeriesSequence") or ()
    referred = {str(one.get("SeriesInstanceUID", "")) for one in series}
    if read_header(source.files[0]).series not in referred - {""}:
        return []
    orientation = header.planes[0].orientation
    normal = LPS_RAS[:3, :3] @ np.cross(orientation[:3], orientation[3:])
    axes = reference.geometry.axes
    along = [n for n in range(3) if abs(float(axes[:, n] @ normal)) > _ALONG]
    return [float(reference.geometry.spacing_mm[n]) for n in along]


def _told_spacings(content: Any) -> list[float]:
    """What the header says of the distance of slices, most trusted first; it need not be true."""
    frames = content.get("PerFrameFunctionalGroupsSequence") or [None]
    measures = functional_group(content, frames[0], "PixelMeasuresSequence")
    names = ("SpacingBetweenSlices", "SliceThickness")
    return [float(one) for name in names if measures is not None for one in numbers(measures.get(name))]


def _slice_spacing(sorted_mm: np.ndarray, told_mm: Sequence[float], path: Path) -> float:
    """A distance of slices such that every frame lies on one; raises InputError where there is none."""
    from_first = sorted_mm - sorted_mm[0]
    gaps = np.diff(from_first)
    gaps = gaps[gaps > _SAME_MM]
    if gaps.size == 0:
        return next((told for told in told_mm if told > 0), 1.0)
    for step in (*told_mm, *(gaps.min() / parts for parts in range(1, _FINEST + 1))):
        if step > gaps.min() * (1 + _OFF) or from_first[-1] >= _MOST_SLICES * step:
            continue
        count = np.rint(from_first / step)
        exact = from_first[-1] / count[-1]
        if np.abs(from_first / exact - count).max() <= _OFF:
            return float(exact)
    raise InputError(f"The frames of {path} lie on slices of no common spacing; export it again.")


def _masks(
    content: Any,
    header: DicomFile,
    structures: Sequence[Structure],
    slices: np.ndarray,
    geometry: Geometry,
) -> tuple[tuple[StructureMask, ...], tuple[str, ...]]:
    """The mask of every segment, and notes. Raises ValueError for frames that contradict the header."""
    kind = str(content.get("SegmentationType", "BINARY")).upper()
    if kind == "LABELMAP":
        labels = _label_map(_stored(content, header), slices, geometry.shape)
        return _labelled(labels, structures), ()
    shown = _frames_shown(content, structures, slices)
    if kind == "FRACTIONAL":
        frames, notes = _halved(_stored(content, header), content, header.path)
    elif _is_packed(content):
        frames, notes = _unpacking(content.PixelData, header.size), ()
    else:
        stored = _stored(content, header)
        frames, notes = lambda frame: stored[frame] > 0, ()
    masks = (StructureMask(one, *_placed(frames, shown[one.label], geometry.shape)) for one in structures)
    return tuple(masks), notes


def _frames_shown(
    content: Any, structures: Sequence[Structure], slices: np.ndarray
) -> dict[int | None, dict[int, int]]:
    """For the number of every segment the frame that shows it on each slice."""
    groups = content.get("PerFrameFunctionalGroupsSequence") or [None] * len(slices)
    shown: dict[int | None, dict[int, int]] = {one.label: {} for one in structures}
    for frame, (group, number) in enumerate(zip(groups, slices.tolist(), strict=True)):
        named = functional_group(content, group, "SegmentIdentificationSequence")
        segment = None if named is None else int(named.ReferencedSegmentNumber)
        if segment not in shown or number in shown[segment]:
            raise ValueError(f"frame {frame + 1} shows segment {segment}, unknown there or a second time")
        shown[segment][number] = frame
    return shown


def _placed(frames: _FrameMask, by_slice: dict[int, int], shape: Index3) -> tuple[Index3, np.ndarray]:
    """Where the mask of a segment begins, and that; by_slice: the frame of each slice that it is on."""
    rows, columns = np.zeros(shape[1], bool), np.zeros(shape[2], bool)
    filled = {}
    for number, frame in by_slice.items():
        voxels = frames(frame)
        across = voxels.any(axis=0)
        if across.any():
            filled[number] = frame
            columns |= across
            rows |= voxels.any(axis=1)
    if not filled:
        return (0, 0, 0), np.zeros((0, 0, 0), bool)
    (top, bottom), (left, right) = (np.flatnonzero(one)[[0, -1]].tolist() for one in (rows, columns))
    first = min(filled)
    mask = np.zeros((max(filled) - first + 1, bottom - top + 1, right - left + 1), bool)
    for number, frame in filled.items():
        mask[number - first] = frames(frame)[top : bottom + 1, left : right + 1]
    return (first, top, left), mask


def _is_packed(content: Any) -> bool:
    """Whether eight voxels share a byte."""
    return int(content.BitsAllocated) == 1 and not content.file_meta.TransferSyntaxUID.is_compressed


def _unpacking(packed: bytes, size: tuple[int, int]) -> _FrameMask:
    """Unpacks one frame of (row, column) at a time; each begins where the last ends, in a byte or within."""
    voxels = size[0] * size[1]

    def frame_mask(frame: int) -> np.ndarray:
        first, shift = divmod(frame * voxels, 8)
        piece = np.frombuffer(packed, np.uint8, (shift + voxels + 7) // 8, first)
        bits = np.unpackbits(piece, bitorder="little")[shift : shift + voxels]
        return bits.reshape(size).view(bool)

    return frame_mask


def _halved(stored: np.ndarray, content: Any, path: str) -> tuple[_FrameMask, tuple[str, ...]]:
    """The voxels of each frame of a fractional segmentation that hold at least half, and a note if any holds
    a part. Raises ValueError where the largest value is none.
    """
    whole = int(content.get("MaximumFractionalValue", 255))
    if whole < 1:
        raise ValueError("a fraction of nothing")
    least = (whole + 1) // 2
    if not any(((frame > 0) & (frame < whole)).any() for frame in stored):
        return lambda frame: stored[frame] >= least, ()
    meaning = _FRACTIONS.get(str(content.get("SegmentationFractionalType", "")).upper(), "fraction")
    note = (
        f"{Path(path).name} is a fractional DICOM segmentation: a voxel is in a segment where its "
        f"{meaning} is at least one half ({least} of {whole})."
    )
    return lambda frame: stored[frame] >= least, (note,)


def _label_map(stored: np.ndarray, slices: np.ndarray, shape: Index3) -> np.ndarray:
    """The frames of a label map in their places (k, j, i). Raises ValueError for two of one slice."""
    if len(np.unique(slices)) < len(slices):
        raise ValueError("two frames of a label map on one slice")
    if np.array_equal(slices, np.arange(shape[0])):
        return stored
    labels = np.zeros(shape, stored.dtype)
    labels[slices] = stored
    return labels


def _labelled(labels: np.ndarray, structures: Sequence[Structure]) -> tuple[StructureMask, ...]:
    """The mask of every segment of a label map. Raises ValueError for a value that is no segment's."""
    boxes = {value: box for value, box in enumerate(find_objects(labels), start=1) if box is not None}
    strange = boxes.keys() - {one.label for one in structures}
    if strange:
        raise ValueError(f"voxels of the unknown segments {sorted(strange)}")
    masks = []
    for one in structures:
        box = boxes.get(one.label, (slice(0, 0),) * 3)
        offset = (box[0].start, box[1].start, box[2].start)
        masks.append(StructureMask(one, offset, labels[box] == one.label))
    return tuple(masks)


def _stored(content: Any, header: DicomFile) -> np.ndarray:
    """The stored values (frame, row, column); those of whole bytes are seen where they lie."""
    count, (rows, columns) = len(header.planes), header.size
    if int(content.BitsAllocated) == 8 and not content.file_meta.TransferSyntaxUID.is_compressed:
        flat = np.frombuffer(content.PixelData, np.uint8, count * rows * columns)
        return flat.reshape(count, rows, columns)
    return stored_frames(content, header.path)


def _structures(content: Any) -> list[Structure]:
    """The segments that the header describes. Raises ValueError where two have one number."""
    found = [_structure(one) for one in content.get("SegmentSequence") or ()]
    if len({one.label for one in found}) < len(found):
        raise ValueError("two segments of one number")
    return [one for one in found if one.label != _BACKGROUND]


def _structure(segment: Any) -> Structure:
    label = int(segment.SegmentNumber)
    color = numbers(segment.get("RecommendedDisplayCIELabValue"))
    return Structure(
        name=str(segment.get("SegmentLabel") or f"Segment {label}"),
        label=label,
        color=lab_color(color) if color.size == 3 else default_color(label),
        terminology=_terminology(segment),
        segment_id=f"Segment_{label}",
    )


def _terminology(segment: Any) -> str:
    """Slicer's terminology entry of a segment, "" where it has no codes for its category and type."""
    category, kind = (_code(segment, f"SegmentedProperty{name}CodeSequence") for name in ("Category", "Type"))
    if not (category and kind):
        return ""
    region = _code(segment, "AnatomicRegionSequence") or "^^"
    return f"Segmentation category and type - DICOM master list~{category}~{kind}~^^~~{region}~^^"


def _code(segment: Any, name: str) -> str:
    items = segment.get(name)
    if not items:
        return ""
    return "^".join(str(items[0].get(part, "")).translate({ord("^"): " ", ord("~"): " "}) for part in _CODE)
