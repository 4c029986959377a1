"""Files on disk: is an image file whole before it is read, and a result written whole or not at all.

MetaIO reports a truncated file on stderr only, so that is checked here.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from math import prod
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


def suffix(path: Path) -> str:
    """The image suffix of a file, compound ones whole (".nii.gz", ".seg.nrrd"); else the plain suffix."""
    name = path.name.lower()
    return next((known for known in SUFFIXES if name.endswith(known)), path.suffix.lower())


def stem(path: Path) -> str:
    """The name of a file without its image suffix, or of a folder as it is."""
    return path.name if path.is_dir() else path.name[: len(path.name) - len(suffix(path))]


def check_file(path: Path) -> None:
    """Raise InputError when `path` is no readable file, is empty, or ends before its header says.

    Reads headers and sizes only. NIfTI is checked when it is read.
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
    if kind in (".mha", ".mhd"):
        _check_metaimage(path)


def is_gzip(path: Path) -> bool:
    """True when the file starts as a gzip stream does."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP_MAGIC


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
