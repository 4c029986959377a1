"""Files on disk: is an image file whole before it is read, and a result written whole or not at all.

ITK reads a truncated NIfTI as zeros without an error, and MetaIO reports on stderr; both are checked here.
"""

from __future__ import annotations

import gzip
import os
import struct
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path

from ..errors import InputError

SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd")
FORMATS = "NIfTI, NRRD, MetaImage or a folder with one DICOM series"

_GZIP_MAGIC = b"\x1f\x8b"
_META_BYTES = {
    "MET_CHAR": 1,
    "MET_UCHAR": 1,
    "MET_SHORT": 2,
    "MET_USHORT": 2,
    "MET_INT": 4,
    "MET_UINT": 4,
    "MET_LONG": 4,
    "MET_ULONG": 4,
    "MET_FLOAT": 4,
    "MET_LONG_LONG": 8,
    "MET_ULONG_LONG": 8,
    "MET_DOUBLE": 8,
}


@dataclass(frozen=True)
class NiftiHeader:
    """What a NIfTI header says of its voxels.

    order: struct's "<" or ">"; datatype: NIfTI's code; start: the byte of the first voxel; intercept: of the
    stored values; is_single: False when the voxels are in a file of their own.
    """

    order: str
    datatype: int
    start: int
    voxel_bytes: int
    intercept: float
    is_single: bool


def suffix(path: Path) -> str:
    """The image suffix of a file, compound ones whole (".nii.gz", ".seg.nrrd"); else the plain suffix."""
    name = path.name.lower()
    return next((known for known in SUFFIXES if name.endswith(known)), path.suffix.lower())


def stem(path: Path) -> str:
    """The name of a file without its image suffix, or of a folder as it is."""
    return path.name if path.is_dir() else path.name[: len(path.name) - len(suffix(path))]


def check_file(path: Path) -> None:
    """Raise InputError when `path` is no readable file, is empty, or ends before its header says.

    Reads headers and sizes only, except for a .nii.gz whose recorded length disagrees with its header.
    """
    if not path.exists():
        raise InputError(f"There is no file {path}; check the path.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give an image file.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} cannot be read; check its permissions.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; copy or export it again.")
    kind = suffix(path)
    if kind in (".nii", ".nii.gz"):
        _check_nifti(path)
    elif kind in (".mha", ".mhd"):
        _check_metaimage(path)


def check_gzip(path: Path) -> None:
    """Decompress `path` to its end; raise InputError when the stream is cut or damaged."""
    _decompressed_length(path)


def is_gzip(path: Path) -> bool:
    """True when the file starts as a gzip stream does."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP_MAGIC


def nifti_header(path: Path) -> NiftiHeader | None:
    """The header of a NIfTI file, compressed or not; None when it is no NIfTI. Raises InputError when cut."""
    try:
        with gzip.open(path, "rb") if is_gzip(path) else path.open("rb") as file:
            header = file.read(544)
    except (EOFError, OSError, zlib.error) as error:
        raise truncated(path) from error
    for order in "<>":
        size = struct.unpack_from(order + "i", header)[0] if len(header) >= 4 else 0
        if size == 348 and len(header) >= 348:
            datatype, bits = struct.unpack_from(order + "2h", header, 70)
            dims = struct.unpack_from(order + "8h", header, 40)
            offset, _, intercept = struct.unpack_from(order + "3f", header, 108)
            is_single = header[344:348] == b"n+1\0"
        elif size == 540 and len(header) >= 540:
            datatype, bits = struct.unpack_from(order + "2h", header, 12)
            dims = struct.unpack_from(order + "8q", header, 16)
            offset, _, intercept = struct.unpack_from(order + "q2d", header, 168)
            is_single = header[4:8] == b"n+2\0"
        else:
            continue
        if not 1 <= dims[0] <= 7 or bits < 1 or not isfinite(offset):
            return None
        voxels = prod(max(1, extent) for extent in dims[1 : dims[0] + 1])
        start = max(int(offset), size) if is_single else int(offset)
        return NiftiHeader(order, datatype, start, voxels * bits // 8, intercept, is_single)
    return None


def truncated(path: Path) -> InputError:
    """The error for a file that ends too early."""
    return InputError(f"{path} is truncated or damaged: it ends before all voxels are read; copy it again.")


def not_an_image(path: Path) -> InputError:
    """The error for a file of another kind."""
    return InputError(f"{path} is not an image that can be read; give {FORMATS}.")


def replace_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step.

    The temporary file has the suffix of `path` and is gone whatever happens. Raises InputError when the
    folder does not exist or cannot be written; nothing appears at `path` then.
    """
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {folder}; create it first.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file to write.")
    temporary = folder / f".partial-{uuid.uuid4().hex}{suffix(path)}"
    try:
        temporary.touch(exist_ok=False)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another place.") from error
    finally:
        if temporary.exists():
            temporary.unlink()


def check_output(path: Path) -> None:
    """Raise InputError when a file cannot be written there."""
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {folder}; create it first.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file to write.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written: {folder} is read-only; choose another folder.")


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, there or not."""
    if one.exists() and other.exists():
        return os.path.samefile(one, other)
    return one.resolve() == other.resolve()


def _check_nifti(path: Path) -> None:
    header = nifti_header(path)
    if header is None:
        raise not_an_image(path)
    if not header.is_single:
        return
    expected = header.start + header.voxel_bytes
    if not is_gzip(path):
        if path.stat().st_size < expected:
            raise truncated(path)
    elif _recorded_length(path) != expected % 2**32 and _decompressed_length(path) < expected:
        raise truncated(path)


def _recorded_length(path: Path) -> int:
    """The length, modulo 2^32, that the last gzip member records; noise when the file is cut."""
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        return int(struct.unpack("<I", file.read(4))[0])


def _decompressed_length(path: Path) -> int:
    length = 0
    try:
        with gzip.open(path, "rb") as file:
            while block := file.read(1 << 20):
                length += len(block)
    except (EOFError, OSError, zlib.error) as error:
        raise truncated(path) from error
    return length


def _check_metaimage(path: Path) -> None:
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "ElementDataFile" not in fields:
            line = file.readline(4096)
            key, separator, value = line.decode("latin-1").partition("=")
            if not separator:
                raise not_an_image(path)
            fields[key.strip()] = value.strip()
        start = file.tell()
    sizes = fields.get("DimSize", "").split()
    if not sizes or not all(size.isdigit() for size in sizes):
        raise not_an_image(path)
    data = fields["ElementDataFile"]
    if data.upper().startswith("LIST") or "%" in data:
        return
    if data.upper() == "LOCAL":
        available = path.stat().st_size - start
    else:
        data_path = path.parent / data
        if not data_path.is_file():
            raise InputError(f"{path} needs the file {data}, which is missing; put both in one folder.")
        available = data_path.stat().st_size
    if fields.get("CompressedData", "False").lower() == "true":
        expected = int(fields.get("CompressedDataSize", "0"))
    else:
        voxel_bytes = _META_BYTES.get(fields.get("ElementType", ""), 1)
        voxel_bytes *= int(fields.get("ElementNumberOfChannels", "1"))
        expected = prod(int(size) for size in sizes) * voxel_bytes
    if available < expected:
        raise truncated(path)
