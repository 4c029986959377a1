"""What is told of a run of `Segmenter.segment`: the report, and the seconds of its stages."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import numpy as np
import SimpleITK as sitk
import torch

from .. import __version__
from ..imageio.geometry import rounded
from ..results.millilitres import rounded_millilitres
from ..results.segmentation import SegmentedStructure
from ..support.support import Support
from ..working_grid.intensity import IntensityNormalization


def segment_report(
    support: Support,
    rule: IntensityNormalization,
    results: Sequence[SegmentedStructure],
    told: Sequence[Mapping[str, object]],
    notes: Sequence[str],
    about: Mapping[str, object],
) -> dict[str, object]:
    """The report of one call. told: further entries of each result. about: how it was computed."""
    annotated = {one["label"]: one for one in support.describe()}
    structures = []
    for one, more in zip(results, told, strict=True):
        entry: dict[str, object] = {
            "name": one.structure.name,
            "label": one.structure.label,
            "voxels": one.voxels,
            "millilitres": rounded_millilitres(one.millilitres),
            "seconds": round(one.seconds, 3),
            "working_spacing_mm": [rounded(s, 3) for s in one.spacing_mm],
            "plane": annotated[one.structure.label]["plane"],
            "slices": annotated[one.structure.label]["slices"],
            "crossing": annotated[one.structure.label]["crossing"],
            "scribbled": annotated[one.structure.label]["scribbled"],
        }
        structures.append({**entry, **more})
    return {
        "structures": structures,
        "skipped": [{"name": name, "reason": reason} for name, reason in support.skipped],
        "annotation": support.annotation,
        "intensity": rule.as_dict(),
        "notes": list(notes),
        **about,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of everything that has a say in the result."""
    return {
        "medmetaseg": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": version("monai"),
        "SimpleITK": sitk.Version.VersionString(),
        "numpy": np.__version__,
    }


class Clock:
    """Seconds per stage of one call."""

    def __init__(self) -> None:
        self._begun = self._last = time.perf_counter()
        self.stages: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """Book the time since the last lap under a stage."""
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self._last
        self._last = now

    @property
    def total(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._begun

    def as_dict(self) -> dict[str, float]:
        """Seconds per stage and in all, for a report."""
        return {**{stage: round(s, 3) for stage, s in self.stages.items()}, "total": round(self.total, 3)}
