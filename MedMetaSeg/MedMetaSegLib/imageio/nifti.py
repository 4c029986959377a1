"""NaN and infinity in NIfTI files, which ITK does not pass on.

The NIfTI library inside ITK (`nifti_read_buffer`, up to ITK 5.4) overwrites every voxel of a float file that
is not finite with 0 and says nothing, so that a hole in an image looks like tissue. Later versions keep them.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from .files import is_gzip, nifti_header, other_of_pair, truncated

_FLOAT_TYPES = {16: "f4", 64: "f8"}
"""NIfTI's codes of float32 and float64."""
_PIECE = 1 << 22


def restore_nonfinite(path: Path, array: np.ndarray) -> None:
    """Put NaN and infinity back into `array` (k, j, i), the voxels that ITK read from the NIfTI file `path`.

    Reads the voxels again only in files of floats, and only where a voxel has the value that ITK replaces
    them by. Raises InputError when the file ends early.
    """
    header_path = other_of_pair(path, "hdr") if path.name.lower().endswith((".img", ".img.gz")) else path
    header = nifti_header(header_path)
    if header is None or header.datatype not in _FLOAT_TYPES:
        return
    # ITK scales its 0 as it does every stored value.
    if not any(np.any(array == array.dtype.type(value)) for value in {0.0, header.intercept}):
        return
    stored = np.dtype(header.order + _FLOAT_TYPES[header.datatype])
    voxel_path = header_path if header.is_single else other_of_pair(path, "img")
    voxels = array.reshape(-1)
    try:
        with gzip.open(voxel_path, "rb") if is_gzip(voxel_path) else voxel_path.open("rb") as file:
            file.seek(header.start)
            for first in range(0, len(voxels), _PIECE):
                part = voxels[first : first + _PIECE]
                values = np.frombuffer(file.read(len(part) * stored.itemsize), stored)
                lost = ~np.isfinite(values)
                part[lost] = values[lost]
    except (EOFError, IndexError, OSError, ValueError, zlib.error) as error:
        raise truncated(voxel_path) from error
