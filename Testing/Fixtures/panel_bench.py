"""The panel on the harness, over a patient painted on real MRML, and what a user does with it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import scene_phantom as fx
import scene_positions as at
from MedMetaSegLib.demo.phantom import LABEL, painted_slices
from MedMetaSegLib.support.structure import StructureMask

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "MedMetaSeg" / "MedMetaSeg.py"
PATIENCE_S = 300


class Bench:
    """A patient in the scene, painted on a few slices, and what a user does with the panel."""

    def __init__(self, panel, patient):
        import slicer

        self.panel, self.ui, self.truth = panel, panel.ui, patient.truth
        self.scene = slicer.mrmlScene
        self.matrix = patient.volume.geometry.affine
        self.volumeNode = fx.addVolume(self.scene, self.matrix, patient.volume.array, "Phantom")
        self.paintedNode = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Painted")
        self.paintedNode.SetReferenceImageGeometryParameterFromVolumeNode(self.volumeNode)
        self.ids = {}

    def mask(self, name, slices):
        mask = np.zeros(self.truth.shape, bool)
        for k in slices:
            mask[k] = self.truth[k] == LABEL[name]
        return mask

    def paint(self, name, slices=None):
        """Paint a structure on these slices, three unless given; replaces what was painted of it."""
        import slicer.util

        mask = self.mask(name, slices or painted_slices(self.truth, LABEL[name]))
        if name in self.ids:
            slicer.util.updateSegmentBinaryLabelmapFromArray(
                mask.astype(np.uint8), self.paintedNode, self.ids[name], self.volumeNode
            )
        else:
            self.ids[name] = fx.addSegment(self.paintedNode, name, mask, self.matrix)
        return self

    def choose(self):
        self.ui.volumeSelector.setCurrentNode(self.volumeNode)
        self.ui.segmentationSelector.setCurrentNode(self.paintedNode)
        settle(self.panel)
        return self

    def press(self):
        self.ui.segmentButton.click()
        assert running(self.panel), shown(self.panel)
        return self

    def dice(self, node, name):
        segmentId = node.GetSegmentation().GetSegmentIdBySegmentName(name)
        found = at.segmentAt(node, segmentId, at.voxelsInWorld(self.volumeNode))
        return at.dice(found, (self.truth == LABEL[name]).ravel())


class StandInClient:
    """Stands in for WorkerClient: answers at once, a segmentation with the truth of what was painted."""

    pid = None
    close = cancel = lambda self: None

    def __init__(self, truth):
        self.truth, self.events, self.sent = truth, [], []
        self.quality = {}
        """Further entries of the report, by name of the structure."""
        self.unsure = None
        """Where it is unsure, uint8 (k, j, i), for those who ask."""

    def segment(self, volume, support, device, key, **options):
        # Here, as the package may have been read anew.
        from MedMetaSegLib.worker.messages import Finished

        self.sent.append({"support": support, "device": device, **options})
        found = [
            StructureMask(one.structure, (0, 0, 0), self.truth == LABEL[one.structure.name])
            for one in support.structures
            if one.structure.name in options["structures"]
        ]
        entries = [
            {
                "name": one.structure.name,
                "label": one.structure.label,
                "millilitres": 1.0,
                **self.quality.get(one.structure.name, {}),
            }
            for one in found
        ]
        unsure = self.unsure if options["uncertainty"] else None
        self.events = [Finished(tuple(found), {"structures": entries}, uncertainty=unsure)]

    def poll(self):
        events, self.events = self.events, []
        return events


def stand_in_worker(bench, monkeypatch):
    """Give the panel a stand-in of the worker that answers with the truth."""
    from MedMetaSegLib.scene.panel.worker_run import WorkerRun

    client = StandInClient(bench.truth)
    monkeypatch.setattr(bench.panel, "run", WorkerRun(client, bench.panel.settingsTab.onDeviceFound))
    return client


def until(prompt):
    """Let Qt work until the condition holds; the longest time that the event loop was kept, in seconds."""
    import qt

    limit, longest = time.monotonic() + PATIENCE_S, 0.0
    while not prompt():
        assert time.monotonic() < limit
        begun = time.process_time()
        qt.QApplication.processEvents()
        longest = max(longest, time.process_time() - begun)
        time.sleep(0.02)
    return longest


def settle(panel):
    """Wait until the table shows what is painted now."""
    until(lambda: not panel.segmentTab.describeTimer.isActive())


def running(panel):
    return not panel.ui.cancelButton.isHidden()


def shown(panel):
    """The texts below the buttons that can be seen."""
    labels = {"hint": panel.ui.hintLabel, "result": panel.ui.resultLabel, "error": panel.ui.errorLabel}
    return {name: label.text for name, label in labels.items() if not label.isHidden()}


def rows(panel):
    import qt

    table = panel.ui.segmentTable
    return [
        (
            table.item(row, 0).text(),
            table.item(row, 1).text(),
            table.item(row, 0).checkState() == qt.Qt.Checked,
        )
        for row in range(table.rowCount)
    ]


def nodes(scene):
    return {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}


def nothing_is_left(tmp_path):
    return not list((tmp_path / "private").iterdir())


def worker_pid(panel):
    until(lambda: panel.run.workerPid is not None)
    return panel.run.workerPid


# ---------------------------------------------------------------- the Tasks tab


def wait_for_pairs(panel):
    until(lambda: not panel.tasksTab._sceneTimer.isActive())


def tasks(panel):
    table = panel.ui.taskTable
    return [(table.item(row, 0).text(), table.item(row, 1).text()) for row in range(table.rowCount)]


def learn_from(panel, volume, segmentation):
    """Choose a segmentation in the row of a volume, as the user does."""
    table = panel.ui.pairTable
    row = next(row for row in range(table.rowCount) if table.item(row, 0).text() == volume)
    combo = table.cellWidget(row, 1)
    combo.setCurrentText(segmentation)
    combo.activated.emit(combo.currentIndex)


def tick(panel, *volumes):
    import qt

    table = panel.ui.pairTable
    for row in range(table.rowCount):
        ticked = table.item(row, 0).text() in volumes
        table.item(row, 0).setCheckState(qt.Qt.Checked if ticked else qt.Qt.Unchecked)
