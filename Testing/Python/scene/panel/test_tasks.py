"""The Tasks and Batch tabs on the harness: real nodes and files, the real worker and the shipped weights."""

from __future__ import annotations

import os

import nibabel
import pytest

import scene_phantom as fx
import scene_positions as at
from MedMetaSegLib.demo.phantom import LABEL, make_patient
from panel_bench import (
    learn_from,
    nodes,
    nothing_is_left,
    running,
    shown,
    tasks,
    tick,
    until,
    wait_for_pairs,
    worker_pid,
)
from processes import is_alive
from task_phantom import make_task

STRUCTURES = ("liver", "spleen")


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """Where the task that the first test learns is kept for the others."""
    return tmp_path_factory.mktemp("learned")


@pytest.fixture(scope="module")
def next_patient():
    return make_patient(seed=1, shape=(24, 70, 90), spacing_mm=(8.0, 4.0, 4.0))


def whole(bench):
    """A finished segmentation of the patient."""
    node = bench.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Finished")
    for name in STRUCTURES:
        fx.addSegment(node, name, bench.truth == LABEL[name], bench.matrix)
    return node


def add_next_patient(bench, patient):
    """Another patient's volume."""
    return fx.addVolume(bench.scene, patient.volume.geometry.affine, patient.volume.array, "Next")


def test_learn_a_task_and_apply_it_to_another_volume(bench, folder, learned, next_patient):
    panel, ui = bench.panel, bench.ui
    bench.choose()
    whole(bench)
    other = add_next_patient(bench, next_patient)
    wait_for_pairs(panel)
    assert tasks(panel) == []
    assert not ui.learnButton.enabled
    learn_from(panel, "Phantom", "Finished")
    assert ui.tasksHintLabel.text == "Give the new task a name."
    ui.taskNameEdit.setText("abdomen")
    before = nodes(bench.scene)
    ui.learnButton.click()
    assert running(panel), shown(panel)
    kept = until(lambda: not running(panel))
    assert shown(panel)["result"].startswith("Learned in "), shown(panel)
    ((name, holds),) = tasks(panel)
    assert (name, holds.splitlines()[0]) == ("abdomen", "liver, spleen")
    assert holds.splitlines()[1].startswith("1 support, 20")
    assert not ui.taskTable.item(0, 0).icon().isNull()
    assert nodes(bench.scene) == before
    (learned / "abdomen.medmetaseg").write_bytes((folder / "abdomen.medmetaseg").read_bytes())

    tick(panel, "Next")
    ui.applyButton.click()
    assert running(panel), shown(panel)
    kept = max(kept, until(lambda: not running(panel)))
    assert shown(panel)["result"].startswith("Next: liver "), shown(panel)
    (new,) = (
        bench.scene.GetNodeByID(one)
        for one in nodes(bench.scene) - before
        if one.startswith("vtkMRMLSegmentationNode")
    )
    segmentId = new.GetSegmentation().GetSegmentIdBySegmentName("liver")
    found = at.segmentAt(new, segmentId, at.voxelsInWorld(other))
    assert at.dice(found, (next_patient.truth == LABEL["liver"]).ravel()) > 0.7
    print(f"the event loop was kept for at most {1000 * kept:.0f} ms")


def in_folder(learned, folder):
    """The task that the first test learned."""
    content = learned / "abdomen.medmetaseg"
    if not content.is_file():
        pytest.skip("needs the task that the first test of this file learns")
    (folder / content.name).write_bytes(content.read_bytes())


def test_cancelling_an_apply_keeps_what_is_done(bench, folder, learned, next_patient):
    in_folder(learned, folder)
    panel = bench.panel
    bench.choose()
    add_next_patient(bench, next_patient)
    panel.tasksTab.show()
    tick(panel, "Phantom", "Next")
    before = bench.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    bench.ui.applyButton.click()
    until(lambda: "Phantom: " in bench.ui.resultLabel.text)
    bench.ui.cancelButton.click()
    until(lambda: not running(panel))
    assert shown(panel)["result"].splitlines()[0] == "Cancelled; these volumes were done:"
    assert shown(panel)["result"].splitlines()[1].startswith("Phantom: liver ")
    assert bench.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == before + 1


def write_images(path, patients):
    path.mkdir()
    for number, one in enumerate(patients):
        volume = one.volume
        image = nibabel.Nifti1Image(volume.array.transpose(2, 1, 0), volume.geometry.affine)
        image.to_filename(path / f"patient {number}.nii.gz")


def batch_rows(panel):
    table = panel.ui.batchTable
    return [(table.item(row, 0).text(), table.item(row, 1).text()) for row in range(table.rowCount)]


def test_a_batch_over_four_images_is_cancelled_gone_on_with_and_opened(
    bench, folder, learned, tmp_path, patient, next_patient
):
    in_folder(learned, folder)
    panel, ui = bench.panel, bench.ui
    images, out = tmp_path / "images", tmp_path / "results"
    write_images(images, [patient, next_patient, patient])
    (images / "broken.nii.gz").write_bytes(b"broken")
    ui.tabs.setCurrentIndex(2)
    assert not ui.batchButton.enabled
    ui.batchInputEdit.setText(str(images))
    ui.batchPatternEdit.setText("*.nii.gz")
    ui.batchOutputEdit.setText(str(out))
    assert ui.batchTaskCombo.currentText == "abdomen"
    ui.batchButton.click()
    assert running(panel), shown(panel)
    until(lambda: any(state.startswith("done") for _, state in batch_rows(panel)) or not running(panel))
    assert running(panel), shown(panel)
    ui.cancelButton.click()
    until(lambda: not running(panel))
    assert shown(panel)["result"].startswith("Cancelled: "), shown(panel)
    done = len(list(out.glob("*.seg.nrrd")))
    assert 1 <= done < 3

    ui.batchButton.click()
    until(lambda: not running(panel))
    assert shown(panel)["result"].startswith("3 of 4 images are done in "), shown(panel)
    states = dict(batch_rows(panel))
    assert len(states) == 4
    assert sum(state.startswith("was there") for state in states.values()) == done
    assert states["broken"].startswith("failed: ")
    assert (out / "report.csv").is_file()

    row = next(row for row, (name, _) in enumerate(batch_rows(panel)) if name == "patient 1")
    ui.batchTable.selectRow(row)
    before = bench.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    ui.openResultButton.click()
    assert "error" not in shown(panel), shown(panel)
    assert bench.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == before + 1


def test_what_is_wrong_with_a_batch_is_one_sentence(bench, folder, tmp_path):
    make_task().write(folder / "other.medmetaseg")
    bench.ui.tabs.setCurrentIndex(2)
    bench.ui.batchInputEdit.setText(str(tmp_path / "nowhere"))
    bench.ui.batchOutputEdit.setText(str(tmp_path / "results"))
    bench.ui.batchButton.click()
    until(lambda: not running(bench.panel))
    assert "nowhere" in shown(bench.panel)["error"]
    assert not (tmp_path / "results").exists()


def test_closing_the_scene_while_a_task_is_learned_leaves_nothing(bench, folder, tmp_path):
    bench.choose()
    whole(bench)
    wait_for_pairs(bench.panel)
    learn_from(bench.panel, "Phantom", "Finished")
    bench.ui.taskNameEdit.setText("abdomen")
    bench.ui.learnButton.click()
    pid = worker_pid(bench.panel)
    bench.scene.Clear(0)
    assert not running(bench.panel)
    assert not is_alive(pid)
    assert nothing_is_left(tmp_path)
    assert os.listdir(folder) == []
    assert bench.ui.pairTable.rowCount == 0


# ---------------------------------------------------------------- without the worker


def test_painted_slices_are_not_learned_as_finished_without_asking(bench, folder, monkeypatch):
    import slicer.util

    asked = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: asked.append(text), raising=False)
    bench.choose()
    bench.panel.tasksTab.show()
    learn_from(bench.panel, "Phantom", "Painted")
    bench.ui.taskNameEdit.setText("liver")
    bench.ui.learnButton.click()
    assert asked == ["Only some slices of liver seem to be painted. Learn as if that were all of it?"]
    assert "choose painted slices under Learn from" in shown(bench.panel)["error"]
    assert not running(bench.panel)


def test_a_name_that_is_taken_is_refused_before_anything_is_learned(bench, folder):
    make_task().write(folder / "liver.medmetaseg")
    bench.choose()
    whole(bench)
    bench.panel.tasksTab.show()
    learn_from(bench.panel, "Phantom", "Finished")
    bench.ui.taskNameEdit.setText("Liver")
    bench.ui.learnButton.click()
    assert "There is a task called 'Liver' already" in shown(bench.panel)["error"]
    assert not running(bench.panel)


def test_tasks_are_renamed_exported_imported_and_deleted(bench, folder, tmp_path, monkeypatch):
    import qt
    import slicer.util

    panel, ui = bench.panel, bench.ui
    make_task().write(folder / "kidneys.medmetaseg")
    panel.tasksTab.show()
    assert tasks(panel)[0][0] == "kidneys"
    assert tasks(panel)[0][1].startswith("Niere rechts, left kidney\n2 supports, ")
    ui.taskTable.item(0, 0).setText("both")
    assert [name for name, _ in tasks(panel)] == ["both"]
    ui.taskTable.item(0, 0).setText("a/b")
    assert "cannot be called" in shown(panel)["error"]
    assert [name for name, _ in tasks(panel)] == ["both"]

    target = tmp_path / "for you.medmetaseg"
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *_: str(target))
    ui.exportTaskButton.click()
    assert target.read_bytes() == (folder / "both.medmetaseg").read_bytes()
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileNames", lambda *_: [str(target)])
    ui.importTaskButton.click()
    assert [name for name, _ in tasks(panel)] == ["both", "for you"]

    answers = [False, True]
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: answers.pop(0), raising=False)
    ui.taskTable.selectRow(0)
    ui.deleteTaskButton.click()
    assert [name for name, _ in tasks(panel)] == ["both", "for you"]
    ui.deleteTaskButton.click()
    assert [name for name, _ in tasks(panel)] == ["for you"]
    assert (folder / "trash" / "both.medmetaseg").is_file()


def test_a_task_that_cannot_be_read_is_listed_with_the_reason_and_cannot_be_applied(bench, folder):
    (folder / "broken.medmetaseg").write_bytes(b"broken")
    bench.choose()
    bench.panel.tasksTab.show()
    assert tasks(bench.panel)[0][1].startswith("cannot be used: ")
    assert not bench.ui.applyButton.enabled
    assert bench.ui.deleteTaskButton.enabled


def test_another_folder_is_kept_in_the_settings(bench, folder, tmp_path, monkeypatch):
    import qt

    other = tmp_path / "other"
    other.mkdir()
    make_task().write(other / "spine.medmetaseg")
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: str(other))
    bench.ui.taskFolderButton.click()
    assert bench.ui.taskFolderEdit.text == str(other)
    assert [name for name, _ in tasks(bench.panel)] == ["spine"]
    assert qt.QSettings().value("MedMetaSeg/TaskFolder") == str(other)


def test_tasks_lie_in_the_folder_of_documents_wherever_that_is(panel, tmp_path, monkeypatch):
    import qt

    documents = tmp_path / "Dokumente mit Umlaut \u00e4"
    monkeypatch.setattr(qt.QStandardPaths, "writableLocation", lambda which: str(documents))
    monkeypatch.setattr(panel.tasksTab, "_folder", None)
    assert panel.tasksTab.folder.path == documents / "MedMetaSeg tasks"
    panel.tasksTab._folder = None
