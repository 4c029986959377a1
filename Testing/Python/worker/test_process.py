"""What goes between client and worker, and the worker's side of it, with a stand-in segmenter."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from annotated_phantom import support_of
from MedMetaSegLib.demo.phantom import LABEL, painted
from MedMetaSegLib.errors import Cancelled, InputError
from MedMetaSegLib.progress import check_cancelled
from MedMetaSegLib.support.search_region import SearchRegion
from MedMetaSegLib.support.support import Support
from MedMetaSegLib.worker import exchange
from MedMetaSegLib.worker.process import Requests, Worker
from saved_volume import save_volume

# ---------------------------------------------------------------- what goes between


def test_a_volume_comes_out_as_it_went_in(tmp_path, patient):
    sent = save_volume(tmp_path / "v.npy", patient.volume)
    back = exchange.load_volume(json.loads(json.dumps(sent)))
    np.testing.assert_array_equal(back.array, patient.volume.array)
    assert back.array.dtype == patient.volume.array.dtype
    np.testing.assert_array_equal(back.geometry.affine, patient.volume.geometry.affine)
    assert (back.name, back.modality) == (patient.volume.name, "CT")


@pytest.mark.parametrize("annotation", ["slices", "scribbles"])
def test_a_support_comes_out_as_it_went_in(tmp_path, patient, annotation):
    labels = painted(patient.truth, (LABEL["liver"], LABEL["spleen"]))
    names = {LABEL["liver"]: "liver", LABEL["spleen"]: "background"}
    sent = Support.from_labels(labels, patient.volume.geometry, names, annotation)
    back = exchange.load_support(json.loads(json.dumps(exchange.save_support(tmp_path, sent))))
    assert back.describe() == sent.describe()
    assert [one.structure for one in back.structures] == [one.structure for one in sent.structures]
    for one, other in zip(back.structures, sent.structures, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
    assert (back.background is None) == (annotation == "slices")
    assert (back.annotation, back.overlapping, back.notes) == (annotation, False, sent.notes)


def test_a_region_comes_out_as_it_went_in(tmp_path, patient):
    sent = SearchRegion((2, 3, 4), patient.truth[2:9, 3:30, 4:40] > 0, "Box", ("A note.",))
    description = json.loads(json.dumps(exchange.save_region(tmp_path, sent)))
    back = exchange.load_region(description)
    assert (back.digest, back.source, back.notes) == (sent.digest, "Box", ("A note.",))
    assert exchange.load_region(exchange.save_region(tmp_path, None)) is None


def test_a_pickle_in_the_folder_is_not_opened(tmp_path):
    np.save(tmp_path / "v.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        exchange.load_volume({"file": str(tmp_path / "v.npy"), "affine": [], "name": "", "modality": ""})


# ---------------------------------------------------------------- the worker, with a stand-in segmenter


class StandInSegmenter:
    """Raises what it is given; finds the drawn voxels, and is unsure of `unsure`, uint8 (k, j, i)."""

    def __init__(self, failure=None, unsure=None):
        self.failure, self.unsure = failure, unsure

    def segment(self, volume, support, *, progress=None, within=None, **rest):
        self.within = within
        if self.failure is not None:
            raise self.failure
        progress(0.5, "half")
        result = {"structures": support.structures, "report": {"structures": []}}
        return type("Result", (), {**result, "largest_uncertainty": self.largest_uncertainty})

    def largest_uncertainty(self, cancelled):
        check_cancelled(cancelled)
        assert self.unsure is not None
        return self.unsure


def request_for(patient, folder, device="cpu"):
    return {
        "do": "segment",
        "job": 1,
        "volume": save_volume(folder / "v.npy", patient.volume),
        "support": exchange.save_support(folder, support_of(patient, "liver")),
        "structures": None,
        "device": device,
        "folder": str(folder),
    }


@pytest.mark.parametrize(
    ("failure", "kind", "sentence"),
    [
        (InputError("Paint more."), "failed", "Paint more."),
        (Cancelled("no"), "cancelled", ""),
        (MemoryError(), "failed", "Memory ran out"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "failed", "Memory ran out"),
    ],
)
def test_a_stand_in_segmenter_that_fails_gives_one_sentence(patient, tmp_path, failure, kind, sentence):
    messages = []
    worker = Worker(messages.append, lambda device: StandInSegmenter(failure))
    worker.handle(request_for(patient, tmp_path), lambda: False)
    assert messages[-1]["event"] == kind
    assert sentence in messages[-1].get("message", "")


def test_an_error_of_a_stand_in_that_nobody_foresaw_is_not_hidden(patient, tmp_path):
    worker = Worker(lambda message: None, lambda device: StandInSegmenter(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        worker.handle(request_for(patient, tmp_path), lambda: False)


def test_where_a_stand_in_is_unsure_is_sent_only_when_asked_for(patient, tmp_path):
    unsure = np.random.default_rng(0).integers(0, 256, patient.volume.geometry.shape, np.uint8)
    messages = []
    worker = Worker(messages.append, lambda device: StandInSegmenter(unsure=unsure))
    worker.handle(request_for(patient, tmp_path), lambda: False)
    assert messages[-1]["uncertainty"] == ""
    assert not list(tmp_path.glob("uncertainty*"))
    worker.handle({**request_for(patient, tmp_path), "uncertainty": True}, lambda: False)
    np.testing.assert_array_equal(exchange.load_array(messages[-1]["uncertainty"]), unsure)


def test_a_stand_in_is_given_the_region_of_the_request(patient, tmp_path):
    standIn, region = StandInSegmenter(), SearchRegion((0, 0, 0), patient.truth > 0, "all")
    worker = Worker(lambda message: None, lambda device: standIn)
    request = request_for(patient, tmp_path)
    worker.handle({**request, "within": exchange.save_region(tmp_path, region)}, lambda: False)
    assert standIn.within.digest == region.digest
    worker.handle(request, lambda: False)
    assert standIn.within is None


def test_a_cancel_that_comes_with_the_answer_of_a_stand_in_stops_before_the_map(patient, tmp_path):
    messages = []
    worker = Worker(messages.append, lambda device: StandInSegmenter())
    worker.handle({**request_for(patient, tmp_path), "uncertainty": True}, lambda: True)
    assert messages[-1] == {"event": "cancelled"}


def test_a_stand_in_segmenter_is_loaded_again_only_for_another_device(patient, tmp_path):
    loaded = []
    worker = Worker(lambda message: None, lambda device: loaded.append(device) or StandInSegmenter())
    for device in ("auto", "auto", "cpu"):
        worker.handle(request_for(patient, tmp_path, device), lambda: False)
    assert loaded == ["auto", "cpu"]


def test_a_cancel_is_read_while_a_job_runs():
    ended = threading.Event()
    lines = ['{"do": "segment", "job": 1}', '{"do": "cancel", "job": 1}', '{"do": "segment", "job": 2}']
    requests = Requests(lines, ended.set)
    assert ended.wait(5)
    assert requests.next()["job"] == 1
    assert requests.is_cancelled(1)
    assert requests.next()["job"] == 2
    assert not requests.is_cancelled(2)
    assert requests.next() is None


class Asked(StandInSegmenter):
    """Keeps the channels that it is asked with."""

    def __init__(self):
        super().__init__()
        self.channels = []

    def segment(self, volume, support, *, channels=(), **rest):
        self.channels.append(channels)
        return super().segment(volume, support, **rest)


def test_channels_come_with_their_names_and_the_volumes_of_the_last_job_stay(tmp_path, patient):
    segmenter, sent = Asked(), []
    worker = Worker(sent.append, lambda device: segmenter)
    t1 = save_volume(tmp_path / "t1.npy", patient.volume)
    request = {**request_for(patient, tmp_path), "folder": str(tmp_path)}
    for channels in ([["T1", t1]], [["T1", t1]], []):
        worker.handle({**request, "channels": channels}, lambda: False)
    (first,), (second,), none = segmenter.channels
    assert first.name == "T1"
    np.testing.assert_array_equal(first.volume.array, patient.volume.array)
    assert second.volume is first.volume
    assert none == ()
    assert sent[-1]["event"] == "done"
