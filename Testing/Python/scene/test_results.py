"""Results across presses: what takes the place of what. Results come from a stand-in segmenter."""

from __future__ import annotations

import numpy as np

import scene_phantom as fx
from MedMetaSegLib.support.structure import Structure
from scene_stand_in import SegmentedByStandIn


def found(name, value, grow=0):
    mask = fx.phantom() == value
    mask[: grow + 1] |= mask[grow]
    return SegmentedByStandIn(
        Structure(name, value, (1.0, 0.0, 0.0), segment_id=f"painted {name}"), (0, 0, 0), mask
    )


def written(scene):
    from MedMetaSegLib.scene.results import ResultSegments

    volumeNode, results = fx.addVolume(scene), ResultSegments()
    node = results.write([found("liver", fx.LIVER), found("kidney", fx.KIDNEY)], volumeNode)
    return volumeNode, results, node


def voxels(node):
    import slicer.util

    segmentation = node.GetSegmentation()
    return {
        segmentation.GetSegment(one).GetName(): int(
            np.count_nonzero(slicer.util.arrayFromSegmentBinaryLabelmap(node, one))
        )
        for one in segmentation.GetSegmentIDs()
    }


def test_a_new_answer_takes_the_place_of_the_old_one(scene):
    volumeNode, results, node = written(scene)
    first = voxels(node)
    for grow in (4, 6):
        better = found("liver", fx.LIVER, grow=grow)
        assert results.write([better], volumeNode, node) is node
        assert voxels(node) == {"kidney": first["kidney"], "liver": int(better.mask.sum())}


def test_a_name_the_user_gave_to_a_result_stays(scene):
    volumeNode, results, node = written(scene)
    segmentId = node.GetSegmentation().GetSegmentIdBySegmentName("liver")
    node.GetSegmentation().GetSegment(segmentId).SetName("hepar")
    results.write([found("liver", fx.LIVER, grow=4)], volumeNode, node)
    assert set(voxels(node)) == {"hepar", "kidney"}


def test_a_result_that_was_edited_stays_beside_the_new_one(scene):
    import slicer.util

    volumeNode, results, node = written(scene)
    results.write([found("liver", fx.LIVER)], volumeNode, node)
    segmentId = node.GetSegmentation().GetSegmentIdBySegmentName("liver")
    edited = np.zeros(fx.SHAPE, np.uint8)
    edited[3:5, 10:14, 10:14] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, node, segmentId, volumeNode)
    results.write([found("liver", fx.LIVER)], volumeNode, node)
    assert voxels(node)["liver"] == 32
    assert set(voxels(node)) == {"kidney", "liver", "liver 2"}


def test_painted_segments_in_the_same_node_are_never_replaced(scene):
    from MedMetaSegLib.scene.results import ResultSegments

    volumeNode, paintedNode = fx.PLACEMENTS[0].build(scene)
    before = fx.snapshot(paintedNode)
    results = ResultSegments()
    for grow in (0, 4):
        results.write([found("liver", fx.LIVER, grow=grow)], volumeNode, paintedNode)
    after = fx.snapshot(paintedNode)
    assert {one: after[one] for one in before} == before
    assert set(voxels(paintedNode)) == {"liver", "kidney", "liver 2"}
