"""Which slice views show a plane, and where they are after a jump; slice nodes are Slicer's own."""

from __future__ import annotations

import numpy as np
import pytest

import scene_phantom as fx
from slice_nodes import place_of


@pytest.mark.parametrize("turned_by", [0, 30])
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_views_of_a_plane_go_there_and_the_others_stay(scene, plane, turned_by, slice_view):
    from MedMetaSegLib.scene.slice_views import jumpTo, viewsOfPlane

    turn = fx.rotation(turned_by, (1, 1, 0))
    views = {one: slice_view(one, turn) for one in ("axial", "coronal", "sagittal")}
    found = viewsOfPlane(scene, plane)
    assert found == [views[plane]]
    jumpTo(found, (11.0, -22.0, 33.0))
    for one, node in views.items():
        assert np.allclose(place_of(node), (11.0, -22.0, 33.0) if one == plane else 0.0)


def test_a_view_that_the_layout_does_not_show_is_none(scene, slice_view):
    from MedMetaSegLib.scene.slice_views import viewsOfPlane

    slice_view("axial").SetMappedInLayout(0)
    assert viewsOfPlane(scene, "axial") == []
