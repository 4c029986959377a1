"""Regions of the scene: which voxels of a volume lie in a segment or in the box of an ROI."""

from __future__ import annotations

import numpy as np
import pytest

import scene_phantom as fx
import scene_positions as at
from MedMetaSegLib.errors import InputError
from scene_phantom import PLACEMENTS
from scene_stand_in import StandInSegmenter
from task_phantom import make_task

BY_NAME = {one.name: one for one in PLACEMENTS}
TURNED = fx.moved(6, 40, -3) @ fx.rotation(33, (2, -1, 1))


@pytest.fixture
def read():
    from MedMetaSegLib.scene.region import readRegion

    return readRegion


def whole(region, volumeNode):
    shape = volumeNode.GetImageData().GetDimensions()[::-1]
    return region.on_block([slice(0, size) for size in shape]).ravel()


def addROI(scene, size=(22.0, 31.0, 17.0), objectToNode=TURNED):
    import slicer.util

    node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
    node.SetCenter(0, 0, 0)
    node.SetSize(*size)
    node.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(objectToNode))
    return node


def inBox(node, points):
    """(N,) bool: which points of the world lie in the box, by the node's transforms and matrix."""
    import slicer.util

    objectToNode = slicer.util.arrayFromVTKMatrix(node.GetObjectToNodeMatrix())
    own = at.fromWorld(points, node)
    inObject = np.linalg.solve(objectToNode, np.c_[own, np.ones(len(own))].T)[:3].T
    return (np.abs(inObject) <= np.array(node.GetSize()) / 2).all(1)


@pytest.mark.parametrize(
    "name", ["oblique", "stored sagittal", "left-handed", "each under its own linear transform"]
)
@pytest.mark.parametrize("transform", [None, fx.moved(2, -3, 4) @ fx.rotation(20, (1, 1, 0))])
def test_an_roi_holds_the_voxels_whose_centres_lie_in_its_box(scene, read, name, transform):
    volumeNode, _ = BY_NAME[name].build(scene)
    node = addROI(scene)
    points = at.voxelsInWorld(volumeNode)
    # In the middle of the volume, wherever that is.
    middle = at.fromWorld(points.mean(0)[None], node)[0]
    node.SetCenter(*middle)
    if transform is not None:
        node.SetAndObserveTransformNodeID(fx.linear(scene, transform).GetID())
    found = whole(read(node, volumeNode), volumeNode)
    expected = inBox(node, points)
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(found, expected)


def test_slicer_itself_finds_the_same_points_in_the_box(scene, read):
    volumeNode, _ = BY_NAME["oblique"].build(scene)
    points = at.voxelsInWorld(volumeNode)
    node = addROI(scene)
    node.SetCenter(*points.mean(0))
    found = whole(read(node, volumeNode), volumeNode)
    some = slice(None, None, 7)
    np.testing.assert_array_equal(found[some], [node.IsPointInROIWorld(one) for one in points[some]])


def test_a_voxel_on_the_face_of_a_box_is_inside(scene, read):
    volumeNode = fx.addVolume(scene, np.eye(4))
    node = addROI(scene, (4.0, 6.0, 2.0), fx.moved(10, 20, 8))
    region = read(node, volumeNode)
    expected = np.zeros(fx.SHAPE, bool)
    expected[7:10, 17:24, 8:13] = True
    np.testing.assert_array_equal(whole(region, volumeNode), expected.ravel())
    assert region.source == "Box"


@pytest.mark.parametrize("name", [one.name for one in PLACEMENTS if not one.bent])
def test_a_segment_is_found_where_it_is(scene, read, name):
    volumeNode, paintedNode = BY_NAME[name].build(scene)
    points, segmentation = at.voxelsInWorld(volumeNode), paintedNode.GetSegmentation()
    liver, kidney = segmentation.GetSegmentIDs()
    before = fx.snapshot(paintedNode)
    region = read(paintedNode, volumeNode, liver)
    assert at.dice(whole(region, volumeNode), at.segmentAt(paintedNode, liver, points)) > 0.99
    both = read(paintedNode, volumeNode)
    expected = at.segmentAt(paintedNode, liver, points) | at.segmentAt(paintedNode, kidney, points)
    assert at.dice(whole(both, volumeNode), expected) > 0.99
    assert (region.source, region.notes) == ("Painted: liver", ())
    assert (both.source, both.notes) == ("Painted", ("The region is its 2 structures together.",))
    assert fx.snapshot(paintedNode) == before


def test_what_is_no_region_of_the_volume_is_refused(scene, read):
    volumeNode, paintedNode = PLACEMENTS[0].build(scene)
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty")
    notPlaced = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Not placed")
    away = addROI(scene, objectToNode=fx.moved(0, 0, 900))
    insideOut = addROI(scene)
    insideOut.InsideOutOn()
    bent = addROI(scene)
    bent.SetAndObserveTransformNodeID(fx.thinPlate(scene).GetID())
    for node, says in (
        (volumeNode, "Choose a segmentation or an ROI"),
        (None, "Choose a segmentation or an ROI"),
        (empty, "'Empty' has no segments"),
        (notPlaced, "'Not placed' has no box yet"),
        (away, "holds no voxel of the volume"),
        (insideOut, "is inside out"),
        (bent, "transform that is not linear"),
    ):
        with pytest.raises(InputError, match=says):
            read(node, volumeNode)
    with pytest.raises(InputError, match="no longer in 'Painted'"):
        read(paintedNode, volumeNode, "Segment_9")
    paintedNode.SetAndObserveTransformNodeID(fx.linear(scene, fx.moved(0, 0, 900)).GetID())
    with pytest.raises(InputError, match="outside the image"):
        read(paintedNode, volumeNode)


def test_a_script_names_an_roi_a_segmentation_or_a_segment(scene, read):
    from MedMetaSegLib.scene import SceneLogic

    volumeNode, paintedNode = PLACEMENTS[0].build(scene)
    liver = paintedNode.GetSegmentation().GetSegmentIDs()[0]
    roi = addROI(scene, objectToNode=fx.moved(0, 30, 0))
    standIn = StandInSegmenter()
    logic = SceneLogic(load=lambda device: standIn)
    for within, same in (
        (roi, read(roi, volumeNode)),
        (paintedNode, read(paintedNode, volumeNode)),
        ((paintedNode, "liver"), read(paintedNode, volumeNode, liver)),
    ):
        logic.segment(volumeNode, paintedNode, within=within)
        assert standIn.options[-1]["within"].digest == same.digest
    logic.segment(volumeNode, paintedNode)
    assert standIn.options[-1]["within"] is None
    with pytest.raises(InputError, match="no segment called 'lung'; it has liver, kidney"):
        logic.segment(volumeNode, paintedNode, within=(paintedNode, "lung"))
    paintedNode.GetSegmentation().GetNthSegment(1).SetName("liver")
    with pytest.raises(InputError, match="2 segments called 'liver'"):
        logic.segment(volumeNode, paintedNode, within=(paintedNode, "liver"))


def test_a_task_is_applied_within_a_region_too(scene, read, tmp_path):
    from MedMetaSegLib.scene import SceneLogic

    volumeNode, _ = PLACEMENTS[0].build(scene)
    roi, standIn = addROI(scene, objectToNode=fx.moved(0, 30, 0)), StandInSegmenter()
    make_task().write(tmp_path / "t.medmetaseg")
    SceneLogic(load=lambda device: standIn).apply(tmp_path / "t.medmetaseg", volumeNode, within=roi)
    assert standIn.options[-1]["within"].digest == read(roi, volumeNode).digest
