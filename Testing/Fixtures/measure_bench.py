"""A patient in the Measure tab, for tests of the panel."""

from __future__ import annotations

import numpy as np

import scene_phantom as fx
from MedMetaSegLib.demo.phantom import LABEL
from panel_bench import Bench, until

MEASURE_TAB = 3


class MeasureBench(Bench):
    """The patient with two whole organs and a segment of three boxes, in the Measure tab."""

    # First voxel and size (k, j, i) of each, far from one another; the last is below 1500 mm3.
    BOXES = (((2, 4, 4), (3, 6, 4)), ((10, 4, 60), (2, 3, 3)), ((18, 50, 8), (1, 2, 2)))

    def __init__(self, panel, patient):
        super().__init__(panel, patient)
        for name in ("liver", "spleen"):
            self.ids[name] = fx.addSegment(self.paintedNode, name, self.truth == LABEL[name], self.matrix)
        boxes = np.zeros(self.truth.shape, bool)
        for start, size in self.BOXES:
            boxes[tuple(slice(low, low + length) for low, length in zip(start, size, strict=True))] = True
        self.ids["metastasis"] = fx.addSegment(self.paintedNode, "metastasis", boxes, self.matrix)
        self.choose()
        self.ui.tabs.setCurrentIndex(MEASURE_TAB)

    def tick(self, name, ticked=True):
        import qt

        row = [one[0] for one in self.segments()].index(name)
        state = qt.Qt.Checked if ticked else qt.Qt.Unchecked
        self.ui.measureTable.item(row, 1).setCheckState(state)
        return self

    def measure(self):
        self.ui.measureButton.click()
        return self

    def segments(self):
        """Name, volume, mean and border of each row."""
        table = self.ui.measureTable
        return [
            tuple(table.item(row, column).text() for column in (0, 2, 3, 4)) for row in range(table.rowCount)
        ]

    def lesions(self):
        table = self.ui.lesionTable
        return [
            tuple(table.item(row, column).text() for column in range(table.columnCount))
            for row in range(table.rowCount)
        ]

    def measured(self, name):
        return self.panel.measureTab._measured.measurements.structure(name)

    def stale(self):
        until(lambda: not self.panel.measureTab.lookTimer.isActive())
        return self.ui.measureStaleLabel.text

    def lines(self):
        import slicer.util

        return slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode")

    def tables(self):
        import slicer.util

        return {node.GetName(): node for node in slicer.util.getNodesByClass("vtkMRMLTableNode")}
