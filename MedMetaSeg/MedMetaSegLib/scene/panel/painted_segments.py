"""What is painted of each segment, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from ...errors import InputError

if TYPE_CHECKING:
    from ...support import Support


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


@dataclass(frozen=True)
class Painting:
    """All painted segments of a node. problem: why none can be used, a sentence, or ""."""

    segments: tuple[PaintedSegment, ...] = ()
    problem: str = ""


def describePainting(segmentationNode: Any, volumeNode: Any, annotation: str) -> Painting:
    """Describe every segment of the node but those this module made; changes nothing."""
    # The panel opens before there is anything to read: SimpleITK and scipy are not waited for then.
    from ..reader import RESULT_TAG, readSupport

    segmentation = segmentationNode.GetSegmentation()
    ids = [one for one in segmentation.GetSegmentIDs() if not segmentation.GetSegment(one).HasTag(RESULT_TAG)]
    texts: dict[str, tuple[str, str, bool]] = {}
    problem = ""
    if not ids:
        problem = _("Paint a structure on a few slices in the Segment Editor.")
    else:
        try:
            support = readSupport(segmentationNode, volumeNode, annotation=annotation, segmentIds=ids)  # type: ignore[arg-type]
        except InputError as error:
            problem = str(error)
        else:
            texts = _texts(support, ids)
    rows = []
    for segmentId in ids:
        segment = segmentation.GetSegment(segmentId)
        painted, details, usable = texts.get(segmentId, (_("nothing yet"), "", False))
        rows.append(
            PaintedSegment(
                segmentId, segment.GetName() or segmentId, tuple(segment.GetColor()), painted, details, usable
            )
        )
    return Painting(tuple(rows), problem)


def _texts(support: Support, ids: Sequence[str]) -> dict[str, tuple[str, str, bool]]:
    texts = {}
    for one in support.describe():
        label, voxels, slices = one["label"], one["voxels"], one["slices"]
        assert isinstance(label, int)
        assert isinstance(slices, list)
        if support.annotation == "scribbles":
            painted, details = _("scribbles"), _("{count} voxels are painted.").format(count=voxels)
        else:
            words = _("{count} {plane} slice") if len(slices) == 1 else _("{count} {plane} slices")
            painted = words.format(count=len(slices), plane=one["plane"])
            details = _(
                "Slices {numbers} of the grid it is painted on; each is taken to be complete."
            ).format(numbers=", ".join(str(number) for number in slices))
        texts[ids[label - 1]] = painted, details, True
    if support.background is not None:
        texts[support.background.structure.segment_id] = (
            _("background"),
            _("Says where no structure is."),
            False,
        )
    return texts
