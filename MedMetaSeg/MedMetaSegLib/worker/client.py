"""The side that asks: starts the worker, sends it requests, and reads its events without ever waiting.

    client = WorkerClient()
    client.segment(volume, support)
    for event in client.poll():         # again and again, from a timer
        ...                             # DeviceFound, Progress, and in the end Finished, Stopped or Failed
    client.close()

The worker writes its events to a file in the private folder, which is read as it grows: no thread, no pipe
that could block, the same on every system.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..batch.request import BatchProgress, BatchRequest, BatchResult
from ..imageio.channel import Channel
from ..imageio.volume import Volume
from ..support.search_region import SearchRegion
from ..support.support import Support
from .exchange import (
    Description,
    load_array,
    load_structures,
    save_region,
    save_support,
    sent_mask,
)
from .messages import DeviceFound, Event, Failed, Finished, Preview, Progress, Stopped
from .sent_volumes import SentVolumes

CANCEL_PATIENCE_S = 1.2
"""Short, since somebody waits at a window."""
_EVENTS, _LOG = "events.jsonl", "log.txt"
"""What the worker writes into its folder: its events, and all else that it and its libraries print."""
_LAUNCHER_SAYS = "exit abnormally"
"""What Slicer's launcher PythonSlicer writes of a Python that crashed or was killed; its status is then 1."""
_FAULTS = ("Fatal Python error: ", "Windows fatal exception: ")
"""How faulthandler begins to tell of a crash."""
_NO_MEMORY = "std::bad_alloc"
"""What C++ says when it gets no memory, and ends."""
_LAUNCHER_ENDS_S = 1.0
_ENDING_S = 5.0
_WAIT_S = 0.05
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]
# A path in the code, not in PYTHONPATH: Slicer's launcher sets that variable for its Python by itself.
_CODE = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from MedMetaSegLib.worker.process import main; main(sys.argv[2])"
)


@dataclass
class _Process:
    """A running worker and what is known of it."""

    folder: Path
    popen: subprocess.Popen[bytes]
    volumes: SentVolumes
    pid: int | None = None
    read_bytes: int = 0
    """So much of its events was read."""
    request: dict[str, Any] | None = None
    """What follows the volumes, once they are written."""


class WorkerClient:
    """One worker and one job at a time; the worker lives on between jobs until `close`.

    python: the interpreter to run it with; in Slicer its launcher PythonSlicer. cancel_patience_s: a
    cancelled job that has not stopped by then is stopped by ending the worker.
    """

    def __init__(self, python: str = sys.executable, cancel_patience_s: float = CANCEL_PATIENCE_S) -> None:
        self._python, self._cancel_patience_s = python, cancel_patience_s
        self._process: _Process | None = None
        self._jobs = 0
        self._busy = False
        self._cancelled_at: float | None = None

    @property
    def is_busy(self) -> bool:
        """True from the sending of a job until `poll` has given the event that ends it."""
        return self._busy

    @property
    def pid(self) -> int | None:
        """The process id of the worker, once it has sent it."""
        return None if self._process is None else self._process.pid

    @property
    def folder(self) -> Path | None:
        """The private folder of the worker, while there is one."""
        return None if self._process is None else self._process.folder

    def segment(
        self,
        volume: Volume,
        support: Support,
        device: str = "auto",
        volume_key: Hashable = None,
        *,
        structures: Sequence[str] | None = None,
        memory: str = "as needed",
        quality: str = "balanced",
        confidence: bool = True,
        preview: bool = False,
        uncertainty: bool = False,
        within: SearchRegion | None = None,
        channels: Sequence[Channel] = (),
        channel_keys: Sequence[Hashable] = (),
    ) -> None:
        """Send a job; `poll` gives its events. Starts the worker when none is running.

        volume_key: the same for two jobs whose volumes are the same to the last voxel, so that they are sent
        once; None to send them anew. structures: names of those to segment, all if None. memory: "as needed"
        or "low". quality, confidence, within, channels: see Segmenter.segment. preview: send a Preview of
        each structure. uncertainty: send `Finished.uncertainty`. channel_keys: for each channel, as
        volume_key. Raises RuntimeError while a job is running, OSError when the disk is full or the
        interpreter is not there.
        """

        def content(process: _Process, folder: Path) -> Description:
            volumes = [volume, *(one.volume for one in channels)]
            keys = [volume_key, *channel_keys] if channel_keys else [volume_key, *(None for _ in channels)]
            sent, *others = process.volumes.of_job(self._jobs, list(zip(volumes, keys, strict=True)))
            return {
                "volume": sent,
                "channels": [[one.name, other] for one, other in zip(channels, others, strict=True)],
                "support": save_support(folder, support),
                "structures": None if structures is None else list(structures),
                "quality": quality,
                "confidence": confidence,
                "preview": preview,
                "uncertainty": uncertainty,
                "within": save_region(folder, within),
            }

        self._begin("segment", device, memory, content)

    def learn(
        self, pairs: Sequence[tuple[Volume, Support]], device: str = "auto", memory: str = "as needed"
    ) -> None:
        """Send a job that learns a task; `Finished.task` holds it. See `segment`."""

        def content(process: _Process, folder: Path) -> Description:
            sent = []
            for number, (volume, support) in enumerate(pairs):
                own = folder / str(number)
                own.mkdir()
                sent.append([process.volumes.write(own / "volume.npy", volume), save_support(own, support)])
            return {"pairs": sent}

        self._begin("learn", device, memory, content)

    def apply(
        self,
        task: Path,
        volume: Volume,
        device: str = "auto",
        volume_key: Hashable = None,
        memory: str = "as needed",
        *,
        keep_doubtful: bool = True,
        force: Sequence[str] = (),
        confidence: bool = True,
    ) -> None:
        """Send a job that applies a task file to a volume.

        keep_doubtful, force, confidence: see Segmenter.apply. The others: see `segment`.
        """

        def content(process: _Process, folder: Path) -> Description:
            return {
                "task": str(task),
                "volume": process.volumes.of_job(self._jobs, [(volume, volume_key)])[0],
                "keep_doubtful": keep_doubtful,
                "force": list(force),
                "confidence": confidence,
            }

        self._begin("apply", device, memory, content)

    def batch(self, request: BatchRequest) -> None:
        """Send a job that applies a task to many files.

        Its events are BatchProgress; `Finished.batch` or `Stopped.batch` is what came of it.
        """
        self._begin(
            "batch", request.device, "as needed", lambda process, folder: {"request": request.as_dict()}
        )

    def check_device(self, device: str = "auto") -> None:
        """Send a job that loads the network and nothing else; see DeviceFound."""
        self._begin("check_device", device, "as needed", lambda process, folder: {})

    def _begin(
        self, do: str, device: str, memory: str, content: Callable[[_Process, Path], Description]
    ) -> None:
        """Start the worker if none runs, write what the job needs into its folder, and send the request."""
        if self._busy:
            raise RuntimeError("A job is running already.")
        if self._process is not None and self._process.popen.poll() is not None:
            self.close()
        process = self._process or self._start()
        self._jobs += 1
        folder = process.folder / f"job-{self._jobs}"
        folder.mkdir()
        about = {"do": do, "job": self._jobs, "device": device, "memory": memory, "folder": str(folder)}
        request = {**about, **content(process, folder)}
        self._busy, self._cancelled_at = True, None
        process.request = request

    def cancel(self) -> None:
        """Ask the running job to stop; `poll` gives Stopped, by default within two seconds."""
        if self._busy and self._process is not None and self._cancelled_at is None:
            self._cancelled_at = time.monotonic()
            self._send(self._process, {"do": "cancel", "job": self._jobs})

    def poll(self) -> list[Event]:
        """The events since the last call, the one that ends the job last. Never waits."""
        process = self._process
        if process is None:
            return []
        try:
            self._write_on(process)
        except OSError as error:
            self.close()
            return [Failed(f"A volume could not be written ({error.strerror}): is the disk full?")]
        # Asked before reading: its last event is then read for certain.
        exit_status = process.popen.poll()
        events = self._new_events(process)
        if self._busy and exit_status is not None:
            events.append(Stopped() if self._cancelled_at is not None else _death(process, exit_status))
            self._busy = False
        if exit_status is not None:
            self.close()
        elif (
            self._busy
            and self._cancelled_at is not None
            and time.monotonic() - self._cancelled_at > self._cancel_patience_s
        ):
            self.close()
            events.append(Stopped())
        return events

    def close(self, patience_s: float = 0.0) -> None:
        """End the worker and remove its folder. A job in hand is forgotten.

        patience_s: so long a job in hand may take to stop by itself; with 0 it is not asked to.
        """
        limit = time.monotonic() + patience_s
        if patience_s:
            self.cancel()
        while self._busy and time.monotonic() < limit:
            self.poll()
            time.sleep(_WAIT_S)
        process, self._process = self._process, None
        self._busy, self._cancelled_at = False, None
        if process is None:
            return
        if process.popen.poll() is None:
            # PythonSlicer is a launcher: the worker is its child, with another process id.
            if process.pid not in (None, process.popen.pid):
                # It may have ended by now: Windows then has an error of no class of its own.
                with contextlib.suppress(OSError):
                    os.kill(process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))  # type: ignore[arg-type]
                # The launcher ends when the worker has ended, and the worker's files can be removed.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.popen.wait(_LAUNCHER_ENDS_S)
            process.popen.kill()
        if process.popen.stdin is not None:
            with contextlib.suppress(OSError):
                process.popen.stdin.close()
        process.popen.wait(_ENDING_S)
        shutil.rmtree(process.folder, ignore_errors=True)

    def _start(self) -> _Process:
        folder = Path(tempfile.mkdtemp(prefix="MedMetaSeg-"))
        try:
            with open(folder / _EVENTS, "wb") as events, open(folder / _LOG, "wb") as log:
                popen = subprocess.Popen(
                    [self._python, "-c", _CODE, str(_PACKAGE_PARENT), str(folder)],
                    stdin=subprocess.PIPE,
                    stdout=events,
                    stderr=log,
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
        except OSError:
            shutil.rmtree(folder)
            raise
        self._process = _Process(folder, popen, SentVolumes(folder))
        return self._process

    def _write_on(self, process: _Process) -> None:
        """Write one more piece; when there is none left, send the request."""
        if process.volumes.write_piece():
            return
        if process.request is not None:
            self._send(process, process.request)
            process.request = None

    def _send(self, process: _Process, request: dict[str, Any]) -> None:
        assert process.popen.stdin is not None
        # A dead worker reads nothing, and `poll` sees that: BrokenPipeError, or EINVAL on Windows.
        with contextlib.suppress(OSError):
            process.popen.stdin.write(json.dumps(request).encode() + b"\n")
            process.popen.stdin.flush()

    def _new_events(self, process: _Process) -> list[Event]:
        with open(process.folder / _EVENTS, "rb") as file:
            file.seek(process.read_bytes)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        process.read_bytes += len(whole)
        events = [self._event(process, json.loads(line)) for line in whole.splitlines()]
        return [event for event in events if event is not None]

    def _event(self, process: _Process, message: dict[str, Any]) -> Event | None:
        """The event of one line from the worker; None for what concerns nobody else."""
        kind = message["event"]
        if kind == "ready":
            process.pid = message["pid"]
            return None
        if kind == "device":
            return DeviceFound(message["device"], message["why"])
        if kind == "progress":
            return Progress(message["share"], message["what"])
        if kind == "preview":
            return None if self._cancelled_at is not None else Preview(sent_mask(message["mask"]))
        if kind == "item":
            return BatchProgress.from_dict(message["progress"])
        return self._end(process, message)

    def _end(self, process: _Process, message: dict[str, Any]) -> Event:
        """The event that ends the job."""
        cancelled = self._cancelled_at is not None
        self._busy, self._cancelled_at = False, None
        batch = None if message.get("batch") is None else BatchResult.from_dict(message["batch"])
        ended: Event = Stopped(batch)
        if message["event"] == "failed" and not cancelled:
            ended = Failed(message["message"])
        if message["event"] == "done" and not cancelled:
            task = Path(message["task"]).read_bytes() if message["task"] else b""
            structures, uncertainty = load_structures(message["structures"]), message["uncertainty"]
            unsure = load_array(uncertainty) if uncertainty else None
            ended = Finished(structures, message["report"], task, batch, unsure)
        shutil.rmtree(process.folder / f"job-{self._jobs}", ignore_errors=True)
        return ended


def _death(process: _Process, exit_status: int) -> Failed:
    """Why a worker ended that nobody asked to."""
    text = (process.folder / _LOG).read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    by_launcher = bool(lines) and lines[-1].startswith("error: [") and _LAUNCHER_SAYS in lines[-1]
    if by_launcher:
        lines.pop()
    faults = [line for line in lines if line.startswith(_FAULTS)]
    last = lines[-1] if lines else f"exit status {exit_status}"
    cause = (faults[-1] if faults else last)[:200]
    # A crash of its own, such as a segmentation fault, is told by faulthandler; what kills it leaves no word.
    killed = exit_status in (-9, 137) or (by_launcher and not faults and process.pid is not None)
    if killed or _NO_MEMORY in text:
        return Failed(
            "The work was ended by the system, usually because memory ran out: close other programs, crop "
            "the volume or choose low memory in the settings, then press the button again.",
            cause,
        )
    what = "stopped unexpectedly" if process.pid is not None else "could not start"
    return Failed(f"The work {what} ({cause}): press the button again, and report it if it recurs.", cause)
