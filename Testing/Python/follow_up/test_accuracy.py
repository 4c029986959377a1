"""Made lesions followed, by the true transform and by registration; a command makes the whole table."""

from __future__ import annotations

import numpy as np
import pytest

from MedMetaSegLib.evaluation.follow_up_accuracy import score, table
from MedMetaSegLib.evaluation.follow_up_cases import FollowUpCase
from MedMetaSegLib.imageio.geometry import LPS_RAS


@pytest.mark.parametrize("true_transform", [True, False])
def test_every_lesion_of_a_phantom_is_followed_rightly(follow_up_case: FollowUpCase, true_transform: bool):
    found = score(follow_up_case, true_transform)
    assert found.all == 14
    assert found.wrong == ()
    assert found.right == 14
    assert found.correlation > 0.7
    assert found.strain < 0.4
    assert found.error_mm[0] < (0.01 if true_transform else 3.0)


def test_the_made_images_differ_in_grid_and_are_not_on_one_another(follow_up_case: FollowUpCase):
    """Otherwise nothing would have been tested."""
    now, before = (one.volume.geometry for one in (follow_up_case.now, follow_up_case.before))
    assert np.abs(np.array(now.spacing_mm) - before.spacing_mm).max() > 0.2
    assert not now.is_parallel(before)
    index = np.argwhere(follow_up_case.now.owner > 0)[::50]
    places = now.index_to_world(index)
    moved = np.array(
        [follow_up_case.transform.TransformPoint(p) for p in (places @ LPS_RAS[:3, :3]).tolist()]
    )
    away = np.linalg.norm(moved @ LPS_RAS[:3, :3] - places, axis=1)
    assert away.min() > 3


def test_the_table_sums_what_each_transform_got_right(follow_up_case: FollowUpCase):
    found = score(follow_up_case, true_transform=True)
    lines = table([("phantom", 1, "true", found), ("phantom", 2, "true", found)]).splitlines()
    assert lines[-1].startswith("| all | | true | 28 | 28 |")
