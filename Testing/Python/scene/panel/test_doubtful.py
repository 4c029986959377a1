"""Apply with doubtful, improbable and forced structures, and triage, on the harness; the worker stands in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from batch_stand_in import expected
from MedMetaSegLib.demo.phantom import LABEL, make_patient
from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.network.inference import Predictor
from MedMetaSegLib.segmenter import Segmenter
from MedMetaSegLib.support.structure import StructureMask
from MedMetaSegLib.support.support import Support
from MedMetaSegLib.worker.messages import Finished
from network_phantom import tiny_network
from panel_bench import StandInClient, running, shown, tick, until, wait_for_pairs
from scene_sequence import add_sequence, scrubbing
from task_phantom import make_task

FIRST, SECOND = "Niere rechts", "left kidney"


class ApplyingStandIn(StandInClient):
    """Finds a block for each structure of the task. present: probability by name; unlike: its sentences.

    Below 0.2 a structure is left out, below 0.6 it is doubtful.
    """

    def __init__(self):
        super().__init__(None)
        self.present, self.unlike, self.lost = {FIRST: 0.97, SECOND: 0.97}, [], set()

    def apply(self, task, volume, device, key, memory, *, keep_doubtful, force):
        self.sent.append({"volume": volume.name, "keep_doubtful": keep_doubtful, "force": tuple(force)})
        found, entries = [], []
        for place, structure in enumerate(make_task().structures):
            entry = self.entry(structure.name, keep_doubtful, force)
            mask = np.zeros(volume.geometry.shape, bool)
            mask[2:4, 3:6, 2 + place] = entry["found"]
            found.append(StructureMask(structure, (0, 0, 0), mask))
            entries.append(entry)
        self.events = [Finished(tuple(found), {"structures": entries, "unlike": self.unlike})]

    def entry(self, name, keep_doubtful, force):
        present = self.present[name]
        doubtful = 0.2 <= present < 0.6
        kept = present >= 0.6 or (doubtful and keep_doubtful) or name in force
        if name in self.lost:
            why = {"found": False, "reason": "its place lies outside the image", "millilitres": 0.0}
            return {"name": name, **expected(0.0), **why, "left_out": False}
        reason = "" if kept else f"it does not look like the supports (probability {present:.2f})"
        about = {"name": name, "found": kept, "reason": reason, "millilitres": 3.0 * kept}
        dice = 0.91 if kept else None
        return {**about, **expected(present, dice), "doubtful": doubtful, "left_out": not kept}


@pytest.fixture
def worker(bench, folder, monkeypatch):
    """A task in the folder, the patient's volume ticked, and the stand-in."""
    from MedMetaSegLib.scene.panel.worker_run import WorkerRun

    client = ApplyingStandIn()
    monkeypatch.setattr(bench.panel, "run", WorkerRun(client, bench.panel.settingsTab.onDeviceFound))
    make_task().write(folder / "two.medmetaseg")
    bench.choose()
    bench.panel.tasksTab.show()
    bench.ui.taskTable.selectRow(0)
    tick(bench.panel, "Phantom")
    return client


def applied(bench):
    bench.ui.applyButton.click()
    until(lambda: not running(bench.panel))
    return shown(bench.panel)["result"].splitlines()


def forced(bench, text):
    """Choose an item of the menu Segment anyway."""
    action = next(one for one in bench.ui.forceButton.menu().actions() if one.text == text)
    action.trigger()
    until(lambda: not running(bench.panel))
    return shown(bench.panel).get("result", "").splitlines()


def offered(bench):
    return [one.text for one in bench.ui.forceButton.menu().actions()]


def segmentations(bench):
    """Names of the segments of every segmentation but the painted one, by name."""
    scene, found = bench.scene, {}
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")):
        node = scene.GetNthNodeByClass(number, "vtkMRMLSegmentationNode")
        segmentation = node.GetSegmentation()
        names = [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]
        if node is not bench.paintedNode:
            found[node.GetName()] = names
    return found


def test_what_is_found_is_told_with_the_dice_to_expect(bench, worker):
    assert applied(bench) == [
        f"Phantom: {FIRST} 3.00\N{NO-BREAK SPACE}ml, expected 0.91; "
        f"{SECOND} 3.00\N{NO-BREAK SPACE}ml, expected 0.91"
    ]
    assert not bench.ui.forceButton.enabled
    assert "Nothing was left out" in bench.ui.forceButton.toolTip


def test_doubtful_structures_are_kept_and_marked_or_left_out(bench, worker):
    worker.present[SECOND] = 0.43
    assert applied(bench)[0].endswith(
        f"{SECOND} 3.00\N{NO-BREAK SPACE}ml, expected 0.91, doubtful (probability 0.43)"
    )
    bench.ui.keepDoubtfulCheck.click()
    assert applied(bench)[0].endswith(
        f"{SECOND} not found (it does not look like the supports (probability 0.43))"
    )
    assert [one["keep_doubtful"] for one in worker.sent] == [True, False]
    assert bench.panel.parameters.keepDoubtful is False


def test_warnings_come_first(bench, worker):
    worker.unlike = ["The task was learned on CT, and this image is read as MR."]
    lines = applied(bench)
    assert lines[0] == "Phantom, warning: The task was learned on CT, and this image is read as MR."
    assert lines[1].startswith("Phantom: ")


def test_what_the_core_leaves_out_is_offered(bench):
    """The report is the core's own, of an image that the task does not belong to."""
    from MedMetaSegLib.scene.panel.left_out import leftOut

    patient = make_patient(0, (24, 56, 72), (8.0, 5.0, 5.0), (3.0, 0.0, 2.0))
    names = {LABEL[name]: name for name in ("liver", "left kidney")}
    labels = np.where(np.isin(patient.truth, list(names)), patient.truth, 0).astype(np.uint8)
    support = Support.from_labels(labels, patient.volume.geometry, names, "complete")
    segmenter = Segmenter(Predictor(tiny_network(), torch.device("cpu")), {"sha256": "ab" * 32}, "for tests")
    noise = np.random.default_rng(0).normal(0, 300, (20, 40, 40)).astype(np.float32)
    strange = Volume.from_array(noise, np.diag([5.0, 5.0, 8.0, 1.0]))
    report = segmenter.apply(segmenter.learn([(patient.volume, support)]), strange).report
    expected = [one["name"] for one in report["structures"] if "probability" in one["reason"]]
    assert expected
    assert list(leftOut([report], None).names) == expected


def test_what_was_left_out_can_be_had_anyway_and_the_rest_stays_as_it_is(bench, worker):
    worker.present[SECOND] = 0.12
    applied(bench)
    assert segmentations(bench) == {"Phantom segmentation": [FIRST]}
    assert bench.ui.forceButton.enabled
    assert offered(bench) == [SECOND]
    assert forced(bench, SECOND) == [
        f"Phantom: {SECOND} 3.00\N{NO-BREAK SPACE}ml, expected 0.91, segmented anyway (probability 0.12)"
    ]
    assert worker.sent[-1] == {"volume": "Phantom", "keep_doubtful": True, "force": (SECOND,)}
    assert segmentations(bench) == {"Phantom segmentation": [FIRST, SECOND]}
    assert offered(bench) == []
    assert not bench.ui.forceButton.enabled


def test_one_of_several_left_out_can_be_chosen_then_the_other(bench, worker):
    worker.present = {FIRST: 0.11, SECOND: 0.12}
    applied(bench)
    assert segmentations(bench) == {}
    assert offered(bench) == ["all of them", FIRST, SECOND]
    forced(bench, SECOND)
    assert segmentations(bench) == {"Phantom segmentation": [SECOND]}
    assert offered(bench) == [FIRST]
    worker.present[SECOND] = 0.97
    applied(bench)
    assert offered(bench) == [FIRST]


def test_all_of_them_are_forced_where_each_was_left_out(bench, worker):
    import scene_phantom as fx

    fx.addVolume(bench.scene, name="Other")
    wait_for_pairs(bench.panel)
    tick(bench.panel, "Phantom", "Other")
    worker.present = {FIRST: 0.11, SECOND: 0.12}
    applied(bench)
    worker.sent.clear()
    lines = forced(bench, "all of them")
    assert [one.partition(":")[0] for one in lines] == ["Phantom", "Other"]
    assert [one["force"] for one in worker.sent] == [(FIRST, SECOND)] * 2


def test_what_lies_outside_the_image_cannot_be_forced(bench, worker):
    worker.lost = {SECOND}
    assert "outside the image" in applied(bench)[0]
    assert offered(bench) == []


def test_the_segmentation_was_removed_meanwhile(bench, worker):
    worker.present[SECOND] = 0.12
    applied(bench)
    bench.scene.RemoveNode(bench.scene.GetFirstNodeByName("Phantom segmentation"))
    forced(bench, SECOND)
    assert list(segmentations(bench).values()) == [[SECOND]]


def test_the_volume_was_removed_meanwhile(bench, worker):
    worker.present[SECOND] = 0.12
    applied(bench)
    bench.scene.RemoveNode(bench.volumeNode)
    forced(bench, SECOND)
    assert shown(bench.panel)["error"] == "The volume was removed from the scene."
    assert offered(bench) == [SECOND]
    bench.scene.Clear(0)
    assert offered(bench) == []


def test_a_name_with_an_ampersand_is_shown_as_it_is(panel):
    from MedMetaSegLib.scene.panel.left_out import LeftOut

    menu, asked = panel.tasksTab._leftOut, []
    menu._onForced, before = asked.append, menu._onForced
    menu.note("volume", LeftOut(("liver & spleen",), None))
    menu.show()
    (action,) = panel.ui.forceButton.menu().actions()
    assert action.text == "liver && spleen"
    action.trigger()
    assert asked == [{"volume": LeftOut(("liver & spleen",), None)}]
    menu._onForced = before
    menu.forget()


def test_in_a_sequence_it_is_counted_and_forced_into_a_sequence_of_its_own(bench, worker):
    scrubbing(bench.scene)
    voxels = bench.truth.astype(np.int16)
    _, volume = add_sequence(bench.scene, [voxels, voxels], [bench.matrix] * 2, ("0", "1"))
    wait_for_pairs(bench.panel)
    tick(bench.panel, volume.GetName())
    bench.ui.sequenceItemsCombo.setCurrentText("all items")
    worker.present = {FIRST: 0.43, SECOND: 0.12}
    worker.unlike = ["Cut off by the image's border: all."]
    first, second = applied(bench)
    assert first.endswith("warning: Cut off by the image's border: all. (2 of 2 items)")
    assert second.endswith(
        f"{FIRST} in 2 of 2 items, 3.00 to 3.00\N{NO-BREAK SPACE}ml, expected 0.91 to 0.91, doubtful in 2; "
        f"{SECOND} in none of 2 items"
    )
    before = segmentations(bench)
    (line,) = forced(bench, SECOND)
    assert line.endswith(
        f": {SECOND} in 2 of 2 items, 3.00 to 3.00\N{NO-BREAK SPACE}ml, expected 0.91 to 0.91"
    )
    (new,) = (names for node, names in segmentations(bench).items() if node not in before)
    assert new == [SECOND]


# ---------------------------------------------------------------- the Batch tab


def test_bounds_and_the_tick_for_doubtful_are_in_the_request_and_in_the_scene(panel, folder, monkeypatch):
    from MedMetaSegLib.scene.panel import batch_job

    requests = []
    monkeypatch.setattr(batch_job, "BatchJob", lambda request, *rest: requests.append(request) or _Nothing())
    make_task().write(folder / "two.medmetaseg")
    panel.ui.tabs.setCurrentIndex(2)
    assert (panel.ui.acceptAboveSpin.value, panel.ui.paintBelowSpin.value) == (0.8, 0.6)
    panel.ui.batchInputEdit.setText("in")
    panel.ui.batchOutputEdit.setText("out")
    panel.ui.acceptAboveSpin.setValue(0.9)
    panel.ui.paintBelowSpin.setValue(0.55)
    panel.ui.batchDoubtfulCheck.click()
    panel.ui.batchButton.click()
    (request,) = requests
    assert (request.accept_above, request.paint_below, request.keep_doubtful) == (0.9, 0.55, False)
    parameters = panel.parameters
    assert (parameters.acceptAbove, parameters.paintBelow, parameters.batchKeepDoubtful) == (0.9, 0.55, False)


class _Nothing:
    """A job that cannot be sent."""

    nodes = ()

    def send(self, client):
        from MedMetaSegLib.errors import InputError

        raise InputError("not sent")


def test_rows_of_a_batch_show_the_triage_and_are_sorted_worst_first():
    from MedMetaSegLib.batch.request import BatchProgress
    from MedMetaSegLib.batch.states import BatchRow, StructureRow
    from MedMetaSegLib.scene.panel.batch_rows import detailsText, rowItems, worstFirst

    def done(name, triage):
        structures = (
            StructureRow("liver", True, 3.0, "", 0.43, 0.91, 0.85, 0.95, True, "axial 4"),
            StructureRow("spleen", False, 0.0, "not there", 0.02),
        )
        row = BatchRow(name, name, "done", "", 1.0, "", "", structures, unlike=("It is MR.",), triage=triage)
        return BatchProgress(name, "done", 1, 6, row=row)

    rows = [done("a", "accept"), BatchProgress("s", "skipped", 1, 6, "a text"), done("b", "paint")]
    rows += [done("c", "review"), BatchProgress("f", "failed", 1, 6, "broken"), done("d", "")]
    assert [one.item for one in worstFirst(rows)] == ["f", "b", "c", "a", "s", "d"]
    image, state, triage = rowItems(rows[2])
    liver = "liver 3.00\N{NO-BREAK SPACE}ml"
    assert [one.text() for one in (image, state, triage)] == ["b", f"done: {liver}", "paint"]
    assert not triage.icon().isNull()
    assert rowItems(rows[5])[2].icon().isNull()
    assert detailsText(rows[2]).splitlines() == [
        f"done: {liver}",
        "It is MR.",
        "liver: 3.00\N{NO-BREAK SPACE}ml, expected Dice 0.91 (0.85-0.95), doubtful (probability 0.43), "
        "paint axial 4 next",
        "spleen: not found (not there)",
    ]
