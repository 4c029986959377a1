"""Pictures of the panel on the harness, 420 pixels wide, light and dark: what `make screenshots` makes.

python -m Harness.screenshots docs/pictures

Every tab is driven through its states with real nodes, the real worker and the shipped weights. Text that is
cut off is an error.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from PySide6 import QtCore, QtGui

from MedMetaSegLib.demo.phantom import LABEL, Patient, make_patient, painted_slices

from .application import Application, start
from .layout import clipped, fit

_MODULE = Path(__file__).parents[2] / "MedMetaSeg" / "MedMetaSeg.py"
_WIDTH = 420
_PATIENCE_S = 1800
_STRUCTURES = (("liver", 3), ("spleen", 3), ("left kidney", 2))
_SHAPE, _SPACING_MM = (24, 80, 100), (8.0, 3.6, 3.6)


class Photographer:
    """The open panel, clicked and photographed."""

    def __init__(self, application: Application, folder: Path) -> None:
        self.application, self.folder = application, folder
        self.module = application.loadModule(_MODULE)
        self.module.enter()
        self.panel, self.window = self.module.widget.panel, self.module.widgetRepresentation()
        self.ui = self.panel.ui
        self.window.show()

    def take(self, tab: str, state: str) -> None:
        """A light and a dark picture. Raises ValueError when some text is cut off."""
        for name, palette in (("light", _palette("#efefef", "#ffffff", "#000000")), ("dark", _dark())):
            self.application.setPalette(palette)
            for _ in range(3):
                self.application.processEvents()
            fit(self.window, _WIDTH)
            self.application.processEvents()
            found = clipped(self.window)
            if found:
                raise ValueError(f"In {tab} {state} these are cut off: {', '.join(found)}.")
            path = self.folder / f"panel-{tab}-{state}-{name}.png"
            if not self.window.grab().save(str(path)):
                raise OSError(f"{path} cannot be written.")
            print(path, flush=True)

    def wait(self, prompt: Callable[[], bool]) -> None:
        """Let Qt work until the condition holds."""
        limit = time.monotonic() + _PATIENCE_S
        while not prompt():
            if time.monotonic() > limit:
                raise TimeoutError("The panel did not come to the next state.")
            self.application.processEvents()
            time.sleep(0.02)

    def finish(self) -> None:
        """Wait for what runs."""
        self.wait(lambda: not self.panel.isBusy)

    def kill(self) -> None:
        """End the worker: what memory running out looks like."""
        self.wait(lambda: self.panel.run.workerPid is not None)
        os.kill(self.panel.run.workerPid, getattr(signal, "SIGKILL", signal.SIGTERM))
        self.finish()


def main(folder: Path) -> None:
    """Drive every tab through its states."""
    application = start()
    application.setStyle("Fusion")
    application.mrmlScene().Clear(0)
    with tempfile.TemporaryDirectory() as temporary:
        # Under a name that can be in a picture.
        place = Path(temporary)
        os.chdir(place)
        (place / "my tasks").mkdir()
        QtCore.QSettings().setValue("MedMetaSeg/TaskFolder", "my tasks")
        one = Photographer(application, folder.resolve() if folder.is_absolute() else _from_start(folder))
        _segment(one)
        _tasks(one)
        _batch(one, place)
        _measure(one)
        _settings(one)
        one.module.unload()
        os.chdir(_START)


_START = Path.cwd()


def _from_start(folder: Path) -> Path:
    return _START / folder


def _segment(one: Photographer) -> None:
    panel, ui = one.panel, one.ui
    one.take("segment", "empty")
    patient = make_patient(shape=_SHAPE, spacing_mm=_SPACING_MM)
    _paint(patient)
    one.module.enter()
    one.take("segment", "ready")
    ui.segmentButton.click()
    one.wait(lambda: ui.progressBar.value > 0)
    one.take("segment", "running")
    one.finish()
    _paintAnotherSlice(ui.segmentationSelector.currentNode(), patient)
    one.wait(lambda: not panel.segmentTab.describeTimer.isActive())
    ui.segmentButton.click()
    one.finish()
    one.take("segment", "done")
    ui.legendBox.collapsed = False
    one.take("segment", "legend")
    ui.legendBox.collapsed = True
    ui.segmentButton.click()
    one.kill()
    one.take("segment", "error")
    panel.say()


def _tasks(one: Photographer) -> None:
    import slicer

    panel, ui = one.panel, one.ui
    ui.tabs.setCurrentIndex(1)
    one.take("tasks", "empty")
    other = make_patient(seed=1, shape=_SHAPE, spacing_mm=_SPACING_MM)
    _addVolume(other, "Next patient")
    one.wait(lambda: not panel.tasksTab._sceneTimer.isActive())
    combo = ui.pairTable.cellWidget(0, 1)
    combo.setCurrentText(panel.parameters.output.GetName())
    combo.activated.emit(combo.currentIndex)
    ui.taskNameEdit.setText("abdomen")
    one.take("tasks", "ready")
    ui.learnButton.click()
    one.wait(lambda: ui.progressBar.value > 0 or not panel.isBusy)
    one.take("tasks", "running")
    one.finish()
    ui.pairTable.item(0, 0).setCheckState(QtCore.Qt.Unchecked)
    ui.pairTable.item(1, 0).setCheckState(QtCore.Qt.Checked)
    ui.applyButton.click()
    one.finish()
    one.take("tasks", "done")
    combo = ui.pairTable.cellWidget(1, 1)
    combo.setCurrentIndex(1)
    combo.activated.emit(1)
    ui.taskNameEdit.setText("Abdomen")
    ui.learnButton.click()
    one.take("tasks", "error")
    ui.taskNameEdit.setText("")
    panel.say()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 3


def _batch(one: Photographer, place: Path) -> None:
    panel, ui = one.panel, one.ui
    images = place / "patients"
    images.mkdir()
    ui.tabs.setCurrentIndex(2)
    one.take("batch", "empty")
    for seed in (1, 2):
        _write(images / f"patient {seed}.nii.gz", make_patient(seed, _SHAPE, _SPACING_MM))
    (images / "patient 3.nii.gz").write_bytes(b"cut off")
    ui.batchInputEdit.setText("patients")
    ui.batchOutputEdit.setText("results")
    one.take("batch", "ready")
    ui.batchButton.click()
    one.wait(lambda: ui.progressBar.value > 0 or not panel.isBusy)
    one.take("batch", "running")
    one.finish()
    ui.batchTable.selectRow(0)
    one.take("batch", "done")
    ui.batchInputEdit.setText("nowhere")
    ui.batchButton.click()
    one.finish()
    one.take("batch", "error")
    panel.say()


def _measure(one: Photographer) -> None:
    import slicer

    panel, ui = one.panel, one.ui
    ui.tabs.setCurrentWidget(ui.measureTab)
    patient = make_patient(2, _SHAPE, _SPACING_MM)
    volumeNode = _addVolume(patient, "Follow-up CT")
    _addFindings(volumeNode, patient)
    ui.measureVolumeSelector.setCurrentNode(volumeNode)
    ui.measureSegmentationSelector.setCurrentNode(slicer.mrmlScene.GetFirstNodeByName("Findings"))
    one.take("measure", "ready")
    row = ui.measureTable.rowCount - 1
    ui.measureTable.item(row, 1).setCheckState(QtCore.Qt.Checked)
    ui.measureButton.click()
    ui.lesionTable.selectRow(0)
    ui.diametersButton.click()
    one.take("measure", "done")
    ui.measureLegendBox.collapsed = False
    one.take("measure", "legend")
    ui.measureLegendBox.collapsed = True
    volumeNode.SetSpacing(1, 1, 1)
    one.wait(lambda: not panel.measureTab.lookTimer.isActive())
    one.take("measure", "stale")
    ui.measureButton.click()
    one.take("measure", "error")
    panel.say()


def _settings(one: Photographer) -> None:
    panel, ui = one.panel, one.ui
    ui.tabs.setCurrentWidget(ui.settingsTab)
    ui.deviceFoundLabel.setText("What was found is shown after the first run.")
    one.take("settings", "ready")
    panel.run.close()
    ui.checkDeviceButton.click()
    one.take("settings", "running")
    one.finish()
    one.take("settings", "done")
    panel.installation._packages.confirm = lambda text: False
    ui.installButton.click()
    one.take("settings", "error")


def _dark() -> QtGui.QPalette:
    return _palette("#353535", "#252525", "#f0f0f0")


def _palette(window: str, base: str, text: str) -> QtGui.QPalette:
    palette = QtGui.QPalette(QtGui.QColor(window))
    palette.setColor(QtGui.QPalette.Base, QtGui.QColor(base))
    for role in (QtGui.QPalette.Text, QtGui.QPalette.WindowText, QtGui.QPalette.ButtonText):
        palette.setColor(QtGui.QPalette.Active, role, QtGui.QColor(text))
        palette.setColor(QtGui.QPalette.Inactive, role, QtGui.QColor(text))
        palette.setColor(QtGui.QPalette.Disabled, role, QtGui.QColor("#8a8a8a"))
    return palette


def _addVolume(patient: Patient, name: str) -> Any:
    import slicer

    from MedMetaSegLib.demo.nodes import addVolume

    node = addVolume(slicer.mrmlScene, patient.volume)
    node.SetName(name)
    return node


def _write(path: Path, patient: Patient) -> None:
    """A patient's volume as a file."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ patient.volume.geometry.affine
    image = sitk.GetImageFromArray(patient.volume.array)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    sitk.WriteImage(image, str(path))


def _paint(patient: Patient) -> None:
    """The patient as a volume node, painted on a few slices."""
    from MedMetaSegLib.demo.nodes import addSegments
    from MedMetaSegLib.support.structure import AnnotatedStructure

    volumeNode = _addVolume(patient, "Patient")
    called = {one.label: one for one in patient.structures}
    painted = []
    for name, slices in _STRUCTURES:
        painted.append(AnnotatedStructure(called[LABEL[name]], (0, 0, 0), _drawn(patient, name, slices)))
    addSegments(volumeNode, "Painted", painted, patient.volume.geometry)


def _addFindings(volumeNode: Any, patient: Patient) -> None:
    """Two organs of the patient, and metastases of several sizes in the liver, as a segmentation."""
    from MedMetaSegLib.demo.nodes import addSegments
    from MedMetaSegLib.support.structure import Structure, StructureMask

    called = {one.label: one for one in patient.structures}
    liver = patient.truth == LABEL["liver"]
    place = np.argwhere(liver)
    grid, metastases = np.indices(liver.shape), np.zeros(liver.shape, bool)
    for share, radius_mm in ((0.2, 16), (0.5, 11), (0.8, 8), (0.95, 5)):
        centre = place[int(share * len(place))]
        steps = np.multiply((grid.T - centre).T.T, patient.volume.geometry.spacing_mm).T
        metastases |= (steps**2).sum(axis=0) <= radius_mm**2
    found = [
        StructureMask(called[LABEL["liver"]], (0, 0, 0), liver & ~metastases),
        StructureMask(called[LABEL["spleen"]], (0, 0, 0), patient.truth == LABEL["spleen"]),
        StructureMask(Structure("metastasis", 99, (0.9, 0.8, 0.2)), (0, 0, 0), metastases),
    ]
    addSegments(volumeNode, "Findings", found, patient.volume.geometry)


def _paintAnotherSlice(paintedNode: Any, patient: Patient) -> None:
    import slicer
    import slicer.util

    name, slices = _STRUCTURES[1]
    segmentId = paintedNode.GetSegmentation().GetSegmentIdBySegmentName(name)
    volumeNode = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    mask = _drawn(patient, name, slices + 1).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, paintedNode, segmentId, volumeNode)


def _drawn(patient: Patient, name: str, slices: int) -> np.ndarray:
    mask = np.zeros(patient.truth.shape, bool)
    for k in painted_slices(patient.truth, LABEL[name], slices):
        mask[k] = patient.truth[k] == LABEL[name]
    return mask


if __name__ == "__main__":
    main(Path(sys.argv[1]))
