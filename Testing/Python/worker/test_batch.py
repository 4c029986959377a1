"""A batch in the real worker process, with a stand-in for the segmenter in it."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from batch_stand_in import SECONDS, Elsewhere, results
from MedMetaSegLib.batch.request import BatchProgress, BatchRequest
from MedMetaSegLib.batch.states import DONE, FAILED, KEPT, READING, SEGMENTING, WAITING
from MedMetaSegLib.worker.client import WorkerClient
from MedMetaSegLib.worker.messages import Failed, Finished, Stopped
from processes import PATIENCE_S, is_alive, until_ended


@pytest.fixture
def client():
    one = WorkerClient(cancel_patience_s=math.inf)
    yield one
    one.close()


def request_of(elsewhere: Elsewhere, **options: object) -> BatchRequest:
    folder = elsewhere.folder
    return BatchRequest(folder / "two.medmetaseg", (folder / "in",), folder / "out", **options)


def test_a_batch_ends_with_its_result_and_the_next_one_keeps_what_is_done(client, elsewhere: Elsewhere):
    elsewhere.images(2)
    (elsewhere.folder / "in" / "broken.nii.gz").write_bytes(b"no image")
    report = elsewhere.folder / "r.csv"
    client.batch(request_of(elsewhere, report=report))
    *events, ended = until_ended(client)
    assert all(isinstance(event, BatchProgress) for event in events)
    states = [event.state for event in events if event.item == "p001"]
    assert states == [WAITING, READING, SEGMENTING, DONE]
    assert isinstance(ended, Finished)
    assert [row.status for row in ended.batch.rows] == [FAILED, DONE, DONE]
    assert ended.batch.reports == (report, report.with_suffix(".html"))
    assert ended.batch.rows[1].thumbnail.startswith(b"\x89PNG")
    assert not list(client.folder.glob("job-*"))

    pid = client.pid
    client.batch(request_of(elsewhere, resume=True))
    ended = until_ended(client)[-1]
    assert [row.status for row in ended.batch.rows] == [FAILED, KEPT, KEPT]
    assert client.pid == pid


def test_relative_paths_are_those_of_the_side_that_asks(
    client, elsewhere: Elsewhere, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    client.check_device("cpu")
    until_ended(client)
    elsewhere.images(1)
    monkeypatch.chdir(elsewhere.folder)
    client.batch(BatchRequest(Path("two.medmetaseg"), ("in/p*",), Path("out")))
    assert until_ended(client)[-1].batch.rows[0].status == DONE
    assert results(elsewhere.folder / "out") == ["p000.nii.gz"]


def test_a_cancelled_batch_says_what_is_done(client, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(SECONDS, "0.5")
    elsewhere.images(6)
    client.batch(request_of(elsewhere))

    def cancel_after_one(event: object) -> None:
        if isinstance(event, BatchProgress) and event.state == DONE:
            client.cancel()

    ended = until_ended(client, cancel_after_one)[-1]
    assert isinstance(ended, Stopped)
    assert ended.batch.cancelled
    assert 1 <= len(ended.batch.rows) < 6
    assert [row.output for row in ended.batch.rows] == results(elsewhere.folder / "out")


def test_a_batch_that_cannot_be_is_one_sentence(client, elsewhere: Elsewhere):
    client.batch(request_of(elsewhere))
    (ended,) = until_ended(client)
    assert isinstance(ended, Failed)
    assert "There is no image" in ended.message
    assert ended.cause == ""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_batch_is_one_sentence_and_the_next_goes_on(
    client, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
):
    elsewhere.images(4)
    client.batch(request_of(elsewhere))

    def kill_after_one(event: object) -> None:
        if isinstance(event, BatchProgress) and event.state == DONE and is_alive(client.pid):
            os.kill(client.pid, signal.SIGKILL)

    ended = until_ended(client, kill_after_one)[-1]
    assert isinstance(ended, Failed)
    assert ended.cause
    client.batch(request_of(elsewhere, resume=True))
    rows = until_ended(client)[-1].batch.rows
    assert len(rows) == 4
    assert {DONE, KEPT} >= {row.status for row in rows}
    assert rows[0].status == KEPT


def test_closing_with_patience_lets_a_batch_end_by_itself(
    client, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
):
    elsewhere.images(6)
    client.batch(request_of(elsewhere, report=elsewhere.folder / "r.csv"))
    out = elsewhere.folder / "out"
    while not list(out.glob("p*.nii.gz")):
        client.poll()
        time.sleep(0.02)
    pid = client.pid
    client.close(PATIENCE_S)
    assert not is_alive(pid)
    # What only a batch that ends by itself does: the lock is gone, the page is there.
    assert [path.name for path in (out / ".medmetaseg").iterdir()] == ["journal.jsonl"]
    assert (elsewhere.folder / "r.html").exists()
