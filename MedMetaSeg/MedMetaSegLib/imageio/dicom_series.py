"""The one DICOM series in a folder: its files in order, and where its slices lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError

_POSITION, _ORIENTATION, _MODALITY, _DESCRIPTION = "0020|0032", "0020|0037", "0008|0060", "0008|103e"
_EXTENT = ("Rows", "Columns", "BitsAllocated", "NumberOfFrames", "SamplesPerPixel")


@dataclass(frozen=True)
class DicomSeries:
    """Files of a series sorted along the slice normal.

    first_lps, last_lps: position in mm (LPS) of the first voxel of the first and of the last file.
    """

    files: tuple[str, ...]
    modality: str
    first_lps: np.ndarray
    last_lps: np.ndarray


@dataclass(frozen=True)
class _Slice:
    file: str
    size: tuple[int, ...]
    modality: str
    position: np.ndarray
    orientation: np.ndarray


def find_series(folder: Path) -> DicomSeries:
    """The series in `folder`; subfolders are not looked at.

    Raises InputError when there is none, when there are several (listed), when a slice is missing or doubled,
    or when the files differ in size or direction.
    """
    identifiers = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not identifiers:
        raise InputError(f"The folder {folder} holds no DICOM images; give the folder of one series.")
    groups = [sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), name) for name in identifiers]
    if len(groups) > 1:
        listed = "; ".join(f"{_description(files[0])} ({len(files)} slices)" for files in groups)
        raise InputError(
            f"The folder {folder} holds {len(groups)} DICOM series ({listed}); "
            "give a folder with one of them alone."
        )
    return sorted_series(folder, groups[0])


def sorted_series(folder: Path, files: tuple[str, ...]) -> DicomSeries:
    """The files of one series of a folder in order; raises InputError as `find_series` does."""
    slices = [_read_slice(file) for file in files]
    head = slices[0]
    if len(slices) == 1:
        return DicomSeries(tuple(files), head.modality, head.position, head.position)
    if any(
        one.size != head.size or np.abs(one.orientation - head.orientation).max() > 1e-3 for one in slices
    ):
        raise InputError(
            f"The DICOM images in {folder} differ in size or direction (a localizer among them?); "
            "leave the images of one stack only."
        )
    normal = np.cross(head.orientation[:3], head.orientation[3:])
    slices.sort(key=lambda one: float(one.position @ normal))
    _check_even(folder, np.array([one.position @ normal for one in slices]))
    return DicomSeries(
        tuple(one.file for one in slices), head.modality, slices[0].position, slices[-1].position
    )


def _check_even(folder: Path, heights_mm: np.ndarray) -> None:
    gaps = np.diff(heights_mm)
    usual = float(np.median(gaps))
    if gaps.min() < 1e-3:
        raise InputError(
            f"The DICOM series in {folder} has several images at one place (a time series?); "
            "leave one per slice."
        )
    if np.abs(gaps - usual).max() > 0.1 * usual:
        worst = int(np.argmax(np.abs(gaps - usual)))
        raise InputError(
            f"The slices of the DICOM series in {folder} are not evenly spaced: {gaps[worst]:.3g} mm between "
            f"slices {worst + 1} and {worst + 2}, {usual:.3g} mm elsewhere; add the missing slices."
        )


def _read_slice(file: str) -> _Slice:
    header = _header(file)
    _check_whole(file)
    position, orientation = _numbers(header, _POSITION), _numbers(header, _ORIENTATION)
    if len(position) != 3 or len(orientation) != 6:
        # Enhanced (multi-frame) files keep these per frame; GDCM has worked them out for the whole.
        position = np.array(header.GetOrigin()[:3])
        orientation = np.array(header.GetDirection()).reshape(header.GetDimension(), -1)[:3, :2].T.ravel()
    return _Slice(file, header.GetSize(), _text(header, _MODALITY), position, orientation)


def _check_whole(file: str) -> None:
    """Raise InputError when the file ends before its voxels do: SimpleITK 2.5.2 makes up what is missing.

    Of a compressed image only the decoder can tell, and it does.
    """
    import pydicom

    with open(file, "rb") as stream:
        try:
            header = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=list(_EXTENT))
        except (EOFError, ValueError, KeyError) as error:
            raise _damaged(file) from error
        left = Path(file).stat().st_size - stream.tell()
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax is not None and (syntax.is_compressed or syntax.is_deflated):
        return
    rows, columns, bits = (header.get(name) for name in _EXTENT[:3])
    if rows and columns and bits and header.get("SamplesPerPixel", 1) == 1:
        wanted = int(rows) * int(columns) * int(header.get("NumberOfFrames", 1) or 1) * int(bits) // 8
        if left < wanted:
            raise _damaged(file)


def _damaged(file: str) -> InputError:
    return InputError(f"The DICOM file {file} is damaged or of a rare kind; export it again.")


def _header(file: str) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(file)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _damaged(file) from error
    return reader


def _description(file: str) -> str:
    header = _header(file)
    return f'"{_text(header, _DESCRIPTION) or "no description"}" {_text(header, _MODALITY)}'.strip()


def _text(header: sitk.ImageFileReader, key: str) -> str:
    if not header.HasMetaDataKey(key):
        return ""
    return str(header.GetMetaData(key)).encode("utf-8", "replace").decode("utf-8").strip("\0 ")


def _numbers(header: sitk.ImageFileReader, key: str) -> np.ndarray:
    try:
        return np.array([float(part) for part in _text(header, key).split("\\")])
    except ValueError:
        return np.empty(0)
