"""A seed makes the episodes it always made: their figures, recorded before the code was taken apart."""

from __future__ import annotations

import numpy as np
import pytest

from MedMetaSegLib.network.prompt_channels import FOREGROUND
from MedMetaSegLib.training.anatomy import Anatomy
from MedMetaSegLib.training.episodes import episodes

pytestmark = pytest.mark.usefixtures("one_thread")

# Of each episode: annotated slices (0: expected at a place), voxels of the target, voxels annotated or
# surely inside, voxels that another patient's structure has (0: no other patient), slices held out.
Figures = tuple[int, int, int, int, int]

ANNOTATED_SCRIBBLED_AND_PLACED: list[Figures] = [
    (3, 4608, 864, 0, 0),
    (3, 4608, 864, 0, 0),
    (2, 3360, 542, 0, 0),
    (1, 320, 32, 0, 0),
    (0, 4601, 989, 5994, 0),
    (2, 3360, 480, 0, 0),
    (5, 4601, 26, 0, 0),
    (2, 3360, 44, 0, 0),
    (5, 4601, 2555, 0, 0),
    (3, 4601, 93, 0, 0),
]
THICK_SLICES_AND_AN_ABSENT_STRUCTURE: list[Figures] = [
    (5, 4608, 1476, 0, 0),
    (9, 4608, 2633, 0, 0),
    (0, 4601, 3886, 3755, 0),
    (0, 0, 843, 101, 0),
    (1, 3168, 288, 0, 0),
    (9, 4608, 2592, 0, 0),
    (5, 4608, 1428, 0, 0),
    (1, 4601, 697, 0, 0),
    (2, 4608, 675, 0, 0),
    (0, 4601, 3780, 3186, 0),
]
HELD_OUT: list[Figures] = [(4, 224, 128, 0, 4), (2, 224, 112, 0, 2), (3, 3360, 842, 0, 3)]


def blocks_and_balls(aspect: float, scattered: int) -> Anatomy:
    """A ball, two blocks and many small cubes (4), by whole numbers alone: the same on every machine."""
    k, j, i = np.indices((24, 56, 60))
    structures = np.zeros(k.shape, np.int16)
    structures[(3 * (k - 12)) ** 2 + (j - 18) ** 2 + (i - 20) ** 2 < 15**2] = 1
    structures[4:20, 34:50, 6:24] = 2
    structures[2:22, 20:32, 40:54] = 3
    structures[6:18:3, 38:52:4, 30:56:4] = structures[7:19:3, 38:52:4, 30:56:4] = 4
    levels = np.array([0.0, 1.0, -1.0, 0.5, 2.0], np.float32)
    noise = np.random.default_rng(0).normal(0, 0.1, structures.shape).astype(np.float32)
    return Anatomy(levels[structures] + noise, structures, aspect, scattered)


@pytest.mark.parametrize(
    ("seed", "anatomy", "expected", "drawn_next"),
    [
        (1, blocks_and_balls(1.0, 0), ANNOTATED_SCRIBBLED_AND_PLACED, 2395702355),
        (6, blocks_and_balls(3.0, 0), THICK_SLICES_AND_AN_ABSENT_STRUCTURE, 2880993989),
        (3, blocks_and_balls(1.0, 4), HELD_OUT, 881466843),
    ],
    ids=["annotated, scribbled and placed", "thick slices, an absent structure", "held out"],
)
def test_a_seed_makes_the_episodes_it_always_made(
    seed: int, anatomy: Anatomy, expected: list[Figures], drawn_next: int
) -> None:
    rng = np.random.default_rng(seed)
    made = list(episodes(rng, anatomy, len(expected), held_out=expected is HELD_OUT))
    assert int(rng.integers(2**32)) == drawn_next, "more or fewer random numbers were drawn"
    assert [(one.annotated_slices, one.target.sum(), len(one.held_out)) for one in made] == [
        (slices, target, held_out) for slices, target, _, _, held_out in expected
    ]
    # Where interpolated values are cut, a voxel may fall on the other side on another machine.
    known = [np.count_nonzero(one.prompt[FOREGROUND]) for one in made]
    assert known == pytest.approx([figures[2] for figures in expected], rel=0.02, abs=2)
    support = [0 if one.support is None else one.support[2].sum() for one in made]
    assert support == pytest.approx([figures[3] for figures in expected], rel=0.02, abs=2)
