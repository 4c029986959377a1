"""A batch that is killed, interrupted or loses a worker, in real processes with a stand-in segmenter."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from batch_stand_in import SECONDS, Elsewhere, results, rows_of
from MedMetaSegLib.batch import dask as batch_dask
from MedMetaSegLib.batch.request import BatchRequest
from MedMetaSegLib.batch.run import run_batch
from MedMetaSegLib.batch.states import DONE
from MedMetaSegLib.imageio.volume import read_image

PATIENCE_S = 600
"""Long, for machines that do much else; nothing waits when there is nothing to wait for."""
CODE = "from MedMetaSegLib.cli import main; main()"


def start(elsewhere: Elsewhere, *arguments: str, seconds: float = 0.2) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CODE, "apply", "two.medmetaseg", "in", "-o", "out", "--report", "r.csv"]
    return subprocess.Popen(
        [*command, *arguments],
        cwd=elsewhere.folder,
        env={**elsewhere.environment, SECONDS: str(seconds)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def wait_for(holds: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def whole(out: Path) -> list[str]:
    """Names of the results, each of which can be read and is what the stand-in gives."""
    names = [name for name in results(out) if name.endswith(".nii.gz")]
    assert not list(out.rglob("*partial*"))
    assert [path.name for path in (out / ".medmetaseg").iterdir()] == ["journal.jsonl"]
    for name in names:
        assert np.unique(read_image(out / name).array).tolist() == [0, 2]
    return names


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_batch_killed_in_the_middle_goes_on_and_redoes_nothing(elsewhere: Elsewhere, workers: str):
    elsewhere.images(6)
    (elsewhere.folder / "in" / "broken.nii.gz").write_bytes(b"\x1f\x8b broken")
    out = elsewhere.folder / "out"
    process = start(elsewhere, "--workers", workers, seconds=0.3)
    wait_for(lambda: len(list(out.glob("p*.nii.gz"))) >= 2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    for pid in {pid for _, pid in elsewhere.applied} - {process.pid}:
        # A pool's processes end by themselves when who started them is gone.
        wait_for(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))
    done = [path.name for path in out.glob("p*.nii.gz")]
    assert 2 <= len(done) < 6
    before = {name: (out / name).stat().st_mtime_ns for name in done}
    begun = len(elsewhere.applied)

    process = start(elsewhere, "--workers", workers, "--resume", seconds=0)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3, errors
    assert whole(out) == [f"p{n:03d}.nii.gz" for n in range(6)]
    assert {name: (out / name).stat().st_mtime_ns for name in done} == before
    assert len(elsewhere.applied) - begun == 6 - len(done)
    status = {row["image"]: row["status"] for row in rows_of(elsewhere.folder / "r.csv")}
    assert status.pop("broken.nii.gz") == "failed"
    assert Counter(status.values()) == {"there already": len(done), "done": 6 - len(done)}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_says_how_to_go_on(elsewhere: Elsewhere, workers: str):
    elsewhere.images(6)
    out = elsewhere.folder / "out"
    process = start(elsewhere, "--workers", workers, seconds=0.4)
    wait_for(lambda: len(list(out.glob("p*.nii.gz"))) >= 1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    done = len(whole(out))
    assert 1 <= done < 6
    assert errors == f"medmetaseg: cancelled; {done} of 6 images are done, go on with --resume.\n"


def test_a_worker_that_is_killed_costs_nothing_but_time(elsewhere: Elsewhere):
    elsewhere.images(6)
    process = start(elsewhere, "--workers", "2", seconds=0.4)
    wait_for(lambda: elsewhere.applied)
    os.kill(elsewhere.applied[0][1], signal.SIGKILL)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert len(whole(elsewhere.folder / "out")) == 6


def test_two_batches_do_not_write_to_one_folder(elsewhere: Elsewhere):
    elsewhere.images(3)
    first = start(elsewhere, seconds=600)
    wait_for(lambda: elsewhere.applied)
    second = start(elsewhere, "--resume")
    assert "Another batch is writing" in second.communicate(timeout=PATIENCE_S)[1]
    assert second.returncode == 2
    first.kill()
    first.communicate()


def test_a_full_disk_stops_the_batch_which_goes_on_later(elsewhere: Elsewhere):
    elsewhere.images(3)
    # No file may grow beyond 300 bytes: what is written then fails as on a disk that is full.
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300)); "
    command = [sys.executable, "-c", limit + CODE, "apply", "two.medmetaseg", "in", "-o", "out"]
    done = subprocess.run(
        command,
        cwd=elsewhere.folder,
        env=elsewhere.environment,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot be written" in done.stderr
    assert not list((elsewhere.folder / "out").glob("*.nii.gz"))
    process = start(elsewhere, "--resume", seconds=0)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert len(whole(elsewhere.folder / "out")) == 3


def test_a_dask_cluster_that_loses_a_worker_does_every_item_once(elsewhere: Elsewhere):
    distributed = pytest.importorskip("distributed", reason="needs dask.distributed, the extra 'cluster'")
    images = elsewhere.images(8)
    (elsewhere.folder / "in" / "broken.nii.gz").write_bytes(b"\x1f\x8b broken")
    out = elsewhere.folder / "out"
    killed: list[int] = []

    def kill_one(progress: object) -> None:
        if not killed and len(list(out.glob("p*.nii.gz"))) >= 2:
            killed.append(elsewhere.applied[-1][1])
            os.kill(killed[0], signal.SIGKILL)

    settings = {"distributed.worker.daemon": True, "distributed.admin.tick.limit": "60s"}
    with contextlib.ExitStack() as stack:
        dask = pytest.importorskip("dask")
        stack.enter_context(dask.config.set(settings))
        cluster = stack.enter_context(
            distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        )
        request = BatchRequest(
            elsewhere.folder / "two.medmetaseg",
            (elsewhere.folder / "in",),
            out,
            report=elsewhere.folder / "r.csv",
            scheduler=cluster.scheduler_address,
        )
        assert cluster.scheduler_address.startswith("tcp://127.0.0.1:")
        result = run_batch(request, kill_one)
        again = run_batch(BatchRequest(**{**vars(request), "resume": True}))
    assert killed
    assert [row.status for row in result.rows if row.name.startswith("p")] == [DONE] * 8
    assert [row.name for row in result.failed] == ["broken"]
    assert whole(out) == [path.name for path in images]
    assert Counter(row.status for row in again.rows) == {"there already": 8, "failed": 1}
    assert len({pid for _, pid in elsewhere.applied}) >= 2


def test_a_dask_cluster_without_workers_is_not_waited_for_without_end(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
):
    distributed = pytest.importorskip("distributed", reason="needs dask.distributed, the extra 'cluster'")
    monkeypatch.setattr(batch_dask, "NO_WORKERS_S", 0.5)
    elsewhere.images(2)
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as cluster:
        request = BatchRequest(
            elsewhere.folder / "two.medmetaseg",
            (elsewhere.folder / "in",),
            elsewhere.folder / "out",
            scheduler=cluster.scheduler_address,
        )
        result = run_batch(request)
    assert "no workers left" in result.stopped
    assert not result.rows
    assert not (elsewhere.folder / "out").exists()
