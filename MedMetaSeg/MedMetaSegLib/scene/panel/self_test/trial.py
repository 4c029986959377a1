"""A made-up patient in the scene, the panel open on it, and what a user does with the panel."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
import slicer.util

from ....task.library import TaskFolder

MODULE = "MedMetaSeg"
SHAPE = (14, 30, 30)
"""Slices, rows and columns (k, j, i) of the volume: few, so that a task is placed on it in seconds."""
SPACING_MM = (2.0, 2.0, 4.0)
"""Along i, j and k."""
# Centre and radii of the ellipsoids, in voxels (k, j, i).
_BODY = (7, 15, 15), (6.5, 13.5, 14)
STRUCTURES = {"liver": ((7, 13, 11), (5, 7, 6)), "kidney": ((7, 20, 22), (3.5, 4, 3.5))}
_INTENSITIES = {"liver": 120, "kidney": 220}
SLICES = (3, 7, 11)
"""The slices of the liver that are painted at first."""
_PATIENCE_S = 300
_POLL_S = 0.02


class NotCheckedError(Exception):
    """What a step needs is not here; the message says what."""


def require(condition: Any, otherwise: str) -> None:
    """Raise AssertionError with this sentence unless the condition holds."""
    if not condition:
        raise AssertionError(otherwise)


def structure(name: str, shift: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
    """The whole of a structure, moved by `shift` voxels: bool (k, j, i)."""
    return _ellipsoid(*STRUCTURES[name], shift)


def _ellipsoid(centre: Iterable[float], radii: Iterable[float], shift: Iterable[int]) -> np.ndarray:
    grid = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]].astype(float)
    parts = [
        ((axis - middle - moved) / radius) ** 2
        for axis, middle, radius, moved in zip(grid, centre, radii, shift, strict=True)
    ]
    return np.sum(parts, axis=0) < 1


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """The Dice coefficient of two bool arrays; 0 when both are empty."""
    return float(2 * np.count_nonzero(one & other) / max(1, np.count_nonzero(one) + np.count_nonzero(other)))


def segmentations() -> list[Any]:
    """All segmentation nodes of the scene, the oldest first."""
    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def names(node: Any) -> list[str]:
    """Names of a node's segments, in the alphabet's order."""
    segmentation = node.GetSegmentation()
    return sorted(segmentation.GetSegment(one).GetName() for one in segmentation.GetSegmentIDs())


class Trial:
    """The patient in an otherwise empty scene, the liver painted on three slices, both chosen in the panel.

        with Trial() as trial:
            trial.press(trial.ui.segmentButton)
            trial.finish()

    The scene is cleared before and after. At the end the worker is closed and all files are removed.
    `folder` is for the files of a step; the tasks of the panel are in it, too, and not in the user's folder.
    """

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="medmetaseg-self-test-")
        self.folder = Path(self._temporary.name)
        self.segmentIds: dict[str, str] = {}

    def __enter__(self) -> Trial:
        slicer.util.selectModule(MODULE)
        slicer.mrmlScene.Clear()
        self.widget = slicer.util.getModuleWidget(MODULE)
        self.panel = self.widget.panel
        self.ui = self.panel.ui
        self.panel.tasksTab.folder = TaskFolder(self.folder / "tasks")
        self.ui.tabs.setCurrentWidget(self.ui.segmentTab)
        self.volumeNode = self.addPatient("Patient")
        self.paintedNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Painted")
        self.paintedNode.CreateDefaultDisplayNodes()
        self.paintedNode.SetReferenceImageGeometryParameterFromVolumeNode(self.volumeNode)
        self.paint("liver", SLICES)
        self.ui.volumeSelector.setCurrentNode(self.volumeNode)
        self.ui.segmentationSelector.setCurrentNode(self.paintedNode)
        self.settle()
        return self

    def __exit__(self, *exception: object) -> None:
        self.ui.tabs.setCurrentWidget(self.ui.segmentTab)
        slicer.mrmlScene.Clear()
        if self.panel.run is not None:
            self.panel.run.close()
        self.panel.tasksTab.folder = None
        self._temporary.cleanup()

    # ------------------------------------------------------------ the patient

    def addPatient(self, name: str, shift: tuple[int, int, int] = (0, 0, 0), seed: int = 0) -> Any:
        """A volume node of int16 voxels whose structures are moved by `shift` voxels (k, j, i)."""
        voxels = np.where(_ellipsoid(*_BODY, shift), 40.0, -200.0)
        for one, intensity in _INTENSITIES.items():
            voxels[structure(one, shift)] = intensity
        voxels += np.random.default_rng(seed).normal(0, 10, SHAPE)
        node = slicer.util.addVolumeFromArray(voxels.astype(np.int16), name=name)
        node.SetSpacing(*SPACING_MM)
        return node

    def paint(self, name: str, slices: Iterable[int]) -> None:
        """Paint a structure on these slices, in the place of what was painted of it."""
        segmentation = self.paintedNode.GetSegmentation()
        if name not in self.segmentIds:
            self.segmentIds[name] = segmentation.AddEmptySegment("", name)
        painted, whole = np.zeros(SHAPE, np.uint8), structure(name)
        for k in slices:
            painted[k] = whole[k]
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            painted, self.paintedNode, self.segmentIds[name], self.volumeNode
        )

    def voxels(self, node: Any, name: str | None = None) -> np.ndarray:
        """A segment on the volume's grid, bool (k, j, i); the first one unless it is named."""
        segmentation = node.GetSegmentation()
        segmentId = segmentation.GetNthSegmentID(0)
        if name is not None:
            segmentId = segmentation.GetSegmentIdBySegmentName(name)
            require(segmentId, f"'{node.GetName()}' holds no segment '{name}' but {names(node)}")
        return np.array(slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentId, self.volumeNode)) > 0

    # ------------------------------------------------------------ the user

    def wait(self, until: Callable[[], bool], waitedFor: str, patience_s: float = _PATIENCE_S) -> None:
        """Let the application work until the condition holds; AssertionError when that takes too long."""
        limit = time.monotonic() + patience_s
        while not until():
            require(time.monotonic() < limit, f"{waitedFor} took more than {patience_s:.0f} s")
            slicer.app.processEvents()
            time.sleep(_POLL_S)

    def settle(self) -> None:
        """Wait until the panel's table shows what is painted now."""
        timer = self.panel.segmentTab.describeTimer
        self.wait(lambda: not timer.isActive(), "reading what is painted")

    def press(self, button: Any) -> None:
        """Press a button that starts the worker."""
        self.settle()
        require(button.enabled, f"the button '{button.text}' is disabled")
        button.click()
        require(self.panel.isBusy, f"'{button.text}' started nothing: {self.ui.errorLabel.text}")

    def finish(self) -> None:
        """Wait for the end of what runs; an error in the panel is an AssertionError."""
        self.wait(lambda: not self.panel.isBusy, "the run")
        require(not self.ui.errorLabel.text, f"the panel says: {self.ui.errorLabel.text}")

    def segment(self) -> Any:
        """Press Segment, wait for the result, and return its node."""
        self.press(self.ui.segmentButton)
        self.finish()
        node = self.panel.parameters.output
        require(node is not None, "the result is not chosen as the output")
        return node

    def learn(self, segmentationNode: Any, task: str) -> None:
        """Learn a task from a finished segmentation of the volume, in the Tasks tab."""
        self.ui.tabs.setCurrentWidget(self.ui.tasksTab)
        combo = self.ui.pairTable.cellWidget(self._row(self.ui.pairTable, self.volumeNode.GetName()), 1)
        for _row in range(combo.count):
            if combo.currentText == segmentationNode.GetName():
                break
            # A key, since only what the user does is signalled as activated.
            down = qt.QKeyEvent(qt.QEvent.KeyPress, qt.Qt.Key_Down, qt.Qt.NoModifier)
            qt.QApplication.sendEvent(combo, down)
        self.ui.taskNameEdit.setText(task)
        self.press(self.ui.learnButton)
        self.finish()

    def tickOnly(self, volumeNode: Any) -> None:
        """Tick one volume, and no other, in the Tasks tab."""
        table = self.ui.pairTable
        ticked = self._row(table, volumeNode.GetName())
        for row in range(table.rowCount):
            table.item(row, 0).setCheckState(qt.Qt.Checked if row == ticked else qt.Qt.Unchecked)

    def _row(self, table: Any, text: str) -> int:
        texts = [table.item(row, 0).text() for row in range(table.rowCount)]
        require(text in texts, f"the table shows {texts}, not '{text}'")
        return texts.index(text)
