"""Small pictures as PNG, for pages that hold them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..imageio.names import itk_path
from ..imageio.writing import NotWritten, replace_whole


def grey_levels(plane: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Grey levels 0 to 255, float32, of intensities of which those of `window` are black and white."""
    low, high = window
    return np.clip(255 * (np.asarray(plane, np.float32) - low) / max(high - low, 1e-6), 0, 255)


def png_bytes(picture: np.ndarray, folder: Path | None = None) -> bytes:
    """A PNG of a picture, uint8 (rows, columns) or (rows, columns, 3).

    folder: for a file on the way; the system's if None. Raises OSError or WriteError when it is full.
    """
    with tempfile.TemporaryDirectory(prefix="medmetaseg-", dir=folder) as place:
        path = Path(place) / "picture.png"
        replace_whole(
            path, lambda temporary: _write(temporary, picture), lambda temporary: _holds(temporary, picture)
        )
        return path.read_bytes()


def _write(path: Path, picture: np.ndarray) -> None:
    image = sitk.GetImageFromArray(picture, isVector=picture.ndim == 3)
    try:
        with itk_path(path) as name:
            sitk.WriteImage(image, name, useCompression=True)
    except RuntimeError as error:
        raise NotWritten from error


def _holds(path: Path, picture: np.ndarray) -> bool:
    try:
        with itk_path(path) as name:
            return np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(name)), picture)
    except RuntimeError:
        return False
