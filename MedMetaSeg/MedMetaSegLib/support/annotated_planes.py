"""Which slices of a structure are complete, in whichever planes they were painted, and which voxels are not.

A mask says which voxels were painted, not in which view. Slices of any planes are taken one after the other,
first the one that explains most of what is left. Where that needs far fewer of them than slices of one plane,
several planes were painted. A slice that holds far less than the slices around it let expect, as where a
round brush spilt onto the neighbour of a painted slice or where a single voxel was touched, is not complete:
its voxels are known, the rest of it is not. Of lesions any number may lie on a slice: a slice of a structure
of many parts is expected to hold less only beside a painted one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .parts import annotated_in_parts
from .structure import AnnotatedStructure, SlicePlane

_SPILT = ((3, 0.65), (6, 0.5))
"""In a run of at most so many slices without a gap: area over that of the painted slice next to it, below
which a slice was only touched by the brush. Longer runs were painted slice by slice.
"""
_THICK = 0.35
"""Distance to that slice over its radius from which on a structure may well end in between."""
_ENDS = 0.15
"""The area in that case, and in a longer run: below, the slice is not complete."""
_STRAY = 0.05
"""Area over that of the nearest painted slice: an isolated one below, and of few voxels, was only touched."""
_STRAY_VOXELS = 4
"""Voxels of such a slice, at most: ends of large organs are small, too."""
_TIP = 0.5
"""Share of its voxels that lie over the nearest painted slice: so many may be the tip of the structure."""
_LEAST_TIP = 2
"""Voxels of such a tip: nobody paints a slice of one voxel."""
_CORRECTED = 0.3
"""Area over what two painted slices on either side have in common: below, a part was painted."""
_FEWER = 0.6
"""Slices of several planes over those of the usual plane that explain the same: above, that was painted."""
_FAR_FEWER = 0.25
"""The same, of slices of one other plane."""
_BLOCK = 4
"""Slices without a gap that were not painted one by one, where slices of the usual plane explain all, too."""
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


def annotated_planes(
    mask: np.ndarray, usual: int, spacing_mm: Sequence[float], only: bool = False
) -> AnnotatedPlanes:
    """The complete slices of a mask (k, j, i), bool, cropped or not, with at least one voxel.

    usual: the axis (0, 1, 2) across the slices where those of one plane explain all. spacing_mm: of the grid,
    (k, j, i). only: slices along `usual` are the only ones that were painted.
    """
    in_parts = annotated_in_parts(mask)
    stacks = [_stack(mask, axis, spacing_mm, in_parts) for axis in range(3)]
    single = _along_one_axis(mask, usual, stacks[usual])
    if only:
        return single
    filled = np.count_nonzero(stacks[usual].areas)
    most = filled - 1 if single.loose.any() else int(_FEWER * filled)
    several = _along_any_axis(mask, usual, most, stacks)
    # A block that was painted through can be cut along any axis.
    if several is None or (not single.loose.any() and _longest_run(several) >= _BLOCK):
        return single
    return several


def with_complete_slices(
    annotated: AnnotatedStructure, usual: int, spacing_mm: Sequence[float], only: bool = False
) -> AnnotatedStructure:
    """A structure with the slices that are complete; the rest as in `annotated_planes`."""
    offset = annotated.offset
    planes = [
        SlicePlane(one.axis, tuple(number + offset[one.axis] for number in one.slices))
        for one in annotated_planes(annotated.mask, usual, spacing_mm, only).planes
    ]
    return AnnotatedStructure.on_planes(annotated, planes)


@dataclass(frozen=True, eq=False)
class _Stack:
    """The slices along one axis, (n, rows, columns). areas: painted voxels of each. thickness: distance
    between slices, in radii of a disc of one voxel. in_parts: whether the structure is of many parts.
    """

    slices: np.ndarray
    areas: np.ndarray
    thickness: float
    in_parts: bool

    def is_plausible(self, number: int, accepted: Sequence[int], near: Sequence[int], run: int) -> bool:
        """Whether a slice can be complete, given larger ones that are.

        near: those from which the brush may have spilt; run: slices painted there without a gap.
        """
        if any(self.areas[number] < self._share(number, one, run) * self.areas[one] for one in near):
            return False
        if self.in_parts:
            return True
        below = max((one for one in accepted if one < number), default=None)
        above = min((one for one in accepted if one > number), default=None)
        around = [one for one in (below, above) if one is not None]
        if len(around) == 1:
            return self._may_end(number, around[0])
        return len(around) < 2 or bool(self.areas[number] >= _CORRECTED * self._in_common(*around))

    def in_one_run(self, number: int, accepted: Sequence[int]) -> list[int]:
        """The nearest of these slices on either side that no empty slice parts from a slice."""
        first, last = self.run(number)
        below = max((one for one in accepted if first <= one < number), default=None)
        above = min((one for one in accepted if number < one <= last), default=None)
        return [one for one in (below, above) if one is not None]

    def _may_end(self, number: int, other: int) -> bool:
        """Whether a slice beyond all painted ones, the nearest of which is `other`, is of the structure."""
        if self.areas[number] > _STRAY_VOXELS or self.areas[number] >= _STRAY * self.areas[other]:
            return True
        if self.areas[number] < _LEAST_TIP:
            return False
        on_other = self._in_common(number, other)
        return bool(on_other >= _TIP * self.areas[number] and self._radii(number, other) <= 1)

    def _in_common(self, one: int, other: int) -> int:
        """Voxels that two slices have in common."""
        return int(np.count_nonzero(self.slices[one] & self.slices[other]))

    def _radii(self, number: int, other: int) -> float:
        """Distance to a painted slice, in radii of what is painted there."""
        return abs(number - other) * self.thickness / float(self.areas[other]) ** 0.5

    def _share(self, number: int, other: int, run: int) -> float:
        """The area that a slice in a run has at least over that of a painted one beside it."""
        if self._radii(number, other) >= _THICK:
            return _ENDS
        return next((share for most, share in _SPILT if run <= most), _ENDS)

    def run(self, number: int) -> tuple[int, int]:
        """First and last of the filled slices without a gap around a slice."""
        empty = np.flatnonzero(self.areas == 0)
        first = empty[empty < number].max(initial=-1) + 1
        return int(first), int(empty[empty > number].min(initial=len(self.areas)) - 1)


def _stack(mask: np.ndarray, axis: int, spacing_mm: Sequence[float], in_parts: bool) -> _Stack:
    pixel_mm2 = float(np.prod(spacing_mm)) / spacing_mm[axis]
    thickness = spacing_mm[axis] / (pixel_mm2 / np.pi) ** 0.5
    return _Stack(np.moveaxis(mask, axis, 0), _areas(mask, axis), thickness, in_parts)


def _along_one_axis(mask: np.ndarray, axis: int, stack: _Stack) -> AnnotatedPlanes:
    accepted: list[int] = []
    for number in _largest_first(stack.areas):
        first, last = stack.run(number)
        if stack.is_plausible(number, accepted, stack.in_one_run(number, accepted), last - first + 1):
            accepted.append(number)
    loose = mask.copy()
    np.moveaxis(loose, axis, 0)[accepted] = False
    return AnnotatedPlanes((SlicePlane(axis, tuple(sorted(accepted))),), loose)


def _along_any_axis(
    mask: np.ndarray, usual: int, most: int, stacks: Sequence[_Stack]
) -> AnnotatedPlanes | None:
    """The reading by slices of any planes; None where that takes more than `most` of them."""
    reading = _Reading(mask, stacks)
    taken = 0
    while reading.left.any():
        if taken == most:
            return None
        reading.take(*reading.next_slice(usual))
        taken += 1
    found = reading.finished(usual)
    far_fewer = taken <= _FAR_FEWER * np.count_nonzero(stacks[usual].areas)
    return found if len(found.planes) > 1 or far_fewer else None


class _Reading:
    """Slices of a mask that were taken for painted so far.

    left: voxels that no slice explains yet; counts: of every slice, per axis. taken: numbers of slices, per
    axis; accepted: of those that are complete. largest: voxels of the first of them.
    """

    def __init__(self, mask: np.ndarray, stacks: Sequence[_Stack]) -> None:
        self.mask, self.left, self.stacks = mask, mask.copy(), stacks
        self.counts = [stack.areas.copy() for stack in stacks]
        self.taken: tuple[set[int], set[int], set[int]] = (set(), set(), set())
        self.accepted: tuple[list[int], list[int], list[int]] = ([], [], [])
        self.largest = 0

    def next_slice(self, usual: int) -> tuple[int, int]:
        """Axis and number of the slice that explains most of what is left."""
        axis = max(range(3), key=lambda one: (self.counts[one].max(), one == usual))
        return axis, int(self.counts[axis].argmax())

    def take(self, axis: int, number: int) -> None:
        """Take a slice for complete if it can be; its voxels are explained either way."""
        self.largest = max(self.largest, int(self.stacks[axis].areas[number]))
        if self._is_complete(axis, number):
            self.accepted[axis].append(number)
        self.taken[axis].add(number)
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
        return int(self.stacks[plane.axis].areas[list(plane.slices)].sum())

    def _is_complete(self, axis: int, number: int) -> bool:
        accepted = self.accepted[axis]
        # Slices of other planes fill those between: only what was taken makes a run.
        near = [
            one
            for one in accepted
            if abs(one - number) <= _TOUCHED
            and self.taken[axis].issuperset(range(min(one, number) + 1, max(one, number)))
        ]
        if not self.stacks[axis].is_plausible(number, accepted, near, len(near) + 1):
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


def _longest_run(reading: AnnotatedPlanes) -> int:
    """The most slices of one plane without a gap."""
    longest = 0
    for plane in reading.planes:
        breaks = np.flatnonzero(np.diff(plane.slices) > 1) + 1
        longest = max(longest, *(len(run) for run in np.split(np.array(plane.slices), breaks)))
    return longest


def _areas(mask: np.ndarray, axis: int) -> np.ndarray:
    """Voxels of every slice along an axis."""
    others = tuple(other for other in range(3) if other != axis)
    return np.count_nonzero(mask, axis=others)


def _largest_first(areas: np.ndarray) -> list[int]:
    filled = np.flatnonzero(areas)
    return [int(one) for one in filled[np.argsort(-areas[filled], kind="stable")]]
