"""MedMetaSeg: segment 3D medical images from a few painted slices.

from MedMetaSegLib import Segmenter, Support, Volume

    volume, support = Volume.read("ct.nii.gz"), Support.read("painted.seg.nrrd")
    result = Segmenter.load(device="auto").segment(volume, support)
    result.labels            # (k, j, i) on the volume's own grid

    task = segmenter.learn([(volume, support)])
    segmenter.apply(task, Volume.read("next_patient.nii.gz"))

Importing this package imports nothing else; a name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import Cancelled, InputError
    from .imageio.channel import Channel
    from .imageio.volume import Volume
    from .results.segmentation import Segmentation
    from .segmenter import Segmenter
    from .support.support import Support
    from .task.task_file import Task

__version__ = "0.1.0"
__all__ = [
    "Cancelled",
    "Channel",
    "InputError",
    "Segmentation",
    "Segmenter",
    "Support",
    "Task",
    "Volume",
    "__version__",
]

_HOMES = {
    "Cancelled": "errors",
    "Channel": "imageio.channel",
    "InputError": "errors",
    "Segmentation": "results.segmentation",
    "Segmenter": "segmenter",
    "Support": "support.support",
    "Task": "task.task_file",
    "Volume": "imageio.volume",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
