"""Policies of simulated painting: what they choose from an answer and the slices looked at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MedMetaSegLib.evaluation.slice_policies import POLICIES, View, at_random, suggested, widest_gap
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.working_grid.grid import WorkingGrid

SLICES = 40


def view(painted: tuple[int, ...], empty: tuple[int, ...] = (), first: int = 4, last: int = 33) -> View:
    """An answer on slices first to last of a volume of 40, on a working grid of half as many planes that
    begins four slices before the volume.
    """
    grid = WorkingGrid(Geometry((SLICES, 16, 16), np.eye(4)), (0, 1, 2), (-4, 0, 0), (2, 1, 1), (24, 16, 16))
    slices = grid.to_reference(np.arange(24), 0)
    logits = np.full((24, 16, 16), -9.0, np.float16)
    logits[(slices >= first) & (slices <= last), 4:12, 4:12] = 9
    mask = np.zeros((SLICES, 16, 16), bool)
    mask[max(first, 0) : last + 1, 4:12, 4:12] = True
    return View(grid, logits, mask, painted, empty, "a session")


def test_the_middle_of_the_widest_gap() -> None:
    assert widest_gap(view((4, 10, 24, 33))) == 17


def test_the_widest_gap_reaches_to_the_end_of_the_answer() -> None:
    assert widest_gap(view((20, 24), first=4, last=30)) == (3 + 20) // 2


def test_a_slice_known_to_be_empty_ends_the_structure() -> None:
    looked_at = view((20,), empty=(26,))
    assert looked_at.extent == (0, 25)
    assert looked_at.answered.tolist() == [*range(4, 20), *range(21, 26)]
    assert widest_gap(looked_at) == (3 + 20) // 2


@pytest.mark.parametrize("name", POLICIES)
def test_no_policy_looks_at_a_slice_twice_and_all_come_to_an_end(name: str) -> None:
    painted, empty = [18], []
    while (chosen := POLICIES[name](view(tuple(painted), tuple(empty)))) is not None:
        assert chosen not in painted + empty
        assert 4 <= chosen <= 33
        (painted if 9 <= chosen <= 28 else empty).append(chosen)
    assert len(painted) > 3


def test_chance_is_the_same_in_the_same_session() -> None:
    assert at_random(view((18,))) == at_random(view((18,)))
    sessions = [replace(view((18,)), session=f"session {n}") for n in range(20)]
    assert len({at_random(one) for one in sessions}) > 5


def test_the_suggestion_is_a_slice_of_the_volume() -> None:
    chosen = suggested(view((30, 34, 38), first=-4, last=39))
    assert chosen is not None
    assert 0 <= chosen < 30
    assert chosen % 2 == 0, "planes of the working grid lie on every other slice"


def test_the_suggestion_is_axial_whatever_the_drawing_axis_of_the_working_grid() -> None:
    along = view((10, 16, 30))
    grid = along.grid
    turned = WorkingGrid(grid.reference_grid, (1, 0, 2), (0, -4, 0), (1, 2, 1), (16, 24, 16))
    across = replace(along, grid=turned, logits=np.moveaxis(along.logits, 1, 0))
    assert suggested(across) == suggested(along)


def test_the_suggestion_stays_on_this_side_of_an_empty_slice() -> None:
    chosen = suggested(view((12,), empty=(16,)))
    assert chosen is not None
    assert 4 <= chosen < 12


@pytest.mark.parametrize("name", POLICIES)
def test_nothing_is_chosen_where_nothing_was_found(name: str) -> None:
    assert POLICIES[name](view((18,), first=1, last=0)) is None
