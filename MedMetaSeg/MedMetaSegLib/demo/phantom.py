"""A phantom patient: an abdomen in portal venous phase, in Hounsfield units, with its true labels.

Made from shapes, the same for the same seed. Not anatomy to measure on, but every organ lies, looks and
touches its neighbours as a radiologist expects, so that a liver is seen as one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..imageio.volume import Geometry, Volume
from ..support.support import Structure
from .anatomy import LABEL, STRUCTURES, draw_abdomen
from .shapes import Array, Canvas, Point, rotation

__all__ = ["LABEL", "STRUCTURES", "Patient", "make_patient", "painted", "painted_slices"]

_LAYERS = 3  # thin layers averaged into one thick slice


@dataclass(frozen=True)
class Patient:
    """The scan, its true label map (uint8, k, j, i) and what the labels are called."""

    volume: Volume
    truth: Array
    structures: tuple[Structure, ...] = STRUCTURES


def make_patient(
    seed: int = 0,
    shape: tuple[int, int, int] = (48, 140, 180),
    spacing_mm: tuple[float, float, float] = (4.0, 2.0, 2.0),
    tilt_deg: Point = (6.0, 0.0, 4.0),
) -> Patient:
    """A patient lying on the table; `tilt_deg` turns the scanner's grid about x, y and z."""
    rng = np.random.default_rng(seed)
    geometry = _scanner_geometry(shape, spacing_mm, tilt_deg)
    canvas = Canvas(geometry, _LAYERS, rng)
    draw_abdomen(canvas, rng)
    hounsfield, truth = canvas.slices()
    hounsfield = ndimage.gaussian_filter(hounsfield, (0, 0.45, 0.45)) + _noise(shape, rng)
    array = np.clip(np.rint(hounsfield), -1024, 3071).astype(np.int16)
    return Patient(Volume(array, geometry, name="Phantom", source="phantom", modality="CT"), truth)


def painted(truth: Array, labels: tuple[int, ...], slices: int = 3, inset: float = 0.08) -> Array:
    """What a user would paint: the true outline of each structure on a few axial slices, nothing elsewhere.

    The slices lie equally spaced over the structure's extent, `inset` of it in from both ends.
    """
    result = np.zeros_like(truth)
    for label in labels:
        for k in painted_slices(truth, label, slices, inset):
            result[k][truth[k] == label] = label
    return result


def painted_slices(truth: Array, label: int, slices: int = 3, inset: float = 0.08) -> tuple[int, ...]:
    """Indices of the slices that `painted` gives to one structure."""
    held = np.flatnonzero((truth == label).any((1, 2)))
    reach = (held[-1] - held[0]) * inset
    return tuple(
        np.unique(np.rint(np.linspace(held[0] + reach, held[-1] - reach, slices)).astype(int)).tolist()
    )


def _scanner_geometry(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], tilt: Point
) -> Geometry:
    """As scanners write it: columns to the left, rows to the back, slices up; the centre at the origin."""
    sk, sj, si = spacing_mm
    affine = np.eye(4)
    affine[:3, :3] = rotation(tilt) @ np.diag([-si, -sj, sk])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return Geometry(shape, affine)


def _noise(shape: tuple[int, int, int], rng: np.random.Generator, deviation: float = 11.0) -> Array:
    """Noise with the grain of filtered back-projection: a ramp times a soft kernel, each slice on its own."""
    white = rng.standard_normal(shape, dtype=np.float32)
    frequency = np.hypot(np.fft.fftfreq(shape[1])[:, None], np.fft.rfftfreq(shape[2])[None])
    kernel = frequency * np.exp(-((frequency / 0.22) ** 2))
    grain = np.fft.irfft2(np.fft.rfft2(white, axes=(1, 2)) * kernel, s=shape[1:], axes=(1, 2))
    return (grain * (deviation / grain.std())).astype(np.float32)
