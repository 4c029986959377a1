"""The DICOM series that a volume was read from, and its headers for files that refer to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from .dicom_header import UNREADABLE, Plane, damaged
from .geometry import LPS_RAS, Geometry

MOST_OFF = 0.02
"""Share of the slice spacing by which planes may lie off even slices and still count as even."""

_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPClassUID", "SOPInstanceUID")
_GROUPS = "SharedFunctionalGroupsSequence"
_OF_A_FILE = (*_NEEDED, "Rows", "Columns", _GROUPS)
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
"""What every DICOM object has, though it may be empty."""
_UTF8 = "ISO_IR 192"


@dataclass(frozen=True, eq=False)
class DicomSource:
    """The DICOM series that a volume was read from.

    what: names it within a sentence. planes: in the order of the slices; () where the file does not say where
    its frames lie. is_resampled: the slices of the volume are others than the planes.
    """

    what: str
    planes: tuple[Plane, ...]
    is_resampled: bool = False

    @property
    def title(self) -> str:
        """What names it at the beginning of a sentence."""
        return self.what[:1].upper() + self.what[1:]

    @property
    def files(self) -> tuple[str, ...]:
        """The files that hold its planes, each once."""
        return tuple(dict.fromkeys(plane.file for plane in self.planes))

    def is_on_planes(self, geometry: Geometry) -> bool:
        """Whether the slices of the volume's grid are the planes, as even as others take for even."""
        return not self.is_resampled and self.off_mm(geometry) <= MOST_OFF * geometry.spacing_mm[0]

    def off_mm(self, geometry: Geometry) -> float:
        """By how much the planes lie off the slices of the volume's grid; 0 where it was resampled."""
        if self.is_resampled:
            return 0.0
        return float(np.linalg.norm(self._own_lps - _even_lps(geometry), axis=1).max())

    def positions_lps(self, geometry: Geometry) -> np.ndarray:
        """Where each slice (n, 3) of the volume's grid begins, mm LPS; as the planes say if it is on them."""
        return self._own_lps if self.is_on_planes(geometry) else _even_lps(geometry)

    @property
    def _own_lps(self) -> np.ndarray:
        return np.array([plane.position for plane in self.planes])


def headers(source: DicomSource, spacing_mm: float) -> list[Any]:
    """A pydicom data set for each file of a series, with what a file that refers to it has to say.

    The first one has what the series says of patient and study, as Unicode, and what is missing there empty.
    All of them say where their planes lie in the same way, whatever the file does. spacing_mm: of the slices.
    Raises InputError when the series lacks an identifier, and for files that are no single series.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    if not source.planes:
        raise InputError(f"{source.title} does not say where its frames lie; write .seg.nrrd.")
    read = []
    for number, file in enumerate(source.files):
        tags = list(_OF_A_FILE) if number else None
        try:
            one = _as_unicode(pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=tags))
        except (InvalidDicomError, *UNREADABLE) as error:
            raise damaged(file) from error
        read.append(_placed(one, source, file, spacing_mm))
    _check_one_series(read, source)
    for name in _MAY_BE_EMPTY:
        if name not in read[0]:
            setattr(read[0], name, "")
    return read


def _even_lps(geometry: Geometry) -> np.ndarray:
    slices = np.zeros((geometry.shape[0], 3))
    slices[:, 0] = np.arange(len(slices))
    return geometry.index_to_world(slices) @ LPS_RAS[:3, :3].T


def _as_unicode(header: Any) -> Any:
    """A header whose texts can be written beside any other text."""
    header.decode()
    header.SpecificCharacterSet = _UTF8
    return header


def _placed(header: Any, source: DicomSource, file: str, spacing_mm: float) -> Any:
    """A header that says where its planes lie: in functional groups if its class has them, else by itself."""
    import pydicom

    planes = sorted((plane for plane in source.planes if plane.file == file), key=lambda plane: plane.frame)
    head = source.planes[0]
    measures, turn = pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing = _decimals(head.pixel_mm)
    measures.SliceThickness = measures.SpacingBetweenSlices = _decimals([spacing_mm])[0]
    turn.ImageOrientationPatient = _decimals(head.orientation)
    header.update(measures)
    header.update(turn)
    header.ImagePositionPatient = _decimals(planes[0].position)
    if len(planes) == 1 and _GROUPS not in header:
        return header
    shared = pydicom.Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [turn]
    header.SharedFunctionalGroupsSequence = [shared]
    header.PerFrameFunctionalGroupsSequence = [_group(plane) for plane in planes]
    header.NumberOfFrames = len(planes)
    return header


def _group(plane: Plane) -> Any:
    import pydicom

    place, group = pydicom.Dataset(), pydicom.Dataset()
    place.ImagePositionPatient = _decimals(plane.position)
    group.PlanePositionSequence = [place]
    return group


def _decimals(values: Sequence[float] | np.ndarray) -> list[Any]:
    from pydicom.valuerep import DS

    return [DS(float(value), auto_format=True) for value in values]


def _check_one_series(headers: Sequence[Any], source: DicomSource) -> None:
    for name in _NEEDED:
        if not all(str(one.get(name) or "") for one in headers):
            raise InputError(
                f"{source.title} has no {name}, which a DICOM segmentation refers to; write .seg.nrrd."
            )
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if len({str(one.get(name)) for one in headers}) > 1:
            raise InputError(
                f"The files of {source.what} differ in their {name}, so that no DICOM segmentation can refer "
                "to them as one; write .seg.nrrd."
            )
