"""The worker: a process that holds the network and its features and does what it is asked to.

It reads one JSON object a line from stdin and says one a line on stdout:

    {"do": "segment", "job": 1, "volume": ..., "support": ..., "structures": null or names, ...}
    {"do": "learn", "job": 2, "pairs": [[volume, support], ...], ...}
    {"do": "apply", "job": 3, "task": "kidneys.medmetaseg", "volume": ..., ...}
    {"do": "batch", "job": 4, "request": fields of BatchRequest, paths as text}
    {"do": "look", "job": 5, ...}                       for the device, nothing else
    {"do": "cancel", "job": 1}

Every job also names "device", "memory" (see WINDOWS) and "folder", a folder of its own. What is said:

    {"say": "ready", "pid": ...}                        once, before torch is imported
    {"say": "device", "device": "cpu", "why": ...}      when the network was loaded
    {"say": "progress", "share": 0.5, "what": "liver"}
    {"say": "preview", "mask": ...}                     of one structure, where "preview" was true
    {"say": "item", "item": name, "state": "reading", "finished": 2, "total": 9, ...}   of a batch
    {"say": "done", "structures": [...], "report": ..., "task": path or ""}
    {"say": "cancelled"}
    {"say": "failed", "message": "A sentence for the user."}

When stdin ends, because whoever started it ended in whatever way, it removes its folder and ends at once. An
error nobody foresaw ends it too; the client then tells what the log says and starts another.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import shutil
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, InputError, is_out_of_memory
from ..imageio.volume import Volume
from .exchange import load_support, load_volume, save_mask, save_structures

if TYPE_CHECKING:
    from ..batch.run import BatchProgress
    from ..segmenter import Segmenter
    from ..support.structure import StructureMask

Message = dict[str, Any]
Say = Callable[[Message], None]

_OUT_OF_MEMORY = (
    "Memory ran out: close other programs or crop the volume around the structure, and try again."
)


WINDOWS = {"as needed": 160, "little": 48}
"""Edge, in voxels, of the windows the network works in: less memory, more time."""


def load_segmenter(device: str) -> Segmenter:
    """The shipped segmenter; InputError when a package it needs is missing."""
    try:
        from ..segmenter import Segmenter
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise InputError(f"The Python package '{package}' is missing: install it, then try again.") from error
    return Segmenter.load(device=device)


class Worker:
    """Carries out jobs one after the other; the segmenter and the volume of the last one are kept."""

    def __init__(self, say: Say, load: Callable[[str], Any] = load_segmenter) -> None:
        self._say, self._load = say, load
        self._segmenter: Any = None
        self._device = ""
        self._volume: tuple[str, Volume] | None = None
        self._work = {
            "segment": self._segment,
            "learn": self._learn,
            "apply": self._apply,
            "batch": self._batch,
            "look": self._look,
        }

    def handle(self, order: Message, cancelled: Callable[[], bool]) -> None:
        """Do what `order` says and say how it ended; errors nobody foresaw are raised."""
        try:
            segmenter = None
            if order["do"] != "batch":
                segmenter = self._segmenter_on(order["device"], order.get("memory", "as needed"))
            done = self._work[order["do"]](segmenter, order, cancelled)
        except Cancelled:
            self._say({"say": "cancelled"})
        except InputError as error:
            self._say({"say": "failed", "message": str(error)})
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self._say({"say": "failed", "message": _OUT_OF_MEMORY})
        else:
            self._say({"say": "done", "structures": [], "report": {}, "task": "", **done})

    def _segment(self, segmenter: Any, order: Message, cancelled: Callable[[], bool]) -> Message:
        result = segmenter.segment(
            self._volume_of(order["volume"]),
            load_support(order["support"]),
            progress=self._progress,
            cancelled=cancelled,
            structures=order["structures"],
            quality=order.get("quality", "balanced"),
            preview=self._preview(Path(order["folder"])) if order.get("preview") else None,
        )
        return _answer(result, order)

    def _preview(self, folder: Path) -> Callable[[StructureMask], None]:
        """Sends each structure's first mask, in a file of its own."""
        numbers = itertools.count()

        def send(one: StructureMask) -> None:
            path = folder / f"preview-{next(numbers)}.npy"
            mask = save_mask(path, one)
            self._say({"say": "preview", "mask": {**mask, "shape": list(one.mask.shape)}})

        return send

    def _learn(self, segmenter: Any, order: Message, cancelled: Callable[[], bool]) -> Message:
        pairs = [(load_volume(volume), load_support(support)) for volume, support in order["pairs"]]
        task = segmenter.learn(pairs, progress=self._progress, cancelled=cancelled)
        path = Path(order["folder"]) / "learned.medmetaseg"
        task.write(path)
        return {"task": str(path), "report": task.describe()}

    def _apply(self, segmenter: Any, order: Message, cancelled: Callable[[], bool]) -> Message:
        from ..task.task_file import Task

        task = Task.read(order["task"])
        result = segmenter.apply(
            task, self._volume_of(order["volume"]), progress=self._progress, cancelled=cancelled
        )
        return _answer(result, order)

    def _batch(self, segmenter: None, order: Message, cancelled: Callable[[], bool]) -> Message:
        """A batch has a network of its own; the one kept here is let go, so that there are not two."""
        from ..batch.run import BatchRequest, run_batch

        self._segmenter = self._volume = None
        given = order["request"]
        paths = {name: Path(given[name]) for name in ("task", "out", "report")}
        series = tuple(map(tuple, given.get("series", ())))
        request = BatchRequest(**{**given, **paths, "inputs": tuple(given["inputs"]), "series": series})
        result = run_batch(request, progress=self._item, cancelled=cancelled)
        if result.cancelled:
            raise Cancelled("Cancelled.")
        report = {
            "total": result.total,
            "failed": len(result.failed),
            "stopped": result.stopped,
            "reports": [str(path) for path in result.reports],
            "seconds": result.seconds,
        }
        return {"report": report}

    def _item(self, progress: BatchProgress) -> None:
        row = progress.row
        self._say(
            {
                "say": "item",
                "item": progress.item,
                "state": progress.state,
                "finished": progress.finished,
                "total": progress.total,
                "reason": progress.reason,
                "image": "" if row is None else row.image,
                "output": "" if row is None else row.output,
                "found": [] if row is None else [[s.name, s.millilitres] for s in row.structures if s.found],
            }
        )

    def _look(self, segmenter: Any, order: Message, cancelled: Callable[[], bool]) -> Message:
        return {"report": {"device": self._found(segmenter)}}

    def _progress(self, share: float, what: str) -> None:
        self._say({"say": "progress", "share": share, "what": what})

    def _segmenter_on(self, device: str, memory: str) -> Any:
        if self._segmenter is None or self._device != device:
            self._segmenter = self._load(device)
            self._device = device
            device_found, why = self._found(self._segmenter)
            self._say({"say": "device", "device": device_found, "why": why})
        predictor = getattr(self._segmenter, "predictor", None)
        if predictor is not None:
            predictor.window = WINDOWS[memory]
        return self._segmenter

    def _found(self, segmenter: Any) -> tuple[str, str]:
        """The device's kind, and in words what it is: its name and free memory, or why it is the CPU."""
        predictor = getattr(segmenter, "predictor", None)
        if predictor is None:
            return self._device, ""
        import torch

        why = str(segmenter.why_device)
        if predictor.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(predictor.device)
            return "cuda", f"{why}, {free / 2**30:.0f} GB free"
        threads = torch.get_num_threads()
        return "cpu", f"{why}; {threads} thread{'s' if threads > 1 else ''}"

    def _volume_of(self, description: Message) -> Volume:
        if self._volume is None or self._volume[0] != description["file"]:
            self._volume = None
            self._volume = description["file"], load_volume(description)
        return self._volume[1]


def _answer(result: Any, order: Message) -> Message:
    return {
        "structures": save_structures(Path(order["folder"]), result.structures),
        "report": result.report,
    }


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
        worker.handle(order, lambda job=job: orders.is_cancelled(job))  # type: ignore[misc]
