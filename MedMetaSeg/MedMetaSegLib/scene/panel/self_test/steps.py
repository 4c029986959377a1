"""The steps of docs/try-in-slicer.md that check themselves, those that need one another in one function.

Each is a generator over a Trial: it gives a sentence for a step that went right, and raises AssertionError
for the one that did not, or NotCheckedError.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _

from ....results.millilitres import millilitres_text
from ..parameters import BatchFormat
from .trial import (
    MODULE,
    SHAPE,
    SLICES,
    SPACING_MM,
    NotCheckedError,
    Trial,
    dice,
    names,
    require,
    segmentations,
    structure,
)

_GOOD, _NEXT_GOOD = 0.9, 0.8
"""The least Dice from painted slices, and on the next patient."""
_CANCEL_S = 5.0
"""Two seconds are promised; a busy machine may take a little longer to say so."""
_UNPAINTED = (9, 13, 11)
"""A voxel (k, j, i) of the liver on a slice that is not painted."""
_SHIFT = (1, 2, -1)
"""Voxels (k, j, i) by which the next patient lies elsewhere in its volume."""


@dataclass(frozen=True)
class Scenario:
    """Steps that follow each other in one scene: a sentence of `steps` for each of `numbers`, in order."""

    name: str
    numbers: tuple[int, ...]
    steps: Callable[[Trial], Iterator[str]]


def paintAndSegment(trial: Trial) -> Iterator[str]:
    """What the table shows, Segment by way of the worker, Update after another slice, and Back."""
    table = trial.ui.segmentTable
    shown = [table.item(0, column).text() for column in (0, 1)] if table.rowCount else []
    require(shown[:1] == ["liver"] and str(len(SLICES)) in shown[1], f"the table shows {shown}")
    yield _("the table shows '{painted}' for the liver").format(painted=shown[1])
    trial.press(trial.ui.segmentButton)
    trial.wait(lambda: trial.panel.run.workerPid is not None, "starting the worker")
    require(trial.panel.run.workerPid != os.getpid(), "the worker is no process of its own")
    trial.finish()
    yield _goodResult(trial, "Segment")
    first = trial.voxels(trial.panel.parameters.output, "liver")
    corrected = _mostWrongSlice(first)
    trial.paint("liver", (*SLICES, corrected))
    trial.segment()
    require(names(trial.panel.parameters.output) == ["liver"], "the first result was not replaced")
    yield _goodResult(trial, "Update")
    second = trial.voxels(trial.panel.parameters.output, "liver")
    require(not np.array_equal(second, first), "another slice made no difference")
    require(
        np.array_equal(second[corrected], structure("liver")[corrected]), "the slice painted last was changed"
    )
    trial.ui.backButton.click()
    back = trial.voxels(trial.panel.parameters.output, "liver")
    require(np.array_equal(back, first), f"Back differs from the answer before: {_difference(back, first)}")
    yield _("Back returned to the answer before, equal in every voxel")


def acceptAndUndo(trial: Trial) -> Iterator[str]:
    """Accept copies the result over what is painted, Undo gives that back."""
    resultNode = trial.segment()
    result, painted = trial.voxels(resultNode, "liver"), trial.voxels(trial.paintedNode, "liver")
    trial.ui.acceptButton.click()
    accepted = trial.voxels(trial.paintedNode, "liver")
    require(
        np.array_equal(accepted, result), f"Accept differs from the result: {_difference(accepted, result)}"
    )
    yield _("Accept put the result over the painted slices, equal in every voxel")
    trial.ui.undoButton.click()
    back = trial.voxels(trial.paintedNode, "liver")
    require(
        np.array_equal(back, painted), f"Undo differs from what was painted: {_difference(back, painted)}"
    )
    yield _("Undo took it back, equal in every voxel")


def twoEditors(trial: Trial) -> Iterator[str]:
    """The editor in the panel beside the module Segment Editor, with a real stroke in a slice view."""
    view = _redView(trial)
    # The module's editor has had the same segmentation open.
    trial.ui.paintButton.click()
    moduleEditor = slicer.modules.SegmentEditorWidget.editor
    slicer.util.selectModule(MODULE)
    trial.ui.paintHereCheck.setChecked(True)
    found = slicer.util.findChildren(trial.ui.editorPlace, className="qMRMLSegmentEditorWidget")
    require(len(found) == 1, f"the panel shows {len(found)} editors instead of one")
    editor = found[0]
    ownNode, itsNode = editor.mrmlSegmentEditorNode(), moduleEditor.mrmlSegmentEditorNode()
    require(ownNode is not itsNode, "the panel's editor shares the settings of the module Segment Editor")
    editor.setCurrentSegmentID(trial.segmentIds["liver"])
    before = trial.voxels(trial.paintedNode, "liver")
    _stroke(view)
    after = trial.voxels(trial.paintedNode, "liver")
    require(np.any(after & ~before), "a stroke in the slice view painted nothing")
    editor.undo()
    require(_isPainted(trial, before), "one Undo in the panel did not take one stroke back")
    moduleEditor.undo()
    require(_isPainted(trial, before), "the stroke was in the history of the module Segment Editor, too")
    trial.ui.paintHereCheck.setChecked(False)
    _stroke(view)
    require(_isPainted(trial, before), "the editor paints although it is hidden")
    yield _("a stroke was painted once, the panel's Undo took it back, and the hidden editor painted nothing")


def saveAndDelete(trial: Trial) -> Iterator[str]:
    """Update after the scene was saved, and after the result was deleted."""
    trial.paint("kidney", (5, 7, 9))
    trial.segment()
    # Each structure that is made anew has a labelmap of its own, which saving then puts into one.
    trial.paint("liver", (*SLICES, 5))
    trial.segment()
    path = trial.folder / "scene.mrb"
    require(slicer.util.saveScene(str(path), {}) and path.is_file(), "the scene was not saved")
    trial.paint("liver", (*SLICES, 9))
    found = names(trial.segment())
    require(found == ["kidney", "liver"], f"after saving, Update left {found} in the result")
    yield _goodResult(trial, "Update after saving the scene")
    slicer.mrmlScene.RemoveNode(trial.panel.parameters.output)
    trial.settle()
    node = trial.segment()
    require(node is not trial.paintedNode, "the result went into what is painted")
    require(names(node) == ["kidney", "liver"], f"the new result holds {names(node)}")
    require(names(trial.paintedNode) == ["kidney", "liver"], "what is painted was changed")
    yield _goodResult(trial, "Segment after the result was deleted")


def cancel(trial: Trial) -> Iterator[str]:
    """Cancel while the worker is at work."""
    before, painted = segmentations(), trial.voxels(trial.paintedNode, "liver")
    trial.press(trial.ui.segmentButton)
    trial.wait(lambda: trial.panel.run.workerPid is not None, "starting the worker")
    trial.ui.cancelButton.click()
    trial.wait(lambda: not trial.panel.isBusy, "Cancel", _CANCEL_S)
    require(segmentations() == before, "a segmentation was left behind")
    require(_isPainted(trial, painted), "what is painted was changed")
    yield _("Cancel stopped the run and nothing was changed")


def learnAndApply(trial: Trial) -> Iterator[str]:
    """A task learned from the result and applied to the next patient."""
    nextNode = trial.addPatient("Next patient", _SHIFT, seed=1)
    trial.learn(trial.segment(), "liver")
    tasks = [path.name for path in (trial.folder / "tasks").iterdir()]
    require(tasks == ["liver.medmetaseg"], f"the folder of tasks holds {tasks}")
    yield _("a task was learned into a file")
    before = segmentations()
    trial.tickOnly(nextNode)
    trial.press(trial.ui.applyButton)
    trial.finish()
    node = _added(before)
    score = dice(trial.voxels(node, "liver"), structure("liver", _SHIFT))
    require(score > _NEXT_GOOD, f"Dice on the next patient is {score:.3f}")
    yield _("the task found the liver of the next patient, Dice {dice:.3f}").format(dice=score)


def batch(trial: Trial) -> Iterator[str]:
    """Two image files, then one of them in the other format, opened in the scene."""
    truths = {"one": structure("liver"), "two": structure("liver", _SHIFT)}
    nextNode = trial.addPatient("Next patient", _SHIFT, seed=1)
    images = trial.folder / "images"
    images.mkdir()
    for node, name in ((trial.volumeNode, "one.nrrd"), (nextNode, "two.nii.gz")):
        require(slicer.util.saveNode(node, str(images / name), {}), f"{name} was not written")
    trial.paint("liver", range(SHAPE[0]))
    trial.learn(trial.paintedNode, "liver")
    trial.ui.tabs.setCurrentWidget(trial.ui.batchTab)
    trial.ui.batchInputEdit.setText(str(images))
    _runBatch(trial, BatchFormat.NRRD, "", truths)
    _runBatch(trial, BatchFormat.NIFTI, "one.*", {"one": truths["one"]})
    yield _("images were segmented in both formats and opened from their files")


def closeScene(trial: Trial) -> Iterator[str]:
    """The device asked for, and the scene closed with a worker that holds the volume."""
    trial.press(trial.ui.checkDeviceButton)
    trial.finish()
    device = trial.ui.deviceFoundLabel.text
    require(device.startswith(("CPU", "CUDA")), f"Check says '{device}'")
    yield _("Check says {device}").format(device=device)
    trial.segment()
    slicer.mrmlScene.Clear()
    require(trial.panel.run.workerPid is None, "the worker goes on after the scene was closed")
    require(trial.ui.segmentTable.rowCount == 0, "the table still shows segments of the closed scene")
    yield _("closing the scene ended the worker and emptied the table")


def console(trial: Trial) -> Iterator[str]:
    """The module's logic in Slicer's own process, as scripts call it, and the Measure tab beside it."""
    logic = trial.widget.logic
    node = logic.segment(trial.volumeNode, trial.paintedNode)
    score = dice(trial.voxels(node, "liver"), structure("liver"))
    require(score > _GOOD, f"Dice is {score:.3f}")
    reported = [one["name"] for one in logic.lastReport["structures"]]
    require(reported == ["liver"], f"lastReport names {reported}")
    text = _(
        "logic.segment in Slicer's own process, Dice {dice:.3f}; Measure and logic.measure: {volume} cm³"
    )
    yield text.format(dice=score, volume=_measuredVolume(trial, node))


SCENARIOS = (
    Scenario("paint and segment", (3, 4, 5, 8), paintAndSegment),
    Scenario("accept and undo", (6, 7), acceptAndUndo),
    Scenario("two editors", (9,), twoEditors),
    Scenario("save and delete", (11, 12), saveAndDelete),
    Scenario("cancel", (13,), cancel),
    Scenario("learn and apply", (14, 15), learnAndApply),
    Scenario("batch", (16,), batch),
    Scenario("close the scene", (19, 18), closeScene),
    Scenario("console", (20,), console),
)


def _mostWrongSlice(found: np.ndarray) -> int:
    """The slice of the liver on which most voxels of an answer, bool (k, j, i), are wrong.

    Raises NotCheckedError for an answer without a wrong voxel.
    """
    whole = structure("liver")
    wrong = np.count_nonzero(found ^ whole, axis=(1, 2)) * whole.any((1, 2))
    if not wrong.any():
        raise NotCheckedError(_("the first answer is right in every voxel: there is nothing to correct"))
    return int(wrong.argmax())


def _goodResult(trial: Trial, what: str) -> str:
    """A sentence on the Dice of the result, which has to be good."""
    score = dice(trial.voxels(trial.panel.parameters.output, "liver"), structure("liver"))
    require(score > _GOOD, f"{what}: Dice of the result is {score:.3f}")
    return _("{what}: the result is in the scene, Dice {dice:.3f}").format(what=what, dice=score)


def _measuredVolume(trial: Trial, node: Any) -> str:
    """The liver's cm³ that the Measure tab shows, which the logic and the voxels agree with.

    Diameters come as lines, and go.
    """
    ui = trial.ui
    ui.tabs.setCurrentWidget(ui.measureTab)
    ui.measureVolumeSelector.setCurrentNode(trial.volumeNode)
    ui.measureSegmentationSelector.setCurrentNode(node)
    ui.measureButton.click()
    require(not ui.errorLabel.text, f"the panel says: {ui.errorLabel.text}")
    shown = ui.measureTable.item(0, 2).text()
    voxels = int(np.count_nonzero(trial.voxels(node, "liver")))
    counted = millilitres_text(voxels * float(np.prod(SPACING_MM)) / 1000)
    require(shown == counted, f"Measure shows {shown} cm³, the voxels are {counted} cm³")
    for expected in (2 * ui.lesionTable.rowCount, 0):
        ui.diametersButton.click()
        lines = len(slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode"))
        require(lines == expected, f"there are {lines} lines for diameters instead of {expected}")
    report = trial.widget.logic.measure(trial.volumeNode, node)
    measured = report["structures"][0]["voxel_count"]
    require(measured == voxels, f"logic.measure counts {measured} voxels instead of {voxels}")
    require(slicer.mrmlScene.GetFirstNodeByName(report["table"]), "there is no table of what was measured")
    return shown


def _isPainted(trial: Trial, expected: np.ndarray) -> bool:
    return bool(np.array_equal(trial.voxels(trial.paintedNode, "liver"), expected))


def _difference(one: np.ndarray, other: np.ndarray) -> str:
    return f"{np.count_nonzero(one != other)} voxels"


def _added(before: list[Any]) -> Any:
    """The one segmentation node that is new."""
    added = [node for node in segmentations() if node not in before]
    require(len(added) == 1, f"{len(added)} segmentations were added instead of one")
    return added[0]


def _runBatch(trial: Trial, format: BatchFormat, pattern: str, truths: dict[str, np.ndarray]) -> None:
    """Run a batch on the files of a pattern, open each result by a click and compare it with the truth."""
    ui, out = trial.ui, trial.folder / format.name
    ui.batchFormatCombo.setCurrentIndex(list(BatchFormat).index(format))
    ui.batchPatternEdit.setText(pattern)
    ui.batchOutputEdit.setText(str(out))
    trial.press(ui.batchButton)
    trial.finish()
    shown = [ui.batchTable.item(row, 0).text() for row in range(ui.batchTable.rowCount)]
    require(sorted(shown) == sorted(truths), f"the table shows {shown}")
    for name, truth in truths.items():
        require((out / f"{name}{format.value}").is_file(), f"there is no {name}{format.value}")
        before = segmentations()
        ui.batchTable.selectRow(shown.index(name))
        ui.openResultButton.click()
        require(not ui.errorLabel.text, f"the panel says: {ui.errorLabel.text}")
        score = dice(trial.voxels(_added(before)), truth)
        require(score > _NEXT_GOOD, f"Dice of {name}{format.value} is {score:.3f}")


def _redView(trial: Trial) -> Any:
    """The red slice view on a slice of the liver that is not painted; NotCheckedError without one."""
    if not hasattr(slicer, "qMRMLSegmentEditorWidget"):
        raise NotCheckedError(_("the Segment Editor is not there"))
    layoutManager = slicer.app.layoutManager() if hasattr(slicer.app, "layoutManager") else None
    view = layoutManager.sliceWidget("Red") if layoutManager is not None else None
    if view is None or not hasattr(slicer.util, "clickAndDrag"):
        raise NotCheckedError(_("there is no slice view to paint in"))
    slicer.util.setSliceViewerLayers(background=trial.volumeNode, fit=True)
    x, y, z = np.array(_UNPAINTED[::-1]) * trial.volumeNode.GetSpacing()
    view.mrmlSliceNode().JumpSliceByCentering(x, y, z)
    slicer.app.processEvents()
    return view


def _stroke(view: Any) -> None:
    """Paint a short stroke in the middle of a slice view."""
    width, height = view.sliceView().renderWindow().GetSize()
    middle = width // 2, height // 2
    slicer.util.clickAndDrag(view, start=middle, end=(middle[0] + 10, middle[1]), steps=5)
    slicer.app.processEvents()
