"""The Measure tab on the harness: real nodes, real measuring, and what the user sees and presses."""

from __future__ import annotations

import numpy as np
import pytest

import scene_phantom as fx
from measure_bench import MEASURE_TAB
from MedMetaSegLib.demo.phantom import LABEL
from panel_bench import shown
from slice_nodes import place_of


@pytest.fixture
def bench(measure_bench):
    return measure_bench


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
