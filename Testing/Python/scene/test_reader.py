"""Reading MRML nodes: positions, identities and grids come along, and nothing in the scene changes."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import scene_phantom as fx
import scene_positions as at
from MedMetaSegLib.errors import InputError
from scene_phantom import everyPlacement


def reader():
    from MedMetaSegLib.scene import reader

    return reader


def painted_on(scene, matrix=fx.STRAIGHT):
    """A volume and an empty segmentation node."""
    volumeNode = fx.addVolume(scene, matrix)
    return volumeNode, scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Painted")


@everyPlacement
def test_painted_voxels_are_read_where_they_lie_in_the_volume(scene, placement):
    volumeNode, segmentationNode = placement.build(scene)
    volume = reader().readVolume(volumeNode)
    support = reader().readSupport(segmentationNode, volumeNode)
    assert [one.structure.name for one in support.structures] == ["liver", "kidney"]
    for one, value in zip(support.structures, (fx.LIVER, fx.KIDNEY), strict=True):
        points = support.geometry.index_to_world(np.argwhere(one.mask) + np.array(one.offset))
        index = np.rint(volume.geometry.world_to_index(points)).astype(int)
        hit = np.mean(volume.array[tuple(index.T)] == value)
        assert hit >= (0.95 if placement.bent else 0.99)
        if not placement.bent:
            segmentId = one.structure.segment_id
            assert one.voxels == at.storedMask(segmentationNode, segmentId)[0].sum()


@everyPlacement
def test_reading_leaves_the_painted_segmentation_as_it_was(scene, placement):
    volumeNode, segmentationNode = placement.build(scene)
    before, modified = fx.snapshot(segmentationNode), segmentationNode.GetSegmentation().GetMTime()
    nodes = scene.GetNumberOfNodes()
    reader().readSupport(segmentationNode, volumeNode)
    assert fx.snapshot(segmentationNode) == before
    assert segmentationNode.GetSegmentation().GetMTime() == modified
    assert scene.GetNumberOfNodes() == nodes


def test_the_volume_lies_in_the_world_under_its_linear_transform(scene):
    placement = next(one for one in fx.PLACEMENTS if one.name == "each under its own linear transform")
    volumeNode, _ = placement.build(scene)
    geometry = reader().readVolume(volumeNode).geometry
    points = geometry.index_to_world(np.argwhere(np.ones(fx.SHAPE, bool)))
    np.testing.assert_allclose(points, at.voxelsInWorld(volumeNode), atol=1e-6)


def test_voxels_are_not_copied_and_cannot_be_written_through(scene):
    import slicer.util

    volumeNode = fx.addVolume(scene)
    array = reader().readVolume(volumeNode).array
    assert np.shares_memory(array, slicer.util.arrayFromVolume(volumeNode))
    assert not array.flags.writeable


def test_voxels_stay_readable_after_the_volume_left_the_scene(scene):
    volumeNode = fx.addVolume(scene)
    volume = reader().readVolume(volumeNode)
    scene.RemoveNode(volumeNode)
    del volumeNode
    gc.collect()
    np.testing.assert_array_equal(volume.array, fx.phantom())


def test_modality_comes_from_the_subject_hierarchy(scene):
    import slicer

    volumeNode = fx.addVolume(scene)
    assert reader().readVolume(volumeNode).modality == ""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), volumeNode)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "CT")
    assert reader().readVolume(volumeNode).modality == "CT"


def test_names_colours_terminology_and_ids_come_along(scene):
    volumeNode, segmentationNode = fx.PLACEMENTS[0].build(scene)
    first = reader().readSupport(segmentationNode, volumeNode).structures[0].structure
    assert (first.name, first.segment_id, first.label) == ("liver", "Segment_1", 1)
    assert first.color == pytest.approx((0.8, 0.4, 0.3))
    assert first.terminology == fx.TERMINOLOGY


def test_overlapping_segments_are_both_read_whole(scene):
    volumeNode, node = painted_on(scene)
    mask = np.zeros(fx.SHAPE, bool)
    mask[[4, 9], 5:20, 5:20] = True
    other = np.zeros(fx.SHAPE, bool)
    other[[4, 9], 12:30, 12:30] = True
    fx.addSegment(node, "organ", mask, fx.STRAIGHT)
    fx.addSegment(node, "lesion", other, fx.STRAIGHT)
    support = reader().readSupport(node, volumeNode)
    assert support.overlapping
    assert [one.voxels for one in support.structures] == [mask.sum(), other.sum()]


def test_an_empty_segment_is_skipped_with_a_reason(scene):
    volumeNode, node = fx.PLACEMENTS[0].build(scene)
    node.GetSegmentation().AddEmptySegment("late", "spleen")
    fx.addSegment(node, "pancreas", None, fx.STRAIGHT)
    support = reader().readSupport(node, volumeNode)
    assert [one.structure.name for one in support.structures] == ["liver", "kidney"]
    assert [name for name, _ in support.skipped] == ["spleen", "pancreas"]


def test_a_segmentation_with_nothing_painted_is_refused(scene):
    volumeNode, node = painted_on(scene)
    with pytest.raises(InputError, match="no segments"):
        reader().readSupport(node, volumeNode)
    fx.addSegment(node, "liver", None, fx.STRAIGHT)
    with pytest.raises(InputError, match="paint"):
        reader().readSupport(node, volumeNode)


def test_only_the_chosen_segments_are_read(scene):
    volumeNode, node = fx.PLACEMENTS[0].build(scene)
    support = reader().readSupport(node, volumeNode, segmentIds=["Segment_2"])
    assert [one.structure.name for one in support.structures] == ["kidney"]
    with pytest.raises(InputError, match="Segment_7"):
        reader().readSupport(node, volumeNode, segmentIds=["Segment_7"])


def test_segments_this_module_made_are_not_taken_for_painted_ones(scene):
    volumeNode, node = fx.PLACEMENTS[0].build(scene)
    node.GetSegmentation().GetSegment("Segment_2").SetTag(reader().RESULT_TAG, "1")
    assert len(reader().readSupport(node, volumeNode).structures) == 1
    node.GetSegmentation().GetSegment("Segment_1").SetTag(reader().RESULT_TAG, "1")
    assert len(reader().readSupport(node, volumeNode).structures) == 2


@pytest.mark.parametrize(
    "matrix", [fx.STRAIGHT, fx.OBLIQUE, fx.LEFT_HANDED], ids=["straight", "oblique", "left"]
)
def test_slices_painted_on_a_finer_grid_are_not_lost(scene, matrix):
    volumeNode, node = painted_on(scene, matrix)
    finer = matrix @ fx.moved(0, 0, -0.4) @ np.diag([0.5, 0.5, 0.25, 1])
    seen = fx.lookedUp(node, volumeNode, (84, 72, 64), (0, 0, 0), finer)
    mask = np.zeros(seen.shape, bool)
    mask[[15, 34, 53]] = seen[[15, 34, 53]] == fx.LIVER
    fx.addSegment(node, "liver", mask, finer)
    volume, support = reader().readVolume(volumeNode), reader().readSupport(node, volumeNode)
    onVolume = support.on(volume.geometry).structures[0]
    assert len(onVolume.slices) == 3
    assert np.mean(volume.array[onVolume.region][onVolume.mask] == fx.LIVER) > 0.9


def test_the_supports_grid_covers_the_volume_however_small_the_labelmap(scene):
    volumeNode, node = painted_on(scene)
    fx.addSegment(node, "liver", np.ones((2, 6, 5), bool), fx.STRAIGHT, start=(7, 9, 3))
    support = reader().readSupport(node, volumeNode)
    assert support.geometry.same_grid(reader().readVolume(volumeNode).geometry)
    assert support.structures[0].offset == (7, 9, 3)


def test_a_labelmap_that_sticks_out_of_the_volume_is_read(scene):
    volumeNode, node = painted_on(scene)
    fx.addSegment(node, "liver", np.ones((1, 12, 12), bool), fx.STRAIGHT, start=(7, -4, -5))
    support = reader().readSupport(node, volumeNode)
    onVolume = support.on(reader().readVolume(volumeNode).geometry)
    assert onVolume.structures[0].voxels == 8 * 7


def test_segments_on_grids_of_their_own_meet_on_the_volumes_grid(scene):
    volumeNode, node = painted_on(scene)
    # The liver's thin slices lie between the centres of the volume's slices: plain sampling would miss them.
    finer = fx.STRAIGHT @ np.diag([0.5, 0.5, 0.25, 1])
    turned = fx.STRAIGHT @ fx.rotation(20, (0, 0, 1))
    for name, value, matrix, shape, start, drawn in (
        ("liver", fx.LIVER, finer, (84, 72, 64), (0, 0, 0), slice(13, None, 20)),
        ("kidney", fx.KIDNEY, turned, (20, 40, 40), (0, -10, 0), slice(4, None, 6)),
        ("empty", -1, fx.STRAIGHT, fx.SHAPE, (0, 0, 0), slice(None)),
    ):
        seen = fx.lookedUp(node, volumeNode, shape, start, matrix)
        mask = np.zeros(shape, bool)
        mask[drawn] = seen[drawn] == value
        fx.addSegment(node, name, mask, matrix, start)
    volume, support = reader().readVolume(volumeNode), reader().readSupport(node, volumeNode)
    assert support.geometry.same_grid(volume.geometry)
    liver, kidney = support.structures
    assert (liver.structure.name, liver.slices) == ("liver", (3, 8, 13))
    assert kidney.structure.name == "kidney"
    for one, value in ((liver, fx.LIVER), (kidney, fx.KIDNEY)):
        assert np.mean(volume.array[one.region][one.mask] == value) > 0.9
    assert [name for name, _ in support.skipped] == ["empty"]


def test_a_segmentation_moved_after_painting_is_read_where_it_is_now(scene):
    volumeNode, node = fx.PLACEMENTS[0].build(scene)
    before = reader().readSupport(node, volumeNode).structures[0]
    node.SetAndObserveTransformNodeID(
        fx.linear(scene, fx.moved(1.5, 0, 3) @ fx.rotation(12, (1, 1, 0))).GetID()
    )
    support = reader().readSupport(node, volumeNode)
    one = support.structures[0]
    assert one.voxels == before.voxels
    points = support.geometry.index_to_world(np.argwhere(one.mask) + np.array(one.offset))
    assert at.segmentAt(node, "Segment_1", points).all()


def test_a_closed_surface_is_read_and_the_node_keeps_no_labelmap(scene):
    volumeNode, node = painted_on(scene)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    fx.addSegment(node, "liver", fx.phantom() == fx.LIVER, fx.STRAIGHT)
    node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.RemoveBinaryLabelmapRepresentation()
    support = reader().readSupport(node, volumeNode, annotation="complete")
    names = []
    node.GetSegmentation().GetContainedRepresentationNames(names)
    assert names == ["Closed surface"]
    one = support.structures[0]
    found = np.zeros(fx.SHAPE, bool)
    found[one.region] = one.mask
    assert at.dice(found, fx.phantom() == fx.LIVER) > 0.9


@pytest.mark.parametrize("how", ["name", "tag"])
def test_a_background_segment_says_what_is_not(scene, how):
    volumeNode, node = fx.PLACEMENTS[0].build(scene)
    other = node.GetSegmentation().GetSegment("Segment_2")
    other.SetName("Background") if how == "name" else other.SetTag("background", "1")
    support = reader().readSupport(node, volumeNode, annotation="scribbles")
    assert support.background is not None
    assert support.background.structure.segment_id == "Segment_2"
    assert [one.structure.name for one in support.structures] == ["liver"]


def test_what_is_no_scalar_volume_is_refused(scene):
    import slicer.util

    with pytest.raises(InputError, match="scalar volume"):
        reader().readVolume(None)
    with pytest.raises(InputError, match="scalar volume"):
        reader().readVolume(scene.AddNewNodeByClass("vtkMRMLSegmentationNode"))
    with pytest.raises(InputError, match="no voxels"):
        reader().readVolume(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Bare"))
    colours = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Colours")
    slicer.util.updateVolumeFromArray(colours, np.zeros((4, 5, 6, 3), np.uint8))
    with pytest.raises(InputError, match="3 values"):
        reader().readVolume(colours)
