"""The scene's tests fail when something reports an error that they do not expect."""

from __future__ import annotations

import pytest

from error_log import ErrorLog
from slice_nodes import add_composite, add_slice_view


@pytest.fixture(autouse=True)
def error_log(core):
    """Errors of VTK, Python and logging during the test; it says `error_log.expect(pattern)` of its own."""
    with ErrorLog() as log:
        yield log
    assert log.unexpected() == []


@pytest.fixture
def slice_view(core):
    """Add a slice view to the layout: slice_view("axial"). They go after the test, which no closing does."""
    nodes = []

    def added(plane, turn=None):
        nodes.append(add_slice_view(core.scene, plane, turn))
        return nodes[-1]

    yield added
    for node in nodes:
        core.scene.RemoveNode(node)


@pytest.fixture
def composite(core):
    """Add what a slice view shows: composite("Red", volumeNode). They go after the test."""
    nodes = []

    def added(layoutName, background):
        nodes.append(add_composite(core.scene, layoutName))
        nodes[-1].SetBackgroundVolumeID(background.GetID())
        return nodes[-1]

    yield added
    for node in nodes:
        core.scene.RemoveNode(node)


@pytest.fixture
def measure_scene(core):
    from MedMetaSegLib.scene.measure import measureScene

    return measureScene
