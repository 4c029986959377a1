"""What is chosen in the panel stays chosen, and nothing else comes to be: nodes that go, imports, typing."""

from __future__ import annotations

import gc

import pytest

import scene_phantom as fx
from panel_bench import running, settle, shown, stand_in_worker, until

SELECTORS = {
    "volume": "volumeSelector",
    "segmentation": "segmentationSelector",
    "output": "outputSelector",
    "within": "withinSelector",
}
BATCH_TAB = 2


def add(bench, choice, name):
    if choice == "volume":
        return fx.addVolume(bench.scene, name=name)
    return bench.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)


@pytest.mark.parametrize("choice", SELECTORS)
@pytest.mark.parametrize("later", [0, 1], ids=["the last", "one between others"])
def test_of_a_chosen_node_that_is_removed_nothing_takes_the_place(bench, choice, later):
    bench.choose()
    node = add(bench, choice, "Goes")
    for n in range(later):
        add(bench, choice, f"Stays {n}")
    selector = getattr(bench.ui, SELECTORS[choice])
    selector.setCurrentNode(node)
    assert getattr(bench.panel.parameters, choice) is node
    bench.scene.RemoveNode(node)
    assert getattr(bench.panel.parameters, choice) is None
    assert selector.currentNode() is None


def test_the_removal_of_another_node_changes_no_choice(bench):
    first = add(bench, "output", "Goes")
    output = add(bench, "output", "Stays")
    bench.choose()
    bench.ui.outputSelector.setCurrentNode(output)
    bench.scene.RemoveNode(first)
    assert bench.panel.parameters.output is output
    assert bench.ui.outputSelector.currentNode() is output
    assert bench.panel.parameters.segmentation is bench.paintedNode


def test_after_the_result_was_deleted_a_press_makes_another_and_leaves_the_painted_node_alone(
    bench, monkeypatch
):
    stand_in_worker(bench, monkeypatch)
    bench.choose().press()
    until(lambda: not running(bench.panel))
    painted = fx.snapshot(bench.paintedNode)
    bench.scene.RemoveNode(bench.panel.parameters.output)
    bench.press()
    until(lambda: not running(bench.panel))
    assert bench.panel.parameters.output not in (None, bench.paintedNode)
    assert fx.snapshot(bench.paintedNode) == painted


def test_a_set_of_parameters_that_someone_else_removes_is_shown_no_more(bench):
    bench.choose()
    first = bench.panel.parameters.parameterNode
    bench.ui.newSetButton.click()
    bench.scene.RemoveNode(bench.panel.parameters.parameterNode)
    assert bench.panel.parameters.parameterNode is first
    assert bench.ui.parameterSetCombo.count == 1
    bench.ui.newSetButton.click()
    second = bench.panel.parameters.parameterNode
    bench.scene.RemoveNode(first)
    assert bench.panel.parameters.parameterNode is second
    assert (bench.ui.parameterSetCombo.count, bench.ui.parameterSetCombo.currentIndex) == (1, 0)


def test_an_import_changes_no_choice(bench, tmp_path):
    import slicer

    bench.choose()
    output = add(bench, "output", "Result")
    bench.ui.outputSelector.setCurrentNode(output)
    other = slicer.vtkMRMLScene()
    other.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Of another module")
    other.SetURL(str(tmp_path / "other.mrml"))
    assert other.Commit()
    bench.scene.SetURL(str(tmp_path / "other.mrml"))
    assert bench.scene.Import()
    parameters = bench.panel.parameters
    assert (parameters.volume, parameters.segmentation) == (bench.volumeNode, bench.paintedNode)
    assert parameters.output is output
    assert bench.ui.outputSelector.currentNode() is output


# ---------------------------------------------------------------- what is read and described, and when


@pytest.fixture
def reads(application, monkeypatch):
    """How often the patients of the DICOM database were read, as a list."""
    from MedMetaSegLib.scene.panel import patient_table

    calls = []
    monkeypatch.setattr(patient_table, "patients", lambda: calls.append(True) or [])
    return calls


def test_opening_the_panel_reads_no_patients(fresh_module, reads):
    fresh_module.enter()
    ui = fresh_module.widget.panel.ui
    ui.tabs.setCurrentIndex(BATCH_TAB)
    assert ui.batchPatientTable.isHidden()
    assert reads == []


def test_patients_are_read_when_they_are_looked_at(panel, reads):
    from MedMetaSegLib.scene.panel.parameters import BatchSource

    panel.parameters.batchSource = BatchSource.DATABASE
    assert reads == []
    panel.ui.tabs.setCurrentIndex(BATCH_TAB)
    assert len(reads) == 1
    panel.ui.batchOutputEdit.setText("results")
    assert len(reads) == 1
    panel.ui.batchSourceCombo.setCurrentIndex(0)
    assert panel.ui.batchPatientTable.isHidden()
    panel.ui.batchSourceCombo.setCurrentIndex(1)
    assert not panel.ui.batchPatientTable.isHidden()
    assert len(reads) == 2
    panel.ui.tabs.setCurrentIndex(0)


def test_what_is_painted_is_described_when_a_choice_matters_to_it_and_not_at_every_keystroke(
    bench, monkeypatch
):
    from MedMetaSegLib.scene.panel import segment_tab

    calls, describe = [], segment_tab.describePainting
    bench.choose()
    monkeypatch.setattr(
        segment_tab, "describePainting", lambda *arguments: calls.append(True) or describe(*arguments)
    )
    for text in ("r", "re", "res"):
        bench.ui.batchOutputEdit.setText(text)
    bench.ui.deviceCombo.setCurrentText("CPU")
    assert bench.panel.parameters.batchOutput == "res"
    assert calls == []
    bench.ui.annotationCombo.setCurrentText("scribbles")
    assert len(calls) == 1
    bench.panel.parameters.ignoredSegmentIds = [bench.ids["liver"]]
    assert len(calls) == 2
    bench.ui.volumeSelector.setCurrentNode(fx.addVolume(bench.scene, name="Other"))
    assert len(calls) == 3


def test_a_tick_taken_away_from_outside_is_shown(bench):
    bench.choose()
    bench.panel.parameters.untickedSegmentIds = [bench.ids["liver"]]
    assert not bench.ui.segmentButton.enabled
    assert "Tick a segment" in shown(bench.panel)["hint"]


def test_coming_and_going_leaves_no_observer_on_the_parameters(application, panel):
    """An observer that stays keeps its wrapper alive, and all the wrapper's own: wrappers can be counted."""
    kind, selector = type(panel.parameters), application.mainWindow().moduleSelector()

    def alive():
        gc.collect()
        return sum(type(one) is kind for one in gc.get_objects())

    assert alive() == 1
    for _ in range(10):
        selector.selectModule("Welcome")
        assert alive() == 0
        selector.selectModule("MedMetaSeg")
    assert alive() == 1


def test_ctrl_return_presses_the_button_whatever_its_text_is(bench, monkeypatch):
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    client, window = stand_in_worker(bench, monkeypatch), bench.panel.parent
    window.show()
    window.activateWindow()
    assert QTest.qWaitForWindowActive(window)
    bench.choose()
    for presses in (1, 2):
        QTest.keyClick(window, Qt.Key_Return, Qt.ControlModifier)
        QTest.qWait(300)
        assert len(client.sent) == presses
        until(lambda: not running(bench.panel))
        assert bench.ui.segmentButton.text == "Update"
    bench.ui.tabs.setCurrentIndex(BATCH_TAB)
    QTest.keyClick(window, Qt.Key_Return, Qt.ControlModifier)
    QTest.qWait(300)
    assert len(client.sent) == 2
    bench.ui.tabs.setCurrentIndex(0)
    window.hide()
    settle(bench.panel)
