"""The worker: a process that holds the network and its features and segments what it is asked to.

It reads one JSON object a line from stdin and says one a line on stdout:

    {"do": "segment", "job": 1, "volume": ..., "support": ..., "device": "auto", "folder": ...}
    {"do": "cancel", "job": 1}

    {"say": "ready", "pid": ...}                        once, before torch is imported
    {"say": "device", "device": "cpu", "why": ...}      when the network was loaded
    {"say": "progress", "share": 0.5, "what": "liver"}
    {"say": "done", "structures": [...], "report": ...}
    {"say": "cancelled"}
    {"say": "failed", "message": "A sentence for the user."}

When stdin ends, because whoever started it ended in whatever way, it removes its folder and ends at once. An
error nobody foresaw ends it too; the client then tells what the log says and starts another.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from ..errors import Cancelled, InputError
from ..support import Support
from ..volume import Volume
from .exchange import load_support, load_volume, save_structures

Message = dict[str, Any]
Say = Callable[[Message], None]

_OUT_OF_MEMORY = (
    "Memory ran out: close other programs or crop the volume around the structure, and try again."
)


class SegmentsVolumes(Protocol):
    """What the worker needs of a segmenter."""

    def segment(
        self,
        volume: Volume,
        support: Support,
        *,
        progress: Callable[[float, str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Any: ...


def load_segmenter(device: str) -> SegmentsVolumes:
    """The shipped segmenter; InputError when a package it needs is missing."""
    try:
        from ..segmenter import Segmenter
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise InputError(f"The Python package '{package}' is missing: install it, then try again.") from error
    return Segmenter.load(device=device)


class Worker:
    """Carries out jobs one after the other; the segmenter and the volume of the last one are kept."""

    def __init__(self, say: Say, load: Callable[[str], SegmentsVolumes] = load_segmenter) -> None:
        self._say, self._load = say, load
        self._segmenter: SegmentsVolumes | None = None
        self._device = ""
        self._volume: tuple[str, Volume] | None = None

    def segment(self, order: Message, cancelled: Callable[[], bool]) -> None:
        """Segment what `order` describes and say how it ended; errors nobody foresaw are raised."""
        try:
            segmenter = self._segmenter_on(order["device"])
            result = segmenter.segment(
                self._volume_of(order["volume"]),
                load_support(order["support"]),
                progress=lambda share, what: self._say({"say": "progress", "share": share, "what": what}),
                cancelled=cancelled,
            )
            structures = save_structures(Path(order["folder"]), result.structures)
        except Cancelled:
            self._say({"say": "cancelled"})
        except InputError as error:
            self._say({"say": "failed", "message": str(error)})
        except MemoryError:
            self._say({"say": "failed", "message": _OUT_OF_MEMORY})
        except RuntimeError as error:
            # torch has no one type for this on the CPU; see network.inference.is_out_of_memory.
            if "memory" not in str(error):
                raise
            self._say({"say": "failed", "message": _OUT_OF_MEMORY})
        else:
            self._say({"say": "done", "structures": structures, "report": result.report})

    def _segmenter_on(self, device: str) -> SegmentsVolumes:
        if self._segmenter is None or self._device != device:
            self._segmenter = self._load(device)
            self._device = device
            runner = getattr(self._segmenter, "runner", None)
            found = runner.device.type if runner is not None else device
            self._say({"say": "device", "device": found, "why": getattr(self._segmenter, "why_device", "")})
        return self._segmenter

    def _volume_of(self, description: Message) -> Volume:
        if self._volume is None or self._volume[0] != description["file"]:
            self._volume = None
            self._volume = description["file"], load_volume(description)
        return self._volume[1]


class Orders:
    """Orders as they come in on a thread of their own, so that a cancel is heard while a job runs."""

    def __init__(self, lines: Iterable[str], at_end: Callable[[], None]) -> None:
        self._waiting: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        threading.Thread(target=self._listen, args=(lines, at_end), daemon=True).start()

    def next(self) -> Message | None:
        """The next job, waited for; None when there will be none."""
        return self._waiting.get()

    def is_cancelled(self, job: int) -> bool:
        """True when this job is not wanted any more."""
        return job in self._cancelled

    def _listen(self, lines: Iterable[str], at_end: Callable[[], None]) -> None:
        for line in lines:
            order = json.loads(line)
            if order["do"] == "cancel":
                self._cancelled.add(order["job"])
            else:
                self._waiting.put(order)
        at_end()
        self._waiting.put(None)


def main(folder: str) -> None:
    """Serve until stdin ends."""
    # Libraries print what they like; only the protocol may go to the real stdout.
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(message: Message) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    def leave() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    say({"say": "ready", "pid": os.getpid()})
    orders = Orders(os.fdopen(sys.stdin.fileno(), encoding="utf-8", closefd=False), leave)
    worker = Worker(say)
    while (order := orders.next()) is not None:
        job = order["job"]
        worker.segment(order, lambda job=job: orders.is_cancelled(job))  # type: ignore[misc]
