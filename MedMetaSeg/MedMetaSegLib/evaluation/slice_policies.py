"""Who says which slice to paint next in a simulated session: our suggestion, and what it is compared with.

A policy sees what a user sees, the painted slices and the answer, and never the truth.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..confidence.next_slice import DEFAULT_WEIGHTS, ErrorWeights, next_slice
from ..support.structure import filled_slices
from ..working_grid.grid import OUTSIDE_LOGIT, WorkingGrid

SUGGESTED, WIDEST_GAP = "suggested", "widest gap"
"""Names of policies that others refer to."""
EQUAL_SPACING = "equal spacing"
"""Protocol A's slices anew for each number of slices: not a policy, but what policies are held to."""


@dataclass(frozen=True, eq=False)
class View:
    """What is known after some slices: the answer, and what was looked at.

    grid, logits: of the answer, (k, j, i) on the working grid, whose drawing axis is another one than 0 where
    more was painted across; mask: bool (k, j, i) on the volume. painted:
    slices of the volume that were painted; empty: those that were to be painted, but do not hold the
    structure. session: names the session, so that chance is the same whenever it is run.
    """

    grid: WorkingGrid
    logits: np.ndarray
    mask: np.ndarray
    painted: tuple[int, ...]
    empty: tuple[int, ...]
    session: str

    @property
    def extent(self) -> tuple[int, int]:
        """First and last slice of the volume that may hold the structure: up to empty ones at its ends."""
        first = max((one + 1 for one in self.empty if one < min(self.painted)), default=0)
        last = min((one - 1 for one in self.empty if one > max(self.painted)), default=len(self.mask) - 1)
        return first, last

    @property
    def answered(self) -> np.ndarray:
        """Slices of the answer within the extent that nobody has looked at."""
        first, last = self.extent
        filled = filled_slices(self.mask, 0)
        within = filled[(filled >= first) & (filled <= last)]
        return within[~np.isin(within, [*self.painted, *self.empty])]


Policy = Callable[[View], int | None]
"""Says which slice of the volume to paint next, None for no further one."""


def suggested(view: View, weights: ErrorWeights = DEFAULT_WEIGHTS) -> int | None:
    """What `next_slice` suggests, of the slices of the volume that may hold the structure."""
    axis = view.grid.order.index(0)
    slices = np.floor(view.grid.to_reference(np.arange(view.logits.shape[axis]), axis) + 0.5).astype(int)
    first, last = view.extent
    start, stop = np.searchsorted(slices, first), np.searchsorted(slices, last, side="right")
    logits = np.moveaxis(view.logits, axis, 0)[start:stop].copy()
    logits[np.isin(slices[start:stop], view.empty)] = OUTSIDE_LOGIT
    painted = view.grid.to_working(np.array(view.painted), axis) - start
    found = next_slice(logits, painted.tolist(), _aspect(view.grid, axis), weights)
    return None if found is None else int(slices[start + found.plane])


def _aspect(grid: WorkingGrid, axis: int) -> float:
    """Spacing along an axis of the working grid over that across it."""
    across = [spacing for other, spacing in enumerate(grid.spacing_mm) if other != axis]
    return grid.spacing_mm[axis] / float(np.sqrt(across[0] * across[1]))


def widest_gap(view: View) -> int | None:
    """The middle of the widest gap between slices looked at, and between them and the ends of the answer."""
    answered = view.answered
    if not answered.size:
        return None
    ends = (int(answered.min()) - 1, int(answered.max()) + 1)
    known = np.array(sorted({*ends, *view.painted, *view.empty}))
    widest = int(np.diff(known).argmax())
    return int((known[widest] + known[widest + 1]) // 2)


def at_random(view: View) -> int | None:
    """Any slice of the answer that nobody has looked at."""
    answered = view.answered
    if not answered.size:
        return None
    looked_at = len(view.painted) + len(view.empty)
    return int(np.random.default_rng([zlib.crc32(view.session.encode()), looked_at]).choice(answered))


POLICIES: Mapping[str, Policy] = {
    SUGGESTED: suggested,
    "uncertainty alone": partial(suggested, weights=ErrorWeights(distance=0.0)),
    "distance alone": partial(suggested, weights=ErrorWeights(uncertainty=0.0)),
    WIDEST_GAP: widest_gap,
    "random": at_random,
}
"""By the names they have in tables."""
