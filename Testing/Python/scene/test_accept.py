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


def voxels(node, volumeNode):
    """The voxels of each segment, wherever the labelmaps begin and end."""
    world = at.voxelsInWorld(volumeNode)
    return {one: at.segmentAt(node, one, world).tobytes() for one in node.GetSegmentation().GetSegmentIDs()}


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
    before = voxels(paintedNode, volumeNode)
    with pytest.raises(InputError, match="Nothing was changed: the editable area of the Segment Editor"):
        acceptance.accept(resultNode, paintedNode, volumeNode, pairs[:1])
    assert voxels(paintedNode, volumeNode) == before
    assert not acceptance.canUndo


def test_where_slicer_changes_nothing_the_users_last_stroke_stays(scene):
    """Its history then holds that stroke as the last step."""
    acceptance, volumeNode, paintedNode, resultNode, pairs = prepared(scene)
    acceptance.accept(resultNode, paintedNode, volumeNode, pairs)
    painted(paintedNode, volumeNode, "kidney", fx.KIDNEY)
    before = voxels(paintedNode, volumeNode)
    acceptance._logic.ModifySegmentByLabelmap = lambda *arguments: None
    with pytest.raises(InputError, match="Nothing was changed: Slicer refused the results"):
        acceptance.accept(resultNode, paintedNode, volumeNode, pairs)
    assert voxels(paintedNode, volumeNode) == before


def test_the_intensity_range_of_the_segment_editor_is_respected(scene):
    acceptance, volumeNode, paintedNode, resultNode, pairs = prepared(scene)
    node = editorNode(scene, SourceVolumeIntensityMask=True)
    node.SetSourceVolumeIntensityMaskRange(fx.KIDNEY - 1, fx.KIDNEY + 1)
    before = dice(paintedNode, "liver", volumeNode, fx.LIVER)
    assert acceptance.accept(resultNode, paintedNode, volumeNode, pairs) == ["liver"]
    assert "intensity range (199 to 201)" in acceptance.maskingInWords
    assert dice(paintedNode, "liver", volumeNode, fx.LIVER) == before
    assert dice(paintedNode, "kidney", volumeNode, fx.KIDNEY) == 1


def finer(paintedNode, factor=2):
    """The segmentation's grid made finer, as "Specify geometry" of the Segment Editor does it."""
    import slicer

    converter = slicer.vtkSegmentationConverter
    name = converter.GetReferenceImageGeometryParameterName()
    segmentation = paintedNode.GetSegmentation()
    image = slicer.vtkOrientedImageData()
    assert converter.DeserializeImageGeometry(segmentation.GetConversionParameter(name), image, False)
    slicer.vtkCalculateOversamplingFactor.ApplyOversamplingOnImageGeometry(image, factor)
    segmentation.SetConversionParameter(name, converter.SerializeImageGeometry(image))
    for segmentId in segmentation.GetSegmentIDs():
        labelmap = segmentation.GetSegment(segmentId).GetRepresentation(fx.BINARY_LABELMAP)
        assert slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
            labelmap, image, labelmap
        )


def strayed(paintedNode, volumeNode):
    """Some of the liver is painted where there is none: no result holds it."""
    import slicer.util

    segmentId = paintedNode.GetSegmentation().GetSegmentIdBySegmentName("liver")
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(paintedNode, segmentId, volumeNode).copy()
    mask[2, 33:35, 2:30] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, paintedNode, segmentId, volumeNode)


@pytest.mark.parametrize("intensityRange", [False, True])
def test_results_are_brought_to_the_grid_of_the_painted_segments(scene, intensityRange):
    from MedMetaSegLib.scene.accept import Acceptance, resultsFor

    volumeNode, paintedNode = fx.PLACEMENTS[0].build(scene)
    strayed(paintedNode, volumeNode)
    finer(paintedNode)
    resultNode = segmented(volumeNode, paintedNode)
    if intensityRange:
        node = editorNode(scene, SourceVolumeIntensityMask=True)
        node.SetSourceVolumeIntensityMaskRange(0, fx.KIDNEY + 1)
    pairs = resultsFor(resultNode, list(paintedNode.GetSegmentation().GetSegmentIDs()))
    acceptance = Acceptance()
    before = content(paintedNode)
    assert acceptance.accept(resultNode, paintedNode, volumeNode, pairs) == []
    assert dice(paintedNode, "liver", volumeNode, fx.LIVER) > 0.99
    assert dice(paintedNode, "kidney", volumeNode, fx.KIDNEY) > 0.99
    acceptance.undo()
    assert content(paintedNode) == before


def test_an_intensity_range_is_refused_where_slicer_cannot_apply_it(scene):
    import slicer

    acceptance, volumeNode, paintedNode, resultNode, pairs = prepared(scene)
    editorNode(scene, SourceVolumeIntensityMask=True).SetSourceVolumeIntensityMaskRange(0, 500)
    segmentation = paintedNode.GetSegmentation()
    converter = slicer.vtkSegmentationConverter
    name = converter.GetReferenceImageGeometryParameterName()
    image = slicer.vtkOrientedImageData()
    assert converter.DeserializeImageGeometry(segmentation.GetConversionParameter(name), image, False)
    slicer.vtkCalculateOversamplingFactor.ApplyOversamplingOnImageGeometry(image, 2)
    segmentation.SetConversionParameter(name, converter.SerializeImageGeometry(image))
    before = content(paintedNode)
    with pytest.raises(InputError, match="'liver' is painted on another grid"):
        acceptance.accept(resultNode, paintedNode, volumeNode, pairs)
    assert content(paintedNode) == before


def test_accepting_the_same_again_says_that_nothing_changes(scene):
    acceptance, volumeNode, paintedNode, resultNode, pairs = prepared(scene)
    acceptance.accept(resultNode, paintedNode, volumeNode, pairs)
    with pytest.raises(InputError, match="the same as the results already"):
        acceptance.accept(resultNode, paintedNode, volumeNode, pairs)
    assert acceptance.canUndo


def painted(paintedNode, volumeNode, name, value):
    """The segment as the user would repaint it."""
    import slicer.util

    segmentId = paintedNode.GetSegmentation().GetSegmentIdBySegmentName(name)
    mask = (fx.phantom() == value).astype("uint8")
    mask[:12] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, paintedNode, segmentId, volumeNode)


def test_a_stroke_after_accept_is_never_taken_back_by_its_undo(scene):
    acceptance, volumeNode, paintedNode, resultNode, pairs = prepared(scene)
    acceptance.accept(resultNode, paintedNode, volumeNode, pairs)
    painted(paintedNode, volumeNode, "kidney", fx.KIDNEY)
    stroke = content(paintedNode)
    assert not acceptance.canUndo
    with pytest.raises(InputError, match="no Accept to take back"):
        acceptance.undo()
    assert content(paintedNode) == stroke


def test_accept_can_be_undone_after_the_scene_was_saved(scene, tmp_path: Path):
    acceptance, volumeNode, paintedNode, resultNode, pairs = prepared(scene)
    before = dice(paintedNode, "liver", volumeNode, fx.LIVER)
    acceptance.accept(resultNode, paintedNode, volumeNode, pairs)
    assert scene.WriteToMRB(str(tmp_path / "s.mrb"))
    assert acceptance.canUndo
    acceptance.undo()
    assert dice(paintedNode, "liver", volumeNode, fx.LIVER) == before


def test_a_history_that_would_take_back_something_else_is_left_as_it_was(scene):
    from MedMetaSegLib.scene.accept import Acceptance, EditorInUse

    class StandInEditor:
        """Its last saved state is not that of the Accept."""

        def saveStateForUndo(self):
            pass

        def undo(self):
            painted(paintedNode, volumeNode, "kidney", fx.KIDNEY)

        def redo(self):
            done.append("redone")

    done: list[str] = []
    _, volumeNode, paintedNode, resultNode, pairs = prepared(scene)
    acceptance = Acceptance(lambda node: EditorInUse(history=StandInEditor()))
    acceptance.accept(resultNode, paintedNode, volumeNode, pairs)
    with pytest.raises(InputError, match="cannot be taken back here"):
        acceptance.undo()
    assert done == ["redone"]


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


def test_the_editor_in_use_gets_the_step_its_undo_and_gives_the_masking(scene):
    import slicer

    from MedMetaSegLib.scene.accept import Acceptance, EditorInUse

    calls = []
    _, volumeNode, paintedNode, resultNode, pairs = prepared(scene)
    logic = slicer.vtkSlicerSegmentEditorLogic()
    settings = scene.AddNode(slicer.vtkMRMLSegmentEditorNode())
    settings.SetSourceVolumeIntensityMask(True)
    settings.SetSourceVolumeIntensityMaskRange(fx.KIDNEY - 1, fx.KIDNEY + 1)
    logic.SetMRMLScene(scene)
    logic.SetSegmentEditorNode(settings)
    logic.SetSegmentationNode(paintedNode)

    class StandInEditor:
        def saveStateForUndo(self):
            calls.append("saved")
            logic.SaveStateForUndo()

        def undo(self):
            calls.append("undone")
            logic.Undo()

        def redo(self):
            calls.append("redone")

    # The module's settings do not hold: another editor is in use.
    editorNode(scene, MaskMode=slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    acceptance = Acceptance(lambda node: EditorInUse(settings, StandInEditor()))
    before = content(paintedNode)
    assert acceptance.accept(resultNode, paintedNode, volumeNode, pairs) == ["liver"]
    assert dice(paintedNode, "kidney", volumeNode, fx.KIDNEY) == 1
    acceptance.undo()
    assert calls == ["saved", "undone"]
    assert content(paintedNode) == before


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
