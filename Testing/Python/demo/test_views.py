"""Off-screen views: Slicer's displayable managers draw the scene, and leave it as it was."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import scene_phantom as fx
from MedMetaSegLib.demo import views


@pytest.fixture
def drawing():
    try:
        views.require_rendering()
    except views.RenderingUnavailableError as error:
        pytest.skip(str(error))


def test_a_slice_view_draws_the_volume_and_the_segment_over_it(core, scene, drawing):
    volumeNode = fx.addVolume(scene)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    fx.addSegment(node, "liver", fx.phantom() == fx.LIVER, fx.STRAIGHT, color=(1.0, 0.0, 0.0))
    nodes = scene.GetNumberOfNodes()
    with views.SliceView(core, "Axial", (160, 120)) as view:
        view.show(volumeNode, offset_mm=-3.0)
        with_segment = view.render()
        node.GetDisplayNode().SetVisibility(False)
        without = view.render()
    assert with_segment.shape == (120, 160, 3)
    assert with_segment.dtype == np.uint8
    assert np.ptp(without) > 50
    changed = np.any(with_segment != without, axis=-1)
    assert changed.sum() > 100
    red, green, blue = with_segment[changed].astype(int).mean(axis=0)
    assert red > green + 30
    assert red > blue + 30
    assert scene.GetNumberOfNodes() == nodes


def test_a_3d_view_draws_closed_surfaces(core, scene, drawing):
    fx.addVolume(scene)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    fx.addSegment(node, "liver", fx.phantom() == fx.LIVER, fx.STRAIGHT, color=(1.0, 0.0, 0.0))
    node.CreateClosedSurfaceRepresentation()
    nodes = scene.GetNumberOfNodes()
    with views.ThreeDView(core, (120, 120)) as view:
        view.show(azimuth_degrees=30, elevation_degrees=15)
        middle = view.render()[50:70, 50:70].astype(int)
    assert (middle[..., 0] > middle[..., 2] + 50).mean() > 0.9
    assert scene.GetNumberOfNodes() == nodes


def test_a_missing_driver_is_reported_with_the_packages_that_bring_it(monkeypatch):
    views.require_rendering.cache_clear()
    monkeypatch.setattr(sys, "executable", "false")  # every try to draw fails
    with pytest.raises(views.RenderingUnavailableError, match="libegl1 libgl1-mesa-dri"):
        views.require_rendering()
