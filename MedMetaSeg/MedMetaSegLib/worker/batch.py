"""A batch in a process of its own, so that Slicer's windows stay free.

    process = BatchProcess(request, python)
    while process.is_running:
        for said in process.poll():     # BatchProgress, from a timer
            ...
    process.result                      # BatchResult; or None, and process.error says why

What the process says goes to a file that is read as it grows (see `client`). When its stdin ends, because of
`cancel` or because whoever started it is gone, it ends as after Ctrl-C: it can be gone on with.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..batch.run import BatchProgress, BatchRequest, BatchResult, run_batch
from ..batch.states import BatchRow
from ..errors import InputError

_PACKAGE_PARENT = Path(__file__).resolve().parents[2]
_CODE = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from MedMetaSegLib.worker.batch import main; main(sys.argv[2])"
)
_ENDING_S = 5.0


class BatchProcess:
    """One batch, from its start to its end.

    python: the interpreter to run it with; in Slicer its launcher PythonSlicer. Raises OSError when it cannot
    be started.
    """

    def __init__(self, request: BatchRequest, python: str = sys.executable) -> None:
        self.result: BatchResult | None = None
        self.error = ""
        self._folder = Path(tempfile.mkdtemp(prefix="MedMetaSeg-"))
        self._heard = 0
        (self._folder / "request.json").write_text(json.dumps(_request_told(request)), encoding="utf-8")
        try:
            with open(self._folder / "said.jsonl", "wb") as said, open(self._folder / "log.txt", "wb") as log:
                self._popen = subprocess.Popen(
                    [python, "-c", _CODE, str(_PACKAGE_PARENT), str(self._folder)],
                    stdin=subprocess.PIPE,
                    stdout=said,
                    stderr=log,
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
        except OSError:
            shutil.rmtree(self._folder)
            raise

    @property
    def is_running(self) -> bool:
        """True until `poll` has heard how it ended."""
        return self.result is None and not self.error

    def poll(self) -> list[BatchProgress]:
        """What it has said since the last call; never waits. Sets `result` or `error` at the end."""
        if not self.is_running:
            return []
        # Asked before reading: what it said last is then read for certain.
        status = self._popen.poll()
        said = []
        for message in self._messages():
            if message["say"] == "progress":
                said.append(_progress(message["progress"]))
            elif message["say"] == "done":
                self.result = _result(message["result"])
            else:
                self.error = message["message"]
        if status is not None and self.is_running:
            self.error = self._death(status)
        if not self.is_running:
            self.close()
        return said

    def cancel(self) -> None:
        """Ask it to stop; the result, with `cancelled` set, follows when the images in hand are given up."""
        with contextlib.suppress(OSError):
            if self._popen.stdin is not None:
                self._popen.stdin.close()

    def close(self) -> None:
        """End it, whatever it is doing; what is finished stays in place."""
        self.cancel()
        try:
            self._popen.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait(_ENDING_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _messages(self) -> list[dict[str, Any]]:
        with open(self._folder / "said.jsonl", "rb") as file:
            file.seek(self._heard)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._heard += len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def _death(self, status: int) -> str:
        lines = (self._folder / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        last = next((line.strip() for line in reversed(lines) if line.strip()), f"exit status {status}")
        return f"The batch ended unexpectedly ({last[:200]}): go on with resume, nothing finished is lost."


def main(folder: str) -> None:
    """The process: run the batch that the folder describes and say how it goes."""
    # Libraries print what they like; only messages may go to the real stdout.
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    stopped = threading.Event()

    def listen() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        stopped.set()

    def say(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    threading.Thread(target=listen, daemon=True).start()
    told = json.loads((Path(folder) / "request.json").read_text(encoding="utf-8"))
    try:
        result = run_batch(
            _request(told),
            lambda one: say({"say": "progress", "progress": _progress_told(one)}),
            stopped.is_set,
        )
    except InputError as error:
        say({"say": "failed", "message": str(error)})
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        say({"say": "failed", "message": f"The Python package '{missing}' is missing: install it first."})
    else:
        say({"say": "done", "result": _result_told(result)})


def _request_told(request: BatchRequest) -> dict[str, Any]:
    told = asdict(request)
    paths = {name: os.path.abspath(told[name]) for name in ("task", "out", "report") if told[name]}
    inputs = [os.path.abspath(one) for one in request.inputs]
    series = [[os.path.abspath(file) for file in files] for files in request.series]
    return {**told, **paths, "inputs": inputs, "series": series}


def _request(told: dict[str, Any]) -> BatchRequest:
    paths = {name: Path(told[name]) for name in ("task", "out", "report") if told[name]}
    series = tuple(map(tuple, told["series"]))
    return BatchRequest(**{**told, **paths, "inputs": tuple(told["inputs"]), "series": series})


def _progress_told(progress: BatchProgress) -> dict[str, Any]:
    row = None if progress.row is None else progress.row.as_dict()
    return {**asdict(replace(progress, row=None)), "row": row}


def _progress(told: dict[str, Any]) -> BatchProgress:
    row = None if told["row"] is None else BatchRow.from_dict(told["row"])
    return BatchProgress(**{**told, "row": row})


def _result_told(result: BatchResult) -> dict[str, Any]:
    rows = [row.as_dict() for row in result.rows]
    return {
        **asdict(replace(result, rows=(), reports=())),
        "rows": rows,
        "reports": [*map(str, result.reports)],
    }


def _result(told: dict[str, Any]) -> BatchResult:
    rows = tuple(BatchRow.from_dict(row) for row in told["rows"])
    skipped = tuple((name, reason) for name, reason in told["skipped"])
    reports = tuple(Path(one) for one in told["reports"])
    return BatchResult(**{**told, "rows": rows, "skipped": skipped, "reports": reports})
