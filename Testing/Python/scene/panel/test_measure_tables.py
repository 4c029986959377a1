"""The Measure tab: its tables and files, what cannot be measured, and what happens meanwhile."""

from __future__ import annotations

import pytest

import scene_phantom as fx
from measure_bench import MEASURE_TAB
from MedMetaSegLib.demo.phantom import LABEL
from panel_bench import shown


@pytest.fixture
def bench(measure_bench):
    return measure_bench


class Layouts:
    """Stands in for Slicer's layout manager, and for the Tables module that knows layouts with a table."""

    layout = 3

    def setLayout(self, layout):
        self.layout = layout

    def logic(self):
        return self

    def GetLayoutWithTable(self, layout):
        return layout + 100


@pytest.fixture
def layouts(bench, monkeypatch):
    import slicer

    one = Layouts()
    monkeypatch.setattr(slicer.app, "layoutManager", lambda: one, raising=False)
    monkeypatch.setattr(slicer.modules, "tables", one, raising=False)
    return one


def test_the_buttons_put_the_figures_into_tables_of_the_scene_and_show_them(bench, layouts):
    import slicer

    bench.tick("metastasis").measure()
    active = slicer.app.applicationLogic().GetSelectionNode().GetActiveTableID
    bench.ui.showStructuresButton.click()
    assert layouts.layout == 103
    assert active() == bench.tables()["Painted measurements"].GetID()
    bench.ui.showLesionsButton.click()
    assert active() == bench.tables()["Painted lesions"].GetID()
    assert bench.tables()["Painted lesions"].GetNumberOfRows() == 3
    bench.scene.RemoveNode(bench.paintedNode)
    assert set(bench.tables()) == {"Painted measurements", "Painted lesions"}


@pytest.fixture
def save_as(monkeypatch):
    """What the user types into the dialog, and answers to the question whether to replace files."""
    import qt
    import slicer.util

    def answer(path, replace=True):
        asked = []
        monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *_: str(path) if path else "")
        monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: asked.append(text) or replace)
        return asked

    return answer


def test_saved_tables_are_those_of_the_command(bench, save_as, tmp_path):
    from MedMetaSegLib.imageio.writing import replace_all
    from MedMetaSegLib.measurements.table import table_writers

    bench.tick("metastasis").measure()
    asked = save_as(tmp_path / "patient.csv")
    bench.ui.saveTableButton.click()
    assert asked == []
    replace_all(table_writers(tmp_path / "other.csv", bench.panel.measureTab._measured.measurements))
    for ending in (".csv", "_lesions.csv"):
        saved, expected = (tmp_path / f"{name}{ending}" for name in ("patient", "other"))
        assert saved.read_bytes() == expected.read_bytes()
    assert "patient_lesions.csv" in shown(bench.panel)["result"]


def test_files_the_dialog_did_not_ask_about_are_asked_about(bench, save_as, tmp_path):
    bench.tick("metastasis").measure()
    for name in ("patient.csv", "patient_lesions.csv"):
        (tmp_path / name).write_text("mine")
    refused = save_as(tmp_path / "patient", replace=False)
    bench.ui.saveTableButton.click()
    assert refused == ["These files are there already; replace them? patient.csv, patient_lesions.csv"]
    assert (tmp_path / "patient.csv").read_text(encoding="utf-8") == "mine"
    asked = save_as(tmp_path / "patient.csv")
    bench.ui.saveTableButton.click()
    assert asked == ["These files are there already; replace them? patient_lesions.csv"]
    assert "metastasis" in (tmp_path / "patient_lesions.csv").read_text(encoding="utf-8")


def test_a_table_that_cannot_be_written_is_an_error_and_a_dialog_without_answer_is_not(
    bench, save_as, tmp_path
):
    bench.measure()
    save_as(tmp_path / "nowhere" / "patient.csv")
    bench.ui.saveTableButton.click()
    assert "patient.csv" in shown(bench.panel)["error"]
    save_as(None)
    bench.ui.saveTableButton.click()
    assert shown(bench.panel) == {}


# ---------------------------------------------------------------- what cannot be measured, and what goes


def test_what_cannot_be_measured_is_said_and_older_figures_are_gone(bench):
    bench.measure()
    bench.volumeNode.SetSpacing(1, 1, 1)
    bench.measure()
    assert "does not lie on the voxels" in shown(bench.panel)["error"]
    assert bench.segments()[0] == ("liver", "", "", "")
    assert bench.lesions() == []


def test_it_says_what_to_choose(panel):
    panel.ui.tabs.setCurrentIndex(MEASURE_TAB)
    hint = panel.ui.measureHintLabel
    assert (hint.text, panel.ui.measureButton.enabled) == ("Choose a volume.", False)
    panel.ui.tabs.setCurrentIndex(0)


@pytest.mark.parametrize("goes", ["volumeNode", "paintedNode"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_with_a_node_that_is_removed_its_figures_and_lines_go(bench, goes, elsewhere):
    bench.measure()
    bench.ui.diametersButton.click()
    if elsewhere:
        bench.panel.exit()
    bench.scene.RemoveNode(getattr(bench, goes))
    assert bench.lesions() == []
    assert bench.lines() == []
    if elsewhere:
        bench.panel.enter()
    assert not bench.ui.measureButton.enabled


def test_another_segmentation_has_its_own_segments_and_ticks(bench):
    bench.tick("metastasis").measure()
    other = bench.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Other")
    fx.addSegment(other, "spleen", bench.truth == LABEL["spleen"], bench.matrix)
    bench.ui.measureSegmentationSelector.setCurrentNode(other)
    assert bench.segments() == [("spleen", "", "", "")]
    assert bench.lesions() == []
    assert bench.panel.parameters.lesionSegmentIds == []
    assert bench.panel.parameters.segmentation is bench.paintedNode


def test_closing_the_scene_empties_the_tab(bench):
    bench.measure()
    bench.ui.diametersButton.click()
    bench.scene.Clear(0)
    assert bench.ui.measureTable.rowCount == 0
    assert bench.lesions() == []
    assert bench.ui.measureSummaryLabel.isHidden()
    assert bench.ui.diametersButton.text == "Show diameters"


def test_nothing_needs_to_be_installed(bench, monkeypatch):
    monkeypatch.setattr(bench.panel.installation._packages, "version", lambda one: None)
    bench.measure()
    assert "error" not in shown(bench.panel)
    assert len(bench.lesions()) >= 5


# ---------------------------------------------------------------- while it is being measured


@pytest.fixture
def while_measuring(bench, monkeypatch):
    """Have something done at the first moment that the windows get; the moments come at every step."""
    import qt

    from MedMetaSegLib.scene.panel import foreground_work

    monkeypatch.setattr(foreground_work, "_EVENTS_EVERY_S", 0)

    timer = qt.QTimer()
    timer.setSingleShot(True)

    def do(action):
        timer.connect("timeout()", action)
        timer.start(0)

    return do


def test_progress_is_shown_and_cancel_stops_it(bench, while_measuring):
    seen = []

    def cancel():
        seen.append((bench.panel.isBusy, bench.ui.cancelButton.isHidden(), bench.ui.measureButton.enabled))
        bench.ui.cancelButton.click()

    while_measuring(cancel)
    bench.measure()
    assert seen == [(True, False, False)]
    assert shown(bench.panel) == {"result": "Cancelled: nothing was measured."}
    assert bench.lesions() == []
    assert not bench.panel.isBusy
    assert bench.ui.cancelButton.isHidden()
    bench.measure()
    assert len(bench.lesions()) >= 5


def test_the_scene_closed_or_the_module_left_meanwhile_is_no_trouble(bench, while_measuring):
    while_measuring(bench.panel.exit)
    bench.measure()
    assert not bench.panel.isBusy
    bench.panel.enter()
    assert bench.lesions() == []
    while_measuring(lambda: bench.scene.Clear(0))
    bench.measure()
    assert not bench.panel.isBusy
    assert bench.ui.measureTable.rowCount == 0


def test_of_a_node_that_is_removed_meanwhile_nothing_is_shown(bench, while_measuring):
    while_measuring(lambda: bench.scene.RemoveNode(bench.paintedNode))
    bench.measure()
    assert bench.lesions() == []
    assert not bench.ui.measureButton.enabled


def test_what_is_painted_meanwhile_is_not_what_was_measured(bench, while_measuring):
    while_measuring(lambda: bench.paint("liver", [10, 11]))
    bench.measure()
    assert "Out of date" in bench.stale()
