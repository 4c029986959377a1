"""What other processes are doing, as `ps` tells it: for tests of the worker."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def is_alive(pid: int) -> bool:
    """False for a process that has ended, also when who started it has not yet been told."""
    state = _ps(pid, "stat")
    if not state.startswith("Z"):
        return bool(state)
    # On Linux the first thread may be a zombie while others still end.
    threads = Path(f"/proc/{pid}/task")
    return threads.is_dir() and len(os.listdir(threads)) > 1


def cpu_seconds(pid: int) -> int:
    """CPU time a process has used: unlike the clock on the wall it says what work costs on a busy machine."""
    seconds = 0
    for part in _ps(pid, "time").split(":"):
        seconds = seconds * 60 + int(float(part))
    return seconds


def _ps(pid: int, column: str) -> str:
    return subprocess.run(
        ["ps", "-o", f"{column}=", "-p", str(pid)], capture_output=True, text=True
    ).stdout.strip()
