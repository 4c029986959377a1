"""NIfTI files, by nibabel: voxels and where the header puts them in, label maps with the same header out.

A header may hold two places, a sform and a qform, which need not agree. Read is what nibabel reads: the sform
where its code is not 0, else the qform where its code is not 0, else the base affine.
"""

from __future__ import annotations

import gzip
import logging
import re
import zlib
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeGuard

import numpy as np

from ..errors import InputError
from .files import is_gzip, not_an_image, other_of_pair, truncated
from .frames import by, chosen_frame
from .geometry import LPS_RAS, Geometry, index3

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

_ENDING = re.compile(r"\.(nii|hdr|img)(\.gz)?$", re.IGNORECASE)
_MAGIC = {348: (344, b"n+1\0", b"ni1\0"), 540: (4, b"n+2\0", b"ni2\0")}
"""By the size of the header: where its magic is, that of a single file, and that of a pair."""
_MM = {"meter": 1000.0, "micron": 0.001}
"""Millimetres in a unit of length; a header without a unit is in millimetres."""
_PLACE_FIELDS = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)
_PIECE = 1 << 22
_DEFLATE_RATIO = 1032
"""Bytes that one byte of a gzip stream can hold at most."""
_ITK_PERPENDICULAR = 5e-5
"""Cosine between the axes of a sform up to which ITK surely takes them for perpendicular."""
_QUATERNION_ERROR = 1e-4
"""By which a quaternion may be longer than 1: headers are written in single precision, or by hand."""

_silent = logging.getLogger(f"{__name__}.silent")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


@dataclass(frozen=True, eq=False)
class Reading:
    """One way to read the place in a header: its name in sentences, and the grid."""

    name: str
    geometry: Geometry


@dataclass(frozen=True, eq=False)
class NiftiForms:
    """What a NIfTI header says of the place of its voxels.

    readings: all that the header offers, in mm; the first is the one that is read. unit: of lengths in the
    header, "mm", "micron", "meter" or "unknown". block: the header as it is in the file.
    """

    readings: tuple[Reading, ...]
    unit: str
    block: bytes

    @property
    def geometry(self) -> Geometry:
        """The grid that is read."""
        return self.readings[0].geometry

    @property
    def mm_per_unit(self) -> float:
        """Millimetres in the header's unit of length."""
        return _MM.get(self.unit, 1.0)


@dataclass(frozen=True, eq=False)
class _Layout:
    """Where the voxels of a file are. shape: (k, j, i); size: of the whole image, (i, j, k, ...)."""

    path: Path
    start: int
    dtype: np.dtype
    shape: tuple[int, ...]
    size: tuple[int, ...]
    frames: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return prod(self.shape) * self.dtype.itemsize


def is_nifti(path: Path) -> bool:
    """True for a file with a name of NIfTI's, but for a pair of Analyze 7.5. Raises InputError when cut."""
    ending = _ENDING.search(path.name)
    if ending is None:
        return False
    return ending[1].lower() == "nii" or _magic_size(_first_bytes(_header_path(path))) > 0


def read_nifti(path: Path, frame: int | None = None) -> tuple[np.ndarray, NiftiForms]:
    """The voxels (k, j, i) of a NIfTI-1 or -2 file or pair, or of one frame, and the place in its header.

    Voxels have the type they are stored in, or float32 where the header scales them. Raises InputError for
    what is no NIfTI, cut or damaged, colour, complex, or beyond float32 when scaled, and as `chosen_frame`.
    """
    header, block = _header(path)
    layout = _layout(path, header)
    number = chosen_frame(path, layout.frames, frame)
    forms = _forms(path, header, block, layout)
    start = layout.start + number * layout.frame_bytes
    stored = np.frombuffer(_read_bytes(layout, start), layout.dtype).reshape(layout.shape)
    if not stored.dtype.isnative:
        stored = stored.byteswap(inplace=True).view(stored.dtype.newbyteorder("="))
    return _scaled(path, stored, header), forms


def count_frames(path: Path) -> int:
    """How many frames a NIfTI file has, by its header. Raises InputError as `read_nifti` does."""
    return _layout(path, _header(path)[0]).frames


def frame_voxels(path: Path) -> tuple[int, int]:
    """How many voxels a frame has, and bytes per voxel, by the header; raises InputError as `read_nifti`."""
    layout = _layout(path, _header(path)[0])
    return prod(layout.shape), layout.dtype.itemsize


def write_nifti(path: Path, voxels: np.ndarray, geometry: Geometry, forms: NiftiForms | None) -> None:
    """Write voxels (k, j, i) as NIfTI; on the grid of `forms` with the same place in its header.

    Raises OSError when the place cannot be written.
    """
    from nibabel.nifti1 import Nifti1Image
    from nibabel.nifti2 import Nifti2Header, Nifti2Image

    header = _header_of(geometry, forms if _is_place_of(forms, geometry) else None)
    header.set_data_dtype(voxels.dtype)
    kind = Nifti2Image if isinstance(header, Nifti2Header) else Nifti1Image
    kind(np.asarray(voxels).T, None, header).to_filename(str(path))


def nifti_holds(geometry: Geometry, forms: NiftiForms | None) -> bool:
    """Whether a grid can be written as NIfTI so that every program opens it.

    ITK, and with it Slicer, refuses a sform whose axes are not perpendicular, unless there is a qform, which
    it reads instead. An image with both keeps both.
    """
    if not geometry.is_sheared:
        return True
    return _is_place_of(forms, geometry) and any(one.name == "qform" for one in forms.readings)


def _is_place_of(forms: NiftiForms | None, geometry: Geometry) -> TypeGuard[NiftiForms]:
    return forms is not None and forms.geometry.same_grid(geometry, 1e-6)


def _header_of(geometry: Geometry, forms: NiftiForms | None) -> Nifti1Header:
    """A header of one 3D image on a grid, with the fields of `forms` if given.

    Without a qform, a sform a little off perpendicular gets the nearest one, or ITK could not open the file.
    """
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    size = geometry.shape[::-1]
    if forms is not None:
        source = _parsed(forms.block)
        header = type(source)()
        header.set_data_shape(size)
        for name in _PLACE_FIELDS:
            header[name] = source[name]
        if header["qform_code"] == 0 and geometry.shear > _ITK_PERPENDICULAR:
            header.set_qform(source.get_sform(), int(source["sform_code"]), strip_shears=True)
        return header
    header = Nifti2Header() if max(size) > np.iinfo(np.int16).max else Nifti1Header()
    header.set_data_shape(size)
    header.set_qform(geometry.affine, 1, strip_shears=True)
    header.set_sform(geometry.affine, 1)
    header.set_xyzt_units("mm")
    return header


def _header(path: Path) -> tuple[Nifti1Header, bytes]:
    """The header, repaired where nibabel repairs it, and as it is in the file."""
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    block = _first_bytes(_header_path(path))
    size = _magic_size(block)
    if not size:
        raise not_an_image(path)
    block = block[:size]
    try:
        header = _parsed(block)
        header.check_fix(logger=_silent, error_level=40)
    except (HeaderDataError, WrapStructError) as error:
        raise InputError(
            f"{path} has a header that is damaged or of a rare kind; export it again."
        ) from error
    return header, block


def _parsed(block: bytes) -> Nifti1Header:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    return (Nifti1Header if len(block) == 348 else Nifti2Header)(block, check=False)


def _magic_size(block: bytes) -> int:
    """The size of the NIfTI header that a file begins with; 0 when it begins otherwise."""
    for size, (at, single, pair) in _MAGIC.items():
        if len(block) >= size and block[at : at + 4] in (single, pair):
            return size
    return 0


def _layout(path: Path, header: Nifti1Header) -> _Layout:
    size = tuple(int(extent) for extent in header.get_data_shape())
    if not size or min(size) < 1:
        raise InputError(f"{path} has no voxels ({by(size)}); export it again.")
    if len(size) < 3:
        raise InputError(f"{path} is a 2D image ({by(size)} voxels); give a 3D image.")
    dtype = header.get_data_dtype()
    _check_voxels(path, size, dtype)
    is_single = bytes(header["magic"]).startswith(b"n+")
    start = header.get_data_offset()
    if is_single:
        voxel_path, start = path, max(start, len(header.binaryblock))
    else:
        voxel_path = other_of_pair(path, "img")
    return _Layout(voxel_path, start, dtype, size[2::-1], size, prod(size[3:]))


def _check_voxels(path: Path, size: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise InputError for anything but frames of one number per voxel."""
    values = len(dtype.names or ()) or (prod(size[4:]) if len(size) > 4 else 1)
    if dtype.names or (values > 1 and size[3] == 1):
        raise InputError(f"{path} has {values} values per voxel (colour or vectors); give a grey image.")
    if values > 1:
        raise InputError(f"{path} has {len(size)} dimensions ({by(size)} voxels); give one 3D image.")
    if dtype.kind == "c":
        raise InputError(f"{path} has complex voxels; give their magnitude.")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise InputError(f"{path} has voxels of the rare type {dtype}; save it as float.")


def _forms(path: Path, header: Nifti1Header, block: bytes, layout: _Layout) -> NiftiForms:
    try:
        unit = header.get_xyzt_units()[0]
    except KeyError:
        unit = "unknown"
    in_mm = np.diag([*[_MM.get(unit, 1.0)] * 3, 1.0])
    shape = index3(layout.shape)
    readings = []
    for name, affine in _affines(header):
        try:
            readings.append(Reading(name, Geometry(shape, in_mm @ affine)))
        except ValueError as error:
            if not readings:
                raise InputError(f"{path} has no usable position in space; export it again.") from error
    if not readings:
        raise InputError(f"{path} has no usable position in space; export it again.")
    return NiftiForms(tuple(readings), unit, block)


def _affines(header: Nifti1Header) -> list[tuple[str, np.ndarray]]:
    """The affines that a header offers, in its own unit, the one that nibabel takes first."""
    found = []
    if header["sform_code"] > 0:
        found.append(("sform", header.get_sform()))
    if header["qform_code"] > 0:
        # A quaternion that is none is no reading.
        with suppress(ValueError):
            found.append(("qform", _qform(header)))
    if found or header["qform_code"] > 0:
        return found
    from_first_voxel = LPS_RAS @ np.diag([*header.get_zooms()[:3], 1.0])
    return [("place around the centre", header.get_base_affine()), ("place from ITK", from_first_voxel)]


def _qform(header: Nifti1Header) -> np.ndarray:
    """The qform, in the header's own unit; raises ValueError for a quaternion clearly longer than 1."""
    try:
        return header.get_qform()
    except ValueError:
        careless = header.copy()
        # nibabel takes so small a remainder for a half turn, and shortens the quaternion.
        careless.quaternion_threshold = np.float64(-_QUATERNION_ERROR)
        return careless.get_qform()


def _read_bytes(layout: _Layout, start: int) -> bytearray:
    """The bytes of one frame; what is compressed is read to its end, so that its checksum is compared."""
    path, compressed = layout.path, is_gzip(layout.path)
    expected = layout.start + layout.frames * layout.frame_bytes
    if path.stat().st_size * (_DEFLATE_RATIO if compressed else 1) < expected:
        raise truncated(path)
    data = bytearray(layout.frame_bytes)
    rest = memoryview(data)
    length = start + len(data)
    try:
        with _opened(path) as file:
            file.seek(start)
            while rest and (got := file.readinto(rest[:_PIECE])):  # type: ignore[attr-defined]
                rest = rest[got:]
            while compressed and (piece := file.read(_PIECE)):
                length += len(piece)
    except (EOFError, OSError, zlib.error) as error:
        raise truncated(path) from error
    if rest or (compressed and length < expected):
        raise truncated(path)
    return data


def _scaled(path: Path, stored: np.ndarray, header: Nifti1Header) -> np.ndarray:
    """Stored values x slope + intercept as float32; as they are where that changes nothing."""
    from nibabel.spatialimages import HeaderDataError

    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise InputError(f"{path} scales its voxels by no number; export it again.") from error
    if slope is None or (slope == 1 and intercept == 0):
        return stored
    scaled = np.empty(stored.shape, np.float32)
    for number, piece in enumerate(stored):
        exact = piece * np.float64(slope) + intercept
        with np.errstate(over="ignore"):
            scaled[number] = exact
        if np.any(np.isfinite(exact) & ~np.isfinite(scaled[number])):
            raise InputError(
                f"{path} has values of more than 3.4e38, which single precision cannot hold; scale it down."
            )
    return scaled


def _first_bytes(path: Path) -> bytes:
    try:
        with _opened(path) as file:
            return file.read(max(_MAGIC))
    except (EOFError, OSError, zlib.error) as error:
        raise truncated(path) from error


def _opened(path: Path) -> BinaryIO:
    """The file, decompressed if it is a gzip stream, whatever its name."""
    return gzip.open(path, "rb") if is_gzip(path) else path.open("rb")  # type: ignore[return-value]


def _header_path(path: Path) -> Path:
    return other_of_pair(path, "hdr") if path.name.lower().endswith((".img", ".img.gz")) else path
