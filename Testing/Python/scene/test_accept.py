"""Results accepted into the painted segmentation, on real MRML and Slicer's own Segment Editor logic."""

from __future__ import annotations

from pathlib import Path

import pytest

import scene_phantom as fx
import scene_positions as at
from MedMetaSegLib.errors import InputError
from scene_phantom import everyPlacement
from scene_stand_in import StandInSegmenter


def segmented(volumeNode, paintedNode):
    """Whole structures, found by a stand-in segmenter."""
    from MedMetaSegLib.scene import SceneLogic

    return SceneLogic(load=lambda device: StandInSegmenter()).segment(volumeNode, paintedNode)


def prepared(scene, placement=fx.PLACEMENTS[0]):
    from MedMetaSegLib.scene.accept import Acceptance, resultsFor

    volumeNode, paintedNode = placement.build(scene)
    resultNode = segmented(volumeNode, paintedNode)
    ids = list(paintedNode.GetSegmentation().GetSegmentIDs())
    return Acceptance(), volumeNode, paintedNode, resultNode, resultsFor(resultNode, ids)


def dice(node, name, volumeNode, value):
    segmentId = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    found = at.segmentAt(node, segmentId, at.voxelsInWorld(volumeNode))
    return at.dice(found, fx.phantom().ravel() == value)


def content(node):
    """What a user would see change: everything but the times of the labelmaps."""
    return {
        one: (*segment[:5], None if segment[5] is None else (segment[5][0], *segment[5][2:]))
        for one, segment in fx.snapshot(node).items()
    }


def editorNode(scene, **settings):
    import slicer

    node = slicer.vtkMRMLSegmentEditorNode()
    node.SetSingletonTag("SegmentEditor")
    for name, value in settings.items():
        getattr(node, f"Set{name}")(value)
    return scene.AddNode(node)


@everyPlacement
def test_accepting_puts_the_whole_structures_where_they_are_and_undo_takes_them_back(
    scene,
    placement,
):
    acceptance, volumeNode, paintedNode, resultNode, pairs = prepared(scene, placement)
    before, result = content(paintedNode), fx.snapshot(resultNode)
    assert not acceptance.canUndo
    acceptance.accept(resultNode, paintedNode, volumeNode, pairs)
    assert dice(paintedNode, "liver", volumeNode, fx.LIVER) >= placement.leastDiceElsewhere
    assert dice(paintedNode, "kidney", volumeNode, fx.KIDNEY) >= placement.leastDiceElsewhere
    assert fx.snapshot(resultNode) == result
    acceptance.undo()
    assert content(paintedNode) == before
    assert not acceptance.canUndo


def test_only_the_chosen_result_is_accepted(scene):
    acceptance, volumeNode, paintedNode, resultNode, pairs = prepared(scene)
    kidney = content(paintedNode)["Segment_2"]
    acceptance.accept(resultNode, paintedNode, volumeNode, pairs[:1])
    assert dice(paintedNode, "liver", volumeNode, fx.LIVER) == 1
    assert content(paintedNode)["Segment_2"][0] == kidney[0]
    assert dice(paintedNode, "kidney", volumeNode, fx.KIDNEY) < 0.7


def test_the_editable_area_of_the_segment_editor_is_respected(scene):
    import slicer

    acceptance, volumeNode, paintedNode, resultNode, pairs = prepared(scene)
    inside = slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment
    editorNode(scene, MaskMode=inside, MaskSegmentID="Segment_2")
    before = dice(paintedNode, "liver", volumeNode, fx.LIVER)
    acceptance.accept(resultNode, paintedNode, volumeNode, pairs[:1])
    assert dice(paintedNode, "liver", volumeNode, fx.LIVER) == before


def test_the_intensity_range_of_the_segment_editor_is_respected(scene):
    acceptance, volumeNode, paintedNode, resultNode, pairs = prepared(scene)
    node = editorNode(scene, SourceVolumeIntensityMask=True)
    node.SetSourceVolumeIntensityMaskRange(fx.KIDNEY - 1, fx.KIDNEY + 1)
    before = dice(paintedNode, "liver", volumeNode, fx.LIVER)
    acceptance.accept(resultNode, paintedNode, volumeNode, pairs)
    assert dice(paintedNode, "liver", volumeNode, fx.LIVER) == before
    assert dice(paintedNode, "kidney", volumeNode, fx.KIDNEY) == 1


@pytest.mark.parametrize(("mode", "kept"), [("OverwriteNone", True), ("OverwriteAllSegments", False)])
def test_the_overwrite_setting_of_the_segment_editor_is_respected(scene, mode, kept):
    import slicer

    acceptance, volumeNode, paintedNode, resultNode, pairs = prepared(scene)
    editorNode(scene, OverwriteMode=getattr(slicer.vtkMRMLSegmentEditorNode, mode))
    before = dice(paintedNode, "kidney", volumeNode, fx.KIDNEY)
    # The liver's result over the painted kidney: their places are told apart by the setting alone.
    liver, kidney = pairs[0][0], pairs[1][1]
    segmentation = paintedNode.GetSegmentation()
    other = segmentation.AddEmptySegment("", "other")
    acceptance.accept(resultNode, paintedNode, volumeNode, [(pairs[1][0], other)])
    assert dice(paintedNode, "other", volumeNode, fx.KIDNEY) == 1
    now = dice(paintedNode, "kidney", volumeNode, fx.KIDNEY)
    assert (now == before) is kept
    assert liver != kidney


def test_a_stand_in_of_the_open_editor_gets_the_step_and_the_undo(scene):
    from MedMetaSegLib.scene.accept import Acceptance

    calls = []

    class StandInEditor:
        def saveStateForUndo(self):
            calls.append("saved")

        def undo(self):
            calls.append("undone")

    _, volumeNode, paintedNode, resultNode, pairs = prepared(scene)
    acceptance = Acceptance(lambda node: StandInEditor() if node is paintedNode else None)
    acceptance.accept(resultNode, paintedNode, volumeNode, pairs)
    acceptance.undo()
    assert calls == ["saved", "undone"]


def test_what_cannot_be_accepted_is_one_sentence_and_changes_nothing(scene):
    acceptance, volumeNode, paintedNode, resultNode, pairs = prepared(scene)
    before = content(paintedNode)
    with pytest.raises(InputError, match="press Segment first"):
        acceptance.accept(resultNode, paintedNode, volumeNode, [])
    empty = resultNode.GetSegmentation().AddEmptySegment("", "nothing")
    with pytest.raises(InputError, match="'nothing' is empty"):
        acceptance.accept(resultNode, paintedNode, volumeNode, [*pairs, (empty, pairs[0][1])])
    assert content(paintedNode) == before
    assert not acceptance.canUndo


def test_nothing_is_left_in_the_scene_or_kept_alive_when_it_forgets(scene):
    acceptance, volumeNode, paintedNode, resultNode, pairs = prepared(scene)
    before = scene.GetNumberOfNodes()
    acceptance.accept(resultNode, paintedNode, volumeNode, pairs)
    acceptance.forget()
    assert scene.GetNumberOfNodes() == before
    assert not acceptance.canUndo


def test_results_are_found_again_after_the_scene_was_saved(scene, tmp_path: Path):
    from MedMetaSegLib.scene.accept import resultsFor

    _, _, _, resultNode, pairs = prepared(scene)
    name = resultNode.GetName()
    assert scene.WriteToMRB(str(tmp_path / "s.mrb"))
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "s.mrb"), True)
    again = scene.GetFirstNodeByName(name)
    assert resultsFor(again, [painted for _, painted in pairs]) == pairs
