"""Which lesions of two times are the same: by overlap first, then by distance.

Lesions that overlap once they are placed upon one another belong together; the connected components of that
graph are the matches, so that lesions that merged or split come out as one group (after Di Veroli et al.,
"Graph-theoretic automatic lesion tracking", MICCAI 2023). What overlaps nothing is paired by the distance of
the centres, where the pairs that together cost least are taken and not the nearest first (Kuhn's assignment
problem). Nothing depends on the order in which lesions are given, but for ties.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

LEAST_OVERLAP = 0.3
"""Share of the smaller of two lesions that must lie in the other for them to overlap."""
REACH_MM = 4.0
"""Millimetres that the centres of two lesions that do not overlap may lie apart, whatever their size."""
REACH_RADII = 1.0
"""What is added to that, in radii of the smaller lesion, taken as a ball."""

FoundBy = Literal["overlap", "distance", ""]


@dataclass(frozen=True, eq=False)
class PlacedParts:
    """The connected parts of a structure at one time, as far as matching needs them.

    volumes_mm3: (N,); centres: (N, 3) mm, in the space of the earlier image for both times. lesions: (N,)
    bool, False for a part that is too small to be counted.
    """

    volumes_mm3: np.ndarray
    centres: np.ndarray
    lesions: np.ndarray

    @property
    def radii_mm(self) -> np.ndarray:
        """(N,): of balls of the same volumes."""
        return np.cbrt(3 * self.volumes_mm3 / (4 * np.pi))


@dataclass(frozen=True)
class Group:
    """Parts of both times that belong together, by their numbers from 0, ascending; found_by: "" for one
    alone."""

    before: tuple[int, ...]
    now: tuple[int, ...]
    found_by: FoundBy


def matched_groups(before: PlacedParts, now: PlacedParts, overlap_mm3: coo_array) -> list[Group]:
    """Every lesion of both times in one group; parts too small to be counted only beside a lesion.

    overlap_mm3: (N before, N now), how much of the two lies on one another. Lesions are matched with lesions
    where these overlap; else with a part that was too small, and only then by distance.
    """
    edges = _overlapping(before, now, overlap_mm3)
    groups = list(_components(edges, len(before.lesions), len(now.lesions)))
    taken = _taken(groups, before, now)
    groups += _nearest(before, now, ~taken[0], ~taken[1])
    taken = _taken(groups, before, now)
    groups += [Group((int(b),), (), "") for b in np.flatnonzero(before.lesions & ~taken[0])]
    groups += [Group((), (int(n),), "") for n in np.flatnonzero(now.lesions & ~taken[1])]
    return groups


def _overlapping(before: PlacedParts, now: PlacedParts, overlap_mm3: coo_array) -> np.ndarray:
    """(E, 2) pairs of parts that overlap, a lesion in each.

    A part too small to be counted overlaps one lesion at most, the one that holds most of it, and only one
    that overlaps no lesion.
    """
    b, n = overlap_mm3.row, overlap_mm3.col
    smaller = np.minimum(before.volumes_mm3[b], now.volumes_mm3[n])
    enough = overlap_mm3.data >= LEAST_OVERLAP * smaller
    b, n, volume = b[enough], n[enough], overlap_mm3.data[enough]
    both = before.lesions[b] & now.lesions[n]
    chosen = [np.stack([b[both], n[both]], 1)]
    lone = (before.lesions[b] & ~now.lesions[n] & ~np.isin(b, b[both])) | (
        ~before.lesions[b] & now.lesions[n] & ~np.isin(n, n[both])
    )
    used: set[tuple[str, int]] = set()
    for edge in sorted(np.flatnonzero(lone), key=lambda e: (-volume[e], b[e], n[e])):
        ends = {("before", int(b[edge])), ("now", int(n[edge]))}
        if not ends & used:
            used |= ends
            chosen.append(np.array([[b[edge], n[edge]]]))
    return np.concatenate(chosen)


def _components(edges: np.ndarray, n_before: int, n_now: int) -> Iterator[Group]:
    """The connected components of pairs (E, 2) with more than one part, in the order of their first."""
    nodes = n_before + n_now
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], n_before + edges[:, 1])), (nodes, nodes))
    count, component = connected_components(graph, directed=False)
    members: list[list[int]] = [[] for _ in range(count)]
    for node, number in enumerate(component):
        members[number].append(node)
    for one in members:
        if len(one) > 1:
            before = tuple(node for node in one if node < n_before)
            now = tuple(node - n_before for node in one if node >= n_before)
            yield Group(before, now, "overlap")


def _nearest(
    before: PlacedParts, now: PlacedParts, free_before: np.ndarray, free_now: np.ndarray
) -> Iterator[Group]:
    """Pairs of what is free (bool, of each part) within reach, a lesion in each, that cost least together.

    A pair costs its distance as a share of what is allowed, and a part that stays alone costs as much as the
    longest distance, so that as much as possible is paired, and as near as possible.
    """
    b, n, cost = _within_reach(before, now, np.flatnonzero(free_before), np.flatnonzero(free_now))
    for rows in _separate(b, n, len(before.lesions), len(now.lesions)):
        own_b, row = np.unique(b[rows], return_inverse=True)
        own_n, column = np.unique(n[rows], return_inverse=True)
        costs = np.ones((len(own_b), len(own_n)))
        costs[row, column] = cost[rows]
        for i, j in zip(*linear_sum_assignment(costs), strict=True):
            if costs[i, j] < 1:
                yield Group((int(own_b[i]),), (int(own_n[j]),), "distance")


def _within_reach(
    before: PlacedParts, now: PlacedParts, free_before: np.ndarray, free_now: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers (P,) of the parts of each pair within reach, and its distance over what is allowed, below 1."""
    if not len(free_before) or not len(free_now):
        return np.zeros(0, int), np.zeros(0, int), np.zeros(0)
    radii = before.radii_mm, now.radii_mm
    farthest = REACH_MM + REACH_RADII * min(radii[0][free_before].max(), radii[1][free_now].max())
    trees = cKDTree(before.centres[free_before]), cKDTree(now.centres[free_now])
    near = trees[0].sparse_distance_matrix(trees[1], farthest, output_type="ndarray")
    b, n = free_before[near["i"]], free_now[near["j"]]
    cost = near["v"] / (REACH_MM + REACH_RADII * np.minimum(radii[0][b], radii[1][n]))
    kept = (cost < 1) & (before.lesions[b] | now.lesions[n])
    order = np.lexsort((n[kept], b[kept]))
    return b[kept][order], n[kept][order], cost[kept][order]


def _separate(b: np.ndarray, n: np.ndarray, n_before: int, n_now: int) -> Iterator[np.ndarray]:
    """The rows of pairs (P,) that share no part with the others, component by component."""
    nodes = n_before + n_now
    graph = coo_array((np.ones(len(b)), (b, n_before + n)), (nodes, nodes))
    _, component = connected_components(graph, directed=False)
    for number in np.unique(component[b]):
        yield np.flatnonzero(component[b] == number)


def _taken(groups: list[Group], before: PlacedParts, now: PlacedParts) -> tuple[np.ndarray, np.ndarray]:
    """Bool of every part of each time: it is in a group."""
    taken = np.zeros(len(before.lesions), bool), np.zeros(len(now.lesions), bool)
    for one in groups:
        taken[0][list(one.before)] = True
        taken[1][list(one.now)] = True
    return taken
