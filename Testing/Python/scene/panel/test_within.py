"""The choice "Only within" of the panel: what is chosen is sent, and nothing else in its place."""

from __future__ import annotations

import numpy as np
import pytest

from MedMetaSegLib.demo.phantom import LABEL, painted_slices
from panel_bench import running, shown, stand_in_worker, until


@pytest.fixture
def client(bench, monkeypatch):
    """A worker that answers at once; the volume and the painting are chosen."""
    one = stand_in_worker(bench, monkeypatch)
    bench.paint("spleen").choose()
    return one


@pytest.fixture
def roi(bench):
    node = bench.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
    node.SetCenter(*(bench.matrix @ (45, 35, 12, 1))[:3])
    node.SetSize(80, 80, 80)
    return node


def press(bench):
    bench.press()
    until(lambda: not running(bench.panel))


def sent(bench, client):
    """The region that was sent last, bool (k, j, i); None for everywhere."""
    region = client.sent[-1]["within"]
    return None if region is None else region.on_block([slice(0, size) for size in bench.truth.shape])


def choose_segment(bench, text):
    combo = bench.ui.withinSegmentCombo
    combo.setCurrentText(text)
    combo.activated.emit(combo.currentIndex)


def segment_texts(bench):
    combo = bench.ui.withinSegmentCombo
    return [combo.itemText(row) for row in range(combo.count)]


def test_without_a_choice_it_is_looked_for_everywhere(bench, client):
    assert bench.ui.withinSegmentCombo.isHidden()
    press(bench)
    assert sent(bench, client) is None


def test_an_roi_is_sent_as_the_voxels_in_its_box(bench, client, roi):
    from MedMetaSegLib.scene.region import readRegion

    bench.ui.withinSelector.setCurrentNode(roi)
    assert bench.ui.withinSegmentCombo.isHidden()
    press(bench)
    assert client.sent[-1]["within"].source == "Box"
    assert client.sent[-1]["within"].digest == readRegion(roi, bench.volumeNode).digest
    bench.ui.withinSelector.setCurrentNode(None)
    press(bench)
    assert sent(bench, client) is None


def test_all_segments_or_one_of_them_can_be_chosen(bench, client):
    masks = {name: bench.mask(name, painted_slices(bench.truth, LABEL[name])) for name in bench.ids}
    bench.ui.withinSelector.setCurrentNode(bench.paintedNode)
    assert not bench.ui.withinSegmentCombo.isHidden()
    assert segment_texts(bench) == ["all segments", "liver", "spleen"]
    press(bench)
    np.testing.assert_array_equal(sent(bench, client), masks["liver"] | masks["spleen"])
    choose_segment(bench, "spleen")
    press(bench)
    np.testing.assert_array_equal(sent(bench, client), masks["spleen"])
    assert client.sent[-1]["within"].source == "Painted: spleen"


def test_a_node_that_is_removed_is_chosen_no_more(bench, client, roi):
    other = bench.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Other")
    bench.ui.withinSelector.setCurrentNode(roi)
    bench.scene.RemoveNode(roi)
    assert bench.panel.parameters.within is None
    assert bench.ui.withinSelector.currentNode() is None
    assert other.GetScene() is bench.scene
    press(bench)
    assert sent(bench, client) is None


def test_a_segment_that_is_removed_is_not_replaced_by_others(bench, client):
    bench.ui.withinSelector.setCurrentNode(bench.paintedNode)
    choose_segment(bench, "spleen")
    bench.paintedNode.GetSegmentation().RemoveSegment(bench.ids["spleen"])
    until(lambda: not bench.panel.segmentTab.describeTimer.isActive())
    bench.ui.segmentButton.click()
    assert "no longer in 'Painted'" in shown(bench.panel)["error"]
    assert client.sent == []
    bench.ui.outputSelector.setCurrentNode(bench.paintedNode)
    assert segment_texts(bench) == ["all segments", "liver", "(removed)"]
    assert bench.ui.withinSegmentCombo.currentText == "(removed)"


def test_another_node_is_chosen_with_all_of_its_segments(bench, client):
    other = bench.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Other")
    other.GetSegmentation().AddEmptySegment("", "lung")
    bench.ui.withinSelector.setCurrentNode(bench.paintedNode)
    choose_segment(bench, "spleen")
    bench.ui.withinSelector.setCurrentNode(other)
    assert bench.panel.parameters.withinSegmentId == ""
    assert segment_texts(bench) == ["all segments", "lung"]
    bench.ui.segmentButton.click()
    assert "The region is empty" in shown(bench.panel)["error"]
    assert client.sent == []


def test_the_choice_is_kept_in_the_scene(bench, client):
    bench.ui.withinSelector.setCurrentNode(bench.paintedNode)
    choose_segment(bench, "spleen")
    bench.panel.exit()
    bench.panel.enter()
    assert bench.panel.parameters.within is bench.paintedNode
    assert bench.ui.withinSelector.currentNode() is bench.paintedNode
    assert bench.ui.withinSegmentCombo.currentText == "spleen"


def test_the_result_says_within_what_it_was_looked_for(bench, client, roi):
    from MedMetaSegLib.scene.panel.segment_tab import summary

    entries = [{"name": "liver", "millilitres": 1500.0}]
    within = {"voxels": 9, "millilitres": 1.234, "source": "Box"}
    lines = summary({"structures": entries, "within": within, "notes": ["A note."]}, 2.0).splitlines()
    assert lines[1:] == ["Only within Box, 1.23\N{NO-BREAK SPACE}ml.", "A note."]
    assert len(summary({"structures": entries}, 2.0).splitlines()) == 1
