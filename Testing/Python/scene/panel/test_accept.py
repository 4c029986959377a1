"""Roles, Update, Accept and Undo on the harness: real nodes, and a stand-in of the worker that knows all."""

from __future__ import annotations

import numpy as np
import pytest

import scene_phantom as fx
from MedMetaSegLib.demo.phantom import LABEL, painted_slices
from panel_bench import rows, running, settle, shown, stand_in_worker, until


def role_combo(bench, name):
    table = bench.ui.segmentTable
    row = next(row for row in range(table.rowCount) if table.item(row, 0).text() == name)
    return table.cellWidget(row, 2)


def choose_role(bench, name, role):
    """What the user does: the combo box's signal comes from the user alone."""
    combo = role_combo(bench, name)
    combo.setCurrentText(role)
    combo.activated.emit(combo.currentIndex)
    settle(bench.panel)


def segmented(bench, monkeypatch):
    client = stand_in_worker(bench, monkeypatch)
    bench.choose().press()
    until(lambda: not running(bench.panel))
    return client


def test_segment_becomes_update_and_accept_can_be_undone(bench, monkeypatch):
    ui = bench.ui
    bench.paint("spleen").choose()
    assert (ui.segmentButton.text, ui.acceptButton.enabled, ui.undoButton.enabled) == (
        "Segment",
        False,
        False,
    )
    painted = fx.snapshot(bench.paintedNode)
    segmented(bench, monkeypatch)
    assert (ui.segmentButton.text, ui.acceptButton.enabled, ui.undoButton.enabled) == ("Update", True, False)
    assert fx.snapshot(bench.paintedNode) == painted
    output = bench.panel.parameters.output
    ui.acceptButton.click()
    assert shown(bench.panel)["result"] == "Accepted: 2 segments are yours now."
    assert bench.dice(bench.paintedNode, "liver") > 0.999
    assert bench.dice(bench.paintedNode, "spleen") > 0.999
    assert rows(bench.panel)[0][1].startswith("complete, ")
    assert ui.undoButton.enabled
    ui.undoButton.click()
    assert rows(bench.panel) == [("liver", "3 axial slices", True), ("spleen", "3 axial slices", True)]
    assert not ui.undoButton.enabled
    assert bench.panel.parameters.output is output
    assert bench.dice(output, "liver") > 0.999


def test_painting_after_accept_makes_undo_the_editors_own_affair_and_update_still_works(bench, monkeypatch):
    segmented(bench, monkeypatch)
    bench.ui.acceptButton.click()
    bench.paint("liver", painted_slices(bench.truth, LABEL["liver"], 4))
    settle(bench.panel)
    assert rows(bench.panel) == [("liver", "4 axial slices", True)]
    bench.press()
    until(lambda: not running(bench.panel))
    names = [
        bench.panel.parameters.output.GetSegmentation().GetNthSegment(n).GetName()
        for n in range(bench.panel.parameters.output.GetSegmentation().GetNumberOfSegments())
    ]
    assert names == ["liver"]


def test_only_ticked_results_are_accepted(bench, monkeypatch):
    import qt

    bench.paint("spleen")
    segmented(bench, monkeypatch)
    bench.ui.segmentTable.item(1, 0).setCheckState(qt.Qt.Unchecked)
    bench.ui.acceptButton.click()
    assert rows(bench.panel)[1][1] == "3 axial slices"


def test_an_unticked_segment_keeps_its_paint_and_is_not_segmented(bench, monkeypatch):
    import qt

    bench.paint("spleen").choose()
    bench.ui.segmentTable.item(1, 0).setCheckState(qt.Qt.Unchecked)
    client = segmented(bench, monkeypatch)
    assert [one.structure.name for one in client.sent[0]["support"].structures] == ["liver", "spleen"]
    assert client.sent[0]["structures"] == ["liver"]
    output = bench.panel.parameters.output.GetSegmentation()
    assert [output.GetNthSegment(n).GetName() for n in range(output.GetNumberOfSegments())] == ["liver"]


def test_an_ignored_segment_has_no_part_in_it(bench, monkeypatch):
    bench.paint("spleen").choose()
    choose_role(bench, "spleen", "ignore")
    assert rows(bench.panel)[1] == ("spleen", "ignored", True)
    client = segmented(bench, monkeypatch)
    assert [one.structure.name for one in client.sent[0]["support"].structures] == ["liver"]
    choose_role(bench, "liver", "ignore")
    assert "Give a segment the role structure" in shown(bench.panel)["hint"]
    choose_role(bench, "spleen", "structure")
    assert rows(bench.panel)[1] == ("spleen", "3 axial slices", True)


def test_a_segment_of_any_name_can_be_the_background_of_scribbles(bench, monkeypatch):
    outside = np.zeros(bench.truth.shape, bool)
    outside[10, 5:8, 5:60] = True
    fx.addSegment(bench.paintedNode, "not it", outside, bench.matrix)
    bench.choose()
    choose_role(bench, "not it", "background")
    assert rows(bench.panel)[1] == ("not it", "not used", True)
    bench.ui.annotationCombo.setCurrentText("scribbles")
    assert rows(bench.panel) == [("liver", "scribbles", True), ("not it", "background", True)]
    client = segmented(bench, monkeypatch)
    assert client.sent[0]["support"].background.structure.name == "not it"
    assert client.sent[0]["structures"] == ["liver"]


def test_results_go_into_the_painted_segmentation_as_new_segments_when_that_is_the_output(bench, monkeypatch):
    bench.choose()
    before = fx.snapshot(bench.paintedNode)
    bench.ui.outputSelector.setCurrentNode(bench.paintedNode)
    segmented(bench, monkeypatch)
    after = fx.snapshot(bench.paintedNode)
    assert {one: after[one] for one in before} == before
    assert [segment[0] for segment in after.values()] == ["liver", "liver 2"]
    assert rows(bench.panel) == [("liver", "3 axial slices", True)]
    assert bench.ui.segmentButton.text == "Update"


def test_settings_reach_the_worker(bench, monkeypatch):
    bench.choose()
    bench.ui.deviceCombo.setCurrentText("CPU")
    bench.ui.memoryCombo.setCurrentText("low")
    bench.ui.qualityCombo.setCurrentText("fast")
    bench.ui.keepCheck.setChecked(False)
    closed = []
    client = stand_in_worker(bench, monkeypatch)
    monkeypatch.setattr(client, "close", lambda: closed.append(True), raising=False)
    bench.press()
    until(lambda: not running(bench.panel))
    sent = client.sent[0]
    assert (sent["device"], sent["memory"], sent["quality"]) == ("cpu", "low", "fast")
    assert closed == [True]


def test_a_second_set_of_parameters_is_a_copy_that_changes_alone(bench):
    ui = bench.ui
    bench.choose()
    first = bench.panel.parameters.parameterNode
    ui.deviceCombo.setCurrentText("CPU")
    assert ui.parameterSetCombo.count == 1
    assert not ui.removeSetButton.enabled
    ui.newSetButton.click()
    assert bench.panel.parameters.parameterNode is not first
    assert (ui.parameterSetCombo.count, ui.parameterSetCombo.currentIndex) == (2, 1)
    assert ui.deviceCombo.currentText == "CPU"
    assert ui.volumeSelector.currentNode() is bench.volumeNode
    ui.deviceCombo.setCurrentText("automatic")
    ui.parameterSetCombo.activated.emit(0)
    assert bench.panel.parameters.parameterNode is first
    assert ui.deviceCombo.currentText == "CPU"
    ui.parameterSetCombo.activated.emit(1)
    assert ui.deviceCombo.currentText == "automatic"
    ui.removeSetButton.click()
    assert bench.panel.parameters.parameterNode is first
    assert ui.parameterSetCombo.count == 1
    assert bench.scene.GetNumberOfNodesByClass("vtkMRMLScriptedModuleNode") == 1


def test_several_sets_come_back_with_the_scene(bench, tmp_path):
    bench.choose()
    bench.ui.newSetButton.click()
    bench.ui.memoryCombo.setCurrentText("low")
    assert bench.scene.WriteToMRB(str(tmp_path / "s.mrb"))
    bench.scene.Clear(0)
    assert bench.ui.parameterSetCombo.count == 1
    assert bench.scene.ReadFromMRB(str(tmp_path / "s.mrb"), True)
    settle(bench.panel)
    assert bench.ui.parameterSetCombo.count == 2
    assert bench.ui.memoryCombo.currentText == "as needed"
    bench.ui.parameterSetCombo.activated.emit(1)
    assert bench.ui.memoryCombo.currentText == "low"
    assert bench.ui.volumeSelector.currentNode().GetName() == "Phantom"


def test_low_memory_is_read_from_scenes_that_call_it_little(bench):
    bench.choose()
    bench.ui.memoryCombo.setCurrentText("low")
    node = bench.panel.parameters.parameterNode
    assert node.GetParameter("memory") == "LOW"
    node.SetParameter("memory", "LITTLE")
    bench.panel.chooseParameterSet(node)
    assert bench.ui.memoryCombo.currentText == "low"
    assert bench.panel.parameters.memory.value == "low"


@pytest.mark.parametrize("says", [True, False])
def test_install_or_repair_asks_a_stand_in_and_says_how_it_went(bench, monkeypatch, says):
    packages = bench.panel.installation._packages
    done = []
    monkeypatch.setattr(packages, "confirm", lambda text: says)
    monkeypatch.setattr(packages, "reinstall", done.append)
    bench.ui.installButton.click()
    assert (len(done) == 1) is says
    expected = {"result": "Installed anew: restart Slicer, so that it is used."}
    texts = {name: text for name, text in shown(bench.panel).items() if name != "hint"}
    assert texts == (expected if says else {"error": "Nothing was installed."})
    assert bench.ui.packagesFoundLabel.text.startswith("torch 2")


def names(node):
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]


def press_again(bench):
    bench.press()
    until(lambda: not running(bench.panel))


def test_saving_between_presses_does_not_pile_up_results(bench, monkeypatch, tmp_path):
    """Two results that overlap lie in two layers: saving collapses them into new images."""
    stand_in_worker(bench, monkeypatch)
    bench.paint("spleen").choose()
    press_again(bench)
    bench.scene.WriteToMRB(str(tmp_path / "s.mrb"))
    press_again(bench)
    bench.scene.WriteToMRB(str(tmp_path / "s.mrb"))
    press_again(bench)
    assert names(bench.panel.parameters.output) == ["liver", "spleen"]


def test_correcting_one_result_leaves_the_others_to_be_replaced(bench, monkeypatch):
    import slicer.util

    bench.paint("spleen")
    segmented(bench, monkeypatch)
    output = bench.panel.parameters.output
    corrected = bench.mask("liver", range(6, 9)).astype(np.uint8)
    segmentId = output.GetSegmentation().GetSegmentIdBySegmentName("liver")
    slicer.util.updateSegmentBinaryLabelmapFromArray(corrected, output, segmentId, bench.volumeNode)
    press_again(bench)
    assert sorted(names(output)) == ["liver", "liver 2", "spleen"]


def test_back_returns_to_the_answer_before_as_often_as_there_were_presses(bench, monkeypatch):
    ui = bench.ui
    client = stand_in_worker(bench, monkeypatch)
    bench.choose()
    assert not ui.backButton.enabled
    press_again(bench)
    output = bench.panel.parameters.output
    first = bench.dice(output, "liver")
    client.truth = np.where(np.arange(len(client.truth))[:, None, None] % 2, client.truth, 0)
    press_again(bench)
    second = bench.dice(output, "liver")
    assert second < first
    painted = fx.snapshot(bench.paintedNode)
    ui.backButton.click()
    assert bench.dice(output, "liver") == first
    assert names(output) == ["liver"]
    assert shown(bench.panel)["result"] == "Back: the answer before the last press."
    ui.backButton.click()
    assert shown(bench.panel)["result"] == "Back: there is no result, as before the first press."
    assert output.GetScene() is None
    assert bench.panel.parameters.output is None
    assert ui.outputSelector.currentNode() is None
    assert not ui.backButton.enabled
    assert ui.segmentButton.text == "Segment"
    assert fx.snapshot(bench.paintedNode) == painted


def test_back_keeps_a_result_that_was_edited_and_says_so(bench, monkeypatch):
    import slicer.util

    segmented(bench, monkeypatch)
    output = bench.panel.parameters.output
    segmentId = output.GetSegmentation().GetSegmentIdBySegmentName("liver")
    edited = bench.mask("liver", range(6, 9)).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, output, segmentId, bench.volumeNode)
    bench.ui.backButton.click()
    assert names(output) == ["liver"]
    assert "You edited liver, which stays." in shown(bench.panel)["result"]
    assert bench.panel.parameters.output is output


def test_accept_says_when_masking_keeps_all_from_changing(bench, monkeypatch):
    import slicer

    bench.paint("spleen")
    segmented(bench, monkeypatch)
    node = slicer.vtkMRMLSegmentEditorNode()
    node.SetSingletonTag("SegmentEditor")
    node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    node.SetMaskSegmentID(bench.ids["liver"])
    node.SetOverwriteMode(node.OverwriteNone)
    bench.scene.AddNode(node)
    painted = [bench.dice(bench.paintedNode, one) for one in ("liver", "spleen")]
    bench.ui.acceptButton.click()
    assert "Nothing was changed: the editable area of the Segment Editor" in shown(bench.panel)["error"]
    assert [bench.dice(bench.paintedNode, one) for one in ("liver", "spleen")] == painted


def test_an_error_nobody_foresaw_leaves_the_panel_usable(bench, monkeypatch, error_log):
    stand_in_worker(bench, monkeypatch)
    bench.choose()

    def fault(*arguments, **options):
        raise KeyError("a fault of the program")

    with monkeypatch.context() as patch:
        patch.setattr("MedMetaSegLib.scene.results.writeSegments", fault)
        press_again(bench)
    assert "could not be put into the scene" in shown(bench.panel)["error"]
    error_log.expect("a fault of the program")
    press_again(bench)
    assert names(bench.panel.parameters.output) == ["liver"]
