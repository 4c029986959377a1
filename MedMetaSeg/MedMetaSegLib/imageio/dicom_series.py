"""The one DICOM series in a folder, or of a file: its planes in order, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from ..errors import InputError
from .dicom_header import DicomFile, damaged, may_be_dicom, read_header
from .dicom_stack import Stack, stacked

_DIRECTORY = "DICOMDIR"
"""Name of the file that lists a medium's DICOM files and is no image."""


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """One series of DICOM images.

    what: names it in messages. headers: of its files. stack: its planes in order; None for an older
    multi-frame file that does not say where its frames lie.
    """

    what: str
    headers: tuple[DicomFile, ...]
    stack: Stack | None

    @property
    def modality(self) -> str:
        """As the header says."""
        return self.headers[0].modality

    @property
    def frame_of_reference(self) -> str:
        """Identifier of the space its positions are in; "" where it is not known."""
        named = {one.frame_of_reference for one in self.headers}
        return named.pop() if len(named) == 1 else ""

    @property
    def is_multiframe(self) -> bool:
        """True where a file holds several planes."""
        return any(len(one.planes) > 1 for one in self.headers)

    @property
    def padding(self) -> tuple[float, float] | None:
        """Lowest and highest voxel value that stands for no tissue; None where files differ or name none."""
        named = {one.padding for one in self.headers}
        rescales = {(plane.slope, plane.intercept) for one in self.headers for plane in one.planes}
        if len(named) > 1 or len(rescales) > 1 or not self.headers[0].padding:
            return None
        slope, intercept = rescales.pop()
        low, high = sorted(value * slope + intercept for value in self.headers[0].padding)
        return low, high


def find_series(folder: Path, resample_uneven: bool = False) -> DicomSeries:
    """The series in `folder`; subfolders are not looked at, and objects that are no images are left out.

    Raises InputError when there is none, when there are several (listed), when a file is damaged, and as
    `stacked` does.
    """
    headers, problem = _headers(folder)
    groups: dict[str, list[DicomFile]] = {}
    for one in headers:
        if one.is_image:
            groups.setdefault(one.series, []).append(one)
    if len(groups) > 1:
        listed = "; ".join(_described(group) for group in groups.values())
        raise InputError(
            f"The folder {folder} holds {len(groups)} DICOM series ({listed}); "
            "give a folder with one of them alone."
        )
    if problem is not None:
        # It may be of this series: to leave it out would give an image that is not whole.
        raise problem
    if not groups:
        raise _no_image(folder, headers)
    return _series(next(iter(groups.values())), f"the DICOM series in {folder}", resample_uneven)


def sorted_series(folder: Path, files: Sequence[str], resample_uneven: bool = False) -> DicomSeries:
    """The files of one series of a folder in order; raises InputError as `find_series` does."""
    headers = [read_header(file) for file in files]
    images = [one for one in headers if one.is_image]
    if not images:
        raise _no_image(folder, headers)
    return _series(images, f"the DICOM series in {folder}", resample_uneven)


def series_of_file(path: Path, resample_uneven: bool = False) -> DicomSeries:
    """The series that a multi-frame file is by itself.

    Raises InputError for a file of one slice, naming the folder to give, and as `find_series` does.
    """
    header = read_header(str(path))
    if not header.is_image:
        raise _no_image(path, [header])
    if len(header.planes) == 1:
        raise InputError(
            f"{path} is a single slice of a DICOM series; give its folder {path.resolve().parent} instead."
        )
    return _series([header], f"the DICOM file {path}", resample_uneven)


def dicom_files(folder: Path) -> list[str]:
    """The files of a folder that may be DICOM, with or without its signature, in the order of their names."""
    known = {
        file
        for name in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        for file in sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), name)
    }
    for path in folder.iterdir():
        if path.name != _DIRECTORY and not path.name.startswith(".") and may_be_dicom(path):
            known.add(str(path))
    return sorted(known)


def _headers(folder: Path) -> tuple[list[DicomFile], InputError | None]:
    """The headers of a folder's files, and the error of the first that cannot be read."""
    headers: list[DicomFile] = []
    problem: InputError | None = None
    for file in dicom_files(folder):
        try:
            headers.append(read_header(file))
        except InputError as error:
            problem = problem or error
    return headers, problem


def _series(headers: Sequence[DicomFile], what: str, resample_uneven: bool) -> DicomSeries:
    head = headers[0]
    if any(one.samples != 1 for one in headers):
        raise InputError(f"{_start(what)} is a colour image; give a grey one.")
    if any(one.size != head.size for one in headers):
        raise InputError(
            f"The images in {what} differ in size or direction (a localizer among them?); "
            "leave the images of one stack only."
        )
    planes = [plane for one in headers for plane in one.planes]
    placed = [plane.is_placed for plane in planes]
    own_affine = len(planes) > len(headers) or any(one.photometric == "MONOCHROME1" for one in headers)
    if own_affine and any(placed) and any(one.pixel_mm.size != 2 for one in planes):
        raise InputError(f"{_start(what)} does not say how large its voxels are; export it again.")
    unplaced = len(headers) == 1 and not any(placed)
    return DicomSeries(what, tuple(headers), None if unplaced else stacked(planes, what, resample_uneven))


def _no_image(path: Path, headers: Sequence[DicomFile]) -> InputError:
    drawn = next((one.kind.drawn for one in headers if one.kind.drawn), "")
    if drawn:
        which = f"The folder {path} holds" if path.is_dir() else f"{path} is"
        return InputError(f"{which} {drawn}, not an image; give it as SUPPORT, beside the image.")
    if path.is_dir():
        return InputError(f"The folder {path} holds no DICOM images; give the folder of one series.")
    if headers and headers[0].modality:
        return InputError(
            f"{path} is a DICOM {headers[0].modality} object, which is not read here; give images, and what "
            "was painted as a label map, .seg.nrrd, DICOM SEG or RTSTRUCT."
        )
    return damaged(path)


def _described(headers: Sequence[DicomFile]) -> str:
    head, files = headers[0], len(headers)
    frames = len(head.planes)
    number = f"{frames} frames" if files == 1 and frames > 1 else f"{files} slices"
    return f'"{head.description or "no description"}" {head.modality} ({number})'


def _start(text: str) -> str:
    """A text as the beginning of a sentence."""
    return text[:1].upper() + text[1:]
