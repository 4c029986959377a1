"""The panel on the harness, before anything runs: what it shows, keeps and refuses, on real MRML nodes."""

from __future__ import annotations

import numpy as np
import pytest

import scene_phantom as fx
from MedMetaSegLib.demo.phantom import LABEL, painted_slices
from panel_bench import MODULE, Bench, nothing_is_left, rows, running, settle, shown, until
from processes import printed_by


def test_opening_the_panel_imports_nothing_heavy():
    code = (
        "from Harness import start\n"
        "import slicer, slicer.util, sys, time\n"
        "application = start()\n"
        "begun = time.process_time()\n"
        f"module = application.loadModule({str(MODULE)!r})\n"
        "module.enter()\n"
        "print(f'opened in {time.process_time() - begun:.3f} s')\n"
        "print(*sys.modules)\n"
    )
    first, second = printed_by(code, "MedMetaSeg", "Testing")[-2:]
    print(first)
    heavy = {"torch", "monai", "safetensors", "SimpleITK", "scipy", "nrrd", "slicerio", "nibabel"}
    assert not set(second.split()) & heavy
    assert {"qt", "MedMetaSegLib.scene.panel.panel"} <= set(second.split())
    # 0.2 s of CPU time on a quiet machine.
    assert float(first.split()[2]) < 0.6


def test_the_panel_says_what_to_do_first(panel, patient):
    assert "Load a CT or MR volume" in shown(panel)["hint"]
    assert not panel.ui.segmentButton.enabled
    assert not panel.ui.paintButton.enabled
    bench = Bench(panel, patient)
    panel.ui.volumeSelector.setCurrentNode(bench.volumeNode)
    assert "Press Paint" in shown(panel)["hint"]
    assert panel.ui.paintButton.enabled
    bench.choose()
    assert "few slices in the Segment Editor" in shown(panel)["hint"]
    fx.addSegment(bench.paintedNode, "liver", None, bench.matrix)
    settle(panel)
    assert rows(panel) == [("liver", "nothing yet", True)]
    assert not panel.ui.segmentButton.enabled
    bench.ids["liver"] = "Segment_1"
    bench.paint("liver")
    settle(panel)
    assert panel.ui.segmentButton.enabled
    assert shown(panel) == {}


def test_a_volume_and_a_segmentation_that_are_there_are_chosen(application, panel, patient):
    selector = application.mainWindow().moduleSelector()
    selector.selectModule("Welcome")
    bench = Bench(panel, patient).paint("liver")
    selector.selectModule("MedMetaSeg")
    assert panel.ui.volumeSelector.currentNode() is bench.volumeNode
    assert panel.ui.segmentationSelector.currentNode() is bench.paintedNode
    assert rows(panel) == [("liver", "3 axial slices", True)]


def test_the_table_shows_slices_plane_and_scribbles(bench):
    panel = bench.panel
    sagittal = np.zeros(bench.truth.shape, bool)
    i = int(np.argwhere(bench.truth == LABEL["spleen"])[:, 2].mean())
    sagittal[:, :, i] = bench.truth[:, :, i] == LABEL["spleen"]
    fx.addSegment(bench.paintedNode, "spleen", sagittal, bench.matrix)
    fx.addSegment(bench.paintedNode, "background", bench.truth == 0, bench.matrix)
    bench.choose()
    assert rows(panel)[:2] == [("liver", "3 axial slices", True), ("spleen", "1 sagittal slice", True)]
    panel.ui.annotationCombo.setCurrentText("scribbles")
    assert [painted for _, painted, _ in rows(panel)] == ["scribbles", "scribbles", "background"]
    assert panel.ui.segmentButton.enabled


def test_the_table_shows_every_plane_and_what_counts_as_scribbles(bench):
    import slicer.util

    mask = bench.mask("liver", painted_slices(bench.truth, LABEL["liver"]))
    middle = int(np.argwhere(bench.truth == LABEL["liver"]).mean(0)[2])
    mask[:, :, middle] |= bench.truth[:, :, middle] == LABEL["liver"]
    mask[0, 0, 0] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), bench.paintedNode, bench.ids["liver"], bench.volumeNode
    )
    bench.choose()
    assert rows(bench.panel) == [("liver", "3 axial slices + 1 sagittal slice", True)]
    details = bench.ui.segmentTable.item(0, 1).toolTip()
    assert f"sagittal {middle}" in details
    assert "1 voxel on other slices" in details


def test_a_tick_is_kept_and_without_one_nothing_can_be_segmented(bench):
    import qt

    bench.choose()
    item = bench.ui.segmentTable.item(0, 0)
    item.setCheckState(qt.Qt.Unchecked)
    assert bench.panel.parameters.untickedSegmentIds == [bench.ids["liver"]]
    assert not bench.ui.segmentButton.enabled
    assert "Tick a segment" in shown(bench.panel)["hint"]
    bench.paint("spleen")
    settle(bench.panel)
    assert rows(bench.panel) == [("liver", "3 axial slices", False), ("spleen", "3 axial slices", True)]
    assert bench.ui.segmentButton.enabled
    bench.ui.segmentTable.item(0, 0).setCheckState(qt.Qt.Checked)
    assert bench.panel.parameters.untickedSegmentIds == []


def test_another_volume_is_not_written_into_the_last_ones_result(bench):
    bench.choose()
    output = bench.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Result")
    bench.ui.outputSelector.setCurrentNode(output)
    assert bench.panel.parameters.output is output
    bench.ui.volumeSelector.setCurrentNode(fx.addVolume(bench.scene, name="Other"))
    assert bench.panel.parameters.output is None
    assert bench.ui.outputSelector.currentNode() is None


@pytest.mark.parametrize("suffix", [".mrb", ".mrml"])
def test_what_was_chosen_comes_back_with_the_scene(bench, tmp_path, suffix):
    import qt

    bench.choose()
    bench.paint("spleen")
    settle(bench.panel)
    bench.ui.segmentTable.item(1, 0).setCheckState(qt.Qt.Unchecked)
    bench.ui.annotationCombo.setCurrentText("scribbles")
    bench.ui.deviceCombo.setCurrentText("CPU")
    scene, path = bench.scene, tmp_path / f"scene{suffix}"
    if suffix == ".mrb":
        assert scene.WriteToMRB(str(path))
    else:
        for node, name in ((bench.volumeNode, "v.nrrd"), (bench.paintedNode, "s.seg.nrrd")):
            node.AddDefaultStorageNode()
            node.GetStorageNode().SetFileName(str(tmp_path / name))
            assert node.GetStorageNode().WriteData(node)
        scene.SetURL(str(path))
        assert scene.Commit()
    scene.Clear(0)
    assert "Load a CT or MR volume" in shown(bench.panel)["hint"]
    assert bench.ui.annotationCombo.currentText == "whole slices"
    if suffix == ".mrb":
        assert scene.ReadFromMRB(str(path), True)
    else:
        scene.SetURL(str(path))
        assert scene.Connect()
    settle(bench.panel)
    assert bench.ui.volumeSelector.currentNode().GetName() == "Phantom"
    assert bench.ui.segmentationSelector.currentNode().GetName() == "Painted"
    assert bench.ui.annotationCombo.currentText == "scribbles"
    assert bench.ui.deviceCombo.currentText == "CPU"
    assert rows(bench.panel) == [("liver", "scribbles", True), ("spleen", "scribbles", False)]


def test_paint_opens_the_segment_editor_on_the_volume(application, panel, patient):
    bench = Bench(panel, patient)
    bench.scene.RemoveNode(bench.paintedNode)
    panel.ui.volumeSelector.setCurrentNode(bench.volumeNode)
    panel.ui.paintButton.click()
    selector = application.mainWindow().moduleSelector()
    assert selector.selected == "SegmentEditor"
    editor = selector.modules["SegmentEditor"].editor
    assert editor.sourceVolumeNode() is bench.volumeNode
    assert editor.segmentationNode().GetName() == "Phantom painted"
    assert editor.activeEffect().name == "Paint"
    node = editor.mrmlSegmentEditorNode()
    assert node.GetAttribute("BrushDiameterIsRelative") == "0"
    # A thirtieth of the 360 mm that the phantom is wide.
    assert float(node.GetAttribute("BrushAbsoluteDiameter")) == pytest.approx(12)
    selector.selectModule("MedMetaSeg")
    assert panel.ui.segmentationSelector.currentNode() is editor.segmentationNode()
    selector.modules["SegmentEditor"].forget()


def test_what_cannot_be_segmented_is_one_sentence_in_the_error_line(bench):
    surface = bench.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Surface")
    fx.addSegment(surface, "liver", bench.truth == LABEL["liver"], bench.matrix)
    surface.CreateClosedSurfaceRepresentation()
    surface.SetSourceRepresentationToClosedSurface()
    bench.choose()
    bench.ui.outputSelector.setCurrentNode(surface)
    bench.ui.segmentButton.click()
    assert not running(bench.panel)
    assert "choose another for the result" in shown(bench.panel)["error"]


def test_a_worker_that_cannot_start_is_one_sentence_in_the_error_line(bench, monkeypatch):
    from MedMetaSegLib.scene.panel.worker_run import WorkerRun
    from MedMetaSegLib.worker.client import WorkerClient

    run = WorkerRun(WorkerClient("/no/python"), bench.panel.settingsTab.onDeviceFound)
    monkeypatch.setattr(bench.panel, "run", run)
    bench.choose()
    bench.ui.segmentButton.click()
    assert not running(bench.panel)
    assert "It could not be started (No such file or directory)" in shown(bench.panel)["error"]
    assert bench.ui.segmentButton.enabled


def test_an_answer_that_cannot_be_written_is_reported_and_the_panel_is_free_again(bench, monkeypatch):
    from MedMetaSegLib.scene.panel.worker_run import WorkerRun
    from MedMetaSegLib.worker.messages import Finished

    class StandInClient:
        """Answers at once."""

        pid = None
        segment = close = cancel = lambda self, *_, **__: None

        def poll(self):
            return [Finished((), {"structures": []})]

    def fails(*_, **__):
        raise RuntimeError("Segment 'liver' could not be added to 'Painted'.")

    run = WorkerRun(StandInClient(), bench.panel.settingsTab.onDeviceFound)
    monkeypatch.setattr(bench.panel, "run", run)
    monkeypatch.setattr("MedMetaSegLib.scene.results.writeSegments", fails)
    bench.choose().press()
    until(lambda: not running(bench.panel))
    assert shown(bench.panel) == {"error": "Segment 'liver' could not be added to 'Painted'."}
    assert bench.ui.segmentButton.enabled


def test_nothing_is_cut_off_at_a_width_of_420_pixels(application, bench):
    from Harness.layout import clipped, fit

    bench.paint("spleen").choose()
    window = bench.panel.parent
    window.show()
    for index in range(bench.ui.tabs.count):
        bench.ui.tabs.setCurrentIndex(index)
        bench.panel.say(result="liver 1041.2 ml, spleen 128.1 ml, left kidney 152.7 ml in 0.6 s" * 3)
        for _ in range(3):
            application.processEvents()
            settle(bench.panel)
            fit(window, 420)
        application.processEvents()
        assert window.width == 420
        assert clipped(window) == []
    bench.ui.tabs.setCurrentIndex(0)
    window.hide()


def test_a_row_of_tabs_that_is_too_wide_is_noticed(application, panel):
    from Harness.layout import clipped, fit

    tabs, window = panel.ui.tabs, panel.parent
    window.show()
    title = tabs.tabText(0)
    tabs.setTabText(0, title * 4)
    fit(window, 420)
    found = clipped(window)
    tabs.setTabText(0, title)
    window.hide()
    assert found == ["qt_tabwidget_tabbar"]


def test_a_label_map_is_not_taken_for_a_volume(application, panel, patient):
    selector = application.mainWindow().moduleSelector()
    selector.selectModule("Welcome")
    application.mrmlScene().AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    selector.selectModule("MedMetaSeg")
    assert panel.parameters.volume is None
    assert panel.ui.volumeSelector.nodeCount() == 0


def test_a_refusal_to_install_is_reported_and_nothing_starts(bench, tmp_path, monkeypatch):
    import slicer.util

    installation = bench.panel.installation
    version = installation._packages.version
    monkeypatch.setattr(
        installation._packages, "version", lambda name: None if name == "monai" else version(name)
    )
    asked = []
    monkeypatch.setattr(
        slicer.util, "confirmOkCancelDisplay", lambda text, windowTitle: asked.append(text), raising=False
    )
    bench.choose()
    assert shown(bench.panel)["hint"] == "The first press asks to install monai."
    bench.ui.segmentButton.click()
    assert len(asked) == 1
    assert "Nothing was installed" in shown(bench.panel)["error"]
    assert not running(bench.panel)
    assert nothing_is_left(tmp_path)
