"""The states of a batch's images, and the row of its report that each ends in."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from typing import Any

from ..measurements.measurements import Measurements

WAITING, READING, SEGMENTING, SKIPPED = "waiting", "reading", "segmenting", "skipped"
"""States of an image that has no row: not begun, being read, being segmented, no image to segment."""

DONE, KEPT, FAILED = "done", "there already", "failed"
"""States of an image that has a row: its result is made now, stands from an earlier run, or is missing."""

LEFT_OUT = "left out"
"""What tables say of a file that was found and is no image to segment."""


@dataclass(frozen=True)
class StructureRow:
    """One structure of the task in one image.

    found, millilitres: of the result in this image. reason: why it was not found, "" if it was. present,
    predicted_dice and its interval from low to high, doubtful: see `confidence.Confidence`; None where it
    cannot be told or was not asked for. next_slice: that is most worth painting, as "axial 41", counted from
    0; "" if none is.
    """

    name: str
    found: bool
    millilitres: float
    reason: str = ""
    present: float | None = None
    predicted_dice: float | None = None
    predicted_dice_low: float | None = None
    predicted_dice_high: float | None = None
    doubtful: bool = False
    next_slice: str = ""


@dataclass(frozen=True)
class BatchRow:
    """What came of one image.

    name: of the item, the same as its result's without the suffix. image: what was read, from the folder that
    was given on, or its whole path where identifiers are wanted. output: the result's place in the folder of
    the results. status: DONE, KEPT (from an earlier run) or FAILED, with the reason. task: digest of the task
    file. thumbnail: a PNG, b"" if there is none. notes: what to know of the result, in sentences.
    unlike: in what way the image is unlike those that the task was learned from, in sentences. triage:
    ACCEPT, REVIEW or PAINT by the bounds of the request, "" where nothing is known; see `triage.triage`.
    measurements: of the result's structures, in their order; None where they were not asked for.
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
    notes: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    triage: str = ""
    measurements: Measurements | None = None

    def as_dict(self) -> dict[str, Any]:
        """The row for JSON."""
        return {**asdict(self), "thumbnail": base64.b64encode(self.thumbnail).decode()}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> BatchRow:
        """The row that `as_dict` gave. Raises KeyError, TypeError or ValueError when it is none."""
        structures = tuple(StructureRow(**one) for one in fields["structures"])
        thumbnail = base64.b64decode(fields["thumbnail"], validate=True)
        # Rows of older journals have fewer fields.
        sentences = {name: tuple(map(str, fields.get(name, ()))) for name in ("notes", "unlike")}
        measured = fields.get("measurements")
        return cls(
            **{
                **fields,
                "structures": structures,
                "thumbnail": thumbnail,
                "measurements": None if measured is None else Measurements.from_dict(measured),
                **sentences,
            }
        )
