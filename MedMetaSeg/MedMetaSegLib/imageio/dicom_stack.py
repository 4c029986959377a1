"""Planes put in order: from where each lies to a grid, even slices or a sentence that says what is uneven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .dicom_header import Plane

_DIRECTION = 1e-3
"""By how much a component of two directions may differ that count as one."""
_PLACE = 0.1
"""Fraction of the slice spacing by which a slice may lie off its place on an even grid."""
_SAME_MM = 1e-3
"""Planes no further apart than this lie at one place."""
_GAP = 0.1
"""Fraction by which two distances may differ that count as one in words."""
_MOST_SLICES = 8
"""Even slices for each one there is, at most, that uneven slices are resampled to."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Planes in the order of their places, on a grid of even slices.

    planes: ascending along the normal. first_lps: (3,) mm of the first voxel; step_lps: (3,) mm from slice to
    slice, in the plane as well where the gantry is tilted. uneven: what is uneven, "" where the planes are
    the slices. between: (n,) for every even slice the fractional number of the plane it lies at, None else.
    """

    planes: tuple[Plane, ...]
    first_lps: np.ndarray
    step_lps: np.ndarray
    uneven: str = ""
    between: np.ndarray | None = None


def stacked(planes: Sequence[Plane], what: str, resample_uneven: bool) -> Stack:
    """Put planes of one size in order. what: names them in messages.

    Raises InputError when they differ in direction, when several lie at one place, when they are shifted
    against each other, and when they are not evenly spaced, unless these are to be resampled.
    """
    check_common_plane(planes, what)
    orientation = planes[0].orientation
    normal = np.cross(orientation[:3], orientation[3:])
    ordered = sorted(planes, key=lambda one: float(one.position @ normal))
    positions = np.array([one.position for one in ordered])
    if len(ordered) == 1:
        return Stack(tuple(ordered), positions[0], normal)
    heights_mm = positions @ normal
    _check_one_per_place(heights_mm, what)
    per_mm = (positions[-1] - positions[0]) / (heights_mm[-1] - heights_mm[0])
    check_not_shifted(positions, heights_mm, per_mm, planes[0].pixel_mm, what)
    step_mm = (heights_mm[-1] - heights_mm[0]) / (len(ordered) - 1)
    even_mm = heights_mm[0] + step_mm * np.arange(len(ordered))
    if np.abs(heights_mm - even_mm).max() <= _PLACE * step_mm:
        return Stack(tuple(ordered), positions[0], (positions[-1] - positions[0]) / (len(ordered) - 1))
    uneven, advice = _what_is_uneven(positions, heights_mm)
    if not resample_uneven:
        raise InputError(f"{uneven} in {what}; {advice}resample it with --resample-uneven.")
    return _resampled(ordered, heights_mm, per_mm, uneven, what)


def check_common_plane(planes: Sequence[Plane], what: str) -> None:
    """Raise InputError unless all planes have a place, and the same directions and spacing of voxels."""
    if not all(one.is_placed for one in planes):
        raise InputError(f"Some images in {what} do not say where they lie; export it again.")
    head = planes[0]
    # Of thousands of frames most are the same to the last bit.
    distinct = {(one.pixel_mm.tobytes(), one.orientation.tobytes()): one for one in planes}
    for one in distinct.values():
        alike = one.pixel_mm.size == head.pixel_mm.size and np.allclose(one.pixel_mm, head.pixel_mm, 1e-3)
        if not alike or np.abs(one.orientation - head.orientation).max() > _DIRECTION:
            raise InputError(
                f"The images in {what} differ in size or direction (a localizer among them?); "
                "leave the images of one stack only."
            )


def check_not_shifted(
    positions: np.ndarray, heights_mm: np.ndarray, per_mm: np.ndarray, pixel_mm: np.ndarray, what: str
) -> None:
    """Raise InputError when planes lie off a straight line, in their own plane, by more than half a voxel.

    positions: (n, 3) mm; heights_mm: (n,) along the normal; per_mm: (3,) what a position changes by per mm.
    """
    line = positions[0] + (heights_mm - heights_mm[0])[:, None] * per_mm
    off_mm = np.linalg.norm(positions - line, axis=1)
    if off_mm.max() > 0.5 * (pixel_mm.min() if pixel_mm.size else 1.0):
        worst = int(off_mm.argmax()) + 1
        raise InputError(
            f"The slices in {what} are shifted against each other in their plane (slice {worst} by "
            f"{off_mm.max():.3g} mm), which no grid can hold; export it again."
        )


def _check_one_per_place(heights_mm: np.ndarray, what: str) -> None:
    places = 1 + int(np.count_nonzero(np.diff(heights_mm) > _SAME_MM))
    if places == len(heights_mm):
        return
    each, rest = divmod(len(heights_mm), places)
    told = f"{len(heights_mm)} images at {places} places" + ("" if rest else f", {each} at each")
    raise InputError(
        f"There are several images at one place in {what}: {told} (a time series, echoes or copies?); "
        "leave one per slice."
    )


def _what_is_uneven(positions: np.ndarray, heights_mm: np.ndarray) -> tuple[str, str]:
    """What is uneven, in words, and what to do beside resampling, if anything."""
    gaps = np.diff(heights_mm)
    usual = float(np.median(gaps))
    for after in range(2, len(gaps) - 1):
        before, behind = gaps[:after], gaps[after:]
        if _alike(before) and _alike(behind) and not _alike(gaps):
            told = f"from {before.mean():.3g} to {behind.mean():.3g} mm after slice {after + 1}"
            return f"The slice spacing changes {told}", ""
    wide = np.flatnonzero(np.abs(gaps - usual) > _GAP * usual)
    times = gaps[wide] / usual
    if wide.size and np.all(np.rint(times) >= 2) and np.abs(times - np.rint(times)).max() <= _GAP:
        missing = int(np.rint(times).sum()) - len(wide)
        return _missing(missing, int(wide[0]), len(wide), positions), "add what is missing, or "
    if len(wide) == 1:
        at = int(wide[0])
        told = f"{gaps[at]:.3g} mm between slices {at + 1} and {at + 2}, {usual:.3g} mm elsewhere"
        return f"The slice spacing is uneven ({told})", ""
    narrow, broad = int(gaps.argmin()), int(gaps.argmax())
    return (
        f"The slice spacing varies between {gaps.min():.3g} mm (slices {narrow + 1} and {narrow + 2}) and "
        f"{gaps.max():.3g} mm (slices {broad + 1} and {broad + 2})",
        "",
    )


def _missing(count: int, at: int, gaps: int, positions: np.ndarray) -> str:
    axis = int(np.abs(positions[-1] - positions[0]).argmax())
    ends = [f"{positions[number, axis]:.4g}" for number in (at, at + 1)]
    where = f"between {'xyz'[axis]} = {ends[0]} and {ends[1]} mm (slices {at + 1} and {at + 2})"
    if gaps > 1:
        return f"{count} slices seem missing in {gaps} places, the first {where},"
    return f"A slice seems missing {where}" if count == 1 else f"{count} slices seem missing {where}"


def _alike(gaps: np.ndarray) -> bool:
    return bool(np.abs(gaps - gaps.mean()).max() <= _GAP * gaps.mean())


def _resampled(
    ordered: Sequence[Plane], heights_mm: np.ndarray, per_mm: np.ndarray, uneven: str, what: str
) -> Stack:
    """Even slices at the smallest distance that two of the planes have, from the first plane on."""
    step_mm = float(np.diff(heights_mm).min())
    count = int(np.rint((heights_mm[-1] - heights_mm[0]) / step_mm)) + 1
    if count > _MOST_SLICES * len(ordered):
        raise InputError(
            f"{uneven} in {what}; that is too uneven to resample, leave the images of one stack."
        )
    even_mm = heights_mm[0] + step_mm * np.arange(count)
    between = np.interp(even_mm, heights_mm, np.arange(len(ordered)))
    return Stack(tuple(ordered), ordered[0].position, step_mm * per_mm, uneven, between)


def on_even_slices(array: np.ndarray, between: np.ndarray) -> np.ndarray:
    """Planes (k, j, i), linear, at fractional numbers of theirs, (n,); integers stay integers."""
    even = np.empty((len(between), *array.shape[1:]), array.dtype)
    for number, place in enumerate(between):
        low = min(int(place), len(array) - 2)
        weight = place - low
        plane = array[low] * (1.0 - weight) + array[low + 1] * weight
        even[number] = np.rint(plane) if array.dtype.kind in "iu" else plane
    return even
