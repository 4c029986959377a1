"""An image with its place in space: reading, checking, and writing label maps.

The LPS of files becomes the RAS used throughout here and, for .seg.nrrd, in `support.seg_nrrd`; nowhere else.
Axis order is (k, j, i).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from .dicom_header import may_be_dicom
from .dicom_series import DicomSeries, find_series, series_of_file, sorted_series
from .dicom_voxels import read_voxels
from .files import check_file, check_gzip, is_gzip, not_an_image, replace_whole, stem, suffix, truncated
from .geometry import LPS_RAS, AxisMap, Geometry, index3
from .nifti import restore_nonfinite

__all__ = [
    "AxisMap",
    "Geometry",
    "Volume",
    "check_volume",
    "from_sitk",
    "read_image",
    "read_series",
    "read_volume",
    "to_sitk",
    "write_labels",
]

_WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")


@dataclass(frozen=True, eq=False)
class Volume:
    """An image on its grid.

    array: (k, j, i), any real dtype, as read. name: for people and file names. source: the path, if any.
    modality: "CT", "MR", ... where DICOM says, else "". padding: lowest and highest value that DICOM says
    stands for no tissue. notes: sentences about the reading that who uses the result has to know.
    """

    array: np.ndarray
    geometry: Geometry
    name: str = ""
    source: str = ""
    modality: str = ""
    padding: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.array.shape != self.geometry.shape:
            raise ValueError(f"An array of {self.array.shape} does not fill a grid of {self.geometry.shape}.")

    @classmethod
    def read(cls, path: str | Path, allow_nonfinite: bool = False, resample_uneven: bool = False) -> Volume:
        """See `read_volume`."""
        return read_volume(path, allow_nonfinite=allow_nonfinite, resample_uneven=resample_uneven)

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
        return replace(self, array=axis_map.apply(self.array), geometry=geometry), axis_map


def read_volume(path: str | Path, *, allow_nonfinite: bool = False, resample_uneven: bool = False) -> Volume:
    """Read NIfTI, NRRD (sheared too), MetaImage, a folder with one DICOM series or a multi-frame DICOM file.

    resample_uneven: put DICOM slices that are not evenly spaced onto even ones, which the volume's notes say.
    Raises InputError, in one sentence, for everything that cannot be segmented; see `check_volume`.
    """
    return check_volume(read_image(path, resample_uneven=resample_uneven), allow_nonfinite)


def read_image(path: str | Path, *, resample_uneven: bool = False) -> Volume:
    """Read a 3D scalar image of any content, label maps included; `read_volume` without `check_volume`."""
    path = Path(path)
    with _quiet_itk():
        if path.is_dir():
            return _read_dicom(path, find_series(path, resample_uneven))
        check_file(path)
        if may_be_dicom(path):
            return _read_dicom(path, series_of_file(path, resample_uneven))
        return _read_file(path)


def read_series(folder: str | Path, files: Sequence[str], *, resample_uneven: bool = False) -> Volume:
    """Read one DICOM series of a folder by its files, in any order; other series beside it do not matter.

    Raises InputError as `read_image` does.
    """
    with _quiet_itk():
        return _read_dicom(Path(folder), sorted_series(Path(folder), tuple(files), resample_uneven))


def check_volume(volume: Volume, allow_nonfinite: bool = False) -> Volume:
    """The volume if it can be segmented, else InputError.

    Refused: fewer than two voxels along an axis, NaN or infinite voxels, the same value everywhere. With
    `allow_nonfinite`, NaN and infinite voxels are replaced by the smallest finite value instead.
    """
    array, label = volume.array, volume.source or volume.name or "The image"
    if min(array.shape) < 2:
        raise InputError(f"{label} is a single slice ({_by(array.shape[::-1])} voxels); give a 3D image.")
    if np.issubdtype(array.dtype, np.inexact):
        bad = sum(piece.size - int(np.count_nonzero(np.isfinite(piece))) for piece in array)
        if bad and not allow_nonfinite:
            raise InputError(
                f"{label} has {bad} NaN or infinite voxels; repair it, or let them take its minimum with "
                "--allow-nonfinite."
            )
        if bad:
            volume = replace(volume, array=_finite(array, label))
            array = volume.array
    if array.min() == array.max():
        raise InputError(f"{label} has the value {array.flat[0]} everywhere; there is nothing to segment.")
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


def write_labels(path: str | Path, labels: np.ndarray, geometry: Geometry) -> None:
    """Write a label map (k, j, i), whole or not at all, as .nii.gz, .nii, .nrrd or .mha.

    labels: bool or integers; stored as uint8, or uint16 where a value exceeds 255. Raises InputError for
    another suffix, for a sheared grid in NIfTI, and when the place cannot be written; ValueError when labels
    are not integers of 0 to 65535 on the grid.
    """
    path = Path(path)
    kind = suffix(path)
    if kind not in _WRITABLE:
        raise InputError(f"{path} has no suffix for a label map; use one of {', '.join(_WRITABLE)}.")
    if geometry.is_sheared and kind in (".nii", ".nii.gz"):
        # ITK would write perpendicular axes instead, without a word.
        raise InputError(f"{path}: the image's axes are not perpendicular, which NIfTI loses; write .nrrd.")
    if labels.shape != geometry.shape:
        raise ValueError(f"Labels of {labels.shape} do not fill a grid of {geometry.shape}.")
    with _quiet_itk():
        image = to_sitk(_smallest_unsigned(labels), geometry)
        replace_whole(path, lambda temporary: _write_image(image, temporary, path))


@contextmanager
def _quiet_itk() -> Iterator[None]:
    """Keep ITK's own warnings off stderr, where they would bury the one sentence the user needs."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _read_dicom(path: Path, series: DicomSeries) -> Volume:
    array, affine = read_voxels(series)
    try:
        geometry = Geometry(index3(array.shape), LPS_RAS @ affine)
    except ValueError as error:
        raise InputError(f"{path} has no usable position in space; export it again.") from error
    name = stem(path.resolve())
    notes = _dicom_notes(name, series, geometry)
    return Volume(array, geometry, name, str(path), series.modality, series.padding, notes)


def _dicom_notes(name: str, series: DicomSeries, geometry: Geometry) -> tuple[str, ...]:
    spacing = geometry.spacing_mm[0]
    if series.stack is None:
        return (
            f"{name} does not say where its frames lie: {spacing:.3g} mm between them is a guess, and so are "
            "millilitres.",
        )
    if series.stack.uneven:
        return (
            f"{series.stack.uneven} in {name}: it was resampled onto {geometry.shape[0]} even slices, "
            f"{spacing:.4g} mm apart, and the result lies on these.",
        )
    return ()


def _read_file(path: Path) -> Volume:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _reading_error(path, str(error)) from error
    _check_kind(path, reader.GetSize(), reader.GetNumberOfComponents(), reader.GetPixelID())
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise _reading_error(path, str(error)) from error
    array, geometry = _grid(path, image)
    # A damaged stream of the right recorded length reads as zeros from the damage on.
    if suffix(path) in (".nii", ".nii.gz") and not array[-1].any() and is_gzip(path):
        check_gzip(path)
    if array.dtype.kind == "f" and reader.GetImageIOFromFileName(str(path)) == "NiftiImageIO":
        restore_nonfinite(path, array)
    modality = reader.GetMetaData("0008|0060").strip() if reader.HasMetaDataKey("0008|0060") else ""
    return Volume(array, geometry, stem(path), str(path), modality)


def _grid(path: Path, image: sitk.Image) -> tuple[np.ndarray, Geometry]:
    try:
        return from_sitk(image)
    except ValueError as error:
        raise InputError(f"{path} has no usable position in space; export it again.") from error


def _check_kind(path: Path, size: tuple[int, ...], components: int, pixel: int) -> None:
    if components > 1 or "vector" in sitk.GetPixelIDValueAsString(pixel):
        raise InputError(f"{path} has {components} values per voxel (colour or vectors); give a grey image.")
    if "complex" in sitk.GetPixelIDValueAsString(pixel):
        raise InputError(f"{path} has complex voxels; give their magnitude.")
    if len(size) < 3:
        raise InputError(f"{path} is a 2D image ({_by(size)} voxels); give a 3D image.")
    if any(extent > 1 for extent in size[3:]):
        raise InputError(f"{path} has {len(size)} dimensions ({_by(size)} voxels); give one 3D image.")


def _reading_error(path: Path, message: str) -> InputError:
    if "orthonormal" in message:
        return InputError(f"The axes of {path} are not perpendicular, which ITK refuses in NIfTI; use .nrrd.")
    if any(hint in message for hint in ("fread got only", "but received", "not read completely")):
        return truncated(path)
    if "Unable to determine ImageIO" in message:
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


def _write_image(image: sitk.Image, temporary: Path, path: Path) -> None:
    try:
        sitk.WriteImage(image, str(temporary), useCompression=suffix(path) != ".nii")
    except RuntimeError as error:
        raise InputError(f"{path} cannot be written; is the disk full?") from error


def _by(sizes: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in sizes)
