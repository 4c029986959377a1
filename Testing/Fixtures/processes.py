"""What the worker and other processes are doing, for tests: by its events, and as `ps` tells it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from MedMetaSegLib.worker.client import WorkerClient
from MedMetaSegLib.worker.messages import Event

PATIENCE_S = 300
ROOT = Path(__file__).parents[2]


def is_alive(pid: int) -> bool:
    """False for a process that has ended, also when who started it has not yet been told."""
    state = _ps(pid, "stat")
    if not state.startswith("Z"):
        return bool(state)
    # On Linux the first thread may be a zombie while others still end.
    threads = Path(f"/proc/{pid}/task")
    return threads.is_dir() and len(os.listdir(threads)) > 1


def printed_by(code: str, *folders: str) -> list[str]:
    """The lines that code prints in a Python of its own, which imports from folders of the project."""
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / one) for one in folders)},
        capture_output=True,
        text=True,
        check=True,
    )
    return shown.stdout.strip().splitlines()


def cpu_seconds(pid: int) -> int:
    """CPU time a process has used: unlike the clock on the wall it says what work costs on a busy machine."""
    seconds = 0
    for part in _ps(pid, "time").split(":"):
        seconds = seconds * 60 + int(float(part))
    return seconds


def until_ended(client: WorkerClient, also: Callable[[Event], None] = lambda event: None) -> list[Event]:
    """All events of the worker up to the end of the job."""
    events: list[Event] = []
    limit = time.monotonic() + PATIENCE_S
    while client.is_busy:
        assert time.monotonic() < limit, events
        for event in client.poll():
            events.append(event)
            also(event)
        time.sleep(0.02)
    return events


def _ps(pid: int, column: str) -> str:
    return subprocess.run(
        ["ps", "-o", f"{column}=", "-p", str(pid)], capture_output=True, text=True
    ).stdout.strip()
