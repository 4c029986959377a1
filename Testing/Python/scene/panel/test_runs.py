"""The panel on the harness while it runs: real nodes, the real worker process and the shipped weights."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile

import pytest

import scene_phantom as fx
from MedMetaSegLib.demo.phantom import LABEL, painted_slices
from panel_bench import MODULE, Bench, nodes, nothing_is_left, rows, running, settle, shown, until, worker_pid
from processes import cpu_seconds, is_alive


def test_paint_segment_paint_another_slice_and_segment_again(bench, tmp_path):
    import qt
    from PySide6.QtTest import QTest

    panel, ui = bench.panel, bench.ui
    bench.paint("spleen").choose()
    painted = fx.snapshot(bench.paintedNode)
    before = nodes(bench.scene)
    window = panel.parent
    window.show()
    window.activateWindow()
    until(lambda: window.isActiveWindow)
    QTest.keyClick(window, qt.Qt.Key_Return, qt.Qt.ControlModifier)
    until(lambda: running(panel))  # Ctrl+Return starts it
    assert not ui.segmentButton.enabled
    kept = until(lambda: not running(panel))
    pid = worker_pid(panel)
    first = cpu_seconds(pid)
    window.hide()
    assert shown(panel)["result"].startswith("liver "), shown(panel)
    assert "spleen " in shown(panel)["result"]
    assert re.search(r" \d+\.\d\Wml in \d+\.\d\Ws$", shown(panel)["result"])
    assert ui.deviceFoundLabel.text.split(":")[0] in ("CPU", "CUDA")
    node = panel.parameters.output
    assert ui.outputSelector.currentNode() is node
    assert nodes(bench.scene) - before >= {node.GetID()}
    assert bench.dice(node, "liver") > 0.85
    assert bench.dice(node, "spleen") > 0.6
    assert fx.snapshot(bench.paintedNode) == painted
    print(f"first press {first} s of CPU time; the event loop was kept for at most {1000 * kept:.0f} ms")

    bench.paint("liver", painted_slices(bench.truth, LABEL["liver"], 4))
    settle(panel)
    assert rows(panel)[0] == ("liver", "4 axial slices", True)
    after = nodes(bench.scene)
    bench.press()
    until(lambda: not running(panel))
    assert panel.parameters.output is node
    assert nodes(bench.scene) == after
    names = [
        node.GetSegmentation().GetSegment(one).GetName() for one in node.GetSegmentation().GetSegmentIDs()
    ]
    assert sorted(names) == ["liver", "spleen"]
    assert bench.dice(node, "liver") > 0.85
    assert panel.run.workerPid == pid
    print(f"second press {cpu_seconds(pid) - first} s of CPU time")
    bench.scene.Clear(0)
    assert not is_alive(pid)
    assert nothing_is_left(tmp_path)


def test_cancel_ends_the_run_and_changes_nothing(bench):
    bench.choose()
    before = nodes(bench.scene)
    bench.press()
    worker_pid(bench.panel)
    bench.ui.cancelButton.click()
    assert not bench.ui.cancelButton.enabled
    until(lambda: not running(bench.panel))
    assert shown(bench.panel) == {"result": "Cancelled: nothing was changed."}
    assert bench.ui.segmentButton.enabled
    assert nodes(bench.scene) == before


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_worker_is_reported_and_the_next_press_gets_a_fresh_one(bench):
    bench.choose()
    before = nodes(bench.scene)
    bench.press()
    pid = worker_pid(bench.panel)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not running(bench.panel))
    assert "usually because memory ran out" in shown(bench.panel)["error"]
    assert nodes(bench.scene) == before
    bench.press()
    assert "error" not in shown(bench.panel)
    assert worker_pid(bench.panel) != pid


def test_closing_the_scene_in_the_middle_leaves_nothing(bench, tmp_path):
    bench.choose().press()
    pid = worker_pid(bench.panel)
    bench.scene.Clear(0)
    assert not running(bench.panel)
    assert not is_alive(pid)
    assert nothing_is_left(tmp_path)
    assert rows(bench.panel) == []
    assert "Load a CT or MR volume" in shown(bench.panel)["hint"]
    until(lambda: True)
    assert bench.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


@pytest.mark.parametrize("which", ["volumeNode", "paintedNode"])
def test_removing_a_node_in_the_middle_cancels(bench, tmp_path, which):
    bench.choose().press()
    pid = worker_pid(bench.panel)
    bench.scene.RemoveNode(getattr(bench, which))
    assert not running(bench.panel)
    assert not is_alive(pid)
    assert nothing_is_left(tmp_path)
    assert not bench.ui.segmentButton.enabled


def test_leaving_the_module_in_the_middle_cancels(application, bench):
    bench.choose()
    before = nodes(bench.scene)
    bench.press()
    worker_pid(bench.panel)
    application.mainWindow().moduleSelector().selectModule("Welcome")
    until(lambda: not running(bench.panel))
    assert nodes(bench.scene) == before


def test_unloading_the_module_in_the_middle_ends_the_worker(application, patient, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    application.mrmlScene().Clear(0)
    module = application.loadModule(MODULE)
    module.enter()
    panel = module.widget.panel
    Bench(panel, patient).paint("liver").choose().press()
    pid = worker_pid(panel)
    module.unload()
    assert not is_alive(pid)
    assert list(tmp_path.iterdir()) == []
