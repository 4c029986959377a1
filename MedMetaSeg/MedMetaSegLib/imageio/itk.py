"""Images by ITK: NRRD, MetaImage and what else it knows, and its own kind of image.

ITK's world is LPS; from here on it is RAS. Axis order is (k, j, i).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from .files import check_gzip, is_gzip, not_an_image, suffix, truncated
from .frames import by, chosen_frame
from .geometry import LPS_RAS, Geometry
from .names import itk_path
from .writing import NotWritten

_FRAME_KINDS = ("list", "vector")
"""Kinds of a NRRD axis that holds frames, as Slicer's sequences have it; other kinds are colours."""
_SPATIAL_KINDS = ("domain", "space")
_COLOUR_CHANNELS = (3, 4)
"""Bytes per voxel that are a colour where the kind "vector" leaves it open: RGB, RGBA."""


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


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Keep ITK's own warnings off stderr, where they would bury the one sentence the user needs."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def read_by_itk(path: Path, frame: int | None) -> tuple[np.ndarray, Geometry, str]:
    """The voxels (k, j, i) of an image file, or of one of its frames, its grid, and DICOM's modality, if any.

    frame: counted from 0. Raises InputError for what is no grey 3D image, cut or damaged, and as
    `chosen_frame`.
    """
    with quiet_itk(), itk_path(path) as name:
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
    modality = reader.GetMetaData("0008|0060").strip() if reader.HasMetaDataKey("0008|0060") else ""
    return *_grid(path, image), modality


def count_itk_frames(path: Path) -> int:
    """How many frames an image file has, by its header. Raises InputError as `read_by_itk` does."""
    with quiet_itk(), itk_path(path) as name:
        return _frames(path, _information(path, name))


def write_by_itk(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    """Write an image of `array` (k, j, i), compressed where its format can be. Raises NotWritten."""
    try:
        with quiet_itk(), itk_path(path) as name:
            sitk.WriteImage(to_sitk(array, geometry), name, useCompression=True)
    except RuntimeError as error:
        raise NotWritten from error


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
