"""Writing segments: in the right place, with the right identity, and without a trace when something fails."""

from __future__ import annotations

import numpy as np
import pytest

import scene_phantom as fx
import scene_positions as at
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.support.structure import Structure
from scene_phantom import everyPlacement
from scene_stand_in import SegmentedByStandIn

CLOSED_SURFACE = "Closed surface"


def write(*args, **named):
    from MedMetaSegLib.scene import writeSegments

    return writeSegments(*args, **named)


def result(name="liver", value=fx.LIVER, segment_id="Segment_1"):
    """One structure of a result, cropped, its mask being where the phantom has the value."""
    inside = np.argwhere(fx.phantom() == value)
    low, high = inside.min(axis=0), inside.max(axis=0) + 1
    mask = fx.phantom()[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] == value
    structure = Structure(name, 1, (0.25, 0.5, 0.75), fx.TERMINOLOGY, segment_id)
    return SegmentedByStandIn(structure, tuple(int(v) for v in low), mask)


def both():
    return [result(), result("kidney", fx.KIDNEY, "Segment_2")]


class FailingStructure:
    """Stands in for a result that breaks while it is written."""

    structure = Structure("liver", 1, (1.0, 0.0, 0.0))
    offset = (0, 0, 0)

    @property
    def mask(self):
        raise MemoryError("no room")


def ids(node):
    return list(node.GetSegmentation().GetSegmentIDs())


def terminology(node, segment_id):
    import slicer
    import vtk

    tag = vtk.reference("")
    segment = node.GetSegmentation().GetSegment(segment_id)
    assert segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), tag)
    return tag.get()


def dice_in_world(node, segment_id, volumeNode, value):
    return at.dice(
        at.segmentAt(node, segment_id, at.voxelsInWorld(volumeNode)), fx.phantom().ravel() == value
    )


@everyPlacement
def test_a_new_node_lies_where_the_volume_lies(scene, placement):
    volumeNode, _ = placement.build(scene)
    node = write(both(), volumeNode)
    for segment_id, value in (("Segment_1", fx.LIVER), ("Segment_2", fx.KIDNEY)):
        assert dice_in_world(node, segment_id, volumeNode, value) >= 0.99


@everyPlacement
def test_segments_added_to_a_node_elsewhere_lie_where_the_volume_lies(scene, placement):
    volumeNode, paintedNode = placement.build(scene)
    write(both(), volumeNode, paintedNode)
    for segment_id, value in zip(ids(paintedNode)[2:], (fx.LIVER, fx.KIDNEY), strict=True):
        assert dice_in_world(paintedNode, segment_id, volumeNode, value) >= placement.leastDiceElsewhere


@everyPlacement
def test_painted_segments_in_the_output_node_keep_every_byte(scene, placement):
    volumeNode, paintedNode = placement.build(scene)
    before = fx.snapshot(paintedNode)
    write(both(), volumeNode, paintedNode)
    after = fx.snapshot(paintedNode)
    assert {one: after[one] for one in before} == before
    names = [paintedNode.GetSegmentation().GetSegment(one).GetName() for one in ids(paintedNode)]
    assert names == ["liver", "kidney", "liver 2", "kidney 2"]


def test_names_colours_terminology_and_ids_are_those_painted(scene):
    node = write(both(), fx.addVolume(scene))
    segment = node.GetSegmentation().GetSegment("Segment_1")
    assert segment.GetName() == "liver"
    assert segment.GetColor() == pytest.approx((0.25, 0.5, 0.75))
    assert terminology(node, "Segment_1") == fx.TERMINOLOGY


def test_two_structures_of_one_name_stay_two(scene):
    node = write([result("lesion"), result("lesion", fx.KIDNEY)], fx.addVolume(scene))
    assert len(ids(node)) == 2
    assert {node.GetSegmentation().GetSegment(one).GetName() for one in ids(node)} == {"lesion", "lesion 2"}


def test_structures_that_overlap_are_both_whole(scene):
    volumeNode = fx.addVolume(scene)
    mask = np.zeros(fx.SHAPE, bool)
    mask[4:12, 5:20, 5:20] = True
    lesion = SegmentedByStandIn(Structure("lesion", 2, (1.0, 0.0, 0.0)), (0, 0, 0), mask)
    node = write([result(), lesion], volumeNode)
    assert dice_in_world(node, "Segment_1", volumeNode, fx.LIVER) == 1.0
    lesion_id = next(one for one in ids(node) if one != "Segment_1")
    assert at.dice(at.segmentAt(node, lesion_id, at.voxelsInWorld(volumeNode)), mask.ravel()) == 1.0


def test_structures_that_do_not_overlap_share_a_labelmap(scene):
    node = write(both(), fx.addVolume(scene))
    assert node.GetSegmentation().GetNumberOfLayers() == 1


def test_a_structure_that_was_not_found_is_an_empty_segment(scene):
    volumeNode = fx.addVolume(scene)
    absent = SegmentedByStandIn(Structure("spleen", 1, (0.0, 1.0, 0.0)), (0, 0, 0), np.zeros((0, 0, 0), bool))
    node = write([absent, result()], volumeNode, withSurface=True)
    assert [node.GetSegmentation().GetSegment(one).GetName() for one in ids(node)] == ["spleen", "liver"]
    assert not at.segmentAt(node, ids(node)[0], at.voxelsInWorld(volumeNode)).any()
    assert dice_in_world(node, "Segment_1", volumeNode, fx.LIVER) == 1.0


def test_a_new_node_has_the_volumes_transform_grid_and_study(scene):
    import slicer

    volumeNode = fx.addVolume(scene, fx.OBLIQUE)
    volumeNode.SetAndObserveTransformNodeID(fx.linear(scene, fx.moved(1, 2, 3)).GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    hierarchy.CreateItem(study, volumeNode)
    node = write([result()], volumeNode)
    assert node.GetName() == "CT segmentation"
    assert node.GetTransformNodeID() == volumeNode.GetTransformNodeID()
    role = node.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is volumeNode
    parameter = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    assert node.GetSegmentation().GetConversionParameter(parameter)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    assert node.GetDisplayNode() is not None
    assert write([result()], volumeNode).GetName() != node.GetName()


def test_the_closed_surface_is_made_only_when_asked_for(scene):
    volumeNode = fx.addVolume(scene)
    assert not write([result()], volumeNode).GetSegmentation().ContainsRepresentation(CLOSED_SURFACE)
    node = write([result()], volumeNode, withSurface=True)
    surface = node.GetSegmentation().GetSegment("Segment_1").GetRepresentation(CLOSED_SURFACE)
    assert surface.GetNumberOfPoints() > 100


def test_a_failure_leaves_no_new_node(scene):
    import slicer

    volumeNode = fx.addVolume(scene)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    nodes, items = scene.GetNumberOfNodes(), hierarchy.GetNumberOfItems()
    with pytest.raises(MemoryError):
        write([result(), FailingStructure()], volumeNode)
    assert (scene.GetNumberOfNodes(), hierarchy.GetNumberOfItems()) == (nodes, items)


def test_a_failure_leaves_a_given_node_as_it_was(scene):
    volumeNode, paintedNode = fx.PLACEMENTS[0].build(scene)
    before, nodes = fx.snapshot(paintedNode), scene.GetNumberOfNodes()
    with pytest.raises(MemoryError):
        write([result(), FailingStructure()], volumeNode, paintedNode, withSurface=True)
    assert fx.snapshot(paintedNode) == before
    assert scene.GetNumberOfNodes() == nodes


def test_the_node_announces_one_change(scene):
    import vtk

    volumeNode, paintedNode = fx.PLACEMENTS[0].build(scene)
    changes = []
    paintedNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: changes.append(1))
    write(both(), volumeNode, paintedNode)
    assert len(changes) <= 1


def test_a_node_kept_as_surfaces_is_refused(scene):
    volumeNode, node = fx.PLACEMENTS[0].build(scene)
    node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().SetSourceRepresentationName(CLOSED_SURFACE)
    with pytest.raises(InputError, match="closed surface"):
        write([result()], volumeNode, node)
    assert len(ids(node)) == 2


def test_segments_survive_saving_and_loading_the_scene(core, scene, tmp_path):
    import slicer.util

    placement = next(one for one in fx.PLACEMENTS if one.name == "each under its own linear transform")
    volumeNode, _ = placement.build(scene)
    write(both(), volumeNode)
    bundle = str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(bundle)
    scene.Clear(0)
    assert scene.ReadFromMRB(bundle)
    loaded = slicer.util.getNode("CT segmentation")
    volumeNode = slicer.util.getNode("CT")
    for segment_id, value in (("Segment_1", fx.LIVER), ("Segment_2", fx.KIDNEY)):
        assert dice_in_world(loaded, segment_id, volumeNode, value) >= 0.99
    assert terminology(loaded, "Segment_1") == fx.TERMINOLOGY
    assert loaded.GetNodeReference(loaded.GetReferenceImageGeometryReferenceRole()) is volumeNode
