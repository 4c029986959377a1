"""Apply to a sequence in the panel: real nodes and browser; the worker stands in unless a name says real."""

from __future__ import annotations

import numpy as np
import pytest

import scene_phantom as fx
import scene_positions as at
from MedMetaSegLib.demo.phantom import LABEL, make_patient
from MedMetaSegLib.support.structure import StructureMask
from MedMetaSegLib.worker.messages import Failed, Finished, Progress, Stopped
from panel_bench import StandInClient, learn_from, nodes, running, shown, tick, until, wait_for_pairs
from scene_sequence import INDEX_VALUES, add_sequence, scrubbing
from task_phantom import make_task

MATRICES = (fx.STRAIGHT, fx.moved(4, 0, 0) @ fx.STRAIGHT, fx.OBLIQUE)


class SlowStandIn(StandInClient):
    """Finds what is not 0; answers an item when `answers` says so, and stops when it is cancelled.

    failure: the event instead of the second answer.
    """

    def __init__(self):
        super().__init__(None)
        self.answers, self.failure, self.held, self.keys = 100, None, None, []

    def apply(self, task, volume, device, key, memory, **options):
        self.keys.append(key)
        self.sent.append(options)
        self.events = [Progress(0.5, "Segmenting")]
        mask = volume.array != 0
        found = bool(mask.any())
        structures = make_task().structures
        entries = [
            {"name": structures[0].name, "found": found, "reason": "", "millilitres": float(mask.sum())},
            {"name": structures[1].name, "found": False, "reason": "not there", "millilitres": 0.0},
        ]
        self.held = Finished((StructureMask(structures[0], (0, 0, 0), mask),), {"structures": entries})

    def cancel(self):
        self.events, self.held = [Stopped()], None

    def poll(self):
        if self.failure is not None and len(self.keys) == 2:
            return [Failed(self.failure)]
        events, self.events = self.events, []
        if not events and self.held is not None and self.answers > 0:
            self.answers -= 1
            events, self.held = [self.held], None
        return events


@pytest.fixture
def sequences(bench):
    return scrubbing(bench.scene)


@pytest.fixture
def worker(bench, monkeypatch):
    from MedMetaSegLib.scene.panel.worker_run import WorkerRun

    client = SlowStandIn()
    monkeypatch.setattr(bench.panel, "run", WorkerRun(client, bench.panel.settingsTab.onDeviceFound))
    return client


def beats():
    first = fx.phantom()
    return [first, np.zeros_like(first), np.where(first == fx.KIDNEY, first, 0).astype(np.int16)]


def ready(bench, folder):
    """A task in the folder, a sequence in the scene, its volume ticked; (browser, volume)."""
    make_task().write(folder / "two.medmetaseg")
    bench.choose()
    browser, volume = add_sequence(bench.scene, beats(), MATRICES)
    bench.panel.tasksTab.show()
    bench.ui.taskTable.selectRow(0)
    tick(bench.panel, "Heart")
    return browser, volume


def choose_all(bench):
    combo = bench.ui.sequenceItemsCombo
    combo.setCurrentIndex(1)
    assert combo.currentText == "all items"
    assert bench.panel.parameters.sequenceItems.value == "all"


def test_the_choice_is_there_for_a_sequence_only(bench, sequences, folder):
    ui = bench.ui
    ready(bench, folder)
    assert not ui.sequenceItemsCombo.isHidden()
    assert not ui.sequenceItemsLabel.isHidden()
    assert ui.sequenceItemsCombo.currentText == "the item that is shown"
    tick(bench.panel, "Phantom")
    assert ui.sequenceItemsCombo.isHidden()
    assert ui.sequenceItemsLabel.isHidden()
    tick(bench.panel, "Phantom", "Heart")
    assert not ui.sequenceItemsCombo.isHidden()


def test_all_items_get_a_sequence_that_follows_the_browser(bench, sequences, folder, worker):
    browser, volume = ready(bench, folder)
    choose_all(bench)
    tick(bench.panel, "Phantom", "Heart")
    painted, before = fx.snapshot(bench.paintedNode), nodes(bench.scene)
    bench.ui.applyButton.click()
    assert running(bench.panel), shown(bench.panel)
    assert not bench.ui.sequenceItemsCombo.enabled
    texts = set()

    def done():
        texts.add(bench.ui.timeLabel.text.partition(":")[0])
        return not running(bench.panel)

    until(done)
    assert {f"Item {n} of 3" for n in (1, 2, 3)} <= texts
    assert bench.ui.sequenceItemsCombo.enabled
    name, other = (one.name for one in make_task().structures[:2])
    phantom, heart = shown(bench.panel)["result"].splitlines()
    assert phantom.startswith(f"Phantom: {name} ")
    most, least = ((beats()[n] != 0).sum() for n in (0, 2))
    volumes = f"{least:.1f} to {most:.1f}\N{NO-BREAK SPACE}ml"
    assert heart == f"Heart: {name} in 2 of 3 items, {volumes}; {other} in none of 3 items"
    assert len(set(worker.keys)) == 4

    added = [bench.scene.GetNodeByID(one) for one in nodes(bench.scene) - before]
    (result,) = (one for one in added if one.IsA("vtkMRMLSequenceNode"))
    assert tuple(result.GetNthIndexValue(n) for n in range(result.GetNumberOfDataNodes())) == INDEX_VALUES
    assert (result.GetIndexName(), result.GetIndexUnit()) == ("time", "ms")
    node = browser.GetProxyNode(result)
    assert node.GetName() == "Heart segmentation"
    for number in (2, 0):
        browser.SetSelectedItemNumber(number)
        (segmentId,) = node.GetSegmentation().GetSegmentIDs()
        found = at.segmentAt(node, segmentId, at.voxelsInWorld(volume))
        assert at.dice(found, (beats()[number] != 0).ravel()) > 0.99
    assert fx.snapshot(bench.paintedNode) == painted


def test_the_item_that_is_shown_gets_a_segmentation_as_before(bench, sequences, folder, worker):
    browser, _ = ready(bench, folder)
    before = nodes(bench.scene)
    bench.ui.applyButton.click()
    until(lambda: not running(bench.panel))
    assert len(worker.keys) == 1
    assert not any("SequenceNode" in one for one in nodes(bench.scene) - before)
    assert browser.GetNumberOfSynchronizedSequenceNodes(True) == 1


def test_cancel_in_the_middle_leaves_nothing(bench, sequences, folder, worker):
    browser, _ = ready(bench, folder)
    choose_all(bench)
    before, worker.answers = nodes(bench.scene), 1
    bench.ui.applyButton.click()
    until(lambda: "Item 2 of 3" in bench.ui.timeLabel.text)
    assert 50 <= bench.ui.progressBar.value <= 51
    bench.ui.cancelButton.click()
    until(lambda: not running(bench.panel))
    assert shown(bench.panel)["result"] == "Cancelled: nothing was changed."
    assert nodes(bench.scene) == before
    assert browser.GetNumberOfSynchronizedSequenceNodes(True) == 1


def test_a_failure_in_the_middle_leaves_nothing(bench, sequences, folder, worker):
    ready(bench, folder)
    choose_all(bench)
    before, worker.failure = nodes(bench.scene), "There is no memory left."
    bench.ui.applyButton.click()
    until(lambda: not running(bench.panel))
    assert shown(bench.panel)["error"] == "There is no memory left."
    assert nodes(bench.scene) == before


@pytest.mark.parametrize("what", ["browser", "sequence", "volume"])
def test_removing_what_is_needed_stops_it(bench, sequences, folder, worker, what):
    browser, volume = ready(bench, folder)
    choose_all(bench)
    worker.answers = 1
    bench.ui.applyButton.click()
    until(lambda: "Item 2 of 3" in bench.ui.timeLabel.text)
    needed = {"browser": browser, "sequence": browser.GetMasterSequenceNode(), "volume": volume}
    bench.scene.RemoveNode(needed[what])
    assert not running(bench.panel)
    kept = bench.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    assert kept == 1


def test_the_real_worker_goes_through_a_sequence(bench, sequences, folder):
    bench.choose()
    whole = bench.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Finished")
    fx.addSegment(whole, "liver", bench.truth == LABEL["liver"], bench.matrix)
    items = [make_patient(seed, (16, 48, 60), (12.0, 6.0, 6.0)) for seed in (0, 1, 2)]
    browser, volume = add_sequence(
        bench.scene, [one.volume.array for one in items], [one.volume.geometry.affine for one in items]
    )
    panel = bench.panel
    wait_for_pairs(panel)
    learn_from(panel, "Phantom", "Finished")
    bench.ui.taskNameEdit.setText("liver")
    bench.ui.learnButton.click()
    until(lambda: not running(panel))
    tick(panel, "Heart")
    choose_all(bench)
    bench.ui.applyButton.click()
    until(lambda: not running(panel))
    assert shown(panel)["result"].startswith("Heart: liver in 3 of 3 items, "), shown(panel)
    result = next(
        one
        for n in range(2)
        for one in [bench.scene.GetNthNodeByClass(n, "vtkMRMLSequenceNode")]
        if one is not browser.GetMasterSequenceNode()
    )
    node = browser.GetProxyNode(result)
    for number, one in enumerate(items):
        browser.SetSelectedItemNumber(number)
        (segmentId,) = node.GetSegmentation().GetSegmentIDs()
        found = at.segmentAt(node, segmentId, at.voxelsInWorld(volume))
        assert at.dice(found, (one.truth == LABEL["liver"]).ravel()) > 0.7
