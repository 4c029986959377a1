"""Lesions of two times matched: by overlap, then by distance, as good as any other assignment."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.sparse import coo_array

from MedMetaSegLib.follow_up.matching import (
    LEAST_OVERLAP,
    REACH_MM,
    REACH_RADII,
    Group,
    PlacedParts,
    matched_groups,
)


def parts(*centres: tuple[float, float, float], volume: float = 100.0, small: int = 0) -> PlacedParts:
    """Parts of one volume; the last `small` of them, of a tenth of it, are too small to be counted."""
    lesions = np.arange(len(centres)) < len(centres) - small
    return PlacedParts(
        np.where(lesions, volume, volume / 10), np.array(centres, float).reshape(-1, 3), lesions
    )


def overlap(shape: tuple[int, int], **cells: float) -> coo_array:
    """A sparse table; `b0n1=5` is 5 mm3 of part 0 before and part 1 now."""
    full = np.zeros(shape)
    for name, value in cells.items():
        before, now = name[1:].split("n")
        full[int(before), int(now)] = value
    return coo_array(full)


def far(number: int) -> list[tuple[float, float, float]]:
    return [(100.0 * n, 0, 0) for n in range(number)]


def reach(volume: float) -> float:
    return REACH_MM + REACH_RADII * float(np.cbrt(3 * volume / (4 * np.pi)))


def groups(before: PlacedParts, now: PlacedParts, table: coo_array | None = None) -> set[Group]:
    shape = len(before.lesions), len(now.lesions)
    found = matched_groups(before, now, coo_array(shape) if table is None else table)
    assert sorted(n for one in found for n in one.now if now.lesions[n]) == list(np.flatnonzero(now.lesions))
    assert sorted(n for one in found for n in one.before if before.lesions[n]) == list(
        np.flatnonzero(before.lesions)
    )
    return set(found)


def test_lesions_that_overlap_are_the_same_however_far_their_centres_lie():
    found = groups(parts((0, 0, 0)), parts((50, 0, 0)), overlap((1, 1), b0n0=100 * LEAST_OVERLAP))
    assert found == {Group((0,), (0,), "overlap")}


def test_less_overlap_than_the_least_is_none():
    found = groups(parts((0, 0, 0)), parts((50, 0, 0)), overlap((1, 1), b0n0=99 * LEAST_OVERLAP))
    assert found == {Group((0,), (), ""), Group((), (0,), "")}


def test_the_share_is_that_of_the_smaller_lesion():
    table = overlap((1, 1), b0n0=100 * LEAST_OVERLAP)
    assert groups(parts((0, 0, 0), volume=1e5), parts((50, 0, 0)), table) == {Group((0,), (0,), "overlap")}


def test_several_before_and_one_now_are_one_group_and_the_other_way_round():
    two, one = parts(*far(2)), parts((50, 0, 0))
    assert groups(two, one, overlap((2, 1), b0n0=90, b1n0=90)) == {Group((0, 1), (0,), "overlap")}
    assert groups(one, two, overlap((1, 2), b0n0=90, b0n1=90)) == {Group((0,), (0, 1), "overlap")}


def test_what_does_not_overlap_is_matched_within_reach_only():
    near, beyond = reach(100) - 0.01, reach(100) + 0.01
    assert groups(parts((0, 0, 0)), parts((near, 0, 0))) == {Group((0,), (0,), "distance")}
    assert groups(parts((0, 0, 0)), parts((beyond, 0, 0))) == {Group((0,), (), ""), Group((), (0,), "")}


def test_the_pairs_that_are_best_together_are_taken_and_not_the_nearest_first():
    """The nearest pair, of before 1 and now 0, would leave the two others alone."""
    before, now = parts((0, 0, 0), (6, 0, 0)), parts((4, 0, 0), (10, 0, 0))
    assert reach(100) < 10
    assert groups(before, now) == {Group((0,), (0,), "distance"), Group((1,), (1,), "distance")}


@pytest.mark.parametrize("seed", range(5))
def test_no_other_assignment_costs_less(seed: int):
    """Against every assignment there is, with 1 for a lesion that stays alone."""
    rng = np.random.default_rng(seed)
    before, now = (parts(*map(tuple, rng.uniform(0, 14, (5, 3)))) for _ in range(2))
    distances = np.linalg.norm(before.centres[:, None] - now.centres, axis=-1) / reach(100)
    best = min(sum(min(distances[b, n], 1) for b, n in enumerate(order)) for order in permutations(range(5)))
    pairs = [(one.before[0], one.now[0]) for one in groups(before, now) if one.found_by]
    cost = sum(distances[b, n] for b, n in pairs) + 5 - len(pairs)
    assert pairs
    assert cost == pytest.approx(best)


def test_a_part_too_small_before_explains_a_lesion_that_overlaps_it_before_distance_does():
    """A lesion that went lies nearer than nothing, but the small part lies within."""
    before = parts((4, 0, 0), (0, 0, 0), small=1)
    found = groups(before, parts((0, 0, 0)), overlap((2, 1), b1n0=10))
    assert found == {Group((1,), (0,), "overlap"), Group((0,), (), "")}


def test_a_part_too_small_does_not_join_lesions():
    """It overlaps two; they stay two, and it is told with neither, for both have lesions of their own."""
    before = parts((0, 0, 0), (20, 0, 0), (10, 0, 0), small=1)
    table = overlap((3, 2), b0n0=90, b1n1=90, b2n0=5, b2n1=5)
    found = groups(before, parts((0, 0, 0), (20, 0, 0)), table)
    assert found == {Group((0,), (0,), "overlap"), Group((1,), (1,), "overlap")}


def test_two_parts_too_small_are_nothing():
    assert groups(parts((0, 0, 0), small=1), parts((0, 0, 0), small=1), overlap((1, 1), b0n0=10)) == set()


def test_no_lesion_at_one_time_or_at_both():
    nothing = parts()
    assert groups(nothing, parts(*far(2))) == {Group((), (0,), ""), Group((), (1,), "")}
    assert groups(parts(*far(2)), nothing) == {Group((0,), (), ""), Group((1,), (), "")}
    assert groups(nothing, nothing) == set()


def test_the_order_in_which_lesions_are_given_has_no_say():
    rng = np.random.default_rng(3)
    centres = rng.uniform(0, 40, (12, 3)), rng.uniform(0, 40, (12, 3))
    table = np.where(rng.random((12, 12)) < 0.06, 60.0, 0.0)
    order = rng.permutation(12), rng.permutation(12)

    def named(orders: tuple[np.ndarray, np.ndarray]) -> set[tuple[frozenset[int], frozenset[int], str]]:
        before, now = (parts(*map(tuple, one[o])) for one, o in zip(centres, orders, strict=True))
        found = groups(before, now, coo_array(table[np.ix_(*orders)]))
        return {
            (frozenset(orders[0][list(g.before)]), frozenset(orders[1][list(g.now)]), g.found_by)
            for g in found
        }

    assert named((np.arange(12), np.arange(12))) == named(order)


def test_thousands_are_matched_piece_by_piece():
    """One table of costs for all of them would have 25 million cells."""
    index = np.stack(np.meshgrid(*[np.arange(17)] * 3), -1).reshape(-1, 3) * 30.0
    found = groups(parts(*map(tuple, index)), parts(*map(tuple, index + 3.0)))
    assert found == {Group((n,), (n,), "distance") for n in range(len(index))}
