"""Files on disk: is an image file there, readable and whole before it is read; which files belong to it.

A damaged compressed MetaImage or NRRD reads as other voxels in ITK, and MetaIO reports on stderr; both are
checked here.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from math import prod
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError

SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd")
FORMATS = "NIfTI, NRRD, MetaImage or a folder with one DICOM series"

_GZIP_MAGIC = b"\x1f\x8b"
_DATA_FILE = re.compile(rb"^(?:ElementDataFile\s*=|data ?file:)\s*(\S.*?)\s*$", re.MULTILINE | re.IGNORECASE)
_NRRD_GZIP = re.compile(rb"^encoding:\s*(?:gzip|gz)\s*$", re.MULTILINE)
_NRRD_SKIPS = re.compile(rb"^(?:byte|line) ?skip:", re.MULTILINE)
_PAIR = re.compile(r"\.(nii|hdr|img)(\.gz)?$", re.IGNORECASE)
_BLOCK_BYTES = 1 << 20
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


def suffix(path: Path) -> str:
    """The image suffix of a file, compound ones whole (".nii.gz", ".seg.nrrd"); else the plain suffix."""
    name = path.name.lower()
    return next((known for known in SUFFIXES if name.endswith(known)), path.suffix.lower())


def stem(path: Path) -> str:
    """The name of a file without its image suffix, or of a folder as it is."""
    return path.name if os.path.isdir(path) else path.name[: len(path.name) - len(suffix(path))]


def check_file(path: Path) -> None:
    """Raise InputError when `path` is no readable file, is empty, or ends before its header says.

    Reads headers and sizes only. NIfTI is checked when it is read.
    """
    check_there(path, "file")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give an image file.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} cannot be read; check its permissions.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; copy or export it again.")
    kind = suffix(path)
    if kind in (".hdr", ".img"):
        other_of_pair(path, "img" if kind == ".hdr" else "hdr")
    elif kind in (".mha", ".mhd"):
        _check_metaimage(path)
    elif kind in (".nrrd", ".nhdr", ".seg.nrrd"):
        _check_nrrd(path)


def check_there(path: Path, what: str) -> None:
    """Raise InputError when there is nothing at `path`, or the system does not tell.

    what: what the message calls it, such as "image".
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"There is no {what} {path}; check the path.") from error
    except OSError as error:
        raise InputError(f"The {what} {path} cannot be read ({error.strerror}); check the path.") from error


def check_gzip(path: Path) -> None:
    """Decompress `path` to its end; raise InputError when the stream is cut or damaged."""
    _decompressed_length(path)


def other_of_pair(path: Path, kind: str) -> Path:
    """The "hdr" or "img", as `kind` says, of a NIfTI or Analyze pair. Raises InputError without it."""
    stem = _PAIR.sub("", path.name)
    for ending in (f".{kind}", f".{kind}.gz", f".{kind.upper()}", f".{kind.upper()}.GZ"):
        if os.path.isfile(path.parent / (stem + ending)):
            return path.parent / (stem + ending)
    raise InputError(f"{path} needs the file {stem}.{kind}, which is missing; put both in one folder.")


def nrrd_header(file: BinaryIO) -> bytes:
    """The lines of a NRRD file, just opened, before its voxels, where it is then; b"" when it is no NRRD."""
    if file.read(4) != b"NRRD":
        return b""
    lines = iter(lambda: file.readline(_BLOCK_BYTES).rstrip(b"\r\n"), b"")
    return b"\n".join(lines)


def with_data_file(path: Path) -> tuple[Path, ...]:
    """An image file and, where its voxels are in another file that is there, that one."""
    kind = suffix(path)
    try:
        if kind in (".hdr", ".img"):
            return path, other_of_pair(path, "img" if kind == ".hdr" else "hdr")
        if kind not in (".mhd", ".nhdr"):
            return (path,)
        with path.open("rb") as file:
            name = _named_data(file.read(_BLOCK_BYTES))
        return (path, _data_file(path, name)) if name else (path,)
    except (OSError, InputError):
        return (path,)


def is_gzip(path: Path) -> bool:
    """True when the file starts as a gzip stream does."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP_MAGIC


def truncated(path: Path) -> InputError:
    """The error for a file that ends too early or whose compressed voxels are damaged."""
    return InputError(f"{path} is truncated or damaged: not all voxels can be read; copy it again.")


def not_an_image(path: Path) -> InputError:
    """The error for a file of another kind."""
    return InputError(f"{path} is not an image that can be read; give {FORMATS}.")


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, there or not."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return one.resolve() == other.resolve()


def _decompressed_length(path: Path) -> int:
    with path.open("rb") as file:
        return _gzip_length(path, file)


def _gzip_length(path: Path, file: BinaryIO) -> int:
    """Bytes of the gzip stream that a file goes on with. Raises InputError when it is cut or damaged."""
    length = 0
    try:
        with gzip.GzipFile(fileobj=file) as stream:
            while block := stream.read(_BLOCK_BYTES):
                length += len(block)
    except (EOFError, OSError, zlib.error) as error:
        raise truncated(path) from error
    return length


def _check_nrrd(path: Path) -> None:
    """Raise InputError when the voxels of a NRRD file are elsewhere and missing, or a damaged gzip stream."""
    with path.open("rb") as file:
        header = nrrd_header(file)
        is_gzip_stream = _NRRD_GZIP.search(header) and not _NRRD_SKIPS.search(header)
        if is_gzip_stream and not _DATA_FILE.search(header):
            _gzip_length(path, file)
    name = _named_data(header)
    if name:
        data = _data_file(path, name)
        if is_gzip_stream:
            check_gzip(data)


def _check_metaimage(path: Path) -> None:
    fields, start = _metaimage_fields(path)
    sizes = fields.get("DimSize", "").split()
    if not sizes or not all(size.isdigit() for size in sizes):
        raise not_an_image(path)
    data = fields["ElementDataFile"]
    if data.upper().startswith("LIST") or "%" in data:
        return
    voxel_bytes = _META_BYTES.get(fields.get("ElementType", ""), 1)
    voxel_bytes *= int(fields.get("ElementNumberOfChannels", "1"))
    expected = prod(int(size) for size in sizes) * voxel_bytes
    local = data.upper() == "LOCAL"
    with (path if local else _data_file(path, data)).open("rb") as file:
        file.seek(start if local else 0)
        if fields.get("CompressedData", "False").lower() == "true":
            available = _zlib_length(path, file)
        else:
            available = os.fstat(file.fileno()).st_size - file.tell()
    if available < expected:
        raise truncated(path)


def _metaimage_fields(path: Path) -> tuple[dict[str, str], int]:
    """The header of a MetaImage file, and the byte after it. Raises InputError when it is none."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "ElementDataFile" not in fields:
            line = file.readline(4096)
            key, separator, value = line.decode("latin-1").partition("=")
            if not separator:
                raise not_an_image(path)
            fields[key.strip()] = value.strip()
        return fields, file.tell()


def _zlib_length(path: Path, file: BinaryIO) -> int:
    """Bytes of the zlib or gzip stream that a file goes on with. Raises InputError when cut or damaged."""
    stream, length = zlib.decompressobj(wbits=47), 0
    try:
        while not stream.eof and (block := file.read(_BLOCK_BYTES)):
            length += len(stream.decompress(block))
    except zlib.error as error:
        raise truncated(path) from error
    if not stream.eof:
        raise truncated(path)
    return length


def _data_file(path: Path, name: str) -> Path:
    """The file beside a header that holds its voxels. Raises InputError when it is missing."""
    data = path.parent / name
    if not os.path.isfile(data):
        raise InputError(f"{path} needs the file {name}, which is missing; put both in one folder.")
    return data


def _named_data(header: bytes) -> str:
    """The name of the one data file that a header names, there or not; "" when it names none or several."""
    named = _DATA_FILE.search(header)
    name = "" if named is None else os.fsdecode(named[1])
    return "" if name.upper().startswith(("LIST", "LOCAL")) or "%" in name else name
