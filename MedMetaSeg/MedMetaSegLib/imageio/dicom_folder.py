"""Which DICOM series lie in a folder, and which of them are images; what in their headers names a patient."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .dicom_header import NOT_IMAGES, UNREADABLE, ObjectKind, may_be_dicom

__all__ = ["FoundSeries", "may_be_dicom", "series_in", "series_of", "tells_of"]

_IDENTIFYING = (
    "PatientName",
    "PatientID",
    "OtherPatientIDs",
    "PatientBirthDate",
    "StudyDate",
    "SeriesDate",
    "AcquisitionDate",
    "ContentDate",
    "InstanceCreationDate",
    "AccessionNumber",
    "StudyID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
    "InstitutionName",
)
_NEEDED = ("SOPClassUID", "Modality", "SeriesNumber", "ImageType", "Rows", "Columns", "NumberOfFrames")
_SHORTEST = 3
"""Characters of an identifier that is looked for in names; shorter ones are in everything."""


@dataclass(frozen=True)
class FoundSeries:
    """A DICOM series in a folder. number: its series number, as text. why_not: why it is no 3D image, "" if
    it is. identifiers: texts in its headers that say of whom it is.
    """

    files: tuple[Path, ...]
    modality: str
    number: str
    why_not: str
    identifiers: tuple[str, ...]

    def neutral(self, name: str) -> str:
        """A name, or when it holds an identifier one made of the series's checksum instead."""
        return self.checksum_name if tells_of(name, self.identifiers) else name

    @property
    def checksum_name(self) -> str:
        """A name made of the series's identifiers, of which it says nothing; of its paths if it has none."""
        uid = "".join(sorted(self.identifiers or map(str, self.files)))
        return f"series_{hashlib.sha256(uid.encode('utf-8', 'surrogateescape')).hexdigest()[:10]}"


def tells_of(name: str, identifiers: Iterable[str]) -> bool:
    """Whether a name holds one of the texts that say of whom an image is, however it is spelled."""
    plain = _plain(name)
    return any(_plain(one) in plain for one in identifiers if len(_plain(one)) >= _SHORTEST)


def series_in(files: Iterable[Path]) -> list[FoundSeries]:
    """The series that DICOM files of one folder belong to, in the order of their first files.

    A damaged file that does not say its series is counted to the one beside it, which then fails with its
    name: without it that series would be an image that is not whole. Beside several it stands alone.
    """
    groups: dict[str, list[tuple[Path, Any]]] = {}
    nameless = []
    for path in files:
        header = _header(path)
        uid = _text(header, "SeriesInstanceUID")
        if uid or _text(header, "Rows"):
            groups.setdefault(uid, []).append((path, header))
        else:
            nameless.append((path, header))
    images = [group for group in groups.values() if not _why_not(group)]
    for one in nameless:
        if len(images) == 1:
            images[0].append(one)
        else:
            groups[str(one[0])] = [one]
    return [_series(group) for group in groups.values()]


def series_of(files: Iterable[Path]) -> FoundSeries:
    """The series of DICOM files that someone who knows says are one, all of them, readable or not."""
    return _series([(path, _header(path)) for path in files])


def _header(path: Path) -> Any:
    """The tags of a file that matter here; none when it cannot be read, which reading its image will say."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    tags = [*_IDENTIFYING, *_NEEDED]
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags, force=True)
    except (InvalidDicomError, *UNREADABLE):
        return pydicom.Dataset()


def _series(group: list[tuple[Path, Any]]) -> FoundSeries:
    header = _telling(group)
    identifiers = {_text(one, name) for _, one in group for name in _IDENTIFYING}
    parts = {part for text in identifiers for part in re.split(r"[\^\\=]", text)}
    return FoundSeries(
        tuple(path for path, _ in group),
        _text(header, "Modality"),
        _text(header, "SeriesNumber") or "0",
        _why_not(group),
        tuple(sorted(text for text in identifiers | parts if len(text.strip()) >= _SHORTEST)),
    )


def _why_not(group: list[tuple[Path, Any]]) -> str:
    header = _telling(group)
    modality = _text(header, "Modality")
    if not header:
        return ""
    drawn = ObjectKind(_text(header, "SOPClassUID"), modality).drawn
    if drawn:
        return f"{drawn}, not an image"
    if modality in NOT_IMAGES or not (_text(header, "Rows") and _text(header, "Columns")):
        return "no image"
    if "LOCALIZER" in _text(header, "ImageType").upper():
        return "a localizer"
    if len(group) == 1 and (_text(header, "NumberOfFrames") or "1") == "1":
        return "a single slice"
    return ""


def _telling(group: list[tuple[Path, Any]]) -> Any:
    """The header that says what the series is: one that was read to the size of its image, if any was."""
    return next((header for _, header in group if _text(header, "Rows")), group[0][1])


def _text(header: Any, name: str) -> str:
    value = header.get(name, "")
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        return "\\".join(str(one) for one in value)
    return "" if value is None else str(value).strip()


def _plain(text: str) -> str:
    """Letters and digits alone: DOE^JANE and doe_jane are the same."""
    return re.sub(r"[\W_]", "", text).casefold()
