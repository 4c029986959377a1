"""Pictures of the panel on the harness, 420 pixels wide, light and dark: what `make screenshots` makes.

python -m Harness.screenshots docs/pictures
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PySide6 import QtGui

from MedMetaSegLib.demo.phantom import LABEL, Patient, make_patient, painted_slices

from .application import Application, start

_MODULE = Path(__file__).parents[2] / "MedMetaSeg" / "MedMetaSeg.py"
_WIDTH, _LEAST_HEIGHT = 420, 480
_PATIENCE_S = 600
_STRUCTURES = (("liver", 3), ("spleen", 3), ("left kidney", 2))


def main(folder: Path) -> None:
    """Drive the panel from empty to done and to an error, and photograph each state in both palettes."""
    application = start()
    application.setStyle("Fusion")
    application.mrmlScene().Clear(0)
    module = application.loadModule(_MODULE)
    module.enter()
    panel, window = module.widget.panel, module.widgetRepresentation()
    window.show()

    def take(state: str) -> None:
        _take(application, window, folder, state)

    def wait(condition: Callable[[], bool]) -> None:
        limit = time.monotonic() + _PATIENCE_S
        while not condition():
            if time.monotonic() > limit:
                raise TimeoutError("The panel did not come to the next state.")
            application.processEvents()
            time.sleep(0.02)

    take("empty")
    patient = make_patient(shape=(24, 80, 100), spacing_mm=(8.0, 3.6, 3.6))
    _paint(patient)
    module.enter()
    take("ready")
    panel.ui.segmentButton.click()
    wait(lambda: panel.ui.progressBar.value > 0)
    take("running")
    wait(lambda: panel.ui.cancelButton.isHidden())
    _paintAnotherSlice(panel.ui.segmentationSelector.currentNode(), patient)
    module.enter()
    panel.ui.segmentButton.click()
    wait(lambda: panel.ui.cancelButton.isHidden())
    take("done")
    panel.ui.segmentButton.click()
    # The worker's end is what memory running out looks like.
    os.kill(panel.run.workerPid, getattr(signal, "SIGKILL", signal.SIGTERM))
    wait(lambda: panel.ui.cancelButton.isHidden())
    take("error")
    module.unload()


def _take(application: Application, window: Any, folder: Path, state: str) -> None:
    for name, palette in (("light", _palette("#efefef", "#ffffff", "#000000")), ("dark", _dark())):
        application.setPalette(palette)
        for _ in range(3):
            application.processEvents()
        window.resize(_WIDTH, max(_LEAST_HEIGHT, window.minimumSizeHint().height()))
        application.processEvents()
        path = folder / f"panel-{state}-{name}.png"
        if not window.grab().save(str(path)):
            raise OSError(f"{path} cannot be written.")
        print(path)


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


def _paint(patient: Patient) -> None:
    """The patient as a volume node, painted on a few slices."""
    import slicer

    from MedMetaSegLib.demo.nodes import addSegments, addVolume
    from MedMetaSegLib.structure import PaintedStructure

    volumeNode = addVolume(slicer.mrmlScene, patient.volume)
    called = {one.label: one for one in patient.structures}
    painted = []
    for name, slices in _STRUCTURES:
        painted.append(PaintedStructure(called[LABEL[name]], (0, 0, 0), _drawn(patient, name, slices)))
    addSegments(volumeNode, "Painted", painted, patient.volume.geometry)


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
