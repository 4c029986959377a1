"""What is painted of each segment, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from ...errors import InputError
from .parameters import Role

if TYPE_CHECKING:
    from ...support.support import Support

_COMPLETE_SLICES = 6
"""Slices, at least, without a gap between them, that are taken for the whole of a structure."""


@dataclass(frozen=True)
class PaintedSegment:
    """A row of the panel's table.

    painted: in a few words. details: in a sentence, or "". usable: there is enough to segment it.
    """

    segmentId: str
    name: str
    color: tuple[float, float, float]
    painted: str
    details: str = ""
    usable: bool = False
    role: Role = Role.STRUCTURE


@dataclass(frozen=True)
class _Description:
    """What `PaintedSegment` says of what is painted."""

    painted: str
    details: str = ""
    usable: bool = False


@dataclass(frozen=True)
class Painting:
    """All painted segments of a node. problem: why none can be used, a sentence, or ""."""

    segments: tuple[PaintedSegment, ...] = ()
    problem: str = ""


def describePainting(
    segmentationNode: Any, volumeNode: Any, annotation: str, roles: Mapping[str, Role] | None = None
) -> Painting:
    """Describe every segment of the node but those this module made; changes nothing.

    roles: by segment id, of those that are not structures.
    """
    # The panel opens before there is anything to read: SimpleITK and scipy are not waited for then.
    from ..reader import RESULT_TAG, readSupport

    roles = roles or {}
    segmentation = segmentationNode.GetSegmentation()
    ids = [one for one in segmentation.GetSegmentIDs() if not segmentation.GetSegment(one).HasTag(RESULT_TAG)]
    read = supportIds(ids, annotation, roles)
    described: dict[str, _Description] = {}
    problem = ""
    if not ids:
        problem = _("Paint a structure on a few slices in the Segment Editor.")
    elif not read:
        problem = _("Give a segment the role structure.")
    else:
        try:
            support = readSupport(
                segmentationNode,
                volumeNode,
                annotation=annotation,  # type: ignore[arg-type]
                segmentIds=read,
                backgroundIds=[one for one in read if roles.get(one) is Role.BACKGROUND],
            )
        except InputError as error:
            problem = str(error)
        else:
            described = _describe(support, read)
    rows = []
    for segmentId in ids:
        role = roles.get(segmentId, Role.STRUCTURE)
        description = described.get(segmentId, _unread(segmentId in read, role))
        rows.append(_row(segmentId, segmentation.GetSegment(segmentId), description, role))
    return Painting(tuple(rows), problem)


def _row(segmentId: str, segment: Any, description: _Description, role: Role) -> PaintedSegment:
    return PaintedSegment(
        segmentId,
        segment.GetName() or segmentId,
        tuple(segment.GetColor()),
        description.painted,
        description.details,
        description.usable,
        role,
    )


def supportIds(ids: Sequence[str], annotation: str, roles: Mapping[str, Role]) -> list[str]:
    """The segments that say something: not the ignored ones, and the background with scribbles only."""
    left_out = {Role.IGNORE} if annotation == "scribbles" else {Role.IGNORE, Role.BACKGROUND}
    return [one for one in ids if roles.get(one, Role.STRUCTURE) not in left_out]


def _unread(wasRead: bool, role: Role) -> _Description:
    """Of a segment that the support does not hold."""
    if wasRead or role is Role.STRUCTURE:
        return _Description(_("nothing yet"))
    if role is Role.IGNORE:
        return _Description(_("ignored"), _("It has no part in the segmentation."))
    return _Description(_("not used"), _("A background says something with scribbles only."))


def _planes(described: Mapping[str, Any]) -> tuple[str, str]:
    """How many slices of which planes a structure is painted on, and which these are."""
    counts, numbers = [], []
    for plane in (described, *described["crossing"]):
        words = _("{count} {plane} slice") if len(plane["slices"]) == 1 else _("{count} {plane} slices")
        counts.append(words.format(count=len(plane["slices"]), plane=plane["plane"]))
        listed = ", ".join(str(number) for number in plane["slices"])
        numbers.append(_("{plane} {numbers}").format(plane=plane["plane"], numbers=listed))
    details = _("Slices of the grid it is painted on, each taken to be complete: {slices}.").format(
        slices="; ".join(numbers)
    )
    count = described["scribbled"]
    if count == 1:
        details += " " + _("1 voxel on other slices, not taken to be complete, counts as a scribble.")
    elif count:
        words = _("{count} voxels on other slices, not taken to be complete, count as scribbles.")
        details += " " + words.format(count=count)
    return " + ".join(counts), details


def _describe(support: Support, ids: Sequence[str]) -> dict[str, _Description]:
    """By segment id: what the support holds of each segment. ids: of the segments that were read."""
    described = {}
    for one in support.describe():
        label, voxels, slices = one["label"], one["voxels"], one["slices"]
        assert isinstance(label, int)
        assert isinstance(slices, list)
        if support.annotation == "scribbles":
            painted, details = _("scribbles"), _("{count} voxels are painted.").format(count=voxels)
        elif (
            not one["crossing"]
            and len(slices) >= _COMPLETE_SLICES
            and slices[-1] - slices[0] + 1 == len(slices)
        ):
            painted = _("complete, {count} slices").format(count=len(slices))
            details = _("Slices {first} to {last} without a gap.").format(first=slices[0], last=slices[-1])
        else:
            painted, details = _planes(one)
        described[ids[label - 1]] = _Description(painted, details, usable=True)
    if support.background is not None:
        segmentId = support.background.structure.segment_id
        described[segmentId] = _Description(_("background"), _("Says where no structure is."))
    return described
