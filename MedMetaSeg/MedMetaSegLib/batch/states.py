"""A row of a batch's report: what came of one image."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from typing import Any

DONE, KEPT, FAILED = "done", "there already", "failed"


@dataclass(frozen=True)
class StructureRow:
    """One structure of the task in one image; reason: why it was not found."""

    name: str
    found: bool
    millilitres: float
    reason: str = ""


@dataclass(frozen=True)
class BatchRow:
    """What came of one image.

    name: of the item, the same as its result's without the suffix. image: what was read, by its file name, or
    its path where identifiers are wanted. output: the result's file name. status: DONE, KEPT (from an earlier
    run) or FAILED, with the reason. task: digest of the task file. thumbnail: a PNG, b"" if there is none.
    """

    name: str
    image: str
    output: str
    status: str
    reason: str = ""
    seconds: float = 0.0
    task: str = ""
    structures: tuple[StructureRow, ...] = ()
    thumbnail: bytes = b""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "thumbnail": base64.b64encode(self.thumbnail).decode()}

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> BatchRow:
        """The row that `as_dict` told. Raises KeyError, TypeError or ValueError when it is none."""
        structures = tuple(StructureRow(**one) for one in told["structures"])
        thumbnail = base64.b64decode(told["thumbnail"], validate=True)
        return cls(**{**told, "structures": structures, "thumbnail": thumbnail})
