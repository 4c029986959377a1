"""The README's examples for Slicer's console run as they stand: real MRML, the shipped weights."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel
import numpy as np
import pytest

import scene_phantom as fx
import scene_positions as at
from Harness import start
from MedMetaSegLib.demo.phantom import LABEL, make_patient, painted_slices

ROOT = Path(__file__).parents[2]


def console_example():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.search(r"Python console:\n\n```python\n(.*?)```", text, re.DOTALL)[1]


@pytest.mark.skipif(not (ROOT / "README.md").is_file(), reason="no README here")
def test_the_console_example_runs_from_painting_to_a_batch(tmp_path, monkeypatch):
    import slicer

    application = start()
    slicer.mrmlScene.Clear(0)
    application.loadModule(ROOT / "MedMetaSeg" / "MedMetaSeg.py")
    monkeypatch.chdir(tmp_path)
    patients = [make_patient(seed, (16, 48, 60), (12.0, 6.0, 6.0)) for seed in (0, 1)]
    volumes = [
        fx.addVolume(slicer.mrmlScene, one.volume.geometry.affine, one.volume.array) for one in patients
    ]
    paintedNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Painted")
    liver = patients[0].truth == LABEL["liver"]
    painted = np.zeros_like(liver)
    for k in painted_slices(patients[0].truth, LABEL["liver"]):
        painted[k] = liver[k]
    fx.addSegment(paintedNode, "liver", painted, patients[0].volume.geometry.affine)
    (tmp_path / "patients").mkdir()
    image = nibabel.Nifti1Image(
        patients[1].volume.array.transpose(2, 1, 0), patients[1].volume.geometry.affine
    )
    image.to_filename(tmp_path / "patients" / "one.nii.gz")
    (tmp_path / "patients" / "two.nii.gz").write_bytes(b"cut off")
    names = {"volumeNode": volumes[0], "segmentationNode": paintedNode, "nextVolumeNode": volumes[1]}

    exec(compile(console_example(), "README.md", "exec"), names)

    def dice(node, volumeNode, patient):
        segmentId = node.GetSegmentation().GetSegmentIdBySegmentName("liver")
        found = at.segmentAt(node, segmentId, at.voxelsInWorld(volumeNode))
        return at.dice(found, (patient.truth == LABEL["liver"]).ravel())

    assert dice(names["result"], volumes[0], patients[0]) > 0.8
    assert dice(names["other"], volumes[1], patients[1]) > 0.6
    assert [(row["name"], row["status"]) for row in names["rows"]] == [("one", "done"), ("two", "failed")]
    assert (tmp_path / "results" / "one.nii.gz").is_file()
    slicer.mrmlScene.Clear(0)
