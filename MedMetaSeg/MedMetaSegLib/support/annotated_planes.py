"""Which slices of a structure are complete, in whichever planes they were painted, and which voxels are not.

A mask says which voxels were painted, not in which view. Slices of any planes are taken one after the other,
first the one that explains most of what is left. Where that needs far fewer of them than slices of one plane,
several planes were painted. A slice that holds far less than the slices around it let expect, as where a
round brush spilt onto the neighbour of a painted slice or where a single voxel was touched, is not complete:
its voxels are known, the rest of it is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .parts import annotated_in_parts
from .structure import AnnotatedStructure, SlicePlane

_SPILT = 0.5
"""Area over that of the painted slice that it touches: a slice below was only touched by the brush."""
_SHORT_RUN = 6
"""Slices: in longer runs, painted slice by slice, ends may be small."""
_END_OF_RUN = 0.15
"""Area at the end of a long run over that of its neighbour, below which the slice is not complete."""
_STRAY = 0.05
"""Area over that of the nearest painted slices: an isolated slice below was touched by accident."""
_CORRECTED = 0.1
"""The same between two painted slices, unless the structure is of many parts: below, a part was painted."""
_FEWER = 0.6
"""Slices of several planes over those of the usual plane that explain the same: above, that was painted."""
_FAR_FEWER = 0.25
"""The same, of slices of one other plane."""
_TOUCHED = 2
"""Slices of several planes: how far from a painted slice a brush reaches."""
_WIDE = 2
"""Voxels of the first slice of a further plane, over the longest row that it shares with another slice."""
_CROSSED = 0.5
"""Voxels over what slices of other planes let expect where they cross: a slice below is not complete."""


@dataclass(frozen=True, eq=False)
class AnnotatedPlanes:
    """How a mask (k, j, i) reads: complete slices, indices on the mask, most slices first, and other voxels.

    loose: bool (k, j, i), painted voxels on no complete slice.
    """

    planes: tuple[SlicePlane, ...]
    loose: np.ndarray


def annotated_planes(mask: np.ndarray, usual: int, only: bool = False) -> AnnotatedPlanes:
    """The complete slices of a mask (k, j, i), bool, cropped or not, with at least one voxel.

    usual: the axis (0, 1, 2) across the slices where those of one plane explain all. only: slices along
    `usual` are the only ones that were painted.
    """
    least = _STRAY if annotated_in_parts(mask) else _CORRECTED
    single = _along_one_axis(mask, usual, least)
    if only:
        return single
    filled = np.count_nonzero(_areas(mask, usual))
    most = filled - 1 if single.loose.any() else int(_FEWER * filled)
    several = _along_any_axis(mask, usual, most, least)
    return single if several is None else several


def with_complete_slices(annotated: AnnotatedStructure, usual: int, only: bool = False) -> AnnotatedStructure:
    """A structure with the slices that are complete; usual and only as in `annotated_planes`."""
    offset = annotated.offset
    planes = [
        SlicePlane(one.axis, tuple(number + offset[one.axis] for number in one.slices))
        for one in annotated_planes(annotated.mask, usual, only).planes
    ]
    return AnnotatedStructure.on_planes(annotated, planes)


def _along_one_axis(mask: np.ndarray, axis: int, least: float) -> AnnotatedPlanes:
    areas = _areas(mask, axis)
    accepted: list[int] = []
    for number in _largest_first(areas):
        if _plausible(number, areas, accepted, least):
            accepted.append(number)
    loose = mask.copy()
    np.moveaxis(loose, axis, 0)[accepted] = False
    return AnnotatedPlanes((SlicePlane(axis, tuple(sorted(accepted))),), loose)


def _along_any_axis(mask: np.ndarray, usual: int, most: int, least: float) -> AnnotatedPlanes | None:
    """The reading by slices of any planes; None where that takes more than `most` of them."""
    reading = _Reading(mask, least)
    taken = 0
    while reading.left.any():
        if taken == most:
            return None
        reading.take(*reading.next_slice(usual))
        taken += 1
    found = reading.finished(usual)
    far_fewer = taken <= _FAR_FEWER * np.count_nonzero(reading.areas[usual])
    return found if len(found.planes) > 1 or far_fewer else None


class _Reading:
    """Slices of a mask that were taken for painted so far.

    areas: painted voxels of every slice, per axis. left: voxels that no slice explains yet; counts: of every
    slice. accepted: numbers of complete slices, per axis. largest: voxels of the first of them. least: area
    between two painted slices over theirs.
    """

    def __init__(self, mask: np.ndarray, least: float) -> None:
        self.mask, self.left, self.least = mask, mask.copy(), least
        self.areas = [_areas(mask, axis) for axis in range(3)]
        self.counts = [areas.copy() for areas in self.areas]
        self.accepted: tuple[list[int], list[int], list[int]] = ([], [], [])
        self.largest = 0

    def next_slice(self, usual: int) -> tuple[int, int]:
        """Axis and number of the slice that explains most of what is left."""
        axis = max(range(3), key=lambda one: (self.counts[one].max(), one == usual))
        return axis, int(self.counts[axis].argmax())

    def take(self, axis: int, number: int) -> None:
        """Take a slice for complete if it can be; its voxels are explained either way."""
        self.largest = max(self.largest, int(self.areas[axis][number]))
        if self._is_complete(axis, number):
            self.accepted[axis].append(number)
        plane = np.moveaxis(self.left, axis, 0)[number]
        self.counts[axis][number] = 0
        first, second = (other for other in range(3) if other != axis)
        self.counts[first] -= np.count_nonzero(plane, axis=1)
        self.counts[second] -= np.count_nonzero(plane, axis=0)
        plane[:] = False

    def finished(self, usual: int) -> AnnotatedPlanes:
        """The reading, the plane with most slices first; what they do not explain is loose."""
        planes = [SlicePlane(axis, tuple(sorted(taken))) for axis, taken in enumerate(self.accepted) if taken]
        planes.sort(key=lambda one: (-len(one.slices), -self._voxels(one), one.axis != usual))
        loose = self.mask.copy()
        for plane in planes:
            np.moveaxis(loose, plane.axis, 0)[list(plane.slices)] = False
        return AnnotatedPlanes(tuple(planes), loose)

    def _voxels(self, plane: SlicePlane) -> int:
        return int(self.areas[plane.axis][list(plane.slices)].sum())

    def _is_complete(self, axis: int, number: int) -> bool:
        areas, accepted = self.areas[axis], self.accepted[axis]
        near = [one for one in accepted if abs(one - number) <= _TOUCHED]
        if any(areas[number] < _SPILT * areas[one] for one in near):
            return False
        if not _plausible(number, areas, accepted, self.least, touching=False):
            return False
        plane = np.moveaxis(self.mask, axis, 0)[number]
        others = [one for one in range(3) if one != axis]
        rows = [(plane.sum(1 - n), self.accepted[other]) for n, other in enumerate(others)]
        if not accepted and not self._is_wide(int(self.counts[axis][number]), rows):
            return False
        return all(_fills(counts, crossing) for counts, crossing in rows)

    def _is_wide(self, new: int, rows: list[tuple[np.ndarray, list[int]]]) -> bool:
        """Whether the first slice of a plane adds more than a brush does beside slices of other planes."""
        crossed = [int(counts[crossing].max()) for counts, crossing in rows if crossing]
        longest = max(crossed, default=0)
        return new >= (_WIDE * longest if longest else _STRAY * self.largest)


def _plausible(
    number: int, areas: np.ndarray, accepted: list[int], least: float, touching: bool = True
) -> bool:
    """Whether a slice can be complete, given larger ones that are.

    least: its area over the smaller of those around it, where it lies between two. touching: look at slices
    of the same run, too.
    """
    if not accepted:
        return True
    below = max((one for one in accepted if one < number), default=None)
    above = min((one for one in accepted if one > number), default=None)
    around = [one for one in (below, above) if one is not None]
    if touching:
        for one in around:
            run = areas[min(one, number) : max(one, number) + 1]
            if run.all() and areas[number] < _least_share(areas, number) * areas[one]:
                return False
    share = least if len(around) == 2 else _STRAY
    return bool(areas[number] >= share * min(areas[one] for one in around))


def _least_share(areas: np.ndarray, number: int) -> float:
    empty = np.flatnonzero(areas == 0)
    first = empty[empty < number].max(initial=-1)
    last = empty[empty > number].min(initial=len(areas))
    return _SPILT if last - first - 1 <= _SHORT_RUN else _END_OF_RUN


def _fills(rows: np.ndarray, crossing: Iterable[int]) -> bool:
    """Whether the rows of a slice between the slices that cross it hold about what these let expect.

    rows: painted voxels of each; crossing: the rows on complete slices of another plane.
    """
    known = np.array(sorted(crossing), int)
    if len(known) < 2:
        return True
    between = np.arange(known[0], known[-1] + 1)
    expected = np.interp(between, known, rows[known])
    expected[np.isin(between, known)] = 0
    there = np.minimum(rows[between], expected)
    return bool(there.sum() >= _CROSSED * expected.sum())


def _areas(mask: np.ndarray, axis: int) -> np.ndarray:
    """Voxels of every slice along an axis."""
    others = tuple(other for other in range(3) if other != axis)
    return np.count_nonzero(mask, axis=others)


def _largest_first(areas: np.ndarray) -> list[int]:
    filled = np.flatnonzero(areas)
    return [int(one) for one in filled[np.argsort(-areas[filled], kind="stable")]]
