"""An image with its place in space: reading, checking, and writing label maps.

The LPS of files becomes the RAS used throughout here and, for .seg.nrrd, in `support.seg_nrrd`; nowhere else.
Axis order is (k, j, i).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from .dicom_series import DicomSeries, find_series, sorted_series
from .files import check_file, check_gzip, is_gzip, not_an_image, stem, suffix, truncated
from .frames import by, chosen_frame
from .geometry import LPS_RAS, AxisMap, Geometry
from .names import itk_path, itk_paths
from .nifti import NiftiForms, count_frames, is_nifti, nifti_holds, read_nifti, write_nifti
from .writing import NotWritten, replace_whole

__all__ = [
    "AxisMap",
    "Geometry",
    "Volume",
    "check_label_map",
    "check_volume",
    "frame_count",
    "from_sitk",
    "read_image",
    "read_series",
    "read_volume",
    "to_sitk",
    "write_labels",
]

_WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")
_NIFTI = (".nii.gz", ".nii")
_FRAME_KINDS = ("list", "vector")
"""Kinds of a NRRD axis that holds frames, as Slicer's sequences have it; other kinds are colours."""
_SPATIAL_KINDS = ("domain", "space")
_COLOUR_CHANNELS = (3, 4)
"""Bytes per voxel that are a colour where the kind "vector" leaves it open: RGB, RGBA."""
_LARGEST = float(np.finfo(np.float32).max)
_MOVED_VOXELS = 0.5
"""A grid that reads back further off is damaged; formats of single precision may round by a little."""


@dataclass(frozen=True, eq=False)
class Volume:
    """An image on its grid.

    array: (k, j, i), any real dtype, as read. name: for people and file names. source: the path, if any.
    modality: "CT", "MR", ... where DICOM says, else "". forms: what the header of a NIfTI file says of the
    place, so that a result can say the same.
    """

    array: np.ndarray
    geometry: Geometry
    name: str = ""
    source: str = ""
    modality: str = ""
    forms: NiftiForms | None = None

    def __post_init__(self) -> None:
        if self.array.shape != self.geometry.shape:
            raise ValueError(f"An array of {self.array.shape} does not fill a grid of {self.geometry.shape}.")

    @classmethod
    def read(cls, path: str | Path, allow_nonfinite: bool = False, frame: int | None = None) -> Volume:
        """See `read_volume`."""
        return read_volume(path, allow_nonfinite=allow_nonfinite, frame=frame)

    @classmethod
    def from_array(cls, array: np.ndarray, geometry: Geometry | np.ndarray, name: str = "") -> Volume:
        """A volume of `array` (k, j, i) on a Geometry, or on the grid a 4x4 (i, j, k) to RAS affine gives it.

        Raises InputError when the array is not three-dimensional.
        """
        if array.ndim != 3:
            raise InputError(f"The image has {array.ndim} dimensions; give one with three.")
        k, j, i = array.shape
        grid = geometry if isinstance(geometry, Geometry) else Geometry((k, j, i), geometry)
        return cls(array, grid, name)

    def canonical(self) -> tuple[Volume, AxisMap]:
        """The same image with axes reoriented to S, A, R (see Geometry.canonical); the array is a view."""
        geometry, axis_map = self.geometry.canonical()
        return replace(self, array=axis_map.apply(self.array), geometry=geometry, forms=None), axis_map


def read_volume(path: str | Path, *, allow_nonfinite: bool = False, frame: int | None = None) -> Volume:
    """Read NIfTI, NRRD, MetaImage, sheared or not, or a folder with one DICOM series, and check it.

    frame: of a 4D file, counted from 0. Raises InputError, in one sentence, for everything that cannot be
    segmented; see `check_volume`.
    """
    return check_volume(read_image(path, frame), allow_nonfinite)


def read_image(path: str | Path, frame: int | None = None) -> Volume:
    """Read a 3D scalar image of any content, label maps included; `read_volume` without `check_volume`."""
    path = Path(path)
    with _quiet_itk():
        if os.path.isdir(path):
            chosen_frame(path, 1, frame)
            return _read_dicom(path, find_series(path))
        check_file(path)
        return _read_nifti(path, frame) if is_nifti(path) else _read_file(path, frame)


def frame_count(path: str | Path) -> int:
    """How many frames a file has, by its header: 1 for a 3D image and for a folder.

    Raises InputError as `read_image` does.
    """
    path = Path(path)
    if os.path.isdir(path):
        return 1
    check_file(path)
    if is_nifti(path):
        return count_frames(path)
    with _quiet_itk(), itk_path(path) as name:
        return _frames(path, _information(path, name))


def read_series(folder: str | Path, files: Sequence[str]) -> Volume:
    """Read one DICOM series of a folder by its files, in any order; other series beside it do not matter.

    Raises InputError as `read_image` does.
    """
    with _quiet_itk():
        return _read_dicom(Path(folder), sorted_series(Path(folder), tuple(files)))


def check_volume(volume: Volume, allow_nonfinite: bool = False) -> Volume:
    """The volume if it can be segmented, else InputError.

    Refused: fewer than two voxels along an axis, NaN or infinite voxels, the same value everywhere. With
    `allow_nonfinite`, NaN and infinite voxels are replaced by the smallest finite value instead.
    """
    array, label = volume.array, volume.source or volume.name or "The image"
    if min(array.shape) < 2:
        raise InputError(f"{label} is a single slice ({by(array.shape[::-1])} voxels); give a 3D image.")
    if np.issubdtype(array.dtype, np.inexact):
        bad = sum(piece.size - int(np.count_nonzero(np.isfinite(piece))) for piece in array)
        if bad and not allow_nonfinite:
            raise InputError(
                f"{label} has {bad} NaN or infinite voxels; repair it, or let them take its minimum "
                "(--allow-nonfinite)."
            )
        if bad:
            volume = replace(volume, array=_finite(array, label))
            array = volume.array
    lowest, highest = array.min(), array.max()
    if lowest == highest:
        raise InputError(f"{label} has the value {array.flat[0]} everywhere; there is nothing to segment.")
    if max(-float(lowest), float(highest)) > _LARGEST:
        raise InputError(
            f"{label} has values from {lowest:g} to {highest:g}, beyond single precision ({_LARGEST:.1e}); "
            "scale it down."
        )
    return volume


def to_sitk(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """An image of `array` (k, j, i) on `geometry`; voxels are copied."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    lps = LPS_RAS @ geometry.affine
    image.SetSpacing(geometry.spacing_mm[::-1])
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / np.array(geometry.spacing_mm[::-1])).ravel().tolist())
    return image


def from_sitk(image: sitk.Image) -> tuple[np.ndarray, Geometry]:
    """The voxels (k, j, i), copied, and the grid of a 3D image, or of a 4D one that ends in 1."""
    array = sitk.GetArrayFromImage(image)
    array = array.reshape(array.shape[-3:])
    dimension = image.GetDimension()
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    affine[:3, :3] = direction * np.array(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    k, j, i = array.shape
    return array, Geometry((k, j, i), LPS_RAS @ affine)


def check_label_map(path: Path, geometry: Geometry, forms: NiftiForms | None = None) -> None:
    """Raise InputError for a name that is none of a label map, and for NIfTI that cannot hold the grid.

    forms: of the NIfTI image whose grid it is, which is always kept.
    """
    kind = suffix(path)
    if kind not in _WRITABLE:
        raise InputError(f"{path} has no suffix for a label map; use one of {', '.join(_WRITABLE)}.")
    if kind in _NIFTI and not nifti_holds(geometry, forms):
        raise InputError(
            f"{path}: the image's axes are not perpendicular, which Slicer does not read from NIfTI; write "
            ".nrrd."
        )


def write_labels(
    path: str | Path, labels: np.ndarray, geometry: Geometry, forms: NiftiForms | None = None
) -> None:
    """Write a label map (k, j, i), whole or not at all, as .nii.gz, .nii, .nrrd or .mha.

    labels: bool or integers; stored as uint8, or uint16 where a value exceeds 255. forms: of the NIfTI image
    whose grid it is: NIfTI gets the same sform, qform, codes and units. Raises InputError as
    `check_label_map`, and when the place cannot be written; ValueError when labels are not integers of 0 to
    65535 on the grid.
    """
    path = Path(path)
    check_label_map(path, geometry, forms)
    if labels.shape != geometry.shape:
        raise ValueError(f"Labels of {labels.shape} do not fill a grid of {geometry.shape}.")
    small = _smallest_unsigned(labels)
    if suffix(path) in _NIFTI:
        replace_whole(
            path,
            lambda temporary: write_nifti(temporary, small, geometry, forms),
            lambda temporary: _holds(temporary, small, geometry),
        )
        return
    with _quiet_itk():
        replace_whole(
            path,
            lambda temporary: _write_image(to_sitk(small, geometry), temporary),
            lambda temporary: _holds(temporary, small, geometry),
        )


@contextmanager
def _quiet_itk() -> Iterator[None]:
    """Keep ITK's own warnings off stderr, where they would bury the one sentence the user needs."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _read_dicom(folder: Path, series: DicomSeries) -> Volume:
    try:
        with itk_paths(series.files) as files:
            image = _dicom_image(files)
    except RuntimeError as error:
        raise InputError(f"The DICOM series in {folder} cannot be decoded; export it again.") from error
    _check_kind(folder, image.GetSize(), image.GetNumberOfComponentsPerPixel(), image.GetPixelID())
    array, geometry = from_sitk(image)
    if len(series.files) > 1:
        # From the first to the last slice, so that a tilted gantry stays tilted.
        affine = geometry.affine.copy()
        affine[:3, 3] = LPS_RAS[:3, :3] @ series.first_lps
        affine[:3, 2] = LPS_RAS[:3, :3] @ (series.last_lps - series.first_lps) / (len(series.files) - 1)
        geometry = Geometry(geometry.shape, affine)
    return Volume(array, geometry, stem(folder.resolve()), str(folder), series.modality)


def _read_nifti(path: Path, frame: int | None = None) -> Volume:
    array, forms = read_nifti(path, frame)
    return Volume(array, forms.geometry, _name(path, frame), str(path), forms=forms)


def _dicom_image(files: Sequence[str]) -> sitk.Image:
    if len(files) == 1:
        return sitk.ReadImage(files[0])
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    return reader.Execute()


def _read_file(path: Path, frame: int | None = None) -> Volume:
    with itk_path(path) as name:
        return _read_named(path, name, frame)


def _read_named(path: Path, name: str, frame: int | None) -> Volume:
    """The image file `path`, or one frame of it, which ITK takes under another name."""
    reader = _information(path, name)
    frames = _frames(path, reader)
    number = chosen_frame(path, frames, frame)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise _reading_error(path, str(error)) from error
    if image.GetNumberOfComponentsPerPixel() > 1:
        image = sitk.VectorIndexSelectionCast(image, number)
    elif frames > 1:
        image = image[:, :, :, number]
    array, geometry = _grid(path, image)
    modality = reader.GetMetaData("0008|0060").strip() if reader.HasMetaDataKey("0008|0060") else ""
    return Volume(array, geometry, _name(path, frame), str(path), modality)


def _name(path: Path, frame: int | None) -> str:
    return stem(path) if frame is None else f"{stem(path)}_frame{frame}"


def _information(path: Path, name: str) -> sitk.ImageFileReader:
    """A reader that knows the header of a file, which ITK takes under `name`. Raises InputError."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(name)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _reading_error(path, str(error)) from error
    return reader


def _frames(path: Path, reader: sitk.ImageFileReader) -> int:
    """How many 3D frames of one number per voxel a file has. Raises InputError for what has none."""
    size, values = reader.GetSize(), reader.GetNumberOfComponents()
    if values > 1 and _holds_frames(path, values, sitk.GetPixelIDValueAsString(reader.GetPixelID())):
        _check_kind(path, size, 1, reader.GetPixelID())
        return values
    _check_kind(path, size[:3], values, reader.GetPixelID())
    if any(extent > 1 for extent in size[4:]):
        raise InputError(f"{path} has {len(size)} dimensions ({by(size)} voxels); give one 3D image.")
    return size[3] if len(size) > 3 else 1


def _grid(path: Path, image: sitk.Image) -> tuple[np.ndarray, Geometry]:
    try:
        return from_sitk(image)
    except ValueError as error:
        raise InputError(f"{path} has no usable position in space; export it again.") from error


def _holds_frames(path: Path, values: int, pixel: str) -> bool:
    """Whether the values of a voxel are frames, by the kind of their axis in a NRRD, and no colour."""
    if suffix(path) not in (".nrrd", ".nhdr", ".seg.nrrd"):
        return False
    import nrrd

    try:
        kinds = nrrd.read_header(str(path)).get("kinds", [])
    except (nrrd.NRRDError, ValueError, KeyError):
        # ITK has read this header: what pynrrd cannot is of no kind that is known here.
        return False
    kind = next((kind for kind in kinds if kind not in _SPATIAL_KINDS), "")
    may_be_colour = kind == "vector" and "8-bit" in pixel and values in _COLOUR_CHANNELS
    return kind in _FRAME_KINDS and not may_be_colour


def _check_kind(path: Path, size: tuple[int, ...], components: int, pixel: int) -> None:
    if components > 1:
        raise InputError(f"{path} has {components} values per voxel (colour or vectors); give a grey image.")
    if "complex" in sitk.GetPixelIDValueAsString(pixel):
        raise InputError(f"{path} has complex voxels; give their magnitude.")
    if len(size) < 3:
        raise InputError(f"{path} is a 2D image ({by(size)} voxels); give a 3D image.")
    if any(extent > 1 for extent in size[3:]):
        raise InputError(f"{path} has {len(size)} dimensions ({by(size)} voxels); give one 3D image.")


def _reading_error(path: Path, message: str) -> InputError:
    if any(hint in message for hint in ("fread got only", "but received", "not read completely")):
        return truncated(path)
    if "Unable to determine ImageIO" in message:
        # So it is, too, where a stream breaks off soon after a header that is whole.
        if is_gzip(path):
            check_gzip(path)
        return not_an_image(path)
    return InputError(f"{path} is truncated, damaged or of a rare kind; copy or export it again.")


def _finite(array: np.ndarray, label: str) -> np.ndarray:
    finite = np.isfinite(array)
    if not finite.any():
        raise InputError(f"{label} has no finite voxel; there is nothing to segment.")
    return np.where(finite, array, array[finite].min())


def _smallest_unsigned(labels: np.ndarray) -> np.ndarray:
    if labels.dtype.kind not in "bui":
        raise ValueError(f"Labels are integers, not {labels.dtype}.")
    if labels.dtype.kind == "i" and labels.min() < 0:
        raise ValueError(f"Labels are not negative; the smallest is {labels.min()}.")
    if labels.dtype != np.uint8 and labels.max() > 65535:
        raise ValueError(f"Labels are at most 65535; the largest is {labels.max()}.")
    return labels.astype(np.uint16 if labels.max() > 255 else np.uint8, copy=False)


def _write_image(image: sitk.Image, path: Path) -> None:
    try:
        with itk_path(path) as name:
            sitk.WriteImage(image, name, useCompression=suffix(path) != ".nii")
    except RuntimeError as error:
        raise NotWritten from error


def _holds(path: Path, labels: np.ndarray, geometry: Geometry) -> bool:
    """Whether a label map that was written, and may have been cut without a word, reads back as it was."""
    check_file(path)
    written = _read_nifti(path) if is_nifti(path) else _read_file(path)
    return written.geometry.same_grid(geometry, _MOVED_VOXELS) and np.array_equal(written.array, labels)
