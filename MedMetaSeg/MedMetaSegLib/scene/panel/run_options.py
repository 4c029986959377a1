"""How a job is run, as the user chose it in the panel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RunOptions:
    """What jobs that segment, learn and apply have in common.

    device: "auto", "cpu" or "cuda". memory: a key of worker.process.WINDOWS. quality: see Segmenter.segment.
    preview: show first answers while it runs. uncertainty: show where the answer is unsure. Quality, preview
    and uncertainty are for segmenting alone.
    """

    device: str
    memory: str
    quality: str
    preview: bool
    uncertainty: bool


def runOptions(parameters: Any) -> RunOptions:
    """The options in the panel's parameters."""
    return RunOptions(
        device=parameters.device.value,
        memory=parameters.memory.value,
        quality=parameters.quality.value,
        preview=parameters.showPreview,
        uncertainty=parameters.showUncertainty,
    )
