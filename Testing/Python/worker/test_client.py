"""The client and the worker process: the real process and the shipped weights unless a name says stand-in."""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion

from annotated_phantom import support_of
from MedMetaSegLib.demo.phantom import LABEL, STRUCTURES
from MedMetaSegLib.support.support import Support
from MedMetaSegLib.worker.client import CANCEL_PATIENCE_S, WorkerClient
from MedMetaSegLib.worker.messages import DeviceFound, Failed, Finished, Progress, Stopped
from processes import PATIENCE_S, is_alive, until_ended
from python_slicer import python_slicer

MODULE = Path(__file__).parents[3] / "MedMetaSeg"
not_windows = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where private folders go in this test: what is left in it was left behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture(params=["python", pytest.param("launcher", marks=not_windows)])
def client(request, temporary, tmp_path_factory):
    """Of a worker started as a child, and through a launcher, as Slicer does it."""
    launcher = request.param == "launcher"
    one = WorkerClient(python_slicer(tmp_path_factory.mktemp("bin")) if launcher else sys.executable)
    yield one
    one.close()


@pytest.fixture(scope="module")
def warm():
    """A client whose worker has its network loaded, once the first test has used it."""
    one = WorkerClient()
    yield one
    one.close()


@pytest.fixture
def idle(warm):
    """The warm client, after whatever the last test left running in it."""
    warm.cancel()
    until_ended(warm)
    return warm


def wait_for(prompt):
    limit = time.monotonic() + PATIENCE_S
    while not prompt():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_one_process_segments_again_and_again(idle, patient):
    client, pids = idle, set()
    for press, slices in enumerate((3, 3, 4)):
        client.segment(patient.volume, support_of(patient, "liver", slices=slices), "cpu", volume_key="it")
        events = until_ended(client)
        pids.add(client.pid)
        assert isinstance(events[-1], Finished)
        if press == 0:
            assert events[0].device == "cpu"
            assert events[0].why.startswith("the CPU was asked for")
        else:
            assert not any(isinstance(one, DeviceFound) for one in events)
        assert any(isinstance(one, Progress) for one in events)
        found = events[-1].structures[0]
        full = np.zeros(patient.truth.shape, bool)
        k, j, i = (slice(a, a + n) for a, n in zip(found.offset, found.mask.shape, strict=True))
        full[k, j, i] = found.mask
        truth = patient.truth == LABEL["liver"]
        assert 2 * (full & truth).sum() / (full.sum() + truth.sum()) > 0.85
        assert found.structure.name == "liver"
    assert len(pids) == 1


def test_where_it_is_unsure_comes_with_the_answer_only_when_asked_for(idle, patient):
    support, maps = support_of(patient, "liver"), []
    for asked in (False, True):
        idle.segment(patient.volume, support, "cpu", volume_key="it", uncertainty=asked)
        maps.append(until_ended(idle)[-1].uncertainty)
    assert maps[0] is None
    unsure = maps[1]
    assert (unsure.shape, unsure.dtype) == (patient.truth.shape, np.uint8)
    border = binary_dilation(patient.truth == LABEL["liver"], iterations=2)
    border &= ~binary_erosion(patient.truth == LABEL["liver"], iterations=2)
    assert unsure[border].mean() > 10 * unsure[~border].mean()
    assert not list(idle.folder.glob("job-*"))


def test_a_volume_is_sent_again_only_when_it_changed(idle, patient):
    kept = []
    for key in ("one", "one", "other"):
        idle.segment(patient.volume, support_of(patient, "liver"), "cpu", volume_key=key)
        until_ended(idle)
        (path,) = idle.folder.glob("volume-*")
        kept.append((path.name, path.stat().st_mtime_ns))
    assert kept[0] == kept[1]
    assert kept[1] != kept[2]


def test_masks_are_removed_when_a_job_is_over(idle, patient):
    idle.segment(patient.volume, support_of(patient, "liver"), "cpu")
    assert list(idle.folder.glob("job-*/painted-0.npy"))
    until_ended(idle)
    assert not list(idle.folder.glob("job-*"))


def test_cancel_ends_the_job(client, temporary, patient):
    """A worker that does not stop by itself is ended after this time, well within two seconds."""
    assert CANCEL_PATIENCE_S <= 1.5
    client.segment(patient.volume, support_of(patient, "liver", "spleen"), "cpu")
    client.cancel()
    assert until_ended(client)[-1] == Stopped()
    client.close()
    assert list(temporary.iterdir()) == []


def test_cancelling_a_loaded_worker_leaves_it_for_the_next_job(idle, patient, monkeypatch):
    """However long it takes on a busy machine: it stops by itself, and is not ended."""
    monkeypatch.setattr(idle, "_cancel_patience_s", math.inf)
    everything = tuple(one.name for one in STRUCTURES)
    idle.segment(patient.volume, support_of(patient, *everything), "cpu", volume_key="once more")
    events = until_ended(idle, also=lambda event: idle.cancel())
    assert events[-1] == Stopped()
    pid = idle.pid
    assert pid is not None
    idle.segment(patient.volume, support_of(patient, "liver"), "cpu", volume_key="once more")
    assert isinstance(until_ended(idle)[-1], Finished)
    assert idle.pid == pid


def test_closing_ends_the_worker_in_the_middle_of_a_job(client, temporary, patient):
    client.segment(patient.volume, support_of(patient, "liver"), "cpu")
    wait_for(lambda: client.poll() is not None and client.pid is not None)
    pid = client.pid
    client.close()
    wait_for(lambda: not is_alive(pid))
    assert not client.is_busy
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_worker_is_reported_and_leaves_nothing(client, temporary, patient):
    client.segment(patient.volume, support_of(patient, "liver"), "cpu")
    wait_for(lambda: client.poll() is not None and client.pid is not None)
    os.kill(client.pid, signal.SIGKILL)
    events = until_ended(client)
    assert isinstance(events[-1], Failed)
    assert "usually because memory ran out" in events[-1].message
    assert "exit abnormally" not in events[-1].cause
    assert events[-1].cause
    assert list(temporary.iterdir()) == []


@not_windows
def test_a_worker_that_crashed_by_itself_is_not_told_as_memory(client, temporary, patient):
    client.segment(patient.volume, support_of(patient, "liver"), "cpu")
    wait_for(lambda: client.poll() is not None and client.pid is not None)
    os.kill(client.pid, signal.SIGSEGV)
    message = until_ended(client)[-1].message
    assert "stopped unexpectedly (Fatal Python error: Segmentation fault)" in message
    assert "memory" not in message
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("terminate called after throwing an instance of 'std::bad_alloc'", "usually because memory ran out"),
        ("Windows fatal exception: access violation", "could not start (Windows fatal exception: access"),
        ("error: [python-real] exit abnormally - Report the problem.", "could not start (exit status 1)"),
    ],
)
@not_windows
def test_what_a_log_tells_of_the_end(says, told, temporary, tmp_path_factory, patient):
    python = tmp_path_factory.mktemp("bin") / "python"
    python.write_text(f'#!/bin/sh\necho "{says}" >&2\nexit 1\n')
    python.chmod(0o755)
    client = WorkerClient(str(python))
    client.segment(patient.volume, support_of(patient, "liver"))
    assert told in until_ended(client)[-1].message


class ClosedOnWindows:
    """Stands in for the stdin of a worker that has ended, as Windows has it."""

    def __init__(self, stdin):
        self._stdin = stdin

    def write(self, data):
        raise OSError(errno.EINVAL, "Invalid argument")

    flush = lambda self: None  # noqa: E731

    def close(self):
        self._stdin.close()
        raise OSError(errno.EINVAL, "Invalid argument")


def test_a_dead_worker_is_told_on_windows_too(client, temporary, patient, monkeypatch):
    client.segment(patient.volume, support_of(patient, "liver"), "cpu")
    wait_for(lambda: client.poll() is not None and client.pid is not None)
    process = client._process
    process.popen.stdin = ClosedOnWindows(process.popen.stdin)
    client.cancel()
    really = os.kill

    def kill(pid, number):
        really(pid, number)
        if pid == worker:
            raise OSError(errno.EINVAL, "The parameter is incorrect")

    # Behind the launcher the worker itself is ended so.
    worker = client.pid if client.pid != process.popen.pid else None
    monkeypatch.setattr(os, "kill", kill)
    pid = client.pid
    assert isinstance(until_ended(client)[-1], Stopped)
    wait_for(lambda: not is_alive(pid))
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_worker_killed_between_jobs_is_replaced_without_a_word(idle, patient):
    idle.segment(patient.volume, support_of(patient, "liver"), "cpu")
    until_ended(idle)
    pid, folder = idle.pid, idle.folder
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(pid))
    idle.segment(patient.volume, support_of(patient, "liver"), "cpu")
    assert isinstance(until_ended(idle)[-1], Finished)
    assert idle.pid != pid
    assert not folder.exists()


def test_a_worker_that_cannot_start_says_why(temporary, tmp_path_factory, patient):
    python = tmp_path_factory.mktemp("bin") / "python"
    python.write_text("#!/bin/sh\necho 'libfoo.so: cannot open shared object file' >&2\nexit 1\n")
    python.chmod(0o755)
    client = WorkerClient(str(python))
    client.segment(patient.volume, support_of(patient, "liver"))
    events = until_ended(client)
    assert "could not start (libfoo.so: cannot open" in events[-1].message
    assert list(temporary.iterdir()) == []


def test_an_interpreter_that_is_not_there_is_an_error_and_leaves_nothing(temporary, patient):
    client = WorkerClient(str(temporary / "no python"))
    with pytest.raises(FileNotFoundError):
        client.segment(patient.volume, support_of(patient, "liver"))
    assert not client.is_busy
    assert list(temporary.iterdir()) == []


def test_input_that_cannot_be_segmented_is_refused_and_the_worker_goes_on(idle, patient):
    truth = patient.truth == LABEL["liver"]
    everything = Support.from_labels(truth.astype(np.uint8), patient.volume.geometry, annotation="complete")
    idle.segment(patient.volume, everything, "cpu")
    assert "leaves nothing to segment" in until_ended(idle)[-1].message
    pid = idle.pid
    idle.segment(patient.volume, support_of(patient, "liver"), "cpu")
    assert isinstance(until_ended(idle)[-1], Finished)
    assert idle.pid == pid


def test_a_second_job_is_refused_while_one_runs(idle, patient):
    idle.segment(patient.volume, support_of(patient, "liver"), "cpu")
    with pytest.raises(RuntimeError, match="running already"):
        idle.segment(patient.volume, support_of(patient, "liver"), "cpu")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_the_worker_leaves_with_whoever_started_it(tmp_path):
    code = (
        "import sys, tempfile, time, numpy as np\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        "from MedMetaSegLib.demo.phantom import make_patient\n"
        "from MedMetaSegLib.support.support import Support\n"
        "from MedMetaSegLib.worker.client import WorkerClient\n"
        "one = make_patient(shape=(8, 20, 24))\n"
        "labels = np.zeros(one.truth.shape, np.uint8); labels[2:5:2, 5:15, 5:15] = 1\n"
        "client = WorkerClient()\n"
        "client.segment(one.volume, Support.from_labels(labels, one.volume.geometry), 'cpu')\n"
        "while client.pid is None: client.poll(); time.sleep(0.02)\n"
        "print(client.pid, flush=True); time.sleep(60)\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(MODULE)},
    )
    with starter:
        pid = int(starter.stdout.readline())
        assert is_alive(pid)
        starter.kill()
    wait_for(lambda: not is_alive(pid))
    assert list(tmp_path.iterdir()) == []


def test_the_worker_imports_no_slicer_and_no_qt():
    code = (
        "import sys, MedMetaSegLib.worker.process, MedMetaSegLib.segmenter\n"
        "print({'slicer', 'vtk', 'qt', 'ctk', 'PySide6'} & set(sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(MODULE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "set()\n"
