"""Placing atlases on a query: the poses from which they are warped."""

from __future__ import annotations

import numpy as np

from MedMetaSegLib.next_patient.atlas_placement import _LOG_SCALE, _starts
from MedMetaSegLib.registration.pose import Pose
from task_phantom import make_task


def test_the_starts_of_warps_rotate_a_pose_and_change_its_size_by_the_drawn_scale_only():
    (atlas, _) = make_task().atlases
    pose = Pose(
        np.array([[1.1, 0.05, 0.0], [0.0, 0.9, 0.1], [0.02, 0.0, 1.2]]), np.array([4.0, -3.0, 9.0]), 0.5
    )
    first, *others = _starts(pose, atlas, 6)
    assert first is pose
    rng = np.random.default_rng(0)
    for one in others:
        rng.normal(size=3)  # the rotation
        scale = np.exp(_LOG_SCALE * rng.normal())
        rng.normal(size=3)  # the shift
        change = np.linalg.solve(pose.matrix, one.matrix)
        np.testing.assert_allclose(np.linalg.det(change), scale**3, rtol=1e-9)
        np.testing.assert_allclose(change @ change.T, scale**2 * np.eye(3), atol=1e-9)
        assert not np.allclose(change, scale * np.eye(3), atol=0.05)
