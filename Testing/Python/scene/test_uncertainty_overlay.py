"""Where an answer is unsure, over the volume: real nodes, and views as Slicer draws them."""

from __future__ import annotations

import numpy as np
import pytest

import scene_phantom as fx
import scene_positions as at
from MedMetaSegLib.demo import views
from panel_bench import nodes
from scene_phantom import everyPlacement
from slice_nodes import shown_volumes


@pytest.fixture
def overlay(scene):
    from MedMetaSegLib.scene.uncertainty_overlay import UncertaintyOverlay

    one = UncertaintyOverlay()
    yield one
    one.remove()


def a_map():
    """No two voxels that are neighbours have the same value."""
    return np.random.default_rng(0).integers(1, 256, fx.SHAPE, np.uint8)


@everyPlacement
def test_the_map_lies_voxel_by_voxel_where_the_volume_does(scene, placement, overlay):
    import slicer.util

    volumeNode, _ = placement.build(scene)
    uncertainty = a_map()
    overlay.show(uncertainty, volumeNode)
    assert overlay.node.GetName() == f"{volumeNode.GetName()} (uncertainty)"
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(overlay.node), uncertainty)
    np.testing.assert_allclose(at.voxelsInWorld(overlay.node), at.voxelsInWorld(volumeNode), atol=1e-9)


def test_views_that_show_the_volume_show_the_map_and_are_as_before_in_the_end(scene, composite, overlay):
    volumeNode, other = fx.addVolume(scene), fx.addVolume(scene, name="MR")
    bare, fused = composite("Red", volumeNode), composite("Yellow", volumeNode)
    fused.SetForegroundVolumeID(other.GetID())
    fused.SetForegroundOpacity(0.3)
    under, elsewhere = composite("Green", other), composite("Blue", other)
    under.SetForegroundVolumeID(volumeNode.GetID())
    under.SetForegroundOpacity(0.7)
    composites = (bare, fused, under, elsewhere)
    before, nodes_before = [shown_volumes(one) for one in composites], nodes(scene)
    for _ in range(2):
        overlay.show(a_map(), volumeNode)
        mapId = overlay.node.GetID()
        for one, (background, *_) in zip(composites[:3], before, strict=False):
            assert shown_volumes(one) == (background, mapId, 0.5)
        assert shown_volumes(elsewhere) == before[3]
    added = nodes(scene) - nodes_before
    assert len(added) == 3, "the map, its display node and its colours"
    for one in map(scene.GetNodeByID, added):
        assert not one.GetSaveWithScene()
    assert overlay.node.GetHideFromEditors()
    overlay.remove()
    assert [shown_volumes(one) for one in composites] == before
    assert nodes(scene) == nodes_before


def test_what_the_user_chose_meanwhile_stays(scene, composite, overlay):
    volumeNode, other = fx.addVolume(scene), fx.addVolume(scene, name="MR")
    view = composite("Red", volumeNode)
    overlay.show(a_map(), volumeNode)
    view.SetForegroundVolumeID(other.GetID())
    view.SetForegroundOpacity(0.8)
    overlay.remove()
    assert shown_volumes(view) == (volumeNode.GetID(), other.GetID(), 0.8)


def test_a_foreground_that_left_the_scene_meanwhile_does_not_come_back(scene, composite, overlay):
    volumeNode, other = fx.addVolume(scene), fx.addVolume(scene, name="MR")
    view = composite("Red", volumeNode)
    view.SetForegroundVolumeID(other.GetID())
    overlay.show(a_map(), volumeNode)
    scene.RemoveNode(other)
    overlay.remove()
    assert shown_volumes(view) == (volumeNode.GetID(), None, 0.0)


@pytest.mark.parametrize("what", ["the volume", "the map", "other voxels"])
def test_the_map_goes_by_itself(scene, composite, overlay, what):
    import slicer.util

    volumeNode, other = fx.addVolume(scene), fx.addVolume(scene, name="MR")
    view = composite("Red", volumeNode)
    view.SetForegroundVolumeID(other.GetID())
    view.SetForegroundOpacity(0.3)
    before = nodes(scene)
    overlay.show(a_map(), volumeNode)
    if what == "other voxels":
        slicer.util.updateVolumeFromArray(volumeNode, fx.phantom() + 1)
    else:
        scene.RemoveNode(volumeNode if what == "the volume" else overlay.node)
    assert overlay.node is None
    assert shown_volumes(view)[1:] == (other.GetID(), 0.3)
    assert not nodes(scene) - before


def test_the_map_goes_with_the_scene(scene, composite, overlay):
    before = nodes(scene)
    overlay.show(a_map(), fx.addVolume(scene))
    scene.Clear(0)
    assert overlay.node is None
    assert not nodes(scene) - before


def test_a_map_of_another_grid_is_refused(scene, overlay):
    volumeNode = fx.addVolume(scene)
    before = nodes(scene)
    with pytest.raises(ValueError, match="has the shape"):
        overlay.show(np.zeros((3, 4, 5), np.uint8), volumeNode)
    assert nodes(scene) == before


def test_a_view_draws_yellow_to_red_and_nothing_where_it_is_nearly_sure(core, scene, overlay):
    try:
        views.require_rendering()
    except views.RenderingUnavailableError as error:
        pytest.skip(str(error))
    volumeNode = fx.addVolume(scene, voxels=np.zeros(fx.SHAPE, np.int16))
    quarters = np.zeros(fx.SHAPE, np.uint8)
    quarters[..., 8:16], quarters[..., 16:24], quarters[..., 24:] = 40, 60, 255
    with views.SliceView(core, "Axial", (160, 120)) as view:
        view.show(volumeNode)
        without = view.render().astype(int)
        overlay.show(np.full(fx.SHAPE, 255, np.uint8), volumeNode)
        undecided = view.render().astype(int) - without
        overlay.show(quarters, volumeNode)
        drawn = view.render().astype(int) - without
        overlay.remove()
        assert (view.render() == without).all()
    whole = np.any(undecided, axis=-1).sum()
    red, green, _ = np.moveaxis(drawn, -1, 0)
    reddish, yellowish = (red > 2 * green) & (red > 50), (green > 0.7 * red) & (green > 50)
    assert reddish.sum() / whole == pytest.approx(0.25, abs=0.04)
    assert yellowish.sum() / whole == pytest.approx(0.25, abs=0.04)
    assert np.any(drawn, axis=-1).sum() / whole == pytest.approx(0.5, abs=0.04)
