"""The embedded Segment Editor beside that of Slicer's module: who hears of a stroke, and whose Undo it is."""

from __future__ import annotations

import numpy as np
import pytest

import scene_phantom as fx
import scene_positions as at
from Harness.segment_editor import views
from panel_bench import running, shown, stand_in_worker, until


@pytest.fixture
def module_editor(bench, application):
    """The bench after the user has painted in Slicer's own module; forgotten in the end."""
    selector = application.mainWindow().moduleSelector()
    bench.choose()
    bench.ui.paintButton.click()
    assert selector.selected == "SegmentEditor"
    selector.selectModule("MedMetaSeg")
    yield selector.modules["SegmentEditor"].editor
    selector.modules["SegmentEditor"].forget()


@pytest.fixture
def embedded(bench):
    """The editor in the panel, shown; taken out in the end, so that the next test has a fresh one."""
    bench.choose()
    bench.ui.paintHereCheck.setChecked(True)
    tab = bench.panel.segmentTab
    yield tab._editor._editor
    bench.ui.paintHereCheck.setChecked(False)


def stroke(bench, i=5):
    """Paint a bar on one slice; who took it, and how many voxels the painted segment has now."""
    from MedMetaSegLib.scene.space import imageFromMask

    mask = np.zeros(bench.truth.shape, bool)
    mask[2, 3:6, i : i + 4] = True
    return views.stroke(imageFromMask(mask, (0, 0, 0), bench.matrix)), voxels(bench)


def voxels(bench):
    return int(at.storedMask(bench.paintedNode, bench.ids["liver"])[0].sum())


def segmented(bench, monkeypatch):
    stand_in_worker(bench, monkeypatch)
    bench.press()
    until(lambda: not running(bench.panel))


def test_strokes_and_their_undo_belong_to_the_editor_that_is_seen(bench, module_editor, embedded):
    before = voxels(bench)
    taker, after = stroke(bench)
    assert taker is embedded
    assert after == before + 12
    embedded.undo()
    assert voxels(bench) == before
    assert module_editor.activeEffect() is None
    assert embedded.mrmlSegmentEditorNode() is not module_editor.mrmlSegmentEditorNode()


def test_it_listens_to_views_and_keys_only_while_it_is_shown(bench, application, embedded):
    selector = application.mainWindow().moduleSelector()
    assert (views.listeners, views.shortcuts) == ([embedded], [embedded])
    bench.ui.paintHereCheck.setChecked(False)
    assert (views.listeners, views.shortcuts) == ([], [])
    bench.ui.paintHereCheck.setChecked(True)
    assert views.listeners == [embedded]
    selector.selectModule("Welcome")
    assert (views.listeners, views.shortcuts) == ([], [])
    selector.selectModule("MedMetaSeg")
    assert (views.listeners, views.shortcuts) == ([], [])
    bench.ui.paintHereCheck.setChecked(True)
    bench.scene.Clear(0)
    assert (views.listeners, views.shortcuts) == ([], [])
    assert embedded.mrmlSegmentEditorNode() is None
    assert bench.ui.editorPlace.isHidden()


def test_it_takes_no_strokes_while_another_tab_is_looked_at(bench, embedded):
    bench.ui.tabs.setCurrentIndex(1)
    before = voxels(bench)
    assert stroke(bench) == (None, before)
    assert (views.listeners, views.shortcuts) == ([], [])
    bench.ui.tabs.setCurrentIndex(0)
    assert not bench.ui.editorPlace.isHidden()
    assert stroke(bench) == (embedded, before + 12)


def test_it_goes_with_the_volume_that_it_shows(bench, embedded):
    bench.scene.RemoveNode(bench.volumeNode)
    assert views.listeners == []
    assert not bench.ui.paintHereCheck.checked
    for index in (1, 0):
        bench.ui.tabs.setCurrentIndex(index)
    assert bench.ui.editorPlace.isHidden()


def test_it_is_shown_on_a_new_segmentation_where_there_was_none(bench):
    bench.scene.RemoveNode(bench.paintedNode)
    bench.ui.volumeSelector.setCurrentNode(bench.volumeNode)
    bench.ui.paintHereCheck.setChecked(True)
    assert bench.ui.paintHereCheck.checked
    assert not bench.ui.editorPlace.isHidden()
    editor = bench.panel.segmentTab._editor._editor
    assert editor.segmentationNode() is bench.panel.parameters.segmentation
    assert views.listeners == [editor]
    bench.ui.paintHereCheck.setChecked(False)
    assert views.listeners == []


def test_it_can_be_shown_again_after_the_scene_was_closed(bench, embedded, patient):
    from panel_bench import Bench

    bench.scene.Clear(0)
    again = Bench(bench.panel, patient).paint("liver").choose()
    again.ui.paintHereCheck.setChecked(True)
    before = voxels(again)
    assert stroke(again) == (embedded, before + 12)


def test_in_slicers_own_module_strokes_go_to_its_editor(bench, application, embedded, module_editor):
    bench.ui.paintButton.click()
    before = voxels(bench)
    assert stroke(bench) == (module_editor, before + 12)
    module_editor.undo()
    assert voxels(bench) == before


def test_accept_takes_the_masking_of_the_editor_in_use(bench, monkeypatch, module_editor, embedded):
    module_editor.mrmlSegmentEditorNode().SetSourceVolumeIntensityMask(True)
    module_editor.mrmlSegmentEditorNode().SetSourceVolumeIntensityMaskRange(9000, 9001)
    segmented(bench, monkeypatch)
    bench.ui.acceptButton.click()
    assert bench.dice(bench.paintedNode, "liver") > 0.999
    bench.ui.undoButton.click()
    bench.ui.paintHereCheck.setChecked(False)
    before = fx.snapshot(bench.paintedNode)
    bench.ui.acceptButton.click()
    assert "Nothing was changed: the editable intensity range (9000 to 9001)" in shown(bench.panel)["error"]
    assert [one[0] for one in fx.snapshot(bench.paintedNode).values()] == [one[0] for one in before.values()]
    assert not bench.ui.undoButton.enabled


@pytest.mark.parametrize("shows", [True, False])
def test_accept_goes_into_the_history_of_the_editor_that_is_seen(
    bench, monkeypatch, module_editor, embedded, shows
):
    bench.ui.paintHereCheck.setChecked(shows)
    segmented(bench, monkeypatch)
    before = voxels(bench)
    bench.ui.acceptButton.click()
    assert voxels(bench) > before
    (embedded if shows else module_editor).undo()
    assert voxels(bench) == before


def test_undo_never_takes_back_a_stroke_after_accept(bench, monkeypatch, module_editor, embedded):
    segmented(bench, monkeypatch)
    bench.ui.acceptButton.click()
    _, after = stroke(bench)
    bench.ui.undoButton.click()
    assert voxels(bench) == after
    until(lambda: not bench.panel.segmentTab.describeTimer.isActive())
    assert not bench.ui.undoButton.enabled
    assert "Undone" not in shown(bench.panel).get("result", "")
    embedded.undo()
    embedded.undo()
    assert voxels(bench) < after
