"""The slice of a lesion as a small picture: the image, the outline of the structure, and both diameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..imageio.geometry import Geometry, Index3, index3
from ..imageio.volume import Volume
from ..results.png import grey_levels, png_bytes
from ..results.web_page import png_source, text
from ..support.structure import StructureMask
from .measurements import Diameter, Lesion

STYLE = """
.lesion { display: block; width: 100%; background: #000; aspect-ratio: 1; }
.lesion * { fill: none; stroke-width: 1.5; vector-effect: non-scaling-stroke; }
.outline { stroke: #ffd54a; }
.longest { stroke: #4dd0e1; }
.perpendicular { stroke: #ff8a65; }
"""
"""CSS of the pictures."""

_MARGIN = 0.5
"""Length of a lesion that is shown on each side of it."""
_LEAST_MM = 40.0
"""Length of the shown square's side, at least."""


class LesionPictures:
    """Makes pictures of lesions in one image.

    masks: of the structures, on the volume's grid. window: intensities that are black and white.
    """

    def __init__(self, volume: Volume, masks: Sequence[StructureMask], window: tuple[float, float]) -> None:
        self._upright, axis_map = volume.canonical()
        self._window = window
        self._masks = []
        for one in masks:
            offset = axis_map.apply_offset(one.offset, index3(one.mask.shape))
            self._masks.append((offset, axis_map.apply(one.mask)))

    def svg(self, structure: int, lesion: Lesion, title: str) -> str:
        """A picture as inline SVG, seen from the feet, in millimetres.

        structure: its number among the masks. title: what it shows, in words.
        """
        geometry = self._upright.geometry
        view = _view(geometry, lesion.longest)
        grey = grey_levels(self._upright.array[view.k, view.rows, view.columns], self._window)
        png = png_bytes(np.ascontiguousarray(grey[::-1, ::-1]).astype(np.uint8))
        inside = _in_view(*self._masks[structure], view)[::-1, ::-1]
        width, height = view.size_mm
        return (
            f'<svg class="lesion" viewBox="0 0 {width:.2f} {height:.2f}" role="img" '
            f'aria-label="{text(title)}">'
            f'<image width="{width:.2f}" height="{height:.2f}" preserveAspectRatio="none" '
            f'href="{png_source(png)}"/>'
            f'<path class="outline" transform="scale({view.spacing[1]:.4f} {view.spacing[0]:.4f})" '
            f'd="{outline(inside)}"/>'
            f"{_line('longest', lesion.longest, geometry, view)}"
            f"{_line('perpendicular', lesion.perpendicular, geometry, view)}</svg>"
        )


@dataclass(frozen=True)
class _View:
    """A part of an upright slice: rows run to anterior, columns to the patient's right or left."""

    k: int
    rows: slice
    columns: slice
    spacing: tuple[float, float]

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height."""
        rows, columns = self.rows.stop - self.rows.start, self.columns.stop - self.columns.start
        return columns * self.spacing[1], rows * self.spacing[0]

    def place(self, j: float, i: float) -> tuple[float, float]:
        """Millimetres from the left and from the top of a voxel's centre; both axes are turned."""
        return (self.columns.stop - 0.5 - i) * self.spacing[1], (self.rows.stop - 0.5 - j) * self.spacing[0]


def _view(geometry: Geometry, longest: Diameter) -> _View:
    """The square around a diameter, as far as the image goes."""
    ends = geometry.world_to_index(np.array(longest.ends_ras))
    k, *middle = ends.mean(axis=0)
    half_mm = max(_LEAST_MM, longest.length_mm * (1 + 2 * _MARGIN)) / 2
    _, *spacing = geometry.spacing_mm
    ranges = []
    for centre, step, size in zip(middle, spacing, geometry.shape[1:], strict=True):
        first, last = int(np.floor(centre - half_mm / step)), int(np.ceil(centre + half_mm / step))
        ranges.append(slice(max(0, first), min(size, last + 1)))
    return _View(round(float(k)), ranges[0], ranges[1], (spacing[0], spacing[1]))


def _in_view(offset: Index3, mask: np.ndarray, view: _View) -> np.ndarray:
    """The voxels of a mask (k, j, i) at `offset` that a view shows, bool (rows, columns)."""
    shape = (view.rows.stop - view.rows.start, view.columns.stop - view.columns.start)
    inside = np.zeros(shape, bool)
    k = view.k - offset[0]
    if not 0 <= k < mask.shape[0]:
        return inside
    rows, columns = (
        _shared(shown, start, size)
        for shown, start, size in zip((view.rows, view.columns), offset[1:], mask.shape[1:], strict=True)
    )
    inside[rows[0], columns[0]] = mask[k, rows[1], columns[1]]
    return inside


def _shared(shown: slice, start: int, size: int) -> tuple[slice, slice]:
    """What a shown range and a block of `size` from `start` share, counted from each of their beginnings."""
    first, last = max(shown.start, start), max(shown.start, start, min(shown.stop, start + size))
    return slice(first - shown.start, last - shown.start), slice(first - start, last - start)


def outline(inside: np.ndarray) -> str:
    """The edges between pixels in and out of a mask, bool (rows, columns), as an SVG path in pixels.

    None at the border of the picture, where it is not known what follows.
    """
    across = [f"M{start} {row + 1}h{length}" for row, start, length in _runs(inside[1:] != inside[:-1])]
    along = [
        f"M{column + 1} {start}v{length}"
        for column, start, length in _runs((inside[:, 1:] != inside[:, :-1]).T)
    ]
    return "".join((*across, *along))


def _runs(edges: np.ndarray) -> list[tuple[int, int, int]]:
    """Line, first place and length of each run of True in the lines of a bool array (lines, places)."""
    padded = np.pad(edges.astype(np.int8), ((0, 0), (1, 1)))
    steps = np.diff(padded, axis=1)
    lines, starts = np.nonzero(steps == 1)
    _, stops = np.nonzero(steps == -1)
    return [(int(a), int(b), int(c - b)) for a, b, c in zip(lines, starts, stops, strict=True)]


def _line(what: str, diameter: Diameter, geometry: Geometry, view: _View) -> str:
    ends = geometry.world_to_index(np.array(diameter.ends_ras))
    (x1, y1), (x2, y2) = (view.place(j, i) for _, j, i in ends)
    return f'<line class="{what}" x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}"/>'
