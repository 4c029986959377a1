"""What became of the lesions between two times, and how it was found out.

Volumes are cubic centimetres, lengths millimetres, places RAS in millimetres of the present image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..measurements.measurements import MeasureOptions, Point

Status = Literal[
    "matched",
    "new",
    "gone",
    "merged",
    "split",
    "merged and split",
    "not seen before",
    "not seen now",
    "grown past the smallest",
    "shrunk below the smallest",
]
"""What became of one lesion or of several: merged is several before and one now; not seen: it lies outside
the other image's field of view; the smallest is `MeasureOptions.smallest_mm3`.
"""


How = Literal["registered", "given", "none"]
"""How the earlier image was brought onto the present one: none where they lie on one another as they are."""

SAME_WORLD = "none"
"""In place of a file of a transform: the two images lie on one another as they are."""


@dataclass(frozen=True)
class Fit:
    """How well two images fit one another under a transform.

    correlation: mean, 0 to 1, of the correlation of MIND descriptors around each place that both images show
    and where the present one is not of one value. strain: median Frobenius norm of the gradient of the
    displacement, without that of its mean; 0 for an affine transform, about 1 where everything had to be bent
    by as much as itself. shared: how much of the present image that was looked at the earlier one shows, 0
    to 1.
    """

    correlation: float
    strain: float
    shared: float


@dataclass(frozen=True)
class Size:
    """How large a lesion is, or several together: the sum of their volumes.

    The diameters are None of several, and of a part that was too small to be counted.
    """

    volume_cm3: float
    longest_mm: float | None
    perpendicular_mm: float | None


@dataclass(frozen=True)
class Change:
    """The present value less the earlier one; percent: of the earlier one, None where that is 0."""

    absolute: float
    percent: float | None

    @classmethod
    def between(cls, before: float | None, now: float | None) -> Change | None:
        """The change from one value to another; None where one of them is not known."""
        if before is None or now is None:
            return None
        return cls(now - before, 100 * (now - before) / before if before else None)


@dataclass(frozen=True)
class LesionChange:
    """What became of one lesion, or of those that merged or split.

    before, now: the numbers of the lesions at each time, see `Lesion`; a part too small to be counted has
    none. size_before, size_now: None where there is none or it is not known. found_by: what showed that they
    are the same, "overlap" or "distance", "" for one alone. centroid_ras: of what is there now, else where
    the earlier one lies in the present image, None where that is not known. touches_border: one of them lies
    at its image's border, so that some of it may not be seen.
    """

    status: Status
    before: tuple[int, ...]
    now: tuple[int, ...]
    size_before: Size | None
    size_now: Size | None
    found_by: str
    centroid_ras: Point | None
    touches_border: bool

    @property
    def volume(self) -> Change | None:
        """Of the volume, cm3."""
        return self._change("volume_cm3")

    @property
    def longest(self) -> Change | None:
        """Of the longest axial diameter, mm."""
        return self._change("longest_mm")

    @property
    def perpendicular(self) -> Change | None:
        """Of the perpendicular diameter, mm."""
        return self._change("perpendicular_mm")

    def _change(self, name: str) -> Change | None:
        if self.size_before is None or self.size_now is None:
            return None
        return Change.between(getattr(self.size_before, name), getattr(self.size_now, name))

    def as_dict(self) -> Mapping[str, Any]:
        """For JSON: the fields, and the changes."""
        changes = {"volume_change": self.volume, "longest_change": self.longest}
        changes["perpendicular_change"] = self.perpendicular
        return {**asdict(self), **{name: one and asdict(one) for name, one in changes.items()}}


def counted(lesions: Iterable[LesionChange]) -> str:
    """How many lesions, or groups of them, became what, in words; "none" without any."""
    statuses = [one.status for one in lesions]
    return ", ".join(f"{statuses.count(one)} {one}" for one in dict.fromkeys(statuses)) or "none"


@dataclass(frozen=True)
class StructureChange:
    """What became of a structure, all of it, and of its lesions where these were asked for."""

    name: str
    volume_before_cm3: float
    volume_now_cm3: float
    lesions_before: int
    lesions_now: int
    lesions: tuple[LesionChange, ...]

    @property
    def volume(self) -> Change:
        """Of the volume of the whole structure, cm3."""
        change = Change.between(self.volume_before_cm3, self.volume_now_cm3)
        assert change is not None
        return change

    def as_dict(self) -> Mapping[str, Any]:
        """For JSON: the fields, and the change of volume."""
        lesions = [one.as_dict() for one in self.lesions]
        return {**asdict(self), "volume_change": asdict(self.volume), "lesions": lesions}


@dataclass(frozen=True)
class FollowUp:
    """Two segmentations of one patient compared.

    structures: those that both times have, by name, in the present order; only_before, only_now: the names of
    the others, which were not compared. how, fit: how the earlier image was brought onto the present one, and
    how well it fits. notes: sentences that a reader must see.
    """

    structures: tuple[StructureChange, ...]
    only_before: tuple[str, ...]
    only_now: tuple[str, ...]
    how: How
    fit: Fit
    options: MeasureOptions
    notes: tuple[str, ...] = ()

    def as_dict(self) -> Mapping[str, Any]:
        """For JSON: the fields under their own names, tuples as lists."""
        return {**asdict(self), "structures": [one.as_dict() for one in self.structures]}


def not_compared(result: FollowUp) -> list[str]:
    """Sentences about structures that only one of the two times has."""
    found = []
    for names, when in ((result.only_before, "earlier"), (result.only_now, "present")):
        if names:
            found.append(f"Only in the {when} segmentation, and not compared: {', '.join(names)}.")
    return found
