"""How every image of a batch is worked on, in whatever process or machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..measurements.measurements import MeasureOptions
from .request import BatchRequest


@dataclass(frozen=True)
class ItemOptions:
    """How every image of a batch is worked on.

    out: the folder of the results. limit: bytes that one item may take. uncertainty: the folder of the maps,
    None for none. measure: what to measure of each result, None for nothing. The others: see
    Segmenter.apply.
    """

    out: Path
    limit: int
    keep_doubtful: bool = True
    force: tuple[str, ...] = ()
    confidence: bool = True
    uncertainty: Path | None = None
    measure: MeasureOptions | None = None

    @classmethod
    def of(cls, request: BatchRequest, limit: int) -> ItemOptions:
        """Those of a request."""
        return cls(
            request.out,
            limit,
            request.keep_doubtful,
            request.force,
            request.confidence,
            request.uncertainty,
            request.measure,
        )

    @property
    def apply(self) -> Mapping[str, Any]:
        """The keyword arguments of Segmenter.apply."""
        return {"keep_doubtful": self.keep_doubtful, "force": self.force, "confidence": self.confidence}
