"""The voxels of a DICOM series: stored values, times the slope, plus the intercept of each plane."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from .dicom_header import UNREADABLE, DicomFile, Plane, damaged
from .dicom_series import DicomSeries
from .dicom_stack import Stack, on_even_slices
from .names import itk_path, itk_paths

_PLAIN_IMAGE = "1.2.840.10008.5.1.4.1.1.7.3"
"""SOP class of a grey multi-frame image without rescale (secondary capture)."""
_SHOWN_INVERTED = "MONOCHROME1"
_KEPT = (
    "SOPInstanceUID",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
)
"""Fields that say how voxels are stored, and nothing of what they mean."""


def read_voxels(series: DicomSeries) -> tuple[np.ndarray, np.ndarray]:
    """The voxels (k, j, i), and the affine from (i, j, k) to mm LPS, of a series.

    Integers where one whole slope holds for all planes, else floats. Raises InputError when the voxels cannot
    be decoded.
    """
    try:
        array, affine = _read(series)
    except RuntimeError as error:
        raise _undecoded(series) from error
    stack = series.stack
    if stack is not None and stack.between is not None:
        array = on_even_slices(array, stack.between)
    return array, affine


def stored_frames(header: Any, path: str) -> np.ndarray:
    """The stored values (frame, row, column) of an open pydicom data set. Raises InputError.

    Bits beside the stored ones (overlays of old scanners) are cleared, the sign is kept.
    """
    syntax = header.file_meta.TransferSyntaxUID
    if syntax.is_compressed and syntax.name != "RLE Lossless":
        return _decoded_by_itk(header, path)
    try:
        array = np.asarray(header.pixel_array)
    except (*UNREADABLE, RuntimeError) as error:
        raise damaged(path) from error
    array = array.reshape(-1, *array.shape[-2:])
    return array if array.dtype.kind == "f" else _stored_bits(array, header)


def _read(series: DicomSeries) -> tuple[np.ndarray, np.ndarray]:
    stack = series.stack
    if stack is None:
        return _from_itk(_executed(sitk.ImageFileReader(), series.headers[0].path), series)
    # ITK inverts MONOCHROME1, which is a matter of display alone.
    if series.is_multiframe or _is_shown_inverted(series):
        return _frame_values(series.headers, stack.planes), _affine(stack)
    files = [plane.file for plane in stack.planes]
    if len(files) == 1:
        return _from_itk(_executed(sitk.ImageFileReader(), files[0]), series)
    if _is_uniform(series):
        reader = sitk.ImageSeriesReader()
        with itk_paths(files) as names:
            reader.SetFileNames(names)
            array, affine = _from_itk(reader.Execute(), series)
    else:
        # ITK takes the first file's type for all of them, integer or not.
        head, affine = _from_itk(_executed(sitk.ImageFileReader(), files[0]), series)
        array = np.empty((len(files), *head.shape[1:]), np.float32)
        for number, file in enumerate(files):
            array[number] = sitk.GetArrayFromImage(_executed(sitk.ImageFileReader(), file))[0]
    # From slice to slice, so that a tilted gantry stays tilted.
    affine[:3, 3], affine[:3, 2] = stack.first_lps, stack.step_lps
    return array, affine


def _undecoded(series: DicomSeries) -> InputError:
    """The error for a series that cannot be decoded, with the name of the first file that cannot."""
    for header in series.headers:
        try:
            _executed(sitk.ImageFileReader(), header.path)
        except RuntimeError:
            return damaged(header.path)
    return InputError(f"The voxels of {series.what} cannot be decoded; export it again.")


def _executed(reader: sitk.ImageFileReader, file: str) -> sitk.Image:
    with itk_path(Path(file)) as name:
        reader.SetFileName(name)
        return reader.Execute()


def _from_itk(image: sitk.Image, series: DicomSeries) -> tuple[np.ndarray, np.ndarray]:
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise InputError(f"The images in {series.what} are in colour; give grey ones.")
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(image.GetDimension(), -1)[:3, :3]
    affine[:3, :3] = direction * np.array(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    return sitk.GetArrayFromImage(image), affine


def _is_shown_inverted(series: DicomSeries) -> bool:
    return any(one.photometric == _SHOWN_INVERTED for one in series.headers)


def _is_uniform(series: DicomSeries) -> bool:
    """True when the stored values of all planes have one type, and one rescale."""
    rescales = {(plane.slope, plane.intercept) for one in series.headers for plane in one.planes}
    return len(rescales) == 1 and len({one.storage for one in series.headers}) == 1


def _affine(stack: Stack) -> np.ndarray:
    head = stack.planes[0]
    affine = np.eye(4)
    affine[:3, 0] = head.orientation[:3] * head.pixel_mm[1]
    affine[:3, 1] = head.orientation[3:] * head.pixel_mm[0]
    affine[:3, 2], affine[:3, 3] = stack.step_lps, stack.first_lps
    return affine


def _frame_values(headers: Sequence[DicomFile], planes: Sequence[Plane]) -> np.ndarray:
    """The voxels of planes in their order; each file is opened once."""
    import pydicom

    places: dict[str, list[tuple[int, Plane]]] = {one.path: [] for one in headers}
    for place, plane in enumerate(planes):
        places[plane.file].append((place, plane))
    rescales = {(plane.slope, plane.intercept) for plane in planes}
    common = rescales.pop() if len(rescales) == 1 else None
    frames = {path: stored_frames(pydicom.dcmread(path, force=True), path) for path in places}
    kind = np.result_type(*(one.dtype for one in frames.values()))
    if common is None or not all(value.is_integer() for value in common):
        kind = np.dtype(np.float64 if kind == np.float64 else np.float32)
    elif kind.kind != "f":
        kind = _holding(kind, *common)
    array = np.empty((len(planes), *headers[0].size), kind)
    for path, wanted in places.items():
        for place, plane in wanted:
            array[place] = frames[path][plane.frame] * plane.slope + plane.intercept
    return array


def _holding(kind: np.dtype, slope: float, intercept: float) -> np.dtype:
    """The smallest signed integer type, or the type itself, that holds a type's range after the rescale."""
    if (slope, intercept) == (1.0, 0.0):
        return kind
    limits = np.iinfo(kind)
    ends = sorted(limit * slope + intercept for limit in (int(limits.min), int(limits.max)))
    for wider in (np.int16, np.int32, np.int64):
        if np.iinfo(wider).min <= ends[0] and ends[1] <= np.iinfo(wider).max:
            return np.dtype(wider)
    return np.dtype(np.float64)


def _stored_bits(array: np.ndarray, header: Any) -> np.ndarray:
    allocated, stored = int(header.BitsAllocated), int(header.BitsStored)
    high = int(header.get("HighBit", stored - 1))
    above, below = allocated - 1 - high, allocated - stored
    return array if below == 0 else np.right_shift(np.left_shift(array, above), below)


def _decoded_by_itk(header: Any, path: str) -> np.ndarray:
    """Frames of a compressed file: of a copy that says nothing but how they are stored, to get no rescale."""
    import pydicom
    from pydicom.uid import UID

    plain = pydicom.Dataset()
    for name in _KEPT:
        if name in header:
            plain[name] = header[name]
    plain.PhotometricInterpretation = "MONOCHROME2"
    plain.SOPClassUID, plain.Modality = UID(_PLAIN_IMAGE), "OT"
    plain.file_meta, plain.preamble = header.file_meta, bytes(128)
    plain.file_meta.MediaStorageSOPClassUID = plain.SOPClassUID
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frames.dcm"
        if int(pydicom.__version__.partition(".")[0]) < 3:  # as Slicer 5.10 has it
            plain.is_little_endian, plain.is_implicit_VR = True, False
        plain.save_as(file)
        try:
            image = _executed(sitk.ImageFileReader(), str(file))
        except RuntimeError as error:
            how = header.file_meta.TransferSyntaxUID.name
            raise InputError(
                f"{path} is damaged, or compressed in a way that is not read here ({how}); export it without "
                "compression."
            ) from error
    array = sitk.GetArrayFromImage(image)
    return array.reshape(-1, *array.shape[-2:])
