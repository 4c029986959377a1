"""Where the answer is unsure, in the panel, with a stand-in worker: asked for by a tick, gone without it."""

from __future__ import annotations

import numpy as np
import pytest

import scene_phantom as fx
from panel_bench import nodes, running, settle, stand_in_worker, until
from slice_nodes import shown_volumes

BEFORE = 0.3
"""Opacity of the foreground that the user had."""


@pytest.fixture
def stand_in(bench, monkeypatch):
    client = stand_in_worker(bench, monkeypatch)
    client.unsure = np.random.default_rng(0).integers(0, 256, bench.truth.shape, np.uint8)
    bench.choose()
    return client


@pytest.fixture
def view(bench, composite):
    """A slice view of the volume with a foreground of the user's own."""
    view = composite("Red", bench.volumeNode)
    view.SetForegroundVolumeID(fx.addVolume(bench.scene, name="MR").GetID())
    view.SetForegroundOpacity(BEFORE)
    return view


def press(bench):
    bench.press()
    until(lambda: not running(bench.panel))


def map_of(bench):
    """The node of the map, None while there is none."""
    return bench.scene.GetFirstNodeByName("Phantom (uncertainty)")


def test_without_the_tick_the_stand_in_is_not_asked_for_a_map(bench, stand_in, view):
    before = shown_volumes(view)
    assert not bench.ui.uncertaintyCheck.checked
    press(bench)
    assert stand_in.sent[0]["uncertainty"] is False
    assert map_of(bench) is None
    assert shown_volumes(view) == before


def test_with_the_tick_a_press_shows_the_map_and_the_next_one_replaces_it(bench, stand_in, view):
    import slicer.util

    offered = bench.ui.volumeSelector.nodeCount()
    bench.ui.uncertaintyCheck.click()
    assert bench.panel.parameters.showUncertainty
    for _ in range(2):
        stand_in.unsure = stand_in.unsure[::-1]
        press(bench)
        assert stand_in.sent[-1]["uncertainty"] is True
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(map_of(bench)), stand_in.unsure)
        assert shown_volumes(view) == (bench.volumeNode.GetID(), map_of(bench).GetID(), 0.5)
        assert bench.scene.GetNodesByName("Phantom (uncertainty)").GetNumberOfItems() == 1
    assert bench.ui.volumeSelector.nodeCount() == offered
    assert bench.panel.parameters.volume is bench.volumeNode


def test_without_the_tick_again_nothing_of_the_map_is_left(bench, stand_in, view):
    press(bench)
    before, shown = nodes(bench.scene), shown_volumes(view)
    bench.ui.uncertaintyCheck.click()
    press(bench)
    assert map_of(bench) is not None
    bench.ui.uncertaintyCheck.click()
    assert nodes(bench.scene) == before
    assert shown_volumes(view) == shown


def test_the_map_goes_with_back_and_with_another_volume(bench, stand_in, view):
    shown = shown_volumes(view)
    bench.ui.uncertaintyCheck.click()
    press(bench)
    assert map_of(bench) is not None
    bench.ui.backButton.click()
    assert map_of(bench) is None
    assert shown_volumes(view) == shown
    press(bench)
    assert map_of(bench) is not None
    bench.ui.volumeSelector.setCurrentNode(bench.scene.GetFirstNodeByName("MR"))
    settle(bench.panel)
    assert map_of(bench) is None
    assert shown_volumes(view) == shown


def test_the_map_stays_while_the_user_paints_in_another_module(application, bench, stand_in, view):
    bench.ui.uncertaintyCheck.click()
    press(bench)
    modules = application.mainWindow().moduleSelector()
    modules.selectModule("Welcome")
    assert map_of(bench) is not None
    modules.selectModule("MedMetaSeg")
    assert map_of(bench) is not None
    modules.selectModule("Welcome")
    bench.scene.RemoveNode(bench.volumeNode)
    assert map_of(bench) is None
    modules.selectModule("MedMetaSeg")


def test_the_map_goes_with_the_scene(bench, stand_in, view):
    bench.ui.uncertaintyCheck.click()
    press(bench)
    assert map_of(bench) is not None
    bench.scene.Clear(0)
    assert bench.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    assert bench.panel.segmentTab._overlay.node is None


def test_a_volume_that_no_list_shows_is_not_chosen(panel):
    import slicer

    fx.addVolume(slicer.mrmlScene).SetHideFromEditors(True)
    panel.exit()
    panel.enter()
    assert panel.parameters.volume is None
