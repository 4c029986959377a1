"""What the header of a DICOM file says: of which series it is, and where each of its planes lies.

A file of one slice holds one plane, an enhanced (multi-frame) one many, each with a place and a rescale of
its own. World is DICOM's own, LPS in millimetres.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError

SEGMENTATION_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes of DICOM SEG: binary or fractional, and label maps."""
CONTOUR_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
"""SOP class of an RT structure set (RTSTRUCT), which holds contours."""
NOT_IMAGES = ("SR", "KO", "PR", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "SEG", "REG", "DOC", "AU", "ECG")
"""Modalities of objects that are no images to segment."""
UNREADABLE = (OSError, ValueError, KeyError, AttributeError, EOFError, TypeError, struct.error)
"""What pydicom raises for a damaged file, beside InvalidDicomError."""

_ENDINGS = (".dcm", ".dicom", ".ima")
_NUCLEAR_MEDICINE = "NM"
_MODALITY = 0x00080060
"""Tag of the modality, which follows that of the SOP class."""
_MEDIA_CLASS = "MediaStorageSOPClassUID"
_DIRECTORY = "Media Storage Directory Storage"
"""Name of the class of a file that lists a medium's DICOM files."""
_TAGS = (
    "SOPClassUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "SeriesDescription",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SpacingBetweenSlices",
    "SliceVector",
    "DetectorInformationSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane of voxels in a file.

    frame: its number in the file. position: (3,) mm LPS of the first voxel; orientation: (6,) unit vectors
    along a row, then along a column; pixel_mm: (2,) between rows, between columns; each is empty where the
    header does not say it. slope, intercept: voxel = stored * slope + intercept.
    """

    file: str
    frame: int
    position: np.ndarray
    orientation: np.ndarray
    pixel_mm: np.ndarray
    slope: float
    intercept: float

    @property
    def is_placed(self) -> bool:
        """True when the header says where the plane lies."""
        return self.position.size == 3 and self.orientation.size == 6


@dataclass(frozen=True)
class ObjectKind:
    """What a DICOM file is, by its SOP class and its modality; "" for what it does not say."""

    sop_class: str
    modality: str

    @property
    def is_segmentation(self) -> bool:
        """True for a DICOM SEG."""
        return self.sop_class in SEGMENTATION_CLASSES or self.modality == "SEG"

    @property
    def is_contours(self) -> bool:
        """True for an RTSTRUCT."""
        return self.sop_class == CONTOUR_CLASS or self.modality == "RTSTRUCT"

    @property
    def drawn(self) -> str:
        """What it is called where it holds what somebody drew, "" for everything else."""
        if self.is_segmentation:
            return "a DICOM segmentation"
        return "a DICOM structure set (RTSTRUCT)" if self.is_contours else ""


@dataclass(frozen=True, eq=False)
class DicomFile:
    """The header of a DICOM file.

    series, frame_of_reference: identifiers, "" where they were taken out; positions in one frame of reference
    can be compared. size: rows, columns. samples: values per voxel.
    photometric: how values are shown; MONOCHROME1 shows large ones dark, which does not change them.
    storage: all that stored voxels of two files have to share to be of one type (bits, sign). padding: lowest
    and highest stored value that stands for no tissue, () where none is named. planes: in stored order.
    """

    path: str
    series: str
    frame_of_reference: str
    sop_class: str
    modality: str
    description: str
    size: tuple[int, int]
    samples: int
    photometric: str
    storage: tuple[int, ...]
    padding: tuple[int, ...]
    planes: tuple[Plane, ...]

    @property
    def kind(self) -> ObjectKind:
        """What the file is."""
        return ObjectKind(self.sop_class, self.modality)

    @property
    def is_image(self) -> bool:
        """True for an image that could be segmented."""
        return min(self.size) > 0 and self.modality not in NOT_IMAGES and not self.kind.drawn


def may_be_dicom(path: Path) -> bool:
    """True for a file with DICOM's signature, or with an ending that only DICOM has."""
    return path.is_file() if path.suffix.lower() in _ENDINGS else has_signature(path)


def has_signature(path: Path) -> bool:
    """True for a file that begins as a DICOM file does."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def damaged(file: str | Path) -> InputError:
    """The error for a DICOM file that cannot be read."""
    return InputError(f"The DICOM file {file} is damaged or of a rare kind; export it again.")


def read_header(file: str) -> DicomFile:
    """Read the header of a DICOM file; its voxels are only measured.

    Raises InputError for a file that is no DICOM, and for an image that ends before its voxels do.
    """
    import pydicom
    from pydicom.config import disable_value_validation
    from pydicom.errors import InvalidDicomError

    with disable_value_validation():
        try:
            with open(file, "rb") as stream:
                header = pydicom.dcmread(
                    stream, stop_before_pixels=True, force=True, specific_tags=list(_TAGS)
                )
                left = Path(file).stat().st_size - stream.tell()
            return header_of(file, header, left)
        except (InvalidDicomError, *UNREADABLE) as error:
            raise damaged(file) from error


def header_of(file: str, data_set: Any, voxel_bytes: int) -> DicomFile:
    """The header of an open pydicom data set. voxel_bytes: of its voxels, as many as there are.

    Raises InputError for an image that has fewer than it says, and what is in UNREADABLE for values that
    cannot be understood.
    """
    found = _described(file, data_set)
    if not _is_whole(data_set, voxel_bytes):
        raise damaged(file)
    return found


def read_kind(path: Path) -> ObjectKind:
    """What a DICOM file is; only its first fields are read. One that cannot be read is of no kind."""
    from pydicom.errors import InvalidDicomError
    from pydicom.filereader import read_partial

    def is_beyond(tag: int, vr: str | None, length: int) -> bool:
        return tag > _MODALITY

    try:
        with path.open("rb") as stream:
            start = read_partial(stream, stop_when=is_beyond, force=True)
        return ObjectKind(_text(start, "SOPClassUID"), _text(start, "Modality"))
    except (InvalidDicomError, *UNREADABLE):
        return ObjectKind("", "")


def functional_group(header: Any, frame: Any, name: str) -> Any:
    """The first item of a frame's functional group, or of the one all frames share; None without one."""
    items = None if frame is None else frame.get(name)
    if items:
        return items[0]
    for group in header.get("SharedFunctionalGroupsSequence") or ():
        if items := group.get(name):
            return items[0]
    return None


def numbers(values: Any) -> np.ndarray:
    """The numbers of a DICOM value, of any multiplicity; empty where there is none."""
    if values is None or values == "":
        return np.empty(0)
    many = values if isinstance(values, Iterable) and not isinstance(values, str) else [values]
    return np.array([float(value) for value in many])


def plane_position(header: Any, frame: Any) -> tuple[np.ndarray, np.ndarray]:
    """Position (3,) and orientation (6,) of a frame, LPS mm; empty where the header does not say them."""
    place = functional_group(header, frame, "PlanePositionSequence")
    turn = functional_group(header, frame, "PlaneOrientationSequence")
    if place is None:  # 3D ultrasound has a frame of reference of its own.
        place = functional_group(header, frame, "PlanePositionVolumeSequence")
        turn = functional_group(header, frame, "PlaneOrientationVolumeSequence")
        names = ("ImagePositionVolume", "ImageOrientationVolume")
    else:
        names = ("ImagePositionPatient", "ImageOrientationPatient")
    return (
        numbers(None if place is None else place.get(names[0])),
        numbers(None if turn is None else turn.get(names[1])),
    )


def _described(file: str, header: Any) -> DicomFile:
    lowest = numbers(header.get("PixelPaddingValue"))[:1]
    ends = [int(value) for value in (*lowest, *numbers(header.get("PixelPaddingRangeLimit"))[:1])]
    storage = ("BitsAllocated", "BitsStored", "PixelRepresentation")
    is_image = _whole_number(header, "Rows") > 0
    return DicomFile(
        file,
        _text(header, "SeriesInstanceUID"),
        _text(header, "FrameOfReferenceUID"),
        _text(header, "SOPClassUID"),
        _text(header, "Modality"),
        _text(header, "SeriesDescription"),
        (_whole_number(header, "Rows"), _whole_number(header, "Columns")),
        _whole_number(header, "SamplesPerPixel", 1),
        _text(header, "PhotometricInterpretation"),
        tuple(_whole_number(header, name) for name in storage),
        (min(ends), max(ends)) if lowest.size else (),
        _planes(file, header) if is_image else (),
    )


def _planes(file: str, header: Any) -> tuple[Plane, ...]:
    count = _whole_number(header, "NumberOfFrames", 1)
    groups = header.get("PerFrameFunctionalGroupsSequence") or ()
    if groups and len(groups) != count:
        raise ValueError(f"{count} frames with {len(groups)} descriptions")
    if groups or header.get("SharedFunctionalGroupsSequence"):
        frames: Sequence[Any] = groups or [None] * count
        return tuple(_frame(file, header, number, frame) for number, frame in enumerate(frames))
    slope, intercept = _rescale(header)
    pixel_mm = numbers(header.get("PixelSpacing"))
    positions, orientation = _plain_positions(header, count)
    return tuple(
        Plane(file, number, positions[number], orientation, pixel_mm, slope, intercept)
        for number in range(count)
    )


def _frame(file: str, header: Any, number: int, frame: Any) -> Plane:
    measures = functional_group(header, frame, "PixelMeasuresSequence")
    pixel_mm = numbers(None if measures is None else measures.get("PixelSpacing"))
    transformation = functional_group(header, frame, "PixelValueTransformationSequence")
    slope, intercept = _rescale(header if transformation is None else transformation)
    return Plane(file, number, *plane_position(header, frame), pixel_mm, slope, intercept)


def _plain_positions(header: Any, count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Positions, and the one orientation, of the planes of a file without functional groups."""
    unknown = [np.empty(0)] * count
    if count == 1:
        position = numbers(header.get("ImagePositionPatient"))
        return [position], numbers(header.get("ImageOrientationPatient"))
    # Of the older multi-frame kinds only nuclear medicine says where its frames lie.
    detectors = header.get("DetectorInformationSequence") or (header,)
    first = numbers(detectors[0].get("ImagePositionPatient"))
    orientation = numbers(detectors[0].get("ImageOrientationPatient"))
    steps, places = numbers(header.get("SpacingBetweenSlices")), numbers(header.get("SliceVector"))
    known = (first.size, orientation.size, steps.size, places.size) == (3, 6, 1, count)
    if _text(header, "Modality") != _NUCLEAR_MEDICINE or not known:
        return unknown, np.empty(0)
    normal = np.cross(orientation[:3], orientation[3:])
    return [first + (place - 1) * steps[0] * normal for place in places], orientation


def _rescale(header: Any) -> tuple[float, float]:
    slope, intercept = numbers(header.get("RescaleSlope")), numbers(header.get("RescaleIntercept"))
    return float(slope[0]) if slope.size else 1.0, float(intercept[0]) if intercept.size else 0.0


def _is_whole(header: Any, left: int) -> bool:
    """False when the file ends before its voxels do: SimpleITK 2.5.2 makes up what is missing.

    Of a compressed image only the decoder can tell, and it does.
    """
    rows, columns, bits = (_whole_number(header, name) for name in ("Rows", "Columns", "BitsAllocated"))
    if not (rows and columns and bits):
        return _is_other_object(header)
    syntax = header.file_meta.get("TransferSyntaxUID") if hasattr(header, "file_meta") else None
    if syntax is not None and (syntax.is_compressed or syntax.is_deflated):
        return left > 0
    voxels = rows * columns * _whole_number(header, "NumberOfFrames", 1)
    return left >= voxels * _whole_number(header, "SamplesPerPixel", 1) * bits // 8


def _is_other_object(header: Any) -> bool:
    """True for a whole object that has no voxels; False where an image was cut before it says its size."""
    from pydicom.uid import UID

    meta = getattr(header, "file_meta", {})
    classes = {str(UID(one).name) for one in (header.get("SOPClassUID"), meta.get(_MEDIA_CLASS)) if one}
    if _DIRECTORY in classes:
        return True
    return bool(_text(header, "Modality")) and not any("Image Storage" in name for name in classes)


def _whole_number(header: Any, name: str, absent: int = 0) -> int:
    found = numbers(header.get(name))
    return int(found[0]) if found.size else absent


def _text(header: Any, name: str) -> str:
    value = header.get(name)
    return "" if value is None else str(value).strip("\0 ")
