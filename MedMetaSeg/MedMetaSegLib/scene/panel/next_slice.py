"""Going to the slice that is most worth painting next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import slicer
from slicer.i18n import tr as _

from .expectations import Expectation, nextToPaint
from .host import Host
from .painted_segments import PaintedSegment
from .segment_editor import EmbeddedEditor

if TYPE_CHECKING:
    from ..answer_quality import NextSlice


class NextSliceButton:
    """Controls the button, which moves a slice view and chooses the segment in the panel's Segment Editor."""

    def __init__(self, host: Host, editor: EmbeddedEditor) -> None:
        self._host, self.ui, self._editor = host, host.ui, editor
        self._segmentId = ""
        self._slice: NextSlice | None = None
        self.ui.nextSliceButton.connect("clicked()", self.onPressed)

    def show(self, segments: Sequence[PaintedSegment], expectations: Mapping[str, Expectation]) -> None:
        """Say to which slice of these segments it would go, or why to none. expectations: by id."""
        ids = [one.segmentId for one in segments if one.segmentId in expectations]
        expected = {one: expectations[one] for one in ids}
        chosen, text = nextToPaint(expected), ""
        self._slice = None if chosen is None else expected[chosen].nextSlice
        if chosen is not None and self._slice is not None:
            self._segmentId = chosen
            text = sliceInWords(next(one.name for one in segments if one.segmentId == chosen), self._slice)
        self.ui.nextSliceButton.setEnabled(bool(text))
        self.ui.nextSliceButton.setToolTip(text or _reason(expected))
        self.ui.nextSliceLabel.setText(text)
        self.ui.nextSliceLabel.setVisible(bool(text))

    def onPressed(self) -> None:
        """Go there; says in the error line when no view shows the plane."""
        from ..answer_quality import pointInWorld
        from ..slice_views import jumpTo, viewsOfPlane

        if self._slice is None:
            return
        views = viewsOfPlane(slicer.mrmlScene, self._slice.plane)
        if not views:
            problem = _("No view shows {plane} slices: choose a layout with one.")
            self._host.say(error=problem.format(plane=self._slice.plane))
            return
        jumpTo(views, pointInWorld(self._host.parameters.volume, self._slice.point))
        self._editor.chooseSegment(self._segmentId)


def sliceInWords(name: str, place: NextSlice) -> str:
    """Which slice of which segment, and why."""
    text = _("{name}, {plane} slice {index}: {reason}")
    return text.format(name=name, plane=place.plane, index=place.index, reason=place.reason)


def _reason(expectations: Mapping[str, Expectation]) -> str:
    """Why there is no slice to go to."""
    if expectations:
        return _("No slice is known that is worth painting, or what is painted has changed: press Update.")
    return _("Press Segment first: the answer says which slice is most worth painting next.")
