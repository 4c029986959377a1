"""The worker: a process that holds the network and its features and does what it is asked to.

It reads requests from stdin and writes events to stdout, each a JSON object in a line of its own. Requests:

    {"do": "segment", "job": 1, "volume": ..., "support": ..., "structures": null or names,
     "channels": [[name, volume], ...], ...}
    {"do": "learn", "job": 2, "pairs": [[volume, support], ...], ...}
    {"do": "apply", "job": 3, "task": "kidneys.medmetaseg", "volume": ..., "force": names, ...}
    {"do": "batch", "job": 4, "request": BatchRequest.as_dict()}
    {"do": "check_device", "job": 5, ...}               loads the network, nothing else
    {"do": "cancel", "job": 1}

Every job also names "device", "memory" (see WINDOWS) and "folder", a folder of its own. Events:

    {"event": "ready", "pid": ...}                      once, before torch is imported
    {"event": "device", "device": "cpu", "why": ...}    when the network was loaded
    {"event": "progress", "share": 0.5, "what": "liver"}
    {"event": "preview", "mask": ...}                   of one structure, where "preview" was true
    {"event": "item", "progress": BatchProgress.as_dict()}
    {"event": "done", "structures": [...], "report": ..., "task": path or "", "batch": null or a result,
     "uncertainty": path or ""}                         a path where the request's "uncertainty" was true
    {"event": "cancelled"}                              of a batch with "batch": BatchResult.as_dict()
    {"event": "failed", "message": "A sentence for the user."}

When stdin ends, because whoever started it ended in whatever way, it removes its folder and ends at once. An
error nobody foresaw ends it too; the client then reports the end of the log and starts another.
"""

from __future__ import annotations

import faulthandler
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
from ..imageio.channel import Channel
from ..imageio.volume import Volume
from .exchange import load_region, load_support, load_volume, save_array, save_mask, save_structures

if TYPE_CHECKING:
    from ..batch.request import BatchProgress
    from ..segmenter import Segmenter
    from ..support.structure import StructureMask

Request = dict[str, Any]
Message = dict[str, Any]
Send = Callable[[Message], None]

_OUT_OF_MEMORY = (
    "Memory ran out: close other programs or crop the volume around the structure, and try again."
)

_NOTHING: Message = {"structures": [], "report": {}, "task": "", "batch": None, "uncertainty": ""}
"""What a job that is done has to show, where it says nothing else."""

WINDOWS = {"as needed": 160, "low": 48}
"""Edge, in voxels, of the windows the network works in: less memory, more time."""


def load_segmenter(device: str) -> Segmenter:
    """The shipped segmenter; InputError when a package it needs is missing."""
    try:
        from ..segmenter import Segmenter
    except ModuleNotFoundError as error:
        raise _package_missing(error) from error
    return Segmenter.load(device=device)


def _package_missing(error: ModuleNotFoundError) -> InputError:
    package = (error.name or "").partition(".")[0]
    return InputError(f"The Python package '{package}' is missing: install it, then try again.")


class Worker:
    """Does jobs one after the other; the segmenter and the volume of the last one are kept.

    send: where its events go. load: makes a segmenter for a device.
    """

    def __init__(self, send: Send, load: Callable[[str], Any] = load_segmenter) -> None:
        self._send, self._load = send, load
        self._segmenter: Any = None
        self._device = ""
        self._volumes: dict[str, Volume] = {}
        self._work = {
            "segment": self._segment,
            "learn": self._learn,
            "apply": self._apply,
            "batch": self._batch,
            "check_device": self._check_device,
        }

    def handle(self, request: Request, cancelled: Callable[[], bool]) -> None:
        """Do a job and send its events, the one that ends it last; errors nobody foresaw are raised."""
        try:
            segmenter = None
            if request["do"] != "batch":
                segmenter = self._segmenter_on(request["device"], request.get("memory", "as needed"))
            done = self._work[request["do"]](segmenter, request, cancelled)
        except Cancelled:
            self._send({"event": "cancelled"})
        except InputError as error:
            self._send({"event": "failed", "message": str(error)})
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self._send({"event": "failed", "message": _OUT_OF_MEMORY})
        else:
            self._send({"event": "done", **_NOTHING, **done})

    def _segment(self, segmenter: Any, request: Request, cancelled: Callable[[], bool]) -> Message:
        sent = request.get("channels", ())
        names = [name for name, _ in sent]
        volume, *others = self._volumes_of([request["volume"], *(one for _, one in sent)])
        result = segmenter.segment(
            volume,
            load_support(request["support"]),
            progress=self._progress,
            cancelled=cancelled,
            structures=request["structures"],
            quality=request.get("quality", "balanced"),
            confidence=request.get("confidence", True),
            preview=self._preview(Path(request["folder"])) if request.get("preview") else None,
            within=load_region(request.get("within")),
            channels=tuple(Channel(name, other) for name, other in zip(names, others, strict=True)),
        )
        answer = _answer(result, request)
        if request.get("uncertainty"):
            path = Path(request["folder"]) / "uncertainty.npy"
            answer["uncertainty"] = save_array(path, result.largest_uncertainty(cancelled))
        return answer

    def _preview(self, folder: Path) -> Callable[[StructureMask], None]:
        """Sends each structure's first mask, in a file of its own."""
        numbers = itertools.count()

        def send(one: StructureMask) -> None:
            path = folder / f"preview-{next(numbers)}.npy"
            mask = save_mask(path, one)
            self._send({"event": "preview", "mask": {**mask, "shape": list(one.mask.shape)}})

        return send

    def _learn(self, segmenter: Any, request: Request, cancelled: Callable[[], bool]) -> Message:
        pairs = [(load_volume(volume), load_support(support)) for volume, support in request["pairs"]]
        task = segmenter.learn(pairs, progress=self._progress, cancelled=cancelled)
        path = Path(request["folder"]) / "learned.medmetaseg"
        task.write(path)
        return {"task": str(path), "report": task.describe()}

    def _apply(self, segmenter: Any, request: Request, cancelled: Callable[[], bool]) -> Message:
        from ..task.task_file import Task

        task = Task.read(request["task"])
        result = segmenter.apply(
            task,
            self._volumes_of([request["volume"]])[0],
            progress=self._progress,
            cancelled=cancelled,
            keep_doubtful=request.get("keep_doubtful", True),
            force=request.get("force", ()),
            confidence=request.get("confidence", True),
        )
        return _answer(result, request)

    def _batch(self, segmenter: None, request: Request, cancelled: Callable[[], bool]) -> Message:
        """A batch has a network of its own; the one kept here is let go, so that there are not two."""
        from ..batch.request import BatchRequest
        from ..batch.run import run_batch

        self._segmenter, self._volumes = None, {}
        try:
            result = run_batch(BatchRequest.from_dict(request["request"]), self._item, cancelled)
        except ModuleNotFoundError as error:
            raise _package_missing(error) from error
        return {"event": "cancelled" if result.cancelled else "done", "batch": result.as_dict()}

    def _item(self, progress: BatchProgress) -> None:
        self._send({"event": "item", "progress": progress.as_dict()})

    def _check_device(self, segmenter: Any, request: Request, cancelled: Callable[[], bool]) -> Message:
        return {"report": {"device": self._found(segmenter)}}

    def _progress(self, share: float, what: str) -> None:
        self._send({"event": "progress", "share": share, "what": what})

    def _segmenter_on(self, device: str, memory: str) -> Any:
        if self._segmenter is None or self._device != device:
            self._segmenter = self._load(device)
            self._device = device
            device_found, why = self._found(self._segmenter)
            self._send({"event": "device", "device": device_found, "why": why})
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

    def _volumes_of(self, descriptions: list[Message]) -> list[Volume]:
        """The volumes of a job; those of the last one that it does not name are let go."""
        files = [one["file"] for one in descriptions]
        self._volumes = {file: volume for file, volume in self._volumes.items() if file in files}
        for description in descriptions:
            if description["file"] not in self._volumes:
                self._volumes[description["file"]] = load_volume(description)
        return [self._volumes[file] for file in files]


def _answer(result: Any, request: Request) -> Message:
    return {
        "structures": save_structures(Path(request["folder"]), result.structures),
        "report": result.report,
    }


class Requests:
    """Requests as they come in on a thread of their own, so that a cancel is read while a job runs."""

    def __init__(self, lines: Iterable[str], at_end: Callable[[], None]) -> None:
        self._waiting: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        threading.Thread(target=self._read, args=(lines, at_end), daemon=True).start()

    def next(self) -> Request | None:
        """The next job, waited for; None when there will be none."""
        return self._waiting.get()

    def is_cancelled(self, job: int) -> bool:
        """True when this job is not wanted any more."""
        return job in self._cancelled

    def _read(self, lines: Iterable[str], at_end: Callable[[], None]) -> None:
        for line in lines:
            request = json.loads(line)
            if request["do"] == "cancel":
                self._cancelled.add(request["job"])
            else:
                self._waiting.put(request)
        at_end()
        self._waiting.put(None)


def main(folder: str) -> None:
    """Handle requests until stdin ends."""
    # A crash is told in the log, which parts it from being killed.
    faulthandler.enable()
    # Libraries print what they like; only events may go to the real stdout.
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def send(message: Message) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    def leave() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    send({"event": "ready", "pid": os.getpid()})
    requests = Requests(os.fdopen(sys.stdin.fileno(), encoding="utf-8", closefd=False), leave)
    worker = Worker(send)
    while (request := requests.next()) is not None:
        job = request["job"]
        worker.handle(request, lambda job=job: requests.is_cancelled(job))  # type: ignore[misc]
