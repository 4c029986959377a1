"""The Measure tab on the harness: real nodes, real measuring, and what the user sees and presses."""

from __future__ import annotations

import numpy as np
import pytest

import scene_phantom as fx
from MedMetaSegLib.demo.phantom import LABEL
from panel_bench import Bench, shown, until
from slice_nodes import place_of

MEASURE_TAB = 3


class MeasureBench(Bench):
    """The patient with two whole organs and a segment of three boxes, in the Measure tab."""

    # First voxel and size (k, j, i) of each, far from one another; the last is below 1500 mm3.
    BOXES = (((2, 4, 4), (3, 6, 4)), ((10, 4, 60), (2, 3, 3)), ((18, 50, 8), (1, 2, 2)))

    def __init__(self, panel, patient):
        super().__init__(panel, patient)
        for name in ("liver", "spleen"):
            self.ids[name] = fx.addSegment(self.paintedNode, name, self.truth == LABEL[name], self.matrix)
        boxes = np.zeros(self.truth.shape, bool)
        for start, size in self.BOXES:
            boxes[tuple(slice(low, low + length) for low, length in zip(start, size, strict=True))] = True
        self.ids["metastasis"] = fx.addSegment(self.paintedNode, "metastasis", boxes, self.matrix)
        self.choose()
        self.ui.tabs.setCurrentIndex(MEASURE_TAB)

    def tick(self, name, ticked=True):
        import qt

        row = [one[0] for one in self.segments()].index(name)
        state = qt.Qt.Checked if ticked else qt.Qt.Unchecked
        self.ui.measureTable.item(row, 1).setCheckState(state)
        return self

    def measure(self):
        self.ui.measureButton.click()
        return self

    def segments(self):
        """Name, volume, mean and border of each row."""
        table = self.ui.measureTable
        return [
            tuple(table.item(row, column).text() for column in (0, 2, 3, 4)) for row in range(table.rowCount)
        ]

    def lesions(self):
        table = self.ui.lesionTable
        return [
            tuple(table.item(row, column).text() for column in range(table.columnCount))
            for row in range(table.rowCount)
        ]

    def measured(self, name):
        return self.panel.measureTab._measured.measurements.structure(name)

    def stale(self):
        until(lambda: not self.panel.measureTab.lookTimer.isActive())
        return self.ui.measureStaleLabel.text

    def lines(self):
        import slicer.util

        return slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode")

    def tables(self):
        import slicer.util

        return {node.GetName(): node for node in slicer.util.getNodesByClass("vtkMRMLTableNode")}


@pytest.fixture
def bench(panel, patient):
    yield MeasureBench(panel, patient)
    panel.ui.tabs.setCurrentIndex(0)


def test_what_segment_used_is_chosen_and_every_segment_is_listed(bench):
    assert bench.ui.measureVolumeSelector.currentNode() is bench.volumeNode
    assert bench.ui.measureSegmentationSelector.currentNode() is bench.paintedNode
    assert [one[0] for one in bench.segments()] == ["liver", "spleen", "metastasis"]
    assert bench.lesions() == []
    assert not bench.ui.saveTableButton.enabled
    assert "Tick the segments" in bench.ui.measureSummaryLabel.text
    bench.tick("metastasis")
    assert bench.ui.measureSummaryLabel.isHidden()


def test_a_press_fills_both_tables_and_changes_nothing_in_the_scene(bench):
    before, nodes = fx.snapshot(bench.paintedNode), bench.scene.GetNumberOfNodes()
    bench.tick("metastasis").measure()
    assert shown(bench.panel) == {}
    name, volume, mean, border = bench.segments()[0]
    liver = bench.measured("liver")
    assert (name, border) == ("liver", "")
    assert float(volume) == pytest.approx(liver.volume_cm3, abs=0.05)
    assert mean == f"{liver.intensity.mean:.4g} ± {liver.intensity.stdev:.3g}"
    lesions = bench.measured("metastasis").lesions
    assert [one[:2] for one in bench.lesions()] == [
        ("metastasis 1", "9.22"),
        ("metastasis 2", "2.30"),
        ("metastasis 3", "0.512"),
    ]
    for row, lesion in zip(bench.lesions(), lesions, strict=True):
        diameters = f"{lesion.longest.length_mm:.1f} × {lesion.perpendicular.length_mm:.1f}"
        nearest = f"{lesion.nearest_structure}, {lesion.nearest_mm:.0f} mm"
        assert row[2:] == (diameters, str(lesion.slice_index), nearest)
    assert bench.ui.measureSummaryLabel.text == "metastasis: 3 lesions, 12.0 cm³ in all"
    assert bench.stale() == ""
    assert fx.snapshot(bench.paintedNode) == before
    assert bench.scene.GetNumberOfNodes() == nodes


def test_with_none_ticked_the_parts_of_all_are_listed(bench):
    bench.measure()
    assert {one[0] for one in bench.lesions()} >= {"liver 1", "spleen 1", "metastasis 1", "metastasis 3"}
    text = f"Connected parts of all segments: {len(bench.lesions())}; not counted: 0 below 10 mm³"
    assert bench.ui.measureSummaryLabel.text == text


def test_what_is_chosen_is_measured_and_kept_in_the_scene(bench):
    import qt

    bench.tick("metastasis")
    bench.ui.neighboursCombo.setCurrentIndex(0)
    bench.ui.smallestSpin.setValue(1500)
    parameters = bench.panel.parameters
    assert parameters.lesionSegmentIds == [bench.ids["metastasis"]]
    bench.measure()
    options = bench.panel.measureTab._measured.measurements.options
    assert (options.lesions, options.connectivity, options.smallest_mm3) == (("metastasis",), 6, 1500)
    assert len(bench.lesions()) == 2
    assert "not counted: 1 below 1500 mm³ (0.512 cm³)" in bench.ui.measureSummaryLabel.text
    bench.panel.exit()
    bench.panel.enter()
    assert bench.ui.measureTable.item(2, 1).checkState() == qt.Qt.Checked
    assert len(bench.lesions()) == 2


def test_other_choices_than_those_that_were_measured_with_are_said(bench):
    bench.tick("metastasis").measure()
    bench.ui.smallestSpin.setValue(1500)
    assert "other choices" in bench.ui.measureStaleLabel.text
    bench.ui.smallestSpin.setValue(10)
    assert bench.stale() == ""
    bench.tick("liver")
    assert "other choices" in bench.ui.measureStaleLabel.text


def test_the_tips_tell_everything_of_a_segment_and_of_a_lesion(bench):
    fx.addSegment(bench.paintedNode, "nothing", None, bench.matrix)
    bench.stale()
    assert bench.ui.measureTable.item(0, 0).toolTip() == "liver: press Measure."
    bench.measure()
    tip = bench.ui.measureTable.item(0, 0).toolTip()
    liver = bench.measured("liver")
    assert f"{liver.voxel_count} voxels" in tip
    assert f"Feret diameter {liver.feret_diameter_mm:.1f} mm" in tip
    assert bench.ui.measureTable.item(3, 0).toolTip() == "nothing: it has no voxels."
    assert bench.segments()[3] == ("nothing", "0", "", "")
    assert "Diameters in slice" in bench.ui.lesionTable.item(0, 0).toolTip()


def test_definitions_and_limits_are_told(bench):
    assert "look at every result" in bench.ui.measureLimitsLabel.text
    bench.ui.neighboursCombo.setCurrentIndex(1)
    bench.measure()
    bench.ui.measureLegendBox.collapsed = False
    text = bench.ui.measureLegendLabel.text
    assert "longest in any axial slice" in text
    assert "Shown: 18 neighbours, from 10 mm³." in text


# ---------------------------------------------------------------- out of date


def test_figures_are_out_of_date_after_painting_and_not_after_undoing_that(bench):
    bench.measure()
    bench.ui.lesionTable.selectRow(1)
    bench.paint("liver", [10, 11])
    assert "Out of date" in bench.stale()
    assert bench.segments()[0][1] != ""
    assert bench.ui.goToLesionButton.enabled
    bench.paint("liver", range(bench.truth.shape[0]))
    assert bench.stale() == ""


def test_what_changed_while_the_user_was_elsewhere_is_seen_when_they_come_back(bench):
    bench.measure()
    bench.panel.exit()
    bench.paint("liver", [10, 11])
    bench.panel.enter()
    assert "Out of date" in bench.ui.measureStaleLabel.text
    bench.ui.tabs.setCurrentIndex(0)
    bench.paint("liver", range(bench.truth.shape[0]))
    bench.ui.tabs.setCurrentIndex(MEASURE_TAB)
    assert bench.ui.measureStaleLabel.text == ""


def change_spacing(bench):
    bench.volumeNode.SetSpacing(1, 1, 1)


def change_voxels(bench):
    import slicer.util

    slicer.util.arrayFromVolume(bench.volumeNode)[0, 0, 0] += 1
    slicer.util.arrayFromVolumeModified(bench.volumeNode)


def move_volume(bench):
    transform = fx.linear(bench.scene, fx.moved(1, 0, 0))
    bench.volumeNode.SetAndObserveTransformNodeID(transform.GetID())


def move_segmentation(bench):
    transform = fx.linear(bench.scene, fx.moved(1, 0, 0))
    bench.paintedNode.SetAndObserveTransformNodeID(transform.GetID())


def rename_segment(bench):
    bench.paintedNode.GetSegmentation().GetSegment(bench.ids["liver"]).SetName("Liver")


@pytest.mark.parametrize(
    "change", [change_spacing, change_voxels, move_volume, move_segmentation, rename_segment]
)
def test_figures_are_out_of_date_after_any_change_of_what_was_measured(bench, change):
    bench.measure()
    change(bench)
    assert "Out of date" in bench.stale()


def test_a_new_segment_is_listed_and_the_figures_are_out_of_date(bench):
    bench.measure()
    fx.addSegment(bench.paintedNode, "kidney", bench.truth == LABEL["left kidney"], bench.matrix)
    assert "Out of date" in bench.stale()
    assert bench.segments()[3] == ("kidney", "", "", "")


# ---------------------------------------------------------------- in the views


def test_a_double_click_moves_all_slice_views_to_the_longest_diameter(bench, slice_view):
    views = [slice_view(plane) for plane in ("axial", "coronal", "sagittal")]
    bench.tick("metastasis").measure()
    bench.ui.lesionTable.cellDoubleClicked.emit(1, 0)
    lesion = bench.measured("metastasis").lesions[1]
    for view in views:
        assert np.allclose(place_of(view), np.mean(lesion.longest.ends_ras, axis=0))


def test_the_button_goes_to_the_chosen_lesion_where_the_volume_is_now(bench, slice_view):
    view = slice_view("axial")
    bench.tick("metastasis").measure()
    assert not bench.ui.goToLesionButton.enabled
    bench.ui.lesionTable.selectRow(2)
    transform = fx.linear(bench.scene, fx.moved(5, 6, 7))
    bench.volumeNode.SetAndObserveTransformNodeID(transform.GetID())
    bench.ui.goToLesionButton.click()
    lesion = bench.measured("metastasis").lesions[2]
    assert np.allclose(place_of(view), np.mean(lesion.longest.ends_ras, axis=0) + (5, 6, 7))


def test_without_a_slice_view_it_says_so(bench):
    bench.measure()
    bench.ui.lesionTable.cellDoubleClicked.emit(0, 0)
    assert "choose a layout" in shown(bench.panel)["error"]


def test_diameters_of_all_or_of_the_chosen_lesions_come_and_go(bench):
    bench.tick("metastasis").measure()
    bench.ui.diametersButton.click()
    assert len(bench.lines()) == 6
    bench.ui.diametersButton.click()
    assert bench.lines() == []
    bench.ui.lesionTable.selectRow(1)
    bench.ui.diametersButton.click()
    names = [one.GetName() for one in bench.lines()]
    assert names == ["metastasis 2 longest", "metastasis 2 perpendicular"]
    assert bench.ui.diametersButton.text == "Hide diameters"
    bench.measure()
    assert bench.lines() == []
    assert bench.ui.diametersButton.text == "Show diameters"


def test_when_not_all_diameters_are_drawn_it_is_said(bench, monkeypatch):
    from MedMetaSegLib.scene import diameter_lines

    monkeypatch.setattr(diameter_lines, "MOST_LESIONS", 2)
    bench.tick("metastasis").measure()
    bench.ui.diametersButton.click()
    assert len(bench.lines()) == 4
    assert shown(bench.panel) == {"result": "Diameters of the 2 largest of 3 lesions are shown."}


# ---------------------------------------------------------------- tables


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
