"""An image with its place in space: reading, checking, and writing label maps.

The LPS of files becomes the RAS used throughout here and, for .seg.nrrd, in `support.seg_nrrd`; nowhere else.
Axis order is (k, j, i).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from .dicom_header import may_be_dicom
from .dicom_series import DicomSeries, find_series, series_of_file, sorted_series
from .dicom_voxels import read_voxels
from .files import check_file, stem, suffix
from .frames import by, chosen_frame
from .geometry import LPS_RAS, AxisMap, Geometry, index3
from .itk import count_itk_frames, from_sitk, quiet_itk, read_by_itk, to_sitk, write_by_itk
from .nifti import NiftiForms, count_frames, is_nifti, nifti_holds, read_nifti, write_nifti
from .writing import replace_whole

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
_LARGEST = float(np.finfo(np.float32).max)
_MOVED_VOXELS = 0.5
"""A grid that reads back further off is damaged; formats of single precision may round by a little."""


@dataclass(frozen=True, eq=False)
class Volume:
    """An image on its grid.

    array: (k, j, i), any real dtype, as read. name: for people and file names. source: the path, if any.
    modality: "CT", "MR", ... where DICOM says, else "". forms: what the header of a NIfTI file says of the
    place, so that a result can say the same. padding: lowest and highest value that DICOM says stands for no
    tissue. notes: sentences about the reading that who uses the result has to know. frame_of_reference: of a
    DICOM series, the identifier of the space that its positions are in, else "".
    """

    array: np.ndarray
    geometry: Geometry
    name: str = ""
    source: str = ""
    modality: str = ""
    forms: NiftiForms | None = None
    padding: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    frame_of_reference: str = ""

    def __post_init__(self) -> None:
        if self.array.shape != self.geometry.shape:
            raise ValueError(f"An array of {self.array.shape} does not fill a grid of {self.geometry.shape}.")

    @classmethod
    def read(
        cls,
        path: str | Path,
        allow_nonfinite: bool = False,
        frame: int | None = None,
        resample_uneven: bool = False,
    ) -> Volume:
        """See `read_volume`."""
        return read_volume(
            path, allow_nonfinite=allow_nonfinite, frame=frame, resample_uneven=resample_uneven
        )

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

    def digest(self) -> bytes:
        """32 bytes that tell this image from others: its voxels, its place, its modality and its padding.

        Voxels are read where they lie in memory, so that the same image, stored with other axes, has another.
        """
        stored, layout = _as_stored(self.array)
        digest = hashlib.sha256(stored.data)
        said = (self.array.shape, self.array.dtype, layout, self.modality, self.padding)
        digest.update(repr(said).encode())
        digest.update(self.geometry.digest_bytes)
        return digest.digest()


def read_volume(
    path: str | Path,
    *,
    allow_nonfinite: bool = False,
    frame: int | None = None,
    resample_uneven: bool = False,
) -> Volume:
    """Read NIfTI, NRRD, MetaImage, sheared or not, a folder with one DICOM series or a multi-frame DICOM
    file, and check it.

    frame: of a 4D file, counted from 0. resample_uneven: put DICOM slices that are not evenly spaced onto
    even ones, which the volume's notes say. Raises InputError, in one sentence, for everything that cannot be
    segmented; see `check_volume`.
    """
    return check_volume(read_image(path, frame, resample_uneven=resample_uneven), allow_nonfinite)


def read_image(path: str | Path, frame: int | None = None, *, resample_uneven: bool = False) -> Volume:
    """Read a 3D scalar image of any content, label maps included; `read_volume` without `check_volume`."""
    path = Path(path)
    with quiet_itk():
        if os.path.isdir(path):
            chosen_frame(path, 1, frame)
            return _read_dicom(path, find_series(path, resample_uneven))
        check_file(path)
        if may_be_dicom(path):
            chosen_frame(path, 1, frame)
            return _read_dicom(path, series_of_file(path, resample_uneven))
        return _read_nifti(path, frame) if is_nifti(path) else _read_file(path, frame)


def frame_count(path: str | Path) -> int:
    """How many frames a file has, by its header: 1 for a 3D image, for DICOM and for a folder.

    Raises InputError as `read_image` does.
    """
    path = Path(path)
    if os.path.isdir(path):
        return 1
    check_file(path)
    if is_nifti(path):
        return count_frames(path)
    return 1 if may_be_dicom(path) else count_itk_frames(path)


def read_series(folder: str | Path, files: Sequence[str], *, resample_uneven: bool = False) -> Volume:
    """Read one DICOM series of a folder by its files, in any order; other series beside it do not matter.

    Raises InputError as `read_image` does.
    """
    with quiet_itk():
        return _read_dicom(Path(folder), sorted_series(Path(folder), tuple(files), resample_uneven))


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
            array = _finite(array, label)
            count = "1 voxel is" if bad == 1 else f"{bad} voxels are"
            note = f"{count} NaN or infinite, and read as the image's smallest value, {array.min():g}."
            volume = replace(volume, array=array, notes=(*volume.notes, note))
    lowest, highest = array.min(), array.max()
    if lowest == highest:
        raise InputError(f"{label} has the value {array.flat[0]} everywhere; there is nothing to segment.")
    if max(-float(lowest), float(highest)) > _LARGEST:
        raise InputError(
            f"{label} has values from {lowest:g} to {highest:g}, beyond single precision ({_LARGEST:.1e}); "
            "scale it down."
        )
    return volume


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
    replace_whole(
        path,
        lambda temporary: write_by_itk(temporary, small, geometry),
        lambda temporary: _holds(temporary, small, geometry),
    )


def _as_stored(array: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """The array with its axes as they lie in memory, copied only where they leave gaps, and its strides."""
    upright = array[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in array.strides)]
    order = np.argsort([-stride for stride in upright.strides], kind="stable")
    return np.ascontiguousarray(upright.transpose(order)), array.strides


def _read_dicom(path: Path, series: DicomSeries) -> Volume:
    array, affine = read_voxels(series)
    try:
        geometry = Geometry(index3(array.shape), LPS_RAS @ affine)
    except ValueError as error:
        raise InputError(f"{path} has no usable position in space; export it again.") from error
    name = stem(path.resolve())
    notes = _dicom_notes(name, series, geometry)
    return Volume(
        array,
        geometry,
        name,
        str(path),
        series.modality,
        padding=series.padding,
        notes=notes,
        frame_of_reference=series.frame_of_reference,
    )


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


def _read_nifti(path: Path, frame: int | None = None) -> Volume:
    array, forms = read_nifti(path, frame)
    return Volume(array, forms.geometry, _name(path, frame), str(path), forms=forms)


def _read_file(path: Path, frame: int | None = None) -> Volume:
    array, geometry, modality = read_by_itk(path, frame)
    return Volume(array, geometry, _name(path, frame), str(path), modality)


def _name(path: Path, frame: int | None) -> str:
    return stem(path) if frame is None else f"{stem(path)}_frame{frame}"


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


def _holds(path: Path, labels: np.ndarray, geometry: Geometry) -> bool:
    """Whether a label map that was written, and may have been cut without a word, reads back as it was."""
    check_file(path)
    written = _read_nifti(path) if is_nifti(path) else _read_file(path)
    return written.geometry.same_grid(geometry, _MOVED_VOXELS) and np.array_equal(written.array, labels)
