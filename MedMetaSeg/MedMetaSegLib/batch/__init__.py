"""One task, many images; `run_batch` does it.

    from MedMetaSegLib.batch import BatchRequest, run_batch

    result = run_batch(BatchRequest(Path("organs.medmetaseg"), ("patients",), Path("results")))

Importing this package imports nothing else; a name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .request import BatchProgress, BatchRequest, BatchResult
    from .run import run_batch
    from .states import DONE, FAILED, KEPT, BatchRow

_HOMES = {
    "BatchProgress": "request",
    "BatchRequest": "request",
    "BatchResult": "request",
    "BatchRow": "states",
    "DONE": "states",
    "FAILED": "states",
    "KEPT": "states",
    "run_batch": "run",
}
"""The module of each public name."""

__all__ = ["DONE", "FAILED", "KEPT", "BatchProgress", "BatchRequest", "BatchResult", "BatchRow", "run_batch"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
