"""Further volumes in the Segment tab: ticked in a menu, kept in the scene, sent, and told how they voted."""

from __future__ import annotations

import pytest

import scene_phantom as fx
from panel_bench import running, settle, shown, stand_in_worker, until


@pytest.fixture
def worker(bench, monkeypatch):
    client = stand_in_worker(bench, monkeypatch)
    bench.choose()
    return client


def press(bench):
    bench.press()
    until(lambda: not running(bench.panel))


def menu(bench):
    """What the button offers when it is pressed, by name."""
    bench.ui.channelsButton.pressed.emit()
    return {action.text: action for action in bench.ui.channelsButton.menu().actions()}


def tick(bench, *names):
    for name in names:
        menu(bench)[name].trigger()


def test_the_menu_lists_the_other_volumes(bench, worker):
    fx.addVolume(bench.scene, name="T1 & T2")
    hidden = fx.addVolume(bench.scene, name="Of a module")
    hidden.SetHideFromEditors(True)
    bench.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    assert {name: action.checked for name, action in menu(bench).items()} == {"T1 && T2": False}
    assert bench.ui.channelsButton.text == "Also use ..."


def test_ticked_volumes_are_sent_and_stay_ticked(bench, worker):
    for name in ("T1", "FLAIR"):
        fx.addVolume(bench.scene, name=name)
    tick(bench, "T1", "FLAIR")
    assert bench.ui.channelsButton.text == "Also: T1, FLAIR"
    press(bench)
    assert [one.name for one in worker.sent[-1]["channels"]] == ["T1", "FLAIR"]
    assert len(set(worker.sent[-1]["channel_keys"])) == 2
    tick(bench, "T1")
    press(bench)
    assert [one.name for one in worker.sent[-1]["channels"]] == ["FLAIR"]
    assert {name: action.checked for name, action in menu(bench).items()} == {"T1": False, "FLAIR": True}


def test_many_volumes_are_counted(bench, worker):
    for name in ("T1", "T2", "FLAIR"):
        fx.addVolume(bench.scene, name=name)
    tick(bench, "T1", "T2", "FLAIR")
    assert bench.ui.channelsButton.text == "Also 3 volumes"


def test_of_a_volume_that_is_removed_nothing_is_left(bench, worker):
    node = fx.addVolume(bench.scene, name="T1")
    fx.addVolume(bench.scene, name="T2")
    tick(bench, "T1", "T2")
    bench.scene.RemoveNode(node)
    assert bench.ui.channelsButton.text == "Also: T2"
    press(bench)
    assert [one.name for one in worker.sent[-1]["channels"]] == ["T2"]


def test_a_volume_that_is_painted_on_is_not_its_own_channel(bench, worker):
    node = fx.addVolume(bench.scene, name="T1")
    tick(bench, "T1")
    bench.ui.volumeSelector.setCurrentNode(node)
    assert bench.ui.channelsButton.text == "Also use ..."
    assert list(menu(bench)) == ["Phantom"]


def test_the_choice_is_kept_in_the_scene(bench, worker, tmp_path):
    fx.addVolume(bench.scene, name="T1")
    tick(bench, "T1")
    path = str(tmp_path / "scene.mrb")
    assert bench.scene.WriteToMRB(path)
    bench.scene.Clear(0)
    assert bench.ui.channelsButton.text == "Also use ..."
    assert bench.scene.ReadFromMRB(path, True)
    settle(bench.panel)
    assert [one.GetName() for one in bench.panel.parameters.channels] == ["T1"]
    assert bench.ui.channelsButton.text == "Also: T1"


def test_two_volumes_of_one_name_are_an_error(bench, worker):
    fx.addVolume(bench.scene, name="Phantom")
    tick(bench, "Phantom")
    bench.ui.segmentButton.click()
    assert "Two volumes are called 'Phantom'" in shown(bench.panel)["error"]
    assert worker.sent == []


def test_how_each_volume_voted_is_told(bench, worker):
    fx.addVolume(bench.scene, name="T1")
    tick(bench, "T1")
    votes = [
        {"name": "Phantom", "millilitres": 12.0, "dice_with_result": 0.981},
        {"name": "T1", "millilitres": None, "dice_with_result": None},
    ]
    worker.quality = {name: {"channels": votes} for name in bench.ids}
    press(bench)
    text = shown(bench.panel)["result"].replace("\N{NO-BREAK SPACE}", " ")
    name = next(iter(bench.ids))
    assert f"{name}: Phantom alone 12.0 ml (Dice with the result 0.98), T1 has no say." in text
