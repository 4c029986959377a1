"""DICOM SEG: segments with names and colours, each frame at its own place.

Only frames with a voxel need to be in the file, in any order, so the grid is made of where they lie. Its LPS
becomes the RAS used throughout here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..imageio.dicom_header import (
    UNREADABLE,
    DicomFile,
    damaged,
    functional_group,
    may_be_dicom,
    numbers,
    read_header,
)
from ..imageio.dicom_series import dicom_files
from ..imageio.dicom_stack import check_common_plane, check_not_shifted
from ..imageio.dicom_voxels import stored_frames
from ..imageio.geometry import LPS_RAS, Geometry, Index3
from .cielab import lab_color
from .seg_nrrd import SegmentationContent
from .structure import Structure, StructureMask, default_color, tight

_OFF = 0.05
"""Fraction of the slice spacing that a frame may lie off its slice."""
_FINEST = 12
"""Slices, at most, into which the smallest distance of two frames is cut to find a common spacing."""
_SAME_MM = 1e-3
_CODE = ("CodingSchemeDesignator", "CodeValue", "CodeMeaning")


def find_dicom_seg(path: Path) -> Path | None:
    """The DICOM SEG that a path leads to: the file itself, or the only one in a folder; None without one.

    Raises InputError for a damaged file, and for a folder with several.
    """
    if path.is_file():
        return path if may_be_dicom(path) and read_header(str(path)).is_segmentation else None
    found = [file for file in dicom_files(path) if read_header(file).is_segmentation]
    if len(found) > 1:
        names = ", ".join(Path(file).name for file in found)
        raise InputError(f"{path} holds {len(found)} DICOM segmentations ({names}); give one of the files.")
    return Path(found[0]) if found else None


def read_dicom_seg(path: Path) -> SegmentationContent:
    """Read a DICOM SEG, binary or a label map; overlapping segments keep their own masks.

    A structure's label is its segment number. Raises InputError for a damaged file, a fractional
    segmentation with values in between, and frames that fit no common grid.
    """
    import pydicom
    from pydicom.config import disable_value_validation
    from pydicom.errors import InvalidDicomError

    header = read_header(str(path))
    if not header.planes:
        raise damaged(path)
    with disable_value_validation():
        try:
            content = pydicom.dcmread(path, force=True)
            geometry, slices = _grid(header, _told_spacings(content), path)
            structures = [_structure(segment) for segment in content.get("SegmentSequence") or ()]
            frames = _Frames(content, str(path), header.size)
            masks = _masks(frames, structures, slices, geometry)
        except InputError:
            raise
        except (InvalidDicomError, *UNREADABLE) as error:
            raise damaged(path) from error
    return SegmentationContent(geometry, tuple(masks))


class _Frames:
    """The frames of an open DICOM SEG; those of a binary one are unpacked one at a time."""

    def __init__(self, content: Any, path: str, size: tuple[int, int]) -> None:
        self._path, self._size = path, size
        self._kind = str(content.get("SegmentationType", "BINARY")).upper()
        self._groups = content.get("PerFrameFunctionalGroupsSequence") or ()
        self._content = content
        packed = int(content.BitsAllocated) == 1 and not content.file_meta.TransferSyntaxUID.is_compressed
        self._bits = content.PixelData if packed else b""
        self._stored = None if packed else stored_frames(content, path)
        if self._kind == "FRACTIONAL":
            self._check_all_or_nothing()

    def segments(self, frame: int) -> Sequence[int]:
        """The numbers of the segments that a frame shows."""
        if self._kind == "LABELMAP":
            assert self._stored is not None
            return [int(value) for value in np.unique(self._stored[frame]) if value]
        group = self._groups[frame] if self._groups else None
        named = functional_group(self._content, group, "SegmentIdentificationSequence")
        if named is None:
            raise ValueError("a frame of no segment")
        return [int(named.ReferencedSegmentNumber)]

    def mask(self, frame: int, segment: int) -> np.ndarray:
        """The voxels (row, column) of a segment on a frame."""
        if self._stored is None:
            return self._unpacked(frame)
        stored = self._stored[frame]
        return stored == segment if self._kind == "LABELMAP" else stored > 0

    def _unpacked(self, frame: int) -> np.ndarray:
        """The bits of all frames follow each other, so that one may begin in the middle of a byte."""
        voxels = self._size[0] * self._size[1]
        first, shift = divmod(frame * voxels, 8)
        packed = np.frombuffer(self._bits[first : first + (shift + voxels + 7) // 8], np.uint8)
        bits = np.unpackbits(packed, bitorder="little")[shift : shift + voxels]
        return bits.reshape(self._size).astype(bool)

    def _check_all_or_nothing(self) -> None:
        whole = int(self._content.get("MaximumFractionalValue", 255))
        if self._stored is None or not np.isin(self._stored, (0, whole)).all():
            raise InputError(
                f"{self._path} is a fractional DICOM segmentation, with values between nothing and all; "
                "export it as a binary one."
            )


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
        if step <= _SAME_MM or step > gaps.min() * (1 + _OFF):
            continue
        count = np.rint(from_first / step)
        exact = from_first[-1] / count[-1]
        if np.abs(from_first / exact - count).max() <= _OFF:
            return float(exact)
    raise InputError(f"The frames of {path} lie on slices of no common spacing; export it again.")


def _masks(
    frames: _Frames, structures: Sequence[Structure], slices: np.ndarray, geometry: Geometry
) -> list[StructureMask]:
    """The mask of every segment. Raises ValueError for frames of a segment that is not described."""
    shown: dict[int, dict[int, int]] = {one.label: {} for one in structures}
    for frame, number in enumerate(slices.tolist()):
        for segment in frames.segments(frame):
            if segment not in shown or number in shown[segment]:
                raise ValueError(f"frame {frame + 1} shows segment {segment}, unknown there or a second time")
            shown[segment][number] = frame
    return [
        StructureMask(one, *_placed(frames, one.label, shown[one.label], geometry.shape))
        for one in structures
    ]


def _placed(
    frames: _Frames, segment: int, by_slice: dict[int, int], shape: Index3
) -> tuple[Index3, np.ndarray]:
    if not by_slice:
        return (0, 0, 0), np.zeros((0, 0, 0), bool)
    first = min(by_slice)
    mask = np.zeros((max(by_slice) - first + 1, *shape[1:]), bool)
    for number, frame in by_slice.items():
        mask[number - first] = frames.mask(frame, segment)
    return tight(mask, (first, 0, 0))


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
