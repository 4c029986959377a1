"""Results across presses: what takes the place of what. Results come from a stand-in segmenter."""

from __future__ import annotations

import numpy as np
import pytest

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


def edit(node, volumeNode, name, voxels=32):
    import slicer.util

    edited = np.zeros(fx.SHAPE, np.uint8)
    edited[3, 10, : voxels // 2] = edited[4, 10, : voxels // 2] = 1
    segmentId = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, node, segmentId, volumeNode)


def test_saving_the_scene_is_no_edit(scene, tmp_path):
    """Results that overlap lie in two layers, which saving collapses into new images."""
    volumeNode, results, node = written(scene)
    results.write([found("liver", fx.LIVER, grow=8)], volumeNode, node)
    assert scene.WriteToMRB(str(tmp_path / "s.mrb"))
    better = found("liver", fx.LIVER, grow=4)
    results.write([better], volumeNode, node)
    assert set(voxels(node)) == {"liver", "kidney"}
    assert voxels(node)["liver"] == better.mask.sum()


def test_correcting_one_result_leaves_the_others_untouched(scene):
    """They share a labelmap, whose time the correction changes for all."""
    volumeNode, results, node = written(scene)
    edit(node, volumeNode, "kidney")
    both = [found("liver", fx.LIVER, grow=4), found("kidney", fx.KIDNEY)]
    results.write(both, volumeNode, node)
    assert set(voxels(node)) == {"liver", "kidney", "kidney 2"}
    assert voxels(node)["kidney"] == 32


def test_a_result_that_a_saved_scene_brought_is_replaced_too(scene, tmp_path):
    from MedMetaSegLib.scene.results import ResultSegments

    volumeNode, _, node = written(scene)
    name = node.GetName(), volumeNode.GetName()
    assert scene.WriteToMRB(str(tmp_path / "s.mrb"))
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "s.mrb"), True)
    node, volumeNode = (scene.GetFirstNodeByName(one) for one in name)
    better = found("liver", fx.LIVER, grow=4)
    ResultSegments().write([better], volumeNode, node)
    assert set(voxels(node)) == {"liver", "kidney"}
    assert voxels(node)["liver"] == better.mask.sum()


def test_a_copy_that_the_user_made_of_a_result_stays(scene):
    import slicer

    volumeNode, results, node = written(scene)
    segmentation = node.GetSegmentation()
    copy = slicer.vtkSegment()
    copy.DeepCopy(segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName("liver")))
    copy.SetName("liver before")
    assert segmentation.AddSegment(copy, "copy")
    results.write([found("liver", fx.LIVER, grow=4)], volumeNode, node)
    assert set(voxels(node)) == {"kidney", "liver before", "liver"}


def test_every_answer_can_be_taken_back_in_turn(scene):
    volumeNode, results, node = written(scene)
    answers = [fx.snapshot(node)]
    for grow in (4, 6):
        results.write([found("liver", fx.LIVER, grow=grow)], volumeNode, node)
        answers.append(fx.snapshot(node))
    counts = [voxels(node)]
    assert results.canUndo(node)
    for _ in range(2):
        assert results.undo(node).node is node
        counts.append(voxels(node))
    first = {"liver": int((fx.phantom() == fx.LIVER).sum()), "kidney": int((fx.phantom() == fx.KIDNEY).sum())}
    assert counts[2].keys() == first.keys()
    assert counts[0]["liver"] > counts[1]["liver"] > counts[2]["liver"]
    # Ids, names, colours and terminology of the first answer, and its order.
    after = fx.snapshot(node)
    assert [(one, after[one][:3]) for one in after] == [(one, answers[0][one][:3]) for one in answers[0]]
    assert results.undo(node).node is None
    assert node.GetScene() is None
    assert not results.canUndo(node)
    with pytest.raises(ValueError, match="Nothing was written"):
        results.undo(node)


def test_an_answer_that_came_back_is_replaced_by_the_next(scene):
    volumeNode, results, node = written(scene)
    results.write([found("liver", fx.LIVER, grow=4)], volumeNode, node)
    results.undo(node)
    results.write([found("liver", fx.LIVER, grow=6)], volumeNode, node)
    assert set(voxels(node)) == {"liver", "kidney"}


def test_going_back_leaves_what_was_edited_and_what_is_not_the_answers(scene):
    volumeNode, results, node = written(scene)
    results.write([found("liver", fx.LIVER, grow=4), found("kidney", fx.KIDNEY)], volumeNode, node)
    node.GetSegmentation().AddEmptySegment("mine", "mine")
    edit(node, volumeNode, "liver")
    left = results.undo(node)
    assert left.kept == ("liver",)
    assert set(voxels(node)) == {"liver", "liver 2", "kidney", "mine"}
    assert voxels(node)["liver"] == 32
    assert left.node is results.undo(node).node
    assert set(voxels(node)) == {"liver", "mine"}


def test_what_is_kept_to_go_back_is_small(scene):
    volumeNode, results, node = written(scene)
    results.write([found("liver", fx.LIVER)], volumeNode, node)
    packed = [kept.packed for one in results._history for kept in one.replaced]
    assert 0 < sum(map(len, packed)) < found("liver", fx.LIVER).mask.sum() / 4


def test_nothing_can_be_taken_back_of_a_node_that_left_or_after_the_scene_closed(scene):
    volumeNode, results, node = written(scene)
    scene.RemoveNode(node)
    assert not results.canUndo(node)
    again = results.write([found("liver", fx.LIVER)], volumeNode)
    results.forget()
    assert not results.canUndo(again)
