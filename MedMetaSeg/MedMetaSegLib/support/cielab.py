"""Colours as DICOM stores them: CIELab, each of its three numbers from 0 to 65535."""

from __future__ import annotations

import numpy as np

from .structure import Color

_D65 = np.array([0.95047, 1.0, 1.08883])
"""XYZ of white, as dcmtk and Slicer have it for these colours."""
_XYZ_TO_RGB = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
_BEND = 6 / 29
"""Cube root of a share of white below which lightness is linear."""
_RANGE, _LOWEST = np.array([100.0, 255.0, 255.0]), np.array([0.0, 128.0, 128.0])


def lab_color(values: np.ndarray) -> Color:
    """Red, green and blue, 0 to 1, of a colour as DICOM stores CIELab: (3,) of 0 to 65535."""
    lightness, a, b = values / 65535.0 * _RANGE - _LOWEST
    y = (lightness + 16.0) / 116.0
    roots = np.array([y + a / 500.0, y, y - b / 200.0])
    xyz = _D65 * np.where(roots > _BEND, roots**3, 3 * _BEND**2 * (roots - 4 / 29))
    linear = np.clip(_XYZ_TO_RGB @ xyz, 0.0, 1.0)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = (round(float(value), 4) for value in rgb)
    return red, green, blue


def color_lab(color: Color) -> tuple[int, int, int]:
    """A colour (red, green, blue, 0 to 1) as DICOM stores CIELab, three integers of 0 to 65535."""
    rgb = np.clip(color, 0.0, 1.0)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    shares = np.linalg.solve(_XYZ_TO_RGB, linear) / _D65
    x, y, z = np.where(shares > _BEND**3, np.cbrt(shares), shares / (3 * _BEND**2) + 4 / 29)
    stored = (np.array([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]) + _LOWEST) / _RANGE * 65535.0
    lightness, a, b = (int(value) for value in np.rint(np.clip(stored, 0.0, 65535.0)))
    return lightness, a, b
