"""DICOM SEG out: segments that refer to every slice of the DICOM series they were found on, by highdicom.

A frame for each segment and slice where it has a voxel, each at its own place, as large as an image of the
series: viewers lay them over these. The RAS used throughout here becomes LPS.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .. import __version__
from ..errors import InputError
from ..imageio.dicom_header import may_be_dicom
from ..imageio.dicom_source import DicomSource, headers
from ..imageio.files import suffix
from ..imageio.geometry import Geometry
from ..imageio.volume import Volume
from ..imageio.writing import replace_whole
from .cielab import color_lab
from .dicom_seg import read_dicom_seg
from .structure import Structure, StructureMask, tight
from .terminology import Code, Terminology

SUFFIX = ".dcm"
AlgorithmType = Literal["SEMIAUTOMATIC", "AUTOMATIC"]
"""Whether somebody painted on the image itself or not, in DICOM's words."""

_OLDEST = (0, 27)
_NAME = "MedMetaSeg"
_LONGEST = 64
"""Characters that DICOM has for a segment's label and for the meaning of a code."""
_MOST_SERIES = 10_000_000
_SAME_MM = 1e-3
_FORMATS = {
    **dict.fromkeys((".nii", ".nii.gz", ".hdr", ".img"), "NIfTI"),
    **dict.fromkeys((".nrrd", ".nhdr", ".seg.nrrd"), "NRRD"),
    **dict.fromkeys((".mha", ".mhd"), "MetaImage"),
}
_CHECKED = ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime")
"""What highdicom refuses where it is not as DICOM wants it; the series has the last word."""
_REFUSED = (ValueError, TypeError, KeyError, AttributeError, IndexError)
"""What highdicom raises for a series that it cannot refer to."""


@dataclass(frozen=True)
class SegmentAlgorithm:
    """What made the segments. weights: the beginning of their SHA-256."""

    type: AlgorithmType
    weights: str


def check_package() -> None:
    """Raise InputError where the package that writes DICOM segmentations is missing or too old."""
    try:
        importlib.import_module("highdicom")
        found = metadata.version("highdicom")
    except ImportError as error:
        raise InputError(
            "DICOM segmentations are written with the Python package highdicom (in Slicer from 5.12 on): "
            'pip install "medmetaseg[dicom]", or write .seg.nrrd.'
        ) from error
    if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < _OLDEST:
        wanted = ".".join(map(str, _OLDEST))
        raise InputError(
            f"highdicom {found} is too old to write DICOM segmentations; install {wanted} or later."
        )


def check_dicom_image(path: Path, called: object = None) -> None:
    """Raise InputError for an image that is no DICOM, before it is read. called: what messages call it."""
    if path.is_dir() or may_be_dicom(path):
        return
    told = _FORMATS.get(suffix(path), "none")
    raise InputError(
        f"A DICOM segmentation refers to the DICOM image it was made on, and {called or path} is {told}; "
        "write .seg.nrrd."
    )


def check_source(volume: Volume) -> DicomSource:
    """The series that a segmentation of the volume refers to. Raises InputError where it cannot be.

    It writes a segmentation of nothing, into memory, so that a series is refused before it is segmented.
    """
    check_package()
    if volume.dicom is None:
        raise InputError(f"{volume.source or volume.name} was not read from DICOM; write .seg.nrrd.")
    empty = StructureMask(Structure("", 1, (1.0, 1.0, 1.0)), (0, 0, 0), np.zeros((0, 0, 0), bool))
    _segmentation([empty], volume.geometry, volume.dicom, SegmentAlgorithm("AUTOMATIC", ""))
    return volume.dicom


def write_dicom_seg(
    path: str | Path,
    masks: Sequence[StructureMask],
    geometry: Geometry,
    source: DicomSource,
    algorithm: SegmentAlgorithm,
) -> None:
    """Write a binary DICOM SEG, read it back, and only then put it in its place; whole or not at all.

    masks: on the grid `geometry` of the volume that was read from `source`; they may overlap, and one without
    voxels is described without a frame. Segments are numbered from 1 in their order, as DICOM wants it.
    Raises InputError when the series cannot be referred to or the place cannot be written.
    """
    path = Path(path)
    if suffix(path) != SUFFIX:
        raise InputError(f"{path} has no suffix for a DICOM segmentation; use {SUFFIX}.")
    check_package()
    cropped = [StructureMask(one.structure, *tight(one.mask, one.offset)) for one in masks]
    file = _segmentation(cropped, geometry, source, algorithm)
    replace_whole(
        path, partial(_save, file), partial(_holds, masks=cropped, geometry=geometry, source=source)
    )


def segment_label(name: str, number: int) -> str:
    """A structure's name as DICOM can hold it: 64 characters, on one line, without a backslash."""
    plain = "".join(one if one.isprintable() else " " for one in name.replace("\\", "/"))
    return " ".join(plain.split())[:_LONGEST].rstrip() or f"Segment {number}"


def label_notes(structures: Sequence[Structure]) -> tuple[str, ...]:
    """A sentence for each structure whose name DICOM cannot hold as it is."""
    labels = [(one.name, segment_label(one.name, number)) for number, one in enumerate(structures, 1)]
    return tuple(
        f"'{name}' is called '{label}' in the DICOM segmentation, and has its whole name in the description."
        for name, label in labels
        if label != name
    )


def _segmentation(
    masks: Sequence[StructureMask], geometry: Geometry, source: DicomSource, algorithm: SegmentAlgorithm
) -> Any:
    """The pydicom data set of a segmentation, by highdicom."""
    import highdicom
    from pydicom.config import disable_value_validation

    slices = _filled(masks)
    with disable_value_validation():
        read = headers(source, float(geometry.spacing_mm[0]))
        first = read[0]
        told = {name: first.get(name) for name in _CHECKED}
        for name in _CHECKED:
            setattr(first, name, None)
        try:
            file = highdicom.seg.Segmentation(
                pixel_array=_pixels(masks, slices, geometry),
                segmentation_type="BINARY",
                segment_descriptions=[_described(one, n, algorithm) for n, one in enumerate(masks, 1)],
                omit_empty_frames=any(one.voxels for one in masks),
                series_instance_uid=highdicom.UID(),
                series_number=_series_number(first.get("SeriesNumber")),
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer=_NAME,
                manufacturer_model_name=_NAME,
                software_versions=__version__,
                device_serial_number=algorithm.weights or __version__,
                series_description=f"{_NAME} segmentation",
                content_label=_NAME.upper(),
                content_description=f"{_NAME} segmentation",
                **_placed(read, slices, geometry, source),
            )
        except _REFUSED as error:
            raise InputError(
                f"No DICOM segmentation can refer to {source.what} ({error}); write .seg.nrrd."
            ) from error
        _refer_to_all(file, read)
        file.SpecificCharacterSet, file.ContentCreatorName = first.SpecificCharacterSet, ""
        for name, value in told.items():
            setattr(file, name, value)
    return file


def _placed(
    read: Sequence[Any], slices: np.ndarray, geometry: Geometry, source: DicomSource
) -> dict[str, Any]:
    """The images that frames of these slices lie on, and where, as highdicom wants it.

    Frames on images of one plane each take their places from these, which is quicker than to compare all.
    """
    import highdicom

    grouped = "PerFrameFunctionalGroupsSequence" in read[0]
    if not grouped and source.is_on_planes(geometry):
        return {"source_images": [_with_all_of(read[0], read[slices[0]]), *(read[k] for k in slices[1:])]}
    head, spacing_mm = source.planes[0], float(geometry.spacing_mm[0])
    positions = source.positions_lps(geometry)[slices]
    return {
        "source_images": read[:1] if grouped else read,
        "plane_positions": [highdicom.PlanePositionSequence("PATIENT", one) for one in positions],
        "plane_orientation": highdicom.PlaneOrientationSequence("PATIENT", head.orientation),
        "pixel_measures": highdicom.PixelMeasuresSequence(head.pixel_mm, spacing_mm, spacing_mm),
    }


def _refer_to_all(file: Any, read: Sequence[Any]) -> None:
    """Let a segmentation refer to the images without a frame, too: to the whole series."""
    import pydicom

    references = []
    for image in read:
        reference = pydicom.Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = (
            image.SOPClassUID,
            image.SOPInstanceUID,
        )
        references.append(reference)
    file.SourceImageSequence = references
    file.ReferencedSeriesSequence[0].ReferencedInstanceSequence = references


def _with_all_of(first: Any, image: Any) -> Any:
    """The header of an image with what that of the first one says beside it: of the patient, the study."""
    for element in first:
        if element.tag not in image:
            image[element.tag] = element
    return image


def _described(one: StructureMask, number: int, algorithm: SegmentAlgorithm) -> Any:
    """The description of a segment."""
    import highdicom
    from pydicom.sr.codedict import codes

    structure = one.structure
    told = Terminology.from_text(structure.terminology)
    family = codes.DCM.ArtificialIntelligence
    identity = highdicom.AlgorithmIdentificationSequence(
        _NAME, family, __version__, parameters={"weights": algorithm.weights}
    )
    segment = highdicom.seg.SegmentDescription(
        number,
        segment_label(structure.name, number),
        _concept(told.category),
        _concept(told.type, told.type_modifier, "SegmentedPropertyTypeModifierCodeSequence"),
        algorithm.type,
        identity,
        anatomic_regions=None
        if told.region is None
        else [_concept(told.region, told.region_modifier, "AnatomicRegionModifierSequence")],
    )
    segment.RecommendedDisplayCIELabValue = list(color_lab(structure.color))
    if segment.SegmentLabel != structure.name and structure.name:
        segment.SegmentDescription = structure.name[:1024]
    return segment


def _concept(code: Code, modifier: Code | None = None, name: str = "") -> Any:
    """A code as DICOM has it, with its modifier in the sequence of that name."""
    import highdicom

    concept = highdicom.sr.CodedConcept(code.value, code.scheme, code.meaning[:_LONGEST])
    if modifier is not None:
        setattr(concept, name, [_concept(modifier)])
    return concept


def _series_number(number: Any) -> int:
    """A number for the series that stands beside that of the images; 1 where they have none."""
    value = int(number) if number not in (None, "") else 0
    return 100 * value + 1 if 0 < value < _MOST_SERIES else 1


def _filled(masks: Sequence[StructureMask]) -> np.ndarray:
    """The slices that hold a voxel of any mask, ascending; the first one where there is none.

    A DICOM segmentation has a frame at least.
    """
    filled = {one.offset[0] + int(k) for one in masks for k in np.flatnonzero(one.mask.any(axis=(1, 2)))}
    return np.array(sorted(filled) or [0])


def _pixels(masks: Sequence[StructureMask], slices: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Numbers of segments (slice, j, i), or bool (slice, j, i, segment) where segments overlap."""
    shape = (len(slices), *geometry.shape[1:])
    numbers = np.zeros(shape, np.uint8 if len(masks) <= 255 else np.uint16)
    for number, one in enumerate(masks, 1):
        where, filled = _on_slices(one, slices)
        if numbers[where][filled].any():
            return _stacked(masks, slices, shape)
        numbers[where][filled] = number
    return numbers


def _stacked(masks: Sequence[StructureMask], slices: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """See `_pixels`; the planes of each segment lie together in memory, as they are written."""
    stack = np.zeros((len(masks), *shape), bool)
    for number, one in enumerate(masks):
        where, filled = _on_slices(one, slices)
        stack[number][where] = filled
    return np.moveaxis(stack, 0, -1)


def _on_slices(one: StructureMask, slices: np.ndarray) -> tuple[tuple[slice, ...], np.ndarray]:
    """Where a mask lies in an array of these slices alone, and the mask on them."""
    first, _, _ = one.offset
    begin, end = np.searchsorted(slices, (first, first + len(one.mask)))
    _, rows, columns = one.region
    return (slice(int(begin), int(end)), rows, columns), one.mask[slices[begin:end] - first]


def _save(file: Any, path: Path) -> None:
    from pydicom.config import disable_value_validation

    with disable_value_validation():
        file.save_as(path, enforce_file_format=True)


def _holds(path: Path, masks: Sequence[StructureMask], geometry: Geometry, source: DicomSource) -> bool:
    """Whether a file reads back, by the reader for what others wrote, with these masks at their places."""
    read = read_dicom_seg(path)
    numbers = _slice_numbers(read.geometry, geometry, _SAME_MM + source.off_mm(geometry))
    if numbers is None or len(read.masks) != len(masks):
        return False
    return all(_is_same(found, one, numbers) for found, one in zip(read.masks, masks, strict=True))


def _slice_numbers(read: Geometry, own: Geometry, tolerance_mm: float) -> np.ndarray | None:
    """The slice of a grid that each slice of another is; None where a corner of one lies off by more."""
    slices, rows, columns = read.shape
    ends = np.array([(k, j, i) for k in range(slices) for j in (0, rows - 1) for i in (0, columns - 1)])
    world = read.index_to_world(ends)
    wanted = np.rint(own.world_to_index(world))
    wanted[:, 1:] = ends[:, 1:]
    off_mm = np.linalg.norm(own.index_to_world(wanted) - world, axis=1)
    if read.shape[1:] != own.shape[1:] or off_mm.max() > tolerance_mm:
        return None
    return wanted[::4, 0].astype(int)


def _is_same(found: StructureMask, one: StructureMask, numbers: np.ndarray) -> bool:
    """Whether two cropped masks hold the same voxels; numbers: the slice that each of `found`'s grid is."""
    if found.voxels != one.voxels or not one.voxels:
        return found.voxels == one.voxels
    first = numbers[found.offset[0] : found.offset[0] + len(found.mask)] - one.offset[0]
    if found.offset[1:] != one.offset[1:] or first[0] != 0 or first[-1] != len(one.mask) - 1:
        return False
    return found.mask.shape[1:] == one.mask.shape[1:] and np.array_equal(found.mask, one.mask[first])
