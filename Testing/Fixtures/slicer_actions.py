"""Everything a user can do, one after the other, on one small patient; a program for test_slicer_packages.

    python slicer_actions.py FOLDER RESULTS.json

RESULTS.json: "" for an action that went well, else what went wrong. Worker processes are real, and so is the
network at first.
"""

from __future__ import annotations

import json
import math
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

import scene_phantom as fx
from batch_stand_in import StandInSegmenter
from Harness import start
from MedMetaSegLib.batch.request import BatchRequest
from MedMetaSegLib.batch.states import DONE
from MedMetaSegLib.demo.phantom import LABEL, make_patient, painted
from MedMetaSegLib.imageio.volume import read_volume, to_sitk, write_labels
from MedMetaSegLib.scene import SceneLogic
from MedMetaSegLib.support.structure import Structure, StructureMask
from MedMetaSegLib.support.support import Support, write_segmentation
from MedMetaSegLib.worker.client import WorkerClient
from MedMetaSegLib.worker.messages import Finished
from panel_bench import MODULE, Bench, running, shown, until
from processes import until_ended
from scene_sequence import add_sequence, scrubbing


class Session:
    """A session of a user; its public methods are the actions, in the order in which they are done."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._patient = make_patient(shape=(16, 50, 64), spacing_mm=(12.0, 6.0, 6.0))
        self._application, self._client = start(), WorkerClient(cancel_patience_s=math.inf)
        self._logic = SceneLogic()

    def open_the_panel(self) -> None:
        import qt

        qt.QSettings().setValue("MedMetaSeg/TaskFolder", str(self._folder))
        module = self._application.loadModule(MODULE)
        self._application.mainWindow().moduleSelector().selectModule("MedMetaSeg")
        self._panel = module.widget.panel
        for index in range(self._panel.ui.tabs.count):
            self._panel.ui.tabs.setCurrentIndex(index)
        self._panel.ui.tabs.setCurrentIndex(0)
        assert self._panel.installation.missing() == []

    def segment_in_the_panel(self) -> None:
        self._bench = Bench(self._panel, self._patient).paint("liver").choose().press()
        until(lambda: not running(self._panel))
        assert "liver" in shown(self._panel)["result"], shown(self._panel)

    def segment_in_the_scene(self) -> None:
        self._logic.segment(self._bench.volumeNode, self._bench.paintedNode, device="cpu")

    def learn_in_the_scene(self) -> None:
        node = self._bench.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Finished")
        for name in ("liver", "spleen"):
            fx.addSegment(node, name, self._mask(name), self._bench.matrix)
        pairs = [(self._bench.volumeNode, node)]
        self._logic.learn(pairs, self._task("plain"), annotation="complete", device="cpu")

    def check_the_device_in_the_worker(self) -> None:
        self._client.check_device("cpu")
        assert self._finished().report["device"][0] == "cpu"

    def learn_in_the_worker(self) -> None:
        support = Support.from_masks(self._overlapping(), self._patient.volume.geometry, "complete")
        self._client.learn([(self._patient.volume, support)], "cpu")
        self._task("overlapping").write_bytes(self._finished().task)

    def write_and_read_images(self) -> None:
        import SimpleITK as sitk

        for suffix in (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"):
            path = self._images / f"{suffix[1:].replace('.', '_')}{suffix}"
            sitk.WriteImage(to_sitk(self._patient.volume.array, self._patient.volume.geometry), str(path))
            assert read_volume(path).array.shape == self._patient.truth.shape

    def read_a_dicom_folder(self) -> None:
        from dicom_phantom import write_series

        write_series(self._folder / "dicom", 1, 12)
        assert read_volume(self._folder / "dicom").array.shape == (12, 24, 24)

    def read_dicom_segmentations(self) -> None:
        from dicom_frames import along_z, write_seg

        frames = [(1, place, np.ones((40, 40), np.uint8)) for place in along_z((0.0, 3.0))]
        for kind, compressed in (("BINARY", ""), ("LABELMAP", "RLE"), ("LABELMAP", "JPEG2000")):
            path = self._folder / f"seg_{kind}_{compressed}.dcm"
            write_seg(path, frames, {1: {"SegmentLabel": "all"}}, kind, compressed=compressed)
            assert Support.read(path).structures[0].voxels == 3200

    def read_an_rtstruct_in_the_console_and_into_the_scene(self) -> None:
        from dicom_drawn import DrawnCt, Roi, write_rtstruct

        ct = DrawnCt()
        volume = read_volume(ct.write(self._folder / "drawn on"))
        contour = ct.contour(3, [(1.5, 1.5), (1.5, 8.5), (9.5, 8.5), (9.5, 1.5)])
        path = write_rtstruct(self._folder / "rs.dcm", [Roi(1, "box", [contour])])
        assert Support.read(path, reference=volume).structures[0].voxels == 56
        node = fx.addVolume(self._bench.scene, volume.geometry.affine, volume.array, "Drawn on")
        loaded = self._logic.loadSegments(path, node)
        assert loaded.GetSegmentation().GetNumberOfSegments() == 1

    def write_and_read_supports(self) -> None:
        labels = painted(self._patient.truth, (LABEL["liver"],))
        geometry = self._patient.volume.geometry
        for suffix in (".nii.gz", ".nii", ".nrrd", ".mha"):
            write_labels(self._folder / f"support{suffix}", labels, geometry)
            assert Support.read(self._folder / f"support{suffix}").structures
        path = self._folder / "support.seg.nrrd"
        write_segmentation(path, self._overlapping(), geometry)
        assert Support.read(path, annotation="complete").overlapping

    def batch_of_overlapping_structures_to_the_default_format(self) -> None:
        self._batch("overlapping", "seg.nrrd")

    def use_a_stand_in_for_the_network_from_here_on(self) -> None:
        """It takes too long to apply a task for real to every image."""
        self._client.close()
        self._panel.run.close()
        os.environ.update(SLICER_STAND_IN="1", STAND_IN_SECONDS="0", STAND_IN_LOG=str(self._folder / "log"))

    def apply_in_the_worker(self) -> None:
        self._client.apply(self._task("overlapping"), self._patient.volume, "cpu")
        assert self._finished().structures

    def apply_in_the_scene(self) -> None:
        node = SceneLogic(lambda device: StandInSegmenter()).apply(
            self._task("plain"), self._bench.volumeNode
        )
        assert node.GetSegmentation().GetNumberOfSegments() == 1

    def apply_to_a_sequence(self) -> None:
        scene, matrix = self._bench.scene, self._bench.matrix
        self._scrubbing = scrubbing(scene)
        _, volume = add_sequence(scene, [self._patient.volume.array] * 2, [matrix] * 2, ("0", "1"))
        logic = SceneLogic(lambda device: StandInSegmenter())
        logic.applyToSequence(self._task("plain"), volume)
        assert len(logic.lastReport["items"]) == 2

    def batch_to_the_default_format(self) -> None:
        self._batch("plain", "nii.gz")

    def batch_to_nifti(self) -> None:
        self._batch("plain", "nii.gz", format="nii.gz")

    def batch_to_segmentations(self) -> None:
        self._batch("plain", "seg.nrrd", format="seg.nrrd")

    def batch_of_overlapping_structures_to_segmentations(self) -> None:
        self._batch("overlapping", "seg.nrrd", format="seg.nrrd")

    def batch_in_two_processes(self) -> None:
        self._batch("plain", "seg.nrrd", format="seg.nrrd", workers=2, images=("nii_gz.nii.gz", "nrrd.nrrd"))

    def batch_of_a_dicom_folder(self) -> None:
        self._batch("plain", "seg.nrrd", format="seg.nrrd", images=("../dicom",))

    def batch_in_the_panel(self) -> None:
        ui = self._panel.ui
        ui.tabs.setCurrentIndex(2)
        ui.batchTaskCombo.setCurrentText("overlapping")
        ui.batchInputEdit.setText(str(self._images))
        ui.batchPatternEdit.setText("*.nrrd")
        ui.batchOutputEdit.setText(str(self._folder / "out of the panel"))
        ui.batchButton.click()
        assert running(self._panel), shown(self._panel)
        until(lambda: not running(self._panel))
        assert shown(self._panel)["result"].startswith("1 of 1 images are done"), shown(self._panel)

    def batch_in_the_console(self) -> None:
        out = self._folder / "out of the console"
        task, image = self._task("overlapping"), self._images / "nrrd.nrrd"
        rows = self._logic.batch(task, image, out, report=self._folder / "console.csv", device="cpu")
        assert [row["status"] for row in rows] == [DONE], rows
        assert (out / "nrrd.seg.nrrd").is_file()

    # ------------------------------------------------------------ what the actions share

    @property
    def _images(self) -> Path:
        path = self._folder / "images"
        path.mkdir(exist_ok=True)
        return path

    def _task(self, name: str) -> Path:
        return self._folder / f"{name}.medmetaseg"

    def _mask(self, name: str) -> np.ndarray:
        return self._patient.truth == LABEL[name]

    def _overlapping(self) -> tuple[StructureMask, ...]:
        """The liver, and the liver with the spleen."""
        liver, both = self._mask("liver"), self._mask("liver") | self._mask("spleen")
        named = (
            (Structure("liver", 1, (0.8, 0.2, 0.1)), liver),
            (Structure("both", 2, (0.1, 0.8, 0.1)), both),
        )
        return tuple(StructureMask(structure, (0, 0, 0), mask) for structure, mask in named)

    def _finished(self) -> Finished:
        ended = until_ended(self._client)[-1]
        assert isinstance(ended, Finished), ended
        return ended

    def _batch(
        self, task: str, ending: str, images: tuple[str, ...] = ("nii_gz.nii.gz",), **options: object
    ) -> None:
        out = self._folder / f"out {len(list(self._folder.iterdir()))}"
        inputs = tuple(self._images / name for name in images)
        report = out.with_suffix(".csv")
        self._client.batch(BatchRequest(self._task(task), inputs, out, report, device="cpu", **options))
        batch = self._finished().batch
        assert [(row.status, row.reason) for row in batch.rows] == [(DONE, "")] * len(images)
        assert len(list(out.glob(f"*.{ending}"))) == len(images)
        assert batch.reports == (report, report.with_suffix(".html"))


def actions() -> list[str]:
    """Names of the actions, in order."""
    return [name for name in vars(Session) if not name.startswith("_")]


def main(folder: Path, results: Path) -> None:
    """Do all of them; what one leaves behind is there for the next."""
    session, done = Session(folder), {}
    for name in actions():
        action: Callable[[], None] = getattr(session, name)
        try:
            action()
            done[name] = ""
        except Exception:
            done[name] = traceback.format_exc()
    results.write_text(json.dumps(done), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
