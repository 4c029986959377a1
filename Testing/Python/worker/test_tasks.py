"""The worker's events to learn, apply, batch and check_device, with a stand-in segmenter; see test_client."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from MedMetaSegLib.batch.request import BatchProgress
from MedMetaSegLib.batch.states import DONE, BatchRow, StructureRow
from MedMetaSegLib.demo.phantom import LABEL, make_patient
from MedMetaSegLib.support.support import Support
from MedMetaSegLib.task.task_file import Task
from MedMetaSegLib.worker import exchange
from MedMetaSegLib.worker.client import WorkerClient
from MedMetaSegLib.worker.messages import Finished
from MedMetaSegLib.worker.process import WINDOWS, Worker
from saved_volume import save_volume
from scene_stand_in import StandInSegmenter
from task_phantom import make_task


@pytest.fixture(scope="module")
def patient():
    return make_patient(shape=(8, 24, 30), spacing_mm=(24.0, 12.0, 12.0))


def handled(segmenter, folder, **request):
    """All events of a worker with this segmenter that handles a request."""
    events = []
    about = {"job": 1, "device": "cpu", "memory": "as needed", "folder": str(folder)}
    Worker(events.append, lambda device: segmenter).handle({**about, **request}, lambda: False)
    return events


def test_learning_gives_a_task_file_in_the_jobs_own_folder(patient, tmp_path):
    truth = (patient.truth == LABEL["liver"]).astype(np.uint8)
    support = Support.from_labels(truth, patient.volume.geometry, {1: "liver"}, "complete")
    volume = save_volume(tmp_path / "v.npy", patient.volume)
    standIn = StandInSegmenter()
    pairs = [[volume, exchange.save_support(tmp_path, support)]]
    events = handled(standIn, tmp_path, do="learn", pairs=pairs)
    assert events[-1]["event"] == "done"
    assert Path(events[-1]["task"]).parent == tmp_path
    assert Task.read(events[-1]["task"]).describe() == make_task().describe()
    np.testing.assert_array_equal(standIn.volumes[0].array, patient.volume.array)
    assert standIn.supports[0].annotation == "complete"


def test_applying_gives_structures_and_those_not_found_have_no_voxels(patient, tmp_path):
    make_task().write(tmp_path / "kidneys.medmetaseg")
    volume = save_volume(tmp_path / "v.npy", patient.volume)
    task = str(tmp_path / "kidneys.medmetaseg")
    events = handled(StandInSegmenter(), tmp_path, do="apply", task=task, volume=volume)
    found = exchange.load_structures(events[-1]["structures"])
    assert [bool(one.mask.any()) for one in found] == [True, False]
    assert [one["found"] for one in events[-1]["report"]["structures"]] == [True, False]


def test_choices_reach_the_segmenter(patient, tmp_path):
    make_task().write(tmp_path / "kidneys.medmetaseg")
    sent = save_volume(tmp_path / "v.npy", patient.volume)
    standIn = StandInSegmenter()
    chosen = {"keep_doubtful": False, "force": ["left kidney"], "confidence": False}
    handled(standIn, tmp_path, do="apply", task=str(tmp_path / "kidneys.medmetaseg"), volume=sent, **chosen)
    truth = (patient.truth == LABEL["liver"]).astype(np.uint8)
    support = exchange.save_support(tmp_path, Support.from_labels(truth, patient.volume.geometry))
    request = {"volume": sent, "support": support, "structures": None, "confidence": False}
    handled(standIn, tmp_path, do="segment", **request)
    assert standIn.options[0] == chosen
    assert standIn.options[1]["confidence"] is False


def test_a_task_that_is_not_there_gives_a_sentence(patient, tmp_path):
    volume = save_volume(tmp_path / "v.npy", patient.volume)
    task = str(tmp_path / "none.medmetaseg")
    events = handled(StandInSegmenter(), tmp_path, do="apply", task=task, volume=volume)
    assert events[-1]["event"] == "failed"
    assert "There is no task file" in events[-1]["message"]


def test_little_memory_means_smaller_windows_for_the_next_job_alone(patient, tmp_path):
    class Predictor:
        window = 0
        device = type("Device", (), {"type": "cpu"})

    standIn = StandInSegmenter()
    standIn.predictor, standIn.why_device = Predictor(), "because"
    worker = Worker(lambda message: None, lambda device: standIn)
    for memory in ("low", "as needed"):
        worker.handle({"do": "check_device", "device": "cpu", "memory": memory}, lambda: False)
        assert standIn.predictor.window == WINDOWS[memory]


def test_checking_the_device_gives_what_was_found(patient, tmp_path):
    events = handled(StandInSegmenter(), tmp_path, do="check_device")
    assert [one["event"] for one in events] == ["device", "done"]
    assert events[-1]["report"] == {"device": ("cpu", "")}


def test_progress_of_a_batch_comes_out_as_it_went_in():
    found = (StructureRow("liver", True, 12.5), StructureRow("spleen", False, 0.0, "not there"))
    row = BatchRow("one", "one.nii.gz", "one.seg.nrrd", DONE, "", 1.5, "abc", found, b"picture")
    sent = BatchProgress("one", DONE, 1, 2, "", row)
    messages = []
    Worker(messages.append)._item(sent)
    event = WorkerClient()._event(None, json.loads(json.dumps(messages[0])))
    assert event == sent
    assert (event.image, event.output, event.found) == ("one.nii.gz", "one.seg.nrrd", (("liver", 12.5),))


def test_a_task_that_was_learned_comes_back_as_bytes_and_its_folder_is_gone(tmp_path):
    class Process:
        folder = tmp_path

    make_task().write(tmp_path / "t.medmetaseg")
    content = (tmp_path / "t.medmetaseg").read_bytes()
    client = WorkerClient()
    (tmp_path / "job-0").mkdir()
    event = client._event(
        Process(),
        {
            "event": "done",
            "structures": [],
            "report": {},
            "task": str(tmp_path / "t.medmetaseg"),
            "uncertainty": "",
        },
    )
    assert isinstance(event, Finished)
    assert event.task == content
    assert not (tmp_path / "job-0").exists()


@pytest.mark.parametrize("piece", [1, 1000, 10**9])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_volume_written_in_pieces_is_the_same(tmp_path, monkeypatch, piece, order):
    monkeypatch.setattr(exchange, "PIECE_BYTES", piece)
    array = np.asarray(np.random.default_rng(1).integers(-900, 900, (7, 11, 13)), np.int16, order=order)
    pieces = sum(1 for _ in exchange.written_in_pieces(tmp_path / "v.npy", array))
    assert pieces == {1: 7, 1000: 3, 10**9: 1}[piece]
    back = np.load(tmp_path / "v.npy", allow_pickle=False)
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype
